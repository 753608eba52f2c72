"""When a run is saved: after steps, after minutes, on SIGTERM; and what a full disk leaves."""

import resource
import signal

import pytest

from rnnzoo.data.errors import RecipeError
from rnnzoo.training import resume, saver
from tests.support.checkpoints import steps, truncate
from tests.support.small_task import STEPS_PER_EPOCH, SmallTask, Stopped, Told, gap, trained


OPTIONS = {"dropout": 0.5, "lr_scheduler_type": "cosine"}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("uninterrupted"), **OPTIONS)


@pytest.mark.parametrize(
    ("task", "saved"),
    [
        (Told(STEPS_PER_EPOCH + 3), STEPS_PER_EPOCH + 3),
        (Told(STEPS_PER_EPOCH), STEPS_PER_EPOCH),
        (Told(1, "validation"), STEPS_PER_EPOCH),
        (Told(3 * STEPS_PER_EPOCH), 3 * STEPS_PER_EPOCH),
    ],
    ids=["within an epoch", "in its last step", "in validation", "in the very last step"],
)
def test_a_run_saves_on_sigterm_and_resumes_as_if_never_stopped(tmp_path, uninterrupted, capsys, task, saved):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        trained(tmp_path, task, **OPTIONS)
    assert caught.value.code == saver.STOPPED == 75
    assert signal.getsignal(signal.SIGTERM) is before
    assert f"Stopped by SIGTERM after step {saved}, which is saved: resume with --resume." in capsys.readouterr().out
    assert steps(tmp_path) == [saved]
    run = trained(tmp_path, resume=True, **OPTIONS)
    assert gap(run, uninterrupted) == 0 and run.history == uninterrupted.history
    assert run.micro_batches == uninterrupted.micro_batches[saved:]


def test_keep_says_how_many_checkpoints_stay(tmp_path):
    with pytest.raises(Stopped):
        trained(tmp_path, SmallTask(stop_at=11), checkpointing_steps=3, keep=3, **OPTIONS)
    assert steps(tmp_path) == [9, 7, 6]


def test_checkpoints_by_the_clock(tmp_path, uninterrupted):
    often, seldom = tmp_path / "often", tmp_path / "seldom"
    run = trained(often, checkpointing_minutes=0.0, keep=100, **OPTIONS)
    assert steps(often) == list(range(21, 0, -1))
    assert gap(run, uninterrupted) == 0
    trained(seldom, checkpointing_minutes=10.0, keep=100, **OPTIONS)
    assert steps(seldom) == [21, 14, 7]


@pytest.fixture
def interrupted(tmp_path):
    """A folder with two checkpoints of a run that was interrupted, the newest one incomplete."""
    with pytest.raises(Stopped):
        trained(tmp_path, SmallTask(stop_at=10), checkpointing_steps=3, keep=2, **OPTIONS)
    assert steps(tmp_path) == [9, 7]
    truncate(resume.found(tmp_path)[0] / "model.safetensors")
    return tmp_path


def test_an_incomplete_checkpoint_does_not_outlive_a_newer_save(interrupted):
    with pytest.raises(SystemExit):
        trained(interrupted, Told(1), resume=True, **OPTIONS)
    assert steps(interrupted) == [8] and resume.usable(interrupted)


def test_a_save_that_fails_names_the_complete_checkpoint(interrupted):
    newest, older = resume.found(interrupted)
    newest.with_name("unfinished").touch()  # where the next one is to be written
    with pytest.raises(RecipeError, match=f"step 8 cannot be written .* {older.name} is complete"):
        trained(interrupted, Told(1), resume=True, **OPTIONS)


class FullDisk(SmallTask):
    """A task in whose sixth step the disk is full."""

    def collate(self, columns):
        if len(self.micro_batches()) == 5:
            # From here on no file may grow beyond a kilobyte: a write fails as on a full disk, with another number.
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        return super().collate(columns)


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path, uninterrupted):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(RecipeError) as caught:
            trained(tmp_path, FullDisk(), checkpointing_steps=2, **OPTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value).startswith("The checkpoint of step 6 cannot be written to ")
    assert str(caught.value).endswith("step-4 is complete: make room, then resume with --resume.")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-4"]
    run = trained(tmp_path, resume=True, checkpointing_steps=2, **OPTIONS)
    assert gap(run, uninterrupted) == 0 and run.micro_batches == uninterrupted.micro_batches[4:]
