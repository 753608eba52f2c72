"""Pretraining of a character language model for taggers; see rnnzoo/tasks/pretrain_characters.py.

accelerate launch -m recipes.pretrain_characters --config recipes/configs/pretrain_characters/lstm.yaml
"""

from rnnzoo.tasks.pretrain import run
from rnnzoo.tasks.pretrain_characters import PretrainCharacters
from rnnzoo.training.command_line import main


if __name__ == "__main__":
    main(lambda: run(kind=PretrainCharacters))
