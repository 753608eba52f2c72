"""What is said of the checkpoints in model_cards/, made from their results.json files.

python -m recipes.zoo     writes their cards and code, the list in rnnzoo/zoo.json and the README's table
"""

import json
from pathlib import Path

from recipes.report import tables as report
from rnnzoo.training.card import TASKS, card


ROOT = Path(__file__).parents[1]


def folders() -> list[Path]:
    """Those of the checkpoints, by name."""
    return sorted(file.parent for file in (ROOT / "model_cards").glob("*/results.json"))


def results(folder: Path) -> dict:
    """What its recipe found."""
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def row(folder: Path) -> dict:
    """What `rnnzoo.list_models` says of a checkpoint."""
    run = results(folder)
    metrics = {name: value for name, value in run["metrics"]["test"].items() if not isinstance(value, dict)}
    return {
        "name": folder.name,
        "task": TASKS[run["task"]].pipeline,
        "dataset": run["dataset"]["name"],
        "metrics": {name: round(value, 4) for name, value in metrics.items()},
        "num_parameters": run["num_parameters"],
        "megabytes": round(run["weights_bytes"] / 1e6, 1),
    }


def table(rows: list[dict]) -> str:
    """The README's, with what each is judged by."""
    lines = ["| name | task | trained on | test | MB |\n|---|---|---|---|---|\n"]
    for found in rows:
        metric = next(name for name in ("f1", "accuracy") if name in found["metrics"])
        score = f"{metric} {found['metrics'][metric]:.4f}"
        link = f"[{found['name']}](model_cards/{found['name']}/README.md)"
        lines.append(f"| {link} | {found['task']} | {found['dataset']} | {score} | {found['megabytes']} |\n")
    return "".join(lines)


def texts() -> dict[Path, str]:
    """Everything that is written, by its place."""
    rows = [row(folder) for folder in folders()]
    shown = (ROOT / "README.md").read_text(encoding="utf-8")
    code = [path for folder in folders() for path in folder.glob("*.py")]
    return {
        **{folder / "README.md": card(results(folder)) for folder in folders()},
        **{path: (ROOT / "rnnzoo" / path.name).read_text(encoding="utf-8") for path in code},
        ROOT / "rnnzoo" / "zoo.json": json.dumps(rows, indent=2) + "\n",
        ROOT / "README.md": report.readme(shown, {"zoo": table(rows)}),
    }


if __name__ == "__main__":
    for path, text in texts().items():
        path.write_text(text, encoding="utf-8")
        print(f"written to {path.relative_to(ROOT)}")
