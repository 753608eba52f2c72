"""What tasks with one answer per text share: how texts are encoded and collated. A class, or any number."""

from dataclasses import dataclass

import torch
from datasets import Dataset
from torch import Tensor

import rnnzoo
from rnnzoo.data import texts
from rnnzoo.data.errors import RecipeError
from rnnzoo.training.options import Options, option
from rnnzoo.training.task import Task


@dataclass
class TextOptions(Options):
    """Options of tasks that can learn from texts without labels."""

    unlabelled: str | None = option(
        None,
        "further texts to learn words and word2vec from: a split of the data set, a file with a column of texts, a "
        ".txt file with a text per line, a folder of .txt files, or another column of the training split",
        group="Data",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.unlabelled and self.streaming:
            raise RecipeError(
                "unlabelled and streaming: texts that also stand in train are left out, which takes all of it. Leave "
                "out one."
            )


class TextTask(Task):
    """An answer to a text. A subclass says what it is: its description, `predict`, `metrics`, `read_answer`, `gap`."""

    kind = "text-classification"
    corpora = texts
    train_tokenizer = staticmethod(rnnzoo.train_tokenizer)

    def encode(self, columns: dict[str, list]) -> dict[str, list]:
        """Texts as ids, and their labels, if they have some.

        Words before the model's window are left out: they would be padding at best.
        """
        truncation = self.description.truncation(self.max_length)
        ids = self.tokenizer(columns["text"], return_attention_mask=False, **truncation)["input_ids"]
        window = getattr(self.config, "window", None)
        if window is not None:
            ids = [row[-window:] for row in ids]
        encoded = {"input_ids": ids, "length": list(map(len, ids))}
        return encoded | {"labels": self.targets(columns["label"])} if "label" in columns else encoded

    def collate(self, columns: dict[str, list]) -> dict[str, Tensor]:
        batch = self.tokenizer.pad({"input_ids": columns["input_ids"]}, return_tensors="pt")
        if "labels" in columns:
            batch["labels"] = torch.tensor(columns["labels"])
        return {**batch}

    def references(self, examples: Dataset) -> list:
        return self.targets(examples["label"][:])

    def targets(self, labels: list) -> list:
        """Labels of the corpus as the model learns them."""
        return labels
