"""A resumed run ends as if never interrupted; a checkpoint that is damaged, foreign or harmful is refused."""

import pickle
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from rnnzoo.data.errors import RecipeError
from rnnzoo.training import launch, resume
from rnnzoo.training.resume import Progress
from tests.support.checkpoints import NOT_READ, READ, Code, seal_again, steps, torch_saved, truncate
from tests.support.small_task import STEPS_PER_EPOCH, SmallTask, Stopped, gap, stopped_and_resumed, trained


# Steps 3, 6 and so on have checkpoints, and so has the end of every epoch, 7 and 14.
OPTIONS = {"dropout": 0.5, "checkpointing_steps": 3, "lr_scheduler_type": "cosine", "mixed_precision": "bf16"}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("uninterrupted"), **OPTIONS)


@pytest.mark.parametrize("stop_at", [4, 7, 20])
def test_a_resumed_run_ends_as_if_never_interrupted(tmp_path, uninterrupted, stop_at):
    run = stopped_and_resumed(tmp_path, stop_at, **OPTIONS)
    assert gap(run, uninterrupted) == 0
    assert run.history == uninterrupted.history
    assert run.best_epoch == uninterrupted.best_epoch
    # It resumed from the checkpoint, and did not start over.
    assert run.micro_batches == uninterrupted.micro_batches[-len(run.micro_batches) :]
    assert len(run.micro_batches) <= 21 - 3 * (stop_at // 3)


def test_whether_steps_are_fused_is_for_the_device_that_resumes():
    def progress(fused):
        optimizer = torch.optim.AdamW(model.parameters(), fused=fused)
        return Progress({}, model, torch.optim.lr_scheduler.ConstantLR(optimizer))

    model = torch.nn.Linear(2, 2)
    before, after = progress(True), progress(None)
    model(torch.ones(1, 2)).sum().backward()
    before.optimizer.step()
    after.load(before.tensors(kept=True), before.numbers())
    assert before.optimizer.param_groups[0]["fused"] and not after.optimizer.param_groups[0]["fused"]
    assert after.optimizer.state_dict()["state"][0]["step"] == 1


def test_a_resumed_run_remembers_its_best_epoch(tmp_path):
    scores, settings = [0.5, 0.9, 0.7, 0.8, 1.0], {"dropout": 0.5, "num_train_epochs": 5, "patience": 2}
    complete = trained(tmp_path / "complete", SmallTask(scores=scores), **settings)
    with pytest.raises(Stopped):
        trained(tmp_path / "parts", SmallTask(stop_at=3 * STEPS_PER_EPOCH + 1, scores=scores), **settings)
    run = trained(tmp_path / "parts", SmallTask(scores=scores[3:]), resume=True, **settings)
    assert run.best_epoch == 2
    assert run.history == complete.history
    assert gap(run, complete) == 0


@pytest.mark.parametrize(("every", "saved_before"), [(3, 1), (3, 2), (STEPS_PER_EPOCH, 1)])
def test_a_run_killed_while_it_writes_a_checkpoint_resumes_from_the_one_before(
    tmp_path, monkeypatch, uninterrupted, every, saved_before
):
    settings = OPTIONS | {"checkpointing_steps": every}
    seal, saved = resume._seal, []

    def killed(folder):
        saved.append(seal(folder))
        if len(saved) > saved_before:
            raise Stopped  # the files are written, but not yet in their place

    monkeypatch.setattr(resume, "_seal", killed)
    with pytest.raises(Stopped):
        trained(tmp_path, **settings)
    monkeypatch.undo()
    assert gap(trained(tmp_path, resume=True, **settings), uninterrupted) == 0


def test_a_resumed_run_continues_the_scale_of_its_loss(tmp_path, monkeypatch):
    scalers = []

    class Growing(Accelerator):
        def __init__(self, **options):
            super().__init__(**options)
            self.scaler = torch.amp.GradScaler("cpu", growth_interval=2)
            scalers.append(self.scaler)

    monkeypatch.setattr(launch, "Accelerator", Growing)
    complete = trained(tmp_path / "complete", **OPTIONS)
    with pytest.raises(Stopped):
        trained(tmp_path / "parts", SmallTask(stop_at=STEPS_PER_EPOCH + 1), **OPTIONS)
    run = trained(tmp_path / "parts", resume=True, **OPTIONS)
    assert gap(run, complete) == 0
    scale, interrupted, resumed = (scaler.get_scale() for scaler in scalers)
    assert scale == resumed > interrupted > 65536


# ---- which checkpoint is taken ----


def test_resume_needs_a_checkpoint(tmp_path):
    with pytest.raises(RecipeError, match="has no complete checkpoint. Start without --resume"):
        trained(tmp_path, resume=True)


@pytest.fixture(scope="module")
def of_an_interrupted_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(Stopped):
        trained(folder, SmallTask(stop_at=10), **OPTIONS, keep=2)
    return folder


@pytest.fixture
def interrupted(of_an_interrupted_run, tmp_path):
    """A folder with two checkpoints of a run that was interrupted."""
    shutil.copytree(of_an_interrupted_run, tmp_path, dirs_exist_ok=True)
    assert steps(tmp_path) == [9, 7]
    return tmp_path


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.safetensors", truncate),
        ("optimizer.safetensors", Path.unlink),
        ("sizes.json", truncate),
        ("sizes.json", Path.unlink),
    ],
)
def test_the_newest_complete_checkpoint_is_taken(interrupted, uninterrupted, capsys, name, damage):
    newest, older = resume.found(interrupted)
    damage(newest / name)
    run = trained(interrupted, resume=True, **OPTIONS)
    assert f"resume: {newest} is incomplete and is ignored.\nresuming from {older}" in capsys.readouterr().out
    assert gap(run, uninterrupted) == 0 and run.micro_batches == uninterrupted.micro_batches[7:]


def test_sizes_of_another_type_are_damage(interrupted):
    newest, older = resume.found(interrupted)
    for sizes in ("[]", "null", '"optimizer.safetensors"'):
        (newest / "sizes.json").write_text(sizes)
        assert resume.usable(interrupted) == [older]


def test_without_a_complete_checkpoint_nothing_is_resumed(interrupted):
    for path in resume.found(interrupted):
        truncate(path / "optimizer.safetensors")
    with pytest.raises(RecipeError, match="has no complete checkpoint. Start without --resume"):
        trained(interrupted, resume=True, **OPTIONS)


def test_a_new_run_does_not_replace_one_that_can_be_resumed(interrupted):
    with pytest.raises(RecipeError, match="of an unfinished run, up to step-9: resume it with --resume, or remove"):
        trained(interrupted, **OPTIONS)
    assert steps(interrupted) == [9, 7]
    for path in resume.found(interrupted):
        truncate(path / "optimizer.safetensors")
    with pytest.raises(Stopped):  # before it has saved anything
        trained(interrupted, SmallTask(stop_at=1), **OPTIONS)
    assert steps(interrupted) == []


def test_a_copy_that_somebody_made_is_no_checkpoint(interrupted):
    newest, _ = resume.found(interrupted)
    shutil.copytree(newest, newest.with_name("step-9 (copy)"))
    assert steps(interrupted) == [9, 7]


def test_a_resumed_run_no_longer_needs_the_files(interrupted, uninterrupted):
    newest, _ = resume.found(interrupted)

    class Overwriting(SmallTask):
        def collate(self, columns):
            if not self.seen:
                for path in newest.glob("*.safetensors"):
                    with path.open("r+b") as file:
                        file.write(bytes(path.stat().st_size))
            return super().collate(columns)

    run = trained(interrupted, Overwriting(), resume=True, **OPTIONS)
    assert gap(run, uninterrupted) == 0 and run.micro_batches == uninterrupted.micro_batches[9:]


# ---- what is refused ----


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"batch_size": 9}, "batch_size was 8 and is 9"),
        ({"crf": True, "model": {"use_crf": True}}, r"model was \{\} and is \{'use_crf': True\}"),  # another's weights
    ],
    ids=str,
)
def test_a_run_cannot_be_resumed_with_other_deciding_options(interrupted, option, says):
    with pytest.raises(RecipeError, match=f"belongs to a run with other options: {says}"):
        trained(interrupted, resume=True, **OPTIONS | option)


def test_incidental_options_may_change_when_a_run_is_resumed(interrupted, uninterrupted):
    more = {"eval_batch_size": 7, "checkpointing_steps": 5, "push_to_hub": False, "hub_model_id": "you/resumed"}
    assert gap(trained(interrupted, resume=True, **OPTIONS | more), uninterrupted) == 0


@pytest.mark.parametrize("name", resume.FILES)
def test_a_damaged_file_is_named(interrupted, name):
    checkpoint = resume.found(interrupted)[0]
    data = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(bytes(100) + data[100:])  # of the same size: a truncated one is incomplete
    says = f"resume: .*{checkpoint.name}/{name} cannot be read .* Remove .*another --output_dir"
    with pytest.raises(RecipeError, match=says):
        trained(interrupted, resume=True, **OPTIONS)


@pytest.mark.parametrize("name", [resume.WEIGHTS, resume.OPTIMIZER])
def test_a_checkpoint_of_another_model_is_refused(interrupted, name):
    checkpoint = resume.found(interrupted)[0]
    save_file({key: tensor[None] for key, tensor in load_file(checkpoint / name).items()}, checkpoint / name)
    seal_again(checkpoint)
    with pytest.raises(RecipeError, match=f"the checkpoint .*{checkpoint.name} cannot be loaded into this model"):
        trained(interrupted, resume=True, **OPTIONS)


def test_a_checkpoint_of_another_version_is_refused_as_such(interrupted):
    for path in resume.found(interrupted):
        for name in ("optimizer.safetensors", "random.json"):
            (path / name).unlink()
        (path / "optimizer.bin").touch()
        seal_again(path)
    with pytest.raises(RecipeError, match="step-9 has no optimizer.safetensors: another version of rnnzoo wrote it"):
        trained(interrupted, resume=True, **OPTIONS)
    assert steps(interrupted) == [9, 7]


@pytest.mark.parametrize("names", [[name] for name in READ] + [NOT_READ, ["pytorch_model.bin"]], ids="+".join)
def test_code_in_a_checkpoint_is_not_run(interrupted, tmp_path, names):
    (checkpoint, _), ran = resume.found(interrupted), tmp_path / "it ran"
    for way, write in enumerate((torch_saved, pickle.dumps)):
        folder = tmp_path / str(way) / "checkpoints" / checkpoint.name
        shutil.copytree(checkpoint, folder)
        for name in names:
            (folder / name).write_bytes(write(Code(ran)))
        if names == ["pytorch_model.bin"]:  # in place of the weights
            (folder / "model.safetensors").unlink()
        seal_again(folder)
        with suppress(RecipeError, Stopped):
            trained(folder.parents[1], SmallTask(stop_at=0), resume=True, **OPTIONS)
        assert resume.usable(folder.parents[1]) == [folder] and not ran.exists()
    pickle.loads((folder / names[0]).read_bytes())
    assert ran.exists()
