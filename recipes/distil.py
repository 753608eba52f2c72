"""A small text classifier that one or several teachers teach, on labelled and unlabelled texts.

accelerate launch -m recipes.distil --config recipes/configs/distil/distil-lstm.yaml --output_dir runs/distil-lstm-0

Teachers are folders that a recipe wrote (networks, transformers, bags of words) or text classifiers of the Hub.
"""

from recipes.baselines import BASELINES
from recipes.imdb import Imdb
from rnnzoo.tasks import distil
from rnnzoo.training.run import main


class Distil(distil.Distil):
    """Distillation, by default on IMDB's reviews."""

    default_dataset = Imdb.default_dataset
    description = Imdb.description
    loaders = BASELINES


TASK = Distil

if __name__ == "__main__":
    main(TASK)
