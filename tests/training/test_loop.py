"""The loop: every example once an epoch, a seed that decides everything, early stopping, divergence."""

import re
from collections import Counter

import pytest
import torch

from rnnzoo.data.errors import RecipeError
from rnnzoo.training import loop
from rnnzoo.training.resume import Progress
from tests.support import small_task
from tests.support.small_task import SIZES, STEPS_PER_EPOCH, SmallTask, Steep, gap, trained


def test_training_reads_every_example_once_an_epoch(tmp_path):
    found = trained(tmp_path, gradient_accumulation_steps=3).micro_batches
    count = 3 * STEPS_PER_EPOCH
    epochs = [found[start : start + count] for start in range(0, len(found), count)]
    assert len(epochs) == 3
    for epoch in epochs:
        assert Counter(number for numbers in epoch for number in numbers) == Counter(range(SIZES["train"]))
    assert epochs[0] != epochs[1]


def test_a_seed_decides_everything(tmp_path):
    runs = [trained(tmp_path / str(i), dropout=0.5, seed=seed) for i, seed in enumerate((1, 1, 2))]
    assert gap(runs[0], runs[1]) == 0
    assert runs[0].micro_batches == runs[1].micro_batches
    assert runs[0].micro_batches != runs[2].micro_batches
    # Not only the order: with a learning rate of zero the weights are still the initial ones.
    assert gap(*(trained(tmp_path / f"still {seed}", learning_rate=0.0, seed=seed) for seed in (1, 2))) > 0.01


# ---- early stopping ----


def test_training_stops_without_improvement_and_keeps_the_best_epoch(tmp_path):
    best = trained(tmp_path / "best", SmallTask(scores=[0.5, 0.9]), num_train_epochs=2)
    run = trained(tmp_path / "run", SmallTask(scores=[0.5, 0.9, 0.7, 0.8, 1.0]), num_train_epochs=5, patience=2)
    assert [epoch["validation"]["score"] for epoch in run.history] == [0.5, 0.9, 0.7, 0.8]
    assert run.best_epoch == 2
    assert gap(run, best) == 0


def test_of_equal_scores_that_with_the_lower_loss_is_better():
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    progress = Progress({}, model, torch.optim.lr_scheduler.ConstantLR(optimizer))
    best = []
    for score, loss in ((0.9, 0.5), (0.9, 0.4), (0.9, 0.6), (0.8, 0.1), (0.9, 0.4)):
        progress.end_epoch({"score": score, "loss": loss}, {}, "score")
        best.append(progress.best_epoch)
    assert best == [1, 2, 2, 2, 2]


def test_a_run_may_select_its_epoch_by_the_loss(tmp_path):
    run = trained(tmp_path, SmallTask(scores=[0.9, 0.1, 0.1]), metric_for_best_model="loss")
    losses = [epoch["validation"]["loss"] for epoch in run.history]
    assert run.best_epoch == losses.index(min(losses)) + 1 == 3


def test_without_patience_every_epoch_is_trained(tmp_path):
    run = trained(tmp_path, SmallTask(scores=[0.9, 0.8, 0.7, 0.6, 0.5]), num_train_epochs=5)
    assert (len(run.history), run.best_epoch) == (5, 1)


# ---- divergence ----


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize(
    ("look_every", "options", "steps"),
    [(100, {}, [2 * STEPS_PER_EPOCH]), (4, {}, [4, 8]), (100, {"checkpointing_steps": 3}, [3, 6, 9])],
    ids=["at the end of an epoch", "within an epoch", "before a checkpoint"],
)
def test_a_diverging_run_stops_where_its_loss_is_next_read(tmp_path, monkeypatch, look_every, options, steps):
    """Each step multiplies weights by a million; how many steps a kernel bears depends on the processor, seven at
    the most."""
    monkeypatch.setattr(loop, "LOOK_EVERY", look_every)
    with pytest.raises(RecipeError, match="diverged by step .*, in epoch 1: the loss is (nan|inf)") as refusal:
        trained(tmp_path, batch_size=4, learning_rate=1000.0, weight_decay=1000.0, max_grad_norm=None, **options)
    step = int(re.search(r"by step (\d+)", str(refusal.value))[1])
    assert step in steps
    saved = [path.name for path in (tmp_path / "checkpoints").glob("*")]
    assert saved == ([f"step-{step - 3}"] if options and step > 3 else [])


@pytest.mark.parametrize("options", [{}, {"max_train_steps": 1}, {"max_grad_norm": None}], ids=str)
def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path, monkeypatch, options):
    monkeypatch.setattr(small_task, "Tagger", Steep)
    step = options.get("max_train_steps", 7)
    says = f"diverged by step {step}, .* the loss is nan, by itself or through a gradient that was not finite"
    with pytest.raises(RecipeError, match=says):
        trained(tmp_path, **options)
    assert list((tmp_path / "checkpoints").glob("*")) == []
