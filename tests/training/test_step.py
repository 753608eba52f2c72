"""A step: gradients of the batch whatever its micro-batches, clipping, the schedule, precision, skipped steps."""

import math

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from rnnzoo.data.errors import RecipeError
from rnnzoo.training import launch
from tests.support import small_task
from tests.support.scaled import Scaled
from tests.support.small_task import SmallTask, Steep, gap, trained


class Steps:
    """The optimizer's steps: learning rate and gradients at the time of each."""

    def __init__(self):
        self.rates, self.gradients = [], []

    def __call__(self, optimizer, args, kwargs):
        (group,) = optimizer.param_groups
        self.rates.append(group["lr"])
        self.gradients.append(torch.cat([weight.grad.flatten() for weight in group["params"]]).clone())


@pytest.fixture
def steps():
    found = Steps()
    handle = register_optimizer_step_pre_hook(found)
    yield found
    handle.remove()


@pytest.fixture
def double():
    """Adam normalises gradients, rounding errors included: in fp32, how far those lead depends on the processor."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("count", "options"), [(2, {}), (3, {}), (7, {}), (3, {"adversarial_epsilon": 0.1})], ids=str)
def test_accumulated_gradients_are_those_of_the_complete_batch(tmp_path, double, steps, count, options):
    complete = trained(tmp_path / "complete", **options)
    parts = trained(tmp_path / "parts", gradient_accumulation_steps=count, **options)
    assert len(parts.micro_batches) == count * len(complete.micro_batches)
    assert gap(complete, parts) < 1e-6
    taken = len(steps.gradients) // 2
    assert taken == complete.step == parts.step
    for ours, theirs in zip(steps.gradients[:taken], steps.gradients[taken:], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    losses = [[epoch["train_loss"] for epoch in run.history] for run in (complete, parts)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_a_micro_batch_without_labels_changes_nothing(tmp_path, double):
    complete = trained(tmp_path / "complete", SmallTask(labelled=0.4))
    parts = trained(tmp_path / "parts", SmallTask(labelled=0.4), gradient_accumulation_steps=4, eval_batch_size=1)
    assert gap(complete, parts) < 1e-6
    for ours, theirs in zip(complete.history, parts.history, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-6)
        assert ours["validation"] == pytest.approx(theirs["validation"], abs=1e-6)


def test_gradients_are_clipped(tmp_path, steps):
    trained(tmp_path / "clipped", max_grad_norm=0.01)
    assert all(gradient.norm() <= 0.01 + 1e-6 for gradient in steps.gradients)
    steps.gradients.clear()
    trained(tmp_path / "not", max_grad_norm=None)
    assert all(gradient.norm() > 0.01 + 1e-6 for gradient in steps.gradients)


SCHEDULES = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}


@pytest.mark.parametrize(("name", "limit"), [("constant", None), ("linear", 20), ("cosine", None), ("cosine", 20)])
def test_the_learning_rate_follows_its_schedule_to_the_end(tmp_path, steps, name, limit):
    trained(tmp_path, lr_scheduler_type=name, warmup_ratio=0.2, learning_rate=0.5, max_train_steps=limit)
    total, warmup, shape = limit or 21, 4, SCHEDULES[name]
    expected = [step / warmup if step < warmup else shape((step - warmup) / (total - warmup)) for step in range(total)]
    assert steps.rates == pytest.approx([0.5 * value for value in expected])


# ---- precision ----


def test_bf16_trains_in_bf16_and_keeps_weights_in_fp32(tmp_path):
    half, full = trained(tmp_path / "half", mixed_precision="bf16"), trained(tmp_path / "full")
    assert (half.dtypes, full.dtypes) == ({torch.bfloat16}, {torch.float32})
    assert all(weight.dtype == torch.float32 for weight in half.weights.values())
    assert 0 < gap(half, full) < 0.1


def test_mixed_precision_defaults_to_accelerates_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert trained(tmp_path / "set").dtypes == {torch.bfloat16}
    assert trained(tmp_path / "overridden", mixed_precision="no").dtypes == {torch.float32}


def test_fp16_that_skips_every_step_stops_with_step_and_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "Accelerator", Scaled)
    assert trained(tmp_path / "well", num_train_epochs=5).step == 35
    monkeypatch.setattr(small_task, "Tagger", Steep)
    says = "stuck at step 32, in epoch 5: in fp16 the gradients of 32 steps in a row were not finite.*bf16 or no"
    with pytest.raises(RecipeError, match=says):
        trained(tmp_path / "steep", num_train_epochs=5)
