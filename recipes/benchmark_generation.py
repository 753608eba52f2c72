"""python -m recipes.benchmark_generation: see recipes/benchmarks/generation.py."""

from recipes.benchmarks.generation import main


if __name__ == "__main__":
    main()
