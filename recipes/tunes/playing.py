"""A tune in the order in which it is played: with its repeats and its first and second endings written out."""

import re

from rnnzoo.data.abc_notation import FIELD


# What a line of music is made of: an ending, a bar line, or what stands between, in which a bar line may be quoted.
_PARTS = re.compile(r'(?P<ending>\[[12])|(?P<line>:*\|[|:\]]*|::)|(?P<music>(?:"[^"\n]*"|\[(?![12])|[^"|:\[\n])+)')


def played(text: str) -> str:
    """The text of a tune, as `abc_notation.as_text` has it, without repeat signs.

    A repeat sign goes back once: to the sign that opens the repeat, else to the last repeat sign or double bar line,
    else to the beginning. When it is played again, a first ending is skipped. Where a repeat sign, an ending, a double
    bar line or a field stood, there is a double bar line; the other bar lines are single ones.

    Raises:
        ValueError: a quotation mark is not closed, there is a colon that belongs to no repeat sign, or an ending is
            missing.
    """
    lines = text.splitlines()
    parts, order = list(_parts(lines[4:])), []
    start, repeated, again, place = 0, set(), False, 0
    while place < len(parts):
        kind, value = parts[place]
        if kind == "music" or kind == "field":
            order.append(f"\n{value}\n" if kind == "field" else value)
        elif kind == "ending" and again and value == "[1":
            place = next((n for n in range(place, len(parts)) if parts[n] == ("ending", "[2")), None)
            if place is None:
                raise ValueError("has a first ending, but no second one")
            start, again = place + 1, False
            order.append("||")
        else:
            order.append("|" if value == "|" else "||")
            if value.startswith(":") and place not in repeated:
                repeated.add(place)
                again, place = True, start
                continue
            if kind == "line" and value != "|":
                opens_or_closes = ":" in value
                if opens_or_closes or not again:
                    start = place + 1
                again = again and not opens_or_closes
        place += 1
    return "\n".join(lines[:4]) + "\n" + "".join(order)


def _parts(lines: list[str]):
    """The music of a tune: its fields, bar lines, endings, and what stands between them."""
    for line in lines:
        if FIELD.match(line):
            yield "field", line
            continue
        end = 0
        for found in _PARTS.finditer(line):
            if found.start() != end:
                break
            end = found.end()
            if found[0].strip():
                yield found.lastgroup, found[0]
        if end < len(line):
            raise ValueError(f"cannot be read from {line[end:]!r:.20} on")
