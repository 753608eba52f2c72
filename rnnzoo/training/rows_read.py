"""Trains, of an embedding, only the rows that a run reads: all others would cost time and stay as they are."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel

from rnnzoo.configuration_rnnzoo import RecurrentConfig
from rnnzoo.training.options import Options
from rnnzoo.training.task import Task


class RowsRead(nn.Module):
    """Some rows of an embedding, found by the ids that they have there.

    Args:
        embeddings: [V, E].
        ids: the rows to take, each once; the others must not be looked up.
    """

    def __init__(self, embeddings: nn.Embedding, ids: Tensor):
        super().__init__()
        self.padding_idx = embeddings.padding_idx  # an id of `embeddings`, for those who ask which token is padding
        self.weight = nn.Parameter(embeddings.weight.detach()[ids].clone())
        places = torch.full((len(embeddings.weight),), len(ids))  # out of range, so that others are refused
        places[ids] = torch.arange(len(ids))
        self.register_buffer("places", places, persistent=False)
        self._padding = None if self.padding_idx is None else int(places[self.padding_idx])

    def forward(self, ids: Tensor) -> Tensor:
        return nn.functional.embedding(self.places[ids], self.weight, self._padding)


@contextmanager
def only_rows_read(model: PreTrainedModel, task: Task, options: Options) -> Iterator[None]:
    """Within it, the model has only the rows that training and validation read; afterwards all, those trained.

    Adam leaves a row alone whose gradient is always zero, so that the result is the same. With vectors of 400,000
    words, of which a data set has 20,000, most of a step would go to the other rows. It is not done where they change
    (`weight_decay`), are not trained at all or are not known in advance, nor for models that are not of the zoo.
    """
    rows = [task.rows[name] for name in ("train", "validation", "unlabelled") if name in task.rows]
    known = isinstance(model.config, RecurrentConfig) and not model.config.tie_word_embeddings
    in_memory = all(isinstance(split, Dataset) for split in rows)
    if not known or not in_memory or options.weight_decay or options.freeze_word_vectors:
        yield
        return
    embeddings = model.get_input_embeddings()
    read = torch.zeros(len(embeddings.weight), dtype=torch.bool)
    read[task.tokenizer.all_special_ids] = True
    read[0] = True  # what a model of the zoo puts where there is no token
    if embeddings.padding_idx is not None:
        read[embeddings.padding_idx] = True
    for split in rows:
        for row in split["input_ids"]:
            read[row] = True
    ids = read.nonzero()[:, 0]
    model.set_input_embeddings(RowsRead(embeddings, ids))
    try:
        yield
    finally:
        trained = model.get_input_embeddings().weight  # where the training has moved the model
        with torch.no_grad():
            embeddings.weight[ids] = trained.to(embeddings.weight)
        model.set_input_embeddings(embeddings.to(trained.device))
