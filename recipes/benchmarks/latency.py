"""What an answer costs on this machine: milliseconds for one text, and texts (words) per second, 32 at a time.

python -m recipes.latency runs/*     asks saved folders, interleaved, and adds `latency` to each one's results.json;
                                     a student's gets the milliseconds of its teachers too, if they are among them
python -m recipes.latency runs/* --results recipes/results
                                     adds it to the results of the same names there instead. Their weights may be gone:
                                     an answer takes as long whatever the values of the weights are, so a run of one
                                     step is as good as the one that was evaluated

A text goes in raw and comes out as a label, or as its named entities: tokenization and pipeline() are part of the
time.
"""

import argparse
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
from rnnzoo.data.errors import RecipeError
from rnnzoo.training.provenance import device_name, git_commit, versions
from rnnzoo.training.task import Description


BATCH, ROUNDS = 32, 9


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


def destination(file: Path, result: dict, place: Path) -> Path:
    """The file, anywhere in a folder, with the results of the run of this name on the same data; else the run's own.

    Raises:
        RecipeError: that run is of another model.
    """
    for other in sorted(place.glob(f"**/{result['model']}.json")):
        theirs = read(other)
        if theirs["dataset"]["name"] != result["dataset"]["name"]:
            continue
        ours, expected = ((run["model_type"], run["num_parameters"]) for run in (result, theirs))
        if ours != expected:
            raise RecipeError(
                f"{file.parent} is a {ours[0]} of {ours[1]:,} parameters and {other} is of a {expected[0]} of "
                f"{expected[1]:,}, so that the times of the one are not those of the other."
            )
        return other
    return file


def add(file: Path, latency: dict, of: dict[tuple[str, str], dict]) -> None:
    """Writes times into a run's results, and those of its teachers.

    Args:
        of: times by name and type of the model.
    """
    result = json.loads(file.read_text(encoding="utf-8"))
    for teacher in result.get("distillation", {}).get("teachers", []):
        if times := of.get((teacher["name"], teacher["model_type"])):
            teacher["milliseconds"] = times["milliseconds"]
    unfinished = file.with_name(f"{file.name}.new")
    unfinished.write_text(json.dumps(result | {"latency": latency}, indent=2) + "\n", "utf-8")
    unfinished.replace(file)


def main(arguments: list[str]) -> None:
    """Measures the folders together, those of one data set on its test texts, and writes what was found.

    Raises:
        RecipeError: there is no recipe of the task of a folder, its data set is gone, a folder is of another model
            than the results of its name, or two folders have one name.
    """
    parser = argparse.ArgumentParser(prog="recipes.latency", description="What an answer costs on this machine.")
    parser.add_argument("folders", nargs="*", type=Path, help="folders that a recipe has written")
    parser.add_argument(
        "--results", type=Path, metavar="FOLDER", help="add the times to the results of the same names in this folder"
    )
    options = parser.parse_args(arguments)
    if options.results and not options.results.is_dir():
        raise RecipeError(f"--results is {options.results}, and there is no such folder.")
    logging.disable_progress_bar()
    groups, taken = defaultdict(list), {}
    for file in files(options.folders):
        result = read(file)
        config = result["config"]
        task = task_of(result)
        to = destination(file, result, options.results) if options.results else file
        if other := taken.get(to):
            raise RecipeError(f"{other.parent} and {file.parent} are both of the name of {to}: give one of them.")
        taken[to] = file
        # Runs of several tasks on the same texts are interleaved, such as a student with its teachers; a task may also
        # read its data itself.
        data = getattr(task, "corpora", task), task.default_dataset, config["dataset"], Columns.of(config)
        groups[data].append((task, file, result, to))
    commit = git_commit()  # now: the results that are written may be files of the repository
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
            "git_commit": commit,
            "measured": datetime.now(timezone.utc).isoformat(),  # the same for all that were interleaved
        }
        ask = [asker(file.parent, result) for _, file, result, _ in group]
        found = measure(ask, [task.text(example) for example in examples], counts)
        of = {(run["model"], run["model_type"]): times for (_, _, run, _), times in zip(group, found, strict=True)}
        for (_, file, _, to), times in zip(group, found, strict=True):
            print(f"{file.parent}: {times}, written to {to}")
            add(to, times | circumstances, of)
