"""A label for a text (many-to-one): text classification, by any model of the zoo or of transformers."""

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import evaluate
import torch
from datasets import Dataset

import rnnzoo
from rnnzoo.data import texts
from rnnzoo.training import probes
from rnnzoo.training.task import Description, Task


class Classify(Task):
    """Text classification. A prediction is the list of the classes' probabilities."""

    kind = "text-classification"
    description = Description(
        pipeline="text-classification",
        auto_class="AutoModelForSequenceClassification",
        model="text classifier",
        verb="classify",
        example="A film that I will not forget.",
        metric="accuracy",
        metric_meaning="share of the texts with the right label",
        truncate_in_call=True,
        traits=("words read",),
    )
    corpora = texts
    train_tokenizer = staticmethod(rnnzoo.train_tokenizer)
    config_fields: ClassVar = {"problem_type": "single_label_classification"}
    parity_options: ClassVar = {"top_k": None}

    def encode(self, columns: dict[str, list]) -> dict[str, list]:
        """Texts as ids. Words before the model's window are left out: they would be padding at best."""
        truncation = self.description.truncation(self.max_length)
        ids = self.tokenizer(columns["text"], return_attention_mask=False, **truncation)["input_ids"]
        window = getattr(self.config, "window", None)
        if window is not None:
            ids = [row[-window:] for row in ids]
        return {"input_ids": ids, "length": list(map(len, ids)), "labels": columns["label"]}

    def collate(self, columns: dict[str, list]) -> dict[str, torch.Tensor]:
        batch = self.tokenizer.pad({"input_ids": columns["input_ids"]}, return_tensors="pt")
        return {**batch, "labels": torch.tensor(columns["labels"])}

    def predict(self, model, batch, columns):
        outputs = model(**batch)
        return outputs.loss, outputs.logits.float().softmax(-1).tolist()

    def references(self, examples: Dataset) -> list[int]:
        return examples["label"][:]

    def metrics(self, predictions: list[list[float]], references: list[int]) -> dict[str, float]:
        return self._accuracy.compute(predictions=[row.index(max(row)) for row in predictions], references=references)

    @cached_property
    def _accuracy(self) -> evaluate.Metric:
        return evaluate.load(str(Path(__file__).parent / "metrics" / "accuracy.py"))

    def read_answer(self, answer: list[dict[str, Any]], example: dict[str, Any]) -> list[float]:
        scores = {part["label"]: part["score"] for part in answer}
        return [scores[label] for label in self.labels]

    def probe(self, folder: Path) -> list[probes.Probe]:
        return probes.sentiment(folder, **self.description.truncation(self.max_length))
