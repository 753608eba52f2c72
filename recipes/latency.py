"""What an answer costs on this machine: milliseconds for one text, and texts a second, 32 at a time.

python -m recipes.latency runs/*     asks saved folders, in turns, and adds `latency` to each one's results.json

A text goes in as it was written and comes out as a label: tokenization and pipeline() are part of the time.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import pipeline
from transformers.utils import logging

import rnnzoo  # noqa: F401  registers the families
from recipes import data
from recipes.report import files
from recipes.tfidf import Tfidf
from recipes.training import device_name, git_commit, versions


TEXTS, BATCH, ROUNDS = 192, 32, 3


def asker(folder: Path, results: dict) -> Callable[[list[str], int], list]:
    """A function that answers a text, or a list of texts and a batch size, as a user is answered, on the CPU."""
    if results["model_type"] == "tfidf":
        model = Tfidf.load(folder)
        return lambda texts, batch_size=1: model([texts] if isinstance(texts, str) else texts)
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
    """Measures the folders together, and writes into each what was found.

    Raises:
        SystemExit: nothing to measure, or folders of several data sets.
    """
    logging.disable_progress_bar()
    folders = [file.parent for file in files([Path(path) for path in paths])]
    results = [json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in folders]
    sources = {result["config"]["dataset"] for result in results}
    if len(sources) > 1:
        sys.exit(f"error: these folders are of several data sets: {', '.join(sorted(sources))}. Measure each alone.")
    test = data.load("imdb", sources.pop(), seed=0).splits["test"]
    texts = [test[i]["text"] for i in range(0, len(test), max(1, len(test) // TEXTS))][:TEXTS]
    found = measure([asker(folder, result) for folder, result in zip(folders, results, strict=True)], texts)
    circumstances = {
        "texts": len(texts),
        "device": device_name(torch.device("cpu")),
        "num_threads": torch.get_num_threads(),
        "versions": versions("scikit-learn"),
        "git_commit": git_commit(),
    }
    for folder, result, times in zip(folders, results, found, strict=True):
        print(folder, times)
        whole = json.dumps(result | {"latency": times | circumstances}, indent=2) + "\n"
        (folder / "results.json.new").write_text(whole, encoding="utf-8")
        (folder / "results.json.new").replace(folder / "results.json")


if __name__ == "__main__":
    main(sys.argv[1:])
