"""The columns of a table of models: those of every task, and the traits that a task's description names."""

from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from recipes.report.runs import TRANSFORMERS, Model


class Column(NamedTuple):
    """A column of a table with one model per row; `legend` says what its heading does not."""

    heading: str
    cell: Callable[[Model], str]
    legend: str = ""


def score(model: Model) -> str:
    """On test: the mean over the seeds, and their range."""
    return mean_and_range(model.scores)


def mean_and_range(scores: list[float]) -> str:
    """The mean over the seeds, and the lowest and the highest score if there are several."""
    spread = f" ({min(scores):.4f}, {max(scores):.4f})" if len(scores) > 1 else ""
    return f"{mean(scores):.4f}{spread}"


def validated(model: Model) -> str:
    """The mean over the seeds on validation, and the name of a recorded validation split."""
    return f"{model.validation:.4f}" + (f" ({model.validation_split})" if model.validation_split else "")


def measured(what: str, form: str) -> Callable[[Model], str]:
    """A cell for what recipes/latency.py has found."""

    def cell(model: Model) -> str:
        found = model.latency(what)
        return "–" if found is None else format(found, form)

    return cell


def reads(model: Model) -> str:
    """How much of a text it reads."""
    if window := model.fields.get("window"):
        return f"last {window}"
    longest = model.runs[0]["config"].get("max_length")
    return f"first {longest}" if longest else "all"


def trained_on(model: Model) -> str:
    """The number of training examples."""
    return f"{model.runs[0]['dataset']['splits']['train']:,}"


def has(field: str) -> Callable[[Model], str]:
    """A cell for a part that a network of the zoo may have."""
    return lambda model: "–" if model.kind == TRANSFORMERS else "yes" if model.fields.get(field) else "no"


def crf(model: Model) -> str:
    """Whether it has a CRF, and the scheme of its tags where that is not the labels'."""
    found = has("use_crf")(model)
    return "IOBES" if found == "yes" and model.fields.get("iobes") else found


def characters(model: Model) -> str:
    """Whether it reads the characters of words, and the states of a character language model."""
    return has("character_size")(model) + (", context" if model.fields.get("context_size") else "")


def vectors(model: Model) -> str:
    """What its word embeddings were initialised with."""
    given = model.runs[0]["config"].get("word_vectors")
    return Path(given).name if given else "–"


# The entry of the metrics of names by whether train has their words.
BY_WORDS = "by_words_of_train"

# By the names that a task's description gives. A further trait is a row here.
TRAITS = {
    "words read": Column("words read", reads),
    "trained on": Column(
        "trained on", trained_on, "sentences, of the train split or of train and validation together"
    ),
    "sentences per text": Column(
        "sentences per text",
        lambda model: str(model.runs[0]["config"].get("sentences_per_text", 1)),
        "how many consecutive sentences it is given at a time",
    ),
    "characters": Column(
        "characters",
        characters,
        "whether the characters of a word are read too, and its context by a character language model",
    ),
    "CRF": Column(
        "CRF", crf, "whether the best path is decoded, and IOBES where its tags also tell where an entity ends"
    ),
    "word vectors": Column("word vectors", vectors, "their initial values"),
}


def trait(name: str) -> Column:
    """The column of a trait: a row of `TRAITS`, or whatever value of results.json a dotted name leads to.

    Raises:
        ValueError: it is neither.
    """
    if name in TRAITS:
        return TRAITS[name]
    if "." not in name:
        raise ValueError(
            f"The results name the trait {name!r:.60}: it must be one of {', '.join(TRAITS)}, or the path of a value "
            "in results.json, such as model_config.hidden_size."
        )

    def cell(model: Model) -> str:
        found = model.runs[0]
        for part in name.split("."):
            found = found.get(part, {})
        return "–" if found == {} else str(found)

    return Column(name.rpartition(".")[2], cell)


def difference(lower_is_better: bool) -> Column:
    """From validation to test: in points, but for a metric that is no share."""
    scale, form, unit = (1, "+.4f", "difference") if lower_is_better else (100, "+.1f", "points")
    return Column(
        "test − validation",
        lambda model: format(scale * (mean(model.scores) - model.validation), form),
        f"{unit} from the validation score to the test score",
    )


def columns(model: Model) -> list[Column]:
    """The columns of the table that this model belongs to."""
    task = model.task
    how = f"on a CPU, from the raw {task.unit} to its {task.answer}"
    return [
        Column("model", lambda model: model.name),
        Column("kind", lambda model: model.kind),
        *map(trait, task.traits),
        Column(
            f"test {task.metric}, mean (from, to)",
            score,
            f"{task.metric_meaning}; mean over the seeds, lowest, highest",
        ),
        Column(
            f"validation {task.metric}",
            validated,
            "the score that selects, mean over the seeds; in brackets, the name of a recorded split; without, the "
            "data's own split, or examples drawn at random from train",
        ),
        difference(task.lower_is_better),
        Column("seeds", lambda model: ", ".join(str(run["seed"]) for run in model.runs)),
        Column("parameters", lambda model: " to ".join(f"{size:,}" for size in model.parameters)),
        Column("MB in fp32", lambda model: f"{model.megabytes:.1f}", "the parameters, without the vocabulary"),
        Column(
            "training, s",
            lambda model: f"{model.runs[0]['train_seconds']:.0f}",
            "of the first seed's run, without validation",
        ),
        Column(f"ms per {task.unit}", measured("milliseconds", ".1f"), f"median, one at a time, {how}"),
        Column(f"{task.rate}/s", measured(f"{task.rate}_per_second", ",.0f"), "the same, 32 at a time"),
    ]


def grid(columns: list[Column], found: list[Model]) -> str:
    """A table in Markdown with one model per row."""
    return markdown(
        [column.heading for column in columns], [[column.cell(model) for column in columns] for model in found]
    )


def markdown(heading: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    head, *lines = (f"| {' | '.join(row)} |\n" for row in [heading, *rows])
    return head + "|" + "---|" * len(heading) + "\n" + "".join(lines)


def legend(model: Model) -> str:
    """What the columns of the table that this model belongs to mean."""
    said = [f"{column.heading}: {column.legend}." for column in columns(model) if column.legend]
    return "\n" + " ".join([*said, model.task.remark]).strip() + "\n"


def by_type(found: list[Model]) -> str:
    """The score for each type of entity, where a task measures that."""
    first = found[0].runs[0]["metrics"]["test"].get("per_type")
    if not first:
        return ""
    # A type that is not in the test split at all has no score.
    numbers = {kind: values["number"] for kind, values in first.items() if values["number"]}

    def f1(kind: str) -> Callable[[Model], str]:
        return lambda model: f"{mean(run['metrics']['test']['per_type'][kind]['f1'] for run in model.runs):.4f}"

    columns = [Column("model", lambda model: model.name)]
    columns += [Column(f"{kind} ({number:,})", f1(kind)) for kind, number in numbers.items()]
    head = "\nTest f1 by type of entity, mean over the seeds; in brackets, the number of entities:\n\n"
    return head + grid(columns, found)


def by_words(found: list[Model]) -> str:
    """The scores of names with a word that train does not have, and of the others, where a task measures that."""
    found = [model for model in found if all(BY_WORDS in run["metrics"]["test"] for run in model.runs)]
    if not found:
        return ""

    def cell(name: str, score: str, form: str = ".4f") -> Callable[[Model], str]:
        return lambda model: format(mean(run["metrics"]["test"][BY_WORDS][name][score] for run in model.runs), form)

    columns = [Column("model", lambda model: model.name)]
    for name in ("unseen", "seen"):
        columns += [
            Column(name, cell(name, "number", ",.0f")),
            Column(f"f1, {name}", cell(name, "f1")),
            Column(f"recall, {name}", cell(name, "recall")),
        ]
    head = (
        "\nEntities of the test split with a word, in lower case, that the training split does not have (unseen), and "
        "the others (seen): their number, and scores as means over the seeds:\n\n"
    )
    return head + grid(columns, found)
