"""The start of a run: what the machine, the launcher or the folder does not allow is refused before any work."""

import pytest

from rnnzoo.data.errors import RecipeError
from rnnzoo.training import launch
from tests.support.small_task import SmallTask, trained


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mixed_precision": "fp16"}, "fp16 .*use bf16 or no"),
        ({"report_to": "nobody"}, "nobody"),
        ({"batch_size": 4, "gradient_accumulation_steps": 5}, "raise batch_size"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_machine_or_data_are_refused(tmp_path, options, says):
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


@pytest.mark.parametrize(
    ("environment", "says"),
    [({"WORLD_SIZE": "2"}, "2 processes were requested"), ({"MASTER_ADDR": "127.0.0.1"}, "Several processes were")],
    ids=str,
)
def test_fewer_processes_than_requested_are_refused(tmp_path, monkeypatch, environment, says):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match=f"{says}.* but only 1 was started: .*--multi_gpu"):
        trained(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", ["1", "2"])
def test_fsdp_that_would_shard_nothing_is_refused(tmp_path, monkeypatch, version):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", version)
    monkeypatch.setattr(launch, "FSDP_NEEDS", {"torch": "2.0", "accelerate": "1.0"})
    with pytest.raises(RecipeError, match="FSDP was requested, .*fsdp2.yaml"):
        trained(tmp_path)
    monkeypatch.setattr(launch, "FSDP_NEEDS", {"torch": "2.0", "accelerate": "1000"})
    with pytest.raises(RecipeError, match="FSDP was requested, but the installed accelerate is older than 1000"):
        trained(tmp_path)
    assert list(tmp_path.iterdir()) == []
