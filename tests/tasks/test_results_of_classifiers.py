"""What a classifier's run writes: scores by class, the majority baseline, predictions, errors; and class weights."""

import csv
import json

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, precision_recall_fscore_support
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from recipes.imdb import TASK
from recipes.report.mcnemar import correct
from rnnzoo.data.errors import RecipeError
from rnnzoo.training import parity
from rnnzoo.training.run import parse
from rnnzoo.training.run_folder import shows_examples
from tests.support import recipes


NAMES = ["dull", "fine", "great"]
WORDS = {"dull": ["weak", "boring"], "fine": ["fair", "solid"], "great": ["superb", "moving"]}
NEW = {"model": {"model_type": "rnnzoo-gru", "embedding_size": 8, "hidden_size": 8}, "tokenizer": {"vocab_size": 40}}
BRIEF = {"learning_rate": 0.02, "batch_size": 16, "num_train_epochs": 3, "verify_rows": 5, "num_threads": 1}


@pytest.fixture(autouse=True)
def served_here(monkeypatch):
    monkeypatch.setattr(parity, "answers", recipes.answered_here)


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """Reviews of three classes, of which one is rare; one word in ten belongs to another class."""
    folder, draw = tmp_path_factory.mktemp("reviews"), np.random.default_rng(0)
    for split, size in {"train": 160, "validation": 40, "test": 60}.items():
        lines = []
        for _ in range(size):
            label = draw.choice(3, p=[0.6, 0.3, 0.1])
            word = draw.choice(WORDS[NAMES[draw.integers(3) if draw.random() < 0.1 else label]])
            lines.append({"text": f"A {word} film, | really", "label": int(label)})
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "labels.json").write_text(json.dumps(NAMES))
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory, reviews):
    folder = tmp_path_factory.mktemp("written")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "answers", recipes.answered_here)
        return folder, recipes.run(TASK, folder, reviews, **NEW, **BRIEF)


def table(folder):
    with (folder / "predictions.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_scores_by_class_are_those_of_scikit_learn_on_the_table_of_predictions(written):
    folder, results = written
    rows, scores = table(folder), results["metrics"]["test"]
    right, found = [row["label"] for row in rows], [row["prediction"] for row in rows]
    assert scores["macro_f1"] == pytest.approx(f1_score(right, found, average="macro", zero_division=0))
    assert scores["accuracy"] == pytest.approx(np.mean([a == b for a, b in zip(right, found, strict=True)]))
    each = precision_recall_fscore_support(right, found, labels=NAMES, zero_division=0)
    for name, *values in zip(NAMES, *each, strict=True):
        assert list(scores["per_class"][name].values()) == pytest.approx(values)


def test_the_table_of_predictions_has_every_test_example_in_its_order(written, reviews):
    rows = table(written[0])
    examples = [json.loads(line) for line in (reviews / "test.jsonl").read_text().splitlines()]
    assert [(row["text"], row["label"]) for row in rows] == [(e["text"], NAMES[e["label"]]) for e in examples]
    for row in rows:
        probabilities = [float(row[f"p({name})"]) for name in NAMES]
        assert sum(probabilities) == pytest.approx(1, abs=1e-4) and float(row["probability"]) == max(probabilities)
        assert row["prediction"] == NAMES[probabilities.index(max(probabilities))]


def test_the_results_say_which_test_examples_were_right(written):
    rows, results = table(written[0]), json.loads((written[0] / "results.json").read_text())
    assert correct(results).tolist() == [row["label"] == row["prediction"] for row in rows]
    assert correct(results).mean() == pytest.approx(results["metrics"]["test"]["accuracy"])


def test_the_majority_class_of_train_is_the_baseline(written, reviews, capsys):
    labels = {
        split: [json.loads(line)["label"] for line in (reviews / f"{split}.jsonl").read_text().splitlines()]
        for split in ("train", "test")
    }
    majority = max(range(3), key=labels["train"].count)
    (scores,) = written[1]["baselines"].values()
    assert scores["accuracy"] == pytest.approx(labels["test"].count(majority) / len(labels["test"]))
    assert f"accuracy {scores['accuracy']:.4f}" in (written[0] / "README.md").read_text()


def test_the_card_shows_classes_and_confident_errors(written):
    folder, results = written
    card = (folder / "README.md").read_text()
    for name in NAMES:
        assert f"| {name} |" in card
    wrong = sorted(
        (row for row in table(folder) if row["label"] != row["prediction"]), key=lambda r: -float(r["probability"])
    )
    assert results["errors"] and [e["probability"] for e in results["errors"]] == [
        float(row["probability"]) for row in wrong[:20]
    ]
    assert "film, \\| really" in card, "a bar must not end a cell"
    assert (folder / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_no_text_of_the_data_is_written_where_that_is_asked_for(tmp_path, reviews):
    results = recipes.run(TASK, tmp_path, reviews, **NEW, **BRIEF, no_examples=True)
    assert results["errors"] == [] and "text" not in table(tmp_path)[0]
    for path in tmp_path.iterdir():
        assert b"film, |" not in path.read_bytes(), path.name


def test_what_is_pushed_shows_no_text_and_neither_does_a_data_set_whose_terms_forbid_it():
    config = {"no_examples": False, "push_to_hub": False}
    for name, changes, shown in (
        ("mine", {}, True), ("mine", {"push_to_hub": True}, False), ("mine", {"no_examples": True}, False),
        ("imdb", {}, False),
    ):  # fmt: skip
        assert shows_examples({"dataset": {"name": name}, "config": config | changes}) == shown, (name, changes)


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_balanced_weights_weigh_the_loss_of_each_class(tmp_path, reviews, micro_batches):
    """At a learning rate of zero, the loss of the only step is that of the weights that are saved."""
    options = NEW | BRIEF | {"learning_rate": 0.0, "num_train_epochs": 1, "batch_size": 160}
    given = options | {"class_weights": "balanced", "gradient_accumulation_steps": micro_batches}
    results = recipes.run(TASK, tmp_path / "out", reviews, **given)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    examples = [json.loads(line) for line in (reviews / "train.jsonl").read_text().splitlines()]
    labels = torch.tensor([example["label"] for example in examples])
    with torch.no_grad():
        batch = tokenizer([example["text"] for example in examples], padding=True, return_tensors="pt")
        losses = torch.nn.functional.cross_entropy(model(**batch).logits, labels, reduction="none")
    of_class = torch.tensor([(losses[labels == number]).mean() for number in range(3)])
    assert results["history"][0]["train_loss"] == pytest.approx(of_class.mean().item(), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"class_weights": "much"}, "class_weights is 'much': choose balanced"),
        ({"class_weights": "balanced", "streaming": True}, "the classes of a stream are not counted"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(options, says):
    with pytest.raises(RecipeError, match=says):
        parse(TASK, recipes.flags("runs/x", "nowhere", **NEW, **options))


def test_a_metric_that_the_task_does_not_have_cannot_select_the_epoch(tmp_path, reviews):
    with pytest.raises(RecipeError, match="metric_for_best_model is 'f1': choose accuracy, macro_f1, loss"):
        recipes.run(TASK, tmp_path / "out", reviews, **NEW, **BRIEF, metric_for_best_model="f1")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.filterwarnings("ignore")  # the tokenizer warns too
def test_a_validation_split_of_unknown_words_is_warned_of_with_the_share(tmp_path, reviews, capsys):
    data = tmp_path / "data"
    data.mkdir()
    characters = "这部电影很好看难我不喜欢"
    for split, start in {"train": 0, "validation": 100, "test": 200}.items():
        texts = ["".join(characters[(start + i * k) % 12] for k in range(1, 7)) + str(start + i) for i in range(12)]
        lines = [{"text": text, "label": i % 2} for i, text in enumerate(texts)]
        (data / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    recipes.run(TASK, tmp_path / "out", data, **NEW, **BRIEF)
    assert "Warning: 100% of the tokens of the validation split are unknown" in capsys.readouterr().out
    recipes.run(TASK, tmp_path / "other", reviews, **NEW, **BRIEF)
    assert "unknown to the tokenizer" not in capsys.readouterr().out
