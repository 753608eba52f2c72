"""python -m recipes.benchmark: see recipes/benchmarks/engine.py."""

import sys

from recipes.benchmarks.engine import main


if __name__ == "__main__":
    main(*sys.argv[1:])
