"""Interleaved timing: contenders take turns, so that a drift of the machine meets all of them alike."""

import time
from collections.abc import Callable, Iterable


def interleaved(
    contenders: dict[str, Callable], inputs: Iterable, *, in_a_row: int = 1, wait: Callable[[], None] = lambda: None
) -> dict[str, list[float]]:
    """Milliseconds of every call of every contender.

    Args:
        inputs: the argument of each round of calls.
        in_a_row: calls of one contender before the next one's turn. A first call finds the caches full of the others'
            data, a later one finds its own.
        wait: ends a call where it returns before its work is done, as on a GPU (`torch.cuda.synchronize`).
    """
    times = {name: [] for name in contenders}
    for given in inputs:
        for name, run in contenders.items():
            for _ in range(in_a_row):
                started = time.perf_counter()
                run(given)
                wait()
                times[name].append(1000 * (time.perf_counter() - started))
    return times
