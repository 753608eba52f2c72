"""The rows of a split as a task checks them: a bad one is refused by its number, incomplete ones by their count."""

from collections import Counter
from collections.abc import Callable, Iterator

from rnnzoo.data.corpus import Row
from rnnzoo.data.errors import BadRow, DataError, Incomplete
from rnnzoo.data.places import Split


class Checked:
    """A split whose passes yield what a task makes of its rows.

    Args:
        split: its rows as they are written.
        check: what a task makes of a row and its number; raises `BadRow` or `Incomplete`.
        drop_incomplete: leave incomplete rows out, instead of refusing the split.
    """

    def __init__(self, split: Split, check: Callable[[Row, int], Row], *, drop_incomplete: bool):
        self.split, self.check, self.drop = split, check, drop_incomplete
        self.left_out: Counter[str] = Counter()  # by what is lacking, in the longest pass so far

    def __call__(self) -> Iterator[Row]:
        """Begins a pass.

        Raises:
            DataError: a row is bad, some are incomplete, or all of them.
        """
        incomplete, first, complete = Counter(), [], False
        for number, row in self.split.numbered():
            try:
                found = self.check(row, number)
            except Incomplete as error:
                incomplete[str(error)] += 1
                first += [number][: 3 - len(first)]
                self.left_out = max(self.left_out, incomplete, key=Counter.total)
                continue
            except BadRow as error:
                raise DataError(f"Row {number} (counted from 0) of {self.split.where} {error}") from error
            if self.drop or not incomplete:  # else the rest is read for the count alone
                complete = True
                yield found
        if incomplete and not (self.drop and complete):
            way_out = (
                "No row is left: check how the file was written, and which columns are read."
                if self.drop
                else "Fill them in, or leave such rows out with --drop_incomplete."
            )
            rows = f"{'row' if len(first) == 1 else 'rows'} {', '.join(map(str, first))}"
            raise DataError(
                f"In {self.split.where}, {lacking(incomplete)} (first in {rows}, counted from 0). {way_out}"
            )

    def remarks(self) -> list[str]:
        """What was left out."""
        return [f"Left out of {self.split.where}: {lacking(self.left_out)}."] if self.left_out else []


def lacking(counts: Counter[str]) -> str:
    """What incomplete rows lack, in words."""
    parts = [f"{count} {'row has' if count == 1 else 'rows have'} no {what}" for what, count in counts.items()]
    return " and ".join(parts)
