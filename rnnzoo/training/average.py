"""An exponential average of the weights, which is evaluated and stored in place of the last ones."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule


class Average:
    """w̄ <- d w̄ + (1 - d) w after each step, with d = min(decay, (1 + t) / (10 + t)) in the t-th (t = 1, 2, ...).

    Averaging by Polyak & Juditsky 1992, https://doi.org/10.1137/0330046, here exponential as in Tarvainen & Valpola
    2017, https://arxiv.org/abs/1703.01780; d grows from 2/11, so that the initial weights are soon forgotten. Frozen
    parameters and buffers are not averaged: the model's own are the right ones.

    Args:
        model: the model that is trained, its parameters in fp32 (or shards of such, with FSDP2); so are the averages.
        decay: 0 <= decay < 1.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay, self.updates, self._model = decay, 0, model
        self._trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.weights: dict[str, Tensor] = {name: weight.detach().clone() for name, weight in self._trained.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights after a step of the optimizer."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, average in self.weights.items():
            average.lerp_(self._trained[name], 1 - decay)

    def load(self, weights: dict[str, Tensor], updates: int) -> None:
        """Continues from these averages, of so many updates; `ValueError` if they are those of another model."""
        shapes = [{name: tensor.shape for name, tensor in found.items()} for found in (weights, self.weights)]
        if shapes[0] != shapes[1]:
            raise ValueError("its averages are not those of the parameters that are trained")
        for name, average in self.weights.items():
            average.copy_(weights[name])
        self.updates = updates

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Within it, the model has the averages; afterwards, its own weights again, bit for bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        # With FSDP2, what a pass gathered is kept until the next backward pass, and gathered from the memory of the
        # shards: hence in place, and let go of first.
        for module in self._model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
        for name, average in self.weights.items():
            own = self._trained[name].clone()
            self._trained[name].copy_(average)
            average.copy_(own)
