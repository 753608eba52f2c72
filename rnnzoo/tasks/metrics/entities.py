"""Named entities, for `evaluate.load("rnnzoo/tasks/metrics/entities.py")`: seqeval's counts, as conlleval has them."""

import datasets
import evaluate
from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support


class Entities(evaluate.Metric):
    """Precision, recall and F1 of complete entities: correct if the type, the first and the last word are.

    This is seqeval's default reading and not its strict one, because the published numbers come from conlleval,
    where an I- that continues nothing begins an entity.
    """

    def _info(self):
        sentences = datasets.List(datasets.Value("string"))
        return evaluate.MetricInfo(
            description="Precision, recall and F1 of complete entities, over all types and for each.",
            citation="",
            inputs_description="predictions and references: the IOB2 tags of the words, a list per sentence.",
            features=datasets.Features({"predictions": sentences, "references": sentences}),
        )

    def _compute(self, predictions, references):
        """A score with nothing to divide by is 0.

        Raises:
            ValueError: a sentence has more tags in one than in the other.
        """
        for i, (predicted, right) in enumerate(zip(predictions, references, strict=True)):
            if len(predicted) != len(right):
                raise ValueError(
                    f"Sentence {i} (counted from 0) has {len(predicted)} predicted tags for {len(right)} words: give "
                    "one for every word, O for those that the model did not read."
                )
        types = sorted({kind for tags in (predictions, references) for kind, _, _ in get_entities(tags)})
        each = precision_recall_fscore_support(references, predictions, zero_division=0)
        precision, recall, f1, _ = precision_recall_fscore_support(
            references, predictions, average="micro", zero_division=0
        )
        return {
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "per_type": {
                kind: {"precision": float(p), "recall": float(r), "f1": float(f), "number": int(number)}
                for kind, p, r, f, number in zip(types, *each, strict=True)
            },
        }
