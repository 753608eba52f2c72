"""python -m recipes.latency: see recipes/benchmarks/latency.py."""

import sys

from recipes.benchmarks.latency import main
from rnnzoo.training import command_line


if __name__ == "__main__":
    command_line.main(lambda: main(sys.argv[1:]))
