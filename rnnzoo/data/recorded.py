"""Validation splits that catalog.json records by row numbers, such as one without the films that train is about."""

import hashlib
from collections.abc import Iterable
from itertools import chain, starmap
from typing import NamedTuple

from datasets import Dataset

from rnnzoo.data.catalog import KNOWN
from rnnzoo.data.errors import DataError


class Recorded(NamedTuple):
    """A validation split of a known data set; rows are those of its training split, blocks [first, end) of numbers.

    about: how it was found.
    rows: how many there are, and `sha256` the checksum of their texts in order, see `checksum`.
    validation: the blocks that are held out.
    left_out: blocks that are in neither split.
    """

    about: str
    rows: int
    sha256: str
    validation: list[list[int]]
    left_out: list[list[int]]

    def divide(self, splits: dict[str, Dataset]) -> dict[str, Dataset]:
        """The splits with the rows of train in train and validation, in their order.

        Raises:
            DataError: they are not those that were recorded: their rows, their order, or a validation split besides.
        """
        rows = splits["train"]
        if set(splits) != {"train", "test"}:
            raise DataError(
                "validation_split divides the training split of a copy with train and test; this one has "
                f"{', '.join(splits)}. Leave validation_split out, or take the copy that the Hub has."
            )
        if len(rows) != self.rows or checksum(rows["text"][:]) != self.sha256:
            raise DataError(
                f"validation_split names rows by their numbers, and this copy's {len(rows)} rows of train are not the "
                f"{self.rows} that were numbered, or not in that order. Take the copy that the Hub has, with all of "
                "its rows, or leave validation_split out."
            )
        validation, left_out = _numbers(self.validation), set(_numbers(self.left_out))
        others = left_out.union(validation)
        train = [number for number in range(len(rows)) if number not in others]
        return {"train": rows.select(train), "validation": rows.select(validation), "test": splits["test"]}

    def remark(self, name: str) -> str:
        """What the user should know of it."""
        validation, left_out = (len(_numbers(blocks)) for blocks in (self.validation, self.left_out))
        return (
            f"Validation is the recorded split {name}: {validation:,} rows of train; {left_out} rows at its borders "
            "are left out of both."
        )


def recorded(dataset: str, name: str) -> Recorded:
    """The validation split of a known data set that has this name.

    Raises:
        DataError: there is none.
    """
    known = KNOWN[dataset].validation_splits if dataset in KNOWN else {}
    if name not in known:
        there = [f"{split} (of {data})" for data, entry in KNOWN.items() for split in entry.validation_splits]
        raise DataError(
            f"validation_split is {name!r}, which is not recorded for the data set {dataset!r}. There are: "
            f"{', '.join(there)}. Choose one of its own data set, or leave the option out."
        )
    return Recorded(**known[name])


def checksum(texts: Iterable[str]) -> str:
    """SHA-256 of the texts in order, as UTF-8, each followed by a null byte."""
    found = hashlib.sha256()
    for text in texts:
        found.update(text.encode() + b"\0")
    return found.hexdigest()


def _numbers(blocks: list[list[int]]) -> list[int]:
    return list(chain.from_iterable(starmap(range, blocks)))
