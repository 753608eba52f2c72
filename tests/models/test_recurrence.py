"""The engine against its equations, word by word, and against torch's packed sequences: outputs and gradients.

Everything here runs in double precision, where agreement means seven digits and more.
"""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnzoo import RecurrentState
from rnnzoo.recurrence_rnnzoo import GRU, LSTM, TANH, WORTH_HALVING, FusedDirection, _contiguous
from tests.conftest import SMALL, VARIANTS
from tests.support.equations import (
    answers,
    check_agreement,
    draw_masks,
    gradients,
    read_by_equations,
    words_and_state,
)


E, H = SMALL["embedding_size"], SMALL["hidden_size"]


def named(variant):
    return variant.name


TORCH = {TANH: nn.RNN, LSTM: nn.LSTM, GRU: nn.GRU}


# The state after a word x, by the parameters of a direction; `keep` is what recurrent dropout does to h.


def elman(direction, x, state, keep):
    (h,) = state
    return (torch.tanh(sum(gates(direction, x, keep * h))),)


def lstm(direction, x, state, keep):
    h, c = state
    i, f, g, o = sum(gates(direction, x, keep * h)).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru(direction, x, state, keep):
    (h,) = state
    (xr, xz, xn), (hr, hz, hn) = (part.chunk(3) for part in gates(direction, x, keep * h))
    r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
    return ((1 - z) * (xn + r * hn).tanh() + z * h,)


def gates(direction, x, h):
    """W x + b and U h + d."""
    return direction.weight_ih @ x + direction.bias_ih, direction.weight_hh @ h + direction.bias_hh


EQUATIONS = {TANH: elman, LSTM: lstm, GRU: gru}


@pytest.mark.parametrize(
    ("layers", "dropout", "ragged"),
    [(1, 0.0, True), (2, 0.4, True), (2, 0.4, False)],
    ids=["one-layer", "dropout", "dropout-without-padding"],
)
def test_agrees_with_the_equations(variant, mask, layers, dropout, ragged):
    dropouts = dict.fromkeys(("embedding_dropout", "hidden_dropout", "recurrent_dropout"), dropout)
    model = variant.model(num_hidden_layers=layers, **dropouts).double().train()
    check_agreement(model, EQUATIONS[model.cell], mask, ragged)


@pytest.mark.parametrize(
    "dropout", ["embedding_dropout", "hidden_dropout", "recurrent_dropout", "recurrent_weight_dropout"]
)
@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if "LSTM" in variant.name], ids=named)
def test_dropout_is_drawn_anew_in_training_and_off_in_eval(variant, mask, dropout):
    model = variant.model(num_hidden_layers=2, **{dropout: 0.5}).double()
    x, state = words_and_state(model, mask)
    nothing_dropped = draw_masks(variant.config(num_hidden_layers=2), len(mask))
    expected = read_by_equations(model, EQUATIONS[model.cell], x, mask, state, nothing_dropped)
    torch.testing.assert_close(answers(model, x, mask, state), expected)

    model.train()
    first, second = (answers(model, x, mask, state)[0] for _ in range(2))
    assert not torch.allclose(first, second)


def test_weight_dropout_drops_single_weights_and_scales_up_the_others(variant, mask):
    model = variant.model(recurrent_weight_dropout=0.25).double().train()
    directions = list(model.layers[0].children())
    torch.manual_seed(7)
    kept = [nn.functional.dropout(direction.weight_hh, 0.25) for direction in directions]
    assert all(0 < (weight == 0).sum() < weight.numel() for weight in kept)
    x, state = words_and_state(model, mask)
    torch.manual_seed(7)
    found = answers(model, x, mask, state)
    with torch.no_grad():
        for direction, weight in zip(directions, kept, strict=True):
            direction.weight_hh.copy_(weight)
    torch.testing.assert_close(found, answers(model.eval(), x, mask, state))


def test_agrees_with_torch(variant, mask):
    model = variant.model(num_hidden_layers=2).double()
    options = {"num_layers": 2, "bidirectional": variant.bidirectional, "batch_first": True}
    theirs = TORCH[model.cell](E, H, **options).double()
    # Ours and torch's parameters in one order: for a layer and direction the same four names.
    pairs = []
    for number, layer in enumerate(model.layers):
        for suffix, part in zip(("", "_reverse"), layer.children(), strict=False):
            for name, ours in part.named_parameters():
                pairs.append((ours, getattr(theirs, f"{name}_l{number}{suffix}")))
    assert len(pairs) == len(list(theirs.parameters()))
    with torch.no_grad():
        for ours, other in pairs:
            other.copy_(ours)

    lengths = mask.sum(1).clamp(min=1)  # torch refuses a row that is empty
    mask = torch.arange(mask.shape[1]) < lengths[:, None]
    x, state = words_and_state(model, mask)
    found = answers(model, x, mask, state)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    hx = [part.transpose(0, 1).contiguous() for part in state]
    y, final = theirs(packed, tuple(hx) if len(hx) > 1 else hx[0])
    final = final if len(hx) > 1 else (final,)
    y, _ = pad_packed_sequence(y, batch_first=True, total_length=mask.shape[1])
    expected = y, *(part.transpose(0, 1) for part in final)
    torch.testing.assert_close(found, expected)

    ours, others = zip(*pairs, strict=True)
    torch.testing.assert_close(gradients(found, [*ours, x, *state]), gradients(expected, [*others, x, *state]))


@pytest.mark.parametrize("empty", [0, 3, WORTH_HALVING + 1])
def test_a_large_batch_is_read_in_halves_as_at_once(variant, empty):
    """In inference; with gradients, rows are read at once. Some rows, the shorter half or all of them are empty."""
    model = variant.model(num_hidden_layers=2).double()
    lengths = torch.randint(1, 9, (WORTH_HALVING + 1, 1)).index_fill(0, torch.randperm(WORTH_HALVING + 1)[:empty], 0)
    mask = (torch.arange(12) >= 2) & (torch.arange(12) < 2 + lengths)  # padding on both sides
    x, state = words_and_state(model, mask)
    expected = answers(model, x, mask, state)
    with torch.no_grad():
        torch.testing.assert_close(answers(model, x, mask, state), expected)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if variant.bidirectional], ids=named)
def test_directions_mirror_each_other(variant, side):
    """With the same weights in both directions, a reversed row gives the row's output reversed."""
    model = variant.model().double()
    (layer,) = model.layers
    layer.backward_direction.load_state_dict(layer.forward_direction.state_dict())
    row, padding = torch.randn(1, 5, E).double(), torch.zeros(1, 3, E).double()
    real, none = torch.ones(1, 5), torch.zeros(1, 3)

    def read(row):
        parts, mask = ([row, padding], [real, none]) if side == "right" else ([padding, row], [none, real])
        y, *final = answers(model, torch.cat(parts, 1), torch.cat(mask, 1))
        return y[:, :5] if side == "right" else y[:, 3:], *final

    y, *final = read(row)
    mirrored_y, *mirrored_final = read(row.flip(1))
    torch.testing.assert_close(mirrored_y, y.flip(1).roll(H, dims=2))
    torch.testing.assert_close(mirrored_final, [part.flip(1) for part in final])
    assert not torch.allclose(y[..., :H], y[..., H:])


@pytest.mark.parametrize("ragged", [True, False], ids=["ragged", "full"])
@pytest.mark.parametrize("variant", [variant for variant in VARIANTS if not variant.bidirectional], ids=named)
def test_a_row_can_be_read_in_chunks(variant, mask, ragged):
    model = variant.model(num_hidden_layers=2).double()
    x, start = words_and_state(model, mask)
    mask = mask if ragged else None
    expected, *final = answers(model, x, mask, start)
    state, chunks = start, []
    for chunk in (slice(0, 2), slice(2, 3), slice(3, 6)):  # in each some rows have ended or not yet begun
        y, *state = answers(model, x[:, chunk], mask if mask is None else mask[:, chunk], state)
        chunks.append(y)
    torch.testing.assert_close(torch.cat(chunks, 1), expected)
    torch.testing.assert_close(state, final)


def test_a_state_of_another_shape_is_refused(variant):
    model = variant.model(num_hidden_layers=2)
    fitting = model(torch.ones(2, 3, dtype=torch.long)).final_state.to_tuple()
    misfits = {
        "rows": [part[:1] for part in fitting],
        "layers": [part[:, 1:] for part in fitting],
        "features": [part[..., 1:] for part in fitting],
        "tensors too many": [*fitting, fitting[0]][:2] if len(fitting) == 1 else fitting[:1],
    }
    for what, state in misfits.items():
        with pytest.raises(ValueError, match="initial_state has tensors of shapes") as refusal:
            model(torch.ones(2, 3, dtype=torch.long), initial_state=RecurrentState(*state))
        assert str(tuple(state[0].shape)) in str(refusal.value), what
        assert str(tuple(fitting[0].shape)) in str(refusal.value), what


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("cell", EQUATIONS, ids=lambda cell: cell.fused.__name__)
def test_the_operator_for_export_returns_what_it_declares(cell, length):
    """Fake tensors have the shapes of real ones, and no result shares memory with an argument or another result."""
    part = FusedDirection(cell, E, H, dropout=0.0)
    part.reset_parameters()
    parameters = [parameter.detach() for parameter in part.parameters()]
    state = [torch.randn(3, H) for _ in range(cell.num_states)]
    arguments = torch.randn(3, length, E), state, parameters, cell.fused.__name__
    torch.library.opcheck(
        torch.ops.rnnzoo.recurrence.default, arguments, test_utils=("test_schema", "test_faketensor")
    )


def test_weights_for_cudnn_are_one_block_of_memory():
    """With nothing else in it; gradients reach each of them."""
    parameters = [torch.randn(shape, requires_grad=True) for shape in ((8, 3), (8, 2), (8,), (8,))]
    parts = _contiguous(parameters)
    torch.testing.assert_close(parts, parameters, rtol=0, atol=0)
    memory = torch.empty(0).set_(parts[0].untyped_storage())
    assert memory.tolist() == [number for parameter in parameters for number in parameter.flatten().tolist()]
    sum((number * part).sum() for number, part in enumerate(parts)).backward()
    assert [parameter.grad.unique().tolist() for parameter in parameters] == [[0], [1], [2], [3]]
