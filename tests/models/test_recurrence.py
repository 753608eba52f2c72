"""The engine against the equations, read word by word, and against torch's packed sequences: outputs and gradients.

Everything here runs in double precision, where agreement means seven digits and more.
"""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnzoo import RecurrentState
from rnnzoo.recurrence_rnnzoo import GRU, LSTM, TANH, RecurrentDirection, _in_one_piece
from tests.conftest import SMALL, VARIANTS


E, H = SMALL["embedding_size"], SMALL["hidden_size"]

TORCH = {TANH: nn.RNN, LSTM: nn.LSTM, GRU: nn.GRU}


# One word x, the state before it, the weights, and `keep`, what recurrent dropout does to h on its way to the gates.


def elman(x, state, W, U, b, d, keep):
    (h,) = state
    return (torch.tanh(W @ x + b + U @ (keep * h) + d),)


def lstm(x, state, W, U, b, d, keep):
    h, c = state
    i, f, g, o = (W @ x + b + U @ (keep * h) + d).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru(x, state, W, U, b, d, keep):
    (h,) = state
    (xr, xz, xn), (hr, hz, hn) = (W @ x + b).chunk(3), (U @ (keep * h) + d).chunk(3)
    r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
    return ((1 - z) * (xn + r * hn).tanh() + z * h,)


EQUATIONS = {TANH: elman, LSTM: lstm, GRU: gru}


def draw_masks(config, rows):
    """The dropout masks, drawn as the model draws them: for each layer one per row for the words that it reads, and
    one per direction for its states."""

    def draw(p, *shape):
        return nn.functional.dropout(torch.ones(shape).double(), p) if p else torch.ones(shape).double()

    masks = []
    for layer in range(config.num_hidden_layers):
        p, width = (config.hidden_dropout, config.output_size) if layer else (config.embedding_dropout, E)
        words = draw(p, rows, width)
        masks.append((words, [draw(config.recurrent_dropout, H) for _ in range(config.num_directions)]))
    return masks


def read_by_equations(model, x, mask, state, masks):
    """What the backbone answers: `last_hidden_state` and the final state's tensors, row by row and word by word."""
    step, D = EQUATIONS[model.cell], model.config.num_directions
    outputs, finals = torch.zeros(*x.shape[:2], model.config.output_size).double(), []
    for row, real in enumerate(mask.bool()):
        words, ends = list(x[row, real]), []
        for number, (layer, (keep_words, keep_states)) in enumerate(zip(model.layers, masks, strict=True)):
            words = [word * keep_words[row] for word in words]
            sides = []
            for direction in range(D):
                part = layer.backward_direction if direction else layer.forward_direction
                weights = part.weight_ih, part.weight_hh, part.bias_ih, part.bias_hh
                now = tuple(tensor[row, number * D + direction] for tensor in state)
                seen = []
                for word in words[::-1] if direction else words:
                    now = step(word, now, *weights, keep_states[direction])
                    seen.append(now[0])
                sides.append(seen[::-1] if direction else seen)
                ends.append(now)
            words = [torch.cat(both) for both in zip(*sides, strict=True)]
        if words:
            outputs[row, real] = torch.stack(words)
        finals.append([torch.stack(tensors) for tensors in zip(*ends, strict=True)])
    return outputs, *(torch.stack(tensors) for tensors in zip(*finals, strict=True))


def gradients(outputs, inputs):
    """Of a sum in which every number of every output has a weight of its own."""
    weights = torch.Generator().manual_seed(1)
    total = sum((out * torch.randn(out.shape, generator=weights)).sum() for out in outputs)
    return torch.autograd.grad(total, inputs)


def words_and_state(model, mask):
    """Word vectors and a state to start from, both to be differentiated."""
    places = model.config.num_hidden_layers * model.config.num_directions
    x = torch.randn(*mask.shape, E).double().requires_grad_()
    state = [torch.randn(len(mask), places, H).double().requires_grad_() for _ in range(model.cell.num_states)]
    return x, state


def answers(model, x, mask=None, state=None):
    """The output and the final state's tensors."""
    state = state and RecurrentState(*state)
    out = model(inputs_embeds=x, attention_mask=mask, initial_state=state)
    return out.last_hidden_state, *out.final_state.to_tuple()


@pytest.mark.parametrize("ragged", [True, False], ids=["ragged", "full"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("layers", [1, 2])
def test_agrees_with_the_equations(variant, mask, layers, dropout, ragged):
    dropouts = dict.fromkeys(("embedding_dropout", "hidden_dropout", "recurrent_dropout"), dropout)
    model = variant.model(num_hidden_layers=layers, pooling="last", **dropouts).double().train()
    x, state = words_and_state(model, mask)
    torch.manual_seed(2)
    found = answers(model, x, mask if ragged else None, state)
    torch.manual_seed(2)
    masks = draw_masks(model.config, len(mask))
    expected = read_by_equations(model, x, mask if ragged else torch.ones_like(mask), state, masks)
    torch.testing.assert_close(found, expected)

    inputs = [*model.layers.parameters(), x, *state]
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs))


@pytest.mark.parametrize("dropout", ["embedding_dropout", "hidden_dropout", "recurrent_dropout"])
def test_dropout_is_drawn_anew_in_training_and_off_in_eval(variant, mask, dropout):
    model = variant.model(num_hidden_layers=2, **{dropout: 0.5}).double()
    x, state = words_and_state(model, mask)
    whole = read_by_equations(model, x, mask, state, draw_masks(variant.config(num_hidden_layers=2), len(mask)))
    torch.testing.assert_close(answers(model, x, mask, state), whole)

    model.train()
    first, second = (answers(model, x, mask, state)[0] for _ in range(2))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("layers", [1, 2])
def test_agrees_with_torch(variant, mask, layers):
    model = variant.model(num_hidden_layers=layers).double()
    options = {"num_layers": layers, "bidirectional": variant.bidirectional, "batch_first": True}
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


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "variant", [variant for variant in VARIANTS if variant.bidirectional], ids=lambda variant: variant.name
)
def test_directions_mirror_each_other(variant, side):
    """With the same weights in both directions, a row read from its end gives its own output from the end."""
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
@pytest.mark.parametrize(
    "variant", [variant for variant in VARIANTS if not variant.bidirectional], ids=lambda variant: variant.name
)
def test_a_row_can_be_read_in_pieces(variant, mask, ragged):
    model = variant.model(num_hidden_layers=2).double()
    x, start = words_and_state(model, mask)
    mask = mask if ragged else None
    whole, *final = answers(model, x, mask, start)
    state, pieces = start, []
    for piece in (slice(0, 2), slice(2, 3), slice(3, 6)):  # in each some rows have ended or not begun
        y, *state = answers(model, x[:, piece], mask if mask is None else mask[:, piece], state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole)
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
def test_the_operator_for_export_is_what_it_declares(variant, length):
    """Shapes without data are those with data, and no result shares memory with an argument or another result."""
    cell = variant.model().cell
    part = RecurrentDirection(cell, E, H, dropout=0.0)
    part.reset_parameters()
    parameters = [parameter.detach() for parameter in part.parameters()]
    state = [torch.randn(3, H) for _ in range(cell.num_states)]
    arguments = torch.randn(3, length, E), state, parameters, cell.fused.__name__
    torch.library.opcheck(
        torch.ops.rnnzoo.recurrence.default, arguments, test_utils=("test_schema", "test_faketensor")
    )


def test_weights_for_cudnn_lie_one_behind_another():
    """It takes them so, and no other memory beside them; gradients come back to each."""
    parameters = [torch.randn(shape, requires_grad=True) for shape in ((8, 3), (8, 2), (8,), (8,))]
    parts = _in_one_piece(parameters)
    torch.testing.assert_close(parts, parameters, rtol=0, atol=0)
    memory = torch.empty(0).set_(parts[0].untyped_storage())
    assert memory.tolist() == [number for parameter in parameters for number in parameter.flatten().tolist()]
    sum((number * part).sum() for number, part in enumerate(parts)).backward()
    assert [parameter.grad.unique().tolist() for parameter in parameters] == [[0], [1], [2], [3]]
