"""Text classification by recipes.imdb: a complete run, what it serves, where it starts, what it refuses."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score, f1_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import rnnzoo
from recipes.imdb import TASK
from rnnzoo.data.corpus import Corpus
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.synthetic.reviews import make_reviews
from rnnzoo.training import loop, parity
from rnnzoo.training import run as running
from rnnzoo.training.build import build
from rnnzoo.training.run import parse
from rnnzoo.training.run_folder import in_fp16
from tests.support import recipes, small_bert
from tests.support.checkpoints import truncate
from tests.support.recipes import flags


ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "recipes" / "configs" / "imdb").glob("*.yaml"))

MODEL = {"model_type": "rnnzoo-lstm", "embedding_size": 16, "hidden_size": 16}
NEW = {"model": MODEL, "tokenizer": {"vocab_size": 300}}
BRIEF = {"batch_size": 32, "num_train_epochs": 2, "max_train_steps": 9, "verify_rows": 20, "num_threads": 1}

run = partial(recipes.run, TASK)


def write_rows(path, columns):
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """A small data set of synthetic reviews, some of them empty."""
    folder = tmp_path_factory.mktemp("reviews")
    for split, size in {"train": 211, "validation": 53, "test": 67}.items():
        rows = make_reviews()[split][:size]
        rows["text"][3] = ""
        write_rows(folder / f"{split}.jsonl", rows)
    return folder


def contents(folder):
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- a complete run ----


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder that the recipe wrote: an LSTM, trained for some seconds, served by fresh processes."""
    folder = tmp_path_factory.mktemp("runs") / "small-lstm"
    options = {"model": MODEL | {"embedding_size": 32, "hidden_size": 32, "classifier_dropout": 0.1}}
    splits, evaluated = [], loop.evaluate

    def counted(accelerator, model, task, split, options):
        splits.append(split)
        return evaluated(accelerator, model, task, split, options)

    with pytest.MonkeyPatch.context() as patch:
        for module in (loop, running):
            patch.setattr(module, "evaluate", counted)
        results = run(
            folder,
            **options,
            tokenizer={"vocab_size": 1000},
            num_train_epochs=3,
            learning_rate=0.01,
            num_threads=1,
            verify_rows=100,
            checkpointing_steps=50,
        )
    assert splits == ["validation"] * 3 + ["test"]
    return folder, results


def test_the_folder_holds_these_files_and_nothing_else(written):
    parts = (
        "candidates",
        "characters",
        "configuration",
        "context",
        "crf",
        "documents",
        "modeling",
        "recurrence",
        "wide",
    )
    code = {f"{part}_rnnzoo.py" for part in parts} | {"modeling_rnnzoo_lm.py"}
    model = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert set(contents(written[0])) == code | model | {
        *("README.md", "history.png", "confusion.png", "predictions.csv", "results.json")
    }
    assert not any(path.is_dir() for path in written[0].iterdir())
    assert (written[0] / "history.png").read_bytes().startswith(b"\x89PNG")


def test_results_hold_what_the_design_promises(written):
    folder, returned = written
    results = json.loads((folder / "results.json").read_text())
    assert results == json.loads(json.dumps(returned))
    expected = {"task": "imdb", "model": "small-lstm", "model_type": "rnnzoo-lstm", "seed": 0}
    expected |= {"world_size": 1, "mixed_precision": "no"}
    assert {name: results[name] for name in expected} == expected
    assert results["dataset"]["name"] == "made" and results["dataset"]["source"]
    assert results["dataset"]["splits"] == {"train": 4000, "validation": 1000, "test": 1000}
    weights = load_file(folder / "model.safetensors")
    assert results["num_parameters"] == sum(weight.numel() for weight in weights.values())
    assert set(results["metrics"]) == {"validation", "test"}
    for metrics in results["metrics"].values():
        assert set(metrics) == {"accuracy", "macro_f1", "per_class", "loss"}
    assert [epoch["epoch"] for epoch in results["history"]] == [1, 2, 3]
    assert [epoch["step"] for epoch in results["history"]] == [63, 126, 189]
    best = max(results["history"], key=lambda epoch: epoch["validation"]["accuracy"])
    assert results["metrics"]["validation"] == best["validation"]
    assert results["best_epoch"] == best["epoch"]
    assert results["train_seconds"] > 0
    assert results["device"]
    assert results["versions"]["torch"] == torch.__version__
    assert "git_commit" in results
    assert (results["config"]["learning_rate"], results["config"]["model"]["hidden_size"]) == (0.01, 32)


def test_training_trains(written):
    # Half of the test examples are of each class, and a bag of words stays near 0.7.
    assert written[1]["metrics"]["test"]["accuracy"] > 0.8
    assert written[1]["history"][-1]["train_loss"] < written[1]["history"][0]["train_loss"]


@pytest.mark.parametrize("batch_size", [1, 32])
def test_the_pipeline_gives_the_score_of_the_entire_test_split(written, batch_size):
    folder, results = written
    test = make_reviews(seed=0)["test"]
    answers = pipeline("text-classification", model=str(folder))(test["text"][:], batch_size=batch_size)
    found = [["negative", "positive"].index(answer["label"]) for answer in answers]
    assert accuracy_score(test["label"][:], found) == results["metrics"]["test"]["accuracy"]


def test_the_comparison_with_the_pipeline_is_in_the_results(written):
    served = written[1]["served"]
    assert served["rows"] == 100
    assert served["largest_difference"] < 1e-5
    assert set(served["accuracy"]) == {"batch_1", "batch_32"}
    assert served["accuracy"]["batch_1"] == served["accuracy"]["batch_32"] > 0.6


def test_the_card_is_made_from_the_results(written):
    folder, results = written
    card = ModelCard.load(folder / "README.md")
    card.data.to_dict()
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found == {name: value for name, value in results["metrics"]["test"].items() if name != "per_class"}
    assert {result.dataset_split for result in card.data.eval_results} == {"test"}
    assert card.data.pipeline_tag == "text-classification"
    assert "generated by a small grammar" in card.text
    for metrics in results["metrics"].values():
        assert f"{metrics['accuracy']:.4f}" in card.text


# ---- serving, and writing over an older run ----


def test_a_folder_that_serves_something_else_is_not_written(tmp_path, reviews, served_here, monkeypatch):
    def other(tampered, folder, name, texts, batch_size, **options):
        if batch_size == tampered:
            weights = load_file(folder / "model.safetensors")
            weights["classifier.bias"] += torch.tensor([0.0, 1e-3])
            save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return recipes.answered_here(folder, name, texts, batch_size, **options)

    folder = tmp_path / "out"
    run(folder, reviews, **NEW, **BRIEF)
    before = contents(folder)
    for place, tampered in ((folder, 32), (tmp_path / "new", 1)):
        monkeypatch.setattr(parity, "answers", partial(other, tampered))
        with pytest.raises(RuntimeError, match=f"What is served is not what was measured.*batch size {tampered} "):
            run(place, reviews, **NEW, **BRIEF, seed=1)
    # What was trained is still in the checkpoint; apart from that, the folder is as before.
    assert {path: data for path, data in contents(folder).items() if "checkpoints" not in path} == before
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["checkpoints"]


def test_an_older_run_is_replaced_completely(tmp_path, reviews, served_here):
    run(tmp_path / "out", reviews, **NEW, **BRIEF, seed=1)
    old = contents(tmp_path / "out")
    model = {**MODEL, "model_type": "rnnzoo-birnn"}
    results = run(tmp_path / "out", reviews, model=model, tokenizer={"vocab_size": 50}, **BRIEF)
    fresh = run(tmp_path / "fresh" / "out", reviews, model=model, tokenizer={"vocab_size": 50}, **BRIEF)
    new = contents(tmp_path / "out")
    assert set(new) == set(contents(tmp_path / "fresh" / "out"))
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert old[name] != new[name] == contents(tmp_path / "fresh" / "out")[name]
    assert results["metrics"] == fresh["metrics"] == json.loads(new["results.json"])["metrics"]


def test_bf16_is_measured_in_fp32_as_it_is_served(tmp_path, reviews, served_here):
    results = run(tmp_path / "out", reviews, **NEW, **BRIEF, mixed_precision="bf16")
    assert results["mixed_precision"] == "bf16"
    assert results["served"]["largest_difference"] < 1e-5
    assert {weight.dtype for weight in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.float32}


def test_half_precision_is_measured_as_it_is_stored(tmp_path, reviews, served_here):
    options = NEW | BRIEF | {"verify_rows": 67, "learning_rate": 0.03}
    full = run(tmp_path / "full", reviews, **options)
    half = run(tmp_path / "half", reviews, **options, half_precision=True)
    stored, weights = (load_file(tmp_path / name / "model.safetensors") for name in ("half", "full"))
    assert all(torch.equal(stored[name], weight.half()) for name, weight in weights.items())
    assert full["weights_bytes"] > 1.8 * half["weights_bytes"]
    model = rnnzoo.LSTMForSequenceClassification.from_pretrained(tmp_path / "half")
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    # The history is that of training; what is stored has a loss of its own, which is that of what is served.
    assert half["history"][-1]["validation"] == full["history"][-1]["validation"]
    assert half["served"]["largest_difference"] < 1e-6
    for split in ("validation", "test"):
        assert 0 < abs(half["metrics"][split]["loss"] - full["metrics"][split]["loss"]) < 1e-3


def test_a_weight_beyond_the_range_of_fp16_is_refused():
    layer = torch.nn.Linear(1, 1)
    with torch.no_grad():
        layer.bias.fill_(70_000.0)
    with pytest.raises(RecipeError, match="A weight of bias exceeds the fp16 maximum 65,504: drop --half_precision"):
        in_fp16(layer)


def test_a_model_is_named_after_its_folder(tmp_path, reviews, served_here, monkeypatch):
    (tmp_path / "my-lstm").mkdir()
    monkeypatch.chdir(tmp_path / "my-lstm")
    assert run(".", reviews, **NEW, **BRIEF)["model"] == "my-lstm"


def test_a_tracker_sees_every_step(tmp_path, reviews, served_here):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(tmp_path / "out", reviews, **NEW, **BRIEF, report_to="tensorboard")
    (events,) = (tmp_path / "out" / "rnnzoo-imdb").glob("events.*")
    seen = event_accumulator.EventAccumulator(str(events)).Reload()
    assert [event.step for event in seen.Scalars("train_loss")] == list(range(1, 10))
    assert [event.step for event in seen.Scalars("validation_accuracy")] == [7, 9]


KILLED = """
import os, signal, sys
from recipes.imdb import TASK
from rnnzoo.training.run import run

collate, calls = TASK.collate, []

def killed(self, columns):
    calls.append(columns)
    if len(calls) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return collate(self, columns)

TASK.collate = killed
run(TASK)
"""


def test_a_killed_run_resumes_and_ends_with_the_same_weights(tmp_path, reviews, served_here):
    model = MODEL | {"recurrent_dropout": 0.3, "classifier_dropout": 0.3}
    options = NEW | BRIEF | {"model": model, "checkpointing_steps": 2}
    # The eighth batch is the first one of validation, after seven of training.
    dead = subprocess.run(
        [sys.executable, "-c", KILLED, *flags(tmp_path / "out", reviews, **options)],
        cwd=ROOT,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert dead.returncode == -signal.SIGKILL, dead.stderr[-2000:]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checkpoints"]
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["step-6"]
    resumed = run(tmp_path / "out", reviews, **options, resume=True)
    uninterrupted = run(tmp_path / "uninterrupted", reviews, **options)
    assert resumed["metrics"] == uninterrupted["metrics"]
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "uninterrupted"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_words_before_the_window_are_left_out_and_change_nothing():
    texts = ["good bad good bad bad", "bad", ""]
    tokenizer = rnnzoo.train_tokenizer(texts * 2, vocab_size=9)
    model = rnnzoo.LSTMForSequenceClassification(rnnzoo.LSTMConfig(vocab_size=9, window=2)).eval()
    task = TASK(Corpus("small", "here", ["negative", "positive"], {}), tokenizer, model.config)
    columns = task.encode({"text": texts, "label": [0, 1, 0]})
    every = tokenizer(texts)["input_ids"]
    assert columns["input_ids"] == [ids[-2:] for ids in every] and columns["length"] == [2, 1, 0]
    with torch.no_grad():
        _, found = task.predict(model, task.collate(columns), columns)
        _, expected = task.predict(model, task.collate(columns | {"input_ids": every}), columns)
    torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), rtol=1e-5, atol=1e-5)


# ---- texts without labels ----


@pytest.fixture
def more(tmp_path):
    """A file of texts without labels, with a word that the reviews do not have."""
    path = tmp_path / "more.txt"
    path.write_text("\n".join(f"a zyzzyva number {number}" for number in range(40)))
    return path


def test_unlabelled_texts_teach_words_and_are_counted(tmp_path, reviews, more, served_here, monkeypatch):
    seen, fit = [], running.fit
    monkeypatch.setattr(running, "fit", lambda *args: (seen.append(args[3]), fit(*args))[1])
    results = run(tmp_path / "out", reviews, **NEW | BRIEF, unlabelled=str(more), word_vectors="word2vec")
    assert results["dataset"]["splits"] == {"train": 211, "validation": 53, "test": 67}
    assert results["dataset"]["unlabelled"] == 40
    assert results["dataset"]["remarks"][-1].startswith("Unlabelled texts: 40 of the file more.txt; left out are 0")
    assert "Unlabelled texts: 40." in (tmp_path / "out" / "README.md").read_text()
    task = seen[0]
    known = task.tokenizer.get_vocab()
    assert "zyzzyva" in known  # as often as most words of the reviews
    rows = task.rows["unlabelled"]
    assert rows.column_names == ["input_ids", "length"]
    assert rows["input_ids"][0] == task.tokenizer("a zyzzyva number 0")["input_ids"] and rows["length"][0] == 4


def test_without_unlabelled_texts_nothing_is_said_of_them(written):
    assert not {"unlabelled", "validation"} & set(written[1]["dataset"])


# ---- starting from a checkpoint ----


def test_a_run_starts_from_a_folder_that_another_wrote(tmp_path, written, served_here):
    folder, before = written
    results = run(tmp_path / "out", model_name_or_path=str(folder), learning_rate=0.0, **BRIEF)
    for metric in ("accuracy", "macro_f1", "loss"):
        assert results["metrics"]["test"][metric] == pytest.approx(before["metrics"]["test"][metric], abs=1e-6)
    assert results["model_type"] == "rnnzoo-lstm"
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    assert results["config"]["max_length"] is None and "truncation" not in (tmp_path / "out" / "README.md").read_text()


def test_a_run_may_read_longer_texts_than_its_checkpoint_did(tmp_path, reviews, bert, served_here):
    short, long = {"max_length": 20}, {"max_length": 40}
    run(tmp_path / "short", reviews, model_name_or_path=str(bert()), **short, **BRIEF)
    again = {"model_name_or_path": str(tmp_path / "short")}
    assert run(tmp_path / "long", reviews, **again, **long, **BRIEF)["config"]["max_length"] == 40
    assert run(tmp_path / "same", reviews, **again, **BRIEF)["config"]["max_length"] == 20


def test_a_run_may_have_another_dropout_than_its_checkpoint(tmp_path, reviews, written, served_here):
    results = run(
        tmp_path / "out", reviews, model_name_or_path=str(written[0]), model={"classifier_dropout": 0.5}, **BRIEF
    )
    assert results["config"]["model"] == {"classifier_dropout": 0.5}
    before, after = (json.loads((place / "config.json").read_text()) for place in (written[0], tmp_path / "out"))
    assert {name for name in before if before[name] != after[name]} <= {"classifier_dropout", "id2label", "label2id"}
    assert after["classifier_dropout"] == 0.5


@pytest.fixture
def bert(tmp_path):
    """A function that saves a tiny BERT with a tokenizer of its own."""
    return partial(small_bert.save, tmp_path / "bert")


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (("input_ids", "token_type_ids", "attention_mask"), {}),
        (("input_ids", "attention_mask"), {"max_length": 20}),
    ],
    ids=["token types", "no token types, truncated"],
)
def test_the_same_loop_trains_bert(tmp_path, reviews, bert, served_here, inputs, options):
    folder = bert(inputs)  # which reads 64 tokens, where texts have more
    change = {"model": {"attention_probs_dropout_prob": 0.25}}
    results = run(tmp_path / "out", reviews, model_name_or_path=str(folder), **change, **options, **BRIEF)
    assert results["model_type"] == "bert"
    assert json.loads((tmp_path / "out" / "config.json").read_text())["attention_probs_dropout_prob"] == 0.25
    # What users must know to get the answers that were measured.
    longest = options.get("max_length", 64)
    assert results["config"]["max_length"] == longest
    assert json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())["model_max_length"] == longest
    assert f", truncation=True, max_length={longest})" in (tmp_path / "out" / "README.md").read_text()
    assert results["served"]["largest_difference"] < 1e-5
    before, after = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "out"))
    assert before.keys() == after.keys()
    assert not any(torch.equal(before[name], after[name]) for name in before)
    assert results["model_config"]["attention_probs_dropout_prob"] == 0.25
    assert json.loads((tmp_path / "out" / "config.json").read_text())["id2label"] == {"0": "0", "1": "1"}


# ---- what is refused, before any training ----


@pytest.fixture
def refused(tmp_path, reviews, monkeypatch):
    """A function that shows that a run stops before training, with an error of one paragraph that says this."""

    def check(says, dataset=reviews, **options):
        monkeypatch.setattr(running, "train", lambda *args: pytest.fail("training began"))
        with pytest.raises(RecipeError, match=says) as caught:
            run(tmp_path / "out", dataset, **options)
        assert "\n" not in str(caught.value)
        assert contents(tmp_path / "out") == {}

    return check


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"model": {"model_type": ["rnnzoo-lstm"]}}, "model_type is .'rnnzoo-lstm'.: choose rnnzoo-rnn"),
        ({"tokenizer": {"vocab_size": 10**30}}, "vocab_size=1000.* is more than"),
        ({"learning_rate": 10**400}, "learning_rate is inf: it must lie between"),
        ({"model": {}}, "model_type is None: choose rnnzoo-rnn, rnnzoo-birnn, rnnzoo-lstm, rnnzoo-gru"),
        ({"model": MODEL | {"model_type": "lstm"}}, "model_type is 'lstm': choose"),
        ({"model": MODEL | {"hiden_size": 3}}, "'hiden_size' in model is not an option. Did you mean 'hidden_size'"),
        ({"model": MODEL | {"problem_type": "regression"}}, "'problem_type' in model is not an option"),
        ({"model": MODEL | {"num_labels": 3}}, "'num_labels' in model is not an option"),
        ({"model": MODEL | {"hidden_size": "64"}}, "hidden_size.*expected int, got str"),
        ({"model": MODEL | {"hidden_size": 0}}, "hidden_size=0 must be at least 1"),
        ({"model": MODEL | {"recurrent_dropout": 1.0}}, "recurrent_dropout=1.0 must be at least 0 and below 1"),
        ({"model": MODEL | {"pooling": "first"}}, "pooling"),
        ({"model": MODEL | {"model_type": "rnnzoo-birnn", "bidirectional": False}}, "use RNNConfig"),
        ({"max_length": 100}, "--model.window"),
        ({"tokenizer": {}}, "vocab_size"),
        ({"tokenizer": {"vocab_size": 3}}, "vocab_size=3 leaves no room"),
        ({"tokenizer": {"vocab_size": 9, "punctuation": "shout"}}, "punctuation='shout' is not a choice"),
        ({"tokenizer": {"vocab_size": 9, "lower_case": True}}, "'lower_case'.* Did you mean 'lowercase'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_options_that_a_new_model_cannot_have_are_refused(refused, options, says):
    refused(says, **NEW | options)


def test_options_are_refused_before_data_is_read():
    given = flags("runs/x", "no/such/data", model=MODEL | {"hidden_size": 0}, tokenizer={"vocab_size": 9})
    with pytest.raises(RecipeError, match="hidden_size=0"):
        parse(TASK, given)


def test_unlabelled_texts_of_a_stream_or_of_synthetic_data_are_refused(refused, more):
    refused("unlabelled and streaming: .* Leave out one", **NEW, unlabelled=str(more), streaming=True)
    refused("the synthetic data .* has no texts besides", "made", **NEW, unlabelled=str(more))
    refused("unlabelled is 'test', a split that is .* measured on", **NEW, unlabelled="test")


def columns(text=("good", "bad"), **others):
    return {"text": list(text) * 10, **{name: list(values) * 10 for name, values in others.items()}}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (columns(feeling=(1, 0)), "there is no column 'label', only: text, feeling"),
        (columns(label=(1, 1)), "have the label 1: there is nothing to tell apart"),
        (columns(text=("", " "), label=(0, 1)), "no word in texts"),
    ],
    ids=["no labels", "one class", "no words"],
)
def test_data_that_cannot_be_trained_on_is_refused(refused, tmp_path, rows, says):
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "test"):
        write_rows(folder / f"{split}.jsonl", rows)
    refused(says, folder, **NEW)


def no_tokenizer(folder):
    for path in folder.glob("*token*"):
        path.unlink()


def truncated(name):
    return lambda folder: truncate(folder / name)


def other_tokenizer(folder):
    rnnzoo.train_tokenizer([f"w{i}" for i in range(2000)], vocab_size=2000).save_pretrained(folder)


def a_word_far_off(folder):
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    words = tokenizer["model"]["vocab"]
    words[max(words, key=words.get)] = 5000
    path.write_text(json.dumps(tokenizer))


DAMAGE = {
    "truncated weights": (truncated("model.safetensors"), "cannot be loaded as a text classifier with 2 labels"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
    "truncated configuration": (truncated("config.json"), "cannot be loaded"),
    "configuration is no JSON": (lambda folder: (folder / "config.json").write_text("garbage"), "cannot be loaded"),
    "configuration of nothing": (lambda folder: (folder / "config.json").write_text("{}"), "cannot be loaded"),
    "no tokenizer": (no_tokenizer, "cannot be loaded"),
    "truncated tokenizer": (truncated("tokenizer.json"), "cannot be loaded"),
    "tokenizer for more words": (other_tokenizer, "ids up to 1999, .*different checkpoints"),
    "tokenizer with a gap": (a_word_far_off, "ids up to 5000, .*different checkpoints"),
}


@pytest.fixture
def checkpoint(tmp_path, request):
    """A function that writes a checkpoint, a small LSTM or a BERT, and damages it."""

    def save(kind, damage, **changes):
        folder = tmp_path / kind
        if kind == "bert":
            request.getfixturevalue("bert")(**changes)
        else:
            tokenizer = rnnzoo.train_tokenizer(["good bad"], vocab_size=9)
            config = rnnzoo.LSTMConfig(vocab_size=9, embedding_size=4, hidden_size=4, **changes)
            rnnzoo.LSTMForSequenceClassification(config).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        damage(folder)
        return folder

    return save


@pytest.mark.parametrize("kind", ["lstm", "bert"])
@pytest.mark.parametrize(("damage", "says"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_refused(refused, checkpoint, kind, damage, says):
    folder = checkpoint(kind, damage)
    refused(f"{folder.name}.*{says}", model_name_or_path=str(folder))


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("lstm", {"classifier_dropuot": 0.1}, "'classifier_dropuot' in model.* Did you mean 'classifier_dropout'"),
        ("lstm", {"vocab_size": 20}, "'vocab_size' in model is not an option"),
        ("lstm", {"classifier_dropout": "much"}, "lstm cannot be loaded .*classifier_dropout.*'much'"),
        ("lstm", {"hidden_dropout": 2.0}, "lstm cannot be loaded .*hidden_dropout=2.0"),
        ("lstm", {"hidden_size": 5}, "lstm cannot be loaded .*mismatch"),
        ("lstm", {"model_type": "rnnzoo-lstm"}, "leave out model.model_type"),
        ("bert", {"classifier_dropuot": 0.1}, "'classifier_dropuot' in model.* Did you mean 'classifier_dropout'"),
        ("bert", {"hidden_dropout_prob": 2.0}, "bert cannot be loaded"),
        ("bert", {"hidden_size": 10}, "bert cannot be loaded .*mismatch"),
    ],
    ids=str,
)
def test_options_that_a_checkpoint_cannot_have_are_refused(refused, checkpoint, kind, change, says):
    folder = checkpoint(kind, lambda folder: None)
    refused(says, model_name_or_path=str(folder), model=change)


def test_a_checkpoint_keeps_its_most_frequent_words(tmp_path):
    """Texts of kept words are answered as before, also by the folder that is saved; all other words are unknown."""
    texts = ["a a a a good good good film film bad"]
    tokenizer = rnnzoo.train_tokenizer(texts, vocab_size=9)
    config = rnnzoo.LSTMConfig(vocab_size=len(tokenizer), embedding_size=4, hidden_size=4)
    before = rnnzoo.LSTMForSequenceClassification(config).eval()
    for part in (tokenizer, before):
        part.save_pretrained(tmp_path / "large")
    options = TASK.Options(model_name_or_path=str(tmp_path / "large"), tokenizer={"vocab_size": 6})
    kept, after, notes = build(TASK, options, ["LABEL_0", "LABEL_1"], [])
    assert notes[-1] == f"Of the 7 ids of {tmp_path / 'large'}, the first 6 are kept: the most frequent words."
    for part in (kept, after):
        part.save_pretrained(tmp_path / "small")
    kept = AutoTokenizer.from_pretrained(tmp_path / "small")
    after = AutoModelForSequenceClassification.from_pretrained(tmp_path / "small").eval()
    assert after.config.vocab_size == len(kept) == 6
    assert kept(["a good film"])["input_ids"] == tokenizer(["a good film"])["input_ids"]
    assert kept(["a bad film"])["input_ids"] == [[3, kept.unk_token_id, 5]]
    assert kept.decode(3) == "a" and kept.pad_token_id == tokenizer.pad_token_id
    expected = before(**tokenizer(["a good film"], return_tensors="pt")).logits
    torch.testing.assert_close(after(**kept(["a good film"], return_tensors="pt")).logits, expected)


@pytest.mark.parametrize(
    ("kind", "size", "says"),
    [
        ("lstm", 3, "vocab_size is 3, .*lstm has 5 ids, 3 of them of special tokens: a checkpoint can keep 4 to 5"),
        ("lstm", 6, "vocab_size is 6, .* a checkpoint can keep 4 to 5"),
        ("lstm", "many", "vocab_size is 'many', .* a checkpoint can keep 4 to 5"),
        ("bert", 8, "vocab_size is 8, but .*bert is no network of rnnzoo"),
    ],
    ids=str,
)
def test_a_number_of_words_that_a_checkpoint_cannot_keep_is_refused(refused, checkpoint, kind, size, says):
    folder = checkpoint(kind, lambda folder: None)
    refused(says, model_name_or_path=str(folder), tokenizer={"vocab_size": size})


def test_a_checkpoint_whose_last_id_ends_a_text_keeps_all_its_words(refused, checkpoint):
    folder = checkpoint("lstm", lambda folder: None)
    rnnzoo.train_tokenizer(["good bad"], vocab_size=9, add_eos=True).save_pretrained(folder)
    refused("special tokens after its words", model_name_or_path=str(folder), tokenizer={"vocab_size": 5})


def test_a_max_length_beyond_the_positions_of_a_transformer_is_refused(refused, bert):
    refused("max_length is 65, and this model has 64 positions", model_name_or_path=str(bert()), max_length=65)


def test_a_missing_checkpoint_is_refused(refused):
    refused("nowhere/at-all cannot be loaded", model_name_or_path="nowhere/at-all")


# ---- configurations and metric ----


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_makes_its_model(config, bert, tmp_path):
    assert f"--config {config.relative_to(ROOT)}\n" in config.read_text()  # how to launch it
    options = parse(TASK, ["--config", str(config)])
    assert options.output_dir == f"runs/{config.stem}"
    family = options.model.get("model_type", "rnnzoo-lstm" if "pooling" in options.model else "bert")
    if options.model_name_or_path:  # for one that is not here
        options.model_name_or_path = str(bert() if family == "bert" else tmp_path / "backbone")
        rnnzoo.LSTMModel(rnnzoo.LSTMConfig(vocab_size=5, hidden_size=4)).save_pretrained(tmp_path / "backbone")
        rnnzoo.train_tokenizer(["good bad"], vocab_size=9).save_pretrained(tmp_path / "backbone")
    tokenizer, model, _ = build(TASK, options, ["negative", "positive"], make_reviews()["train"]["text"])
    assert model.config.model_type == family
    assert model.config.vocab_size == len(tokenizer)


@pytest.mark.parametrize("family", ["rnn", "birnn", "lstm", "gru"])
def test_the_book_configurations_are_the_textbooks_experiment(family):
    (config,) = (path for path in CONFIGS if path.stem == f"book-{family}")
    options = parse(TASK, ["--config", str(config)])
    tokenizer, model, _ = build(TASK, options, ["negative", "positive"], make_reviews()["train"]["text"])
    assert options.tokenizer["vocab_size"] == 2500 + len(tokenizer.all_special_ids)
    found = model.config.to_dict()
    expected = {
        "model_type": f"rnnzoo-{family}",
        "window": 100,
        "embedding_size": 128,
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "bidirectional": family == "birnn",
        "pooling": "last",
        "embedding_dropout": 0.2,
        "recurrent_dropout": 0.2,
        "classifier_dropout": 0.0,
    }
    assert {name: found[name] for name in expected} == expected
    # Without decay, AdamW is Adam.
    expected = {"learning_rate": 1e-3, "weight_decay": 0.0, "batch_size": 128, "num_train_epochs": 5}
    expected |= {"lr_scheduler_type": "constant", "warmup_ratio": 0.0, "max_length": None, "patience": None}
    expected |= {"max_grad_norm": 1.0}  # not the book's, and said so in each file
    assert {name: getattr(options, name) for name in expected} == expected


@pytest.mark.parametrize("family", ["rnn", "birnn", "lstm", "gru"])
def test_the_tuned_configurations_keep_the_sizes_of_the_textbook(family):
    book, tuned = (
        parse(TASK, ["--config", str(ROOT / f"recipes/configs/imdb/{kind}-{family}.yaml")])
        for kind in ("book", "tuned-book")
    )
    for name in ("model_type", "window", "embedding_size", "hidden_size"):
        assert tuned.model[name] == book.model[name]
    assert "num_hidden_layers" not in tuned.model
    # Said wherever they are shown: the gated ones read both ways.
    assert tuned.model.get("bidirectional") == (True if family in ("lstm", "gru") else None)
    assert tuned.tokenizer == book.tokenizer
    assert tuned.num_train_epochs == book.num_train_epochs


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_the_metric_is_that_of_scikit_learn(size):
    metric = evaluate.load(str(ROOT / "rnnzoo" / "tasks" / "metrics" / "accuracy.py"))
    predictions, references = np.random.default_rng(size).integers(0, 3, (2, size))
    found = metric.compute(predictions=predictions, references=references)
    assert found["accuracy"] == accuracy_score(references, predictions)
    assert found["macro_f1"] == pytest.approx(f1_score(references, predictions, average="macro", zero_division=0))
