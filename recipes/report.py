"""Tables and pictures out of results.json files; reads JSON only.

python -m recipes.report             writes recipes/RESULTS.md and the README's tables from recipes/results/
python -m recipes.report runs/*      writes runs/report/RESULTS.md from any runs' folders or results.json files
"""

import hashlib
import json
import math
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import NamedTuple


ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "recipes" / "results"
BEGIN, END = "<!-- {}: written by python -m recipes.report -->\n", "<!-- end -->\n"

RECURRENT, BAG, TRANSFORMER = "recurrent", "bag of words", "transformer"

# What others have published on the same test split, which is all that these numbers share with ours.
PUBLISHED = {
    "imdb": """\
| published, not run here | test accuracy |
|---|---|
| the textbook's RNN and LSTM in Keras: 2,500 words, 100 tokens, 64 units, one run | 0.722, 0.844 |
| LSTM from scratch, 1,024 units (Dai & Le 2015, arXiv 1511.01432) | 0.865 |
| BERT-base, fine-tuned on 25,000 reviews (five models on the Hub, by their cards) | 0.913 to 0.941 |
| BERT-base, fine-tuned on 25,000 reviews (Sun et al. 2019, arXiv 1905.05583) | 0.946 |
| BiLSTM with 50,000 unlabelled reviews besides (Sachan et al. 2019) | 0.957 |
"""
}


class Model(NamedTuple):
    """The runs of one configuration, which differ in the seed alone."""

    name: str
    runs: list[dict]

    @property
    def kind(self) -> str:
        """What sort of model it is."""
        run = self.runs[0]
        if run["model_type"].startswith("rnnzoo-"):
            return BAG if run["config"]["model"].get("num_hidden_layers") == 0 else RECURRENT
        return BAG if run["model_type"] == "tfidf" else TRANSFORMER

    @property
    def scores(self) -> list[float]:
        """Test accuracy, seed by seed."""
        return [run["metrics"]["test"]["accuracy"] for run in self.runs]

    @property
    def megabytes(self) -> float:
        """Of its numbers in fp32."""
        return 4e-6 * self.runs[0]["num_parameters"]

    def latency(self, what: str) -> float | None:
        """`milliseconds` or `texts_per_second`, where it was measured."""
        found = [run["latency"][what] for run in self.runs if "latency" in run]
        return mean(found) if found else None

    def reads(self) -> str:
        """How much of a text it sees."""
        config = self.runs[0]["config"]
        if window := config.get("model", {}).get("window"):
            return f"last {window}"
        return f"first {config['max_length']}" if config.get("max_length") else "all"

    def row(self) -> str:
        """Its line of the table."""
        low, high = min(self.scores), max(self.scores)
        run = self.runs[0]
        cells = (
            self.name,
            self.kind,
            self.reads(),
            f"{mean(self.scores):.4f}" + (f" ({low:.4f}, {high:.4f})" if len(self.runs) > 1 else ""),
            ", ".join(str(run["seed"]) for run in self.runs),
            f"{run['num_parameters']:,}",
            f"{self.megabytes:.1f}",
            f"{mean(run['train_seconds'] for run in self.runs):.0f}",
            "–" if (value := self.latency("milliseconds")) is None else f"{value:.1f}",
            "–" if (value := self.latency("texts_per_second")) is None else f"{value:,.0f}",
        )
        return f"| {' | '.join(cells)} |\n"


HEAD = """\
| model | kind | words read | test accuracy, mean (from, to) | seeds | parameters | MB in fp32 | s of training \
| ms a text | texts/s |
|---|---|---|---|---|---|---|---|---|---|
"""

LEGEND = """
Accuracy: mean over the seeds, with the lowest and the highest. MB: the parameters in fp32. Training: seconds without
validation. ms a text: median for one text at a time; texts/s: 32 at a time; both from the text as it was written to
its label, on the CPU named below, measured for all models in turns.
"""


def files(paths: list[Path]) -> list[Path]:
    """The results.json of each of some folders, or files as they are; a folder without one is named and left out."""
    found = []
    for path in paths:
        file = path / "results.json" if path.is_dir() else path
        if file.is_file():
            found.append(file)
        elif path.is_dir():
            print(f"left out: {path} has no results.json")
        else:
            sys.exit(f"error: there is no {path}.")
    if not found:
        sys.exit("error: there is nothing to read: give folders that a recipe has written, or their results.json.")
    return found


def read(paths: list[Path]) -> list[dict]:
    """The results of some runs: folders, or files."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in files(paths)]


def models(results: list[dict]) -> list[Model]:
    """The runs by model, the best model first.

    Raises:
        ValueError: runs of one model that differ in more than the seed.
    """
    by_name = defaultdict(list)
    for result in results:
        by_name[result["model_type"], result["model"].removesuffix(f"-{result['seed']}")].append(result)
    found = [Model(name, sorted(runs, key=lambda run: run["seed"])) for (_, name), runs in by_name.items()]
    for name, runs in found:
        if len({_setting(run) for run in runs}) > 1:
            raise ValueError(f"The runs of {name} differ in more than the seed: give them different names.")
        if len({run["seed"] for run in runs}) < len(runs):
            raise ValueError(f"There are two runs of {name} with the same seed: leave one out.")
    return sorted(found, key=lambda model: (-mean(model.scores), model.name))


def _setting(run: dict) -> str:
    free = ("seed", "output_dir", "resume", "verify_rows", "num_threads", "report_to", "checkpointing_steps")
    config = {key: value for key, value in run["config"].items() if key not in free}
    return json.dumps([config, run["num_parameters"]], sort_keys=True)


def by_data(results: list[dict]) -> list[list[dict]]:
    """What may stand in one table: runs on the same rows."""
    groups = defaultdict(list)
    for result in results:
        groups[json.dumps(result["dataset"], sort_keys=True)].append(result)
    return list(groups.values())


def verdict(found: list[Model]) -> str:
    """Whether recurrence pays: the best network beside the best bag of words and the best transformer."""
    best = {}
    for model in found:
        best.setdefault(model.kind, model)
    if RECURRENT not in best or len(best) == 1:
        return ""

    def named(model: Model) -> str:
        seeds = f"{len(model.runs)} seeds" if len(model.runs) > 1 else "one seed"
        return f"{model.name} ({mean(model.scores):.4f}, {seeds})"

    ours, lines = best.pop(RECURRENT), []
    for kind, other in best.items():
        gap = 100 * (mean(ours.scores) - mean(other.scores))
        where = "above" if gap > 0 else "below"
        lines.append(f"{abs(gap):.1f} points {where} the best {kind}, {named(other)}")
    # Half the width of a 95 % interval of one accuracy on so many rows.
    rows, p = ours.runs[0]["dataset"]["splits"]["test"], mean(ours.scores)
    noise = 100 * 1.96 * math.sqrt(p * (1 - p) / rows)
    return (
        f"The best recurrent network, {named(ours)}, is {' and '.join(lines)}. "
        f"With {rows:,} test rows an accuracy is known to ±{noise:.1f} points.\n\n"
    )


def table(found: list[Model]) -> str:
    """A row a model, and under it what the runs were made with."""
    runs = [run for model in found for run in model.runs]
    dataset = runs[0]["dataset"]
    splits = ", ".join(f"{name} {size:,}" for name, size in dataset["splits"].items())
    devices = " and ".join(sorted({run["device"] for run in runs}))
    timed = sorted(
        {f"{run['latency']['device']}, {run['latency']['num_threads']} threads" for run in runs if "latency" in run}
    )
    below = f"\nData: {dataset['name']} ({splits}), from {dataset['source']}. Trained on: {devices}."
    below += f" Times of answers: {' and '.join(timed)}.\n" if timed else "\n"
    return HEAD + "".join(model.row() for model in found) + below


def checkpoints(found: list[Model]) -> str:
    """What a model that was not trained from nothing went on from."""
    lines = [
        f"- {model.name}: a `{model.runs[0]['model_type']}` of {model.runs[0]['num_parameters']:,} parameters, "
        f"goes on from `{path}`, {len(model.runs[0]['history'])} epochs, "
        f"mixed precision: {model.runs[0]['mixed_precision']}\n"
        for model in found
        if (path := model.runs[0]["config"].get("model_name_or_path"))
    ]
    return "\n" + "".join(lines) if lines else ""


def not_run(found: list[Model], names: list[str]) -> str:
    """Which of some configurations have no result, or one seed only."""
    seeds = {model.name: len(model.runs) for model in found}
    missing = [name for name in names if name not in seeds]
    single = [model.name for model in found if len(model.runs) == 1]
    lines = [f"- Not run: {', '.join(missing)}.\n"] if missing else []
    lines += [f"- One seed only, so without a spread: {', '.join(single)}.\n"] if single else []
    return "\n## What was not run\n\n" + "".join(lines) if lines else ""


def section(results: list[dict], names: list[str] = ()) -> str:
    """All that is said of the runs on one data set; `names` are the configurations that there should be."""
    found, dataset = models(results), results[0]["dataset"]["name"]
    pictures = "".join(f"\n![{title}](pictures/{dataset}-{name}.png)\n" for name, title in PICTURES.items())
    published = f"\n{PUBLISHED[dataset]}" if dataset in PUBLISHED else ""
    return (
        f"# {dataset}\n\n{verdict(found)}{table(found)}{LEGEND}{checkpoints(found)}{published}{pictures}"
        f"{not_run(found, names)}"
    )


PICTURES = {
    "latency": "accuracy against milliseconds a text",
    "size": "accuracy against megabytes",
    "curves": "accuracy on validation against seconds of training",
}


def digest(results: list[dict]) -> str:
    """Tells whether a picture shows these results."""
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()


def draw(results: list[dict], folder: Path) -> None:
    """Writes the three pictures of one data set's runs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found, dataset = models(results), results[0]["dataset"]["name"]
    colours = {RECURRENT: "tab:blue", BAG: "tab:orange", TRANSFORMER: "tab:red"}

    def save(name: str, figure) -> None:
        metadata = {"Software": "recipes.report", "Description": digest(results)}
        figure.savefig(folder / f"{dataset}-{name}.png", dpi=100, metadata=metadata)
        plt.close(figure)

    for name, label, place in (
        ("latency", "milliseconds a text, median, one at a time", lambda model: model.latency("milliseconds")),
        ("size", "megabytes in fp32", lambda model: model.megabytes),
    ):
        figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
        for model in found:
            x, y = place(model), mean(model.scores)
            if x is None:
                continue
            axes.errorbar(
                x,
                y,
                yerr=[[y - min(model.scores)], [max(model.scores) - y]],
                fmt="o",
                capsize=3,
                color=colours[model.kind],
            )
            axes.annotate(model.name, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8)
        for kind, colour in colours.items():
            axes.plot([], [], "o", color=colour, label=kind)
        axes.legend(loc="lower right")
        axes.set(xscale="log", xlabel=label, ylabel="test accuracy", title=f"{dataset}: {PICTURES[name]}")
        axes.grid(alpha=0.3)
        save(name, figure)

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for model in found:
        run = model.runs[0]
        points = [(record["train_seconds"], record["validation"]["accuracy"]) for record in run["history"]]
        style = {RECURRENT: "-", BAG: ":", TRANSFORMER: "--"}[model.kind]
        axes.plot(*zip(*points, strict=True), style, marker=".", label=f"{model.name} (seed {run['seed']})")
    axes.set(
        xscale="log",
        xlabel="seconds of training",
        ylabel="validation accuracy",
        title=f"{dataset}: {PICTURES['curves']}",
    )
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    save("curves", figure)


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


def committed() -> list[dict]:
    """The results that this repository shows."""
    return read(sorted((RESULTS / "imdb").glob("*.json")))


def configurations() -> list[str]:
    """What there should be results of; the made set gives none that count."""
    names = [path.stem for path in sorted((ROOT / "recipes" / "configs" / "imdb").glob("*.yaml"))]
    return [name for name in names if not name.startswith("made-")]


def tables() -> dict[str, str]:
    """What the README shows, from what is committed."""
    found = models(committed())
    return {"imdb": verdict(found) + table(found), "speed": speed(*read([RESULTS / "speed.json"]))}


def main(paths: list[str]) -> None:
    """Writes the report of `paths`; without any, that of the repository, and the README's tables."""
    results = read([Path(path) for path in paths]) if paths else committed()
    folder = Path("runs/report") if paths else ROOT / "recipes"
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    groups = by_data(results)
    try:
        text = "\n".join(section(group, [] if paths else configurations()) for group in groups)
    except ValueError as error:
        sys.exit(f"error: {error}")
    for group in groups:
        draw(group, folder / "pictures")
    (folder / "RESULTS.md").write_text(text, encoding="utf-8")
    if not paths:
        shown = (ROOT / "README.md").read_text(encoding="utf-8")
        (ROOT / "README.md").write_text(readme(shown, tables()), encoding="utf-8")
    print(f"written to {folder / 'RESULTS.md'}")


if __name__ == "__main__":
    main(sys.argv[1:])
