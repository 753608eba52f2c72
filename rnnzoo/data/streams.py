"""Lazy reading, for data sets larger than memory: batches of an epoch, rows held out, a survey for the tokenizer."""

import math
import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import torch

from rnnzoo.data.corpus import Pass, Row
from rnnzoo.data.errors import DataError


# Rows in the shuffle buffer; rows that are held out for validation, one in so many until there are enough.
BUFFER, VALIDATION, ONE_IN = 10_000, 5_000, 20


class Stream:
    """Training rows that are read lazily, in batches of rows of similar length.

    The order is a function of seed and epoch: rows are drawn from a shuffle buffer and sorted by length within pools
    of 50 batches, and the batches of a pool are shuffled. Every process reads all rows and encodes only those of its
    own batches, so that any number of processes trains on the same batches.

    Args:
        read: begins a pass.
        size: rows of a pass.
        encode: columns of rows -> columns that the task collates.
        column: the column whose length counts.
    """

    def __init__(self, read: Pass, size: int, encode: Callable[[dict], dict[str, list]], column: str):
        self.read, self.size, self.encode, self.column = read, size, encode, column

    def __len__(self):
        return self.size

    def __getitem__(self, rows: list[Row]) -> dict[str, list]:
        return self.encode({name: [row[name] for row in rows] for name in rows[0]})

    def batches(self, batch_size: int, seed: int, epoch: int) -> Iterator[list[Row]]:
        """All rows of an epoch, in batches whose sizes differ by one at most within a pool.

        Raises:
            DataError: there are fewer rows than were counted.
        """
        rng = random.Random(1_000_003 * seed + epoch)
        rows = shuffled(self._counted(), rng)
        pool = list(islice(rows, 50 * batch_size))
        while pool:
            following = list(islice(rows, 50 * batch_size))
            if len(following) < 50 * batch_size:  # a short last batch may be too small to split among the processes
                pool, following = pool + following, []
            pool.sort(key=lambda row: len(row[self.column]))
            parts = torch.arange(len(pool)).tensor_split(math.ceil(len(pool) / batch_size))
            batches = [[pool[i] for i in part] for part in parts]
            rng.shuffle(batches)
            yield from batches
            pool = following

    def _counted(self) -> Iterator[Row]:
        """As many rows as were counted; a file may have grown since."""
        count = 0
        for row in islice(self.read(), self.size):
            count += 1
            yield row
        if count < self.size:
            raise DataError(
                f"The train split has {count} rows, but had {self.size} when they were counted: it was changed during "
                "the run. Leave the data set as it is until the run has finished, and start again."
            )


class Survey:
    """A column of a first pass, for a tokenizer to learn from; counts the rows."""

    def __init__(self, rows: Iterator[Row], column: str):
        self.rows, self.column, self.size = rows, column, 0

    def __iter__(self) -> Iterator[Any]:
        for row in self.rows:
            self.size += 1
            yield row[self.column]

    def finish(self) -> int:
        """Read the rest of the pass; returns the number of rows."""
        for _ in self:
            pass
        return self.size


def shuffled(rows: Iterable[Row], rng: random.Random) -> Iterator[Row]:
    """The rows in the order of a shuffle buffer: each one takes the place of one that is drawn from the buffer."""
    buffer = []
    for row in rows:
        if len(buffer) < BUFFER:
            buffer.append(row)
            continue
        place = rng.randrange(BUFFER)
        yield buffer[place]
        buffer[place] = row
    rng.shuffle(buffer)
    yield from buffer


def set_apart(read: Pass, seed: int, source: str) -> tuple[list[Row], Pass]:
    """Hold rows out for validation: one in twenty of the first 100,000, drawn by `seed`; and a pass over all others.

    Raises:
        DataError: no row is drawn.
    """
    held_out = list(_drawn(read, seed, validation=True))
    if not held_out:
        raise DataError(
            f"The train split ({source}) is too short to hold out one row in {ONE_IN} for validation. Add a "
            "validation split, or leave out --streaming."
        )
    return held_out, partial(_drawn, read, seed, validation=False)


def _drawn(read: Pass, seed: int, *, validation: bool) -> Iterator[Row]:
    """The rows that are held out for validation, or all others."""
    rng, count = random.Random(seed), 0
    for row in read():
        held_out = count < VALIDATION and rng.randrange(ONE_IN) == 0
        count += held_out
        if held_out == validation:
            yield row
        if validation and count == VALIDATION:
            return
