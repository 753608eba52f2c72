"""Tables out of results.json files; reads JSON only.

python -m recipes.report             writes the tables of recipes/results/ into README.md
python -m recipes.report runs/*      prints the table of any runs' folders or results.json files
"""

import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean


ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "recipes" / "results"
BEGIN, END = "<!-- {}: written by python -m recipes.report -->\n", "<!-- end -->\n"

HEAD = """\
| model | test accuracy, mean (from, to) | seeds | parameters | MB in fp32 | seconds of training | served within |
|---|---|---|---|---|---|---|
"""


def read(paths: list[Path]) -> list[dict]:
    """The results of some runs: files, or folders with a results.json."""
    files = [path / "results.json" if path.is_dir() else path for path in paths]
    for file in files:
        if not file.is_file():
            sys.exit(
                f"error: there is no {file}: give folders that a recipe has written, or their results.json files."
            )
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def table(results: list[dict]) -> str:
    """A row a model, best first, over its seeds; under it what the runs were made with.

    Raises:
        ValueError: runs of one model that differ in more than the seed, or on different data.
    """
    by_model = defaultdict(list)
    for result in results:
        by_model[result["model_type"], result["model"].removesuffix(f"-{result['seed']}")].append(result)
    rows = []
    for (_, name), runs in by_model.items():
        if len({_setting(run) for run in runs}) > 1:
            raise ValueError(f"The runs of {name} differ in more than the seed: give them different names.")
        if len({run["seed"] for run in runs}) < len(runs):
            raise ValueError(f"There are two runs of {name} with the same seed: leave one out.")
        scores = [run["metrics"]["test"]["accuracy"] for run in runs]
        seconds = mean(run["train_seconds"] for run in runs)
        spread = f" ({min(scores):.4f}, {max(scores):.4f})" if len(runs) > 1 else ""
        seeds = ", ".join(str(seed) for seed in sorted(run["seed"] for run in runs))
        size = runs[0]["num_parameters"]
        gap = max(run["served"]["largest_difference"] for run in runs)
        row = (
            f"| {name} | {mean(scores):.4f}{spread} | {seeds} "
            f"| {size:,} | {4e-6 * size:.1f} | {seconds:.0f} | {gap:.0e} |\n"
        )
        rows.append((-mean(scores), row))
    if len({json.dumps(run["dataset"], sort_keys=True) for run in results}) > 1:
        raise ValueError("These runs are on different data: make a table of each.")
    dataset = results[0]["dataset"]
    splits = ", ".join(f"{name} {size:,}" for name, size in dataset["splits"].items())
    devices = " and ".join(sorted({run["device"] for run in results}))
    below = f"\nData: {dataset['name']} ({splits}), from {dataset['source']}. Hardware: {devices}.\n"
    return HEAD + "".join(row for _, row in sorted(rows)) + below


def _setting(run: dict) -> str:
    free = ("seed", "output_dir", "resume", "verify_rows", "num_threads", "report_to", "checkpointing_steps")
    config = {key: value for key, value in run["config"].items() if key not in free}
    return json.dumps([config, run["num_parameters"]], sort_keys=True)


def speed(result: dict) -> str:
    """The table of recipes/benchmark.py."""
    lines = [
        f"| {row['words']} | {row['family']} {row['kind']} "
        f"| {row['packed']:.0f} | {row['engine']:.0f} | {row['ratio']:.1f} |\n"
        for row in result["rows"]
    ]
    head = "| words a row | | packed, ms | engine, ms | packed / engine |\n|---|---|---|---|---|\n"
    latency = ", ".join(f"{name} {value:.1f}" for name, value in result["latency"].items())
    below = (
        f"\nOne text of 100 words through a classifier of the book's size, on one thread, milliseconds: {latency}.\n"
        f"Hardware: {result['device']}, {result['num_threads']} threads for the table.\n"
    )
    return head + "".join(lines) + below


def readme(text: str, tables: dict[str, str]) -> str:
    """The README's text with each table in its place."""
    for name, table_ in tables.items():
        before, rest = text.split(BEGIN.format(name))
        text = before + BEGIN.format(name) + table_ + END + rest.split(END, 1)[1]
    return text


def tables() -> dict[str, str]:
    """What the README shows, from what is committed."""
    runs = read(sorted((RESULTS / "imdb").glob("*.json")))
    return {"imdb": table(runs), "speed": speed(*read([RESULTS / "speed.json"]))}


def main(paths: list[str]) -> None:
    """Prints the table of `paths`; without any, writes the README's."""
    if paths:
        print(table(read([Path(path) for path in paths])))
        return
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (ROOT / "README.md").write_text(readme(text, tables()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
