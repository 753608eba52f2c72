"""python -m recipes.tfidf: see recipes/baselines/tfidf.py."""

from recipes.baselines.tfidf import recipe
from rnnzoo.training.command_line import main


if __name__ == "__main__":
    main(recipe)
