"""Accuracy, for `evaluate.load("rnnzoo/tasks/metrics/accuracy.py")`: a file of our own, so that nothing is fetched."""

import datasets
import evaluate


class Accuracy(evaluate.Metric):
    """The share of predictions that equal their reference."""

    def _info(self):
        return evaluate.MetricInfo(
            description="The share of predictions that equal their reference.",
            citation="",
            inputs_description="predictions and references: class numbers, one per example.",
            features=datasets.Features(
                {"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}
            ),
        )

    def _compute(self, predictions, references):
        right = sum(p == r for p, r in zip(predictions, references, strict=True))
        return {"accuracy": right / len(references)}
