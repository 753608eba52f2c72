"""Several real processes train what one trains: the loop on a small task, recipes, launches that go wrong."""

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

from recipes import imdb, ner
from recipes.demo import demo
from rnnzoo.training import resume
from rnnzoo.training.command_line import main
from rnnzoo.training.launch import FSDP_NEEDS
from tests.support import small_streams
from tests.support.checkpoints import NOT_READ, READ, Code, seal_again, torch_saved
from tests.support.hub import environment, files_of
from tests.support.hub_server import WRITES, Hub
from tests.support.recipes import flags, run
from tests.support.reliability import note
from tests.support.small_task import RUNS, SETTINGS, SIZES, STEPS_PER_EPOCH, SmallTask, compared, gap, trained


ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "recipes" / "configs" / "accelerate"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
ACCELERATE = ["-m", "accelerate.commands.accelerate_cli", "launch"]


def launch(*command, timeout=None, **environment):
    """Runs Python with this command line in the repository's root, offline; `timeout` in seconds."""
    fixed = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RNNZOO_DATA": ""}
    fixed |= {"ACCELERATE_USE_CPU": "true"}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=os.environ | fixed | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


# The number of processes, and the environment that accelerate's launcher would set: three get unequal parts of
# batches, micro-batches and splits; with FSDP2 each of two has a shard of every weight.
GROUPS = {
    "3 processes": (3, {}),
    "2 processes with FSDP2": (
        2,
        {
            "ACCELERATE_USE_FSDP": "true",
            "FSDP_VERSION": "2",
            "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
            "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",  # accelerate's default
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
    """The runs of each of several processes."""
    count, environment = request.param
    folder = tmp_path_factory.mktemp("processes")
    done = launch(*TORCHRUN, count, "-m", "tests.support.small_task", folder, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    saved = [torch.load(folder / f"process-{rank}.pt", weights_only=False) for rank in range(count)]
    kind = "FSDP" if environment else "MULTI_CPU"
    assert {run["distributed_type"] for runs in saved for run in runs.values()} == {kind}
    assert {run["world_size"] for runs in saved for run in runs.values()} == {count}
    return [{name: SimpleNamespace(**run, folder=folder / name) for name, run in runs.items()} for runs in saved]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run in this process alone; each is run once."""
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
def test_several_processes_read_every_example_once_an_epoch(processes, name):
    found = [runs[name].micro_batches for runs in processes]
    # A resumed run records only what follows its checkpoint, step 9: two batches into its second epoch.
    start, before = (STEPS_PER_EPOCH - 2, 9) if name.endswith("resumed") else (0, 0)
    assert {len(mine) for mine in found} == {3 * STEPS_PER_EPOCH - before}
    for epoch in range(start, len(found[0]), STEPS_PER_EPOCH):
        read = Counter(number for mine in found for part in mine[epoch : epoch + STEPS_PER_EPOCH] for number in part)
        assert read == Counter(range(SIZES["train"]))


@pytest.mark.parametrize(("resumed", "complete"), [("resumed", "uninterrupted"), ("streamed, resumed", "streamed")])
def test_several_processes_resume_as_if_never_interrupted(processes, resumed, complete):
    """Two numbers have one sum. Three have several: DDP reorders its buckets after its first step, and again after
    the first one of a resumed run, and the order in which processes are added up follows from a bucket's order."""
    within = 0 if len(processes) == 2 else 1e-6
    for runs in processes:
        assert gap(runs[resumed], runs[complete]) == 0
        for ours, theirs in zip(runs[resumed].history, runs[complete].history, strict=True):
            assert (ours["epoch"], ours["step"]) == (theirs["epoch"], theirs["step"])
            assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=within, rel=0)
            assert ours["validation"] == pytest.approx(theirs["validation"], abs=within, rel=0)


def test_several_processes_resume_with_averages_and_unlabelled_texts(processes):
    """As above, two numbers have one sum and three several."""
    for runs in processes:
        difference = gap(runs["unlabelled, resumed"], runs["unlabelled"])
        assert difference == 0 if len(processes) == 2 else difference < 1e-6
        for ours, theirs in zip(runs["unlabelled, resumed"].history, runs["unlabelled"].history, strict=True):
            assert ours["virtual_adversarial_loss"] == pytest.approx(theirs["virtual_adversarial_loss"], abs=1e-6)


def test_several_processes_read_no_more_of_a_stream_than_the_steps_need(processes, tmp_path):
    found = [part for runs in processes for part in runs["streamed, some"].micro_batches]
    read = Counter(number for part in found for number in part)
    assert len(found) == 4 * len(processes) and set(read.values()) == {1} and max(read) < SIZES["train"]
    alone = trained(tmp_path, SmallTask(streamed=True), max_train_steps=4)
    assert read == Counter(number for part in alone.micro_batches for number in part)
    assert all(gap(runs["streamed, some"], alone) < 1e-5 for runs in processes)


def test_one_process_resumes_from_a_checkpoint_of_several(processes, tmp_path):
    together = processes[0]["uninterrupted"]
    shutil.copytree(together.folder, tmp_path / "copy")
    resumed = trained(tmp_path / "copy", resume=True, **SETTINGS)
    assert (resumed.step, resumed.micro_batches, gap(resumed, together)) == (21, [], 0)


# Resumes from the checkpoints in some folders; the last one is refused, which ends it.
RESUMES = """
import sys

from rnnzoo.data.errors import RecipeError
from rnnzoo.training.command_line import main
from tests.support.small_task import SETTINGS, trained

*folders, last = sys.argv[1:]
for folder in folders:
    try:
        trained(folder, resume=True, **SETTINGS)
    except RecipeError as error:
        print(f"refused: {error}", flush=True)
main(lambda: trained(last, resume=True, **SETTINGS))
"""


@too_old_for_fsdp
def test_processes_that_shard_weights_run_no_code_in_a_checkpoint(tmp_path):
    (tmp_path / "resumes.py").write_text(RESUMES)
    complete, ran = tmp_path / "complete", tmp_path / "it ran"
    trained(complete, **SETTINGS)
    newest = resume.found(complete)[0]

    def with_code(names, write):
        folder = tmp_path / f"{names[0]} {write.__name__}"
        shutil.copytree(complete, folder)
        for name in names:
            (folder / "checkpoints" / newest.name / name).write_bytes(write(Code(ran)))
        seal_again(folder / "checkpoints" / newest.name)
        return folder

    count, environment = GROUPS["2 processes with FSDP2"]
    # Beside the files of a checkpoint code is ignored; in their place it is refused.
    places, ways = (NOT_READ, *([name] for name in READ)), (torch_saved, pickle.dumps)
    folders = [with_code(names, write) for names in places for write in ways]
    done = launch(*TORCHRUN, count, tmp_path / "resumes.py", *folders, timeout=300, **environment)
    assert done.returncode == 1, done.stderr[-3000:]
    assert done.stdout.count("resuming from") == 2
    for name in READ:
        assert done.stdout.count(f"{newest.name}/{name} cannot be read") == (2 if name == READ[-1] else 4)
    assert re.search(rf"error: resume: .*/{newest.name}/{READ[-1]} cannot be read .* Remove .*", done.stderr)
    assert not ran.exists()
    pickle.loads(pickle.dumps(Code(ran)))
    assert ran.exists()


def test_processes_draw_different_dropout(processes):
    first, *others = (runs["dropped"] for runs in processes)
    for other in others:
        assert gap(first, other) == 0
        assert not torch.equal(first.drawn[0], other.drawn[0])


# ---- recipes ----

OPTIONS = {
    "model": {"model_type": "rnnzoo-lstm", "embedding_size": 8, "hidden_size": 8},
    "tokenizer": {"vocab_size": 200},
    "batch_size": 32,
    "max_train_steps": 12,
    "gradient_accumulation_steps": 2,
    "eval_batch_size": 50,
    "verify_rows": 5,
    "num_threads": 1,
}


@pytest.fixture(scope="module")
def data(reviews, sentences):
    """The data set of a recipe and its further options: the tagger reads a stream."""
    return {imdb: (reviews, OPTIONS), ner: (sentences, OPTIONS | {"streaming": True})}


@pytest.fixture(scope="module")
def alone_with(data, tmp_path_factory):
    """The folder and the results of a recipe on one process."""

    def made_with(recipe):
        folder, (dataset, options) = tmp_path_factory.mktemp("one"), data[recipe]
        with pytest.MonkeyPatch.context() as patch:
            # What it serves is shown in tests/tasks.
            patch.setattr("rnnzoo.training.run_folder.verify", lambda *args: {"rows": 0, "largest_difference": 0.0})
            return folder, run(recipe.TASK, folder, dataset, **options)

    return cache(made_with)


def launched(command, config, count, folder, dataset, options, **environment):
    """A recipe on several processes, started by accelerate's launcher with one of the configurations."""
    done = launch(
        *ACCELERATE,
        *("--config_file", CONFIGS / f"{config}.yaml", "--num_processes", count, "--main_process_port", "0"),
        *(*command, *flags(folder, dataset, **options)),
        **environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def assert_same_results(folder, expected_folder, expected, count):
    """The results of several processes are those of one."""
    together = json.loads((folder / "results.json").read_text())
    assert (together["world_size"], expected["world_size"]) == (count, 1)
    assert not (folder / "checkpoints").exists()
    for split in ("validation", "test"):
        ours, theirs = (dict(results["metrics"][split]) for results in (together, expected))
        assert ours.pop("loss") == pytest.approx(theirs.pop("loss"), abs=1e-5)
        assert ours == theirs
    ours, theirs = (load_file(path / "model.safetensors") for path in (folder, expected_folder))
    assert {name: weight.shape for name, weight in ours.items()} == {n: weight.shape for n, weight in theirs.items()}
    assert max((ours[name] - theirs[name]).abs().max() for name in ours) < 1e-5
    assert (folder / "config.json").read_text() == (expected_folder / "config.json").read_text()


def test_a_recipe_on_three_processes_writes_and_pushes_once(data, alone_with, tmp_path):
    dataset, options = data[imdb]
    out = tmp_path / "three"
    with Hub() as hub:
        reached = environment(hub, tmp_path / "home", HF_HUB_OFFLINE="")
        done = launched(
            ("-m", "recipes.imdb"), "multi-gpu", 3, out, dataset, options | {"push_to_hub": True}, **reached
        )
    assert_same_results(out, *alone_with(imdb), 3)
    assert done.stdout.count("written to") == 1
    repository = hub.repositories["you/three"]
    assert repository.files == files_of(out) and len(repository.commits) == 2
    for route in ("/api/whoami-v2", "/api/repos/create", "/api/models/you/three/commit/main"):
        assert [path for _, path, _ in hub.requests].count(route) == 1
    assert done.stdout.count("pushed: ") == 1 and WRITES not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("recipe", "config"),
    [pytest.param(imdb, "fsdp2", marks=too_old_for_fsdp), (ner, "multi-gpu")],
    ids=["imdb-fsdp2", "ner-streamed-multi-gpu"],
)
def test_a_recipe_on_two_processes(data, alone_with, tmp_path, recipe, config):
    command = ("-m", "tests.support.recipe_without_fresh_process", recipe.__name__)
    launched(command, config, 2, tmp_path / "two", *data[recipe])
    assert_same_results(tmp_path / "two", *alone_with(recipe), 2)


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
    """The folder with runs on streams of texts: of two processes, one of which is killed in one run, and of one."""
    folder = tmp_path_factory.mktemp("streams")
    data, together = small_streams.write_texts(folder / "texts"), (*TORCHRUN, 2, "-m", "tests.support.small_streams")
    killed = launch(*together, folder, "killed", timeout=300)
    assert re.search(r"rank +: 1 .*\n +exitcode +: -9 ", killed.stderr), killed.stderr[-3000:]
    assert [path.name for path in (folder / "killed" / "checkpoints").iterdir()] == ["step-20"]
    done = launch(*together, folder, "plain", "uninterrupted", "resumed", timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "resuming from" in done.stdout
    (folder / "alone").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnnzoo.tasks.language_model.BLOCK", None)  # set by the run, and set back
        small_streams.trained(folder / "alone", data, "plain")
    return folder


def tensors(*files):
    """The sum of what is in some files, each the part of a process."""
    parts = [load_file(file) for file in files]
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def test_two_processes_train_on_streams_as_one_does(streams):
    together, alone = (tensors(folder / "plain" / "model.safetensors") for folder in (streams, streams / "alone"))
    assert {name: weight.shape for name, weight in together.items()} == {name: w.shape for name, w in alone.items()}
    for name, weight in alone.items():
        torch.testing.assert_close(together[name], weight, rtol=1e-4, atol=1e-5)
    states = tensors(*(streams / f"plain-{rank}.safetensors" for rank in range(2)))
    expected = tensors(streams / "alone" / "plain-0.safetensors")
    assert {len(part) for part in states.values()} == {7} and all(part.any(-1).all() for part in expected.values())
    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-5)


def test_two_processes_that_are_killed_resume_their_streams(streams):
    resumed, complete = (tensors(streams / name / "model.safetensors") for name in ("killed", "uninterrupted"))
    assert all(torch.equal(resumed[name], weight) for name, weight in complete.items())
    resumed, complete = (
        tensors(*(streams / f"{name}-{rank}.safetensors" for rank in range(2)))
        for name in ("resumed", "uninterrupted")
    )
    assert all(torch.equal(resumed[name], part) for name, part in complete.items())


@pytest.mark.slow
def test_a_recipe_on_two_nodes(data, alone_with, tmp_path):
    """Two launchers that meet at an address, one process each: as much of two nodes as one machine can have."""
    folder, _ = alone_with(imdb)
    dataset, options = data[imdb]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    common = ("--config_file", CONFIGS / "multi-node.yaml", "--main_process_ip", "localhost", "--num_processes", "2")
    with ThreadPoolExecutor() as pool:
        nodes = [
            pool.submit(
                launch,
                *(*ACCELERATE, *common, "--main_process_port", port, "--machine_rank", rank),
                *("-m", "recipes.imdb", *flags(tmp_path, dataset, **options)),
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
def test_accelerate_knows_every_field_of_a_configuration(path):
    config = load_config_from_file(str(path))
    given = yaml.safe_load(path.read_text())
    assert {name: getattr(config, name) for name in given} == given
    assert config.num_processes > 1 or config.distributed_type == "NO"
    assert f"--config_file {path.relative_to(ROOT)}" in path.read_text()


# ---- launches that go wrong ----


def test_the_demo_says_what_is_wrong_with_its_data(monkeypatch):
    monkeypatch.setenv("RNNZOO_DATA", "/no/such/folder")
    with pytest.raises(SystemExit, match="^error: RNNZOO_DATA is set to '/no/such/folder'"):
        main(demo)


def test_a_launch_that_starts_one_of_two_processes_stops(tmp_path):
    out = tmp_path / "out"
    done = launch(
        *ACCELERATE,
        *("--cpu", "--num_processes", "2", "-m", "recipes.imdb", "--output_dir", out),
        *("--config", "recipes/configs/imdb/made-lstm.yaml"),
        ACCELERATE_USE_CPU="",
    )
    assert done.returncode != 0
    assert "error: Several processes were requested, but only 1 was started" in done.stderr
    assert "--multi_gpu --num_processes" in done.stderr
    assert list(out.rglob("*")) == []


@pytest.mark.slow
def test_a_bad_example_stops_every_process(tmp_path):
    for split in ("train", "test"):
        Dataset.from_dict({"text": ["good", "bad"] * 4, "label": [0, 1] * 3 + [0, -1]}).to_json(
            tmp_path / f"{split}.jsonl"
        )
    done = launch(*TORCHRUN, 2, "-m", "recipes.imdb", *flags(tmp_path / "out", tmp_path, **OPTIONS))
    assert done.returncode != 0
    assert "error: Row 7 (counted from 0) of the train split" in done.stderr and "has the label -1" in done.stderr
    assert not (tmp_path / "out" / "results.json").exists()


# The second process is killed by the system in its second epoch, while the other waits for its gradients.
DIES = """
import os, signal, sys
from tests.support.small_task import SmallTask, trained

class Dies(SmallTask):
    def collate(self, columns):
        if os.environ["RANK"] == "1" and len(self.micro_batches()) == 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().collate(columns)

trained(sys.argv[1], Dies(), checkpointing_steps=3)
"""


def test_a_process_that_dies_takes_the_other_with_it(tmp_path):
    (tmp_path / "dies.py").write_text(DIES)
    # If the other waited for ever, it would hold the output open, and this test too: a long time, as it has to start.
    done = launch(*TORCHRUN, 2, tmp_path / "dies.py", tmp_path, timeout=300)
    assert done.returncode != 0
    assert re.search(r"rank +: 1 .*\n +exitcode +: -9 ", done.stderr)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-9"]
