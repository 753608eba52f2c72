"""Sentiment of film reviews (many-to-one), by any model of the zoo or of transformers.

accelerate launch -m recipes.imdb --config recipes/configs/imdb/book-lstm.yaml
accelerate launch -m recipes.imdb --config recipes/configs/imdb/book-lstm.yaml --dataset made --output_dir runs/try
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import evaluate
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification

import rnnzoo
from rnnzoo.data import streams as streaming
from rnnzoo.data import texts as data
from rnnzoo.data.streams import Stream, Survey
from rnnzoo.data.synthetic import reviews as made
from rnnzoo.training import probes
from rnnzoo.training.build import ModelOptions, build, longest
from rnnzoo.training.command_line import main, parse
from rnnzoo.training.loop import Task, run, start
from rnnzoo.training.parity import TOLERANCE, answers
from rnnzoo.training.word_vectors import given, start_vectors


@dataclass
class ImdbOptions(ModelOptions):
    """Options of this recipe."""

    task: ClassVar[str] = "imdb"
    auto: ClassVar[type] = AutoModelForSequenceClassification
    kind: ClassVar[str] = "text classifier"
    train_tokenizer: ClassVar = staticmethod(rnnzoo.train_tokenizer)
    smallest_text: ClassVar = "word"
    not_here: ClassVar = frozenset({"use_crf", "character_size", "character_embedding_size"})


def recipe(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the recipe with flags as on the command line; returns what is in results.json."""
    options = parse(ImdbOptions, argv)
    accelerator = start(options)
    vectors = given(options)
    with accelerator.main_process_first():
        corpus = (
            streaming.load("imdb", options.dataset, seed=options.seed, most=options.most_rows)
            if options.streaming
            else data.load("imdb", options.dataset, seed=options.seed, validation_fraction=options.validation_fraction)
        )
    accelerator.print(made.BANNER if corpus.name == "made" else f"Data: {corpus.name} from {corpus.source}.")
    texts = Survey(corpus.read(), "text") if options.streaming else corpus.splits["train"]["text"]
    tokenizer, model = build(options, corpus.labels, texts, problem_type="single_label_classification")
    limit = longest(options, tokenizer, model)
    cut = cut_to(limit)
    if limit:
        # On record in results.json, and in the saved tokenizer, so that `truncation=True` alone cuts there too.
        options.max_length = tokenizer.model_max_length = limit
    ids = partial(encode, tokenizer=tokenizer, model=model, cut=cut)
    rows = {name: Dataset.from_dict(ids(split[:])) for name, split in corpus.splits.items()}
    if options.streaming:
        rows["train"] = Stream(corpus.read, texts.finish(), ids, column="text")
    sizes = {name: len(rows[name]) for name in data.SPLITS}
    accelerator.print(f"Rows: {sizes}.")
    task = Task(
        name="imdb",
        dataset={"name": corpus.name, "source": corpus.source, "splits": sizes},
        rows=rows,
        collate=partial(collate, tokenizer),
        read=read,
        metrics=accuracy(),
        best="accuracy",
        serve=partial(serve, test=corpus.splits["test"], rows=options.verify_rows, labels=corpus.labels, cut=cut),
        probe=partial(probes.sentiment, **cut),
        seconds_before=start_vectors(model, tokenizer, rows["train"], vectors, options),
    )
    return run(accelerator, model, tokenizer, task, options)


def encode(columns: dict[str, list], *, tokenizer, model, cut: dict[str, Any]) -> dict[str, list]:
    """Texts as ids. What lies before the model's window is left out here: it would be carried along unread."""
    ids = tokenizer(columns["text"], return_attention_mask=False, **cut)["input_ids"]
    window = getattr(model.config, "window", None)
    if window is not None:
        ids = [row[-window:] for row in ids]
    return {"input_ids": ids, "length": list(map(len, ids)), "labels": columns["label"]}


def collate(tokenizer, rows: dict[str, list]) -> dict[str, torch.Tensor]:
    """Columns of some rows -> padded ids, mask, labels."""
    batch = tokenizer.pad({"input_ids": rows["input_ids"]}, return_tensors="pt")
    return {**batch, "labels": torch.tensor(rows["labels"])}


def read(outputs, rows: dict[str, list]) -> list[tuple[list[float], int]]:
    """For each row the probabilities of the classes, and the right one."""
    return list(zip(outputs.logits.float().softmax(-1).tolist(), rows["labels"], strict=True))


def accuracy():
    """The metric, through `evaluate`, of probabilities."""
    metric = evaluate.load(str(Path(__file__).parent / "metrics" / "accuracy.py"))

    def compute(probabilities: list[list[float]], references: list[int]) -> dict[str, float]:
        return metric.compute(predictions=[argmax(row) for row in probabilities], references=references)

    return compute


def argmax(row: list[float]) -> int:
    """The place of the largest value."""
    return max(range(len(row)), key=row.__getitem__)


def cut_to(longest: int | None) -> dict[str, Any]:
    """What a classifier's pipeline and tokenizer are told, so that they cut texts to so many tokens."""
    return {"truncation": True, "max_length": longest} if longest else {}


def probabilities(
    folder: Path, texts: list[str], batch_size: int, labels: list[str], cut: dict[str, Any]
) -> list[list[float]]:
    """Of the classes, for each text, as the folder's pipeline gives them."""
    found = answers(folder, "text-classification", texts, batch_size, top_k=None, **cut)
    return [[{part["label"]: part["score"] for part in parts}[label] for label in labels] for parts in found]


def score(folder: Path, results: dict[str, Any]) -> dict[str, float]:
    """The metrics of a folder's pipeline on the whole test split of the run that wrote it."""
    config = results["config"]
    corpus = data.load("imdb", config["dataset"], seed=config["seed"])
    test = sorted(corpus.splits["test"], key=lambda row: len(row["text"]))  # less padding
    texts = [row["text"] for row in test]
    found = probabilities(folder, texts, 32, corpus.labels, cut_to(config["max_length"]))
    return accuracy()(found, [row["label"] for row in test])


def serve(
    folder: Path, predictions: list[list[float]], *, test: Dataset, rows: int, labels: list[str], cut: dict[str, Any]
) -> dict[str, Any]:
    """Asks the folder's pipeline for evenly spaced test rows, one by one and 32 at a time.

    Raises:
        RuntimeError: an answer differs from what was measured.
    """
    chosen = range(0, len(test), max(1, len(test) // rows))
    texts, references = [test[i]["text"] for i in chosen], [test[i]["label"] for i in chosen]
    proof = {"rows": len(chosen), "accuracy": {}, "largest_difference": 0.0}
    for batch_size in (1, 32):
        served = probabilities(folder, texts, batch_size, labels, cut)
        gaps = [
            max(abs(a - b) for a, b in zip(row, predictions[i], strict=True))
            for row, i in zip(served, chosen, strict=True)
        ]
        if not all(gap <= TOLERANCE for gap in gaps):  # NaN is no agreement either
            worst = next(place for place, gap in enumerate(gaps) if not gap <= TOLERANCE)
            raise RuntimeError(
                f"What is served is not what was measured: for test row {chosen[worst]} pipeline() at batch size "
                f"{batch_size} gives {served[worst]}, the evaluation {predictions[chosen[worst]]}. No results.json."
            )
        right = sum(argmax(row) == reference for row, reference in zip(served, references, strict=True))
        proof["accuracy"][f"batch_{batch_size}"] = right / len(chosen)
        proof["largest_difference"] = max(proof["largest_difference"], *gaps)
    return proof


if __name__ == "__main__":
    main(recipe)
