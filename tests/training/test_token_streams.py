"""Streams of tokens: every token is read once and predicted once, and each row continues that of the step before."""

from itertools import chain

import numpy as np
import pytest

from rnnzoo.data.errors import DataError
from rnnzoo.training.token_streams import TokenStreams


BOS = 1
BLOCKS = [[[BOS, 10 * n + k, 9] for k in range(3 + n)] + [[BOS, 9]] for n in range(1, 4)]


def streams(blocks=BLOCKS, batch_size=4, chunk_length=3):
    sizes = [sum(map(len, block)) for block in BLOCKS]
    return TokenStreams(lambda: iter(blocks), sizes, batch_size, chunk_length, silent=BOS)


@pytest.mark.parametrize(("batch_size", "chunk_length"), [(4, 3), (5, 1), (3, 100), (1, 7)])
def test_an_epoch_reads_and_predicts_every_token_once(batch_size, chunk_length):
    rows = streams(batch_size=batch_size, chunk_length=chunk_length)
    steps = list(rows.batches(batch_size, seed=0, epoch=0))
    assert len(steps) * batch_size == len(rows) and all(len(step) == batch_size for step in steps)
    assert [row["stream"] for row in steps[-1]] == list(range(batch_size))
    starts = [number for number, step in enumerate(steps) if step[0]["begins"]]
    for block, (first, end) in zip(BLOCKS, zip(starts, [*starts[1:], len(steps)], strict=True), strict=True):
        of_block = steps[first:end]
        assert not any(row["begins"] for step in of_block[1:] for row in step)
        read, labels = (
            np.concatenate([step[b][name] for b in range(batch_size) for step in of_block])
            for name in ("input_ids", "labels")
        )
        assert sorted(read) == sorted(chain.from_iterable(block))
        assert max(len(row["input_ids"]) for step in of_block for row in step) <= chunk_length
        expected = [-100 if token == BOS else token for token in [*read[1:], BOS]]
        assert labels.tolist() == expected


def test_the_order_of_texts_follows_from_seed_and_epoch():
    def read(seed, epoch):
        return [row["input_ids"].tolist() for step in streams().batches(4, seed, epoch) for row in step]

    assert read(3, 1) == read(3, 1)
    assert read(3, 1) != read(3, 2) and read(3, 1) != read(4, 1)
    assert BLOCKS[0][0] == [BOS, 10, 9], "the texts themselves stay in their order"


@pytest.mark.parametrize("blocks", [BLOCKS[:2], [*BLOCKS, BLOCKS[0]], [BLOCKS[0], BLOCKS[0], BLOCKS[2]]])
def test_texts_that_changed_since_they_were_counted_are_refused(blocks):
    with pytest.raises(DataError, match="other tokens than when they were counted, from block"):
        list(streams(blocks).batches(4, seed=0, epoch=0))
