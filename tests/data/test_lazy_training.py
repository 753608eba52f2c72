"""Training on lazily read data: the same model as from memory, exact resume, faults with their row, flat memory."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recipes import imdb, ner
from rnnzoo.data.errors import DataError, RecipeError
from rnnzoo.data.synthetic.names import make_sentences
from rnnzoo.data.synthetic.reviews import make_reviews
from rnnzoo.training import parity
from tests.support import recipes
from tests.support.data_files import tagged, write
from tests.support.reliability import note
from tests.support.small_task import Stopped


ROOT = Path(__file__).parents[2]
NAMES = ["negative", "positive"]


@pytest.fixture(scope="module")
def reviews():
    """Columns of 300 synthetic reviews a split, and of four strange ones more to train on."""
    splits = {split: rows.select(range(300)).to_dict() for split, rows in make_reviews().items()}
    splits["train"]["text"] += ['Quotes, "these", and\na line end', "", "NA", "café \U0001f600"]
    splits["train"]["label"] += [0, 1, 0, 1]
    return splits


@pytest.fixture(scope="module")
def sentences():
    """Columns of 300 synthetic sentences a split."""
    return {split: tagged(rows.select(range(300))) for split, rows in make_sentences().items()}


MODEL = {"model_type": "rnnzoo-lstm", "embedding_size": 8, "hidden_size": 8}
OPTIONS = {
    "model": MODEL | {"classifier_dropout": 0.3},
    "tokenizer": {"vocab_size": 300},
    "batch_size": 16,
    "num_train_epochs": 2,
    "verify_rows": 10,
    "num_threads": 1,
    "checkpointing_steps": 5,
    "streaming": True,
}


def run(*given, recipe=imdb, **options):
    return recipes.run(recipe.TASK, *given, **OPTIONS | options)


@pytest.fixture(params=[(imdb, "reviews"), (ner, "sentences")], ids=["imdb", "ner"])
def task(request, tmp_path, monkeypatch):
    """A recipe, and a folder for it."""
    recipe, rows = request.param[0], request.getfixturevalue(request.param[1])
    monkeypatch.setattr(parity, "answers", recipes.answered_here)
    return recipe, write(tmp_path / "mine", labels=NAMES if recipe is imdb else None, **rows)


def test_a_batch_of_everything_trains_what_it_trains_in_memory(tmp_path, task):
    """Then no order is left in which the two could differ: the same words, labels, scores and weights."""
    recipe, folder = task
    fields = MODEL | ({"character_size": 4, "character_embedding_size": 4, "use_crf": True} if recipe is ner else {})
    options = {"recipe": recipe, "model": fields, "batch_size": 512, "learning_rate": 0.01}
    whole = run(tmp_path / "whole", folder, streaming=False, **options)
    streamed = run(tmp_path / "streamed", folder, **options)
    assert streamed["dataset"]["splits"] == whole["dataset"]["splits"]
    assert streamed["model_config"] == whole["model_config"]
    for ours, theirs in zip(streamed["history"], whole["history"], strict=True):
        assert ours["step"] == theirs["step"] and ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-5)
    for split in ("validation", "test"):
        ours, theirs = (results["metrics"][split].copy() for results in (streamed, whole))
        assert "by_words_of_train" not in ours  # the words of a stream are not kept
        theirs.pop("by_words_of_train", None)
        for details in ("per_type", "per_class"):
            assert ours.pop(details, None) == theirs.pop(details, None)
        assert ours == pytest.approx(theirs, abs=1e-5)
    assert (tmp_path / "streamed" / "tokenizer.json").read_bytes() == (
        tmp_path / "whole" / "tokenizer.json"
    ).read_bytes()
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("streamed", "whole"))
    assert max((ours[name] - theirs[name]).abs().max() for name in theirs) < 1e-4


def test_an_interrupted_run_resumes_and_ends_with_the_same_weights(tmp_path, task, monkeypatch):
    (recipe, folder), calls = task, []
    collate, size = recipe.TASK.collate, 304 if recipe is imdb else 300
    whole = run(tmp_path / "whole", folder, recipe=recipe)
    assert whole["dataset"]["splits"] == {"train": size, "validation": 300, "test": 300}
    assert [epoch["step"] for epoch in whole["history"]] == [19, 38]

    def interrupted(self, columns):
        calls.append(columns)
        if len(calls) == 28:  # two of them are validation's: step 27 is in the second epoch
            raise Stopped
        return collate(self, columns)

    monkeypatch.setattr(recipe.TASK, "collate", interrupted)
    with pytest.raises(Stopped):
        run(tmp_path / "parts", folder, recipe=recipe)
    monkeypatch.setattr(recipe.TASK, "collate", collate)
    resumed = run(tmp_path / "parts", folder, recipe=recipe, resume=True)
    assert resumed["metrics"] == whole["metrics"]
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("parts", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_steps_decide_how_much_is_read(tmp_path, task):
    recipe, folder = task
    results = run(tmp_path / "out", folder, recipe=recipe, max_train_steps=3)
    assert results["dataset"]["splits"]["train"] == 48 and results["history"][-1]["step"] == 3
    # A checkpoint needs no words, and the rows are counted all the same.
    again = {"model": {}, "tokenizer": {}, "model_name_or_path": str(tmp_path / "out"), "max_train_steps": 4}
    assert run(tmp_path / "on", folder, recipe=recipe, **again)["dataset"]["splits"]["train"] == 64


def test_a_bad_row_ends_a_run_with_its_own_error_and_nothing_is_left(tmp_path, reviews):
    folder = write(tmp_path / "mine", "jsonl", NAMES, **reviews)
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"text": "good", "label": 7}')
    with pytest.raises(DataError, match="^Row 304 .* the label 7"):
        run(tmp_path / "out", folder)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("recipe", [imdb, ner], ids=["imdb", "ner"])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dataset": "made"}, "dataset is made and streaming is true"),
        ({"word_vectors": "word2vec"}, "word_vectors is word2vec and streaming is true"),
        ({"validation_fraction": 0.1}, "validation_fraction is 0.1 and streaming is true"),
    ],
)
def test_what_needs_all_rows_is_refused(tmp_path, options, says, recipe):
    with pytest.raises(RecipeError, match=says):
        run(tmp_path / "out", **{"dataset": "nowhere"} | options, recipe=recipe)


# ---- memory ----

PEAK = """
import re
import sys

from recipes import imdb, ner
from rnnzoo.training.run import run

run({"imdb": imdb, "ner": ner}[sys.argv[1]].TASK, sys.argv[2:])
# Not ru_maxrss, which counts from the peak of the process that started this one; and without what is mapped of files:
# how much of the libraries that is depends on what else the machine has read.
status = dict(re.findall(r"(VmHWM|RssFile):\\s+(\\d+)", open("/proc/self/status").read()))
print(int(status["VmHWM"]) - int(status["RssFile"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("recipe, sizes, batch_size", [("imdb", (5, 50), 256), ("ner", (6, 60), 64)])
def test_memory_does_not_grow_with_the_data(tmp_path, recipe, sizes, batch_size):
    """From a size on at which the buffer is full, and so are the pools: 100 batches."""
    splits = (
        {split: rows.to_dict() for split, rows in make_reviews().items()}
        if recipe == "imdb"
        else {split: tagged(rows) for split, rows in make_sentences().items()}
    )
    peaks = {}
    for copies in sizes:
        train = {column: values * copies for column, values in splits["train"].items()}
        folder = write(
            tmp_path / f"times-{copies}", labels=NAMES if recipe == "imdb" else None, **splits | {"train": train}
        )
        options = OPTIONS | {"num_train_epochs": 1, "batch_size": batch_size}
        given = recipes.flags(tmp_path / f"out-{copies}", folder, **options)
        done = subprocess.run(
            [sys.executable, "-c", PEAK, recipe, *given],
            cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        peaks[len(next(iter(train.values())))] = int(re.findall(r"^\d+$", done.stdout, re.MULTILINE)[-1]) / 1024
    (few, small), (many, large) = peaks.items()
    assert large < 1.05 * small, peaks
    what = {"imdb": "peak memory of a streamed run", "ner": "peak memory of a streamed run, named entities"}[recipe]
    note(what, f"{few:,} rows: {small:.0f} MiB; {many:,} rows: {large:.0f} MiB; mapped files are not counted")
