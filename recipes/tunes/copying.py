"""How much of a tune stands in others: the longest run of bars that it shares with one of them."""

from collections import defaultdict
from collections.abc import Callable, Iterable


def longest_shared(others: Iterable[list[str]]) -> Callable[[list[str]], int]:
    """A function that finds, for the bars of a tune, how many in a row stand in the same order in one of `others`."""
    places = defaultdict(list)
    for number, bars in enumerate(others):
        for position, bar in enumerate(bars):
            places[bar].append((number, position))

    def longest(bars: list[str]) -> int:
        # Of each place in another tune where a bar stands: how many bars before it are the same.
        most, before = 0, {}
        for bar in bars:
            before = {(n, place): before.get((n, place - 1), 0) + 1 for n, place in places.get(bar, ())}
            most = max(most, *before.values(), 0)
        return most

    return longest
