"""recipes.checkpoints: a run that is told to stop saves first, and one that cannot save loses nothing."""

import io
import os
import pickle
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from rnnzoo.data.errors import RecipeError
from rnnzoo.training import resume as checkpoints
from tests.support.small_task import STEPS_PER_EPOCH, SmallTask, Stopped, gap, trained


ROOT = Path(__file__).parents[2]
OPTIONS = {"dropout": 0.5, "lr_scheduler_type": "cosine"}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("uninterrupted"), **OPTIONS)


def steps(folder):
    return [int(path.name[5:]) for path in checkpoints.found(folder)]


class Told(SmallTask):
    """A task in which the process is told to stop while it makes ready a pass, or in validation."""

    def __init__(self, moment: int, split: str = "train"):
        super().__init__()
        self.moment, self.split = moment, split

    def _collate(self, columns):
        batch = super()._collate(columns)
        if len(self.passes(self.split)) == self.moment:
            self.moment = None
            os.kill(os.getpid(), signal.SIGTERM)
        return batch


@pytest.mark.parametrize(
    ("task", "saved"),
    [
        (Told(2), 2),
        (Told(STEPS_PER_EPOCH), STEPS_PER_EPOCH),
        (Told(STEPS_PER_EPOCH + 3), STEPS_PER_EPOCH + 3),
        (Told(1, "validation"), STEPS_PER_EPOCH),
        (Told(3 * STEPS_PER_EPOCH), 3 * STEPS_PER_EPOCH),
    ],
    ids=["in an epoch", "in its last step", "in the second", "in validation", "in the very last step"],
)
def test_a_run_that_is_told_to_stop_saves_and_goes_on_as_if_it_had_not(tmp_path, uninterrupted, capsys, task, saved):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        trained(tmp_path, task, **OPTIONS)
    assert caught.value.code == checkpoints.STOPPED == 75
    assert signal.getsignal(signal.SIGTERM) is before
    assert f"Stopped by SIGTERM after step {saved}, which is saved: go on with --resume." in capsys.readouterr().out
    assert steps(tmp_path) == [saved]
    run = trained(tmp_path, resume=True, **OPTIONS)
    assert gap(run, uninterrupted) == 0 and run.history == uninterrupted.history
    assert run.passes == uninterrupted.passes[saved:]


def test_so_many_checkpoints_are_kept(tmp_path):
    with pytest.raises(Stopped):
        trained(tmp_path, SmallTask(stop_at=11), checkpointing_steps=3, keep=3, **OPTIONS)
    assert steps(tmp_path) == [9, 7, 6]


def test_the_clock_makes_checkpoints_too(tmp_path, uninterrupted):
    often, seldom = tmp_path / "often", tmp_path / "seldom"
    run = trained(often, checkpointing_minutes=0.0, keep=100, **OPTIONS)
    assert steps(often) == list(range(21, 0, -1))
    assert gap(run, uninterrupted) == 0
    trained(seldom, checkpointing_minutes=10.0, keep=100, **OPTIONS)
    assert steps(seldom) == [21, 14, 7]


@pytest.fixture
def interrupted(tmp_path):
    """A folder with two checkpoints of a run that was cut off."""
    with pytest.raises(Stopped):
        trained(tmp_path, SmallTask(stop_at=10), checkpointing_steps=3, keep=2, **OPTIONS)
    assert steps(tmp_path) == [9, 7]
    return tmp_path


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "progress.json", "sizes.json"])
@pytest.mark.parametrize("damage", [cut, Path.unlink], ids=["cut", "gone"])
def test_the_newest_whole_checkpoint_is_taken(interrupted, uninterrupted, capsys, name, damage):
    newest, older = checkpoints.found(interrupted)
    damage(newest / name)
    run = trained(interrupted, resume=True, **OPTIONS)
    assert f"resume: {newest} is not whole, and left out.\nresuming from {older}" in capsys.readouterr().out
    assert gap(run, uninterrupted) == 0 and run.passes == uninterrupted.passes[7:]


def test_where_none_is_whole_nothing_is_resumed(interrupted):
    for path in checkpoints.found(interrupted):
        cut(path / "optimizer.safetensors")
    with pytest.raises(RecipeError, match="resume: there is no whole checkpoint in .*Start without it"):
        trained(interrupted, resume=True, **OPTIONS)


def test_a_new_run_does_not_take_the_place_of_one_that_can_go_on(interrupted):
    with pytest.raises(RecipeError, match="run that did not end, up to step-9: go on with --resume, or remove"):
        trained(interrupted, **OPTIONS)
    assert steps(interrupted) == [9, 7]
    for path in checkpoints.found(interrupted):
        cut(path / "optimizer.safetensors")
    with pytest.raises(Stopped):  # before it has saved anything
        trained(interrupted, SmallTask(stop_at=1), **OPTIONS)
    assert steps(interrupted) == []


def test_one_of_another_version_is_refused_as_that(interrupted):
    for path in checkpoints.found(interrupted):
        for name in ("optimizer.safetensors", "random.json"):
            (path / name).unlink()
        (path / "optimizer.bin").touch()
        seal_again(path)
    with pytest.raises(RecipeError, match="step-9 has no optimizer.safetensors: another version of the recipes wrote"):
        trained(interrupted, resume=True, **OPTIONS)
    assert steps(interrupted) == [9, 7]


@pytest.mark.parametrize("sizes", ["[]", "null", '"optimizer.safetensors"'])
def test_sizes_of_another_kind_are_damage(interrupted, sizes):
    newest, older = checkpoints.found(interrupted)
    (newest / "sizes.json").write_text(sizes)
    assert checkpoints.usable(interrupted) == [older]


def test_a_checkpoint_that_is_not_whole_does_not_outlive_a_newer_save(interrupted):
    newest, _ = checkpoints.found(interrupted)
    cut(newest / "model.safetensors")
    with pytest.raises(SystemExit):
        trained(interrupted, Told(1), resume=True, **OPTIONS)
    assert steps(interrupted) == [8] and checkpoints.usable(interrupted)


def test_one_that_is_not_whole_is_not_said_to_be(interrupted):
    newest, older = checkpoints.found(interrupted)
    cut(newest / "model.safetensors")
    newest.with_name("unfinished").touch()  # where the next is to be written
    with pytest.raises(RecipeError, match=f"step 8 cannot be written .* {older.name} is whole"):
        trained(interrupted, Told(1), resume=True, **OPTIONS)


def test_what_somebody_else_put_there_is_no_checkpoint(interrupted):
    newest, _ = checkpoints.found(interrupted)
    shutil.copytree(newest, newest.with_name("step-9 (copy)"))
    assert steps(interrupted) == [9, 7]


def test_a_resumed_run_needs_the_files_no_longer(interrupted, uninterrupted):
    newest, _ = checkpoints.found(interrupted)

    class Overwriting(SmallTask):
        def _collate(self, columns):
            if not self.seen:
                for path in newest.glob("*.safetensors"):
                    with path.open("r+b") as file:
                        file.write(bytes(path.stat().st_size))
            return super()._collate(columns)

    run = trained(interrupted, Overwriting(), resume=True, **OPTIONS)
    assert gap(run, uninterrupted) == 0 and run.passes == uninterrupted.passes[9:]


class Code:
    """Runs when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


READ = [*checkpoints.FILES]
# What accelerate would look for, with FSDP and without, also instead of model.safetensors.
NOT_READ = [
    *("pytorch_model.bin", "pytorch_model_fsdp.bin", "optimizer.bin", "scheduler.bin", "sampler.bin", "scaler.pt"),
    *("dl_state_dict.bin", "random_states_0.pkl", "random_states_1.pkl", "custom_checkpoint_0.pkl"),
]


def torch_saved(code):
    """As torch writes it into a file."""
    buffer = io.BytesIO()
    torch.save(code, buffer)
    return buffer.getvalue()


def seal_again(folder):
    """Whoever hides code in a file can tell its size."""
    (folder / checkpoints.SIZES).unlink()
    checkpoints._seal(folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The checkpoint of a run that was cut off."""
    folder = tmp_path_factory.mktemp("cut off")
    with pytest.raises(Stopped):
        trained(folder, SmallTask(stop_at=1 + STEPS_PER_EPOCH), **OPTIONS)
    return checkpoints.found(folder)[0]


@pytest.mark.parametrize("name", READ + NOT_READ)
def test_code_in_a_checkpoint_is_not_run(checkpoint, tmp_path, name):
    ran = tmp_path / "it ran"
    for way, write in enumerate((torch_saved, pickle.dumps)):
        folder = tmp_path / str(way) / "checkpoints" / checkpoint.name
        shutil.copytree(checkpoint, folder)
        (folder / name).write_bytes(write(Code(ran)))
        if name == "pytorch_model.bin":
            (folder / "model.safetensors").unlink()
        seal_again(folder)
        with suppress(RecipeError, Stopped):
            trained(folder.parents[1], SmallTask(stop_at=0), resume=True, **OPTIONS)
        assert checkpoints.usable(folder.parents[1]) == [folder] and not ran.exists()
    pickle.loads((folder / name).read_bytes())
    assert ran.exists()


FULL = """
import resource
import sys

from tests.support.small_task import SmallTask, trained


class Full(SmallTask):
    def _collate(self, columns):
        if len(self.passes()) == 5:
            # From here on no file may grow beyond a kilobyte: a write fails as on a full disk, with another number.
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        return super()._collate(columns)


try:
    trained(sys.argv[1], Full(), checkpointing_steps=2, dropout=0.5, lr_scheduler_type="cosine")
except ValueError as error:
    sys.exit(f"error: {error}")
"""


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path, uninterrupted):
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "out")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: The checkpoint of step 6 cannot be written to " in done.stderr
    assert done.stderr.endswith("step-4 is whole: make room, and go on with --resume.\n"), done.stderr
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["step-4"]
    run = trained(tmp_path / "out", resume=True, checkpointing_steps=2, **OPTIONS)
    assert gap(run, uninterrupted) == 0 and run.passes == uninterrupted.passes[4:]
