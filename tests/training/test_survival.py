"""Runs that are killed again and again end with the weights of one that was never interrupted."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rnnzoo.training import resume, saver
from tests.support.reliability import note


pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OPTIONS = {
    "dataset": "made",
    "model": {"model_type": "rnnzoo-lstm", "embedding_size": 64, "hidden_size": 64, "recurrent_dropout": 0.2},
    "tokenizer": {"vocab_size": 500},
    "batch_size": 16,
    "num_train_epochs": 4,
    "lr_scheduler_type": "linear",
    "adversarial_epsilon": 0.05,
    "checkpointing_steps": 10,
    "keep": 2,
    "verify_rows": 20,
    "num_threads": 1,
}
LAUNCHERS = {
    1: [],
    2: ["-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes", "2"]
    + ["--main_process_port", "0"],
}


def start(folder, processes, *more):
    """A run of the recipe in a new process, started as users do."""
    given = [part for name, value in OPTIONS.items() for part in (f"--{name}", json.dumps(value))]
    fixed = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    with open(folder.with_suffix(".log"), "a") as log:
        return subprocess.Popen(
            [sys.executable, *LAUNCHERS[processes], "-m", "recipes.imdb", "--output_dir", folder, *given, *more],
            cwd=ROOT, env=os.environ | fixed, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def workers(launcher):
    """The ids of the processes that train: the launcher itself, or its children."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    return [int(pid) for pid in children] or [launcher.pid]


def wait_until(there, process):
    """Waits without a pause: what is waited for may last a millisecond."""
    while not there() and process.poll() is None:
        pass


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The folder of an uninterrupted run, by its number of processes; each is run once."""
    done = {}

    def run(processes):
        if processes not in done:
            folder = tmp_path_factory.mktemp("uninterrupted") / f"of-{processes}"
            assert start(folder, processes).wait() == 0, folder.with_suffix(".log").read_text()[-3000:]
            done[processes] = folder
        return done[processes]

    return run


def assert_equal(folder, expected):
    ours, theirs = (load_file(path / "model.safetensors") for path in (folder, expected))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    ours, theirs = (json.loads((path / "results.json").read_text()) for path in (folder, expected))
    assert ours["metrics"] == theirs["metrics"] and ours["best_epoch"] == theirs["best_epoch"]
    for a, b in zip(ours["history"], theirs["history"], strict=True):
        assert {**a, "train_seconds": 0} == {**b, "train_seconds": 0}


@pytest.mark.parametrize(("processes", "kills"), [(1, 20), (2, 6)])
def test_a_run_killed_again_and_again_ends_as_if_never_interrupted(tmp_path, uninterrupted, processes, kills):
    folder, rng, writing = tmp_path / "killed", random.Random(processes), 0
    for kill in range(kills):
        process = start(folder, processes, *(["--resume"] if resume.found(folder) else []))
        newest = resume.found(folder)[:1]
        wait_until(lambda newest=newest: resume.found(folder)[:1] != newest, process)
        if kill % 2:  # while it writes the next one
            wait_until((folder / "checkpoints" / "unfinished").exists, process)
        with pytest.raises(subprocess.TimeoutExpired):  # it has neither finished nor died by itself
            process.wait(rng.random() * (0.008 if kill % 2 else 0.5))
        # The first process writes; if another is killed meanwhile, it may finish that.
        victim = workers(process)[0] if kill % 2 else rng.choice(workers(process))
        os.kill(victim, signal.SIGKILL)
        assert process.wait(60) != 0, "the others, or the launcher, went on without it"
        writing += (folder / "checkpoints" / "unfinished").exists()
        assert not (folder / "results.json").exists() and resume.found(folder)
    assert start(folder, processes, "--resume").wait() == 0, folder.with_suffix(".log").read_text()[-3000:]
    assert_equal(folder, uninterrupted(processes))
    assert writing >= kills // 4
    note(
        f"SIGKILL of a run on {processes} process{'es' * (processes > 1)}",
        f"{kills} kills at random moments, {writing} of them left a half-written checkpoint; weights, metrics and "
        "history equal, bit for bit, to those of an uninterrupted run",
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_saves_on_sigterm_and_resumes_as_if_never_interrupted(tmp_path, uninterrupted, processes):
    folder = tmp_path / "told"
    process = start(folder, processes)
    wait_until(lambda: resume.found(folder), process)
    os.kill(workers(process)[-1], signal.SIGTERM)
    code = process.wait(60)
    # accelerate's launcher for several processes has one exit code for all failures.
    assert code == (saver.STOPPED if processes == 1 else 1)
    said = folder.with_suffix(".log").read_text()
    (step,) = set(re.findall(r"Stopped by SIGTERM after step (\d+), which is saved", said))
    assert resume.found(folder)[0].name == f"step-{step}"
    assert start(folder, processes, "--resume").wait() == 0
    assert_equal(folder, uninterrupted(processes))
    note(
        f"SIGTERM to one of {processes} process{'es' * (processes > 1)}",
        "saved by all, stopped, resumed: weights, metrics and history equal, bit for bit",
    )
