"""Tag schemes of named entities: IOB1, IOB2, IOBES, read and written.

In every scheme O is a word outside of all entities, and the others carry the type of theirs. "Bonn" alone, "New York"
and two neighbours of one type, as each scheme writes them:

    IOB2    B-LOC    B-LOC I-LOC    B-LOC B-LOC    B- begins an entity.
    IOB1    I-LOC    I-LOC I-LOC    I-LOC B-LOC    B- begins one only where I- would continue the one before it.
    IOBES   S-LOC    B-LOC E-LOC    S-LOC S-LOC    E- ends one of several words, S- is one of a single word.
"""

from collections.abc import Iterable, Sequence

from rnnzoo.data.errors import RecipeError


SCHEMES = ("IOB2", "IOB1", "IOBES")

Entity = tuple[str, int, int]  # its type, its first word, the word after its last


def entities(tags: Sequence[str], scheme: str = "IOB2", where: str = "the sentence") -> list[Entity]:
    """The entities that a sentence's tags say, from left to right; `where` is the sentence's name in an error.

    Raises:
        RecipeError: for a tag that is none, or that the scheme does not have in that place.
    """
    found = _read(tags)
    # Each scheme has one way of writing a sentence's entities: what differs from it is wrong.
    for word, (tag, right) in enumerate(zip(tags, _write(found, len(tags), scheme), strict=True)):
        if tag != right:
            fault = f"where {scheme} has {right!r}" if _is_tag(tag) else "which is none: tags are O, B-LOC, I-LOC, ..."
            raise RecipeError(
                f"Word {word} of {where} (both counted from 0) has the tag {tag!r}, {fault}. Correct it, and write "
                f"all tags of the data set in one scheme, which may be {', '.join(SCHEMES)}."
            )
    return found


def convert(tags: Sequence[str], source: str, target: str, where: str = "the sentence") -> list[str]:
    """The tags of a sentence in another scheme.

    Raises:
        RecipeError: as `entities` does.
    """
    return _write(entities(tags, source, where), len(tags), target)


def guess(sentences: Iterable[Sequence[str]]) -> str:
    """The scheme that a data set is written in: the one that differs from it in the fewest tags.

    That is none at all for one of them, unless a tag is wrong or there is no entity.
    """
    differences = dict.fromkeys(SCHEMES, 0)
    for tags in sentences:
        found = _read(tags)
        for scheme in SCHEMES:
            written = _write(found, len(tags), scheme)
            differences[scheme] += sum(tag != right for tag, right in zip(tags, written, strict=True))
    return min(SCHEMES, key=differences.__getitem__)


def labels(types: Iterable[str]) -> list[str]:
    """The classes of a tagger in IOB2: O, then B- and I- of every type."""
    return ["O", *(f"{prefix}-{kind}" for kind in sorted(set(types)) for prefix in "BI")]


def _is_tag(tag: str) -> bool:
    prefix, dash, kind = tag.partition("-")
    return tag == "O" or (prefix in ("B", "I", "E", "S") and bool(kind))


def _read(tags: Sequence[str]) -> list[Entity]:
    """The entities that tags of any scheme mean, as conlleval takes them; what is no tag is outside."""
    found: list[Entity] = []
    open_type = None  # of the entity that the next word may continue
    for word, tag in enumerate(tags):
        if tag == "O" or not _is_tag(tag):
            open_type = None
            continue
        prefix, _, kind = tag.partition("-")
        if prefix in "IE" and kind == open_type:
            found[-1] = (kind, found[-1][1], word + 1)
        else:
            found.append((kind, word, word + 1))
        open_type = kind if prefix in "BI" else None
    return found


def _write(found: Sequence[Entity], length: int, scheme: str) -> list[str]:
    tags = ["O"] * length
    before = None  # type and end of the entity to the left
    for kind, start, end in found:
        first, last = "B", "I"
        if scheme == "IOB1" and before != (kind, start):
            first = "I"
        elif scheme == "IOBES":
            first, last = ("S", "S") if end == start + 1 else ("B", "E")
        tags[start:end] = [f"I-{kind}"] * (end - start)
        tags[end - 1] = f"{last}-{kind}"
        tags[start] = f"{first}-{kind}"
        before = (kind, end)
    return tags
