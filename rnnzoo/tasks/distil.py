"""A text classifier that learns from labels and from the answers of teachers, on labelled and unlabelled texts."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnzoo.data.errors import RecipeError
from rnnzoo.tasks.classify import Classify, ClassifyOptions
from rnnzoo.tasks.taught import Taught, TaughtOptions


@dataclass
class DistilOptions(TaughtOptions, ClassifyOptions):
    """Options of a text classifier with teachers."""

    def __post_init__(self):
        super().__post_init__()
        if self.class_weights:
            raise RecipeError("class_weights weigh labels, and teachers give none. Leave class_weights out.")


class Distil(Taught, Classify):
    """Text classification with teachers. The loss of a batch is the mean over its rows, see `Taught.token_losses`."""

    name = "distil"
    Options = DistilOptions

    def predictions(self, answers: list[Tensor]) -> list[list[float]]:
        return torch.stack(answers).softmax(-1).tolist()

    def collate(self, columns: dict[str, list]) -> dict[str, Tensor]:
        batch = super().collate(columns)
        return batch | {"teacher": torch.tensor(columns["teacher"])} if "teacher" in columns else batch

    def inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Without the labels: the model's own loss would be that of the labels alone."""
        return {name: tensor for name, tensor in batch.items() if name not in ("labels", "teacher")}

    def loss(self, outputs: Any, batch: dict[str, Tensor]) -> Tensor:
        taught = (batch["teacher"] / self.temperature).softmax(-1)
        return self.token_losses(outputs.logits.float(), batch["labels"], taught).mean()

    def label_weight(self, batch: dict[str, Tensor]) -> int:
        return len(batch["labels"])  # the loss is a mean over all rows, labelled or not
