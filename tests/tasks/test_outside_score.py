"""What is added to the score of O after training: where F1 is highest on validation."""

from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from recipes.ner import TASK
from rnnzoo.data.corpus import Corpus
from rnnzoo.data.errors import RecipeError
from rnnzoo.tasks import outside_score
from rnnzoo.training.run import parse
from tests.support import recipes


run = partial(recipes.run, TASK)
MODEL = {"model_type": "rnnzoo-gru", "embedding_size": 8, "hidden_size": 8, "use_crf": True, "iobes": True}
BRIEF = {"batch_size": 32, "learning_rate": 0.01, "verify_rows": 20, "num_threads": 1, "num_train_epochs": 1}


@pytest.mark.parametrize("best", [-2.0, -0.5, 0.0, 0.5, 1.5])
def test_the_score_moves_to_where_f1_is_highest(best):
    head = nn.Linear(3, 4)
    before = head.bias.detach().clone()
    assert outside_score.tune(head, 2, lambda: -abs(head.bias[2].item() - before[2].item() - best)) == best
    torch.testing.assert_close(head.bias.detach() - before, torch.tensor([0, 0, best, 0]))


def test_a_step_that_changes_nothing_does_not_end_the_search():
    head = nn.Linear(3, 4)
    before = head.bias[0].item()
    assert outside_score.tune(head, 0, lambda: float(head.bias[0].item() - before < -1.2)) == -1.5


def test_where_nothing_helps_the_score_stays_as_it_was():
    head = nn.Linear(3, 4)
    before = head.bias.detach().clone()
    assert outside_score.tune(head, 0, lambda: 0.5) == 0 and torch.equal(head.bias, before)


def test_a_run_stores_the_model_with_the_score_that_it_measured(tmp_path):
    given = {"model": MODEL, "tokenizer": {"vocab_size": 200}, **BRIEF}
    plain = run(tmp_path / "plain", **given)
    tuned = run(tmp_path / "tuned", **given, tune_outside_score=True)
    assert tuned["history"][0]["validation"] == plain["history"][0]["validation"] == plain["metrics"]["validation"]
    assert tuned["metrics"]["validation"]["f1"] > plain["metrics"]["validation"]["f1"]
    weights, others = (load_file(tmp_path / name / "model.safetensors") for name in ("tuned", "plain"))
    moved = weights["classifier.bias"] - others.pop("classifier.bias")
    assert tuned["outside_score"] != 0 and "outside_score" not in plain
    torch.testing.assert_close(moved[0].item(), tuned["outside_score"])
    assert not moved[1:].any() and all(torch.equal(weights[name], other) for name, other in others.items())
    assert "was added to the score of O" in (tmp_path / "tuned" / "README.md").read_text()


def test_where_every_word_has_a_class_there_is_no_such_score(tmp_path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.conll").write_text("she PRON\nruns VERB\n\n" * 20)
    given = {"model": MODEL, "tokenizer": {"vocab_size": 9}, **BRIEF, "validation_only": True}
    assert "outside_score" not in run(tmp_path / "out", tmp_path, **given, tune_outside_score=True)


def test_a_model_whose_head_is_not_known_is_refused():
    task = TASK(Corpus("small", "here", ["O", "B-X"], {}, scheme="IOB2"))
    options = parse(TASK, ["--model_name_or_path", "some/model", "--tune_outside_score", "true"])
    with pytest.raises(RecipeError, match="some/model has no dense layer .* set tune_outside_score to false"):
        task.fit(nn.Module(), options)
