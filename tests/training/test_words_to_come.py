"""The objective of pretraining equals its formula, written out word by word."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rnnzoo
from rnnzoo.candidates_rnnzoo import BLOCK, GROUP, CandidateLoss
from rnnzoo.data.errors import RecipeError
from rnnzoo.tasks.pretrain import split_evenly
from rnnzoo.training.words_to_come import WordsToCome


V, PADDING, UNKNOWN = 12, 0, 2
COUNTS = torch.tensor([0, 5, 40, 100, 30, 20, 10, 5, 4, 0, 2, 1], dtype=torch.float64)  # 9 only in validation
FREQUENCY = COUNTS.clamp(min=1) / COUNTS.clamp(min=1).sum()
TEXTS = [[3, 4, 2, 5, 3, 9, 3], [6, 3, 11], [7]]


def objective(words_ahead=2, subsample=0.05, **fields):
    torch.manual_seed(0)
    options = {"vocab_size": V, "embedding_size": 4, "hidden_size": 3, "bidirectional": True} | fields
    backbone = rnnzoo.LSTMModel(rnnzoo.LSTMConfig(**options))
    model = WordsToCome(backbone, COUNTS, words_ahead, subsample, [PADDING, UNKNOWN])
    return model.double()


def batch(texts, width):
    ids = torch.tensor([row + [PADDING] * (width - len(row)) for row in texts])
    return ids, (torch.arange(width) < torch.tensor([[len(row)] for row in texts])).long()


def expected(model, texts, K, subsample, directions):
    """The mean of its docstring, as plain loops."""
    tokens, terms, predicted = sum(map(len, texts)), [], set()
    for row in texts:
        states = model.backbone(*batch([row], len(row))).last_hidden_state[0]
        for number, sign in enumerate(directions):
            for t in range(len(row)):
                h = states[t, 3 * number : 3 * number + 3] if model.config.num_hidden_layers else states[t]
                for k in range(1, K + 1):
                    w = row[t + sign * k] if 0 <= t + sign * k < len(row) else UNKNOWN
                    if w == UNKNOWN:
                        predicted.add(row[t])  # in place of a word that is not there
                    else:
                        predicted.add(w)
                        terms.append((h, w, min(1, math.sqrt(subsample / FREQUENCY[w])) if subsample else 1))
    words = sorted(predicted)
    draws = tokens * len(directions)
    q = torch.tensor([math.log(1 - (1 - FREQUENCY[w].item()) ** draws) for w in words], dtype=torch.float64)
    total = 0.0
    for h, w, a in terms:
        total -= a * (model.output[words] @ h + model.bias[words] - q).log_softmax(0)[words.index(w)]
    return total / (draws * K)


@pytest.mark.parametrize(
    "fields, directions",
    [({}, (1, -1)), ({"bidirectional": False}, (1,)), ({"num_hidden_layers": 0, "pooling": "max"}, (1, -1))],
)
@pytest.mark.parametrize("K, subsample", [(1, 0.0), (2, 0.05), (9, 0.05)])
def test_the_loss_and_its_gradients_equal_the_formula(fields, directions, K, subsample):
    model, width = objective(K, subsample, **fields), 8
    model(*batch(TEXTS, width)).loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    wanted = expected(model, TEXTS, K, subsample, directions)
    wanted.backward()
    torch.testing.assert_close(model(*batch(TEXTS, width)).loss, wanted)
    for name, p in model.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(found[name], p.grad)


def test_groups_and_blocks_of_tokens_add_up():
    N, H, K = GROUP + BLOCK + 7, 4, 3
    torch.manual_seed(0)
    states, output, bias = (torch.randn(*shape).double().requires_grad_() for shape in ((N, H), (V, H), (V,)))
    targets, weights = torch.randint(1, V, (N, K)), torch.rand(N, K).double()
    parts = states, output, bias
    found = torch.autograd.grad(2 * CandidateLoss.apply(*parts, FREQUENCY, targets, weights), parts)
    loss = 0.0
    for h, t, a in zip(states.split(GROUP), targets.split(GROUP), weights.split(GROUP), strict=True):
        q = (1 - (1 - FREQUENCY[1:]) ** len(h)).log()  # every word but the padding is among them
        loss -= (a * (h @ output[1:].T + bias[1:] - q).log_softmax(1).gather(1, t - 1)).sum()
    torch.testing.assert_close(found, torch.autograd.grad(2 * loss, parts))


def test_the_loss_starts_at_that_of_the_frequencies():
    model, subsample = objective(1, subsample=0.05), 0.05
    with torch.no_grad():
        model.output.zero_()
        words = torch.tensor([5, 4, 3, 6, 7, 8, 10, 11, 5, 3])
        loss = model(words[None], torch.ones(1, len(words))).loss
    # Every candidate has a chance of a(w) f(w) / P(w is a candidate) of being the next word.
    present = words.unique()
    chance = FREQUENCY * (subsample / FREQUENCY).sqrt().clamp(max=1)
    p = (chance / (1 - (1 - FREQUENCY) ** (2 * len(words))))[present]
    p = dict(zip(present.tolist(), (p / p.sum()).tolist(), strict=True))
    pairs = [*words[1:].tolist(), *words[:-1].tolist()]
    weight = (subsample / FREQUENCY).sqrt().clamp(max=1)
    wanted = -sum(weight[w].item() * math.log(p[w]) for w in pairs) / (2 * len(words))
    assert loss.item() == pytest.approx(wanted)


def test_a_stack_of_two_directions_is_refused():
    with pytest.raises(RecipeError, match="num_hidden_layers is 2 and model.bidirectional is true"):
        objective(num_hidden_layers=2)
    objective(num_hidden_layers=2, bidirectional=False)


@given(st.lists(st.integers(), max_size=50), st.integers(1, 60))
def test_a_text_is_split_evenly(row, most):
    chunks = list(split_evenly(row, most))
    assert [token for chunk in chunks for token in chunk] == row
    assert len(chunks) == math.ceil(len(row) / most)
    assert not chunks or max(map(len, chunks)) - min(map(len, chunks)) <= 1 and max(map(len, chunks)) <= most
