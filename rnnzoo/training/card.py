"""The model card of a run, from its results.json and a template."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from rnnzoo.data.catalog import KNOWN
from rnnzoo.training.task import Description
from rnnzoo.zoo import NAMESPACE


TEMPLATE = Path(__file__).with_name("card_template.md")

# What initial word embeddings from elsewhere the model has seen, by `word_vectors`.
VECTORS = {
    "word2vec": "; its word embeddings were initialised with word2vec, trained on the training texts",
    "glove-6b-50d": (
        ", except through its word embeddings: those were initialised with GloVe's, Pennington et al. 2014 "
        "(https://aclanthology.org/D14-1162; Public Domain Dedication and License)"
    ),
}


def card(results: dict[str, Any], *, spread: str = "", comparison: str = "") -> str:
    """Markdown with a metadata block that `huggingface_hub.ModelCard` accepts.

    Args:
        spread: a sentence on runs of the same configuration with other seeds.
        comparison: a section that compares the model with others.
    """
    description, dataset, config = Description.of(results), results["dataset"], results["config"]
    path = config.get("hub_model_id") or config["output_dir"]
    known, ours, zoo = KNOWN.get(dataset["name"]), is_recurrent(results), path.startswith(f"{NAMESPACE}/")
    truncation = _arguments(description.truncation(config["max_length"]))
    return str(
        ModelCard.from_template(
            metadata(results),
            template_path=str(TEMPLATE),
            run=results,
            name=Path(path).name,
            synthetic=dataset["name"] == "made",
            ours=ours,
            ours_to_license=zoo,
            task=description,
            example=json.dumps(description.example, ensure_ascii=False),
            task_name=results["kind"].replace("-", " "),
            call_options=_arguments(description.pipeline_options) + truncation,
            # The tokenizer truncates only where it is told to.
            tokenizer_options=_arguments({"truncation": True, "max_length": n} if (n := config["max_length"]) else {}),
            path=path,
            names=scores(results),
            details={name: value for name, value in results["metrics"]["test"].items() if isinstance(value, dict)},
            spread=spread or "One seed was run: the spread over seeds is not known.",
            data=training_data(results, known.about if known else ""),
            comparison=comparison,
            vectors=seen_before(results),
        )
    )


def seen_before(results: dict[str, Any]) -> str:
    """What a model has learned from before its examples, as the end of a sentence."""
    before, taught, context = map(results.get, ("started_from", "distillation", "context_model"))
    vectors = "" if before or taught or context else " and nothing else"
    vectors += VECTORS.get(results["config"]["word_vectors"], "")
    if results["config"]["word_vectors"] == "word2vec" and results["dataset"].get("unlabelled"):
        vectors += " and the unlabelled ones"
    if taught:
        vectors += "; it also learned from the answers of its teachers, and so from what they were trained on"
    if before:
        vectors += f"; it started from {before['model']}, {_trained(before)}"
    if context:
        vectors += f"; it reads the states of `{context['model']}`, a character language model"
        vectors += f" {_trained(context)}" if "dataset" in context else ""
    return vectors


def _trained(before: dict[str, Any]) -> str:
    """What trained a model that another one uses, and on how much."""
    dataset = before["dataset"]
    texts = f"{dataset['splits']['train'] + dataset.get('unlabelled', 0):,}"
    return f"trained by `{before['task']}` on {texts} texts of {dataset['name']}"


def metadata(results: dict[str, Any]) -> ModelCardData:
    """The metadata block: what the Hub finds the model by, and its scores on test."""
    dataset, config = results["dataset"], results["config"]
    path, known = config.get("hub_model_id") or config["output_dir"], KNOWN.get(dataset["name"])
    return ModelCardData(
        library_name="transformers",
        pipeline_tag=results["kind"],
        language=known.language if known else "en" if dataset["name"] == "made" else None,
        license="apache-2.0" if path.startswith(f"{NAMESPACE}/") else None,
        datasets=[known.hub] if known and known.hub else None,
        tags=["rnnzoo", results["model_type"]],
        model_name=Path(path).name,
        eval_results=[
            EvalResult(
                task_type=results["kind"],
                dataset_type=(known and known.hub) or dataset["name"],
                dataset_name=f"{dataset['name']} ({dataset['source']})",
                dataset_split="test",
                metric_type=name,
                metric_value=results["metrics"]["test"][name],
            )
            for name in scores(results)
        ],
    )


def scores(results: dict[str, Any]) -> list[str]:
    """The names of its metrics; details, such as those of single types, are in results.json."""
    return [name for name, value in results["metrics"]["test"].items() if not isinstance(value, dict)]


def is_recurrent(results: dict[str, Any]) -> bool:
    """Whether the model is one of the zoo's families."""
    return results["model_type"].startswith("rnnzoo-")


def training_data(results: dict[str, Any], about: str) -> str:
    """What it was trained on, and what that may be used for."""
    dataset, fraction = results["dataset"], results["config"].get("validation_fraction")
    splits = ", ".join(f"{split} {size:,}" for split, size in dataset["splits"].items())
    held_out = (
        f" Validation is {fraction:.0%} of the data's own train and validation splits together." if fraction else ""
    )
    if dataset.get("validation"):
        held_out = f" Validation is the recorded split {dataset['validation']} of the data's own training split."
    if further := dataset.get("unlabelled"):
        kind = "Unlabelled texts"
        if results["kind"] == "text-generation":  # no text has a label
            kind = f"Further {Description.of(results).unit}s to train on"
        held_out += f" {kind}: {further:,}."
    return f"{about}\n\n" * bool(about) + f"Source: {dataset['source']}. Examples: {splits}.{held_out}"


def _arguments(options: dict[str, Any]) -> str:
    """Keyword arguments as they follow others in a call."""
    return "".join(
        f', {name}="{value}"' if isinstance(value, str) else f", {name}={value!r}" for name, value in options.items()
    )
