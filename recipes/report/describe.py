"""Adds what the results of older runs do not say of their task: its kind, its description, which options decide.

python -m recipes.report.describe FILE ...     rewrites results.json files in place; values that are there stay
"""

import json
import sys
from pathlib import Path
from typing import Any

from recipes.tasks import task_of
from rnnzoo.training.options import incidental


def described(results: dict[str, Any]) -> dict[str, Any]:
    """The same results, with what newer ones say of their task; by the recipe that bears the task's name."""
    task = task_of(results)
    known = task.record() | results  # what is there stays, and the order is that of a run
    return known | {"incidental_options": results.get("incidental_options", incidental(task.Options))}


def main(paths: list[str]) -> None:
    """Rewrites the files."""
    for path in map(Path, paths):
        found = json.loads(path.read_text(encoding="utf-8"))
        if "task" in found and "config" in found:
            path.write_text(json.dumps(described(found), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
