"""Sentiment of film reviews (many-to-one), by any model of the zoo or of transformers.

accelerate launch -m recipes.imdb --config recipes/configs/imdb/book-lstm.yaml
accelerate launch -m recipes.imdb --config recipes/configs/imdb/book-lstm.yaml --dataset made --output_dir runs/try
"""

from dataclasses import replace

from rnnzoo.tasks.classify import Classify
from rnnzoo.training.run import main


class Imdb(Classify):
    """Text classification, by default of IMDB's reviews."""

    name = "imdb"
    default_dataset = "imdb"
    description = replace(
        Classify.description, remark="The seconds of TF-IDF are those of all values of C that were tried."
    )


TASK = Imdb

if __name__ == "__main__":
    main(TASK)
