"""The model card of a run, from its results.json, the template in model_cards/, and the results that are committed."""

from pathlib import Path
from statistics import mean
from typing import NamedTuple

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from recipes.report import tables as report
from rnnzoo.zoo import NAMESPACE


TEMPLATE = Path(__file__).parents[1] / "model_cards" / "template.md"


class Task(NamedTuple):
    """How a task's models are used: its pipeline and how that is called, its Auto class, and a text to try."""

    pipeline: str
    options: str
    auto: str
    verb: str
    example: str


TASKS = {
    "imdb": Task(
        "text-classification", "", "AutoModelForSequenceClassification", "classify", "A film that I will not forget."
    ),
    "ner": Task(
        "token-classification",
        ', aggregation_strategy="simple"',
        "AutoModelForTokenClassification",
        "tag",
        "Ada Lovelace lived in London.",
    ),
}


class Data(NamedTuple):
    """A known data set: its id on the Hub, and what its users should know."""

    hub: str
    about: str


DATA = {
    "imdb": Data(
        "stanfordnlp/imdb",
        "Large Movie Review Dataset, Maas et al. 2011 (https://aclanthology.org/P11-1015): film reviews in English, "
        "the clearly negative and the clearly positive. For research; its authors ask to be cited.",
    ),
    "conll2003": Data(
        "eriktks/conll2003",
        "CoNLL-2003, English, Tjong Kim Sang & De Meulder 2003 (https://aclanthology.org/W03-0419): news of 1996. The "
        "annotations are free; the text is Reuters', for research only.",
    ),
    "wnut_17": Data(
        "leondz/wnut_17",
        "WNUT-17, Derczynski et al. 2017 (https://aclanthology.org/W17-4418): posts in English. CC BY 4.0.",
    ),
}
VECTORS = {
    "word2vec": "; its word vectors began as word2vec of the training texts",
    "glove-6b-50d": (
        ", but for its word vectors: those began as GloVe's, Pennington et al. 2014 "
        "(https://aclanthology.org/D14-1162; Public Domain Dedication and License)"
    ),
}


def card(results: dict) -> str:
    """Markdown with a metadata block that `huggingface_hub.ModelCard` accepts."""
    task, dataset, config = TASKS[results["task"]], results["dataset"], results["config"]
    path = config.get("hub_model_id") or config["output_dir"]
    name = Path(path).name
    # Those of single types are in results.json.
    names = [name for name, value in results["metrics"]["test"].items() if not isinstance(value, dict)]
    ours, zoo = results["model_type"].startswith("rnnzoo-"), path.startswith(f"{NAMESPACE}/")
    # A classifier's pipeline cuts only where it is told to; a tagger's does what its tokenizer says.
    cut = f", truncation=True, max_length={longest}" if (longest := config["max_length"]) else ""
    same = [run for run in report.committed().get(dataset["name"], []) if same_test(run, results)]
    found = best_of_each_kind(same, results) if same else []
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag=task.pipeline,
        language="en" if dataset["name"] in (*DATA, "made") else None,
        license="apache-2.0" if zoo else None,
        datasets=[DATA[dataset["name"]].hub] if dataset["name"] in DATA else None,
        tags=["rnnzoo", results["model_type"]],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type=task.pipeline,
                dataset_type=DATA[dataset["name"]].hub if dataset["name"] in DATA else dataset["name"],
                dataset_name=f"{dataset['name']} ({dataset['source']})",
                dataset_split="test",
                metric_type=metric,
                metric_value=results["metrics"]["test"][metric],
            )
            for metric in names
        ],
    )
    return str(
        ModelCard.from_template(
            metadata,
            template_path=str(TEMPLATE),
            run=results,
            name=name,
            made=dataset["name"] == "made",
            ours=ours,
            ours_to_license=zoo,
            task=report.TASKS[results["task"]],
            task_name=task.pipeline.replace("-", " "),
            pipeline_tag=task.pipeline,
            verb=task.verb,
            auto=task.auto,
            how=task.options + (cut if task.pipeline == "text-classification" else ""),
            cut=cut,
            path=path,
            example=task.example,
            names=names,
            spread=spread(same, results),
            data=data(results),
            latency=results.get("latency"),
            comparison=report.grid(found[0].task.columns, found) if found else "",
            remarks="".join(f"; {model.name} is {model.checkpoint}" for model in found if model.checkpoint),
            published=report.PUBLISHED.get((dataset["name"], dataset["splits"]["test"]), ""),
            vectors=VECTORS.get(config["word_vectors"], ""),
        )
    )


def same_test(run: dict, results: dict) -> bool:
    """Whether a committed run was measured on the same rows."""
    return run["dataset"]["splits"]["test"] == results["dataset"]["splits"]["test"]


def best_of_each_kind(runs: list[dict], results: dict) -> list[report.Model]:
    """What a model stands beside; it is among them itself where its setting is committed."""
    models = report.models(runs)
    best = [model.name for model in report.best_by_kind(models).values()]
    return [model for model in models if model.name in best or report.same_setting(model.runs[0], results)]


def spread(runs: list[dict], results: dict) -> str:
    """What other seeds gave."""
    runs = [run for run in runs if report.same_setting(run, results)]
    metric = report.TASKS[results["task"]].metric
    scores = [run["metrics"]["test"][metric] for run in runs]
    if len(scores) < 2:
        return "No other seed was run: how far seeds lie apart is not known."
    seeds = ", ".join(str(seed) for seed in sorted(run["seed"] for run in runs))
    return f"Seeds {seeds}: test {metric} {mean(scores):.4f} on average, {min(scores):.4f} to {max(scores):.4f}."


def data(results: dict) -> str:
    """What it was trained on, and what that may be used for."""
    dataset, fraction = results["dataset"], results["config"].get("validation_fraction")
    about = f"{DATA[dataset['name']].about}\n\n" if dataset["name"] in DATA else ""
    splits = ", ".join(f"{split} {size:,}" for split, size in dataset["splits"].items())
    cut = f" Validation is {fraction:.0%} of the data's own train and validation splits together." if fraction else ""
    return f"{about}From: {dataset['source']}. Rows: {splits}.{cut}"
