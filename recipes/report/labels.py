"""The curve over the number of labels: runs with `train_examples`, a line for each configuration."""

from collections import defaultdict

from recipes.report.columns import markdown, score
from recipes.report.runs import Model, few_labels, models


def lines(results: list[dict]) -> dict[str, dict[int, Model]]:
    """Models by name, without their number of labels, and by that number: lstm-500 is a point of the line lstm.

    Raises:
        ValueError: two models are the same point.
    """
    found = defaultdict(dict)
    for model in models(few_labels(results)):
        number = model.runs[0]["config"]["train_examples"]
        line = found[model.configuration]
        if number in line:
            raise ValueError(
                f"{line[number].name} and {model.name} are both of {number} labels: give them different names."
            )
        line[number] = model
    return {name: dict(sorted(line.items())) for name, line in found.items()}


def labels(results: list[dict], prefix: str) -> str:
    """The table and the picture of the curve; empty where there is none."""
    found = lines(results)
    if not found:
        return ""
    task = next(iter(next(iter(found.values())).values())).task
    numbers = sorted({number for line in found.values() for number in line})
    rows = [
        [name, *(score(line[number]) if number in line else "–" for number in numbers)] for name, line in found.items()
    ]
    return (
        f"\n### The number of labels\n\nTest {task.metric} by the number of labelled training examples: mean over the "
        "seeds, lowest, highest; without brackets, one seed.\n\n"
        f"{markdown(['model', *(f'{number:,}' for number in numbers)], rows)}"
        f"\n![{task.metric} against the number of labels](pictures/{prefix}-labels.png)\n"
    )
