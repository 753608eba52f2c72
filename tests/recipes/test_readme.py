"""Every code block of README.md and recipes/README.md runs, in order: Python as it stands, commands on less data."""

import ast
import importlib
import os
import re
import runpy
import shlex
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from recipes import demo, imdb, ner, pretrain, pretrain_characters
from recipes.baselines import tfidf
from recipes.tunes import __main__ as tunes
from rnnzoo import cli
from rnnzoo.data.synthetic.names import make_sentences
from rnnzoo.data.synthetic.reviews import make_reviews
from rnnzoo.training import parity
from rnnzoo.training.run import run
from tests.support import small_bert
from tests.support.hub import UPLOADS, connect
from tests.support.hub_server import Hub
from tests.support.recipes import answered_here, fresh_accelerator
from tests.support.tunes import write_tunes


# torch's own, of Trainer on a machine without a GPU.
pytestmark = [UPLOADS, pytest.mark.filterwarnings("ignore:'pin_memory':UserWarning")]

ROOT = Path(__file__).parents[2]
BRIEF = ["--max_train_steps", "2", "--verify_rows", "4", "--num_threads", "1"]


def blocks(page: str) -> list[tuple[str, str]]:
    """The language and the contents of each code block of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.+?)^```", text, re.DOTALL | re.MULTILINE)


def run_command(line: str) -> None:
    """Runs a command of a page in this process, as briefly as it can be."""
    match shlex.split(line, comments=True):
        case ["pip", "install", _]:
            pass  # this process has what it needs
        case [*_, "…"]:
            pass  # lines to be completed: several processes, see tests/training/test_distributed.py
        case ["accelerate", "launch", "-m", module, *flags]:
            fresh_accelerator()
            synthetic = [] if "--dataset" in flags else ["--dataset", "made", "--validation_split", "null"]
            if module == "recipes.pretrain":
                pretrain.run([*flags, *synthetic, "--unlabelled", "null", *BRIEF])
            elif module == "recipes.pretrain_characters":
                pretrain_characters.run([*flags, *synthetic, *BRIEF])
            else:
                run(importlib.import_module(module).TASK, [*flags, *synthetic, *BRIEF])
        case ["rnnzoo", "train", *flags]:
            fresh_accelerator()
            cli.main(["train", *flags, *BRIEF])
        case ["rnnzoo", *arguments]:
            cli.main(arguments)
        case ["python", "-m", "recipes.tfidf", *flags]:
            tfidf.recipe([*flags, "--dataset", "made"])
        case ["python", "-m", "recipes.tunes", *flags]:
            tunes.main([*flags, "--number", "2"])
        case ["python", "-m", module, "runs/*"]:
            entry = importlib.import_module("recipes.report.__main__" if module == "recipes.report" else module)
            entry.main(sorted(str(path) for path in Path("runs").iterdir() if (path / "results.json").exists()))
        case words:
            pytest.fail(f"no test knows how to run {words}")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder like a clone of the repository, with the data and the checkpoint that the pages name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RNNZOO_DATA", raising=False)
    monkeypatch.setattr(parity, "answers", answered_here)
    for name in ("recipes", "model_cards", "rnnzoo"):
        (tmp_path / name).symlink_to(ROOT / name)
    small_bert.save(tmp_path / "any" / "checkpoint")
    (tmp_path / "path" / "to" / "folder").mkdir(parents=True)
    for split, rows in make_reviews().items():
        rows.select(range(100)).to_json(tmp_path / "path" / "to" / "folder" / f"{split}.jsonl")
    (tmp_path / "path" / "to" / "folder" / "labels.json").write_text('["negative", "positive"]')
    make_reviews()["train"].select(range(200)).to_csv(tmp_path / "reviews.csv")
    texts = make_reviews()["train"]["text"][200:300]
    (tmp_path / "texts.txt").write_text("".join(f"{text} Text {i}.\n" for i, text in enumerate(texts)))
    (tmp_path / "path" / "to" / "names").mkdir()
    for split, rows in make_sentences().items():
        rows.select(range(100)).to_json(tmp_path / "path" / "to" / "names" / f"{split}.jsonl")
    sentences = make_sentences()["train"]["tokens"][200:300]
    (tmp_path / "sentences.txt").write_text("".join(" ".join(words) + "\n" for words in sentences))
    (tmp_path / "path" / "to" / "tunes").mkdir()
    write_tunes(tmp_path / "path" / "to" / "tunes")
    (tmp_path / "stars").mkdir()
    for split, rows in make_reviews().items():
        rows.select(range(60)).to_csv(tmp_path / "stars" / f"{split}.csv")
    (tmp_path / "stars.yaml").write_text("model: {model_type: rnnzoo-gru}\ntokenizer: {vocab_size: 5000}\n")
    return tmp_path


def test_the_readme_runs(place, monkeypatch):
    assert "`stars.yaml` has `model: {model_type: rnnzoo-gru}` and `tokenizer: {vocab_size: 5000}`" in (
        ROOT / "README.md"
    ).read_text(encoding="utf-8")
    known, printed, ran = {}, "", []
    for language, block in blocks("README.md"):
        if language == "console":
            for line in block.splitlines():
                run_command(line.removeprefix("$ "))
        elif language == "text":
            for said, found in zip(block.splitlines(), printed.splitlines(), strict=True):
                if said == found:
                    continue
                said, found = ast.literal_eval(said), ast.literal_eval(found)
                if said:
                    said["score"] = pytest.approx(said["score"], abs=1e-5)
                assert found == said
        elif block.startswith('"""stars.py'):
            Path("stars.py").write_text(block)
            flags = shlex.split(re.search('accelerate launch stars.py (.*?)"""', block, re.DOTALL)[1])
            monkeypatch.setattr(sys, "argv", ["stars.py", *flags, *BRIEF])
            fresh_accelerator()
            runpy.run_path("stars.py", run_name="__main__")
        else:
            with redirect_stdout(StringIO()) as out:
                exec(block, known)
            printed = out.getvalue()
        ran.append(language)
    assert {"console", "python", "text"} == set(ran)
    for folder in ("runs/mine", "runs/stars"):
        assert (place / folder / "results.json").is_file()
    assert (place / "runs" / "trainer" / "model.safetensors").is_file()


def test_the_page_of_the_recipes_runs(place, monkeypatch):
    for task in (imdb.TASK, ner.TASK):
        monkeypatch.setattr(task, "description", replace(task.description, timed_examples=4))
    with Hub() as hub:
        connect(monkeypatch, hub, place / "cache")
        page = "".join(block.replace("\\\n", "") for language, block in blocks("recipes/README.md"))
        for line in page.splitlines():
            assert line.startswith("$ "), line
            run_command(line.removeprefix("$ "))
    assert "model.safetensors" in hub.repositories["you/lstm"].files
    assert (place / "runs" / "report" / "RESULTS.md").exists()


@pytest.fixture
def one_core():
    """One core for this process and its children: beside other tests, two threads of a recipe wait for each other."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def test_the_demo_trains_and_answers(place, one_core, capfd):
    demo.demo()
    assert "(meant: positive)" in capfd.readouterr().out


def test_the_tree_of_the_code_names_what_is_there():
    (tree,) = [block for language, block in blocks("CONTRIBUTING.md") if not language]
    for folder, name in re.findall(r"^(?:(\w+)/|  ([\w ./]+?))(?:  +|$)", tree, re.MULTILINE):
        if folder:
            top = ROOT / folder
            assert top.is_dir(), folder
        for part in name.split():
            assert (top / part).exists(), f"{top.name}/{part}"
