"""What an answer costs on this machine: milliseconds for one text, and texts (words) per second, 32 at a time.

python -m recipes.latency runs/*     asks saved folders, interleaved, and adds `latency` to each one's results.json;
                                     a student's gets the milliseconds of its teachers too, if they are among them

A text goes in raw and comes out as a label, or as its named entities: tokenization and pipeline() are part of the
time.
"""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import torch
from transformers import pipeline
from transformers.utils import logging

import rnnzoo  # noqa: F401  registers the families
from recipes.baselines import BASELINES
from recipes.benchmarks.timing import interleaved
from recipes.report.runs import files, read
from recipes.tasks import task_of
from rnnzoo.data.columns import Columns
from rnnzoo.training.provenance import device_name, git_commit, versions
from rnnzoo.training.task import Description


BATCH, ROUNDS = 32, 3


def asker(folder: Path, results: dict) -> Callable[[list[str], int], list]:
    """A function that answers a text, or a list of texts and a batch size, as a user is answered, on the CPU."""
    if results["model_type"] in BASELINES:
        model = BASELINES[results["model_type"]](folder)

        def answer(texts, batch_size=1):
            texts = [texts] if isinstance(texts, str) else texts
            return [row for i in range(0, len(texts), batch_size) for row in model(texts[i : i + batch_size])]

        return answer
    description = Description.of(results)
    options = description.pipeline_options | description.truncation(results["config"]["max_length"])
    return pipeline(description.pipeline, model=str(folder), device="cpu", **options)


def measure(ask: list[Callable], texts: list[str], counts: dict[str, int]) -> list[dict]:
    """Medians for each of some askers, interleaved.

    Args:
        counts: how many of each thing are in all texts together.
    """
    contenders = dict(enumerate(ask))
    for answer in ask:
        answer(texts[:BATCH], batch_size=BATCH)
    single = interleaved(contenders, texts)
    batched = {number: partial(answer, batch_size=BATCH) for number, answer in contenders.items()}
    many = interleaved(batched, [texts] * ROUNDS)
    return [
        {"milliseconds": round(statistics.median(single[number]), 2)}
        | {
            f"{thing}_per_second": round(1000 * count / statistics.median(many[number]), 1)
            for thing, count in counts.items()
        }
        for number in contenders
    ]


def main(paths: list[str]) -> None:
    """Measures the folders together, those of one data set on its test texts, and writes into each what was found.

    Raises:
        RecipeError: there is no recipe of the task of a folder, or its data set is gone.
    """
    logging.disable_progress_bar()
    groups = defaultdict(list)
    for file in files([Path(path) for path in paths]):
        result = read(file)
        config = result["config"]
        if "test" not in result["metrics"]:
            print(f"left out: {file.parent}, whose run evaluated validation only, and has no card")
            continue
        task = task_of(result)
        # Runs of several tasks on the same texts are interleaved, such as a student with its teachers; a task may also
        # read its data itself.
        data = getattr(task, "corpora", task), task.default_dataset, config["dataset"], Columns.of(config)
        groups[data].append((task, file, result))
    for (_, _, dataset, columns), group in groups.items():
        kind = group[0][0]
        task = kind(kind.load(dataset, seed=0, **columns.as_argument()))
        test, most = task.corpus.splits["test"], task.description.timed_examples
        examples = [test[i] for i in range(0, len(test), max(1, len(test) // most))][:most]
        totals = [task.counts(example) for example in examples]
        counts = {thing: sum(each[thing] for each in totals) for thing in totals[0]}
        circumstances = {
            **counts,
            "device": device_name(torch.device("cpu")),
            "num_threads": torch.get_num_threads(),
            "versions": versions("scikit-learn"),
            "git_commit": git_commit(),
            "measured": datetime.now(timezone.utc).isoformat(),  # the same for all that were interleaved
        }
        ask = [asker(file.parent, result) for _, file, result in group]
        found = measure(ask, [task.text(example) for example in examples], counts)
        of = {(run["model"], run["model_type"]): times for (_, _, run), times in zip(group, found, strict=True)}
        for (_, file, result), times in zip(group, found, strict=True):
            print(file.parent, times)
            for teacher in result.get("distillation", {}).get("teachers", []):
                if times_of_teacher := of.get((teacher["name"], teacher["model_type"])):
                    teacher["milliseconds"] = times_of_teacher["milliseconds"]
            unfinished = file.with_name("results.json.new")
            unfinished.write_text(json.dumps(result | {"latency": times | circumstances}, indent=2) + "\n", "utf-8")
            unfinished.replace(file)
