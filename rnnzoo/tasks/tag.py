"""Named entities (many-to-many: a tag for every word), by any model of the zoo or of transformers.

accelerate launch -m recipes.ner --config recipes/configs/ner/lstm.yaml
accelerate launch -m recipes.ner --config recipes/configs/ner/lstm.yaml --dataset made --output_dir runs/try
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import evaluate
import torch
from datasets import Dataset
from transformers import AutoModelForTokenClassification

import rnnzoo
from rnnzoo.data import sentences as tagged
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.streams import Stream, Survey
from rnnzoo.data.synthetic import names as made_names
from rnnzoo.data.texts import SPLITS
from rnnzoo.training import probes
from rnnzoo.training.build import ModelOptions, build, longest
from rnnzoo.training.command_line import main, parse
from rnnzoo.training.loop import Task, run, start
from rnnzoo.training.parity import TOLERANCE, answers
from rnnzoo.training.word_vectors import WORD2VEC, given, start_vectors


OUTSIDE = "O"
UNLABELLED = -100  # no loss is taken there
NOWHERE = -1  # where a word stands that is beyond the limit, or that a tokenizer of others leaves out


@dataclass
class NerOptions(ModelOptions):
    """Options of this recipe."""

    task: ClassVar[str] = "ner"
    auto: ClassVar[type] = AutoModelForTokenClassification
    kind: ClassVar[str] = "tagger"
    train_tokenizer: ClassVar = staticmethod(rnnzoo.train_tagger_tokenizer)
    smallest_text: ClassVar = ["word"]
    not_here: ClassVar = frozenset({"window", "pooling"})

    def __post_init__(self):
        """Refuses letters that nobody reads, and the lack of those that somebody does."""
        super().__post_init__()
        given = self.tokenizer.get("word_length")
        if given is not None and bool(given) != bool(self.model.get("character_size")):
            raise RecipeError(
                f"tokenizer.word_length is {given} and model.character_size {self.model.get('character_size', 0)}: "
                "letters are given and read, or neither. Leave word_length out, or set both."
            )


def recipe(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the recipe with flags as on the command line; returns what is in results.json."""
    options = parse(NerOptions, argv)
    accelerator = start(options)
    with accelerator.main_process_first():
        corpus = (
            tagged.stream(options.dataset, seed=options.seed, most=options.most_rows)
            if options.streaming
            else tagged.load(options.dataset, seed=options.seed, validation_fraction=options.validation_fraction)
        )
    accelerator.print(made_names.BANNER if corpus.name == "made" else f"Data: {corpus.name} from {corpus.source}.")
    sentences = Survey(corpus.read(), "tokens") if options.streaming else corpus.splits["train"]["tokens"]
    vectors = given(options)
    words = {"also": () if vectors in (None, WORD2VEC) else vectors.words}
    if not options.model.get("character_size"):
        words["word_length"] = 0
    tokenizer, model = build(options, corpus.labels, sentences, words)
    limit = longest(options, tokenizer, model)
    if limit:
        # On record in results.json, and in the saved tokenizer, where the pipeline looks for it.
        options.max_length = tokenizer.model_max_length = limit
    whole = hasattr(model.config, "use_crf")
    pieces = partial(encode, tokenizer=tokenizer, labels=corpus.labels, limit=limit, whole=whole)
    rows = {name: Dataset.from_dict(pieces(split[:])) for name, split in corpus.splits.items()}
    # Those of a stream are not known before they are read.
    unread = {name: sum(row.count(NOWHERE) for row in split["starts"]) for name, split in rows.items()}
    if options.streaming:
        rows["train"] = Stream(corpus.read, sentences.finish(), pieces, column="tokens")
    sizes = {name: len(rows[name]) for name in SPLITS}
    accelerator.print(f"Sentences: {sizes}.")
    if any(unread.values()):
        accelerator.print(f"Words that the model does not get to read, counted as {OUTSIDE}: {unread}.")
    task = Task(
        name="ner",
        dataset={"name": corpus.name, "source": corpus.source, "splits": sizes, "words_unread": unread},
        rows=rows,
        collate=partial(collate, tokenizer),
        read=read,
        metrics=entities(corpus.labels),
        best="f1",
        serve=partial(serve, test=corpus.splits["test"], rows=options.verify_rows, labels=corpus.labels),
        probe=probes.names,
        seconds_before=start_vectors(model, tokenizer, rows["train"], vectors, options),
    )
    return run(accelerator, model, tokenizer, task, options)


def encode(
    sentences: dict[str, list], *, tokenizer, labels: list[str], limit: int | None, whole: bool
) -> dict[str, list]:
    """Words as pieces, each with a label.

    Columns: `labels` of the pieces; of all words `starts`, where they begin, and `tags`. With `whole`
    every piece has a label, I-X after the first; else the first one only, as is usual for transformers.
    """
    cut = {"truncation": True, "max_length": limit} if limit else {}
    pieces = tokenizer(sentences["tokens"], is_split_into_words=True, return_attention_mask=False, **cut)
    number = {label: i for i, label in enumerate(labels)}
    inside = [number.get(f"I-{label[2:]}", i) if label != OUTSIDE else i for i, label in enumerate(labels)]
    columns = {name: pieces[name] for name in ("input_ids", "character_ids") if name in pieces}
    columns |= {"length": list(map(len, pieces["input_ids"])), "labels": [], "starts": [], "tags": []}
    for encoding, tags in zip(pieces.encodings, sentences["tags"], strict=True):
        of_words = [number[tag] for tag in tags]
        of_pieces, starts, before = [], [NOWHERE] * len(tags), None
        for place, word in enumerate(encoding.word_ids):
            if word is None:  # a special token
                of_pieces.append(UNLABELLED)
            elif word != before:
                starts[word] = place
                of_pieces.append(of_words[word])
            else:
                of_pieces.append(inside[of_words[word]] if whole else UNLABELLED)
            before = word
        columns["labels"].append(of_pieces)
        columns["starts"].append(starts)
        columns["tags"].append(of_words)
    return columns


def collate(tokenizer, rows: dict[str, list]) -> dict[str, torch.Tensor]:
    """Columns of some rows -> padded ids, letters, mask, labels."""
    names = [name for name in ("input_ids", "character_ids") if name in rows]
    batch = tokenizer.pad({name: rows[name] for name in names}, return_tensors="pt")
    labels = torch.full(batch["input_ids"].shape, UNLABELLED)
    labels[batch["attention_mask"].bool()] = torch.tensor([label for row in rows["labels"] for label in row])
    return {**batch, "labels": labels}


def read(outputs, rows: dict[str, list]) -> list[tuple[list[tuple[int, float]], list[int]]]:
    """For each row the tag of each word, by its first piece, with its probability; and the right tags.

    What was not read has no entity, tag 0.
    """
    scores, tags = outputs.logits.float().softmax(-1).max(-1)
    found = []
    for row_tags, row_scores, starts, right in zip(
        tags.tolist(), scores.tolist(), rows["starts"], rows["tags"], strict=True
    ):
        words = [(0, 1.0) if place == NOWHERE else (row_tags[place], row_scores[place]) for place in starts]
        found.append((words, right))
    return found


def entities(labels: list[str]):
    """The metric, through `evaluate`, of tags."""
    metric = evaluate.load(str(Path(__file__).parent / "metrics" / "entities.py"))

    def compute(predictions: list[list[tuple[int, float]]], references: list[list[int]]) -> dict[str, Any]:
        found = metric.compute(
            predictions=[[labels[tag] for tag, _ in row] for row in predictions],
            references=[[labels[tag] for tag in row] for row in references],
        )
        return {name: found[name] for name in ("f1", "precision", "recall", "per_type")}

    return compute


def tags(folder: Path, sentences: list[list[str]], batch_size: int) -> list[list[tuple[str, float]]]:
    """For each word its tag and the probability of that, as the folder's pipeline gives them for plain text."""
    texts = [" ".join(words) for words in sentences]
    found = []
    for words, pieces in zip(
        sentences, answers(folder, "token-classification", texts, batch_size, ignore_labels=[]), strict=True
    ):
        at, start, row = {piece["start"]: piece for piece in pieces}, 0, []
        for word in words:
            # Of a text that is cut the pipeline says nothing further on, as is counted in the evaluation.
            piece = at.get(start, {"entity": OUTSIDE, "score": 1.0})
            row.append((piece["entity"], piece["score"]))
            start += len(word) + 1
        found.append(row)
    return found


def score(folder: Path, results: dict[str, Any]) -> dict[str, Any]:
    """The metrics of a folder's pipeline on the whole test split of the run that wrote it."""
    corpus = tagged.load(results["config"]["dataset"], seed=results["config"]["seed"])
    number = {label: i for i, label in enumerate(corpus.labels)}
    test = corpus.splits["test"]
    found = [[(number[tag], p) for tag, p in row] for row in tags(folder, list(test["tokens"]), 32)]
    return entities(corpus.labels)(found, [[number[tag] for tag in row] for row in test["tags"]])


def serve(folder: Path, predictions: list, *, test: Dataset, rows: int, labels: list[str]) -> dict[str, Any]:
    """Asks the folder's pipeline for evenly spaced test sentences as plain text, one by one and 32 at a time.

    Raises:
        RuntimeError: a word's tag or probability differs from what was measured.
    """
    chosen = range(0, len(test), max(1, len(test) // rows))
    sentences = [test[i]["tokens"] for i in chosen]
    proof = {"rows": len(chosen), "words": sum(map(len, sentences)), "largest_difference": 0.0}
    for batch_size in (1, 32):
        for i, served in zip(chosen, tags(folder, sentences, batch_size), strict=True):
            for word, (found, probability), (tag, measured) in zip(
                test[i]["tokens"], served, predictions[i], strict=True
            ):
                gap = abs(probability - measured)
                if found != labels[tag] or not gap <= TOLERANCE:
                    raise RuntimeError(
                        f"What is served is not what was measured: for {word!r} in test sentence {i} pipeline() at "
                        f"batch size {batch_size} gives {found} ({probability:.6f}), the evaluation {labels[tag]} "
                        f"({measured:.6f}). No results.json."
                    )
                proof["largest_difference"] = max(proof["largest_difference"], gap)
    return proof


if __name__ == "__main__":
    main(recipe)
