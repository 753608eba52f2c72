"""The recurrent engine: rows of unequal length through torch's fused kernels, without packed sequences.

Packed sequences do not use the CPU's fast kernels (https://github.com/pytorch/pytorch/issues/149194), so the batch
stays dense. The padding of each row is moved to its end; the backward direction reads every row reversed within its
own length; last states are gathered at each row's own end. A memory besides the output, which padding could still
change, is protected by its gates (`Cell.carry`). Dropout is applied outside the kernels, to inputs and weights.

Shapes: B rows, T tokens, I input features, H features of a state, D directions, G gates.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer


class Rows:
    """A batch in which every token is real.

    Attributes:
        real: [B, T] of bool, true where a token is real; None: every token is.
        padding: [B, T, 1], true after the last real token of packed rows; None: nowhere.
    """

    real = padding = None

    def pack(self, x: Tensor) -> Tensor:
        """[B, T] or [B, T, ·] with the padding of each row moved to its end, and zero there."""
        return x

    def unpack(self, x: Tensor) -> Tensor:
        """The inverse of `pack`, zero in the padding."""
        return x

    def flip(self, x: Tensor) -> Tensor:
        """[B, T, ·] packed, each row reversed within its own length; its own inverse."""
        return x.flip(1)

    def last(self, x: Tensor, otherwise: Tensor) -> Tensor:
        """[B, H] at the last real token of packed rows; `otherwise` where a row has none."""
        return x[:, -1]

    def carry(self, step: int, before: tuple[Tensor, ...], after: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The state after packed token `step`, [B, H] per tensor: `before`, unchanged, where this token is padding."""
        return after


class PackedRows(Rows):
    """A batch whose padding is at the end of each row.

    Args:
        lengths: [B, 1], real tokens of each row.
        width: T.
    """

    def __init__(self, lengths: Tensor, width: int):
        steps = torch.arange(width, device=lengths.device).expand(lengths.shape[0], width)
        rows = torch.arange(lengths.shape[0], device=lengths.device)[:, None]
        self.lengths = lengths
        self.real = steps < lengths
        self.padding = ~self.real[..., None]
        # Places in the flattened batch: of each token's opposite within its row, and of each row's last token.
        self._mirror = torch.where(self.real, lengths - 1 - steps, steps) + rows * width
        self._last = ((lengths - 1).clamp(min=0) + rows * width)[:, 0]

    def pack(self, x: Tensor) -> Tensor:
        # What lies in the padding must not reach the kernels: not even 0 · NaN is 0.
        return x.masked_fill(self.padding if x.ndim == 3 else self.padding[..., 0], 0)

    def unpack(self, x: Tensor) -> Tensor:
        return x.masked_fill(self.padding, 0)

    def flip(self, x: Tensor) -> Tensor:
        return _take(x, self._mirror)

    def last(self, x: Tensor, otherwise: Tensor) -> Tensor:
        # Under autocast x has another dtype than the initial state of the row.
        last = x.flatten(0, 1).index_select(0, self._last)
        return torch.where(self.lengths == 0, otherwise.to(x.dtype), last)

    def carry(self, step: int, before: tuple[Tensor, ...], after: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(torch.where(self.padding[:, step], old, new) for old, new in zip(before, after, strict=True))


class RaggedRows(PackedRows):
    """A batch with padding on the left, on the right, on both sides or in between.

    Args:
        real: [B, T] of bool, true where a token is real.
    """

    def __init__(self, real: Tensor):
        B, T = real.shape
        lengths = real.sum(1, keepdim=True)  # [B, 1]
        super().__init__(lengths, T)
        # Where each token goes: real ones to the front, padding behind them, both in their old order.
        target = torch.where(real, real.cumsum(1) - 1, lengths + (~real).cumsum(1) - 1)
        steps = torch.arange(T, device=real.device).expand(B, T)
        source = torch.empty_like(target).scatter(1, target, steps)
        offsets = torch.arange(B, device=real.device)[:, None] * T  # into the flattened batch
        self._source, self._target = source + offsets, target + offsets
        self.real = real

    def pack(self, x: Tensor) -> Tensor:
        return super().pack(_take(x, self._source))

    def unpack(self, x: Tensor) -> Tensor:
        return _take(x, self._target).masked_fill(~self.real[..., None], 0)


def _take(x: Tensor, index: Tensor) -> Tensor:
    # index_select on the flattened batch is several times as fast as an expanded gather.
    return x.flatten(0, 1).index_select(0, index.flatten()).view(x.shape)


class Cell(NamedTuple):
    """A recurrent cell, as a row of data: all that the engine must know of a family.

    Attributes:
        direction: the module that runs the cell over rows in one direction; see `RecurrentDirection`.
        num_states: tensors in a state: 1, the output h; 2, h and a memory c.
        fused: for a `FusedDirection`, torch's kernel for a whole sequence.
        gates: for a `FusedDirection`, the names of the gates in the order in which torch stacks them in the weights.
        carry: for a `FusedDirection` with a memory, what a padding token adds to each gate so that the memory passes
            it unchanged.
    """

    direction: "type[RecurrentDirection]"
    num_states: int = 1
    fused: Callable | None = None
    gates: tuple[str, ...] = ()
    carry: tuple[float, ...] | None = None


class RecurrentDirection(nn.Module):
    """A cell that reads packed rows in one direction: its parameters, their initialisation, and what it computes.

    A cell for which torch has no fused kernel is a subclass, written from plain torch operations, and a row
    `Cell(TheSubclass, num_states=…)` for a family's models. In its `forward`

    - `x` is [B, T, I], packed: the padding of each row is at its end, and finite. The rows of the backward direction
      arrive reversed.
    - `state` is a tuple of `cell.num_states` tensors [B, H], the output h first. The returned state is that after the
      last real token of each row. A loop over tokens gets it from `rows.carry`, which leaves the state alone where a
      token is padding; `rows.last` finds h at the end of outputs that are complete already.
    - outputs in the padding do not matter, but must be finite.

    A file that defines such a family is saved with each of its checkpoints once `rnnzoo.register` knows it. Let it
    import this package by name, `from rnnzoo.recurrence_rnnzoo import …`: it then loads with `trust_remote_code=True`
    wherever rnnzoo is installed.
    """

    #: Dropout of the single weights of recurrent matrices; the layer sets it.
    weight_dropout: float = 0.0

    def __init__(self, cell: Cell, input_size: int, hidden_size: int, dropout: float):
        super().__init__()
        self.cell, self.dropout = cell, dropout

    def reset_parameters(self):
        """Initialises the parameters that submodules do not initialise, by functions of `transformers.initialization`.

        They leave alone what a checkpoint has filled.
        """

    def forward(self, x: Tensor, rows: Rows, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """x [B, T, I] packed, state [B, H] per tensor -> outputs [B, T, H] packed, final state."""
        raise NotImplementedError

    def drop_recurrent(self, weight: Tensor) -> Tensor:
        """In training, a recurrent matrix [·, H] without what dropout drops, one mask for the batch.

        Recurrent dropout drops columns: what one feature of h contributes to every gate. Weight dropout drops single
        weights (Merity et al. 2018, https://arxiv.org/abs/1708.02182).
        """
        if not self.training:
            return weight
        if self.dropout:
            weight = weight * nn.functional.dropout(weight.new_ones(1, weight.shape[1]), self.dropout)
        return nn.functional.dropout(weight, self.weight_dropout) if self.weight_dropout else weight


class FusedDirection(RecurrentDirection):
    """A cell that torch has a fused kernel for. Parameters have torch's names, shapes and order of gates."""

    def __init__(self, cell: Cell, input_size: int, hidden_size: int, dropout: float):
        super().__init__(cell, input_size, hidden_size, dropout)
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
            # Built complete, then copied: `init` leaves parameters alone that a checkpoint has filled, but does not
            # see slices of them.
            blocks = [fill(torch.empty(H, weight.shape[1])) for _ in self.cell.gates]
            init.copy_(weight, torch.cat(blocks).to(weight))
        bias = torch.cat([torch.full((H,), float(gate == "forget")) for gate in self.cell.gates])
        init.copy_(self.bias_ih, bias.to(self.bias_ih))
        init.zeros_(self.bias_hh)

    def forward(self, x: Tensor, rows: Rows, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        weight_ih, weight_hh = self.weight_ih, self.drop_recurrent(self.weight_hh)
        if self.cell.carry and rows.padding is not None:
            # The padding flag is one more input feature, with fixed weights; unused features fill up the width.
            H, unused = weight_hh.shape[1], (0, -(x.shape[2] + 1) % _alignment(x))
            carry = torch.cat([weight_ih.new_full((H, 1), value) for value in self.cell.carry])
            weight_ih = torch.cat([weight_ih, nn.functional.pad(carry, unused)], dim=1)
            x = torch.cat([x, nn.functional.pad(rows.padding.to(x.dtype), unused)], dim=2)
        parameters = (weight_ih, weight_hh, self.bias_ih, self.bias_hh)
        traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
        if (
            not torch.is_grad_enabled()
            and not traced
            and x.device.type == "cpu"
            and rows.padding is not None
            and x.shape[1] > 1  # in generate() the mask of every further token is given, too
            and len(x) >= WORTH_HALVING
        ):
            y, *final = run_halves(self.cell.fused, x, state, parameters, rows.lengths[:, 0])
        else:
            y, *final = run_fused(self.cell.fused, x, state, parameters)
        return y, (rows.last(y, otherwise=state[0]), *final[1:])


def _alignment(x: Tensor) -> int:
    """The number of which the width of x should be a multiple: in bf16, CPU kernels take twice the time for others."""
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    return 16 if device == "cpu" and dtype == torch.bfloat16 else 1


# On a CPU, batches of at least this many rows are read in two halves, by length.
WORTH_HALVING = 16

# Large enough to decide a gate whatever else enters it; sigmoid(±1e4) is exactly 0 or 1 in fp32, bf16 and fp16.
SHUT, OPEN, FREE = -1e4, 1e4, 0.0

#: h' = tanh(W x + b + U h + d)
TANH = Cell(FusedDirection, fused=torch.rnn_tanh, gates=("hidden",))

#: i, f, o = sigmoid(W x + b + U h + d), g = tanh(…);  c' = f c + i g;  h' = o tanh(c')
LSTM = Cell(
    FusedDirection,
    num_states=2,
    fused=torch.lstm,
    gates=("input", "forget", "cell", "output"),
    carry=(SHUT, OPEN, FREE, FREE),
)

#: r, z = sigmoid(W x + b + U h + d);  n = tanh(W x + b + r (U h + d));  h' = (1 - z) n + z h
GRU = Cell(FusedDirection, fused=torch.gru, gates=("reset", "update", "new"))


class RecurrentLayer(GradientCheckpointingLayer):
    """One recurrent layer: rows read forwards and, with two directions, backwards too; outputs concatenated."""

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        bidirectional: bool,
        dropout: float,
        weight_dropout: float = 0.0,
    ):
        super().__init__()
        self.forward_direction = cell.direction(cell, input_size, hidden_size, dropout)
        if bidirectional:
            self.backward_direction = cell.direction(cell, input_size, hidden_size, dropout)
        for direction in self.children():
            direction.weight_dropout = weight_dropout
        self.bidirectional = bidirectional

    # Flat arguments and results: reentrant checkpointing loses the gradients of tensors inside a tuple.
    def forward(self, x: Tensor, rows: Rows, *state: Tensor) -> tuple[Tensor, ...]:
        """x [B, T, I] packed, state [B, D, H] per tensor -> outputs [B, T, D·H] packed, then the final state."""
        y, final = self.forward_direction(x, rows, tuple(part[:, 0] for part in state))
        if not self.bidirectional:
            return y, *(part[:, None] for part in final)
        y_back, final_back = self.backward_direction(rows.flip(x), rows, tuple(part[:, 1] for part in state))
        y = torch.cat([y, rows.flip(y_back)], dim=2)
        return y, *(torch.stack(parts, dim=1) for parts in zip(final, final_back, strict=True))


def is_exporting() -> bool:
    """Whether torch.export is tracing, rather than torch.compile."""
    # Before torch 2.12 torch's own function is true under torch.compile too; the flag behind it is not.
    return torch.compiler.is_exporting() and getattr(torch.compiler, "_is_exporting_flag", True)


def run_fused(
    fused: Callable, x: Tensor, state: tuple[Tensor, ...], parameters: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """One layer and direction over a sequence: x [B, T, I] -> outputs [B, T, H], then the final state, [B, H] each."""
    if is_exporting():
        return tuple(torch.ops.rnnzoo.recurrence(x, list(state), list(parameters), fused.__name__))
    return _run_fused(fused, x, state, parameters)


def run_halves(
    fused: Callable, x: Tensor, state: tuple[Tensor, ...], parameters: tuple[Tensor, ...], lengths: Tensor
) -> tuple[Tensor, ...]:
    """The same as `run_fused`, for the shorter half of the rows and the longer one; outputs in the padding are zero.

    A batch of sentences as they come is mostly padding. No step is computed after the last token of a half.
    """
    order = lengths.argsort()
    found = []
    for half in order.chunk(2):
        width = int(lengths[half].max().clamp(min=1))
        y, *final = run_fused(fused, x[half, :width], tuple(part[half] for part in state), parameters)
        found.append((nn.functional.pad(y, (0, 0, 0, x.shape[1] - width)), *final))
    back = order.argsort()
    return tuple(torch.cat(parts)[back] for parts in zip(*found, strict=True))


# torch.compile would unroll the kernel into T steps; disabled here, it compiles what is around the kernel.
@torch.compiler.disable
def _run_fused(fused, x, state, parameters):
    device, as_cast = x.device.type, nullcontext()
    if torch.is_autocast_enabled(device) and x.dtype is not torch.float64:
        # autocast casts the inputs of single matrix products (but no doubles), and the kernels refuse mixed dtypes.
        dtype = torch.get_autocast_dtype(device)
        x, state, parameters = x.to(dtype), [s.to(dtype) for s in state], [p.to(dtype) for p in parameters]
        as_cast = torch.autocast(device, enabled=False)  # which on CUDA would cast to fp16, whatever its dtype
    if device == "cuda":
        parameters = _contiguous(parameters)
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # a length of one must not become a constant
    if fused is torch.lstm and device == "cpu" and not traced and x.shape[1] == 1:
        # For one token, oneDNN spends several times what the step takes on rearranging the weights.
        with as_cast:
            h, c = torch.lstm_cell(x[:, 0], state, *parameters)
        return h[:, None], h, c
    hx = tuple(part[None].contiguous() for part in state)
    # has_biases, num_layers, dropout, train, bidirectional, batch_first
    options = (True, 1, 0.0, torch.is_grad_enabled(), False, True)
    with as_cast:
        y, *final = fused(x, hx if len(hx) > 1 else hx[0], list(parameters), *options)
    return y, *(part[0] for part in final)


def _contiguous(parameters: tuple[Tensor, ...]) -> list[Tensor]:
    """The same in one block of memory, which cuDNN needs; torch warns where it has to make the copy itself."""
    flat = torch.cat([parameter.flatten() for parameter in parameters])
    parts = flat.split([parameter.numel() for parameter in parameters])
    return [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]


# torch.export unrolls the fused kernels over the length of its example, so that no other length fits. As a custom
# operator the kernel is not unrolled, and batch and length stay dynamic; the exported program needs `import rnnzoo`.
@torch.library.custom_op("rnnzoo::recurrence", mutates_args=())
def _recurrence(x: Tensor, state: list[Tensor], parameters: list[Tensor], kernel: str) -> list[Tensor]:
    # An operator's results must not share memory, and must have the layout declared below.
    results = _run_fused(getattr(torch, kernel), x, state, parameters)
    return [part.clone(memory_format=torch.contiguous_format) for part in results]


@_recurrence.register_fake
def _(x: Tensor, state: list[Tensor], parameters: list[Tensor], kernel: str) -> list[Tensor]:
    return [x.new_empty(*x.shape[:2], state[0].shape[1]), *(torch.empty_like(part) for part in state)]
