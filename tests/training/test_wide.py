"""The wide part, fitted before the loop: against a plain fit, out of fold, served as measured, resumed bit for bit."""

import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

from recipes.imdb import TASK
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.folds import fold_rows
from rnnzoo.data.synthetic.reviews import make_reviews
from rnnzoo.training import wide
from rnnzoo.training.run import parse
from rnnzoo.training.teachers import spread
from rnnzoo.training.unlabelled import all_texts
from rnnzoo.wide_rnnzoo import Wide, distinct_buckets
from tests.support import recipes
from tests.support.recipes import flags
from tests.support.small_task import Stopped


SIZE, STRENGTH = 97, 3.0
MODEL = {"model_type": "rnnzoo-gru", "embedding_size": 8, "hidden_size": 8, "wide_size": 512}
BRIEF = {"tokenizer": {"vocab_size": 300}, "batch_size": 16, "verify_rows": 20, "num_threads": 1}

run = partial(recipes.run, TASK)


def rows_of(n, num_labels, seed=0):
    """Random words, of which one for each class tells it three times out of four; one row is empty."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_labels, size=n)
    rows = [rng.integers(10, 30, size=rng.integers(1, 9)).tolist() for _ in range(n)]
    for row, label in zip(rows, labels, strict=True):
        row.insert(0, int(label if rng.random() < 0.75 else rng.integers(num_labels)))
    rows[2] = []
    return rows, labels


def sets_of(rows):
    return [
        set(buckets[first].tolist())
        for row in rows
        for buckets, first in [distinct_buckets(torch.tensor([row], dtype=torch.long), None, SIZE)]
    ]


def plain_fit(rows, labels, num_labels):
    """The weights, by loops over the sets of buckets."""
    sets, columns = sets_of(rows), []
    for label in range(num_labels):
        counts = np.ones((2, SIZE))
        for found, own in zip(sets, labels, strict=True):
            for bucket in found:
                counts[int(own == label), bucket] += 1
        ratio = np.log(counts[1] / counts[1].sum()) - np.log(counts[0] / counts[0].sum())
        x = np.zeros((len(sets), SIZE))
        for i, found in enumerate(sets):
            for bucket in found:
                x[i, bucket] = ratio[bucket] / math.sqrt(len(found))
        columns.append(ratio * LogisticRegression(C=STRENGTH, max_iter=1000).fit(x, labels == label).coef_[0])
    return np.stack(columns, 1) / (2 if num_labels == 2 else 1)


def plain_logits(rows, weight):
    return np.array([sum((weight[b] for b in s), 0 * weight[0]) / math.sqrt(max(1, len(s))) for s in sets_of(rows)])


def columns(part):
    """The weights as a column a class; of two, the part has their margin alone."""
    weight = part.weight.detach().numpy()
    return weight * np.array([[-0.5, 0.5]]) if part.num_labels == 2 else weight


def started(num_labels, hidden=0, n=61):
    """A wide part that is fitted on rows of which the last `hidden` have no label; those rows, and their labels."""
    rows, labels = rows_of(n, num_labels)
    labels[n - hidden :] = -100
    splits = {"train": Dataset.from_dict({"input_ids": rows, "labels": labels.tolist()})}
    for split in ("validation", "unlabelled"):
        splits[split] = Dataset.from_dict({"input_ids": rows_of(40, num_labels, seed=1)[0]})
    part = Wide(SIZE, num_labels)
    validation = wide.start(part, splits, num_labels, STRENGTH)
    return part, splits, rows, labels, validation


@pytest.mark.parametrize("num_labels", [2, 3])
def test_a_row_gets_the_logits_of_a_plain_fit_on_the_other_folds(num_labels):
    part, splits, rows, labels, _ = started(num_labels)
    expected = np.full((len(rows), num_labels), np.nan)
    for k in range(5):
        left_out = fold_rows(labels.tolist(), k, 5)
        others = [i for i in range(len(rows)) if i not in left_out]
        weight = plain_fit([rows[i] for i in others], labels[others], num_labels)
        expected[left_out] = plain_logits([rows[i] for i in left_out], weight)
    size = spread(torch.from_numpy(expected))
    found = np.array(splits["train"]["wide_logits"])
    np.testing.assert_allclose(found, expected / size, atol=1e-3)
    assert spread(torch.from_numpy(found)) == pytest.approx(1) and not found[2].any()
    # The model's own weights are those of all rows.
    weight = plain_fit(rows, labels, num_labels) / size
    np.testing.assert_allclose(columns(part), weight, atol=1e-3)
    assert np.abs(plain_logits(rows, weight) - found).max() > 0.1
    assert not part.weight.requires_grad and part.scale.requires_grad
    assert part.scale.item() == pytest.approx(size, rel=1e-3)  # as strong as it was before the division


def test_rows_without_a_label_get_what_the_part_itself_says():
    part, splits, rows, labels, _ = started(2, hidden=20)
    assert (labels == -100).sum() == 20
    fitted = plain_fit(rows[:41], labels[:41], 2)
    own = columns(part)
    np.testing.assert_allclose(own / np.abs(own).max(), fitted / np.abs(fitted).max(), atol=1e-3)
    found = np.array(splits["train"]["wide_logits"])
    np.testing.assert_allclose(found[41:], plain_logits(rows[41:], own), atol=1e-5)
    assert np.abs(found[:41] - plain_logits(rows[:41], own)).max() > 0.1
    unlabelled = splits["unlabelled"]
    np.testing.assert_allclose(unlabelled["wide_logits"], plain_logits(unlabelled["input_ids"], own), atol=1e-5)


def test_classes_are_told_apart_on_validation():
    for num_labels in (2, 3):
        *_, validation = started(num_labels, n=301)
        labels = rows_of(40, num_labels, seed=1)[1]
        assert (validation.argmax(1).numpy() == labels).mean() > 0.7


def test_a_class_that_a_fold_leaves_out_altogether():
    rows, labels = rows_of(40, 2)
    labels[7] = 2
    splits = {"train": Dataset.from_dict({"input_ids": rows, "labels": labels.tolist()})}
    splits["validation"] = splits["train"]
    part = Wide(SIZE, 4)  # and one that no row has
    validation = wide.start(part, splits, 4, STRENGTH)
    assert np.isfinite(splits["train"]["wide_logits"]).all() and part.weight.isfinite().all()
    assert not (validation.argmax(1) == 3).any()


# ---- complete runs ----


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A file of texts without labels."""
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    made = make_reviews()["train"]["text"][200:260]
    path.write_text("".join(json.dumps({"text": f"{text} {i}."}) + "\n" for i, text in enumerate(made)))
    return str(path)


class Watched(TASK):
    """Keeps the last one that was made; stops as by a power cut before micro-batch `stop_at`, if that is set."""

    last = stop_at = None

    def begin(self, options):
        super().begin(options)
        type(self).last, self.batches = self, 0

    def fit(self, model, options):
        super().fit(model, options)
        self.scale = model.wide.scale.item()

    def inputs(self, batch):
        if self.batches == self.stop_at:
            raise Stopped
        self.batches += 1
        return super().inputs(batch)


def test_a_run_serves_what_it_measured_and_reports_the_part_alone(tmp_path, reviews, texts, served_here):
    results = recipes.run(
        Watched, tmp_path, reviews, model=MODEL, **BRIEF, max_train_steps=4, unlabelled=texts, half_precision=True
    )
    assert results["served"]["largest_difference"] < 1e-4
    assert results["wide"].keys() == {"validation", "seconds"} and 0.5 < results["wide"]["validation"] <= 1
    assert results["model_config"]["wide_size"] == 512
    saved, rows = load_file(tmp_path / "model.safetensors"), Watched.last.rows
    weight = saved["wide.weight"].double().numpy() * np.array([[-0.5, 0.5]])
    assert results["num_parameters"] == sum(tensor.numel() for tensor in saved.values())
    found = wide.presence(rows["unlabelled"]["input_ids"], 512) @ weight
    np.testing.assert_allclose(found, rows["unlabelled"]["wide_logits"], atol=0.01)
    assert abs(saved["wide.scale"].item() - Watched.last.scale) > 1e-3  # it learns
    # A text gets its logits with it, in whatever batch it comes; validation and test have none.
    both, own = all_texts(Watched.last), ["unlabelled", "train"]
    assert both["wide_logits"] == [row for split in own for row in rows[split]["wide_logits"]]
    assert "wide_logits" not in rows["validation"].column_names + rows["test"].column_names
    batch = Watched.last.collate(rows["train"][3:5])
    assert batch["wide_logits"].tolist() == torch.tensor(rows["train"]["wide_logits"][3:5]).tolist()


def test_in_training_the_model_reads_logits_of_other_folds(tmp_path, reviews):
    """With a network that answers nothing, the first loss is theirs."""
    options = {"learning_rate": 0.0, "num_train_epochs": 1, "batch_size": 97, "validation_only": True}
    model = MODEL | {"num_hidden_layers": 0, "pooling": "mean"}
    results = recipes.run(Watched, tmp_path, reviews, model=model, **BRIEF | options)
    rows = Watched.last.rows["train"]
    logits, labels = Watched.last.scale * torch.tensor(rows["wide_logits"]), torch.tensor(rows["labels"])
    expected = torch.nn.functional.cross_entropy(logits, labels).item()
    # Untrained vectors of standard deviation 0.05 move the loss by a little.
    assert results["history"][0]["train_loss"] == pytest.approx(expected, abs=0.02)


def test_a_stopped_run_resumes_to_the_same_weights(tmp_path, reviews, texts, served_here):
    """With both adversaries and all that unlabelled texts teach."""
    objectives = {"virtual_adversarial_weight": 0.5, "entropy_weight": 0.5, "self_training_weight": 0.5, "ema": 0.9}
    options = {"model": MODEL | {"embedding_dropout": 0.3}, **BRIEF, **objectives, "unlabelled": texts}
    options |= {"adversarial_epsilon": 0.05, "num_train_epochs": 1, "checkpointing_steps": 2}
    recipes.run(Watched, tmp_path / "at-once", reviews, **options)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Watched, "stop_at", 9)  # each step reads its batch twice
        recipes.run(Watched, tmp_path / "parts", reviews, **options)
    recipes.run(Watched, tmp_path / "parts", reviews, **options, resume=True)
    at_once, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("at-once", "parts"))
    assert at_once.keys() == parts.keys() and all(torch.equal(at_once[name], parts[name]) for name in parts)


def test_two_processes_learn_what_one_learns(tmp_path, reviews, texts, served_here):
    options = {"model": MODEL, **BRIEF, "unlabelled": texts, "entropy_weight": 0.5, "num_train_epochs": 1}
    options |= {"adversarial_epsilon": 0.05, "gradient_accumulation_steps": 2}
    run(tmp_path / "one", reviews, **options)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "tests.support.recipe_without_fresh_process", "recipes.imdb"]
        + flags(tmp_path / "two", reviews, **options),
        cwd=Path(__file__).parents[2], env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two")]
    assert [results["world_size"] for results in found] == [1, 2]
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert torch.equal(one["wide.weight"], two["wide.weight"])
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=1e-4, rtol=0)


def test_a_checkpoint_is_fitted_anew(tmp_path, reviews, served_here):
    run(tmp_path / "first", reviews, model=MODEL, **BRIEF, max_train_steps=2)
    later = {name: value for name, value in BRIEF.items() if name != "tokenizer"}
    later |= {"model_name_or_path": str(tmp_path / "first"), "max_train_steps": 2, "wide_strength": 0.1}
    run(tmp_path / "second", reviews, **later)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert not torch.allclose(first["wide.weight"], second["wide.weight"], atol=1e-3)


def test_refusals_come_before_any_work(tmp_path):
    with pytest.raises(RecipeError, match="wide_strength is 0.0: it must be above 0"):
        parse(TASK, flags(tmp_path, model=MODEL, wide_strength=0))
    with pytest.raises(RecipeError, match="wide_strength is 3.0, but has no effect .*: set model.wide_size"):
        parse(TASK, flags(tmp_path, model=MODEL | {"wide_size": 0}, wide_strength=3))
    with pytest.raises(RecipeError, match="wide_size and streaming: .*Leave streaming out"):
        parse(TASK, flags(tmp_path, "there.csv", model=MODEL, streaming=True, max_train_steps=3))
