"""A label for a text (many-to-one): text classification, by any model of the zoo or of transformers."""

import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import evaluate
import numpy as np
import torch
from datasets import Dataset
from sklearn.metrics import confusion_matrix
from torch import Tensor, nn
from transformers import PreTrainedModel

from rnnzoo.data.errors import RecipeError
from rnnzoo.tasks.text import TextOptions, TextTask
from rnnzoo.training import probes, wide
from rnnzoo.training.options import option
from rnnzoo.training.task import Description
from rnnzoo.training.unlabelled import UnlabelledOptions


@dataclass
class ClassifyOptions(TextOptions, UnlabelledOptions):
    """Options of a text classifier."""

    wide_strength: float = option(
        10.0,
        "scikit-learn's C of the logistic regression that is the wide part (model.wide_size): larger fits closer",
        group="Model",
    )
    class_weights: str | None = option(
        None, "balanced: weigh the loss of each class by the inverse of its frequency in the training split"
    )

    def __post_init__(self):
        super().__post_init__()
        if self.class_weights not in (None, "balanced"):
            raise RecipeError(f"class_weights is {self.class_weights!r}: choose balanced, or leave it out.")
        if self.class_weights and self.streaming:
            raise RecipeError("class_weights and streaming: the classes of a stream are not counted. Leave out one.")
        if not 0 < self.wide_strength < math.inf:
            raise RecipeError(f"wide_strength is {self.wide_strength}: it must be above 0.")
        has_none = not self.model.get("wide_size") and not self.model_name_or_path  # a checkpoint may have one
        if has_none and self.wide_strength != type(self).wide_strength:
            raise RecipeError(
                f"wide_strength is {self.wide_strength}, but has no effect without a wide part: set model.wide_size, "
                "or leave it out."
            )
        if self.streaming and self.model.get("wide_size"):
            raise RecipeError(wide.NO_STREAM)


class Classify(TextTask):
    """Text classification. A prediction is the list of the classes' probabilities."""

    name = "classify"
    description = Description(
        pipeline="text-classification",
        auto_class="AutoModelForSequenceClassification",
        model="text classifier",
        verb="classify",
        example="A film that I will not forget.",
        metric="accuracy",
        metric_meaning="share of the texts with the right label",
        scores=("accuracy", "macro_f1"),
        truncate_in_call=True,
        traits=("words read",),
    )
    Options = ClassifyOptions
    defaults: ClassVar = {
        "model": {
            "model_type": "rnnzoo-lstm",
            "embedding_size": 128,
            "hidden_size": 64,
            "bidirectional": True,
            "pooling": "concat",
            "embedding_dropout": 0.5,
            "classifier_dropout": 0.5,
        },
        "tokenizer": {"vocab_size": 12_500},
        "batch_size": 32,
        "learning_rate": 2e-3,
        "num_train_epochs": 20,
        "patience": 3,
        "adversarial_epsilon": 0.05,
    }
    config_fields: ClassVar = {"problem_type": "single_label_classification"}
    parity_options: ClassVar = {"top_k": None}
    weights: Tensor | None = None  # of the classes, in the loss
    wide: dict[str, float] | None = None  # of the wide part, for results.json

    def predict(self, model, batch, columns):
        outputs = model(**batch)
        return outputs.loss, outputs.logits.float().softmax(-1).tolist()

    def begin(self, options: ClassifyOptions) -> None:
        """Balanced weights: n / (C · n_c) for a class with n_c of n examples, of C classes (King & Zeng 2001)."""
        if options.class_weights:
            counts = torch.tensor(self.references(self.corpus.splits["train"])).bincount(minlength=len(self.labels))
            self.weights = counts.sum() / (len(self.labels) * counts.clamp(min=1))

    def fit(self, model: PreTrainedModel, options: ClassifyOptions) -> None:
        """Fits the wide part, if the model has one; what it says of a row then trains with the row, see `collate`."""
        if getattr(model, "wide", None) is None:
            return
        if options.streaming:  # a checkpoint may have a wide part too
            raise RecipeError(wide.NO_STREAM)
        started = time.perf_counter()
        found = wide.start(model.wide, self.rows, len(self.labels), options.wide_strength)
        seconds = time.perf_counter() - started
        validation = self.metrics(found.softmax(-1).tolist(), self.references(self.corpus.splits["validation"]))
        self.wide = {"validation": validation[self.description.metric], "seconds": round(seconds, 1)}

    def collate(self, columns: dict[str, list]) -> dict[str, Tensor]:
        batch = super().collate(columns)
        return batch | {wide.LOGITS: torch.tensor(columns[wide.LOGITS])} if wide.LOGITS in columns else batch

    def loss(self, outputs: Any, batch: dict[str, Tensor]) -> Tensor:
        if self.weights is None:
            return outputs.loss
        return nn.functional.cross_entropy(
            outputs.logits.float(), batch["labels"], self.weights.to(outputs.logits.device)
        )

    def label_weight(self, batch: dict[str, Tensor]) -> float:
        return super().label_weight(batch) if self.weights is None else float(self.weights[batch["labels"]].sum())

    def targets(self, labels: list[int]) -> list[int]:
        """Classes of the corpus as outputs of the model, which a checkpoint may have in another order."""
        if self.labels == self.corpus.labels:
            return labels
        place = {name: i for i, name in enumerate(self.labels)}
        return [place[self.corpus.labels[label]] for label in labels]

    def metrics(self, predictions: list[list[float]], references: list[int]) -> dict[str, Any]:
        found = self._accuracy.compute(predictions=list(map(_best, predictions)), references=references)
        return found | {"per_class": {self.labels[number]: scores for number, scores in found["per_class"].items()}}

    @cached_property
    def _accuracy(self) -> evaluate.Metric:
        return evaluate.load(str(Path(__file__).parent / "metrics" / "accuracy.py"))

    def baselines(self) -> dict[str, dict[str, Any]]:
        """The majority class of the training split (of validation, where that is read lazily)."""
        splits = self.corpus.splits
        counts = Counter(self.references(splits["train" if "train" in splits else "validation"]))
        always = [float(number == counts.most_common(1)[0][0]) for number in range(len(self.labels))]
        references = self.references(splits["test"])
        found = self.metrics([always] * len(references), references)
        return {"majority class": {name: value for name, value in found.items() if not isinstance(value, dict)}}

    def table(self, examples: Dataset, predictions: list[list[float]]) -> Iterator[dict[str, Any]]:
        for example, right, row in zip(examples, self.references(examples), predictions, strict=True):
            probabilities = {f"p({name})": round(p, 6) for name, p in zip(self.labels, row, strict=True)}
            yield {
                "text": example["text"],
                "label": self.labels[right],
                "prediction": self.labels[_best(row)],
                "probability": round(max(row), 6),
                **probabilities,
            }

    def more_results(self, results: dict[str, Any]) -> dict[str, Any]:
        """What the wide part alone achieves on validation, and the seconds that fitting it took."""
        return {} if self.wide is None else {"wide": self.wide}

    def confusion(self, predictions: list[list[float]], references: list[int]) -> np.ndarray:
        return confusion_matrix(references, list(map(_best, predictions)), labels=range(len(self.labels)))

    def correct(self, predictions: list[list[float]], references: list[int]) -> list[bool]:
        return [_best(row) == right for row, right in zip(predictions, references, strict=True)]

    def read_answer(self, answer: list[dict[str, Any]], example: dict[str, Any]) -> list[float]:
        scores = {part["label"]: part["score"] for part in answer}
        return [scores[label] for label in self.labels]

    def probe(self, folder: Path) -> list[probes.Probe]:
        return probes.sentiment(folder, **self.description.truncation(self.max_length))


def _best(probabilities: list[float]) -> int:
    return max(range(len(probabilities)), key=probabilities.__getitem__)
