"""What an answer costs on this machine: milliseconds for one text, and texts a second, 32 at a time.

python -m recipes.latency runs/*     asks saved folders, in turns, and adds `latency` to each one's results.json

A text goes in as it was written and comes out as a label: tokenization and pipeline() are part of the time.
"""

import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from transformers import pipeline
from transformers.utils import logging

import rnnzoo  # noqa: F401  registers the families
from recipes import data
from recipes.command_line import RecipeError
from recipes.report import files
from recipes.tfidf import Tfidf
from recipes.training import device_name, git_commit, versions


TEXTS, BATCH, ROUNDS = 192, 32, 3


def asker(folder: Path, results: dict) -> Callable[[list[str], int], list]:
    """A function that answers a text, or a list of texts and a batch size, as a user is answered, on the CPU."""
    if results["model_type"] == "tfidf":
        model = Tfidf.load(folder)

        def answer(texts, batch_size=1):
            texts = [texts] if isinstance(texts, str) else texts
            return [row for i in range(0, len(texts), batch_size) for row in model(texts[i : i + batch_size])]

        return answer
    longest = results["config"]["max_length"]
    cut = {"truncation": True, "max_length": longest} if longest else {}
    return pipeline("text-classification", model=str(folder), device="cpu", **cut)


def measure(ask: list[Callable], texts: list[str]) -> list[dict]:
    """For each of some askers, medians; they take turns, so that a drift of the machine meets all."""
    single, many = ([[] for _ in ask] for _ in range(2))
    for answer in ask:
        answer(texts[:BATCH], batch_size=BATCH)
    for text in texts:
        for answer, times in zip(ask, single, strict=True):
            times.append(seconds(answer, text))
    for _ in range(ROUNDS):
        for answer, times in zip(ask, many, strict=True):
            times.append(seconds(answer, texts, batch_size=BATCH))
    return [
        {
            "milliseconds": round(1000 * statistics.median(one), 2),
            "texts_per_second": round(len(texts) / statistics.median(all_), 1),
        }
        for one, all_ in zip(single, many, strict=True)
    ]


def seconds(answer: Callable, *args: Any, **kwargs: Any) -> float:
    """How long the answer takes."""
    started = time.perf_counter()
    answer(*args, **kwargs)
    return time.perf_counter() - started


def main(paths: list[str]) -> None:
    """Measures the folders together, those of one data set on its test texts, and writes into each what was found."""
    logging.disable_progress_bar()
    groups = defaultdict(list)
    for file in files([Path(path) for path in paths]):
        result = json.loads(file.read_text(encoding="utf-8"))
        groups[result["task"], result["config"]["dataset"]].append((file, result))
    if others := {task for task, _ in groups} - {"imdb"}:
        raise RecipeError(f"Only classifiers of texts can be timed, and there is a folder of {', '.join(others)}.")
    for (task, dataset), group in groups.items():
        test = data.load(task, dataset, seed=0).splits["test"]
        texts = [test[i]["text"] for i in range(0, len(test), max(1, len(test) // TEXTS))][:TEXTS]
        circumstances = {
            "texts": len(texts),
            "device": device_name(torch.device("cpu")),
            "num_threads": torch.get_num_threads(),
            "versions": versions("scikit-learn"),
            "git_commit": git_commit(),
            "measured": datetime.now(timezone.utc).isoformat(),  # the same for all that were measured in turns
        }
        found = measure([asker(file.parent, result) for file, result in group], texts)
        for (file, result), times in zip(group, found, strict=True):
            print(file.parent, times)
            unfinished = file.with_name("results.json.new")
            unfinished.write_text(json.dumps(result | {"latency": times | circumstances}, indent=2) + "\n", "utf-8")
            unfinished.replace(file)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except RecipeError as error:
        sys.exit(f"error: {error}")
