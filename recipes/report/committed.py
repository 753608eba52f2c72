"""The results that this repository shows, and the configurations that there should be results of."""

import re
from pathlib import Path

from recipes.report.runs import read


ROOT = Path(__file__).parents[2]
RESULTS, CONFIGS = ROOT / "recipes" / "results", ROOT / "recipes" / "configs"

# The folder of results with the runs that evaluated validation only.
PARTS = "parts"

# Models that have no YAML file, but a script of their own, by data set.
BASELINES = {"imdb": ["tfidf", "nb-tfidf", "tfidf-films", "nb-tfidf-films"]}


def committed() -> dict[str, list[dict]]:
    """The results by data set: task by task, the default data set of each task first."""
    found = {}
    for folder in sorted(path for path in RESULTS.iterdir() if path.is_dir() and path.name != PARTS):
        results = [read(file) for file in sorted(folder.glob("*.json"))]
        for result in sorted(results, key=lambda result: (not is_default(result), result["dataset"]["name"])):
            found.setdefault(result["dataset"]["name"], []).append(result)
    return {dataset: sorted(group, key=lambda result: result["model"]) for dataset, group in found.items()}


def committed_parts() -> list[dict]:
    """The runs that compare the parts of a model's training on validation."""
    return [read(file) for file in sorted((RESULTS / PARTS).glob("**/*.json"))]


def is_default(result: dict) -> bool:
    """Whether a run was on the data set that its task takes where none is named."""
    return result["config"]["dataset"] == "auto"


def configurations(dataset: str, results: list[dict]) -> list[str]:
    """The configurations that there should be results of, given those of this data set."""
    tasks, default = {result["task"] for result in results}, any(map(is_default, results))
    names = []
    for path in sorted(path for task in tasks for path in (CONFIGS / task).glob("*.yaml")):
        given = re.search(r"^dataset: *(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        if given[1] == dataset if given else default:
            names.append(path.stem)
    return names + BASELINES.get(dataset, [])
