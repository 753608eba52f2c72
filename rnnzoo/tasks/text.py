"""What tasks with one answer per text share: how texts are encoded and collated. A class, or any number."""

import torch
from datasets import Dataset
from torch import Tensor

import rnnzoo
from rnnzoo.data import texts
from rnnzoo.training.task import Task


class TextTask(Task):
    """An answer to a text. A subclass says what it is: its description, `predict`, `metrics`, `read_answer`, `gap`."""

    kind = "text-classification"
    corpora = texts
    train_tokenizer = staticmethod(rnnzoo.train_tokenizer)

    def encode(self, columns: dict[str, list]) -> dict[str, list]:
        """Texts as ids. Words before the model's window are left out: they would be padding at best."""
        truncation = self.description.truncation(self.max_length)
        ids = self.tokenizer(columns["text"], return_attention_mask=False, **truncation)["input_ids"]
        window = getattr(self.config, "window", None)
        if window is not None:
            ids = [row[-window:] for row in ids]
        return {"input_ids": ids, "length": list(map(len, ids)), "labels": self.targets(columns["label"])}

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
