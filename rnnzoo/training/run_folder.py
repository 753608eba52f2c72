"""The folder that a run writes: model, tokenizer, card, learning curves and, last of all, results.json."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rnnzoo.data.errors import RecipeError
from rnnzoo.training import resume
from rnnzoo.training.card import card
from rnnzoo.training.parity import verify
from rnnzoo.training.task import Task


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
    unfinished = folder / ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        # The configuration says float32 all the same, so that they are loaded as that.
        weights = in_fp16(model) if results["config"]["half_precision"] else None
        model.save_pretrained(unfinished, state_dict=weights)
        tokenizer.save_pretrained(unfinished)
        results["weights_bytes"] = (unfinished / "model.safetensors").stat().st_size
        results["served"] = verify(task, unfinished, predictions, results["config"]["verify_rows"])
        results["probes"] = [probe._asdict() for probe in task.probe(unfinished)]
        (unfinished / "README.md").write_text(card(results), encoding="utf-8")
        draw_curves(results, unfinished / "history.png")
        text = json.dumps(results, indent=2, allow_nan=False) + "\n"
        (unfinished / "results.json").write_text(text, encoding="utf-8")
        (folder / "results.json").unlink(missing_ok=True)
        names = sorted((path.name for path in unfinished.iterdir()), key=lambda name: name == "results.json")
        for name in names:
            (unfinished / name).replace(folder / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    resume.discard(folder)
    return names


def draw_curves(results: dict[str, Any], path: Path) -> None:
    """Learning curves: loss on train and validation, and the metric that selected the epoch."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    history, metric = results["history"], results["description"]["selects"]
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
