"""Pretraining: a backbone that learns from texts without labels which words come next, for a classifier to start from.

accelerate launch -m recipes.pretrain --config recipes/configs/pretrain/lstm.yaml --output_dir runs/pretrained
accelerate launch -m recipes.imdb --config recipes/configs/imdb/words-to-come-lstm.yaml
"""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rnnzoo.data.errors import RecipeError
from rnnzoo.tasks.text import TextOptions, TextTask
from rnnzoo.training import build, resume
from rnnzoo.training.launch import start
from rnnzoo.training.loop import train
from rnnzoo.training.options import option
from rnnzoo.training.provenance import git_commit, versions
from rnnzoo.training.run import load, parse, trained, words_from
from rnnzoo.training.run_folder import draw_curves
from rnnzoo.training.task import Description
from rnnzoo.training.word_vectors import read_vectors, start_vectors
from rnnzoo.training.words_to_come import WordsToCome


# Options of other tasks; a loss that fp16 would round to zero is computed before it could be scaled up.
UNSUPPORTED = (
    *("streaming", "model_name_or_path", "max_length", "adversarial_epsilon", "metric_for_best_model", "fold"),
    *("half_precision", "validation_only", "report_to", "push_to_hub", "hub_model_id"),
)


@dataclass
class PretrainOptions(TextOptions):
    """Options of pretraining."""

    words_ahead: int = option(5, "how many of the next words each state predicts; 1: a language model")
    subsample: float = option(
        1e-4, "words more frequent than this count for less, as in word2vec; 0: every word counts fully"
    )
    chunk_length: int = option(256, "tokens that are read at once: longer texts are split evenly")

    def __post_init__(self):
        super().__post_init__()
        for name in ("words_ahead", "chunk_length"):
            if getattr(self, name) < 1:
                raise RecipeError(f"{name} is {getattr(self, name)}: it must be at least 1.")
        if self.mixed_precision == "fp16":
            raise RecipeError(
                "mixed_precision is fp16, which would round small gradients of this loss to zero: use bf16."
            )
        if not 0 <= self.subsample <= 1:
            raise RecipeError(f"subsample is {self.subsample}: it must lie between 0 and 1.")
        for name in UNSUPPORTED:
            if getattr(self, name) not in (None, False, 0, {}, "none"):
                raise RecipeError(
                    f"{name} is {getattr(self, name)!r}, but pretraining has no use for it: leave it out."
                )


class Pretrain(TextTask):
    """Words to come: see `WordsToCome`. It reads the texts of train and the unlabelled ones, never labels or test."""

    name = "pretrain"
    kind = "feature-extraction"
    default_dataset = "imdb"
    description = Description(
        pipeline="feature-extraction",
        auto_class="AutoModel",
        model="backbone",
        verb="read",
        example="A film that I will not forget.",
        metric="loss",
        metric_meaning="mean negative log probability of the words to come, among the words of a batch",
        lower_is_better=True,
    )
    Options = PretrainOptions
    chunk_length: int

    def encode(self, columns: dict[str, list]) -> dict[str, list]:
        """Texts as chunks of ids, `chunk_length` at most: a row each."""
        ids = self.tokenizer(self.as_texts(columns), return_attention_mask=False)["input_ids"]
        chunks = [chunk for row in ids for chunk in split_evenly(row, self.chunk_length)]
        return {"input_ids": chunks, "length": list(map(len, chunks))}

    def as_texts(self, columns: dict[str, list]) -> list[str]:
        """What the tokenizer reads of the columns of the corpus."""
        return columns["text"]

    def collate(self, columns: dict[str, list]) -> dict[str, Tensor]:
        batch = self.tokenizer.pad({"input_ids": columns["input_ids"]}, return_tensors="pt", padding_side="right")
        return {**batch, "labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}

    def predict(self, model: WordsToCome, batch: dict[str, Tensor], columns: dict[str, list]):
        return model(**batch).loss, [None] * len(columns["input_ids"])

    def references(self, examples: Dataset) -> list:
        return []

    def metrics(self, predictions: list, references: list) -> dict[str, Any]:
        return {}


def split_evenly(row: list[int], most: int) -> Iterator[list[int]]:
    """A row in as few chunks of `most` tokens as possible, whose lengths differ by one at most; of none, nothing."""
    count = -(-len(row) // most)
    borders = [len(row) * number // count for number in range(count + 1)] if count else []
    return (row[left:right] for left, right in zip(borders, borders[1:], strict=False))


def run(argv: list[str] | None = None, kind: type[Pretrain] = Pretrain) -> dict[str, Any]:
    """Pretrains with flags as on the command line, writes the folder, and returns what is in its results.json.

    Raises:
        RecipeError: an option, the data or the machine does not allow the run.
    """
    options = parse(kind, argv)
    accelerator = start(options)
    vectors = read_vectors(options)
    with accelerator.main_process_first():
        corpus = load(kind, options)
    accelerator.print(corpus.banner or f"Data: {corpus.name} from {corpus.source}.", *corpus.remarks, sep="\n")
    texts = words_from(corpus, kind.column)
    tokenizer, model, _ = build.build(kind, options, corpus.labels, texts, kind.tokenizer_options(options, vectors))
    task = kind(corpus, tokenizer, model.config)
    task.chunk_length = options.chunk_length
    parts = {"train": texts, "validation": corpus.splits["validation"][kind.column]}
    task.rows = {name: Dataset.from_dict(task.encode({kind.column: part[:]})) for name, part in parts.items()}
    task.seconds_before = start_vectors(model, tokenizer, task.rows, vectors, options)
    ids = torch.from_numpy(pc.list_flatten(task.rows["train"].data["input_ids"]).to_numpy().copy())
    accelerator.print(f"{len(ids):,} tokens in {len(task.rows['train']):,} chunks.")
    counts = ids.bincount(minlength=model.config.vocab_size).float()
    objective = WordsToCome(model, counts, options.words_ahead, options.subsample, tokenizer.all_special_ids)
    ran_with = {"versions": versions(), "git_commit": git_commit()}  # now: files may change while it trains
    progress = train(accelerator, objective, task, options)
    sizes = {name: len(corpus.splits[name]) for name in parts}
    results = {
        **trained(accelerator, model, task, options, progress),
        "dataset": corpus.described(sizes) | {"tokens": len(ids)},
        "metrics": {"validation": progress.best["validation"]},
        **ran_with,
    }
    if accelerator.is_main_process:
        write(Path(options.output_dir), model, tokenizer, results)
        print(f"written to {options.output_dir}")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return results


def write(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, results: dict[str, Any]) -> None:
    """Writes the backbone, its tokenizer, learning curves and, last of all, results.json."""
    unfinished = folder / ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        draw_curves(results, unfinished / "history.png")
        for name in ("results.json", "README.md", "predictions.csv", "confusion.png"):  # of an older run
            (folder / name).unlink(missing_ok=True)
        for path in unfinished.iterdir():
            path.replace(folder / path.name)
        text = json.dumps(results, indent=2, allow_nan=False) + "\n"
        (folder / "results.json").write_text(text, encoding="utf-8")
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    resume.discard(folder)
