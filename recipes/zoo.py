"""What is said of the checkpoints in model_cards/, from their results in recipes/results/.

python -m recipes.zoo     writes their cards, the list in rnnzoo/zoo.json and the README's table
"""

import json
from pathlib import Path
from statistics import mean

from recipes.report.columns import columns, grid, markdown
from recipes.report.committed import ROOT, committed
from recipes.report.pages import filled
from recipes.report.runs import Model, best_by_kind, complete, models, read
from recipes.report.sections import published
from rnnzoo.data.errors import RecipeError
from rnnzoo.training.card import card
from rnnzoo.zoo import NAMESPACE


def checkpoints() -> dict[Path, dict]:
    """The folders of model_cards/ with the results of the run that wrote each: the one that was told its name.

    Raises:
        RecipeError: a folder has no results.
    """
    runs = [run for group in committed().values() for run in group]
    by_id = {run["config"]["hub_model_id"]: run for run in runs if run["config"].get("hub_model_id")}
    folders = sorted(file.parent for file in (ROOT / "model_cards").glob("*/config.json"))
    for folder in folders:
        if f"{NAMESPACE}/{folder.name}" not in by_id:
            raise RecipeError(
                f"{folder} has no results: no file in recipes/results/ is of a run with --hub_model_id "
                f"{NAMESPACE}/{folder.name}. Copy that run's results.json there."
            )
    return {folder: by_id[f"{NAMESPACE}/{folder.name}"] for folder in folders}


def results(folder: Path) -> dict:
    """The results of the run that wrote a folder: in it, or for one of model_cards/ among the committed ones.

    Raises:
        RecipeError: there are none.
    """
    if (folder / "results.json").is_file():
        return read(folder / "results.json")
    found = checkpoints().get(folder.resolve())
    if found is None:
        raise RecipeError(f"{folder} has no results.json, and is not a folder of model_cards/.")
    return found


def card_of(run: dict) -> str:
    """The card of a checkpoint, with the spread over seeds and a comparison, from the committed results."""
    found = models([other for other in complete(committed()[run["dataset"]["name"]]) if same_test(other, run)])
    return card(run, spread=spread(found, run), comparison=comparison(found, run))


def same_test(a: dict, b: dict) -> bool:
    """Whether two runs were measured on the same examples."""
    return a["dataset"]["splits"]["test"] == b["dataset"]["splits"]["test"]


def spread(found: list[Model], run: dict) -> str:
    """What other seeds gave, as a sentence; empty where there are none."""
    runs = next(model.runs for model in found if run in model.runs)
    metric = run["description"]["metric"]
    scores = [other["metrics"]["test"][metric] for other in runs]
    if len(scores) < 2:
        return ""
    seeds = ", ".join(str(seed) for seed in sorted(other["seed"] for other in runs))
    return f"Seeds {seeds}: test {metric} {mean(scores):.4f} on average, {min(scores):.4f} to {max(scores):.4f}."


def comparison(found: list[Model], run: dict) -> str:
    """The model beside the best of each kind, and what others have published."""
    best = [model.name for model in best_by_kind(found).values()]
    shown: list[Model] = [model for model in found if model.name in best or run in model.runs]
    remarks = "".join(f"; {model.name} is {model.checkpoint}" for model in shown if model.checkpoint)
    return (
        f"## Comparison\n\nThis model and the best of each kind by validation, on the same test split{remarks}. All "
        "models, and what the columns mean, are in `recipes/RESULTS.md` of rnnzoo's repository.\n\n"
        f"{grid(columns(shown[0]), shown)}{published(run['dataset'])}"
    )


def row(folder: Path, run: dict) -> dict:
    """What `rnnzoo.list_models` says of a checkpoint."""
    metrics = {name: value for name, value in run["metrics"]["test"].items() if not isinstance(value, dict)}
    return {
        "name": folder.name,
        "task": run["kind"],
        "dataset": run["dataset"]["name"],
        "metrics": {name: round(value, 4) for name, value in metrics.items()},
        "num_parameters": run["num_parameters"],
        "megabytes": round(run["weights_bytes"] / 1e6, 1),
    }


def table(found: dict[Path, dict]) -> str:
    """The README's, with the metric that each is compared by."""
    rows = []
    for folder, run in found.items():
        metric, listed = run["description"]["metric"], row(folder, run)
        link = f"[{folder.name}](model_cards/{folder.name}/README.md)"
        score = f"{metric} {listed['metrics'][metric]:.4f}"
        rows.append([link, listed["task"], listed["dataset"], score, str(listed["megabytes"])])
    return markdown(["name", "task", "trained on", "test", "MB"], rows)


def texts() -> dict[Path, str]:
    """Everything that is written, by its place."""
    found = checkpoints()
    return {
        **{folder / "README.md": card_of(run) for folder, run in found.items()},
        ROOT / "rnnzoo" / "zoo.json": json.dumps([row(*pair) for pair in found.items()], indent=2) + "\n",
        ROOT / "README.md": filled(ROOT / "README.md", {"zoo": table(found)}),
    }


if __name__ == "__main__":
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")
        print(f"written to {path.relative_to(ROOT)}")
