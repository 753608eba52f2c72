"""What a set of tunes is like: the share that a parser reads and whose bars add up, and how much of them is copied."""

from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import mean, median, quantiles
from typing import Any

from recipes.tunes.bars import refused, wrong_bars
from recipes.tunes.copying import longest_shared
from rnnzoo.data.abc_notation import as_abc, as_text, melody


def faults(text: str) -> dict[str, str]:
    """What is wrong with a tune, by kind: a tune that is not "read" has no bars to be counted."""
    book, *lines = text.splitlines()
    try:
        if as_text(book, as_abc(text)).splitlines()[1:] != lines:
            return {"read": "its header or its lines are not those of a tune's text"}
    except ValueError as error:
        return {"read": f"it {error}"}
    if reason := refused(text):
        return {"read": reason}
    try:
        wrong = wrong_bars(text)
    except ValueError as error:
        return {"bars": f"it {error}"}
    return {"bars": f"{len(wrong)} do not add up, the first of them is number {wrong[0]} as played"} if wrong else {}


def faultless(text: str) -> bool:
    """Whether `faults` finds none; what is found quickly is looked for first."""
    try:
        return not wrong_bars(text) and not faults(text)
    except ValueError:
        return False


def of_each(check: Callable[[str], Any], texts: list[str]) -> list[Any]:
    """What `check`, `faults` or `faultless`, says of each; by several processes, since music21 takes its time."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return list(pool.map(check, texts, chunksize=max(1, min(50, len(texts) // 8))))


def measured(texts: list[str], train: list[str], unfinished: Collection[int] = ()) -> dict[str, Any]:
    """Shares of the tunes, none left out, and the distribution of what they share with tunes of train.

    Args:
        unfinished: numbers of tunes without an end, which are wrong whatever they hold.
    """
    found, longest = of_each(faults, texts), longest_shared(map(melody, train))
    for number in unfinished:
        found[number]["end"] = "it is not finished"
    shared = [longest(melody(text)) for text in texts]
    parts = [run / max(1, len(melody(text))) for run, text in zip(shared, texts, strict=True)]
    return {
        "tunes": len(texts),
        "read": mean("read" not in each for each in found),
        "read_and_bars_add_up": mean(not each for each in found),
        "faults": dict(Counter(kind for each in found for kind in each)),
        "longest_shared": {"mean": mean(shared), **_spread(shared), "tunes_by_bars": _counted(shared)},
        "longest_shared_part": {"mean": mean(parts), **_spread(parts)},
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "ninth_decile": quantiles(values, n=10)[-1], "most": max(values)}


def _counted(values: list[int]) -> dict[str, int]:
    return {str(value): count for value, count in sorted(Counter(values).items())}
