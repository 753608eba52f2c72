"""Rows held out of one table, for test or validation: the same share of every class, drawn as the table is read."""

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial

from datasets import Dataset

from rnnzoo.data.errors import DataError


# What test gets of a data set that is one table: a tenth, but no more rows than IMDB's test split has.
SHARE, MOST = 0.1, 25_000
# Of the draw of test, whatever the seed of the run: what one run is tested on, no other one may learn from.
TEST_SEED = 0


class Division:
    """Decides for each row of a table whether it is held out, in one pass and without holding any row.

    Of the n rows of a class, round(n * share) are held out, but one at least, and never the last one: a class of one
    row stays. They are drawn without replacement by selection sampling (Knuth, TAOCP 2, 3.4.2): a row is held out with
    the probability (rows that are still to be held out) / (rows that are still to come), both of its class. So the
    decisions are a function of the classes of the rows, in their order, and of the seed.

    Args:
        classes: that of every row.
        share: of the rows, between 0 and 1.
        seed: of the draws.
        most: rows that are held out; of a larger table the share is smaller. (Rounding may add one a class.)
    """

    def __init__(self, classes: Iterable[Hashable], share: float, seed: int, most: float = float("inf")):
        self.counts, self.seed = Counter(classes), seed
        share = min(share, most / max(1, self.counts.total()))
        self.sizes = {key: min(n - 1, max(1, round(n * share))) for key, n in self.counts.items()}

    def decider(self) -> Callable[[Hashable], bool]:
        """For a pass: whether a row is held out, from its class; to be asked for every row, in their order.

        Raises:
            DataError: when it is asked for more rows of a class than there were.
        """
        rng = random.Random(self.seed)
        to_come, to_hold = self.counts.copy(), self.sizes.copy()

        def decide(key: Hashable) -> bool:
            if not to_come[key]:
                raise DataError(
                    "There are more rows than there were when they were divided into splits: the data set was changed "
                    "during the run. Leave it as it is until the run has finished, and start again."
                )
            held_out = rng.randrange(to_come[key]) < to_hold[key]
            to_come[key] -= 1
            to_hold[key] -= held_out
            return held_out

        return decide

    def rows(self, read: Callable[[], Iterable], key: Callable, *, held_out: bool) -> Iterator:
        """A pass over the rows that are held out, or over all others."""
        decide = self.decider()
        return (row for row in read() if decide(key(row)) == held_out)


def draw(rows: Dataset, classes: list, share: float, seed: int, most: float = float("inf")) -> tuple[Dataset, Dataset]:
    """The rows that stay and those that are held out, both in their order."""
    held_out = list(map(Division(classes, share, seed, most).decider(), classes))
    both = ([i for i, held in enumerate(held_out) if held == wanted] for wanted in (False, True))
    return tuple(map(rows.select, both))


def divide(rows: Dataset, classes: list) -> tuple[dict[str, Dataset], str]:
    """Train and test of a data set that is one table, and what the user should know of that.

    Raises:
        DataError: it has too few rows.
    """
    train, test = draw(rows, classes, SHARE, TEST_SEED, MOST)
    return {"train": train, "test": test}, _remark(len(rows), len(test))


def divide_lazily(read: Callable[[], Iterable], key: Callable) -> tuple[Callable[[], Iterator], list, str]:
    """The same for a table that is read lazily: a pass over train, the rows of test, and the remark.

    Raises:
        DataError: it has too few rows.
    """
    division = Division(map(key, read()), SHARE, TEST_SEED, MOST)
    test = list(division.rows(read, key, held_out=True))
    return partial(division.rows, read, key, held_out=False), test, _remark(division.counts.total(), len(test))


def _remark(rows: int, test: int) -> str:
    if not test:
        raise DataError(
            f"The data set is one table of {rows} rows, too few to hold some out for test: no class has two. Add "
            "rows, or make a folder with files for train and test."
        )
    return f"The data set is one table: {test} of its {rows} rows are held out for test, the same ones in every run."
