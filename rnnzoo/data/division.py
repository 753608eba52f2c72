"""Train, validation and test from one table: the same share of every class, drawn as the table is read."""

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import partial

from datasets import Dataset

from rnnzoo.data.errors import DataError


# What test and validation get: a tenth each, but no more rows than IMDB's test split has.
SHARE, MOST = 0.1, 25_000
# What `Corpus.source` says besides the name of the table.
IN_SOURCE = ", divided into train, validation and test"
# Of the draw of test, whatever the seed of the run: what one run is tested on, no other one may learn from.
TEST_SEED = 0


class Draw:
    """Decides for each row of a table whether it is held out, in one pass and without holding any row.

    Of the n rows of a class, round(n * share) are held out, but one at least, and never the last one: a class of one
    row stays. They are drawn without replacement by selection sampling (Knuth, TAOCP 2, 3.4.2): a row is held out with
    the probability (rows that are still to be held out) / (rows that are still to come), both of its class. So the
    decisions are a function of the classes of the rows, in their order, and of the seed.

    Args:
        counts: how many rows every class has.
        share: of the rows, between 0 and 1.
        seed: of the draws.
        most: rows that are held out; of a larger table the share is smaller. (Rounding may add one a class.)
    """

    def __init__(self, counts: Mapping[Hashable, int], share: float, seed: int, most: float = float("inf")):
        share = min(share, most / max(1, sum(counts.values())))
        self.counts, self.seed = counts, seed
        self.sizes = {key: min(n - 1, max(1, round(n * share))) for key, n in counts.items()}

    def decider(self) -> Callable[[Hashable], bool]:
        """For a pass: whether a row is held out, from its class; to be asked for every row, in their order.

        Raises:
            DataError: when it is asked for more rows of a class than there were.
        """
        rng = random.Random(self.seed)
        to_come, to_hold = dict(self.counts), dict(self.sizes)

        def decide(key: Hashable) -> bool:
            if not to_come.get(key):
                raise DataError(
                    "There are more rows than there were when they were divided into splits: the data set was changed "
                    "during the run. Leave it as it is until the run has finished, and start again."
                )
            held_out = rng.randrange(to_come[key]) < to_hold[key]
            to_come[key] -= 1
            to_hold[key] -= held_out
            return held_out

        return decide


class Division:
    """Assigns the rows of a table to splits: test by `TEST_SEED`, then validation from the others by `seed`.

    Args:
        classes: that of every row; None for each where they have none.
        seed: of the run.
        fraction: what validation gets of the rows that are not for test.

    Raises:
        DataError: there are too few rows.
    """

    def __init__(self, classes: Iterable[Hashable], seed: int, fraction: float | None = None):
        counts = Counter(classes)
        self.test = Draw(counts, SHARE, TEST_SEED, MOST)
        others = counts - Counter(self.test.sizes)
        self.validation = Draw(others, fraction or SHARE / (1 - SHARE), seed, float("inf") if fraction else MOST)
        total = sum(counts.values())
        test, validation = (sum(draw.sizes.values()) for draw in (self.test, self.validation))
        if not validation:
            raise DataError(
                f"The data set is one table of {total} rows, too few to hold some out for test and validation: no "
                "class has three. Add rows, or make a folder with files for train and test."
            )
        self.remark = (
            f"The data set is one table, which is divided by class: {total - test - validation} rows to train on, "
            f"{validation} for validation (drawn by the seed of the run), {test} for test (the same in every run)."
        )

    def assigner(self) -> Callable[[Hashable], str]:
        """For a pass: the split of a row, from its class; to be asked for every row, in their order."""
        for_test, for_validation = self.test.decider(), self.validation.decider()
        return lambda key: "test" if for_test(key) else "validation" if for_validation(key) else "train"


def draw(rows: Dataset, classes: list, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """The rows that stay and those that are held out, both in their order."""
    held_out = list(map(Draw(Counter(classes), share, seed).decider(), classes))
    both = ([i for i, held in enumerate(held_out) if held == wanted] for wanted in (False, True))
    return tuple(map(rows.select, both))


def divide(rows: Dataset, classes: list, seed: int, fraction: float | None = None) -> tuple[dict[str, Dataset], str]:
    """The three splits of a table, with its rows in their order, and what the user should know of that.

    Raises:
        DataError: there are too few rows.
    """
    division = Division(classes, seed, fraction)
    numbers: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for number, split in enumerate(map(division.assigner(), classes)):
        numbers[split].append(number)
    return {split: rows.select(chosen) for split, chosen in numbers.items()}, division.remark


def divide_lazily(
    read: Callable[[], Iterable], key: Callable[..., Hashable], seed: int
) -> tuple[Callable[[], Iterator], dict[str, list], str]:
    """The same of a table that is read lazily: passes over train, the rows of validation and test, and the remark.

    Raises:
        DataError: there are too few rows.
    """
    division = Division(map(key, read()), seed)
    held: dict[str, list] = {"validation": [], "test": []}
    assign = division.assigner()
    for row in read():
        if (split := assign(key(row))) != "train":
            held[split].append(row)
    return partial(_train, read, key, division), held, division.remark


def _train(read: Callable[[], Iterable], key: Callable[..., Hashable], division: Division) -> Iterator:
    assign = division.assigner()
    return (row for row in read() if assign(key(row)) == "train")
