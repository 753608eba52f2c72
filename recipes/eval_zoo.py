"""Asks each checkpoint of model_cards/, through pipeline() in a fresh process, for its entire test split.

python -m recipes.eval_zoo [FOLDER ...]     stops with an error where a score differs from the card's in four digits
"""

import sys
from pathlib import Path

from recipes import zoo
from recipes.tasks import task_of
from rnnzoo.data.columns import Columns
from rnnzoo.training import command_line
from rnnzoo.training.parity import score


def differing(folder: Path) -> list[str]:
    """The scores that differ from the results, in words; prints all of them."""
    run, wrong = zoo.results(folder), []
    task, config = task_of(run), run["config"]
    chosen = Columns.of(config).as_argument()
    if number := run["dataset"].get("sentences_per_text"):
        chosen["sentences_per_text"] = number
    corpus = task.load(config["dataset"], seed=config["seed"], **chosen)
    for name, value in score(task(corpus, max_length=config["max_length"]), folder).items():
        # A metric that came after the run has nothing to be compared with.
        if not isinstance(value, dict) and name in run["metrics"]["test"]:
            said = run["metrics"]["test"][name]
            print(f"{folder.name}: {name} {value:.4f}, on its card {said:.4f}", flush=True)
            if f"{value:.4f}" != f"{said:.4f}":
                wrong.append(f"{folder.name} has {name} {value:.4f}, and {said:.4f} on its card")
    return wrong


def main(paths: list[str]) -> None:
    """Evaluates the folders, or all."""
    chosen = list(map(Path, paths)) or list(zoo.checkpoints())
    wrong = [line for folder in chosen for line in differing(folder)]
    if wrong:
        sys.exit(f"error: {'; '.join(wrong)}.")


if __name__ == "__main__":
    command_line.main(lambda: main(sys.argv[1:]))
