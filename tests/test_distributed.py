"""Two real processes train what one trains: the loop on a small task, the recipe, and launches that go wrong."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file
from small_task import RUNS, SIZES, STEPS_PER_EPOCH, SmallTask, fresh_accelerator, gap, trained

from recipes import imdb, ner
from recipes.made import make_reviews
from recipes.made_names import make_sentences


ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "recipes" / "configs" / "accelerate"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ACCELERATE = ["-m", "accelerate.commands.accelerate_cli", "launch"]


def launch(*command, **environment):
    """A command of Python's, from the repository's root, without a network or real data."""
    fixed = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RNNZOO_DATA": ""}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=os.environ | fixed | environment,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """What two processes found: for each of them its runs."""
    folder = tmp_path_factory.mktemp("processes")
    done = launch(*TORCHRUN, ROOT / "tests" / "small_task.py", folder, ACCELERATE_USE_CPU="true")
    assert done.returncode == 0, done.stderr[-3000:]
    saved = [torch.load(folder / f"process-{rank}.pt", weights_only=False) for rank in range(2)]
    return [{name: SimpleNamespace(**run) for name, run in runs.items()} for runs in saved]


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_what_one_trains(processes, tmp_path, name):
    alone = trained(tmp_path, max_train_steps=20, **RUNS[name])
    assert alone.world_size == 1
    for together in (runs[name] for runs in processes):
        assert together.world_size == 2
        assert together.step == alone.step == 20
        assert gap(together, alone) < 1e-5
        for ours, theirs in zip(together.history, alone.history, strict=True):
            assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-5)
            assert ours["validation"] == pytest.approx(theirs["validation"], abs=1e-5)


@pytest.mark.parametrize("name", ["uninterrupted", "resumed", "streamed", "streamed, resumed"])
def test_two_processes_share_out_every_row_once_an_epoch(processes, name):
    first, second = (runs[name].passes for runs in processes)
    # The resumed run knows only of what came after its checkpoint, step 9: two batches into its second epoch.
    start, before = (STEPS_PER_EPOCH - 2, 9) if name.endswith("resumed") else (0, 0)
    assert len(first) == len(second) == 3 * STEPS_PER_EPOCH - before
    for epoch in range(start, len(first), STEPS_PER_EPOCH):
        steps = slice(epoch, epoch + STEPS_PER_EPOCH)
        read = Counter(row for passes in (first, second) for rows in passes[steps] for row in rows)
        assert read == Counter(range(SIZES["train"]))


@pytest.mark.parametrize("resumed, whole", [("resumed", "uninterrupted"), ("streamed, resumed", "streamed")])
def test_two_processes_go_on_as_if_they_had_not_stopped(processes, resumed, whole):
    for runs in processes:
        assert gap(runs[resumed], runs[whole]) == 0
        assert runs[resumed].history == runs[whole].history


def test_two_processes_read_of_a_stream_what_the_steps_need(processes, tmp_path):
    passes = [rows for runs in processes for rows in runs["streamed, some"].passes]
    read = Counter(row for rows in passes for row in rows)
    assert len(passes) == 8 and set(read.values()) == {1} and max(read) < SIZES["train"]
    alone = trained(tmp_path, SmallTask(streamed=True), max_train_steps=4)
    assert read == Counter(row for rows in alone.passes for row in rows)
    assert all(gap(runs["streamed, some"], alone) < 1e-5 for runs in processes)


def test_two_processes_drop_features_of_their_own(processes):
    first, second = (runs["dropped"] for runs in processes)
    assert gap(first, second) == 0
    assert not torch.equal(first.drawn[0], second.drawn[0])


# ---- the recipe ----

OPTIONS = {
    "model": {"model_type": "rnnzoo-lstm", "embedding_size": 8, "hidden_size": 8},
    "tokenizer": {"vocab_size": 200},
    "batch_size": 32,
    "max_train_steps": 20,
    "gradient_accumulation_steps": 2,
    "eval_batch_size": 50,
    "verify_rows": 5,
    "num_threads": 1,
}


@pytest.fixture(params=[imdb, ner], ids=["imdb", "ner, streamed"])
def task(request, tmp_path):
    """A recipe with its flags, and a data set whose splits are no multiples of anything."""
    given = OPTIONS | {"dataset": str(tmp_path), "streaming": request.param is ner}
    made = make_reviews() if request.param is imdb else make_sentences().rename_column("tags", "ner_tags")
    for split, size in {"train": 211, "validation": 53, "test": 67}.items():
        made[split].select(range(size)).to_parquet(tmp_path / f"{split}.parquet")
    return request.param, [part for name, value in given.items() for part in (f"--{name}", json.dumps(value))]


def test_the_recipe_on_two_processes(task, tmp_path, monkeypatch):
    (recipe, flags), two, one = task, tmp_path / "two", tmp_path / "one"
    done = launch(
        *ACCELERATE,
        *("--config_file", CONFIGS / "multi-gpu.yaml", "--num_processes", "2", "--main_process_port", "0"),
        *("-m", recipe.__name__, "--output_dir", two),
        *flags,
        ACCELERATE_USE_CPU="true",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    together = json.loads((two / "results.json").read_text())
    assert together["world_size"] == 2
    # Said and written by one of them only.
    assert done.stdout.count("written to") == 1
    assert not (two / "checkpoints").exists()

    # Shown in test_imdb.py and test_ner.py.
    monkeypatch.setattr(recipe, "serve", lambda *args, **kwargs: together["served"])
    fresh_accelerator()
    alone = recipe.recipe(["--output_dir", str(one), *flags])
    assert alone["world_size"] == 1
    for split in ("validation", "test"):
        ours, theirs = together["metrics"][split], alone["metrics"][split]
        assert ours.pop("loss") == pytest.approx(theirs.pop("loss"), abs=1e-5)
        assert ours == theirs
    ours, theirs = load_file(two / "model.safetensors"), load_file(one / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert max((ours[name] - theirs[name]).abs().max() for name in ours) < 1e-5


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_knows_every_field_of_its_configurations(path):
    config = load_config_from_file(str(path))
    given = yaml.safe_load(path.read_text())
    assert {name: getattr(config, name) for name in given} == given
    assert config.num_processes > 1 or config.distributed_type == "NO"
    assert f"--config_file {path.relative_to(ROOT)}" in path.read_text()


# ---- launches that go wrong ----


def test_the_demo_says_what_is_wrong_with_its_data():
    done = launch("-m", "recipes.demo", RNNZOO_DATA="/no/such/folder")
    assert done.returncode == 1
    assert done.stderr.startswith("error: RNNZOO_DATA is set to '/no/such/folder'")
    assert "Traceback" not in done.stderr


def test_a_launch_that_starts_one_process_of_two_stops(tmp_path):
    out = tmp_path / "out"
    done = launch(
        *ACCELERATE,
        *("--cpu", "--num_processes", "2", "-m", "recipes.imdb", "--output_dir", out),
        *("--config", "recipes/configs/imdb/made-lstm.yaml"),
    )
    assert done.returncode != 0
    assert "error: Several processes were asked for, and 1 runs" in done.stderr
    assert "--multi_gpu --num_processes" in done.stderr
    assert list(out.rglob("*")) == []
