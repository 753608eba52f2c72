"""Unlabelled texts in a step: each objective against a plain implementation, the order, dropout, resuming."""

from collections import Counter

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

import rnnzoo
from rnnzoo.data.corpus import Corpus
from rnnzoo.data.errors import RecipeError
from rnnzoo.tasks.classify import Classify
from rnnzoo.training.adversary import random_directions
from rnnzoo.training.unlabelled import OBJECTIVES as NAMES
from tests.support.small_task import (
    OBJECTIVES,
    SIZES,
    STEPS_PER_EPOCH,
    UNLABELLED,
    SmallTextOptions,
    SmallTexts,
    gap,
    stopped_and_resumed,
    trained,
)


ONLY = {name: {f"{other}_weight": 0.0 for other in NAMES if other != name} for name in NAMES}
CASES = {**ONLY, "all": {}, "all, and an adversary": {"adversarial_epsilon": 0.2}}


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def steps():
    """Weights and gradients at each step of the optimizer."""
    found = []

    def note(optimizer, args, kwargs):
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        found.append(([weight.detach().clone() for weight in weights], [weight.grad.clone() for weight in weights]))

    handle = register_optimizer_step_pre_hook(note)
    yield found
    handle.remove()


# ---- what is learned, written out ----


def model_with(weights):
    model = SmallTexts().model(0.0)
    for parameter, weight in zip(model.parameters(), weights, strict=True):
        parameter.data = weight.clone()
    return model


def answer(model, x):
    """The log probabilities for the words of one text, [T, E]."""
    return model(inputs_embeds=x[None]).logits[0].log_softmax(0)


def divergence(p, q):
    return (p.exp() * (p - q)).sum()


def virtual_adversarial(model, text, place, teacher):
    x = model.get_input_embeddings()(torch.tensor(text))
    p = answer(model, x).detach()
    # The random direction of the second step, whose number is 1, with seed 0.
    d = torch.randn(x.shape, generator=torch.Generator().manual_seed(100_003 + place))
    size = OBJECTIVES["virtual_adversarial_epsilon"] * x.detach().norm()
    start = (x.detach() + size * d / d.norm()).requires_grad_()
    (g,) = torch.autograd.grad(divergence(p, answer(model, start)), start)
    return divergence(p, answer(model, x + size * g / g.norm()))


def entropy(model, text, place, teacher):
    p = answer(model, model.get_input_embeddings()(torch.tensor(text)))
    return -(p.exp() * p).sum()


def self_training(model, text, place, teacher):
    ids = torch.tensor(text)
    taught = answer(teacher, teacher.get_input_embeddings()(ids)).detach().exp()
    return -(taught * answer(model, model.get_input_embeddings()(ids))).sum()


def supervised(model, text, label, epsilon):
    x = model.get_input_embeddings()(torch.tensor(text))
    loss = -answer(model, x)[label]
    if not epsilon:
        return loss
    (g,) = torch.autograd.grad(loss, x, retain_graph=True)
    return (loss - answer(model, x + epsilon * x.detach().norm() * g / g.norm())[label]) / 2


@pytest.mark.parametrize("case", CASES)
def test_the_gradients_are_those_of_the_losses_written_out(tmp_path, double, steps, case):
    """In the second step, where the averaged weights differ from the model's own."""
    task, options = SmallTexts(), OBJECTIVES | CASES[case]
    run = trained(tmp_path, task, **options, max_train_steps=2, max_grad_norm=None)
    (before, _), (weights, gradients) = steps
    model, teacher = (
        model_with(weights),
        model_with([(2 * v + 9 * w) / 11 for v, w in zip(before, weights, strict=True)]),
    )
    rows, texts = task.rows["train"], task.unlabelled_seen[1]
    epsilon = options.get("adversarial_epsilon", 0.0)
    labelled = [supervised(model, rows[i]["input_ids"], rows[i]["labels"], epsilon) for i in run.micro_batches[1]]
    total, rise = sum(labelled) / len(labelled), {"self_training": 2 / STEPS_PER_EPOCH}
    for objective in (virtual_adversarial, entropy, self_training):
        if weight := options[f"{objective.__name__}_weight"]:
            losses = [objective(model, text, place, teacher) for place, text in enumerate(texts)]
            total = total + weight * rise.get(objective.__name__, 1.0) * sum(losses) / len(losses)
    expected = torch.autograd.grad(total, list(model.parameters()))
    torch.testing.assert_close(gradients, list(expected), rtol=1e-6, atol=1e-9)


def test_the_history_has_the_mean_of_each_loss(tmp_path, double, steps):
    task = SmallTexts()
    run = trained(tmp_path, task, **OBJECTIVES | ONLY["entropy"], num_train_epochs=1)
    found = [
        sum(entropy(model_with(weights), text, 0, None).item() for text in texts) / len(texts)
        for (weights, _), texts in zip(steps, task.unlabelled_seen, strict=True)
    ]
    (epoch,) = run.history
    assert epoch["entropy_loss"] == pytest.approx(sum(found) / len(found), rel=1e-9)
    assert "virtual_adversarial_loss" not in epoch


# ---- which texts, and how they are split ----


def test_all_texts_are_read_in_an_endless_order(tmp_path):
    task = SmallTexts()
    trained(tmp_path, task, **OBJECTIVES, num_train_epochs=3)
    texts = task.rows["unlabelled"]["input_ids"][:] + task.rows["train"]["input_ids"][:]
    assert len(texts) == UNLABELLED["unlabelled"] + SIZES["train"] == 84
    batches = 8  # of 10 or 11 texts
    passes = [task.unlabelled_seen[start : start + batches] for start in (0, batches)]
    for batch in passes:
        assert Counter(tuple(text) for part in batch for text in part) == Counter(map(tuple, texts))
    assert passes[0] != passes[1] and len(task.unlabelled_seen) == 3 * STEPS_PER_EPOCH


@pytest.mark.parametrize("options", [{}, {"adversarial_epsilon": 0.1}], ids=str)
def test_micro_batches_and_padding_change_nothing(tmp_path, double, options):
    complete = trained(tmp_path / "complete", texts=True, **OBJECTIVES, **options)
    for name, task, more in (
        ("parts", SmallTexts(), {"gradient_accumulation_steps": 3}),
        ("padded", SmallTexts(padding=(2, 3)), {}),
    ):
        other = trained(tmp_path / name, task, **OBJECTIVES, **options, **more)
        assert gap(complete, other) < 1e-6
        for ours, theirs in zip(complete.history, other.history, strict=True):
            for loss in ("train_loss", *(f"{objective}_loss" for objective in NAMES)):
                assert ours[loss] == pytest.approx(theirs[loss], abs=1e-6)


def test_the_direction_of_a_text_is_its_own():
    mask = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 0]]).bool()
    both = random_directions(mask, torch.ones(2, 4, 5), [3, 4])
    assert not both[~mask].any() and both[mask].all()
    torch.testing.assert_close(both[1, 1:3], random_directions(mask.new_ones(1, 2), torch.ones(1, 2, 5), [4])[0])
    assert not torch.equal(both[0, :2], both[1, 1:3])


def test_a_batch_that_cannot_be_split_is_refused(tmp_path):
    says = "A batch of 2 examples cannot be split among 1 processes with 3 micro-batches each: raise unlabelled_batch"
    with pytest.raises(RecipeError, match=says):
        trained(tmp_path, texts=True, **OBJECTIVES | {"unlabelled_batch_size": 2}, gradient_accumulation_steps=3)


def test_a_classifier_collates_texts_without_labels():
    tokenizer = rnnzoo.train_tokenizer(["one two three"] * 3, vocab_size=10)
    task = Classify(Corpus("", "", ["a", "b"], {}), tokenizer)
    assert set(task.collate({"input_ids": [[3, 4], [5]], "length": [2, 1]})) == {"input_ids", "attention_mask"}


# ---- dropout ----


def test_all_passes_of_the_virtual_adversary_drop_the_same_units(tmp_path):
    """A perturbation of almost nothing then changes almost nothing; each text still has a dropout of its own."""
    options = OBJECTIVES | ONLY["virtual_adversarial"] | {"virtual_adversarial_epsilon": 1e-4}
    run = trained(tmp_path, texts=True, dropout=0.5, **options, num_train_epochs=1)
    assert abs(run.history[0]["virtual_adversarial_loss"]) < 1e-6  # rounding may take it below zero
    states = Counter(tuple(state.tolist()) for state in run.drawn)
    # A labelled pass, and three over the other texts that begin alike; then drawing goes on where the first ended.
    assert sorted(states.values()) == sorted([1, 3] * STEPS_PER_EPOCH)


def test_the_teacher_drops_nothing(tmp_path):
    modes = []

    class Noting(SmallTexts):
        def model(self, dropout):
            model = super().model(dropout)
            model.dropout.register_forward_hook(lambda module, args, found: modes.append(module.training))
            return model

    trained(tmp_path, Noting(), 0.5, **OBJECTIVES | ONLY["self_training"], max_train_steps=2)
    labelled, teacher, student = True, False, True
    assert modes[:6] == [labelled, teacher, student] * 2


# ---- what else it has to get along with ----


@pytest.mark.parametrize("stop_at", [2, 8, 20])
def test_a_resumed_run_ends_as_if_never_interrupted(tmp_path, stop_at):
    options = OBJECTIVES | {"dropout": 0.5, "adversarial_epsilon": 0.1, "checkpointing_steps": 1}
    run = trained(tmp_path / "uninterrupted", texts=True, **options)
    resumed = stopped_and_resumed(tmp_path / "resumed", stop_at, task=SmallTexts, **options)
    assert gap(run, resumed) == 0 and run.history == resumed.history


def test_bf16_frozen_vectors_and_the_hooks(tmp_path):
    options = OBJECTIVES | {"adversarial_epsilon": 0.1}
    run = trained(tmp_path, texts=True, **options, mixed_precision="bf16", freeze_word_vectors=True)
    initial = trained(tmp_path / "initial", texts=True, learning_rate=0.0, max_train_steps=1)
    name = next(name for name, weight in run.weights.items() if weight.shape == (30, 6))
    assert torch.equal(run.weights[name], initial.weights[name]) and gap(run, initial) > 0.01
    assert run.dtypes == {torch.bfloat16} and run.hooks == 0
    assert all(epoch[f"{objective}_loss"] > 0 for epoch in run.history for objective in NAMES)


def test_without_objectives_unlabelled_texts_are_not_read(tmp_path):
    task = SmallTexts()
    trained(tmp_path, task, max_train_steps=2)
    assert task.unlabelled_seen == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"virtual_adversarial_weight": -1.0}, "virtual_adversarial_weight is -1.0: it must lie"),
        ({"entropy_weight": float("nan")}, "entropy_weight is nan: it must lie"),
        ({"virtual_adversarial_epsilon": 0.0}, "virtual_adversarial_epsilon is 0.0: it must be above 0"),
        ({"unlabelled_batch_size": 0, "entropy_weight": 1.0}, "unlabelled_batch_size is 0: it must be at least 1"),
        ({"unlabelled_batch_size": 8}, "unlabelled_batch_size is 8, but has no effect: set .* or leave it out"),
        ({"self_training_weight": 1.0}, "self_training_weight is 1.0 and ema is 0: .* Set ema"),
        ({"entropy_weight": 1.0, "unlabelled": ""}, "entropy_weight is 1.0, but there are no unlabelled texts: name"),
    ],
    ids=str,
)
def test_options_without_effect_or_out_of_range_are_refused(options, says):
    with pytest.raises(RecipeError, match=f"^{says}"):
        SmallTextOptions(**options)
