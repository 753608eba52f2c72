"""Pretraining on texts without labels, by default IMDB's; see rnnzoo/tasks/pretrain.py.

accelerate launch -m recipes.pretrain --config recipes/configs/pretrain/lstm.yaml --unlabelled unsupervised
"""

from rnnzoo.tasks.pretrain import run
from rnnzoo.training.command_line import main


if __name__ == "__main__":
    main(run)
