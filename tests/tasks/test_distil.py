"""recipes.distil: the loss is the formula, no teacher answers what it was trained on, a student trains end to end."""

import json
import math
import os
import subprocess
import sys
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline
from transformers.modeling_outputs import SequenceClassifierOutput

from recipes.baselines import tfidf
from recipes.distil import TASK
from recipes.imdb import TASK as IMDB
from rnnzoo.data.corpus import Corpus
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.folds import drawn_rows, fold_rows
from rnnzoo.data.synthetic.reviews import make_reviews
from rnnzoo.tasks.taught import grouped, known_name
from rnnzoo.training import answers
from rnnzoo.training.card import card
from rnnzoo.training.run import parse
from rnnzoo.training.step import split
from rnnzoo.training.teachers import Network, Teacher
from rnnzoo.training.wide import presence
from tests.support import recipes, small_bert
from tests.support.data_files import write
from tests.support.recipes import flags


NEW = {
    "model": {"model_type": "rnnzoo-gru", "embedding_size": 8, "hidden_size": 8},
    "tokenizer": {"vocab_size": 300},
}
BRIEF = {"batch_size": 32, "num_train_epochs": 2, "verify_rows": 4, "num_threads": 1}
TEACHERS = ("fold-0", "fold-1", "all", "tuned", "few", "other-rows", "bag", "hub")
SIZES = {"train": 97, "validation": 23, "test": 29}

run = partial(recipes.run, TASK, **NEW)
pytestmark = pytest.mark.usefixtures("served_here")


# ---- the loss ----


def student(temperature, soft_weight):
    task = TASK(Corpus("own", "here", ["a", "b", "c"], {}))
    task.temperature, task.soft_weight = temperature, soft_weight
    return task


def batch_of(rows):
    """Rows with a label and an answer, a label alone, an answer alone, in turn."""
    labels, teacher = torch.randint(3, (rows,)), 3 * torch.randn(rows, 3)
    teacher[1::3], labels[2::3] = math.nan, -100
    return {"labels": labels, "teacher": teacher}, 2 * torch.randn(rows, 3)


@pytest.mark.parametrize(("temperature", "soft_weight"), [(1.0, 0.5), (4.0, 0.25), (0.5, 1.0)])
def test_the_loss_is_the_formula(temperature, soft_weight):
    batch, logits = batch_of(12)

    def softmax(row, t):
        found = [math.exp(value / t) for value in row.tolist()]
        return [value / sum(found) for value in found]

    losses = []
    for row, label, teacher in zip(logits, batch["labels"].tolist(), batch["teacher"], strict=True):
        hard = None if label == -100 else -math.log(softmax(row, 1)[label])
        soft = None
        if not teacher.isnan().any():
            p, q = softmax(teacher, temperature), softmax(row, temperature)
            soft = temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        both = None not in (hard, soft)
        losses.append((1 - soft_weight) * hard + soft_weight * soft if both else soft if hard is None else hard)
    found = student(temperature, soft_weight).loss(SequenceClassifierOutput(logits=logits), batch)
    assert found.item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_a_batch_has_the_gradients_of_its_micro_batches_together():
    task, (batch, logits) = student(2.0, 0.3), batch_of(13)
    logits.requires_grad_()
    task.loss(SequenceClassifierOutput(logits=logits), batch).backward()
    complete, logits.grad = logits.grad, None
    for rows in chain(*(split(list(range(13)), rank, 2, micro_batches=3) for rank in range(2))):
        part = {name: tensor[rows] for name, tensor in batch.items()}
        loss = task.loss(SequenceClassifierOutput(logits=logits[rows]), part)
        (loss * task.label_weight(part) / task.label_weight(batch)).backward()
    torch.testing.assert_close(logits.grad, complete)
    assert complete.isfinite().all() and complete.abs().sum(1).min() > 0  # each row teaches


def test_the_model_reads_neither_labels_nor_answers_in_training():
    inputs = {"input_ids": torch.ones(2, 3), "attention_mask": torch.ones(2, 3)}
    assert student(1.0, 0.5).inputs(inputs | batch_of(2)[0]) == inputs


# ---- teachers and the rows that they have seen ----


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small data set, with a text that is in train twice; and texts without labels, one of which is in train."""
    place, made = tmp_path_factory.mktemp("data"), make_reviews()
    columns = {split: made[split][:n] for split, n in SIZES.items()}
    columns["train"]["text"] = [f"{text} Row {i}." for i, text in enumerate(columns["train"]["text"])]
    columns["train"]["text"][8] = columns["train"]["text"][3]
    texts = [f"{text} Unlabelled {i}." for i, text in enumerate(made["train"]["text"][200:260])]
    (place / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return write(place / "reviews", labels=["negative", "positive"], **columns)


def unlabelled(data):
    path = data.parent / "texts.jsonl"
    return str(path), [json.loads(line)["text"] for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def teachers(data, tmp_path_factory):
    """Networks of two folds, of all rows, of all and then a fold, of few, of other rows; a bag; one of nowhere."""
    place = tmp_path_factory.mktemp("teachers")
    settings = BRIEF | {"max_train_steps": 4, "learning_rate": 0.05}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnnzoo.training.parity.answers", recipes.answered_here)
        for name, options in {
            "fold-0": NEW | {"fold": "0/2"},
            "fold-1": NEW | {"fold": "1/2"},
            "all": NEW,
            "tuned": {"fold": "0/2", "model_name_or_path": str(place / "all")},
            "few": NEW | {"train_examples": 31, "seed": 5},
            "other-rows": NEW | {"seed": 3, "validation_fraction": 0.4},
        }.items():
            recipes.run(IMDB, place / name, data, **settings | options)
    tfidf.recipe(["--dataset", str(data), "--output_dir", str(place / "bag")])
    small_bert.save(place / "hub")
    return place


def trained_on(results, data):
    """The texts that a run was trained on, from its options."""
    if results is None:
        return set()
    config = results["config"]
    corpus = IMDB.load(str(data), seed=config["seed"], validation_fraction=config.get("validation_fraction"))
    train = corpus.splits["train"]
    rows = range(len(train))
    if few := config.get("train_examples"):
        rows = drawn_rows(train["label"][:], few, config["seed"])
    elif config.get("fold") and not config["model_name_or_path"]:  # what it started from was trained on all rows
        rows = set(rows) - set(fold_rows(train["label"][:], *map(int, config["fold"].split("/"))))
    return {train["text"][i] for i in rows}


def in_both_folds(train):
    """The rows whose text is in both of two folds."""
    texts, labels = train["text"][:], train["label"][:]
    first, second = ({texts[i] for i in fold_rows(labels, k, 2)} for k in (0, 1))
    return {i for i, text in enumerate(texts) if text in first & second}


class Watched(TASK):
    """Keeps what each teacher was asked for, and the rows that the student is trained on."""

    asked, trained = {}, None  # noqa: RUF012

    def ask(self, teacher, columns, texts, options):
        logits = super().ask(teacher, columns, texts, options)
        self.asked[teacher.name] = dict(zip(chain(*texts.values()), logits, strict=True))
        return logits

    def join(self, parts, asked):
        counts = super().join(parts, asked)
        type(self).trained = self.rows["train"][:]
        return counts


@pytest.fixture(scope="module")
def written(data, teachers, tmp_path_factory):
    """A student of all of them."""
    folder = tmp_path_factory.mktemp("runs") / "student"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnnzoo.training.parity.answers", recipes.answered_here)
        options = {"teachers": [str(teachers / name) for name in TEACHERS], "unlabelled": unlabelled(data)[0]}
        results = recipes.run(Watched, folder, data, **NEW, **BRIEF, **options, adversarial_epsilon=0.1)
    return folder, results


def test_a_teacher_answers_the_texts_that_it_was_not_trained_on_and_no_others(written, teachers, data):
    splits = IMDB.load(str(data), seed=0).splits
    everything = {text for split in ("train", "validation") for text in splits[split]["text"][:]}
    assert set(Watched.asked) == set(TEACHERS)
    for name, found in Watched.asked.items():
        file = teachers / name / "results.json"
        seen = trained_on(json.loads(file.read_text()) if file.exists() else None, data)
        assert set(found) == everything | set(unlabelled(data)[1])
        for text, logits in found.items():
            assert logits.isfinite().all().item() == (text not in seen), (name, text)
    counts = {teacher["name"]: teacher["answered"] for teacher in written[1]["distillation"]["teachers"]}
    assert counts["all"] == counts["tuned"] == counts["bag"] == {"labelled": 0, "unlabelled": 60, "validation": 23}
    assert counts["hub"] == {"labelled": 97, "unlabelled": 60, "validation": 23}
    assert counts["few"]["labelled"] in (97 - 31, 97 - 32)  # one text is there twice
    # A text that is in both folds is answered by neither.
    assert counts["fold-0"]["labelled"] + counts["fold-1"]["labelled"] == 97 - len(in_both_folds(splits["train"]))
    assert 0 < counts["other-rows"]["labelled"] < 97 and 0 < counts["other-rows"]["validation"] < 23


def test_a_teacher_that_was_not_saved_by_a_recipe_is_named(written):
    remarks = written[1]["distillation"]["remarks"]
    assert "Teacher hub has no results.json: it is taken not to have seen the texts." in remarks
    assert any(line.startswith("Training rows: 97 with labels, of which 0 without an answer") for line in remarks)


def test_unlabelled_texts_teach_by_objectives_too(data, teachers, tmp_path):
    options = {"unlabelled": unlabelled(data)[0], "entropy_weight": 0.1, "unlabelled_batch_size": 16}
    teacher = str(teachers / "fold-0")  # what it has seen is loaded again, without these options
    results = recipes.run(Watched, tmp_path, data, **NEW, **BRIEF, teachers=[teacher], max_train_steps=1, **options)
    assert results["history"][0]["entropy_loss"] > 0
    assert 0 < results["distillation"]["rows"]["label_alone"] < 97


def test_a_teacher_of_the_copy_on_the_hub_has_seen_the_same_texts():
    assert known_name("stanfordnlp/imdb") == known_name("imdb") == "imdb"
    assert known_name("you/reviews") == "you/reviews"


def test_folds_together_are_one_teacher(data, teachers, tmp_path):
    """Each labelled row has the answer of the one that left it out, each unlabelled row the mean of both."""
    folds = [str(teachers / f"fold-{k}") for k in (0, 1)]
    texts, options = unlabelled(data)[1], {"unlabelled": unlabelled(data)[0]}
    fresh = partial(recipes.run, Watched, dataset=data, **NEW, **BRIEF, max_train_steps=1)
    results = fresh(tmp_path / "a", teachers=folds, **options)
    assert len(grouped([Teacher(path, {}) for path in [*folds, str(teachers / "all")]])) == 2
    corpus = IMDB.load(str(data), seed=0)
    train = corpus.splits["train"]["text"][:]
    of_fold = [fold_rows(corpus.splits["train"]["label"][:], k, 2) for k in (0, 1)]
    answers_of = [Network(path, 8, bf16=False) for path in folds]
    found = torch.tensor(Watched.trained["teacher"])
    assert len(found) == 97 + 60
    alone = {i for i, row in enumerate(found) if row.isnan().all()}
    assert alone == in_both_folds(corpus.splits["train"])
    assert results["distillation"]["rows"] == {
        "labelled": 97,
        "label_alone": len(alone),
        "unlabelled": 60,
        "left_out": 0,
    }
    for rows, model in zip(of_fold, answers_of, strict=True):
        rows = sorted(set(rows) - alone)
        torch.testing.assert_close(found[rows], model([train[i] for i in rows]), atol=1e-5, rtol=0)
    mean = torch.stack([model(texts) for model in answers_of]).mean(0)
    torch.testing.assert_close(found[97:], mean, atol=1e-5, rtol=0)
    assert Watched.trained["labels"][97:] == [-100] * 60 and min(Watched.trained["labels"][:97]) == 0


def test_teachers_can_be_asked_about_some_of_the_unlabelled_texts_the_same_for_every_seed(data, tmp_path):
    small_bert.save(tmp_path / "hub")
    kept, files = [], []

    class Kept(TASK):
        def fit(self, model, options):
            kept.append({name: rows["input_ids"][:] for name, rows in self.rows.items()})

    options = {"teachers": [str(tmp_path / "hub")], "unlabelled": unlabelled(data)[0], "max_train_steps": 1}
    fresh = partial(recipes.run, Kept, dataset=data, **NEW, **BRIEF, **options)
    for seed in (0, 1):
        place = tmp_path / "answers"
        results = fresh(tmp_path / f"{seed}", seed=seed, unlabelled_answers=25, answers=str(place))
        rows = {"labelled": 97, "label_alone": 0, "unlabelled": 25, "left_out": 0}
        assert results["distillation"]["rows"] == rows
        files.append({path.name for path in place.rglob("*.safetensors")})
    assert files[0] == files[1], "the second run asked about others"
    fresh(tmp_path / "all")
    # Those that nobody was asked about are still there, for word vectors.
    parts = kept[0]["train"][97:], kept[0]["unlabelled"]
    assert list(map(len, parts)) == [25, 35]
    assert sorted(chain(*parts)) == sorted(kept[2]["train"][97:]) and "unlabelled" not in kept[2]
    with pytest.raises(RecipeError, match="unlabelled_answers is 61, but there are 60 unlabelled texts"):
        fresh(tmp_path / "more", unlabelled_answers=61)
    with pytest.raises(RecipeError, match="unlabelled_answers is 25, but has no effect: name texts"):
        parse(TASK, ["--teachers", str(tmp_path / "hub"), "--unlabelled_answers", "25"])


# ---- a complete run ----


def test_the_results_and_the_card_say_what_was_kept_of_each_teacher(written, teachers):
    folder, results = written
    assert json.loads(json.dumps(results)) == json.loads((folder / "results.json").read_text())
    assert results["task"] == "distil" and results["dataset"]["splits"] == SIZES
    found = results["distillation"]
    assert found["rows"] == {"labelled": 97, "label_alone": 0, "unlabelled": 60, "left_out": 0}
    assert 0 <= found["together"]["validation"] <= 1
    ours, lines = results["metrics"]["test"]["accuracy"], (folder / "README.md").read_text().splitlines()
    for teacher in found["teachers"]:
        file = teachers / teacher["name"] / "results.json"
        theirs = json.loads(file.read_text()) if file.exists() else None
        assert teacher["weights_bytes"] == (file.parent / "model.safetensors").stat().st_size
        (row,) = (line for line in lines if line.startswith(f"| {teacher['name']} (`{teacher['model_type']}`) |"))
        if theirs:
            assert teacher["num_parameters"] == theirs["num_parameters"]
            assert teacher["test"] == theirs["metrics"]["test"]["accuracy"]
            assert teacher["kept"] == pytest.approx(ours / teacher["test"])
            assert f"| {teacher['test']:.4f} | {ours / teacher['test']:.1%} | {theirs['num_parameters']:,} |" in row
        else:
            assert (teacher["test"], teacher["kept"]) == (None, None) and "| – | – |" in row
        if teacher["name"] in ("fold-0", "fold-1", "all", "bag"):
            assert teacher["validation"] == pytest.approx(theirs["metrics"]["validation"]["accuracy"])
    timed = results | {"latency": {"milliseconds": 1.25, "texts_per_second": 9, "device": "a CPU", "num_threads": 1}}
    timed["distillation"] = found | {"teachers": [found["teachers"][0] | {"milliseconds": 31.0}]}
    assert "| 1.2 |" in card(timed) and "| 31.0 |" in card(timed)


def test_the_student_is_served_as_measured(written, data):
    folder, results = written
    test = IMDB.load(str(data), seed=0).splits["test"]
    found = pipeline("text-classification", model=str(folder))(test["text"][:])
    names = ["negative", "positive"]
    right = sum(answer["label"] == names[label] for answer, label in zip(found, test["label"], strict=True))
    assert right / len(test) == results["metrics"]["test"]["accuracy"]


def test_a_student_learns_what_unlabelled_texts_teach(tmp_path):
    """From sixty labels and the answers of a bag of words about two thousand texts."""
    made = make_reviews()
    tfidf.recipe(["--dataset", "made", "--output_dir", str(tmp_path / "bag")])
    columns = {"train": made["train"][:60], "validation": made["validation"][:60], "test": made["test"][:]}
    few = write(tmp_path / "few", labels=["negative", "positive"], **columns)
    texts = dict.fromkeys(made["train"]["text"][60:2000])
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    options = {"num_train_epochs": 3, "learning_rate": 0.02, "verify_rows": 4, "num_threads": 1, "seed": 1}
    taught = run(
        tmp_path / "a", few, **options, teachers=str(tmp_path / "bag"), unlabelled=str(tmp_path / "texts.jsonl")
    )
    teacher = taught["distillation"]["teachers"][0]
    assert teacher["test"] is None, "it was measured on other data"
    alone = recipes.run(IMDB, tmp_path / "b", few, **NEW, **options)
    assert taught["metrics"]["test"]["accuracy"] > 0.66 > alone["metrics"]["test"]["accuracy"] + 0.05


def test_answers_are_shared_by_runs(data, teachers, tmp_path, monkeypatch):
    options = {"teachers": [str(teachers / "hub")], "answers": str(tmp_path / "shared")}
    first = run(tmp_path / "a", data, **BRIEF, **options)
    monkeypatch.setattr(answers, "_write", None)  # which would be called for a text that has no answer
    second = run(tmp_path / "b", data, **BRIEF, **options)
    assert gap(tmp_path / "a", tmp_path / "b") == 0
    assert first["distillation"] == second["distillation"]
    assert not (tmp_path / "a" / "answers").exists()


def gap(*folders):
    """The largest difference between the weights of two runs."""
    ours, theirs = (load_file(folder / "model.safetensors") for folder in folders)
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


class Stopped(TASK):
    """Stops before the seventh batch: in the second epoch of five steps each."""

    batches = 0

    def inputs(self, batch):
        type(self).batches += 1
        if self.batches == 7:
            raise KeyboardInterrupt
        return super().inputs(batch)


def test_a_resumed_student_is_that_of_an_uninterrupted_run(data, teachers, tmp_path):
    options = {"teachers": [str(teachers / "hub")], "unlabelled": unlabelled(data)[0], "checkpointing_steps": 1}
    run(tmp_path / "whole", data, **BRIEF, **options)
    with pytest.raises(KeyboardInterrupt):
        recipes.run(Stopped, tmp_path / "parts", data, **NEW, **BRIEF, **options)
    run(tmp_path / "parts", data, **BRIEF, **options, resume=True)
    assert gap(tmp_path / "whole", tmp_path / "parts") == 0


def test_two_processes_teach_what_one_teaches(data, teachers, tmp_path):
    options = NEW | BRIEF | {"teachers": [str(teachers / name) for name in ("hub", "bag")]}
    options |= {"unlabelled": unlabelled(data)[0], "adversarial_epsilon": 0.1, "gradient_accumulation_steps": 2}
    recipes.run(TASK, tmp_path / "one", data, **options)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [
            *launcher,
            "-m",
            "tests.support.recipe_without_fresh_process",
            "recipes.distil",
            *flags(tmp_path / "two", data, **options),
        ],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two")]
    assert [results["world_size"] for results in found] == [1, 2]
    assert found[0]["distillation"]["rows"] == found[1]["distillation"]["rows"]
    assert gap(tmp_path / "one", tmp_path / "two") < 1e-4
    one, two = (
        {path.parent.name: path.read_bytes() for path in (tmp_path / name / "answers").glob("*/*.safetensors")}
        for name in ("one", "two")
    )
    assert one == two and len(one) == 2


def test_a_student_whose_labels_are_in_another_order_learns_the_same(data, teachers, tmp_path):
    """Its outputs are those of the checkpoint that it starts from."""
    order = {"id2label": {0: "positive", 1: "negative"}, "label2id": {"positive": 0, "negative": 1}}
    folder = small_bert.save(tmp_path / "bert", **order)
    options = {"teachers": [str(teachers / "fold-0")], "max_train_steps": 1, "model_name_or_path": str(folder)}
    recipes.run(Watched, tmp_path / "a", data, **BRIEF, **options)
    found = torch.tensor(Watched.trained["teacher"])
    rows = found.isfinite().all(1).nonzero().flatten().tolist()
    train = IMDB.load(str(data), seed=0).splits["train"]
    expected = Network(str(teachers / "fold-0"), 8, bf16=False)([train["text"][i] for i in rows])
    torch.testing.assert_close(found[rows], expected.flip(1), atol=1e-5, rtol=0)
    assert Watched.trained["labels"] == [1 - label for label in train["label"]]


# ---- what is refused ----


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "Which teachers"),
        ({"teachers": ["runs/nowhere"]}, "The teacher runs/nowhere is neither"),
        ({"teachers": ["{all}", "{all}"]}, "one of them is there twice"),
        ({"teachers": ["{fold-0}", "{fold-1}"], "teacher_weights": [1, 2]}, "2 numbers for 1 teachers .*0 and .*1"),
        ({"teachers": ["{all}"], "teacher_weights": [0]}, "each must be above 0"),
        ({"teachers": ["{all}"], "temperature": 0}, "temperature is 0.0: it must be above 0"),
        ({"teachers": ["{all}"], "soft_weight": 1.5}, "soft_weight is 1.5"),
        ({"teachers": ["{all}"], "soft_weight": 0}, "soft_weight is 0.0"),
        ({"teachers": ["{all}"], "teacher_batch_size": 0}, "teacher_batch_size is 0"),
        ({"teachers": ["{all}"], "class_weights": "balanced"}, "class_weights weigh labels"),
        ({"teachers": ["{all}"], "streaming": True}, "streaming"),
    ],
    ids=str,
)  # fmt: skip
def test_options_that_do_not_fit_are_refused_before_any_data_is_read(teachers, data, options, says):
    names = [path.replace("{", f"{teachers}/").replace("}", "") for path in options.get("teachers", [])]
    with pytest.raises(RecipeError, match=says):
        parse(TASK, flags("runs/x", data, **NEW, **options | {"teachers": names}))


def test_teachers_that_may_answer_nothing_are_refused(teachers, data, tmp_path):
    with pytest.raises(RecipeError, match="The teacher all was trained on all of these texts.*or train it"):
        run(tmp_path / "a", data, **BRIEF, teachers=[str(teachers / "all")])


def test_a_teacher_with_other_labels_is_refused_before_any_is_asked(teachers, data, tmp_path):
    small_bert.save(tmp_path / "other", id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1})
    paths = [str(teachers / "fold-0"), str(tmp_path / "other")]
    with pytest.raises(RecipeError, match="other has the classes bad, good, and the data negative, positive"):
        run(tmp_path / "a", data, **BRIEF, teachers=paths)
    assert not (tmp_path / "a" / "answers").exists()


def test_a_wide_part_beside_a_student_is_fitted_on_the_labelled_rows(data, tmp_path):
    """Of the unlabelled ones it says what it will say when it is served; of the labelled ones what other folds do."""
    small_bert.save(tmp_path / "hub")
    kept = []

    class Kept(TASK):
        def fit(self, model, options):
            super().fit(model, options)
            kept.append(self.rows["train"])

    model = NEW["model"] | {"wide_size": 256}
    options = {"teachers": [str(tmp_path / "hub")], "unlabelled": unlabelled(data)[0], "adversarial_epsilon": 0.1}
    results = recipes.run(Kept, tmp_path / "student", data, **NEW | {"model": model}, **BRIEF, **options)
    assert 0 < results["wide"]["validation"] <= 1 and results["distillation"]["rows"]["unlabelled"] > 50
    weight = load_file(tmp_path / "student" / "model.safetensors")["wide.weight"].double().numpy()
    weight = np.concatenate([-weight, weight], axis=1) / 2  # the margin as two logits
    own = torch.from_numpy(presence(kept[0]["input_ids"], 256) @ weight)
    distances = (own - torch.tensor(kept[0]["wide_logits"])).abs().amax(1)
    labelled = torch.tensor(kept[0]["labels"]) != -100
    assert distances[~labelled].max() < 1e-5 and distances[labelled].mean() > 0.1
