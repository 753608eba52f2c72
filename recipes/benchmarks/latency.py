"""What an answer costs on this machine: milliseconds for one text, and texts (words) a second, 32 at a time.

python -m recipes.latency runs/*     asks saved folders, in turns, and adds `latency` to each one's results.json

A text goes in as it was written and comes out as a label, or as its named entities: tokenization and pipeline() are
part of the time.
"""

import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import pipeline
from transformers.utils import logging

import rnnzoo  # noqa: F401  registers the families
from recipes.baselines.tfidf import Tfidf
from recipes.report.tables import files
from rnnzoo.data import sentences as tagged
from rnnzoo.data import texts as data
from rnnzoo.data.errors import RecipeError
from rnnzoo.tasks import classify as imdb
from rnnzoo.training.loop import device_name, git_commit, versions


BATCH, ROUNDS = 32, 3


class Task(NamedTuple):
    """How the folders of a task are asked.

    load: the corpus that `dataset` and `seed` name.
    rows: so many of its test split are asked about; with 512 sentences, a dozen taggers take two minutes.
    text: a row as it was written.
    counts: what a row has of each thing that is counted by the second.
    pipeline: that answers, and in `options` what it is told besides, by results.json.
    """

    load: Callable
    rows: int
    text: Callable[[dict], str]
    counts: dict[str, Callable[[dict], int]]
    pipeline: str
    options: Callable[[dict], dict[str, Any]]


TASKS = {
    "imdb": Task(
        load=partial(data.load, "imdb"),
        rows=192,
        text=lambda row: row["text"],
        counts={"texts": lambda row: 1},
        pipeline="text-classification",
        options=lambda results: imdb.cut_to(results["config"]["max_length"]),
    ),
    "ner": Task(
        load=tagged.load,
        rows=512,
        text=lambda row: " ".join(row["tokens"]),
        counts={"texts": lambda row: 1, "words": lambda row: len(row["tokens"])},
        pipeline="token-classification",
        options=lambda results: {"aggregation_strategy": "simple"},
    ),
}


def asker(folder: Path, results: dict) -> Callable[[list[str], int], list]:
    """A function that answers a text, or a list of texts and a batch size, as a user is answered, on the CPU."""
    if results["model_type"] == "tfidf":
        model = Tfidf.load(folder)

        def answer(texts, batch_size=1):
            texts = [texts] if isinstance(texts, str) else texts
            return [row for i in range(0, len(texts), batch_size) for row in model(texts[i : i + batch_size])]

        return answer
    task = TASKS[results["task"]]
    return pipeline(task.pipeline, model=str(folder), device="cpu", **task.options(results))


def measure(ask: list[Callable], texts: list[str], counts: dict[str, int]) -> list[dict]:
    """For each of some askers, medians; they take turns, so that a drift of the machine meets all.

    Args:
        counts: how many of each thing are in all texts together.
    """
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
        {"milliseconds": round(1000 * statistics.median(one), 2)}
        | {f"{thing}_per_second": round(count / statistics.median(all_), 1) for thing, count in counts.items()}
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
    if others := {task for task, _ in groups} - set(TASKS):
        raise RecipeError(f"There is a folder of {', '.join(others)}: only those of {', '.join(TASKS)} can be timed.")
    for (name, dataset), group in groups.items():
        task = TASKS[name]
        test = task.load(dataset, seed=0).splits["test"]
        rows = [test[i] for i in range(0, len(test), max(1, len(test) // task.rows))][: task.rows]
        counts = {thing: sum(map(count, rows)) for thing, count in task.counts.items()}
        circumstances = {
            **counts,
            "device": device_name(torch.device("cpu")),
            "num_threads": torch.get_num_threads(),
            "versions": versions("scikit-learn"),
            "git_commit": git_commit(),
            "measured": datetime.now(timezone.utc).isoformat(),  # the same for all that were measured in turns
        }
        ask = [asker(file.parent, result) for file, result in group]
        found = measure(ask, [task.text(row) for row in rows], counts)
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
