"""A backbone read by its equations: row by row, layer by layer and word by word, in double precision."""

import torch
from torch import nn

from rnnzoo import RecurrentState


def draw_masks(config, rows):
    """The dropout masks, drawn as the model draws them: for each layer one per row for the words that it reads, and
    one per direction for its states."""

    def draw(p, *shape):
        return nn.functional.dropout(torch.ones(shape).double(), p) if p else torch.ones(shape).double()

    masks = []
    for layer in range(config.num_hidden_layers):
        p, width = config.hidden_dropout, config.output_size
        if layer == 0:
            p, width = config.embedding_dropout, config.embedding_size
        words = draw(p, rows, width)
        keep_states = [draw(config.recurrent_dropout, config.hidden_size) for _ in range(config.num_directions)]
        masks.append((words, keep_states))
    return masks


def read_by_equations(model, step, x, mask, state, masks):
    """What the backbone answers: `last_hidden_state` and the final state's tensors.

    `step(direction, word, state, keep)` is the cell: the state after a word, by the parameters of a direction, where
    `keep` is the mask of recurrent dropout.
    """
    D = model.config.num_directions
    outputs, finals = torch.zeros(*x.shape[:2], model.config.output_size).double(), []
    for row, real in enumerate(mask.bool()):
        words, ends = list(x[row, real]), []
        for number, (layer, (keep_words, keep_states)) in enumerate(zip(model.layers, masks, strict=True)):
            words = [word * keep_words[row] for word in words]
            sides = []
            for direction in range(D):
                part = layer.backward_direction if direction else layer.forward_direction
                now = tuple(tensor[row, number * D + direction] for tensor in state)
                seen = []
                for word in words[::-1] if direction else words:
                    now = step(part, word, now, keep_states[direction])
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
    """Word vectors and an initial state, both with gradients."""
    config, rows = model.config, len(mask)
    x = torch.randn(*mask.shape, config.embedding_size).double().requires_grad_()
    shape = rows, config.num_hidden_layers * config.num_directions, config.hidden_size
    return x, [torch.randn(shape).double().requires_grad_() for _ in range(model.cell.num_states)]


def answers(model, x, mask=None, state=None):
    """The output and the final state's tensors."""
    state = state and RecurrentState(*state)
    out = model(inputs_embeds=x, attention_mask=mask, initial_state=state)
    return out.last_hidden_state, *out.final_state.to_tuple()


def check_agreement(model, step, mask, ragged):
    """That a backbone, training or not, agrees with its equations: outputs, final states and gradients."""
    x, state = words_and_state(model, mask)
    torch.manual_seed(2)
    found = answers(model, x, mask if ragged else None, state)
    torch.manual_seed(2)
    masks = draw_masks(model.config, len(mask))
    expected = read_by_equations(model, step, x, mask if ragged else torch.ones_like(mask), state, masks)
    torch.testing.assert_close(found, expected)
    inputs = [*model.layers.parameters(), x, *state]
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs))
