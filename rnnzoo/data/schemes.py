"""Tag schemes of named entities, IOB1, IOB2, IOBES and BILUO: decoded, encoded and detected.

In every scheme O tags a word outside all entities, and other tags end in the type of the entity. "Bonn" alone, "New
York", and two adjacent entities of one type, in each scheme:

    IOB2    B-LOC    B-LOC I-LOC    B-LOC B-LOC    B- begins an entity.
    IOB1    I-LOC    I-LOC I-LOC    I-LOC B-LOC    B- begins one only where I- would continue the previous one.
    IOBES   S-LOC    B-LOC E-LOC    S-LOC S-LOC    E- ends an entity of several words, S- is one of a single word.
    BILUO   U-LOC    B-LOC L-LOC    U-LOC U-LOC    The same with L- (last) for E-, and U- (unit) for S-.
"""

from collections.abc import Iterable, Sequence

from rnnzoo.data.errors import DataError


SCHEMES = ("IOB2", "IOB1", "IOBES", "BILUO")
OUTSIDE = "O"

Entity = tuple[str, int, int]  # its type, its first word, the word after its last


def entities(tags: Sequence[str], scheme: str = "IOB2", where: str = "the sentence") -> list[Entity]:
    """The entities that the tags of a sentence encode, from left to right; errors call the sentence `where`.

    Raises:
        DataError: a string is not a tag, or not one that the scheme allows in its place.
    """
    found = _read(tags)
    # In each scheme there is exactly one encoding of a sentence's entities: any other tag is wrong.
    for word, (tag, right) in enumerate(zip(tags, _write(found, len(tags), scheme), strict=True)):
        if tag != right:
            known = tag == OUTSIDE or has_prefix(tag)
            fault = f"where {scheme} has {right!r}" if known else "which is not a tag (O, B-LOC, I-LOC, ...)"
            raise DataError(
                f"Word {word} of {where} (both counted from 0) has the tag {tag!r}, {fault}. Correct it, and write "
                f"all tags of the data set in one scheme, which may be {', '.join(SCHEMES)}."
            )
    return found


def convert(tags: Sequence[str], source: str, target: str, where: str = "the sentence") -> list[str]:
    """The tags of a sentence in another scheme.

    Raises:
        DataError: as `entities` does.
    """
    return _write(entities(tags, source, where), len(tags), target)


def guess(sentences: Iterable[Sequence[str]]) -> str:
    """The scheme of a data set: the one whose encoding of its entities differs from its tags in the fewest places.

    In a data set without faults that is no place; where schemes tie, the first of `SCHEMES` is returned.
    """
    differences = dict.fromkeys(SCHEMES, 0)
    for tags in sentences:
        found = _read(tags)
        for scheme in SCHEMES:
            written = _write(found, len(tags), scheme)
            differences[scheme] += sum(tag != right for tag, right in zip(tags, written, strict=True))
    return min(SCHEMES, key=differences.__getitem__)


def labels(types: Iterable[str]) -> list[str]:
    """The labels of a tagger in IOB2: O, then B- and I- of every type, in alphabetical order."""
    return [OUTSIDE, *(f"{prefix}-{kind}" for kind in sorted(set(types)) for prefix in "BI")]


def has_prefix(tag: str) -> bool:
    """Whether a string is a tag of some scheme, other than O."""
    prefix, _, kind = tag.partition("-")
    return prefix in ("B", "I", "E", "S", "L", "U") and bool(kind)


def _read(tags: Sequence[str]) -> list[Entity]:
    """The entities that tags of any scheme encode, decoded as by conlleval; strings that are not tags count as O."""
    found: list[Entity] = []
    open_type = None  # of the entity that the next word may continue
    for word, tag in enumerate(tags):
        if not has_prefix(tag):
            open_type = None
            continue
        prefix, _, kind = tag.partition("-")
        if prefix in "IEL" and kind == open_type:
            found[-1] = (kind, found[-1][1], word + 1)
        else:
            found.append((kind, word, word + 1))
        open_type = kind if prefix in "BI" else None
    return found


_ENDS = {"IOBES": ("E", "S"), "BILUO": ("L", "U")}  # prefixes of a last word, and of a single one


def _write(found: Sequence[Entity], length: int, scheme: str) -> list[str]:
    tags = [OUTSIDE] * length
    before = None  # type and end of the previous entity
    for kind, start, end in found:
        first, last = "B", "I"
        if scheme == "IOB1" and before != (kind, start):
            first = "I"
        elif scheme in _ENDS:
            last, single = _ENDS[scheme]
            first, last = (single, single) if end == start + 1 else ("B", last)
        tags[start:end] = [f"I-{kind}"] * (end - start)
        tags[end - 1] = f"{last}-{kind}"
        tags[start] = f"{first}-{kind}"
        before = (kind, end)
    return tags
