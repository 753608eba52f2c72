"""Texts as one long stream of tokens, read by a batch of rows side by side, for states carried from step to step."""

import math
import random
from collections.abc import Callable, Iterator
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from rnnzoo.data.errors import DataError


# A block of texts: their ids, in the order of the data.
Blocks = Callable[[], Iterator[list[list[int]]]]


class TokenStreams:
    """The tokens of all texts, one text after the other, cut into `batch_size` streams that are read chunk by chunk.

    Texts are shuffled within blocks, by seed and epoch. The tokens of a block are cut into streams of equal length, up
    to one token; row b of each batch continues row b of the batch before it, so that a state can be carried from
    step to step (truncated back-propagation through time, Williams & Peng 1990). A chunk is the input, and the tokens
    that follow each of its tokens are the labels: every token is read once and predicted once in an epoch.

    Args:
        blocks: begins a pass over the blocks; data in memory is one.
        sizes: the number of tokens of each block.
        batch_size: B.
        chunk_length: T, the tokens that a stream reads in a step.
        silent: the id that is no label: that of `<s>`, which follows `</s>` always.
    """

    def __init__(self, blocks: Blocks, sizes: list[int], batch_size: int, chunk_length: int, silent: int):
        self.blocks, self.sizes = blocks, sizes
        self.batch_size, self.chunk_length, self.silent = batch_size, chunk_length, silent
        self.steps = sum(self._steps(size) for size in sizes)

    def __len__(self) -> int:
        """Rows of all batches of an epoch, so that as many steps are planned as there are."""
        return self.steps * self.batch_size

    def __getitem__(self, rows: list[dict[str, Any]]) -> dict[str, list]:
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _steps(self, size: int) -> int:
        return math.ceil(math.ceil(size / self.batch_size) / self.chunk_length)

    def batches(self, batch_size: int, seed: int, epoch: int) -> Iterator[list[dict[str, Any]]]:
        """The batches of an epoch. A row has `stream`, its number; `begins`, whether a block does; `input_ids` and
        `labels`, which may be shorter than others, or empty, at the end of a block.

        Raises:
            DataError: the texts changed since their tokens were counted.
        """
        for number, (texts, size) in enumerate(zip_longest(self.blocks(), self.sizes, fillvalue=[])):
            order = random.Random(f"{seed} {epoch} {number}").sample(texts, len(texts))
            tokens = np.fromiter(chain.from_iterable(order), np.int64)
            if len(tokens) != size:
                raise DataError(
                    f"The texts of the train split have other tokens than when they were counted, from block {number} "
                    "on: they were changed during the run. Leave the data set as it is until the run has finished, "
                    "and start again."
                )
            labels = np.append(tokens[1:], -100)
            labels[labels == self.silent] = -100
            ends = [len(tokens) * b // batch_size for b in range(batch_size + 1)]
            for start in range(0, self._steps(len(tokens)) * self.chunk_length, self.chunk_length):
                chunks = [
                    slice(min(left + start, right), min(left + start + self.chunk_length, right))
                    for left, right in zip(ends, ends[1:], strict=False)
                ]
                yield [
                    {"stream": b, "begins": not start, "input_ids": tokens[chunk], "labels": labels[chunk]}
                    for b, chunk in enumerate(chunks)
                ]
