"""What is measured is what is served: answers of a saved folder through pipeline(), compared with the evaluation."""

from pathlib import Path
from typing import Any

from datasets import Dataset

from rnnzoo.training.fresh_process import answers
from rnnzoo.training.task import Task


# How far a served probability may lie from its measured value: rounding, and nothing else.
TOLERANCE = 1e-4


def served(task: Task, folder: Path, examples: Dataset, batch_size: int) -> list:
    """The predictions for some examples of the corpus, as the folder's pipeline gives them for their texts."""
    options = task.description.pipeline_options if task.parity_options is None else task.parity_options
    options = options | task.description.truncation(task.max_length)
    if task.parity_pipeline:
        options = {}
    texts = [task.text(example) for example in examples]
    found = answers(folder, task.parity_pipeline or task.description.pipeline, texts, batch_size, **options)
    return [task.read_answer(answer, example) for answer, example in zip(found, examples, strict=True)]


def verify(task: Task, folder: Path, predictions: list, rows: int) -> dict[str, Any]:
    """Asks the folder's pipeline for evenly spaced test examples, one by one and 32 at a time.

    Args:
        predictions: those that were measured, for every example of the test split.
        rows: about how many examples to ask about.

    Returns:
        For results.json: the number of examples, their score at each batch size, and the largest difference.

    Raises:
        RuntimeError: an answer differs from what was measured.
    """
    test = task.corpus.splits["test"]
    chosen = list(range(0, len(test), max(1, len(test) // rows)))
    examples, metric = test.select(chosen), task.description.metric
    totals = [task.counts(example) for example in examples]
    proof = {
        "rows": len(chosen),
        **{thing: sum(counts[thing] for counts in totals) for thing in totals[0]},
        metric: {},
        "largest_difference": 0.0,
    }
    for batch_size in (1, 32):
        found = served(task, folder, examples, batch_size)
        for index, answer in zip(chosen, found, strict=True):
            gap = task.gap(answer, predictions[index])
            if not gap <= TOLERANCE:  # NaN is no agreement either
                raise RuntimeError(
                    f"What is served is not what was measured: for test example {index} pipeline() at batch size "
                    f"{batch_size} gives {answer!r:.300}, the evaluation {predictions[index]!r:.300}. "
                    "No results.json is written."
                )
            proof["largest_difference"] = max(proof["largest_difference"], gap)
        proof[metric][f"batch_{batch_size}"] = task.metrics(found, task.references(examples))[metric]
    return proof


def score(task: Task, folder: Path) -> dict[str, Any]:
    """The metrics of a folder's pipeline on the entire test split."""
    test = task.corpus.splits["test"]
    by_length = sorted(range(len(test)), key=lambda index: len(task.text(test[index])))  # less padding
    examples = test.select(by_length)
    return task.metrics(served(task, folder, examples, 32), task.references(examples))
