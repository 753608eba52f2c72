"""The tasks of this repository, by the names that results.json files carry."""

import importlib
from typing import Any

from rnnzoo.data.errors import RecipeError
from rnnzoo.training.task import Task


def task_of(results: dict[str, Any]) -> type[Task]:
    """The task that a run trained: that of the recipe recipes/<task>.py.

    Raises:
        RecipeError: there is no such recipe.
    """
    name = results["task"]
    if name.isidentifier():
        try:
            return importlib.import_module(f"recipes.{name}").TASK
        except (ModuleNotFoundError, AttributeError) as error:
            if getattr(error, "name", None) not in (f"recipes.{name}", "TASK"):
                raise
    raise RecipeError(f"The results are of the task {name!r:.60}, and there is no recipes/{name}.py with a TASK.")
