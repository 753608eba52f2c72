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

import torch
from transformers import pipeline
from transformers.utils import logging

import rnnzoo  # noqa: F401  registers the families
from recipes import data
from recipes.tfidf import Tfidf
from recipes.training import device_name, git_commit, versions


TEXTS, BATCH, ROUNDS = 192, 32, 3


def asker(folder: Path, results: dict) -> Callable[[list[str], int], list]:
    """A function of texts and a batch size that answers as the folder's users are answered, on the CPU."""
    if results["model_type"] == "tfidf":
        model = Tfidf.load(folder)
        return lambda texts, batch_size: model(texts)
    longest = results["config"]["max_length"]
    cut = {"truncation": True, "max_length": longest} if longest else {}
    return pipeline("text-classification", model=str(folder), device="cpu", **cut)


def measure(ask: dict[str, Callable], texts: list[str]) -> dict[str, dict]:
    """For each of some askers, medians; they take turns, so that a drift of the machine meets all."""
    single = {name: [] for name in ask}
    many = {name: [] for name in ask}
    for answer in ask.values():
        answer(texts[:BATCH], batch_size=BATCH)
    for text in texts:
        for name, answer in ask.items():
            started = time.perf_counter()
            answer([text], batch_size=1)
            single[name].append(time.perf_counter() - started)
    for _ in range(ROUNDS):
        for name, answer in ask.items():
            started = time.perf_counter()
            answer(texts, batch_size=BATCH)
            many[name].append(time.perf_counter() - started)
    return {
        name: {
            "milliseconds": round(1000 * statistics.median(single[name]), 2),
            "texts_per_second": round(len(texts) / statistics.median(many[name]), 1),
        }
        for name in ask
    }


def main(paths: list[str]) -> None:
    """Measures the folders together, and writes into each what was found.

    Raises:
        SystemExit: a folder without a results.json, or folders of different data sets.
    """
    logging.disable_progress_bar()
    folders = {path: Path(path) for path in paths}
    for folder in folders.values():
        if not (folder / "results.json").is_file():
            sys.exit(f"error: there is no results.json in {folder}: give folders that a recipe has written.")
    if not folders:
        sys.exit("error: give the folders that a recipe has written: python -m recipes.latency runs/*")
    results = {
        path: json.loads((folder / "results.json").read_text(encoding="utf-8")) for path, folder in folders.items()
    }
    sources = {result["config"]["dataset"] for result in results.values()}
    if len(sources) > 1:
        sys.exit(f"error: these folders are of several data sets: {', '.join(sorted(sources))}. Measure each alone.")
    test = data.load("imdb", sources.pop(), seed=0).splits["test"]
    texts = [test[i]["text"] for i in range(0, len(test), max(1, len(test) // TEXTS))][:TEXTS]
    found = measure({path: asker(folder, results[path]) for path, folder in folders.items()}, texts)
    circumstances = {
        "texts": len(texts),
        "device": device_name(torch.device("cpu")),
        "num_threads": torch.get_num_threads(),
        "versions": versions("scikit-learn"),
        "git_commit": git_commit(),
    }
    for path, folder in folders.items():
        print(path, found[path])
        whole = json.dumps(results[path] | {"latency": found[path] | circumstances}, indent=2) + "\n"
        (folder / "results.json.new").write_text(whole, encoding="utf-8")
        (folder / "results.json.new").replace(folder / "results.json")


if __name__ == "__main__":
    main(sys.argv[1:])
