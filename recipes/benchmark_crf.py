"""python -m recipes.benchmark_crf: see recipes/benchmarks/crf.py."""

import sys

from recipes.benchmarks.crf import main


if __name__ == "__main__":
    main(*sys.argv[1:])
