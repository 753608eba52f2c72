"""A CRF over IOBES tags whose labels are IOB2, against brute force over the labels."""

import itertools
import math

import pytest
import torch

import rnnzoo
from rnnzoo.crf_rnnzoo import EntityCRF
from rnnzoo.data import schemes
from rnnzoo.modeling_rnnzoo import logits_of_path


LABELS = ["O", "B-X", "I-X", "B-Y"]  # entities of type Y have one token
OWN = ["O", "B-X", "I-X", "B-Y", "S-X", "E-X"]


@pytest.fixture
def crf():
    made = EntityCRF(LABELS).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made


@pytest.fixture
def case():
    """Emissions, and a mask with padding right, left, in between, everywhere, and nowhere."""
    mask = torch.tensor([[c == "1" for c in row] for row in ("1111", "1100", "0011", "1011", "0000", "0100")])
    return torch.randn(*mask.shape, len(OWN), dtype=torch.float64) * 2, mask


def score(crf, emissions, path):
    steps = sum(crf.transitions[a, b].item() for a, b in itertools.pairwise(path))
    return (
        crf.start[path[0]].item()
        + crf.end[path[-1]].item()
        + steps
        + sum(map(float, emissions[range(len(path)), path]))
    )


def own_path(labels):
    """The IOBES tags of labels that are in IOB2, by the schemes of data sets, as numbers of the CRF's tags."""
    tags = [LABELS[i] for i in labels]
    written = schemes.convert(tags, "IOB2", "IOBES")
    return [OWN.index(tag if tag in OWN else "B-Y") for tag in written]  # S-Y is the label itself


def valid_labels(length):
    """Every sequence of labels that is IOB2."""
    for path in itertools.product(range(len(LABELS)), repeat=length):
        if all(label != 2 or before in (1, 2) for before, label in itertools.pairwise((None, *path))):
            yield path


def labels_by_score(crf, emissions):
    return sorted(
        ((score(crf, emissions, own_path(path)), path) for path in valid_labels(len(emissions))), reverse=True
    )


def test_labels_of_any_length_have_the_tags_of_the_scheme(crf):
    for length in range(1, 6):
        paths = torch.tensor(list(valid_labels(length)))
        found = crf.own_tags(paths, torch.ones_like(paths, dtype=torch.bool))
        assert found.tolist() == [own_path(path) for path in paths.tolist()]


def test_likelihood_of_labels_is_that_of_their_tags(crf, case):
    emissions, mask = case
    labels = torch.tensor([[1, 2, 2, 1], [1, 1, 2, 2], [2, 2, 1, 2], [1, 2, 2, 0], [1, 2, 0, 0], [0, 1, 2, 0]])
    found = crf(emissions, labels, mask)
    for row, real in enumerate(mask):
        if not real.any():
            assert found[row] == 0
            continue
        scores = [
            score(crf, emissions[row, real], p) for p in itertools.product(range(len(OWN)), repeat=int(real.sum()))
        ]
        expected = score(crf, emissions[row, real], own_path(labels[row, real].tolist()))
        assert found[row].item() == pytest.approx(expected - math.log(sum(map(math.exp, scores))), abs=1e-10)


@pytest.mark.parametrize("n", [1, 4])
def test_best_paths_are_those_of_the_labels(crf, case, n):
    emissions, mask = case
    labels, scores = crf.decode(emissions, mask, n=n)
    assert not labels[~mask[:, None].expand_as(labels)].any()
    for row, real in enumerate(mask):
        expected = labels_by_score(crf, emissions[row, real])[:n] if real.any() else [(0.0, ())]
        for rank, (best, path) in enumerate(expected):
            assert tuple(labels[row, rank, real].tolist()) == path
            assert scores[row, rank].item() == pytest.approx(best, abs=1e-10)
        assert (scores[row, len(expected) :] == -torch.inf).all()


def test_marginals_are_those_of_the_labels(crf, case):
    emissions, mask = case
    found = crf.marginals(emissions, mask)
    assert not found[~mask].any()
    for row, real in enumerate(mask):
        expected = torch.zeros(int(real.sum()), len(LABELS), dtype=torch.float64)
        allowed = labels_by_score(crf, emissions[row, real]) if real.any() else []
        for s, path in allowed:
            expected[range(len(path)), path] += math.exp(s)
        expected /= sum(math.exp(s) for s, _ in allowed) or 1
        torch.testing.assert_close(found[row, real], expected, atol=1e-10, rtol=0)


def test_nothing_is_a_path_of_a_text_without_tokens(crf):
    empty = torch.zeros(2, 0, len(OWN), dtype=torch.float64), torch.zeros(2, 0, dtype=torch.bool)
    labels = torch.zeros(2, 0, dtype=torch.long)
    assert crf(empty[0], labels, empty[1]).tolist() == [0, 0] and crf.decode(*empty)[0].shape == (2, 1, 0)


@pytest.mark.parametrize("labels", [["noun", "I-X", "B-Y"], ["B", "I", "BI"], ["B-X", "I-X", "S-X"]], ids=str)
def test_labels_without_entities_in_iob2_are_the_only_tags(labels):
    crf = EntityCRF(labels)
    tags = torch.randint(3, (3, 5))
    assert len(crf.start) == 3 and not crf.forbidden.any()
    assert torch.equal(crf.own_tags(tags, torch.ones(3, 5, dtype=torch.bool)), tags)


def test_labels_that_do_not_count_may_have_any_number(crf, case):
    emissions, mask = case
    labels = torch.randint(len(LABELS), mask.shape)
    assert torch.equal(crf(emissions, labels, mask), crf(emissions, labels.masked_fill(~mask, -100), mask))


def test_under_autocast_logits_give_the_best_path(crf):
    emissions = torch.randn(20, 9, len(OWN)) / 10
    with torch.autocast("cpu", torch.bfloat16):
        logits = logits_of_path(tags := crf.float().decode(emissions)[0][:, 0], crf.marginals(emissions))
    assert torch.equal(logits.argmax(2), tags)


def test_a_tagger_answers_in_labels_and_learns_them(tmp_path):
    """What it returns in evaluation has the labels' sizes, a saved one answers alike, and a few steps fit a batch."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "embedding_size": 8, "hidden_size": 8, "bidirectional": True}
    config = rnnzoo.LSTMConfig(**sizes, use_crf=True, iobes=True, id2label=dict(enumerate(LABELS)))
    model = rnnzoo.LSTMForTokenClassification(config)
    ids = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 10, 0, 0]])
    mask, labels = ids.ne(0).long(), torch.tensor([[1, 2, 2, 1, 0], [3, 0, 1, -100, -100]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for _ in range(40):
        model(ids, mask, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(tmp_path)
    again = rnnzoo.LSTMForTokenClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        out, loaded = model(ids, mask), again(ids, mask)
    assert out.logits.shape == out.marginals.shape == (2, 5, 4) and out.emissions.shape == (2, 5, 6)
    assert torch.equal(out.logits, loaded.logits) and (out.tags == labels)[mask.bool()].all()
    assert torch.equal(out.logits.argmax(-1)[mask.bool()], out.tags[mask.bool()])
