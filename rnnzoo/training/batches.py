"""Batches of examples of like length, split among processes and micro-batches."""

import math
from collections.abc import Iterable

import torch
from datasets import Dataset
from torch import Tensor

from rnnzoo.data.streams import Stream
from rnnzoo.training.token_streams import TokenStreams


def batches(lengths: list[int], batch_size: int, seed: int | None, epoch: int = 0) -> list[list[int]]:
    """Indices in batches of examples of like length: every example once, batches as equal in size as can be.

    With a seed, examples are shuffled, sorted by length within pools of 50 batches, and the batches shuffled: a
    function of seed and epoch alone. Without, they are in order of length. Sizes differ by one at most, so that no
    batch is too small to be split among processes.
    """
    n = len(lengths)
    lengths = torch.as_tensor(lengths)
    count = math.ceil(n / batch_size)
    if seed is None:
        return [part.tolist() for part in lengths.argsort(stable=True).tensor_split(count)]
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    order = torch.randperm(n, generator=generator)
    pools = [pool[lengths[pool].argsort(stable=True)] for pool in order.split(50 * batch_size)]
    parts = torch.cat(pools).tensor_split(count)
    return [parts[i].tolist() for i in torch.randperm(count, generator=generator)]


def epoch_batches(rows: Dataset | Stream | TokenStreams, batch_size: int, seed: int, epoch: int) -> Iterable[list]:
    """The batches of one epoch: of examples in memory, or as a source that knows its own order gives them."""
    if isinstance(rows, Dataset):
        return batches(list(rows["length"]), batch_size, seed, epoch)
    return rows.batches(batch_size, seed, epoch)


def split(batch: list, rank: int, world: int, micro_batches: int = 1) -> list[list]:
    """One process's part of a batch, in micro-batches; examples are dealt in turn, so lengths stay alike."""
    mine = batch[rank::world]
    return [mine[i::micro_batches] for i in range(micro_batches) if mine[i::micro_batches]]


def count_labels(batch: dict[str, Tensor]) -> int:
    """The number of labels over which a model takes its mean loss: those that are not -100."""
    return int((batch["labels"] != -100).sum())
