"""Spans of characters, as annotation tools write entities, to words with IOB2 tags."""

from typing import Any

from rnnzoo.data.errors import BadRow


# What Prodigy adds to a span: the same borders, counted in its own tokens.
_REDUNDANT = {"token_start", "token_end"}


def words_and_tags(text: str, spans: list[Any]) -> tuple[list[str], list[str]]:
    """The words of a text and a tag for each, from the spans of its entities.

    A span is `{"start", "end", "label"}` or `[start, end, label]`. Offsets count characters (Unicode code points), and
    the end is exclusive. A text is split into words at white space, because what is served is words joined by spaces,
    and at the borders of spans, so that no word lies half within an entity.

    Raises:
        BadRow: a span that cannot be read, is empty or blank, reaches beyond the text, or overlaps another one.
    """
    found = sorted(_span(span, f"has the span {span!r:.100}", text) for span in spans)
    for (start, end, _), (following, _, _) in zip(found, found[1:], strict=False):
        if following < end:
            raise BadRow(
                f"has spans that overlap, at {start} to {end} and from {following} on: a word can belong to one "
                "entity only. Keep one of them."
            )
    words, tags, position = [], [], 0
    for start, end, label in found:
        outside, inside = text[position:start].split(), text[start:end].split()
        words += outside + inside
        tags += ["O"] * len(outside) + [f"B-{label}"] + [f"I-{label}"] * (len(inside) - 1)
        position = end
    rest = text[position:].split()
    return words + rest, tags + ["O"] * len(rest)


def _span(span: Any, at: str, text: str) -> tuple[int, int, str]:
    """Start, end and label."""
    if isinstance(span, dict):
        if unknown := sorted(span.keys() - {"start", "end", "label"} - _REDUNDANT):
            raise BadRow(f"{at} with the unknown key {unknown[0]!r}. A span has the keys start, end and label.")
        span = [span.get(key) for key in ("start", "end", "label")]
    if not isinstance(span, list | tuple) or len(span) != 3 or [type(part) for part in span] != [int, int, str]:
        raise BadRow(
            f'{at}. A span must be {{"start": 0, "end": 3, "label": "LOC"}} or [0, 3, "LOC"], with offsets as '
            "integers and the label as a string."
        )
    start, end, label = span
    if not 0 <= start < end <= len(text):
        raise BadRow(
            f"{at}, but the text has {len(text)} characters. A span is 0 <= start < end <= {len(text)}, in characters "
            "and not in bytes, with the end exclusive."
        )
    if not text[start:end].strip():
        raise BadRow(f"{at}, which covers white space only, {text[start:end]!r:.60}. Correct it, or leave it out.")
    if not (label := label.strip()):
        raise BadRow(f"{at}, whose label must be a name, such as LOC.")
    return start, end, label
