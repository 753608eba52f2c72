"""Pretraining: what it writes, what starts from it, and that an interrupted run ends as one that was not."""

import json
import signal

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from rnnzoo.data.errors import RecipeError
from rnnzoo.tasks.classify import Classify
from rnnzoo.tasks.pretrain import run as pretrain
from rnnzoo.training import saver
from rnnzoo.training.saver import Saver
from tests.support.recipes import flags, fresh_accelerator, run


LSTM = {"model_type": "rnnzoo-lstm", "embedding_size": 12, "hidden_size": 10, "bidirectional": True}
OPTIONS = {
    "model": LSTM | {"embedding_dropout": 0.2},
    "tokenizer": {"vocab_size": 300},
    "batch_size": 16,
    "chunk_length": 20,
    "num_train_epochs": 2,
    "learning_rate": 5e-3,
    "num_threads": 1,
}


def pretrained(folder, reviews, **changes):
    fresh_accelerator()
    return pretrain(flags(folder, reviews, **{**OPTIONS, **changes}))


@pytest.fixture(scope="module")
def backbone(reviews, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "backbone"
    return folder, pretrained(folder, reviews)


def test_it_learns_and_writes_a_backbone(backbone):
    folder, results = backbone
    losses = [record["validation"]["loss"] for record in results["history"]]
    assert losses[1] < losses[0]
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results["dataset"]["splits"] == {"train": 97, "validation": 23}, "test is not read"
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert type(model).__name__ == "LSTMModel" and len(tokenizer) == model.config.vocab_size
    assert not (folder / "checkpoints").exists() and not (folder / ".unfinished").exists()


def test_a_classifier_starts_from_it(backbone, reviews, tmp_path):
    folder, _ = backbone
    started = {"model_name_or_path": str(folder), "model": {"pooling": "concat"}, "batch_size": 16}
    results = run(Classify, tmp_path, reviews, **started, num_train_epochs=1, learning_rate=0.0, num_threads=1)
    assert results["model_config"]["pooling"] == "concat"
    before = json.loads((folder / "results.json").read_text())
    assert results["started_from"]["train_seconds"] == before["train_seconds"]
    assert results["started_from"]["config"] == before["config"]
    said = "it started from backbone, trained by `pretrain` on 97 texts of reviews."
    assert said in (tmp_path / "README.md").read_text(encoding="utf-8")
    ours, theirs = (load_file(path / "model.safetensors") for path in (tmp_path, folder))
    for name, weight in theirs.items():
        assert torch.equal(ours[f"backbone.{name}"], weight)


def test_an_interrupted_run_resumes_to_the_same_weights(backbone, reviews, tmp_path, monkeypatch):
    folder, _ = backbone
    after_step = Saver.after_step

    def told_to_stop(self):
        if self.progress.step == 5:
            signal.raise_signal(signal.SIGTERM)
        after_step(self)

    with monkeypatch.context() as patched:
        patched.setattr(Saver, "after_step", told_to_stop)
        with pytest.raises(saver.Stopped):
            pretrained(tmp_path, reviews)
    pretrained(tmp_path, reviews, resume=True)
    for name, weight in load_file(folder / "model.safetensors").items():
        assert torch.equal(load_file(tmp_path / "model.safetensors")[name], weight)


@pytest.mark.parametrize(
    "changes, error",
    [
        ({"words_ahead": 0}, "words_ahead is 0: it must be at least 1"),
        ({"subsample": 2.0}, "subsample is 2.0: it must lie between 0 and 1"),
        ({"adversarial_epsilon": 0.1}, "adversarial_epsilon is 0.1, but pretraining has no use for it"),
        ({"metric_for_best_model": "accuracy"}, "metric_for_best_model is 'accuracy', but pretraining has no use"),
        ({"mixed_precision": "fp16"}, "mixed_precision is fp16, which would round small gradients"),
    ],
)
def test_options_that_make_no_sense_are_refused(changes, error, reviews, tmp_path):
    with pytest.raises(RecipeError, match=error):
        pretrained(tmp_path, reviews, **changes)
