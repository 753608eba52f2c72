"""The task that a labelled table is for, by its columns: `rnnzoo train` needs no other word of it."""

import argparse

from rnnzoo.data.columns import Columns
from rnnzoo.data.errors import DataError, RecipeError
from rnnzoo.tasks.classify import Classify
from rnnzoo.tasks.tag import Tag
from rnnzoo.training import command_line
from rnnzoo.training.task import Task


TASKS: dict[str, type[Task]] = {task.name: task for task in (Classify, Tag)}


def choose(argv: list[str]) -> tuple[type[Task], list[str]]:
    """The task and the remaining flags: that of `--task`, else the first one that can read the data set.

    Raises:
        RecipeError: there is no data set, or no task can read it.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--task")
    named, rest = parser.parse_known_args(argv)
    if named.task is not None:
        if named.task not in TASKS:
            raise RecipeError(command_line.unknown(named.task, set(TASKS), "--task"))
        return TASKS[named.task], rest
    if not rest or {"-h", "--help"} & set(rest):
        return Classify, ["--help"]
    # Options of either task may be among them: here only those that say where the data is, and which columns.
    parser.add_argument("--dataset")
    for name in ("text_column", "label_column", "tokens_column", "tags_column", "encoding"):
        parser.add_argument(f"--{name}")
    known, _ = parser.parse_known_args(rest)
    if known.dataset in (None, "auto"):
        raise RecipeError("Which data? Give --dataset: a file, a folder, or the id of a data set on the Hub.")
    if known.dataset == "made":
        return Classify, rest  # both tasks have synthetic data: --task tag chooses the other
    columns, faults = Columns.of({name: value for name, value in vars(known).items() if value is not None}), {}
    for name, task in TASKS.items():
        try:
            task.corpora.first(known.dataset, columns)
            return task, rest
        except DataError as error:
            faults[name] = str(error)
    raise RecipeError(
        "The data fits no task. " + " ".join(f"As data to {name}: {fault}" for name, fault in faults.items())
    )
