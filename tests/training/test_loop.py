"""recipes.training: batches, gradients, schedules, checkpoints and early stopping, each shown on a small task."""

import math
import re
from collections import Counter

import pytest
import torch
from accelerate import Accelerator
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.optim.optimizer import register_optimizer_step_pre_hook

from rnnzoo.data.errors import RecipeError
from rnnzoo.training import loop as training
from rnnzoo.training import resume as checkpoints
from rnnzoo.training.loop import batches, evaluate, share, start
from tests.support import small_task
from tests.support.small_task import (
    SIZES,
    STEPS_PER_EPOCH,
    SmallOptions,
    SmallTask,
    Stopped,
    Tagger,
    fresh_accelerator,
    gap,
    stopped_and_resumed,
    trained,
)
from tests.training.test_resume import seal_again


# ---- batches ----

numbers_of_words = st.lists(st.integers(0, 300), min_size=1, max_size=200)
seeds = st.none() | st.integers(0, 2**32 - 1)


@example([0] * 9, 8, 0, 0)  # where all batches but the last were full, that would have one row
@given(numbers_of_words, st.integers(1, 70), seeds, st.integers(0, 50))
def test_batches_hold_every_row_once_and_are_of_one_size(lengths, batch_size, seed, epoch):
    found = batches(lengths, batch_size, seed, epoch)
    assert sorted(row for batch in found for row in batch) == list(range(len(lengths)))
    sizes = [len(batch) for batch in found]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert len(found) == math.ceil(len(lengths) / batch_size)
    assert found == batches(lengths, batch_size, seed, epoch)


def test_batches_differ_from_seed_to_seed_and_from_epoch_to_epoch():
    lengths = [i % 17 for i in range(100)]
    orders = [batches(lengths, 8, seed, epoch) for seed in range(5) for epoch in range(5)]
    assert len({str(order) for order in orders}) == 25
    # Not only the same batches in another order: rows meet others.
    assert len({str(sorted(map(sorted, order))) for order in orders}) == 25


@pytest.mark.parametrize("seed", [0, None])
def test_rows_of_a_batch_are_of_like_length(seed):
    lengths = torch.empty(4000).log_normal_(5, 0.7).long().clamp(1, 2000)

    def padding(order):
        """The share of places that hold no word."""
        places = sum(len(batch) * lengths[batch].max() for batch in order)
        return 1 - lengths.sum() / places

    at_random = padding([batch.tolist() for batch in torch.randperm(len(lengths)).split(32)])
    assert at_random > 0.6
    assert padding(batches(lengths.tolist(), 32, seed)) < 0.2


@given(st.lists(st.integers(), unique=True, max_size=80), st.integers(1, 5), st.integers(1, 5))
def test_a_batch_is_shared_out_among_processes_and_passes(batch, world, passes):
    parts = [share(batch, rank, world, passes) for rank in range(world)]
    assert sorted(row for mine in parts for part in mine for row in part) == sorted(batch)
    sizes = [sum(map(len, mine)) for mine in parts]
    assert max(sizes) - min(sizes) <= 1
    assert all(part for mine in parts for part in mine)
    if len(batch) >= world * passes:
        assert all(len(mine) == passes for mine in parts)


# ---- a step ----


class Steps:
    """The optimizer's steps: rate and gradients as they are when each is taken."""

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
    """Adam takes whole steps where a slope is all rounding: in fp32, how far these lead depends on the processor."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("options", [{}, {"adversarial_epsilon": 0.1}], ids=str)
@pytest.mark.parametrize("passes", [2, 3, 7])
def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path, double, steps, passes, options):
    whole = trained(tmp_path / "whole", **options)
    parts = trained(tmp_path / "parts", gradient_accumulation_steps=passes, **options)
    assert len(parts.passes) == passes * len(whole.passes)
    assert gap(whole, parts) < 1e-6
    count = len(steps.gradients) // 2
    assert count == whole.step == parts.step
    for ours, theirs in zip(steps.gradients[:count], steps.gradients[count:], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    losses = [[epoch["train_loss"] for epoch in run.history] for run in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_a_pass_without_a_label_that_counts_changes_nothing(tmp_path, double):
    whole = trained(tmp_path / "whole", SmallTask(labelled=0.4))
    parts = trained(tmp_path / "parts", SmallTask(labelled=0.4), gradient_accumulation_steps=4, eval_batch_size=1)
    assert gap(whole, parts) < 1e-6
    for ours, theirs in zip(whole.history, parts.history, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-6)
        assert ours["validation"] == pytest.approx(theirs["validation"], abs=1e-6)


def test_training_reads_every_row_once_an_epoch(tmp_path):
    passes = trained(tmp_path, gradient_accumulation_steps=3).passes
    count = 3 * STEPS_PER_EPOCH
    epochs = [passes[start : start + count] for start in range(0, len(passes), count)]
    assert len(epochs) == 3
    for epoch in epochs:
        assert Counter(row for rows in epoch for row in rows) == Counter(range(SIZES["train"]))
    assert epochs[0] != epochs[1]


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


@pytest.mark.parametrize(("name", "shape"), SCHEDULES.items(), ids=SCHEDULES)
@pytest.mark.parametrize("limit", [None, 20])
def test_the_rate_follows_the_schedule_to_its_end(tmp_path, steps, name, shape, limit):
    trained(tmp_path, lr_scheduler_type=name, warmup_ratio=0.2, learning_rate=0.5, max_train_steps=limit)
    total, warmup = limit or 21, 4
    expected = [step / warmup if step < warmup else shape((step - warmup) / (total - warmup)) for step in range(total)]
    assert steps.rates == pytest.approx([0.5 * value for value in expected])


def test_a_seed_decides_everything(tmp_path):
    runs = [trained(tmp_path / str(i), dropout=0.5, seed=seed) for i, seed in enumerate((1, 1, 2))]
    assert gap(runs[0], runs[1]) == 0
    assert runs[0].passes == runs[1].passes
    assert runs[0].passes != runs[2].passes
    # Not only the order: at a rate of zero the weights are still those that training starts from.
    assert gap(*(trained(tmp_path / f"still {seed}", learning_rate=0.0, seed=seed) for seed in (1, 2))) > 0.01


def test_bf16_trains_in_bf16(tmp_path):
    half, full = trained(tmp_path / "half", mixed_precision="bf16"), trained(tmp_path / "full")
    assert (half.dtypes, full.dtypes) == ({torch.bfloat16}, {torch.float32})
    assert all(weight.dtype == torch.float32 for weight in half.weights.values())
    assert 0 < gap(half, full) < 0.1


# ---- early stopping ----


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best(tmp_path):
    best = trained(tmp_path / "best", SmallTask(scores=[0.5, 0.9]), num_train_epochs=2)
    run = trained(tmp_path / "run", SmallTask(scores=[0.5, 0.9, 0.7, 0.9, 1.0]), num_train_epochs=5, patience=2)
    assert [epoch["validation"]["score"] for epoch in run.history] == [0.5, 0.9, 0.7, 0.9]  # a tie is no improvement
    assert run.best_epoch == 2
    assert gap(run, best) == 0


def test_without_patience_every_epoch_is_trained(tmp_path):
    run = trained(tmp_path, SmallTask(scores=[0.9, 0.8, 0.7, 0.6, 0.5]), num_train_epochs=5)
    assert (len(run.history), run.best_epoch) == (5, 1)


# ---- checkpoints ----

# Steps 3, 6 and so on have checkpoints, and so has the end of every epoch, 7 and 14.
INTERRUPTED = {"dropout": 0.5, "checkpointing_steps": 3, "lr_scheduler_type": "cosine", "mixed_precision": "bf16"}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("uninterrupted"), **INTERRUPTED)


@pytest.mark.parametrize("stop_at", [4, 7, 8, 14, 20])
def test_a_resumed_run_ends_as_if_it_had_not_stopped(tmp_path, uninterrupted, stop_at):
    run = stopped_and_resumed(tmp_path, stop_at, **INTERRUPTED)
    assert gap(run, uninterrupted) == 0
    assert run.history == uninterrupted.history
    assert run.best_epoch == uninterrupted.best_epoch
    # It went on from the checkpoint, and did not start over.
    assert run.passes == uninterrupted.passes[-len(run.passes) :]
    assert len(run.passes) <= 21 - 3 * (stop_at // 3)


def test_a_resumed_run_remembers_its_best_epoch(tmp_path):
    scores, settings = [0.5, 0.9, 0.7, 0.8, 1.0], {"dropout": 0.5, "num_train_epochs": 5, "patience": 2}
    whole = trained(tmp_path / "whole", SmallTask(scores=scores), **settings)
    with pytest.raises(Stopped):
        trained(tmp_path / "parts", SmallTask(stop_at=3 * STEPS_PER_EPOCH + 1, scores=scores), **settings)
    run = trained(tmp_path / "parts", SmallTask(scores=scores[3:]), resume=True, **settings)
    assert run.best_epoch == 2
    assert run.history == whole.history
    assert gap(run, whole) == 0


@pytest.mark.parametrize("every", [3, STEPS_PER_EPOCH])
@pytest.mark.parametrize("saved_before", [1, 2])
def test_a_run_cut_off_while_it_writes_a_checkpoint_goes_on_from_the_one_before(
    tmp_path, monkeypatch, every, saved_before
):
    settings = INTERRUPTED | {"checkpointing_steps": every}
    seal, saved = checkpoints._seal, []

    def cut_off(folder):
        saved.append(seal(folder))
        if len(saved) > saved_before:
            raise Stopped  # the files are there, and not yet in their place

    monkeypatch.setattr(checkpoints, "_seal", cut_off)
    with pytest.raises(Stopped):
        trained(tmp_path / "parts", **settings)
    monkeypatch.undo()
    run = trained(tmp_path / "parts", resume=True, **settings)
    assert gap(run, trained(tmp_path / "whole", **settings)) == 0


def test_resume_needs_a_checkpoint(tmp_path):
    with pytest.raises(RecipeError, match="there is no whole checkpoint in .*Start without it"):
        trained(tmp_path, resume=True)


@pytest.fixture
def interrupted(tmp_path):
    """A folder with the checkpoint of a run that was cut off."""
    with pytest.raises(Stopped):
        trained(tmp_path, SmallTask(stop_at=STEPS_PER_EPOCH + 1), **INTERRUPTED)
    return tmp_path


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"batch_size": 9}, "batch_size was 8 and is 9"),
        ({"learning_rate": 0.5}, "learning_rate was 0.01 and is 0.5"),
        ({"crf": True, "model": {"use_crf": True}}, r"model was \{\} and is \{'use_crf': True\}"),  # another's weights
    ],
    ids=str,
)
def test_a_run_cannot_be_resumed_with_other_options(interrupted, option, says):
    with pytest.raises(RecipeError, match=f"belongs to a run with other options: {says}"):
        trained(interrupted, resume=True, **INTERRUPTED | option)
    trained(interrupted, resume=True, **INTERRUPTED | {"eval_batch_size": 7, "checkpointing_steps": 5})


@pytest.mark.parametrize("name", checkpoints.FILES)
def test_a_damaged_file_of_a_checkpoint_is_named(interrupted, name):
    (checkpoint,) = (interrupted / "checkpoints").iterdir()
    whole = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(bytes(100) + whole[100:])  # cut short it would be left out, see test_checkpoints
    with pytest.raises(
        RecipeError, match=f"resume: .*{checkpoint.name}/{name} cannot be read .* Remove .*another --output_dir"
    ):
        trained(interrupted, resume=True, **INTERRUPTED)


@pytest.mark.parametrize("name", [checkpoints.WEIGHTS, checkpoints.OPTIMIZER])
def test_a_checkpoint_of_another_model_is_refused(interrupted, name):
    (checkpoint,) = (interrupted / "checkpoints").iterdir()
    save_file({key: tensor[None] for key, tensor in load_file(checkpoint / name).items()}, checkpoint / name)
    seal_again(checkpoint)
    with pytest.raises(RecipeError, match=f"the checkpoint .*{checkpoint.name} cannot be loaded into this model"):
        trained(interrupted, resume=True, **INTERRUPTED)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize(
    ("look_every", "options", "steps"),
    [(100, {}, [2 * STEPS_PER_EPOCH]), (4, {}, [4, 8]), (100, {"checkpointing_steps": 3}, [3, 6, 9])],
    ids=["at the end of an epoch", "within it", "before it is saved"],
)
def test_a_run_that_diverges_says_so(tmp_path, monkeypatch, look_every, options, steps):
    """Where it looks for the first time after that: each step takes weights times a million, and how many of these a
    kernel bears depends on the processor, seven at the most."""
    monkeypatch.setattr(training, "LOOK_EVERY", look_every)
    with pytest.raises(RecipeError, match="diverged by step .*, in epoch 1: the loss is (nan|inf)") as refusal:
        trained(tmp_path, batch_size=4, learning_rate=1000.0, weight_decay=1000.0, max_grad_norm=None, **options)
    step = int(re.search(r"by step (\d+)", str(refusal.value))[1])
    assert step in steps
    saved = [path.name for path in (tmp_path / "checkpoints").glob("*")]
    assert saved == ([f"step-{step - 3}"] if options and step > 3 else [])


class Steep(Tagger):
    """Its loss is a number, and the loss's gradient is none."""

    def forward(self, **inputs):
        outputs = super().forward(**inputs)
        outputs.loss = outputs.loss + (self.classifier.weight * 0).sqrt().sum()
        return outputs


@pytest.mark.parametrize("options", [{}, {"max_train_steps": 1}, {"max_grad_norm": None}], ids=str)
def test_a_gradient_that_is_no_number_is_noticed(tmp_path, monkeypatch, options):
    monkeypatch.setattr(small_task, "Tagger", Steep)
    says = f"diverged by step {options.get('max_train_steps', 7)}, .* the loss is nan, by itself or by a gradient"
    with pytest.raises(RecipeError, match=says):
        trained(tmp_path, **options)
    assert list((tmp_path / "checkpoints").glob("*")) == []


class Scaled(Accelerator):
    """As in fp16 on a GPU: the loss is scaled, and steps whose gradients are no numbers are skipped."""

    def __init__(self, **options):
        super().__init__(**options)
        self.scaler = torch.amp.GradScaler("cpu")


def test_steps_that_are_skipped_again_and_again_are_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "Accelerator", Scaled)
    assert trained(tmp_path / "well", num_train_epochs=5).step == 35
    monkeypatch.setattr(small_task, "Tagger", Steep)
    with pytest.raises(
        RecipeError, match="at step 32, in epoch 5: in fp16 the gradients of 32 steps in a row were no"
    ):
        trained(tmp_path / "steep", num_train_epochs=5)


def test_a_resumed_run_scales_its_loss_as_before(tmp_path, monkeypatch):
    scalers = []

    class Growing(Accelerator):
        def __init__(self, **options):
            super().__init__(**options)
            self.scaler = torch.amp.GradScaler("cpu", growth_interval=2)
            scalers.append(self.scaler)

    monkeypatch.setattr(training, "Accelerator", Growing)
    whole = trained(tmp_path / "whole", **INTERRUPTED)
    with pytest.raises(Stopped):
        trained(tmp_path / "parts", SmallTask(stop_at=STEPS_PER_EPOCH + 1), **INTERRUPTED)
    run = trained(tmp_path / "parts", resume=True, **INTERRUPTED)
    assert gap(run, whole) == 0
    scale, cut_off, resumed = (scaler.get_scale() for scaler in scalers)
    assert scale == resumed > cut_off > 65536


def test_mixed_precision_is_what_accelerate_was_told(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert trained(tmp_path / "told").dtypes == {torch.bfloat16}
    assert trained(tmp_path / "asked", mixed_precision="no").dtypes == {torch.float32}


# ---- evaluation ----


@pytest.mark.parametrize(
    ("dealt", "says"),
    [
        (lambda batch, rank, world: [batch[1:]], "9 rows .* 9 of them different, where the split has 13"),
        (lambda batch, rank, world: [batch, batch[:1]], "17 rows .* 13 of them different, where the split has 13"),
        (lambda batch, rank, world: [batch[1:] + batch[1:2]], "13 rows .* 9 of them different"),
    ],
    ids=["lost", "twice", "both"],
)
def test_a_row_that_is_lost_or_counted_twice_is_an_error(tmp_path, monkeypatch, dealt, says):
    fresh_accelerator()
    options = SmallOptions(output_dir=str(tmp_path))
    task, accelerator, model = SmallTask(), start(options), Tagger()
    evaluate(accelerator, model, task, "test", options)
    assert Counter(row - 2000 for rows in task.seen for row in rows) == Counter(range(SIZES["test"]))
    monkeypatch.setattr(training, "share", dealt)
    with pytest.raises(RuntimeError, match=says):
        evaluate(accelerator, model, task, "test", options)


def test_the_loss_of_an_evaluation_is_the_mean_over_all_labels(tmp_path):
    runs = [trained(tmp_path / str(size), eval_batch_size=size).history for size in (1, 4, 100)]
    for history in runs[1:]:
        for ours, theirs in zip(runs[0], history, strict=True):
            assert ours["validation"] == pytest.approx(theirs["validation"], abs=1e-6)


# ---- what is refused before any work ----


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({name: value}, f"{name} is {value}")
        for name, values in {
            "batch_size": (0, -1),
            "eval_batch_size": (0,),
            "gradient_accumulation_steps": (0,),
            "num_train_epochs": (0,),
            "max_train_steps": (0,),
            "patience": (0,),
            "checkpointing_steps": (0,),
            "verify_rows": (0,),
            "max_length": (0,),
            "num_threads": (0,),
            "seed": (-1, 2**32),
            "learning_rate": (-1e-3, math.inf, math.nan),
            "weight_decay": (-0.1, math.inf),
            "warmup_ratio": (-0.1, 1.1),
            "adversarial_epsilon": (-0.1, 1.1, math.nan),
            "max_grad_norm": (0.0, -1.0, math.nan),
        }.items()
        for value in values
    ]
    + [
        ({"mixed_precision": "fp8"}, "mixed_precision is 'fp8': choose"),
        ({"lr_scheduler_type": "quadratic"}, "lr_scheduler_type is 'quadratic': choose"),
        ({"model_name_or_path": "runs/x", "model": {"model_type": "rnnzoo-rnn"}}, "leave out model_name_or_path"),
        ({"model_name_or_path": "runs/x", "tokenizer": {"vocab_size": 3}}, "leave out model_name_or_path"),
        # These need to know the machine.
        ({"mixed_precision": "fp16"}, "fp16 .*use bf16 or no"),
        ({"report_to": "nobody"}, "nobody"),
        ({"batch_size": 4, "gradient_accumulation_steps": 5}, "raise batch_size"),
    ],
    ids=str,
)
def test_values_that_cannot_be_are_refused(tmp_path, options, says):
    task = SmallTask()
    with pytest.raises(RecipeError, match=says) as caught:
        trained(tmp_path, task, **options)
    assert "\n" not in str(caught.value)
    assert task.seen == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["file", "file/below", "/proc/rnnzoo"])
def test_a_folder_that_cannot_be_written_is_refused(tmp_path, folder):
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match=f"output_dir .*{folder} cannot be written .*--output_dir"):
        trained(tmp_path / folder)


@pytest.mark.parametrize("environment", [{"WORLD_SIZE": "2"}, {"MASTER_ADDR": "127.0.0.1"}], ids=str)
def test_fewer_processes_than_were_asked_for_are_refused(tmp_path, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match="Several processes were asked for, and 1 runs.*--multi_gpu"):
        trained(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", ["1", "2"])
def test_fsdp_that_would_share_out_nothing_is_refused(tmp_path, monkeypatch, version):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", version)
    monkeypatch.setattr(training, "FSDP_NEEDS", {"torch": "2.0", "accelerate": "1.0"})
    with pytest.raises(RecipeError, match="FSDP was asked for, .*fsdp2.yaml"):
        trained(tmp_path)
    monkeypatch.setattr(training, "FSDP_NEEDS", {"torch": "2.0", "accelerate": "1000"})
    with pytest.raises(RecipeError, match="FSDP was asked for, and the accelerate .* older than 1000"):
        trained(tmp_path)
    assert list(tmp_path.iterdir()) == []
