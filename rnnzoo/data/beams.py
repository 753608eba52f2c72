"""Beams that follow the beat: in the text of a tune, notes of one beat stand together, and a space ends each beat.

ABC notation leaves spaces to the writer. Where they always mean the same, a model that reads characters need only
count the notes of a beat and the beats of a bar.
"""

import re
from fractions import Fraction

from rnnzoo.data.abc_notation import BAR_LINE, FIELD, LENGTH, note_length


# In order: a chord symbol or a decoration, the beginning of a tuplet, a bar line, a chord or a note with its length in
# units and its tie, white space, and whatever else there is.
_PITCH = r"[\^_=]*(?:[A-Ga-g][,']*|[xz])"
_ITEM = re.compile(
    r'(?P<symbol>"[^"\n]*"|![^!\n]*!)|\((?P<tuplet>[2-9])|(?P<bar>' + BAR_LINE.pattern + r")|"
    r"(?P<note>(?P<chord>\[(?!\d)[^\]|]+\])|" + _PITCH + ")" + LENGTH + r"-?|(?P<space>\s+)|."
)
_NOTE = re.compile(_PITCH + LENGTH)
# In the time of how many units so many are played; of other numbers it depends on the metre.
_TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}


def beat(metre: str) -> Fraction:
    """The length of a beat, in whole notes: three eighths in 6/8, 9/8 and the like, else what is counted; of halves
    and longer a quarter.
    """
    count, unit = map(int, metre.split("/"))
    length = Fraction(1, unit)
    return 3 * length if unit >= 8 and count % 3 == 0 else min(length, Fraction(1, 4))


def beamed(text: str) -> str:
    """The text of a tune, as `abc_notation.as_text` has it, with beams that follow the beat."""
    _, metre, length, _, *music = text.splitlines()
    unit, lines = Fraction(length.removeprefix("L:")), []
    for line in music:
        if line.startswith("M:"):
            metre = line
        lines.append(line if FIELD.match(line) else on_beats(line, metre.removeprefix("M:"), unit))
    return "\n".join([*text.splitlines()[:4], *lines])


def on_beats(line: str, metre: str, unit: Fraction) -> str:
    """A line of music, whose lengths are in `unit`, with its spaces after the beats of a bar and nowhere else.

    Beats are counted from the bar line, or from the beginning of the line. Two bar lines stay two, and spaces within
    chord symbols are left out.
    """
    found, position, left, ratio, between = [], Fraction(0), 0, Fraction(1), False
    for item in _ITEM.finditer(line):
        if item["space"]:
            between = True
            continue
        if item["bar"]:
            position, left = Fraction(0), 0
            if found and found[-1] == " ":
                found.pop()
            if found and between and BAR_LINE.fullmatch(found[-1]):
                found.append(" ")
        elif item["tuplet"]:
            number = int(item["tuplet"])
            left, ratio = number, Fraction(_TUPLETS.get(number, number), number)
        found.append(item[0].replace(" ", "") if item["symbol"] else item[0])
        between = False
        if item["note"]:
            length = note_length(item) * unit
            if item["chord"] and (first := _NOTE.search(item["chord"])):
                length *= note_length(first)
            position += length * ratio if left else length
            left = max(0, left - 1)
            if not left and position % beat(metre) == 0:
                found.append(" ")
    return "".join(found).strip()
