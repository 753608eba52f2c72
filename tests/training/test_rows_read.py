"""Training only the rows of an embedding that are read gives what training all of them gives."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoTokenizer

import rnnzoo.training.run
from recipes.ner import TASK as NER
from rnnzoo import LSTMConfig, LSTMForTokenClassification
from rnnzoo.embeddings import load_word_vectors
from rnnzoo.training.options import Options
from rnnzoo.training.rows_read import RowsRead, only_rows_read
from rnnzoo.training.saver import STOPPED, Saver
from tests.support.recipes import run


NAME = "backbone.embed_tokens.weight"
SPECIAL, WORDS = [0, 1, 2], 20


@pytest.fixture
def small():
    """A model, and a task whose train and validation read five of its words."""
    torch.manual_seed(0)
    model = LSTMForTokenClassification(LSTMConfig(vocab_size=WORDS, embedding_size=3, hidden_size=2))
    rows = {"train": [[3, 9], [5]], "validation": [[7, 2]], "unlabelled": [[12]], "test": [[17]]}
    rows = {name: Dataset.from_dict({"input_ids": split}) for name, split in rows.items()}
    return model, SimpleNamespace(rows=rows, tokenizer=SimpleNamespace(all_special_ids=SPECIAL))


def test_the_rows_read_have_their_ids_and_are_put_back(small):
    model, task = small
    before, read = model.get_input_embeddings().weight.detach().clone(), [*SPECIAL, 3, 5, 7, 9, 12]
    with only_rows_read(model, task, Options()):
        embeddings = model.get_input_embeddings()
        assert list(embeddings.weight.shape) == [len(read), 3]
        assert torch.equal(embeddings(torch.tensor(read)), before[read])
        with pytest.raises(IndexError):
            embeddings(torch.tensor([[17]]))
        embeddings.weight.data += 1
    after = model.get_input_embeddings().weight
    changed = (after != before).any(1).nonzero()[:, 0].tolist()
    assert changed == read and torch.equal(after[read], before[read] + 1)
    assert isinstance(model.get_input_embeddings(), torch.nn.Embedding)


def test_padding_is_always_there():
    """A model of the zoo puts id 0 where there is no token, whatever its padding is."""
    model = LSTMForTokenClassification(LSTMConfig(vocab_size=WORDS, embedding_size=3, hidden_size=2, pad_token_id=19))
    rows = {name: Dataset.from_dict({"input_ids": [[3, 9], [5]]}) for name in ("train", "validation")}
    task = SimpleNamespace(rows=rows, tokenizer=SimpleNamespace(all_special_ids=[2]))
    with only_rows_read(model, task, Options()):
        model(torch.tensor([[3, 9], [5, 19]]), attention_mask=torch.tensor([[1, 1], [1, 0]]))


def test_rows_that_training_changes_without_reading_them_are_all_trained(small):
    model, task = small
    for changing in ({"weight_decay": 0.1}, {"freeze_word_vectors": True}):
        with only_rows_read(model, task, Options(**changing)):
            assert not isinstance(model.get_input_embeddings(), RowsRead)
    task.rows["train"] = [[3, 9], [5]]  # as a stream, no Dataset
    with only_rows_read(model, task, Options()):
        assert not isinstance(model.get_input_embeddings(), RowsRead)


@pytest.fixture
def options(tmp_path):
    """Those of a run with vectors of words that its data has, and of many that it has not."""
    torch.manual_seed(0)
    file = tmp_path / "vectors.txt"
    words = ["the", "in", "from", "london", *(f"word{i}" for i in range(200))]
    file.write_text("".join(f"{word} {' '.join(map(str, torch.randn(8).tolist()))}\n" for word in words))
    return {
        "model": {"model_type": "rnnzoo-lstm", "embedding_size": 8, "hidden_size": 8, "character_size": 4},
        "tokenizer": {"vocab_size": 5000},
        "word_vectors": str(file),
        "adversarial_epsilon": 0.1,
        "ema": 0.9,
        "max_train_steps": 12,
        "num_threads": 1,
        "verify_rows": 2,
    }


def test_a_run_ends_as_if_it_had_trained_all_rows(tmp_path, options, monkeypatch, served_here):
    found = run(NER, tmp_path / "read", **options)

    @contextmanager
    def all_rows(*args):
        yield

    monkeypatch.setattr(rnnzoo.training.run, "only_rows_read", all_rows)
    expected = run(NER, tmp_path / "all", **options)
    torch.testing.assert_close(*(load_file(tmp_path / name / "model.safetensors") for name in ("read", "all")))
    assert found["metrics"]["test"]["f1"] == pytest.approx(expected["metrics"]["test"]["f1"], abs=1e-3)
    saved, tokenizer = (
        load_file(tmp_path / "read" / "model.safetensors"),
        AutoTokenizer.from_pretrained(tmp_path / "read"),
    )
    vectors = load_word_vectors(options["word_vectors"])
    unread = saved[NAME][tokenizer.convert_tokens_to_ids(vectors.words[4:])]
    assert torch.equal(unread, vectors.vectors[4:])


def test_a_resumed_run_has_the_vectors_of_words_that_it_does_not_train(tmp_path, options, monkeypatch, served_here):
    run(NER, tmp_path / "whole", **options)
    after_step = Saver.after_step

    def stopped(self):
        self.told_to_stop = self.progress.step == 7
        after_step(self)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(Saver, "after_step", stopped)
        run(NER, tmp_path / "parts", **options)
    assert stop.value.code == STOPPED
    run(NER, tmp_path / "parts", resume=True, **options)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
