"""Several real processes train what one trains: the loop on a small task, the recipe, launches that go wrong."""

import json
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import compare_versions
from datasets import Dataset
from safetensors.torch import load_file

from rnnzoo.data.synthetic.names import make_sentences
from rnnzoo.data.synthetic.reviews import make_reviews
from rnnzoo.tasks import classify as imdb
from rnnzoo.tasks import tag as ner
from rnnzoo.training import resume as checkpoints
from rnnzoo.training.loop import FSDP_NEEDS
from tests.support.reliability import note
from tests.support.small_task import (
    RUNS,
    SETTINGS,
    SIZES,
    STEPS_PER_EPOCH,
    SmallTask,
    compared,
    fresh_accelerator,
    gap,
    trained,
)
from tests.training.test_resume import NOT_READ, READ, Code, seal_again, torch_saved


ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "recipes" / "configs" / "accelerate"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
ACCELERATE = ["-m", "accelerate.commands.accelerate_cli", "launch"]


def launch(*command, timeout=None, **environment):
    """A command of Python's, from the repository's root, without a network or real data; `timeout` in seconds."""
    fixed = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RNNZOO_DATA": ""}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=os.environ | fixed | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


# How many processes, and what accelerate's launcher would tell them: three share out no batch, no pass and no split
# evenly, and with FSDP2 each of two has a part of every weight.
GROUPS = {
    "2 processes": (2, {}),
    "3 processes": (3, {}),
    "2 processes with FSDP2": (
        2,
        {
            "ACCELERATE_USE_FSDP": "true",
            "FSDP_VERSION": "2",
            "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
            "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",  # as it is where nothing is said
        },
    ),
}


too_old_for_fsdp = pytest.mark.skipif(
    any(compare_versions(package, "<", oldest) for package, oldest in FSDP_NEEDS.items()),
    reason="the recipes refuse FSDP here: torch or accelerate is too old",
)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(group, id=name, marks=too_old_for_fsdp if "FSDP" in name else ())
        for name, group in GROUPS.items()
    ],
)
def processes(request, tmp_path_factory):
    """What several processes found: for each of them its runs."""
    count, environment = request.param
    folder = tmp_path_factory.mktemp("processes")
    command = (*TORCHRUN, count, ROOT / "tests" / "small_task.py", folder)
    done = launch(*command, ACCELERATE_USE_CPU="true", **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    saved = [torch.load(folder / f"process-{rank}.pt", weights_only=False) for rank in range(count)]
    kind = "FSDP" if environment else "MULTI_CPU"
    assert {run["distributed_type"] for runs in saved for run in runs.values()} == {kind}
    assert {run["world_size"] for runs in saved for run in runs.values()} == {count}
    return [{name: SimpleNamespace(**run, folder=folder / name) for name, run in runs.items()} for runs in saved]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run of this process alone, made once."""
    return cache(lambda name: compared(tmp_path_factory.mktemp("alone"), name))


@pytest.mark.parametrize("name", RUNS)
def test_several_processes_train_what_one_trains(processes, alone, name):
    assert alone(name).world_size == 1
    for together in (runs[name] for runs in processes):
        assert together.step == alone(name).step == 20
        assert gap(together, alone(name)) < 1e-6
        for ours, theirs in zip(together.history, alone(name).history, strict=True):
            assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-5)
            assert ours["validation"] == pytest.approx(theirs["validation"], abs=1e-5)


@pytest.mark.parametrize("name", ["uninterrupted", "resumed", "streamed", "streamed, resumed"])
def test_several_processes_share_out_every_row_once_an_epoch(processes, name):
    passes = [runs[name].passes for runs in processes]
    # The resumed run knows only of what came after its checkpoint, step 9: two batches into its second epoch.
    start, before = (STEPS_PER_EPOCH - 2, 9) if name.endswith("resumed") else (0, 0)
    assert {len(mine) for mine in passes} == {3 * STEPS_PER_EPOCH - before}
    for epoch in range(start, len(passes[0]), STEPS_PER_EPOCH):
        read = Counter(row for mine in passes for rows in mine[epoch : epoch + STEPS_PER_EPOCH] for row in rows)
        assert read == Counter(range(SIZES["train"]))


@pytest.mark.parametrize("resumed, whole", [("resumed", "uninterrupted"), ("streamed, resumed", "streamed")])
def test_several_processes_go_on_as_if_they_had_not_stopped(processes, resumed, whole):
    for runs in processes:
        assert gap(runs[resumed], runs[whole]) == 0
        assert runs[resumed].history == runs[whole].history


def test_several_processes_read_of_a_stream_what_the_steps_need(processes, tmp_path):
    passes = [rows for runs in processes for rows in runs["streamed, some"].passes]
    read = Counter(row for rows in passes for row in rows)
    assert len(passes) == 4 * len(processes) and set(read.values()) == {1} and max(read) < SIZES["train"]
    alone = trained(tmp_path, SmallTask(streamed=True), max_train_steps=4)
    assert read == Counter(row for rows in alone.passes for row in rows)
    assert all(gap(runs["streamed, some"], alone) < 1e-5 for runs in processes)


def test_one_process_goes_on_from_a_checkpoint_of_several(processes, tmp_path):
    run = processes[0]["uninterrupted"]
    shutil.copytree(run.folder, tmp_path / "copy")
    resumed = trained(tmp_path / "copy", resume=True, **SETTINGS)
    assert (resumed.step, resumed.passes, gap(resumed, run)) == (21, [], 0)


# Goes on from the checkpoints in the folders it is told: what is refused in the last one ends it.
RESUMES = """
import sys

from rnnzoo.training.command_line import main
from rnnzoo.data.errors import RecipeError
from tests.support.small_task import SETTINGS, trained

*folders, last = sys.argv[1:]
for folder in folders:
    try:
        trained(folder, resume=True, **SETTINGS)
    except RecipeError as error:
        print(f"refused: {error}", flush=True)
main(lambda _: trained(last, resume=True, **SETTINGS))
"""


@too_old_for_fsdp
def test_processes_that_share_out_weights_run_no_code_in_a_checkpoint(tmp_path):
    (tmp_path / "resumes.py").write_text(RESUMES)
    whole, ran = tmp_path / "whole", tmp_path / "it ran"
    trained(whole, **SETTINGS)
    newest = checkpoints.found(whole)[0]

    def with_code(names, write):
        folder = tmp_path / f"{names[0]} {write.__name__}"
        shutil.copytree(whole, folder)
        for name in names:
            (folder / "checkpoints" / newest.name / name).write_bytes(write(Code(ran)))
        seal_again(folder / "checkpoints" / newest.name)
        return folder

    def resume(*folders):
        count, environment = GROUPS["2 processes with FSDP2"]
        paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
        return launch(
            *(*TORCHRUN, count, tmp_path / "resumes.py", *folders),
            **{"timeout": 300, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": paths, **environment},
        )

    ways = (torch_saved, pickle.dumps)
    beside = resume(*(with_code(NOT_READ, write) for write in ways))
    assert beside.returncode == 0, beside.stderr[-3000:]
    assert beside.stdout.count("resuming from") == 2 and "refused" not in beside.stdout
    instead = resume(*(with_code([name], write) for name in READ for write in ways))
    assert instead.returncode == 1
    for name in READ:
        assert instead.stdout.count(f"{newest.name}/{name} cannot be read") == (2 if name == READ[-1] else 4)
    assert re.search(rf"error: resume: .*/{newest.name}/{READ[-1]} cannot be read .* Remove .*", instead.stderr)
    assert not ran.exists()
    pickle.loads(pickle.dumps(Code(ran)))
    assert ran.exists()


def test_several_processes_drop_features_of_their_own(processes):
    first, *others = (runs["dropped"] for runs in processes)
    for other in others:
        assert gap(first, other) == 0
        assert not torch.equal(first.drawn[0], other.drawn[0])


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


def as_flags(given):
    return [part for name, value in given.items() for part in (f"--{name}", json.dumps(value))]


@pytest.fixture(scope="module")
def alone_with(tmp_path_factory):
    """Of a recipe: its flags, which name a data set whose splits are no multiples of anything, and what one process
    makes of it, a folder and results. The tagger's is a stream."""

    def made_with(recipe):
        data, folder = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("one")
        made = make_reviews() if recipe is imdb else make_sentences().rename_column("tags", "ner_tags")
        for split, size in {"train": 211, "validation": 53, "test": 67}.items():
            made[split].select(range(size)).to_parquet(data / f"{split}.parquet")
        flags = as_flags(OPTIONS | {"dataset": str(data), "streaming": recipe is ner})
        fresh_accelerator()
        with pytest.MonkeyPatch.context() as patch:
            # Shown in test_imdb.py and test_ner.py.
            patch.setattr(recipe, "serve", lambda *args, **kwargs: {"largest_difference": 0.0})
            return flags, folder, recipe.recipe(["--output_dir", str(folder), *flags])

    return cache(made_with)


@pytest.mark.parametrize(
    ("recipe", "config", "count"),
    [(imdb, "multi-gpu", 3), pytest.param(imdb, "fsdp2", 2, marks=too_old_for_fsdp), (ner, "multi-gpu", 2)],
    ids=["imdb-multi-gpu-3", "imdb-fsdp2-2", "ner-streamed-multi-gpu-2"],
)
def test_the_recipe_on_several_processes(alone_with, tmp_path, recipe, config, count):
    flags, folder, alone = alone_with(recipe)
    done = launch(
        *ACCELERATE,
        *("--config_file", CONFIGS / f"{config}.yaml", "--num_processes", count, "--main_process_port", "0"),
        *("-m", recipe.__name__, "--output_dir", tmp_path),
        *flags,
        ACCELERATE_USE_CPU="true",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    together = json.loads((tmp_path / "results.json").read_text())
    assert together["world_size"] == count
    # Said and written by one of them only.
    assert done.stdout.count("written to") == 1
    assert not (tmp_path / "checkpoints").exists()

    assert alone["world_size"] == 1
    for split in ("validation", "test"):
        ours, theirs = (dict(results["metrics"][split]) for results in (together, alone))
        assert ours.pop("loss") == pytest.approx(theirs.pop("loss"), abs=1e-5)
        assert ours == theirs
    ours, theirs = load_file(tmp_path / "model.safetensors"), load_file(folder / "model.safetensors")
    assert {name: weight.shape for name, weight in ours.items()} == {n: weight.shape for n, weight in theirs.items()}
    assert max((ours[name] - theirs[name]).abs().max() for name in ours) < 1e-5
    assert (tmp_path / "config.json").read_text() == (folder / "config.json").read_text()


@pytest.mark.slow
def test_the_recipe_on_two_nodes(alone_with, tmp_path):
    """Two launchers that meet at an address, one process each, are all that this machine can have of two nodes."""
    flags, folder, _ = alone_with(imdb)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    common = ("--config_file", CONFIGS / "multi-node.yaml", "--main_process_ip", "localhost", "--num_processes", "2")
    with ThreadPoolExecutor() as pool:
        nodes = [
            pool.submit(
                launch,
                *(*ACCELERATE, *common, "--main_process_port", port, "--machine_rank", rank),
                *("-m", "recipes.imdb", "--output_dir", tmp_path, *flags),
                ACCELERATE_USE_CPU="true",
            ).result
            for rank in range(2)
        ]
        first, second = (result() for result in nodes)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr[-3000:] + second.stderr[-3000:]
    assert "written to" in first.stdout and "written to" not in second.stdout
    assert json.loads((tmp_path / "results.json").read_text())["world_size"] == 2
    ours, theirs = (load_file(path / "model.safetensors") for path in (tmp_path, folder))
    largest = max((ours[name] - theirs[name]).abs().max().item() for name in theirs)
    assert largest < 1e-5
    note("Two nodes of one CPU process each", f"the weights of one process, the largest difference {largest:.0e}")


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


@pytest.mark.slow
def test_data_that_is_wrong_stops_every_process(tmp_path):
    for split in ("train", "test"):
        Dataset.from_dict({"text": ["good", "bad"] * 4, "label": [0, 1] * 3 + [0, -1]}).to_json(
            tmp_path / f"{split}.jsonl"
        )
    flags = as_flags(OPTIONS | {"dataset": str(tmp_path), "output_dir": str(tmp_path / "out")})
    done = launch(*TORCHRUN, 2, "-m", "recipes.imdb", *flags, ACCELERATE_USE_CPU="true")
    assert done.returncode != 0
    assert "error: Row 7 (counted from 0) of the train split" in done.stderr and "has the label -1" in done.stderr
    assert not (tmp_path / "out" / "results.json").exists()


# The second of three is killed by the system in its second epoch, while the others wait for its share.
DIES = """
import os, signal, sys
from tests.support.small_task import SmallTask, trained

class Dies(SmallTask):
    def _collate(self, columns):
        if os.environ["RANK"] == "1" and len(self.passes()) == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._collate(columns)

trained(sys.argv[1], Dies(), checkpointing_steps=3)
"""


def test_a_process_that_dies_takes_the_others_with_it(tmp_path):
    (tmp_path / "dies.py").write_text(DIES)
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    # Those that waited for it for ever would hold its output open, and this too: long, because it has to start first.
    done = launch(
        *TORCHRUN, 3, tmp_path / "dies.py", tmp_path, ACCELERATE_USE_CPU="true", PYTHONPATH=paths, timeout=300
    )
    assert done.returncode != 0
    assert re.search(r"rank +: 1 .*\n +exitcode +: -9 ", done.stderr)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-9"]
