"""Streamed training: each row of the files once an epoch, in an order that seed and epoch decide; memory is flat."""

import csv
import json
import math
import os
import random
import re
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rnnzoo.data import streams as streaming
from rnnzoo.data import texts as data
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.streams import Stream, Survey
from rnnzoo.data.synthetic.names import make_sentences
from rnnzoo.data.synthetic.reviews import make_reviews
from rnnzoo.data.texts import DataError
from rnnzoo.tasks import classify as imdb
from rnnzoo.tasks import tag as ner
from tests.support.reliability import note
from tests.support.small_task import Stopped, fresh_accelerator
from tests.training.test_hub import answered_here


ROOT = Path(__file__).parents[2]
WRITERS = {
    "parquet": lambda rows, path: rows.to_parquet(path),
    "csv": lambda rows, path: rows.to_csv(path, index=False, quoting=csv.QUOTE_NONNUMERIC),
    "jsonl": lambda rows, path: rows.to_json(path),
}


def write(folder, suffix="parquet", names=("negative", "positive"), **splits):
    folder.mkdir(exist_ok=True)
    for split, rows in splits.items():
        WRITERS[suffix](rows, folder / f"{split}.{suffix}")
    if names and suffix != "parquet":
        (folder / "labels.json").write_text(json.dumps(names))
    return str(folder)


@pytest.fixture(scope="module")
def reviews():
    """Made reviews, some with what a file's format could stumble over."""
    splits = {split: rows.select(range(300)) for split, rows in make_reviews().items()}
    strange = ['Quotes, "these", and\na line end', "", "NA", "café \U0001f600"]
    odd = splits["train"].select(range(4)).remove_columns("text").add_column("text", strange)
    return splits | {"train": data.concatenate_datasets([splits["train"], odd.cast(splits["train"].features)])}


@pytest.fixture(scope="module")
def sentences():
    """Made sentences, as they stand in a file."""
    return {split: in_a_file(rows.select(range(300))) for split, rows in make_sentences().items()}


def in_a_file(sentences):
    return sentences.select_columns(["tokens", "tags"]).rename_column("tags", "ner_tags")


MARK = b"\xef\xbb\xbf"  # of the order of bytes, as spreadsheets write it


@pytest.mark.parametrize("suffix, mark", [*((suffix, b"") for suffix in WRITERS), ("csv", MARK), ("jsonl", MARK)])
def test_a_stream_has_the_rows_that_would_be_loaded(tmp_path, reviews, suffix, mark):
    # One word, longer than a field of Python's csv module may be if it is not told.
    train = reviews["train"].select(range(1)).remove_columns("text").add_column("text", ["x" * 150_000])
    train = data.concatenate_datasets([reviews["train"], train.cast(reviews["train"].features)])
    folder = write(tmp_path / "mine", suffix, **reviews | {"train": train})
    if mark:
        file = tmp_path / "mine" / f"train.{suffix}"
        file.write_bytes(mark + file.read_bytes())
    loaded, streamed = data.load("imdb", folder, seed=0), streaming.load("imdb", folder, seed=0)
    assert (streamed.name, streamed.source, streamed.labels) == (loaded.name, loaded.source, loaded.labels)
    for _ in range(2):  # a pass begins anew
        assert list(streamed.read()) == list(loaded.splits["train"])
    for split in ("validation", "test"):
        assert streamed.splits[split].to_dict() == loaded.splits[split].to_dict()
        assert streamed.splits[split].features == loaded.splits[split].features


def test_without_a_validation_split_one_row_in_twenty_is_set_apart(tmp_path, reviews, monkeypatch):
    rows = data.concatenate_datasets([reviews["train"]] * 10)
    numbered = rows.remove_columns("text").add_column("text", [f"text {i}" for i in range(len(rows))])
    folder = write(tmp_path / "mine", train=numbered.cast(rows.features), test=reviews["test"])
    found = streaming.load("imdb", folder, seed=1)
    validation, train = found.splits["validation"]["text"][:], [row["text"] for row in found.read()]
    assert sorted(validation + train) == sorted(numbered["text"][:])
    assert 100 < len(validation) < 210  # 3,040 rows: 152, give or take five times the root of that
    assert validation != streaming.load("imdb", folder, seed=2).splits["validation"]["text"][:]
    monkeypatch.setattr(streaming, "VALIDATION", 40)
    capped = streaming.load("imdb", folder, seed=1)
    assert capped.splits["validation"]["text"][:] == validation[:40]
    assert len(list(capped.read())) == len(rows) - 40


def test_the_splits_name_their_classes_alike_or_are_refused(tmp_path, reviews):
    names = data.ClassLabel(names=["positive", "negative"])
    folder = write(tmp_path / "mine", **reviews | {"test": reviews["test"].cast_column("label", names)})
    for load in (data.load, streaming.load):
        with pytest.raises(DataError, match="name their classes differently"):
            load("imdb", folder, seed=0)
    for suffix, written in (("parquet", ["negative", "positive"]), ("jsonl", ["neg", "pos"])):
        short = {
            split: rows.cast_column("label", data.ClassLabel(names=["neg", "pos"])) for split, rows in reviews.items()
        }
        folder = write(tmp_path / suffix, suffix, names=["neg", "pos"], **short)
        assert streaming.load("imdb", folder, seed=0).labels == data.load("imdb", folder, seed=0).labels == written


def a_stream(size, most=None):
    rows = [{"text": "x" * random.Random(i).randrange(200), "label": i} for i in range(size)]
    return Stream(lambda: iter(rows), most or size, lambda columns: columns, column="text")


@pytest.mark.parametrize("size", [1, 7, 8, 400, 401, 799, 800, 1203])
def test_an_epoch_has_every_row_once_in_equal_batches(size, monkeypatch):
    monkeypatch.setattr(streaming, "BUFFER", 100)
    found = list(a_stream(size).batches(8, seed=0, epoch=0))
    assert sorted(row["label"] for batch in found for row in batch) == list(range(size))
    assert len(found) == math.ceil(size / 8)
    assert min(map(len, found)) >= size // len(found)
    if size >= 400:  # rows of like length stand together
        spread = sum(max(map(length, batch)) - min(map(length, batch)) for batch in found) / len(found)
        assert spread < 20


def length(row):
    return len(row["text"])


def test_the_order_is_a_function_of_seed_and_epoch(monkeypatch):
    monkeypatch.setattr(streaming, "BUFFER", 100)
    stream = a_stream(900)
    first = list(stream.batches(8, seed=0, epoch=0))
    assert first == list(stream.batches(8, seed=0, epoch=0))
    assert first != list(stream.batches(8, seed=1, epoch=0)) and first != list(stream.batches(8, seed=0, epoch=1))
    # Neighbours in the file are not neighbours in a batch: it is sorted by class, say.
    early = Counter(row["label"] < 450 for row in islice((row for batch in first for row in batch), 200, 400))
    assert early[True] < 200
    assert sorted(row["label"] for batch in a_stream(900, most=300).batches(8, 0, 0) for row in batch) == [*range(300)]


def test_a_pass_with_fewer_rows_than_were_counted_is_an_error():
    with pytest.raises(DataError, match="has 7 rows, and had 8 when they were counted"):
        list(a_stream(7, most=8).batches(4, seed=0, epoch=0))


def test_a_survey_counts_what_is_read(tmp_path, reviews):
    folder, texts = write(tmp_path / "mine", **reviews), reviews["train"]["text"]
    survey = Survey(streaming.load("imdb", folder, seed=0, most=100).read(), "text")
    assert list(islice(survey, 10)) == texts[:10] and list(survey) == texts[10:100] and survey.finish() == 100
    assert Survey(streaming.load("imdb", folder, seed=0).read(), "text").finish() == 304
    one = reviews["train"].filter(lambda row: row["label"] == 1)
    folder = write(tmp_path / "one", **reviews | {"train": one})
    with pytest.raises(DataError, match=r"the train split \(folder one\) .* classes \[1\]: there is nothing to tell"):
        Survey(streaming.load("imdb", folder, seed=0).read(), "text").finish()


# ---- the recipes ----

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


def flags(folder, dataset, **options):
    given = {"output_dir": str(folder), "dataset": str(dataset), **OPTIONS, **options}
    return [part for name, value in given.items() for part in (f"--{name}", json.dumps(value))]


def run(*given, recipe=imdb, **options):
    fresh_accelerator()
    return recipe.recipe(flags(*given, **options))


@pytest.fixture(params=[(imdb, "reviews"), (ner, "sentences")], ids=["imdb", "ner"])
def task(request, tmp_path, monkeypatch):
    """A recipe, and a folder for it."""
    recipe, rows = request.param[0], request.getfixturevalue(request.param[1])
    monkeypatch.setattr(recipe, "answers", answered_here)
    return recipe, write(tmp_path / "mine", **rows)


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
        assert ours.pop("per_type", None) == theirs.pop("per_type", None)
        assert ours == pytest.approx(theirs, abs=1e-5)
    assert (tmp_path / "streamed" / "tokenizer.json").read_bytes() == (
        tmp_path / "whole" / "tokenizer.json"
    ).read_bytes()
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("streamed", "whole"))
    assert max((ours[name] - theirs[name]).abs().max() for name in theirs) < 1e-4


def test_a_streamed_run_that_is_cut_off_goes_on_where_it_was(tmp_path, task, monkeypatch):
    (recipe, folder), calls = task, []
    collate, size = recipe.collate, 304 if recipe is imdb else 300
    whole = run(tmp_path / "whole", folder, recipe=recipe)
    assert whole["dataset"]["splits"] == {"train": size, "validation": 300, "test": 300}
    assert [epoch["step"] for epoch in whole["history"]] == [19, 38]

    def cut_off(tokenizer, rows):
        calls.append(rows)
        if len(calls) == 28:  # of them two are validation's: step 27 is in the second epoch
            raise Stopped
        return collate(tokenizer, rows)

    monkeypatch.setattr(recipe, "collate", cut_off)
    with pytest.raises(Stopped):
        run(tmp_path / "parts", folder, recipe=recipe)
    monkeypatch.setattr(recipe, "collate", collate)
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


# ---- faults ----


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": None, "label": 0}, "Row 3 .* has the text None"),
        ({"text": "a", "label": 2}, "Row 3 .* the label 2: .*2 classes: negative, positive"),
        ({"text": "a", "label": True}, "Row 3 .* the label True"),
        ({"label": 1}, "Row 3 .* has the text None"),
        ("no row", "Row 3 .* is 'no row', and no object with columns"),
        (b'{"text": "cut', r"^From row 3 \(counted from 0\) on, the train split \(folder mine\) cannot be read: JSON"),
        (b'{"text": "caf\xe9", "label": 0}', "row 3 .* cannot be read: UnicodeDecodeError"),
        ({"text": "half a smile: \ud83d", "label": 0}, "row 3 .* cannot be read: UnicodeEncodeError.*surrogates"),
    ],
    ids=str,
)
def test_a_row_that_is_wrong_is_named(tmp_path, reviews, row, says):
    folder = Path(write(tmp_path / "mine", "jsonl", **reviews))
    lines = (folder / "train.jsonl").read_bytes().split(b"\n")
    lines[3] = row if isinstance(row, bytes) else json.dumps(row).encode()
    (folder / "train.jsonl").write_bytes(b"\n".join(lines))
    found = streaming.load("imdb", str(folder), seed=0)
    with pytest.raises(DataError, match=rf"(?s){says}"):
        list(found.read())


def test_a_row_that_is_wrong_ends_a_run_with_its_own_words(tmp_path, reviews):
    folder = Path(write(tmp_path / "mine", "jsonl", **reviews))
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"text": "good", "label": 7}')
    with pytest.raises(DataError, match="^Row 304 .* the label 7"):
        run(tmp_path / "out", folder)
    assert not list((tmp_path / "out").iterdir())


def test_a_file_cut_short_is_named(tmp_path, reviews):
    folder = Path(write(tmp_path / "mine", **reviews))
    (folder / "train.parquet").write_bytes((folder / "train.parquet").read_bytes()[:-20])
    with pytest.raises(DataError, match="file 'train.parquet' of the folder 'mine' cannot be read as parquet"):
        streaming.load("imdb", str(folder), seed=0)


@pytest.mark.parametrize("recipe", [imdb, ner], ids=["imdb", "ner"])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dataset": "made"}, "dataset is made, and streaming true: the made set is in memory"),
        ({"word_vectors": "word2vec"}, "word_vectors is word2vec, and streaming true"),
        ({"validation_fraction": 0.1}, "validation_fraction is 0.1, and streaming true"),
    ],
)
def test_what_needs_all_rows_is_refused(tmp_path, options, says, recipe):
    with pytest.raises(RecipeError, match=says):
        run(tmp_path / "out", **{"dataset": "nowhere"} | options, recipe=recipe)


def splits_of(reviews, train):
    """A few rows, and no validation split."""
    return {"train": reviews["train"].select(range(train)), "test": reviews["test"]}


def test_a_folder_without_names_or_a_split_is_refused(tmp_path, reviews):
    with pytest.raises(DataError, match="Nothing says which classes .* labels.json"):
        streaming.load("imdb", write(tmp_path / "a", "jsonl", names=None, **reviews), seed=0)
    with pytest.raises(DataError, match="too short to set one row in 20 apart .* leave out streaming"):
        streaming.load("imdb", write(tmp_path / "d", **splits_of(reviews, train=2)), seed=0)
    with pytest.raises(DataError, match="has no train split"):
        streaming.load("imdb", write(tmp_path / "b", test=reviews["test"]), seed=0)
    with pytest.raises(DataError, match="holds no data set that can be read"):
        streaming.load("imdb", write(tmp_path / "c"), seed=0)


# ---- memory ----

PEAK = """
import re
import sys

from rnnzoo.tasks import classify as imdb
from rnnzoo.tasks import tag as ner

{"imdb": imdb, "ner": ner}[sys.argv[1]].recipe(sys.argv[2:])
# Not ru_maxrss, which counts from the peak of the process that started this one; and without what is mapped of files:
# how much of the libraries that is depends on what else the machine has read.
status = dict(re.findall(r"(VmHWM|RssFile):\\s+(\\d+)", open("/proc/self/status").read()))
print(int(status["VmHWM"]) - int(status["RssFile"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("recipe, sizes, batch_size", [("imdb", (5, 50), 256), ("ner", (6, 60), 64)])
def test_memory_does_not_grow_with_the_data(tmp_path, recipe, sizes, batch_size):
    """From a size on at which the buffer is full, as is what stands in the pools: 100 batches."""
    splits = make_reviews() if recipe == "imdb" else {s: in_a_file(rows) for s, rows in make_sentences().items()}
    peaks = {}
    for copies in sizes:
        train = data.concatenate_datasets([splits["train"]] * copies)
        folder = write(tmp_path / f"times-{copies}", **splits | {"train": train})
        given = flags(tmp_path / f"out-{copies}", folder, num_train_epochs=1, batch_size=batch_size)
        done = subprocess.run(
            [sys.executable, "-c", PEAK, recipe, *given],
            cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        peaks[len(train)] = int(re.findall(r"^\d+$", done.stdout, re.MULTILINE)[-1]) / 1024
    (few, small), (many, large) = peaks.items()
    assert large < 1.05 * small, peaks
    what = {"imdb": "peak memory of a streamed run", "ner": "peak memory of a streamed run, named entities"}[recipe]
    note(what, f"{few:,} rows: {small:.0f} MiB; {many:,} rows: {large:.0f} MiB; mapped files are not counted")
