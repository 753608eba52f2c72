"""--validation_only: what it measures, that test is never evaluated, and a folder with a model that has no card."""

import json

import pytest

from recipes.imdb import TASK
from recipes.ner import TASK as TAG
from rnnzoo import cli
from rnnzoo.data.errors import RecipeError
from tests.support.recipes import run
from tests.training.conftest import SIZES


BRIEF = {
    "model": {"model_type": "rnnzoo-gru", "embedding_size": 8, "hidden_size": 8, "embedding_dropout": 0.2},
    "tokenizer": {"vocab_size": 60},
    "num_train_epochs": 2,
    "learning_rate": 0.01,
    "batch_size": 16,
    "verify_rows": 3,
    "num_threads": 1,
}

pytestmark = pytest.mark.usefixtures("served_here")


class Watched(TASK):
    """Notes the sizes of the splits that are scored."""

    scored: list[int]

    def metrics(self, predictions, references):
        type(self).scored.append(len(predictions))
        return super().metrics(predictions, references)


@pytest.mark.parametrize("half_precision", [False, True])
def test_it_is_the_same_run_and_model_without_test(tmp_path, reviews, half_precision, capsys):
    Watched.scored = []
    found = run(Watched, tmp_path / "part", reviews, **BRIEF, validation_only=True, half_precision=half_precision)
    assert set(Watched.scored) == {SIZES["validation"]}
    assert "validation: accuracy" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "part").iterdir()}
    assert names >= {"results.json", "config.json", "model.safetensors", "tokenizer.json", "modeling_rnnzoo.py"}
    assert not names & {"README.md", "predictions.csv", "history.png"}
    assert (tmp_path / "part" / "results.json").read_text() == json.dumps(found, indent=2) + "\n"
    complete = run(Watched, tmp_path / "complete", reviews, **BRIEF, half_precision=half_precision)
    assert SIZES["test"] in Watched.scored
    assert found["metrics"] == {"validation": complete["metrics"]["validation"]}
    assert found["test_correct"] is None and found["baselines"] == {}
    losses = [[record["train_loss"] for record in results["history"]] for results in (found, complete)]
    assert losses[0] == losses[1]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("part", "complete")]
    assert weights[0] == weights[1]


def test_a_folder_with_a_card_is_refused_before_any_work(tmp_path, sentences):
    options = BRIEF | {"num_train_epochs": 1}
    results = run(TAG, tmp_path, sentences, **options)
    assert results["test_correct"] is None, "the tags of a sentence are not one answer"
    before = (tmp_path / "results.json").read_text()
    with pytest.raises(RecipeError, match="has the card and the test scores of another model"):
        run(TAG, tmp_path, "nowhere", **options, validation_only=True)
    assert (tmp_path / "results.json").read_text() == before


def test_there_is_no_card_of_it(tmp_path, sentences):
    run(TAG, tmp_path, sentences, **BRIEF, validation_only=True)
    with pytest.raises(SystemExit, match="has no test scores"):
        cli.main(["card", str(tmp_path)])
    # A complete run may follow in the same folder.
    assert "test" in run(TAG, tmp_path, sentences, **BRIEF)["metrics"]
