"""Tunes without a fault from a model that makes some: each is written again from before its first wrong bar on.

Where one bar in fifty is wrong, few long tunes are without a fault, and a selection of complete tunes would keep the
short ones.
"""

from collections.abc import Callable
from functools import partial

from recipes.tunes.bars import refused, wrong_bars
from recipes.tunes.measure import faultless, of_each
from rnnzoo.data.abc_notation import BAR_LINE, prompt


ATTEMPTS = 6


def repaired(write: Callable[[list[str], int], tuple[list[str], list[int]]], prompts: list[str]) -> list[str]:
    """The tunes without a fault that there are after `ATTEMPTS` attempts, at most one for each prompt.

    Args:
        write: given the beginnings of tunes and the number of the attempt, the complete tunes, and which of them have
            no end.
    """
    found, beginnings = [], prompts
    for attempt in range(ATTEMPTS):
        texts, unfinished = write(beginnings, attempt)
        right = [fine and number not in unfinished for number, fine in enumerate(of_each(faultless, texts))]
        found += [text for text, fine in zip(texts, right, strict=True) if fine]
        wrong = [text for text, fine in zip(texts, right, strict=True) if not fine]
        if not wrong:
            break
        # A bar may be wrong because of an earlier one, such as an upbeat: later attempts begin earlier.
        beginnings = of_each(partial(right_beginning, further_back=attempt // 2), wrong)
    return found


def right_beginning(text: str, further_back: int = 0) -> str:
    """A tune's text up to a bar line before its first wrong bar.

    That a bar is too short shows only by the one after it: so the bar before the wrong one is left out, too, and
    `further_back` bars before that. Where nothing is left, where the parser does not read what is left, or where the
    bars are not what is wrong, only the tune's label is returned, its first four lines.
    """
    label = prompt(text)
    music, right = text.removeprefix(label), [label]
    for line in BAR_LINE.finditer(music):
        beginning = label + music[: line.end()]
        try:
            wrong = bool(wrong_bars(beginning))
        except ValueError:
            wrong = True
        if wrong:
            kept = right[max(0, len(right) - 2 - further_back)]
            return label if refused(kept) else kept
        right.append(beginning)
    return label
