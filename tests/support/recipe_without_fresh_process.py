"""A recipe in a launched process that asks its pipeline itself: python -m tests.support.<this file> RECIPE FLAGS.

Each question to a fresh process takes as long as the training here; test_distributed.py launches one real recipe too.
"""

import sys
from importlib import import_module

from rnnzoo.training import parity
from rnnzoo.training.run import main
from tests.support.recipes import answered_here


if __name__ == "__main__":
    parity.answers = answered_here
    main(import_module(sys.argv.pop(1)).TASK)
