"""The folder that a run writes: model, tokenizer, card, learning curves and, last of all, results.json."""

import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rnnzoo.data.catalog import KNOWN
from rnnzoo.data.errors import RecipeError
from rnnzoo.training import resume
from rnnzoo.training.card import card
from rnnzoo.training.parity import verify
from rnnzoo.training.task import Task


# A larger confusion matrix cannot be read; more errors are not read.
MOST_CLASSES, MOST_ERRORS = 30, 20


def in_fp16(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights in half precision.

    Raises:
        RecipeError: one of them exceeds its range.
    """
    weights = {
        name: weight.half() if weight.is_floating_point() else weight for name, weight in model.state_dict().items()
    }
    beyond = [name for name, weight in weights.items() if not weight.isfinite().all()]
    if beyond:
        raise RecipeError(f"A weight of {beyond[0]} exceeds the fp16 maximum 65,504: drop --half_precision.")
    return weights


def write(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    results: dict[str, Any],
    task: Task,
    predictions: list,
) -> list[str]:
    """Writes a run's folder and returns the names of its files; where results.json is, the folder is complete.

    Everything is written beside the folder's old contents first, and moved into place once the pipeline on the new
    files has reproduced `predictions`, the evaluation of the test split.
    """
    with beside(folder) as unfinished:
        save(unfinished, model, tokenizer, results)
        results["served"] = verify(task, unfinished, predictions, results["config"]["verify_rows"])
        examples = task.corpus.splits["test"]
        rows = list(task.table(examples, predictions))
        if not shows_examples(results):
            rows = [{name: value for name, value in row.items() if name != "text"} for row in rows]
        write_csv(unfinished / "predictions.csv", rows)
        results["errors"] = confident_errors(rows) if shows_examples(results) else []
        matrix = task.confusion(predictions, task.references(examples))
        if matrix is not None and len(matrix) <= MOST_CLASSES:
            draw_confusion(matrix, task.labels, unfinished / "confusion.png")
        results["probes"] = [probe._asdict() for probe in task.probe(unfinished)]
        (unfinished / "README.md").write_text(card(results), encoding="utf-8")
        draw_curves(results, unfinished / "history.png")
        write_results(unfinished, results)
        for name in ("results.json", "confusion.png"):  # of an older run; not every run has a confusion matrix
            (folder / name).unlink(missing_ok=True)
        names = move(unfinished, folder)
    resume.discard(folder)
    return names


def write_untested(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, results: dict[str, Any]
) -> None:
    """Writes the folder of a run that evaluated no test split: model, tokenizer and, last, results.json."""
    with beside(folder) as unfinished:
        save(unfinished, model, tokenizer, results)
        write_results(unfinished, results)
        (folder / "results.json").unlink(missing_ok=True)
        move(unfinished, folder)
    resume.discard(folder)


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """An empty folder within this one, for files that are moved into place when they are complete; then removed."""
    unfinished = folder / ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        yield unfinished
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def check_free(folder: Path) -> None:
    """Refuses a folder with a card for a run that writes none: the card would be taken for the new model's.

    Raises:
        RecipeError: there is one.
    """
    if (folder / "README.md").exists():
        raise RecipeError(
            f"output_dir {folder} has the card and the test scores of another model, and validation_only would leave "
            "them beside its own: choose another --output_dir."
        )


def save(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, results: dict[str, Any]) -> None:
    """Saves model and tokenizer, and notes the size of the weights in the results."""
    # With half_precision too, the configuration says float32, so that they are loaded as that.
    weights = in_fp16(model) if results["config"]["half_precision"] else None
    model.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)
    results["weights_bytes"] = (folder / "model.safetensors").stat().st_size


def write_results(folder: Path, results: dict[str, Any]) -> None:
    """Writes results.json."""
    text = json.dumps(results, indent=2, allow_nan=False) + "\n"
    (folder / "results.json").write_text(text, encoding="utf-8")


def move(unfinished: Path, folder: Path) -> list[str]:
    """Moves complete files into place, results.json last, and returns their names."""
    names = sorted((path.name for path in unfinished.iterdir()), key=lambda name: name == "results.json")
    for name in names:
        (unfinished / name).replace(folder / name)
    return names


def draw_curves(results: dict[str, Any], path: Path) -> None:
    """Learning curves: loss on train and validation, and the metric that selected the epoch."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    history, metric = results["history"], results["selected_by"]
    epochs = [record["epoch"] for record in history]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    left.plot(epochs, [record["train_loss"] for record in history], marker="o", label="train")
    left.plot(epochs, [record["validation"]["loss"] for record in history], marker="o", label="validation")
    left.set(xlabel="epoch", title="loss")
    left.legend()
    right.plot(epochs, [record["validation"][metric] for record in history], marker="o", label="validation")
    right.axvline(results["best_epoch"], color="grey", linestyle=":", label="selected")
    right.set(xlabel="epoch", title=metric)
    right.legend()
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(f"{results['model']} on {results['dataset']['name']}, seed {results['seed']}")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def shows_examples(results: dict[str, Any]) -> bool:
    """Whether texts of the data may be written: not if they are pushed, or if the user or the data's terms say no."""
    config, known = results["config"], KNOWN.get(results["dataset"]["name"])
    return not (config["no_examples"] or config["push_to_hub"]) and (known is None or known.share_texts)


def confident_errors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The most confident wrong answers, shortened for the card."""
    wrong = [row for row in rows if "probability" in row and row["label"] != row["prediction"]]
    wrong = sorted(wrong, key=lambda row: -row["probability"])[:MOST_ERRORS]
    kept = ("text", "label", "prediction", "probability")
    return [{name: row[name][:200] if name == "text" else row[name] for name in kept} for row in wrong]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows with a header, as spreadsheets read them."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def draw_confusion(matrix: np.ndarray, labels: list[str], path: Path) -> None:
    """A confusion matrix: the counts, and as shades the share of each right class."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    size = 2.5 + 0.5 * len(labels)
    figure, axes = plt.subplots(figsize=(size + 1, size), layout="constrained")
    shares = matrix / matrix.sum(1, keepdims=True).clip(min=1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (right, found), count in np.ndenumerate(matrix):
        axes.text(
            found,
            right,
            f"{count:,}",
            ha="center",
            va="center",
            color="white" if shares[right, found] > 0.5 else "black",
        )
    axes.set(xticks=range(len(labels)), yticks=range(len(labels)), xlabel="predicted", ylabel="right", title="test")
    axes.set_xticklabels(labels, rotation=45, ha="right")
    axes.set_yticklabels(labels)
    figure.savefig(path, dpi=100)
    plt.close(figure)
