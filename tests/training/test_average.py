"""The average of the weights: its values, what is evaluated and stored, skipped steps, resuming."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from rnnzoo.data.errors import RecipeError
from rnnzoo.training import launch, resume
from rnnzoo.training.average import Average
from tests.support.checkpoints import seal_again
from tests.support.scaled import Scaled
from tests.support.small_task import STEPS_PER_EPOCH, SmallTask, Stopped, gap, stopped_and_resumed, trained


OPTIONS = {"dropout": 0.5, "checkpointing_steps": 3, "ema": 0.8}


def averaged(path: list[torch.Tensor], decay: float) -> torch.Tensor:
    """The average of a weight along its path, from the initial one on, in a plain loop."""
    average = path[0]
    for t, weight in enumerate(path[1:], start=1):
        d = min(decay, (1 + t) / (10 + t))
        average = d * average + (1 - d) * weight
    return average


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_the_average_is_that_of_a_plain_loop(decay):
    model = nn.Linear(3, 2)
    average, path = Average(model, decay), [model.weight.detach().clone()]
    for _ in range(20):
        nn.init.normal_(model.weight)
        path.append(model.weight.detach().clone())
        average.update()
    torch.testing.assert_close(average.weights["weight"], averaged(path, decay))


def test_the_model_has_the_average_for_a_while_only():
    model = nn.BatchNorm1d(3)
    model.bias.requires_grad_(False)
    average = Average(model, 0.9)
    for parameter in (model.weight, model.bias, model.running_mean):
        nn.init.normal_(parameter)
    average.update()
    own, memory = {name: tensor.clone() for name, tensor in model.state_dict().items()}, model.weight.data_ptr()
    with pytest.raises(KeyboardInterrupt), average.in_model():
        torch.testing.assert_close(model.weight.detach(), averaged([torch.ones(3), own["weight"]], 0.9))
        assert torch.equal(model.bias, own["bias"]) and torch.equal(model.running_mean, own["running_mean"])
        raise KeyboardInterrupt
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())
    assert set(average.weights) == {"weight"} and model.weight.data_ptr() == memory


@pytest.fixture
def path():
    """The weights after each step of the optimizer."""
    found = []

    def note(optimizer, args, kwargs):
        found.append([weight.detach().clone() for group in optimizer.param_groups for weight in group["params"]])

    handle = register_optimizer_step_post_hook(note)
    yield found
    handle.remove()


def test_a_run_stores_the_average_and_trains_on_as_without(tmp_path, path):
    plain = trained(tmp_path / "plain")
    without = list(path)
    path.clear()
    run = trained(tmp_path / "averaged", SmallTask(scores=[0.1, 0.9, 0.5]), ema=0.8)
    for ours, theirs in zip(path, without, strict=True):
        assert all(map(torch.equal, ours, theirs))
    initial = trained(tmp_path / "initial", learning_rate=0.0, max_train_steps=1).weights
    for number, (name, weight) in enumerate(run.weights.items()):  # of the best epoch, the second
        steps = [initial[name], *(weights[number] for weights in path[: 2 * STEPS_PER_EPOCH])]
        torch.testing.assert_close(weight, averaged(steps, 0.8), atol=1e-6, rtol=1e-5)
    assert [epoch["train_loss"] for epoch in run.history] == [epoch["train_loss"] for epoch in plain.history]
    losses = [[epoch["validation"]["loss"] for epoch in found.history] for found in (run, plain)]
    assert all(ours != theirs for ours, theirs in zip(*losses, strict=True)), "validation is that of the average"


def test_a_skipped_step_is_not_averaged(tmp_path, monkeypatch):
    counted = []

    class Skipping(Scaled):
        """Skips the second step."""

        def backward(self, loss, **more):
            counted.append(loss)
            super().backward(loss * float("inf") if len(counted) == 2 else loss, **more)

    monkeypatch.setattr(launch, "Accelerator", Skipping)
    with pytest.raises(Stopped):
        trained(tmp_path, SmallTask(stop_at=5), ema=0.8, checkpointing_steps=4)
    assert resume._read(resume.found(tmp_path)[0] / resume.PROGRESS)["average_updates"] == 3


# ---- resuming ----


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("uninterrupted"), **OPTIONS)


@pytest.mark.parametrize("stop_at", [4, 7, 20])
def test_a_resumed_run_ends_with_the_same_average(tmp_path, uninterrupted, stop_at):
    run = stopped_and_resumed(tmp_path, stop_at, **OPTIONS)
    assert gap(run, uninterrupted) == 0
    assert run.history == uninterrupted.history


@pytest.fixture
def interrupted(tmp_path):
    with pytest.raises(Stopped):
        trained(tmp_path, SmallTask(stop_at=4), **OPTIONS)
    return resume.found(tmp_path)[0]


def test_a_run_without_an_average_writes_none_and_is_resumed_without_one(tmp_path, interrupted):
    assert (interrupted / resume.AVERAGE).exists()
    with pytest.raises(Stopped):
        trained(tmp_path / "plain", SmallTask(stop_at=4), **OPTIONS | {"ema": 0.0})
    checkpoint = resume.found(tmp_path / "plain")[0]
    assert not (checkpoint / resume.AVERAGE).exists()
    numbers = resume._read(checkpoint / resume.PROGRESS)
    del numbers["settings"]["ema"], numbers["average_updates"]  # as before there were averages
    (checkpoint / resume.PROGRESS).write_text(json.dumps(numbers))
    seal_again(checkpoint)
    with pytest.raises(RecipeError, match=r"other options: ema was 0.0 and is 0.8\. Give the same"):
        trained(tmp_path / "plain", resume=True, **OPTIONS)
    assert trained(tmp_path / "plain", resume=True, **OPTIONS | {"ema": 0.0}).step == 3 * STEPS_PER_EPOCH


def test_the_average_of_another_model_is_refused(tmp_path, interrupted):
    tensors = load_file(interrupted / resume.AVERAGE)
    for changed in (dict(list(tensors.items())[1:]), {name: tensor[None] for name, tensor in tensors.items()}):
        save_file(changed, interrupted / resume.AVERAGE)
        seal_again(interrupted)
        with pytest.raises(RecipeError, match="cannot be loaded into this model .its averages are not those"):
            trained(tmp_path, resume=True, **OPTIONS)
