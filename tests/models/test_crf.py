"""The CRF against brute force over all paths, and the logits that it gives a tagger."""

import itertools
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from rnnzoo.crf_rnnzoo import LinearChainCRF, forbidden_in_iob2
from rnnzoo.modeling_rnnzoo import logits_of_path


LABELS = ["O", "B-X", "I-X", "B-Y", "I-Y"]
C = len(LABELS)


def crf(labels=LABELS, std=1.0, dtype=torch.float64):
    made = LinearChainCRF(len(labels), forbidden_in_iob2(labels)).to(dtype)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(std=std)
    return made


def paths(crf, emissions, allowed_only):
    """Every path of a text [T, C] and its score, best first."""
    start, end, transitions, emissions = (x.tolist() for x in (crf.start, crf.end, crf.transitions, emissions))
    found = []
    for path in itertools.product(range(len(start)), repeat=len(emissions)):
        steps = list(itertools.pairwise(path))
        if allowed_only and (crf.forbidden[-1][path[0]] or any(crf.forbidden[a][b] for a, b in steps)):
            continue
        score = start[path[0]] + end[path[-1]] + sum(emissions[t][tag] for t, tag in enumerate(path))
        found.append((score + sum(transitions[a][b] for a, b in steps), path))
    return sorted(found, reverse=True)


def log_z(scores):
    return torch.logsumexp(torch.tensor(scores, dtype=torch.float64), 0).item()


@pytest.fixture(params=[4, 5])
def case(request):
    """Emissions, and a mask with padding right, left, on both sides, in between, everywhere, and nowhere."""
    rows = ["11111", "11000", "00011", "01110", "10101", "00000", "00100"]
    mask = torch.tensor([[character == "1" for character in row[: request.param]] for row in rows])
    return torch.randn(*mask.shape, C, dtype=torch.float64) * 2, mask


@pytest.mark.parametrize("masked", [True, False])
def test_likelihood_equals_brute_force(case, masked):
    model, (emissions, mask) = crf(), case
    mask = mask if masked else torch.ones_like(mask)
    tags = torch.randint(C, mask.shape)
    found = model(emissions, tags, mask if masked else None)
    for row, real in enumerate(mask):
        if not real.any():
            assert found[row] == 0
            continue
        everything = paths(model, emissions[row, real], allowed_only=False)
        score = dict((path, score) for score, path in everything)[tuple(tags[row, real].tolist())]
        assert found[row].item() == pytest.approx(score - log_z([s for s, _ in everything]), abs=1e-10)


@pytest.mark.parametrize("n", [1, 3, 7])
def test_best_paths_equal_brute_force(case, n):
    model, (emissions, mask) = crf(), case
    tags, scores = model.decode(emissions, mask, n=n)
    assert tags.shape == (len(mask), n, mask.shape[1]) and not tags[~mask[:, None].expand_as(tags)].any()
    for row, real in enumerate(mask):
        expected = paths(model, emissions[row, real], allowed_only=True)[:n] if real.any() else [(0.0, ())]
        for rank, (score, path) in enumerate(expected):
            assert tuple(tags[row, rank, real].tolist()) == path
            assert scores[row, rank].item() == pytest.approx(score, abs=1e-10)
        assert (scores[row, len(expected) :] == -torch.inf).all()


@pytest.mark.parametrize(("num_tags", "tokens"), [(9, 101), (9, 400), (41, 64)])
def test_long_rows_and_many_tags(num_tags, tokens):
    """Paths found a few positions at a time, against a plain loop with one row."""
    labels = ["O", *(f"{prefix}-{i}" for i in range(num_tags // 2) for prefix in "BI")]
    model = crf(labels)
    mask = torch.rand(16, tokens) < torch.linspace(0.1, 1, 16)[:, None]
    emissions = torch.randn(*mask.shape, num_tags, dtype=torch.float64)
    tags, scores = model.decode(emissions, mask)
    forbidden = model.forbidden
    steps = model.transitions.masked_fill(forbidden[:-1, :-1], -torch.inf)
    for row, real in enumerate(mask):
        first, *others = emissions[row, real]
        best, pointers = first + model.start.masked_fill(forbidden[-1, :-1], -torch.inf), []
        for token in others:
            best, pointer = (best[:, None] + steps).max(0)
            best = best + token
            pointers.append(pointer)
        score, tag = (best + model.end).max(0)
        path = [tag.item()]
        for pointer in reversed(pointers):
            path.append(pointer[path[-1]].item())
        assert tags[row, 0, real].tolist() == path[::-1]
        assert scores[row].item() == pytest.approx(score.item(), abs=1e-9)


def test_marginals_equal_brute_force(case):
    model, (emissions, mask) = crf(), case
    found = model.marginals(emissions, mask)
    assert not found[~mask].any()
    for row, real in enumerate(mask):
        if not real.any():
            continue
        allowed = paths(model, emissions[row, real], allowed_only=True)
        total = log_z([score for score, _ in allowed])
        expected = torch.zeros(int(real.sum()), C, dtype=torch.float64)
        for score, path in allowed:
            for t, tag in enumerate(path):
                expected[t, tag] += math.exp(score - total)
        torch.testing.assert_close(found[row, real], expected, atol=1e-10, rtol=0)


def test_gradients_are_those_of_the_likelihood(case):
    model, (emissions, mask) = crf(), case
    tags = torch.randint(C, mask.shape)
    names = [name for name, _ in model.named_parameters()]

    def likelihood(emissions, *parameters):
        return functional_call(model, dict(zip(names, parameters, strict=True)), (emissions, tags, mask))

    assert torch.autograd.gradcheck(likelihood, (emissions.requires_grad_(), *model.parameters()))


def test_gradients_of_a_graph_used_twice_and_of_each_parameter_alone(case):
    model, (emissions, mask) = crf(), case
    tags, weights = torch.randint(C, mask.shape), torch.randn(len(mask), dtype=torch.float64)
    everything = (emissions.requires_grad_(), *model.parameters())
    loss = (model(emissions, tags, mask) * weights).sum()
    first = torch.autograd.grad(loss, everything, retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(loss, everything)))
    for one, expected in zip(everything, first, strict=True):
        for each in everything:
            each.requires_grad_(each is one)
        (found,) = torch.autograd.grad((model(emissions, tags, mask) * weights).sum(), one)
        assert torch.equal(found, expected)


def test_second_derivatives_are_refused(case):
    model, (emissions, mask) = crf(), case
    likelihood = model(emissions.requires_grad_(), torch.randint(C, mask.shape), mask)
    # Without an error a penalty on the gradient would have a gradient of 0.
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(likelihood.sum(), emissions, create_graph=True)


@pytest.mark.parametrize("rubbish", [math.nan, math.inf, -math.inf])
def test_a_row_is_the_same_in_any_batch(case, rubbish):
    model, (emissions, mask) = crf(dtype=torch.float32), case
    emissions, tags = emissions.float(), torch.randint(C, mask.shape)
    emissions[~mask], tags[~mask] = rubbish, 99  # what is in the padding does not matter
    emissions.requires_grad_()
    together = model(emissions, tags, mask), model.decode(emissions, mask)[0][:, 0], model.marginals(emissions, mask)
    (gradient,) = torch.autograd.grad(together[0].sum(), emissions)
    assert gradient.isfinite().all() and not gradient[~mask].any()
    for row, real in enumerate(mask):
        if not real.any():
            continue
        one = emissions[row, real][None]
        assert model(one, tags[row, real][None]).item() == pytest.approx(together[0][row].item(), abs=1e-5)
        assert torch.equal(model.decode(one)[0][0, 0], together[1][row, real])
        torch.testing.assert_close(model.marginals(one)[0], together[2][row, real], atol=1e-6, rtol=0)


def test_forbidden_tags_never_follow():
    model = crf(std=20.0, dtype=torch.float32)
    emissions = torch.randn(50, 12, C) * 20 + 60 * torch.tensor([label[0] == "I" for label in LABELS])
    forbidden = model.forbidden
    tags, scores = model.decode(emissions, n=4)
    assert scores.isfinite().all()
    assert not forbidden[-1][tags[..., 0]].any() and not forbidden[tags[..., :-1], tags[..., 1:]].any()
    marginals = model.marginals(emissions)
    assert not marginals[:, 0, forbidden[-1, :-1]].any()


def test_iob2_forbids_to_continue_an_entity_that_did_not_begin():
    before, after = {"O", "B-Y", "I-Y"}, "I-X"
    for i, label in enumerate([*LABELS, None]):
        assert forbidden_in_iob2(LABELS)[i][LABELS.index(after)] == (label in before or label is None)
        assert not any(forbidden_in_iob2(LABELS)[i][LABELS.index(free)] for free in ("O", "B-X", "B-Y"))
    # Labels of another scheme are not restricted.
    assert not any(map(any, forbidden_in_iob2(["O", "I-X", "X"])))


@pytest.mark.parametrize("name", ["start", "transitions", "end"])
@pytest.mark.parametrize("by", [-500.0, 500.0])
def test_a_constant_added_to_all_scores_of_a_kind_changes_nothing(case, name, by):
    """However far apart kinds are, none underflows relative to another."""
    model, (emissions, mask) = crf(), case
    tags = torch.randint(C, mask.shape)

    def found():
        likelihood = model(emissions, tags, mask)
        return likelihood, *torch.autograd.grad(likelihood.sum(), model.parameters()), model.marginals(emissions, mask)

    expected = found()
    with torch.no_grad():
        getattr(model, name).add_(by)
    for a, b in zip(found(), expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=0)


@pytest.mark.parametrize("apart", [0.0, 30.0, 75.0])
def test_long_rows_whose_scores_contradict_each_other(apart):
    """Emissions favour a new tag at every token, transitions the same one: against a loop in log space."""
    model, tokens = LinearChainCRF(9, [[False] * 10] * 10).double(), 400
    wanted = torch.arange(tokens) % 9
    emissions = (torch.randn(tokens, 9).double() + apart * torch.eye(9)[wanted]).requires_grad_()
    with torch.no_grad():
        model.transitions.normal_().add_(apart * torch.eye(9))
    tags = torch.randint(9, (tokens,))

    alpha = emissions[0] + model.start
    for token in emissions[1:]:
        alpha = torch.logsumexp(alpha[:, None] + model.transitions, 0) + token
    log_z = torch.logsumexp(alpha + model.end, 0)
    score = emissions.gather(1, tags[:, None]).sum() + model.transitions[tags[:-1], tags[1:]].sum()
    expected = score + model.start[tags[0]] + model.end[tags[-1]] - log_z
    (marginals,) = torch.autograd.grad(log_z, emissions, retain_graph=True)

    found, everything = model(emissions[None], tags[None])[0], (emissions, *model.parameters())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, everything), torch.autograd.grad(expected, everything))
    torch.testing.assert_close(model.marginals(emissions[None])[0], marginals)


@pytest.mark.parametrize("of", ["emissions", "steps"])
@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_enormous_scores_give_finite_results(size, of):
    model = crf(std=size if of == "steps" else 1.0, dtype=torch.float32)
    emissions = (torch.randn(20, 30, C) * (size if of == "emissions" else 1.0)).requires_grad_()
    tags = torch.randint(C, (20, 30))
    likelihood = model(emissions, tags)
    likelihood.sum().backward()
    assert likelihood.isfinite().all() and (likelihood <= 0).all()
    assert emissions.grad.isfinite().all() and model.transitions.grad.isfinite().all()
    marginals = model.marginals(emissions)
    torch.testing.assert_close(marginals.sum(2), torch.ones(20, 30), atol=1e-5, rtol=0)


def test_computes_in_full_precision_under_autocast(case):
    model, (emissions, mask) = crf(dtype=torch.float32), case
    emissions, tags = emissions.bfloat16(), torch.randint(C, mask.shape)
    expected = model(emissions.float(), tags, mask), model.marginals(emissions.float(), mask)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(emissions, tags, mask), model.marginals(emissions, mask)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_computes_in_full_precision_with_weights_in_half(case, dtype):
    model, (emissions, mask) = crf(dtype=torch.float32).to(dtype), case
    emissions, tags = emissions.to(dtype), torch.randint(C, mask.shape)
    exact = crf(dtype=torch.float32)
    exact.load_state_dict(model.state_dict())
    for found, expected in (
        (model(emissions, tags, mask), exact(emissions.float(), tags, mask)),
        (model.marginals(emissions, mask), exact.marginals(emissions.float(), mask)),
    ):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_computes_in_the_precision_of_the_weights(case):
    model, (emissions, mask) = crf(), case
    tags = torch.randint(C, mask.shape)
    assert torch.equal(model(emissions.float(), tags, mask), model(emissions.float().double(), tags, mask))


def test_rows_without_tokens():
    model, emissions, tags = crf(), torch.zeros(2, 0, C, dtype=torch.float64), torch.zeros(2, 0, dtype=torch.long)
    assert model(emissions, tags).tolist() == [0, 0]
    assert model.decode(emissions, n=2)[1].tolist() == [[0, -math.inf]] * 2
    assert model.decode(emissions)[0].shape == (2, 1, 0) and model.marginals(emissions).shape == (2, 0, C)


@pytest.mark.parametrize("n", [1, 3])
def test_a_batch_without_rows(n):
    model, emissions, tags = crf(), torch.zeros(0, 4, C, dtype=torch.float64), torch.zeros(0, 4, dtype=torch.long)
    assert model(emissions, tags).shape == (0,)
    found, scores = model.decode(emissions, n=n)
    assert found.shape == (0, n, 4) and scores.shape == (0, n) and model.marginals(emissions).shape == (0, 4, C)


@pytest.mark.parametrize("masked", [True, False])
def test_operators_for_export_return_what_they_declare(case, masked):
    model, (emissions, mask) = crf(), case
    mask = mask if masked else torch.ones_like(mask)
    steps = model._allowed(emissions.dtype).detach()
    for operator, arguments in (
        (torch.ops.rnnzoo.best_paths.default, (emissions, mask, steps, 3)),
        (torch.ops.rnnzoo.marginals.default, (emissions, mask, steps)),
    ):
        torch.library.opcheck(operator, arguments)


@pytest.mark.parametrize("tokens", [1, 2, 3, 4])
def test_equally_good_paths_are_distinct(tokens):
    model = LinearChainCRF(3, [[False] * 4] * 4)
    emissions = torch.zeros(2, tokens, 3)
    tags, scores = model.decode(emissions, n=3**tokens)
    assert not scores.any() and all(len(row.unique(dim=0)) == 3**tokens for row in tags)
    assert (model.decode(emissions)[0][:, 0, None] == tags).all(2).any(1).all()


def test_of_more_paths_than_exist_the_others_score_minus_infinity():
    tags, scores = crf().decode(torch.randn(2, 1, C, dtype=torch.float64), n=5)
    assert scores.isfinite().sum(1).tolist() == [3, 3]  # O, B-X, B-Y
    assert all(len(set(row[:3])) == 3 for row in tags[:, :, 0].tolist())


@pytest.mark.parametrize("n", [1, 2, 8])
def test_a_path_that_does_not_exist_has_valid_tags(n):
    """Every number is a tag's, even where a token is NaN, and after a row's last path."""
    emissions = torch.randn(4, 5, C, dtype=torch.float64)
    emissions[1, 2] = torch.nan
    emissions[2, 3, 1] = math.inf
    emissions[3, 0] = -math.inf
    mask = torch.tensor([[0, 1, 0, 0, 0], *[[1] * 5] * 3]).bool()
    tags, scores = crf().decode(emissions, mask, n=n)
    assert (tags >= 0).all() and (tags < C).all()
    assert scores[0].isfinite().sum() == min(n, 3) and not scores[1:].isfinite().any()


@pytest.mark.parametrize("size", [1e-20, 1e-28, 1e-32, 1e-35])
def test_tiny_scores_give_the_paths_of_large_ones(size):
    """A score that is lower by 1e-35 is lower, and forbidden tags never follow each other."""
    model = LinearChainCRF(C, forbidden_in_iob2(LABELS))
    emissions = torch.randn(20, 12, C)
    large, small = model.decode(emissions)[0], model.decode(emissions * size)[0]
    assert (large == small).float().mean() > 0.99  # sums are rounded differently
    forbidden = model.forbidden
    assert not forbidden[-1][small[:, 0, 0]].any() and not forbidden[small[..., :-1], small[..., 1:]].any()


# ---- what a pipeline returns ----


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31), st.sampled_from([0.1, 1.0, 5.0, 30.0]))
@example(3733483, 30.0)  # the path's tag has a marginal of 0
def test_softmax_and_argmax_give_the_best_path_and_its_marginals(seed, size):
    torch.manual_seed(seed)
    model = crf(std=size, dtype=torch.float32)
    emissions = torch.randn(8, 9, C) * size
    tags, marginals = model.decode(emissions)[0][:, 0], model.marginals(emissions)
    served = logits_of_path(tags, marginals).softmax(-1)
    assert torch.equal(served.argmax(-1), tags)
    chosen, of_path = (x.gather(2, tags[..., None])[..., 0] for x in (served, marginals))
    enough = of_path > 1 / C + 1e-3
    torch.testing.assert_close(chosen[enough], of_path[enough], atol=2e-6, rtol=0)
    # Where the path's tag is the most probable one already, nothing changes.
    plain = (marginals.argmax(-1) == tags) & (of_path - marginals.topk(2, -1).values[..., 1] > 1e-2 * of_path)
    torch.testing.assert_close(served[plain], marginals[plain], atol=2e-6, rtol=0)


def test_the_best_path_may_pass_through_an_unlikely_tag():
    """Two paths through O are together more probable than the one through B-X that is the best of all."""
    model = LinearChainCRF(3, forbidden_in_iob2(["O", "B-X", "B-Y"]))
    # From O two paths continue that are equally good, from B-X one that is slightly better than each.
    emissions = torch.tensor([[[0.6, 1.0, -9.0], [-9.0, 0.0, 0.0]]])
    with torch.no_grad():
        model.transitions[1, 2] = -9.0
    tags, marginals = model.decode(emissions)[0][:, 0], model.marginals(emissions)
    assert tags[0, 0] == 1 and marginals[0, 0].argmax() == 0
    assert logits_of_path(tags, marginals)[0, 0].argmax() == 1


@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-38, 1e-30])
def test_argmax_is_the_path_even_if_its_probability_is_zero(size):
    tags, others = torch.arange(C), torch.rand(C, C).softmax(1)
    marginals = others.scatter(1, tags[:, None], size)[None]
    logits = logits_of_path(tags[None], marginals)
    assert logits.isfinite().all()
    assert torch.equal(logits.argmax(-1), tags[None]) and torch.equal(logits.softmax(-1).argmax(-1), tags[None])
