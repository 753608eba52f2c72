"""Pretraining of a character language model for taggers; see rnnzoo/tasks/pretrain_characters.py.

accelerate launch -m recipes.pretrain_characters --config recipes/configs/pretrain_characters/lstm.yaml
"""

from functools import partial

from rnnzoo.tasks import pretrain
from rnnzoo.tasks.pretrain_characters import PretrainCharacters
from rnnzoo.training.command_line import main


run = partial(pretrain.run, kind=PretrainCharacters)

if __name__ == "__main__":
    main(run)
