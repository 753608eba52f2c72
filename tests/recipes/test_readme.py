"""Every code block of the README runs, in its order: Python as it stands, commands with less data and fewer steps."""

import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from recipes.benchmarks import latency
from rnnzoo.data.synthetic.reviews import make_reviews
from rnnzoo.tasks import classify as imdb
from rnnzoo.tasks import tag as ner
from tests.support import small_bert
from tests.support.hub_server import Hub
from tests.support.small_task import fresh_accelerator
from tests.training.test_hub import answered_here, connect, pytestmark  # noqa: F401  for the same warning


ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.+?)^```", TEXT, re.DOTALL | re.MULTILINE)

BRIEF = ["--max_train_steps", "2", "--verify_rows", "4", "--num_threads", "1"]


def command(line):
    """Runs a line of the README, as briefly as it can be."""
    match shlex.split(line, comments=True):
        case ["make", target]:
            # What they would do here, but for making .venv; `make test` would be this suite in itself.
            recipe = subprocess.run(
                ["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True, text=True
            )
            if target == "demo":  # a make inside of `make test` writes of folders as well
                assert ".venv/bin/python -m recipes.demo" in recipe.stdout.splitlines()
                importlib.import_module("recipes.demo").demo()
        case ["source", ".venv/bin/activate"]:
            pass  # this process has what it needs
        case ["accelerate", "launch", "-m", module, *flags]:
            fresh_accelerator()
            made = [] if "--dataset" in flags else ["--dataset", "made"]
            importlib.import_module(module).recipe([*flags, *made, *BRIEF])
        case ["python", "-m", "recipes.tfidf", *flags]:
            importlib.import_module("recipes.tfidf").recipe([*flags, "--dataset", "made"])
        case ["python", "-m", module, "runs/*"]:
            importlib.import_module(module).main(sorted(str(path) for path in Path("runs").iterdir()))
        case words:
            pytest.fail(f"no test knows how to run {words}")


def test_every_block_runs(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RNNZOO_DATA", raising=False)
    for recipe in (imdb, ner):
        monkeypatch.setattr(recipe, "answers", answered_here)  # a fresh process takes seconds
    for name, task in latency.TASKS.items():
        monkeypatch.setitem(latency.TASKS, name, task._replace(rows=4))
    for name in ("recipes", "model_cards", "rnnzoo"):  # where the commands look for code, configurations, a template
        (tmp_path / name).symlink_to(ROOT / name)
    small_bert.save(tmp_path / "any" / "checkpoint")
    for split, rows in make_reviews().items():
        (tmp_path / "path" / "to" / "folder").mkdir(parents=True, exist_ok=True)
        rows.select(range(200)).to_json(tmp_path / "path" / "to" / "folder" / f"{split}.jsonl")
    known, ran = {}, []
    with Hub() as hub:
        connect(monkeypatch, hub, tmp_path / "cache")
        for language, block in BLOCKS:
            if language == "python":
                exec(block, known)
            elif language == "console":
                for line in block.splitlines():
                    assert line.startswith("$ "), line
                    command(line.removeprefix("$ "))
            ran.append(language)
    assert {"python", "console"} <= set(ran)
    assert "model.safetensors" in hub.repositories["you/lstm"].files
    assert (tmp_path / "runs" / "report" / "RESULTS.md").exists()
    assert "(meant: positive)" in capfd.readouterr().out


def test_the_tree_names_the_files_that_are_there():
    (tree,) = [block for language, block in BLOCKS if not language]
    named = set(re.findall(r"\w+\.py\b", tree))
    there = {path.name for part in ("rnnzoo", "recipes") for path in (ROOT / part).glob("*.py")}
    assert named == there - {"__init__.py"}
