"""Recipes run by tests: their flags, a run in this process, and the pipeline asked in this process too."""

import json
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState, GradientState
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from rnnzoo.scoring import score_texts
from rnnzoo.training.run import run as run_recipe
from rnnzoo.training.task import Task


def flags(folder: Path | str, dataset: Path | str = "made", **options: Any) -> list[str]:
    """The command line of a run that writes into `folder`."""
    given = {"output_dir": str(folder), "dataset": str(dataset), **options}
    return [part for name, value in given.items() for part in (f"--{name}", json.dumps(value))]


def run(task: type[Task], folder: Path | str, dataset: Path | str = "made", **options: Any) -> dict[str, Any]:
    """Runs a recipe in this process, and returns what is in its results.json."""
    fresh_accelerator()
    return run_recipe(task, flags(folder, dataset, **options))


def fresh_accelerator() -> None:
    """Lets the next run of this process choose its own settings; accelerate keeps those of the first one."""
    AcceleratorState._reset_state()
    GradientState._reset_state()


def answered_here(folder: Path, name: str, texts: list[str], batch_size: int, **options: Any) -> list:
    """In place of `rnnzoo.training.parity.answers`: asks the pipeline in this process, as a new one takes seconds."""
    if name == "score":
        model, tokenizer = (auto.from_pretrained(folder) for auto in (AutoModelForCausalLM, AutoTokenizer))
        found = list(score_texts(model, tokenizer, texts, batch_size))
    else:
        found = pipeline(name, model=str(folder))(texts, batch_size=batch_size, **options)
    return json.loads(json.dumps(found, default=float))
