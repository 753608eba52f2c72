"""The recurrent engine: rows of unequal length through torch's fused kernels, without packing.

Packed sequences keep the CPU's fast kernels away (https://github.com/pytorch/pytorch/issues/149194), so the batch
stays dense. The padding of each row is moved to its end; the backward direction reads every row flipped by its own
length; last states are gathered at each row's own end. What padding could still change, a memory that is not part of
the output, is protected by its gates (`Cell.carry`). Dropout is done outside the kernels, on inputs and on weights.

Letters: B rows, T tokens, I input features, H features of a state, D directions, G gates.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer


# Large enough to decide a gate whatever else enters it; sigmoid(±1e4) is exactly 0 or 1 in fp32, bf16 and fp16.
SHUT, OPEN, FREE = -1e4, 1e4, 0.0


class Cell(NamedTuple):
    """What the engine must know of a recurrent cell: a family is one of these rows.

    Attributes:
        fused: torch's kernel for a whole sequence.
        gates: their names, in the order in which torch stacks them in the weights.
        carry: what a padding token adds to each gate so that the memory passes it unchanged; None for cells whose
            whole state is their output, where the last real output already is the final state.
    """

    fused: Callable
    gates: tuple[str, ...]
    carry: tuple[float, ...] | None = None

    @property
    def num_states(self) -> int:
        """Tensors in a state: h, and c where there is a memory besides the output."""
        return 1 if self.carry is None else 2


#: h' = tanh(W x + b + U h + d)
TANH = Cell(torch.rnn_tanh, gates=("hidden",))

#: i, f, o = sigmoid(W x + b + U h + d), g = tanh(…);  c' = f c + i g;  h' = o tanh(c')
LSTM = Cell(torch.lstm, gates=("input", "forget", "cell", "output"), carry=(SHUT, OPEN, FREE, FREE))

#: r, z = sigmoid(W x + b + U h + d);  n = tanh(W x + b + r (U h + d));  h' = (1 - z) n + z h
GRU = Cell(torch.gru, gates=("reset", "update", "new"))


class Rows:
    """A batch in which every token is real."""

    padding = None

    def pack(self, x: Tensor) -> Tensor:
        """[B, T, ·] with the padding of each row moved to its end."""
        return x

    def unpack(self, x: Tensor) -> Tensor:
        """The opposite of `pack`, with zeros where there is padding."""
        return x

    def flip(self, x: Tensor) -> Tensor:
        """[B, T, ·] packed, each row reversed within its own length; its own opposite."""
        return x.flip(1)

    def last(self, x: Tensor, otherwise: Tensor) -> Tensor:
        """[B, H] at the last real token of packed rows; `otherwise` where a row has none."""
        return x[:, -1]


class RaggedRows(Rows):
    """A batch with padding: left, right, both, or in between, whatever stands there.

    Args:
        real: [B, T] of bool, true where a token is real.

    Attributes:
        source, target, mirror: [B, T], places in the flattened batch: for each packed token where it was, for each
            token where it goes, and for each packed token its opposite within the row.
        padding: [B, T, 1], true behind the last real token of packed rows.
    """

    def __init__(self, real: Tensor):
        B, T = real.shape
        lengths = real.sum(1, keepdim=True)  # [B, 1]
        steps = torch.arange(T, device=real.device).expand(B, T)
        rows = torch.arange(B, device=real.device)[:, None]

        # Where each token goes: real ones to the front, padding behind them, both in their old order.
        target = torch.where(real, real.cumsum(1) - 1, lengths + (~real).cumsum(1) - 1)
        source = torch.empty_like(target).scatter(1, target, steps)
        self.source, self.target = source + rows * T, target + rows * T  # into the flattened batch
        self.mirror = torch.where(steps < lengths, lengths - 1 - steps, steps) + rows * T
        self._last = ((lengths - 1).clamp(min=0) + rows * T)[:, 0]
        self._empty = lengths == 0
        self._masked = ~real[..., None]
        self.padding = steps[..., None] >= lengths[..., None]  # [B, T, 1], packed

    def pack(self, x: Tensor) -> Tensor:
        # What lies in the padding must not reach the kernels: not even 0 · NaN is 0.
        return _take(x, self.source).masked_fill(self.padding, 0)

    def unpack(self, x: Tensor) -> Tensor:
        return _take(x, self.target).masked_fill(self._masked, 0)

    def flip(self, x: Tensor) -> Tensor:
        return _take(x, self.mirror)

    def last(self, x: Tensor, otherwise: Tensor) -> Tensor:
        # Under autocast x has another type than the state that the row began with.
        return torch.where(self._empty, otherwise.to(x.dtype), x.flatten(0, 1).index_select(0, self._last))


def _take(x: Tensor, index: Tensor) -> Tensor:
    # index_select on the flattened batch is several times as fast as an expanded gather.
    return x.flatten(0, 1).index_select(0, index.flatten()).view(x.shape)


class RecurrentDirection(nn.Module):
    """One cell that reads packed rows in one direction. Parameters have torch's names, shapes and order of gates."""

    def __init__(self, cell: Cell, input_size: int, hidden_size: int, dropout: float):
        super().__init__()
        self.cell, self.dropout = cell, dropout
        G = len(cell.gates)
        self.weight_ih = nn.Parameter(torch.empty(G * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(G * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(G * hidden_size))
        self.bias_hh = nn.Parameter(torch.empty(G * hidden_size))

    @torch.no_grad()
    def reset_parameters(self):
        """Orthogonal recurrent matrices and Xavier input matrices, gate by gate; zero biases but a forget bias of 1.

        A forget gate that starts open lets gradients through time (Gers et al. 2000; Jozefowicz et al. 2015).
        """
        H = self.weight_hh.shape[1]
        for weight, fill in ((self.weight_hh, nn.init.orthogonal_), (self.weight_ih, nn.init.xavier_uniform_)):
            # Built whole, then copied: `init` leaves parameters alone that a checkpoint has filled; slices escape it.
            blocks = [fill(torch.empty(H, weight.shape[1])) for _ in self.cell.gates]
            init.copy_(weight, torch.cat(blocks).to(weight))
        bias = torch.cat([torch.full((H,), float(gate == "forget")) for gate in self.cell.gates])
        init.copy_(self.bias_ih, bias.to(self.bias_ih))
        init.zeros_(self.bias_hh)

    def forward(self, x: Tensor, rows: Rows, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """x [B, T, I] packed, state one [B, H] per tensor -> outputs [B, T, H] packed, final state."""
        weight_ih, weight_hh = self.weight_ih, self.weight_hh
        if self.dropout and self.training:
            # A column of U is what one feature of h gives to every gate: masking it drops that feature.
            weight_hh = weight_hh * nn.functional.dropout(weight_hh.new_ones(1, weight_hh.shape[1]), self.dropout)
        if self.cell.carry and rows.padding is not None:
            # The padding flag is one more input feature, its weights fixed.
            H = weight_hh.shape[1]
            carry = torch.cat([weight_ih.new_full((H, 1), value) for value in self.cell.carry])
            weight_ih = torch.cat([weight_ih, carry], dim=1)
            x = torch.cat([x, rows.padding.to(x.dtype)], dim=2)
        y, *final = run_fused(self.cell.fused, x, state, (weight_ih, weight_hh, self.bias_ih, self.bias_hh))
        return y, (rows.last(y, otherwise=state[0]), *final[1:])


class RecurrentLayer(GradientCheckpointingLayer):
    """One recurrent layer: the rows forwards and, with two directions, backwards; outputs side by side."""

    def __init__(self, cell: Cell, input_size: int, hidden_size: int, bidirectional: bool, dropout: float):
        super().__init__()
        self.forward_direction = RecurrentDirection(cell, input_size, hidden_size, dropout)
        if bidirectional:
            self.backward_direction = RecurrentDirection(cell, input_size, hidden_size, dropout)
        self.bidirectional = bidirectional

    # Flat, coming and going: reentrant checkpointing loses the gradients of tensors that stand in a tuple.
    def forward(self, x: Tensor, rows: Rows, *state: Tensor) -> tuple[Tensor, ...]:
        """x [B, T, I] packed, state one [B, D, H] per tensor -> outputs [B, T, D·H] packed, then the final state."""
        y, final = self.forward_direction(x, rows, tuple(part[:, 0] for part in state))
        if not self.bidirectional:
            return y, *(part[:, None] for part in final)
        y_back, final_back = self.backward_direction(rows.flip(x), rows, tuple(part[:, 1] for part in state))
        y = torch.cat([y, rows.flip(y_back)], dim=2)
        return y, *(torch.stack(parts, dim=1) for parts in zip(final, final_back, strict=True))


def is_exporting() -> bool:
    """Whether torch.export is at work, and not torch.compile."""
    # Before torch 2.12, under torch.compile too, torch's own function is true; the flag behind it is not.
    return torch.compiler.is_exporting() and getattr(torch.compiler, "_is_exporting_flag", True)


def run_fused(
    fused: Callable, x: Tensor, state: tuple[Tensor, ...], parameters: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """One layer, one direction, a whole sequence: x [B, T, I] -> outputs [B, T, H], final state, one [B, H] each."""
    if is_exporting():
        return tuple(torch.ops.rnnzoo.recurrence(x, list(state), list(parameters), fused.__name__))
    return _run_fused(fused, x, state, parameters)


# torch.compile would unroll the kernel into T steps: it compiles what is around it instead.
@torch.compiler.disable
def _run_fused(fused, x, state, parameters):
    device, as_cast = x.device.type, nullcontext()
    if torch.is_autocast_enabled(device) and x.dtype is not torch.float64:
        # autocast casts what enters single matrix products (but no doubles), and the kernels refuse a mixture.
        dtype = torch.get_autocast_dtype(device)
        x, state, parameters = x.to(dtype), [s.to(dtype) for s in state], [p.to(dtype) for p in parameters]
        as_cast = torch.autocast(device, enabled=False)  # which on CUDA would cast again, whatever its type, to fp16
    if device == "cuda":
        parameters = _in_one_piece(parameters)
    hx = tuple(part[None].contiguous() for part in state)
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    options = (True, 1, 0.0, torch.is_grad_enabled(), False, True)
    with as_cast:
        y, *final = fused(x, hx if len(hx) > 1 else hx[0], list(parameters), *options)
    return y, *(part[0] for part in final)


def _in_one_piece(parameters: tuple[Tensor, ...]) -> list[Tensor]:
    """The same, one behind another in memory: cuDNN wants them so, and torch warns where it has to see to that."""
    flat = torch.cat([parameter.flatten() for parameter in parameters])
    parts = flat.split([parameter.numel() for parameter in parameters])
    return [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]


# torch.export unrolls the fused kernels over the length of its example, so that no other length fits. As an operator
# of its own the kernel stays whole, and both batch and length stay free; the exported program needs `import rnnzoo`.
@torch.library.custom_op("rnnzoo::recurrence", mutates_args=())
def _recurrence(x: Tensor, state: list[Tensor], parameters: list[Tensor], kernel: str) -> list[Tensor]:
    # An operator's results must not share memory, and must lie there as declared below.
    results = _run_fused(getattr(torch, kernel), x, state, parameters)
    return [part.clone(memory_format=torch.contiguous_format) for part in results]


@_recurrence.register_fake
def _(x: Tensor, state: list[Tensor], parameters: list[Tensor], kernel: str) -> list[Tensor]:
    return [x.new_empty(*x.shape[:2], state[0].shape[1]), *(torch.empty_like(part) for part in state)]
