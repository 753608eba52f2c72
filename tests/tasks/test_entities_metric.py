"""The metric of named entities: what conlleval would say, in numbers that JSON takes."""

import json
from collections import Counter
from pathlib import Path

import evaluate
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


METRIC = Path(__file__).parents[2] / "rnnzoo" / "tasks" / "metrics" / "entities.py"


@pytest.fixture(scope="module")
def metric():
    return evaluate.load(str(METRIC))


def conlleval(references, predictions):
    """The count of conlleval.pl, word by word: an entity is correct if both begin and end together."""
    right, wanted, found = Counter(), Counter(), Counter()
    for pair in zip(references, predictions, strict=True):
        before, running = ("O-", "O-"), None
        for tags in [*zip(*pair, strict=True), ("O-", "O-")]:
            tags = tuple(f"{tag}-" if tag == "O" else tag for tag in tags)
            ends, begins = [], []
            for old, new in zip(before, tags, strict=True):
                changes = new[0] in "OB" or old[2:] != new[2:]
                ends.append(old[0] != "O" and changes)
                begins.append(new[0] != "O" and (old[0] == "O" or changes))
            if running:
                if all(ends) and before[0][2:] == before[1][2:]:
                    right[running] += 1
                if any(ends) or tags[0][2:] != tags[1][2:]:
                    running = None
            if all(begins) and tags[0][2:] == tags[1][2:]:
                running = tags[0][2:]
            for begun, tag, count in zip(begins, tags, (wanted, found), strict=True):
                count[tag[2:]] += begun
            before = tags

    def scores(right, wanted, found):
        precision, recall = (right / count if count else 0 for count in (found, wanted))
        f1 = 2 * precision * recall / (precision + recall) if right else 0
        return {"precision": precision, "recall": recall, "f1": f1}

    return scores(right.total(), wanted.total(), found.total()) | {
        "per_type": {
            kind: scores(right[kind], wanted[kind], found[kind]) | {"number": wanted[kind]}
            for kind in sorted(+(wanted + found))
        }
    }


def nearly(scores):
    """Equal but for the order in which the same numbers are divided."""
    per_type = {kind: pytest.approx(of_type) for kind, of_type in scores["per_type"].items()}
    return {name: per_type if name == "per_type" else pytest.approx(score) for name, score in scores.items()}


tags = st.sampled_from(["O", "O", "B-LOC", "I-LOC", "B-PER", "I-PER"])
sentences = st.lists(st.tuples(tags, tags), max_size=8)


@settings(deadline=None)  # files are written
@given(st.lists(sentences, min_size=1, max_size=10))
def test_scores_are_those_of_conlleval(metric, drawn):
    """For any tags, also where an I- continues nothing: models predict such."""
    references, predictions = ([[pair[side] for pair in sentence] for sentence in drawn] for side in (0, 1))
    assert metric.compute(predictions=predictions, references=references) == nearly(conlleval(references, predictions))


def test_scores_counted_by_hand(metric):
    references = ["O B-LOC I-LOC O B-PER".split(), "B-ORG O".split(), "B-LOC B-LOC".split()]
    predictions = ["O I-LOC I-LOC O B-ORG".split(), "B-ORG I-ORG".split(), "B-LOC B-LOC".split()]
    scores = metric.compute(predictions=predictions, references=references)
    assert scores == {
        "precision": 3 / 5,
        "recall": 3 / 5,
        "f1": pytest.approx(3 / 5),
        "per_type": {
            "LOC": {"precision": 1, "recall": 1, "f1": 1, "number": 3},
            "ORG": {"precision": 0, "recall": 0, "f1": 0, "number": 1},
            "PER": {"precision": 0, "recall": 0, "f1": 0, "number": 1},
        },
    }
    assert json.loads(json.dumps(scores)) == scores
    assert type(scores["per_type"]["LOC"]["number"]) is int and type(scores["f1"]) is float


@pytest.mark.parametrize("references, predictions", [([["O"]], [["O"]]), ([[]], [[]]), ([["O"]], [["B-LOC"]])])
def test_a_score_with_nothing_to_divide_by_is_zero(metric, references, predictions):
    """Without a warning, which would be an error here."""
    scores = metric.compute(predictions=predictions, references=references)
    assert (scores["precision"], scores["recall"], scores["f1"]) == (0, 0, 0)


def test_unequal_lengths_are_refused(metric):
    references, predictions = [["O"], ["B-LOC", "I-LOC", "O"]], [["O"], ["B-LOC", "I-LOC"]]
    with pytest.raises(ValueError, match=r"Sentence 1 \(counted from 0\) has 2 predicted tags for 3 words"):
        metric.compute(predictions=predictions, references=references)
