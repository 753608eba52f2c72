"""Whether the bars of a tune add up to its metre, by the lengths that music21, an independent parser, finds.

The rule: a tune is played with its repeats (see playing.py). Then every bar is as long as the metre says, but for the
first and the last one, which may be shorter. A bar that is divided by a repeat sign, an ending, a double bar line or a
change of key or metre counts as one: an upbeat and the bar that it completes.
"""

import re
from collections import Counter
from fractions import Fraction
from typing import NamedTuple

from recipes.tunes.playing import played
from rnnzoo.data.abc_notation import as_abc
from rnnzoo.data.errors import brief


class Bar(NamedTuple):
    """What stands between two bar lines: its length and that of the metre, in quarter notes; whether it is a part."""

    length: Fraction
    metre: Fraction
    after_break: bool


def refused(text: str) -> str:
    """Why the parser does not read a tune, to its last character; "" if it does."""
    from music21.abcFormat import ABCFile, translate

    abc = as_abc(text)
    sounds = re.sub(r'"[^"\n]*"|![^!\n]*!|^[A-Z]:(?![|:]).*', "", abc, flags=re.MULTILINE)
    if other := re.search(r"[^\WA-Ga-gxz\d_]", sounds):
        return f"it has {other[0]!r} for a note, which music21 takes for a C"
    try:
        handler = ABCFile().readstr(abc)
        translate.abcToStreamScore(handler)
    except Exception as error:  # music21 raises errors of many kinds where a text is not ABC
        return f"music21 does not read it ({brief(error)})"
    # It skips what it does not know, and moves chord symbols into triplets.
    read = "".join(token.src for token in handler.tokens)
    skipped = _characters(abc) - _characters(read)
    return f"music21 skips {''.join(skipped.elements())!r:.40}" if skipped else ""


def _characters(abc: str) -> Counter:
    return Counter(re.sub(r"![^!\n]*!|\s", "", abc))


def bars(text: str) -> list[Bar]:
    """The bars of a tune as it is played.

    Raises:
        ValueError: it cannot be played, or music21 cannot read what is played.
    """
    from music21.abcFormat import ABCBar, ABCFile, ABCMetadata, ABCNote

    abc = as_abc(played(text))
    try:
        tokens = ABCFile().readstr(abc).tokens
    except Exception as error:
        raise ValueError(f"is not read by music21 ({brief(error)})") from error
    found, length, notes, metre, after_break = [], Fraction(0), 0, Fraction(0), True
    for token in [*tokens, None]:
        if token is None or isinstance(token, ABCBar | ABCMetadata):
            if notes:
                found.append(Bar(length, metre, after_break))
                length, notes, after_break = Fraction(0), 0, False
            if isinstance(token, ABCMetadata) and token.isMeter():
                metre = _quarters(token.src.partition(":")[2].strip())
            after_break = after_break or isinstance(token, ABCMetadata) or getattr(token, "src", "") == "||"
        elif isinstance(token, ABCNote) and not token.inGrace:
            exact = Fraction(token.quarterLength).limit_denominator(960)
            if token.activeTuplet is not None:
                exact *= Fraction(token.activeTuplet.tupletMultiplier()).limit_denominator(960)
            length, notes = length + exact, notes + 1
    return found


def _quarters(metre: str) -> Fraction:
    try:
        return 4 * Fraction(metre)
    except (ValueError, ZeroDivisionError) as error:
        raise ValueError(f"has the metre {metre!r:.20}, which is no fraction such as 6/8") from error


def wrong_bars(text: str) -> list[int]:
    """The numbers, from 0, of the bars of a tune as it is played that do not add up, by the rule above.

    Raises:
        ValueError: as `bars` does.
    """
    found, wrong, number = bars(text), [], 0
    last = len(found) - 1
    while number <= last:
        length, metre, _ = found[number]
        if length == metre or (length < metre and number in (0, last)):
            number += 1
        elif number < last and found[number + 1].after_break and length + found[number + 1].length == metre:
            number += 2
        else:
            wrong.append(number)
            number += 1
    return wrong
