"""Evaluation: every example once, or an error; the loss is a mean over labels, whatever the batches."""

from collections import Counter

import pytest

from rnnzoo.training import evaluation
from rnnzoo.training.evaluation import evaluate
from rnnzoo.training.launch import start
from tests.support.recipes import fresh_accelerator
from tests.support.small_task import SIZES, SmallOptions, SmallTask, Tagger, trained


@pytest.mark.parametrize(
    ("split", "says"),
    [
        (lambda batch, rank, world: [batch[1:]], "9 predictions .* for 9 different examples, where the split has 13"),
        (lambda batch, rank, world: [batch, batch[:1]], "17 predictions .* for 13 different examples"),
        (lambda batch, rank, world: [batch[1:] + batch[1:2]], "13 predictions .* for 9 different examples"),
    ],
    ids=["lost", "twice", "both"],
)
def test_an_example_that_is_lost_or_evaluated_twice_is_an_error(tmp_path, monkeypatch, split, says):
    fresh_accelerator()
    options = SmallOptions(output_dir=str(tmp_path))
    task, accelerator, model = SmallTask(), start(options), Tagger()
    evaluate(accelerator, model, task, "test", options)
    assert Counter(number - 2000 for numbers in task.seen for number in numbers) == Counter(range(SIZES["test"]))
    monkeypatch.setattr(evaluation, "split", split)
    with pytest.raises(RuntimeError, match=says):
        evaluate(accelerator, model, task, "test", options)


def test_the_loss_of_an_evaluation_is_the_mean_over_all_labels(tmp_path):
    runs = [trained(tmp_path / str(size), eval_batch_size=size).history for size in (1, 4, 100)]
    for history in runs[1:]:
        for ours, theirs in zip(runs[0], history, strict=True):
            assert ours["validation"] == pytest.approx(theirs["validation"], abs=1e-6)
