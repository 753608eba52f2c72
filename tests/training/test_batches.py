"""Batches: every example once, of like length, a function of seed and epoch, split evenly."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from rnnzoo.training.batches import batches, split


lengths_of_examples = st.lists(st.integers(0, 300), min_size=1, max_size=200)
seeds = st.none() | st.integers(0, 2**32 - 1)


@example([0] * 9, 8, 0, 0)  # if all batches but the last were full, that would have one example
@given(lengths_of_examples, st.integers(1, 70), seeds, st.integers(0, 50))
def test_batches_hold_every_example_once_and_differ_in_size_by_one_at_most(lengths, batch_size, seed, epoch):
    found = batches(lengths, batch_size, seed, epoch)
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    sizes = [len(batch) for batch in found]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert len(found) == math.ceil(len(lengths) / batch_size)
    assert found == batches(lengths, batch_size, seed, epoch)


def test_batches_depend_on_seed_and_epoch():
    lengths = [i % 17 for i in range(100)]
    orders = [batches(lengths, 8, seed, epoch) for seed in range(5) for epoch in range(5)]
    assert len({str(order) for order in orders}) == 25
    # Not only the order of the batches differs: each example meets others.
    assert len({str(sorted(map(sorted, order))) for order in orders}) == 25


@pytest.mark.parametrize("seed", [0, None])
def test_examples_of_a_batch_have_like_lengths(seed):
    lengths = torch.empty(4000).log_normal_(5, 0.7).long().clamp(1, 2000)

    def padding(order):
        """The fraction of positions that hold no token."""
        positions = sum(len(batch) * lengths[batch].max() for batch in order)
        return 1 - lengths.sum() / positions

    at_random = padding([batch.tolist() for batch in torch.randperm(len(lengths)).split(32)])
    assert at_random > 0.6
    assert padding(batches(lengths.tolist(), 32, seed)) < 0.2


@given(st.lists(st.integers(), unique=True, max_size=80), st.integers(1, 5), st.integers(1, 5))
def test_a_batch_is_split_evenly_among_processes_and_micro_batches(batch, world, micro_batches):
    parts = [split(batch, rank, world, micro_batches) for rank in range(world)]
    assert sorted(index for mine in parts for part in mine for index in part) == sorted(batch)
    sizes = [sum(map(len, mine)) for mine in parts]
    assert max(sizes) - min(sizes) <= 1
    assert all(part for mine in parts for part in mine)
    if len(batch) >= world * micro_batches:
        assert all(len(mine) == micro_batches for mine in parts)
