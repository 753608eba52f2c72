"""python -m recipes.benchmark_softmax: see recipes/benchmarks/softmax.py."""

from recipes.benchmarks.softmax import main


if __name__ == "__main__":
    main()
