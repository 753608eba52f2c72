"""Asks each checkpoint in model_cards/, through pipeline() in a fresh process, for its whole test split.

python -m recipes.eval_zoo [FOLDER ...]     stops with an error where a score is not that of the card, in four digits
"""

import sys
from pathlib import Path

from recipes import zoo
from rnnzoo.data.errors import RecipeError
from rnnzoo.tasks import classify as imdb
from rnnzoo.tasks import tag as ner


SCORES = {"imdb": imdb.score, "ner": ner.score}


def differing(folder: Path) -> list[str]:
    """The scores that are not those of results.json, in words; prints all of them."""
    run = zoo.results(folder)
    found, wrong = SCORES[run["task"]](folder, run), []
    for name, value in found.items():
        if not isinstance(value, dict):
            said = run["metrics"]["test"][name]
            print(f"{folder.name}: {name} {value:.4f}, on its card {said:.4f}")
            if f"{value:.4f}" != f"{said:.4f}":
                wrong.append(f"{folder.name} has {name} {value:.4f}, and {said:.4f} on its card")
    return wrong


def main(paths: list[str]) -> None:
    """Evaluates the folders, or all."""
    wrong = [line for folder in map(Path, paths or zoo.folders()) for line in differing(folder)]
    if wrong:
        sys.exit(f"error: {'; '.join(wrong)}.")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except RecipeError as error:
        sys.exit(f"error: {error}")
