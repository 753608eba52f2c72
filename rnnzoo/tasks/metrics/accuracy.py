"""Classification scores, for `evaluate.load("rnnzoo/tasks/metrics/accuracy.py")`, a local file."""

import datasets
import evaluate
from sklearn.metrics import precision_recall_fscore_support


class Accuracy(evaluate.Metric):
    """Accuracy, macro F1, and the scores of each class."""

    def _info(self):
        return evaluate.MetricInfo(
            description="The share of predictions that equal their reference, and scores by class.",
            citation="",
            inputs_description="predictions and references: one class number per example.",
            features=datasets.Features(
                {"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}
            ),
        )

    def _compute(self, predictions, references):
        """The macro F1 is the mean over the classes that occur; where there is nothing to divide by, a score is 0."""
        right = sum(p == r for p, r in zip(predictions, references, strict=True))
        classes = sorted({*predictions, *references})
        each = precision_recall_fscore_support(references, predictions, labels=classes, zero_division=0)
        return {
            "accuracy": right / len(references),
            "macro_f1": float(each[2].mean()),
            "per_class": {
                int(number): {"precision": float(p), "recall": float(r), "f1": float(f), "number": int(n)}
                for number, p, r, f, n in zip(classes, *each, strict=True)
            },
        }
