"""Tunes in ABC notation: a book of them, the text of each as language models read it, and its bars.

The standard is https://abcnotation.com/wiki/abc:standard:v2.1.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby


# The unit note length of every text: all tunes count in the same unit.
UNIT = Fraction(1, 8)
# The fields that a tune's music keeps: metre and key. The others say nothing of its notes.
KEPT = ("M", "K")
# A letter and a colon, but no note before a repeat sign ("G:|").
FIELD = re.compile(r"([A-Za-z]):(?![|:])\s*(.*)")
_NAMED_METRES = {"C": "4/4", "C|": "2/2"}
BAR_LINE = re.compile(r"[|:]+(?:\[?\d)?\]?|\[\d")
# What has no notes, chord symbols and decorations; or a note or a rest, and its length in units, such as 3/2, / or 2.
LENGTH = r"(?P<number>\d*)(?P<slashes>/*)(?P<divisor>\d*)"
_NOTE = re.compile(r'(?P<other>"[^"]*"|![^!]*!)|(?P<note>(?:[A-Ga-g][,\']*)|[xz])' + LENGTH)


def tunes_of(book: str) -> Iterator[str]:
    """The tunes of a file in ABC notation; each begins with its X: field."""
    number = 0

    def tune(line: str) -> int:
        nonlocal number
        number += line.startswith("X:")
        return number

    for number_of_tune, lines in groupby(book.splitlines(), tune):
        if number_of_tune:  # what stands before the first tune is the book's own header
            yield "\n".join(lines)


def title(abc: str) -> str:
    """The first title of a tune; "" if it has none."""
    return next((value for letter, value in map(_field, abc.splitlines()) if letter == "T"), "")


def as_text(book: str, abc: str) -> str:
    """A tune as a language model reads it: its book, metre, unit note length and key, a line each, and its music.

    Of the fields within the music, those of metre and key stay. All others are left out, as are comments and the
    backslashes that continue a line. Lengths are written in eighths, whatever the unit note length of the tune; where
    it has none, it is the standard's: 1/16 for metres below 3/4, else 1/8.

    Raises:
        ValueError: the tune has no metre, no key or no music: the end of a sentence about it.
    """
    header, music = {}, []
    for line in abc.splitlines():
        line = line.partition("%")[0].rstrip().removesuffix("\\").strip()
        letter, value = _field(line)
        if letter and (letter == "L" or not music):
            header[letter] = value
        elif letter in KEPT:
            music.append(f"M:{_metre({letter: value})}" if letter == "M" else line)
        elif line and not letter:
            # Two repeat signs in one are written out: music21 overlooks them at the end of a line.
            music.append(in_eighths(line, _unit(header)).replace("::", ":||:"))
    if not header.get("K"):
        raise ValueError("has no key (K:)")
    if not music:
        raise ValueError("has no music")
    return "\n".join([book, f"M:{_metre(header)}", f"L:{UNIT}", f"K:{header['K']}", *music])


def in_eighths(line: str, unit: Fraction) -> str:
    """A line of music whose lengths are in `unit`, with lengths in eighths. That of a chord is a factor, and stays."""

    def scaled(found: re.Match) -> str:
        if found["other"]:
            return found[0]
        above, below = (note_length(found) * unit / UNIT).as_integer_ratio()
        return found["note"] + (str(above) if above > 1 else "") + (f"/{below}" if below > 1 else "")

    return line if unit == UNIT else _NOTE.sub(scaled, line)


def note_length(found: re.Match) -> Fraction:
    """The length, in units, of what `LENGTH` ends: a slash without a number halves it, two of them quarter it.

    Raises:
        ValueError: it is divided by zero.
    """
    below = int(found["divisor"]) if found["divisor"] else 2 ** len(found["slashes"])
    if not below:
        raise ValueError(f"has a length that is divided by zero, {found[0]!r:.20}")
    return Fraction(int(found["number"] or 1), below)


def _metre(header: dict[str, str]) -> str:
    metre = _NAMED_METRES.get(header.get("M", ""), header.get("M", ""))
    if not re.fullmatch(r"[1-9]\d*/[1-9]\d*", metre):
        raise ValueError(f"has the metre {metre!r}, which is no fraction such as 6/8")
    return metre


def _unit(header: dict[str, str]) -> Fraction:
    written = header.get("L") or ("1/16" if Fraction(_metre(header)) < Fraction(3, 4) else "1/8")
    if not re.fullmatch(r"1/(1|2|4|8|16|32|64)", written):
        raise ValueError(f"has the unit note length {written!r}, which is none such as 1/8")
    return Fraction(written)


def prompt(text: str) -> str:
    """The lines of a tune's text before its music."""
    return "".join(text.splitlines(keepends=True)[:4])


def key(text: str) -> str:
    """The key of a tune's text, such as G or Em."""
    return text.splitlines()[3].removeprefix("K:")


def as_abc(text: str, number: int = 1, name: str = "") -> str:
    """A complete tune in ABC notation of the text of one: the inverse of `as_text`, with a number and a title."""
    book, *lines = text.splitlines()
    return f"X:{number}\nT:{name or book}\n" + "\n".join(lines) + "\n"


def melody(text: str) -> list[str]:
    """What stands between the bar lines of a tune's text, without chord symbols and white space."""
    music = "\n".join(line for line in text.splitlines()[1:] if not _field(line)[0])
    return [bar for bar in BAR_LINE.split(re.sub(r'"[^"]*"|\s+', "", music)) if bar]


def _field(line: str) -> tuple[str, str]:
    """The letter and the value of a field; of another line, "" and ""."""
    found = FIELD.match(line)
    return (found[1], found[2].strip()) if found else ("", "")
