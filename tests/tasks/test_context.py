"""Taggers with a character language model: its pretraining, its states in a tagger, complete runs, what is refused."""

import signal

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForTokenClassification, AutoTokenizer

import rnnzoo
from recipes.ner import TASK
from recipes.pretrain_characters import run as pretrain
from rnnzoo.data.errors import RecipeError
from rnnzoo.lm_tokenizer import train_context_tokenizer
from rnnzoo.tasks.context import ContextModel
from rnnzoo.training import saver
from rnnzoo.training.run import parse
from rnnzoo.training.saver import Saver
from tests.support.recipes import flags, fresh_accelerator, run


LSTM = {"model_type": "rnnzoo-lstm", "embedding_size": 6, "hidden_size": 10, "bidirectional": True}
TAGGER = {
    "model": LSTM | {"character_size": 8, "use_crf": True, "embedding_dropout": 0.3},
    "tokenizer": {"vocab_size": 300},
    **{"batch_size": 32, "learning_rate": 0.01, "verify_rows": 40, "num_threads": 1},
}


def pretrained(folder, dataset="made", **changes):
    fresh_accelerator()
    options = {"model": LSTM, "num_train_epochs": 1, "learning_rate": 0.01, "chunk_length": 30, "num_threads": 1}
    return pretrain(flags(folder, dataset, **{**options, **changes}))


@pytest.fixture(scope="module")
def characters(tmp_path_factory):
    """A folder with a character language model, and its results."""
    folder = tmp_path_factory.mktemp("runs") / "characters"
    return folder, pretrained(folder)


@pytest.fixture(scope="module")
def tagger(characters, tmp_path_factory):
    """A folder with a tagger that reads its states, and the results."""
    folder = tmp_path_factory.mktemp("runs") / "tagger"
    with pytest.MonkeyPatch.context() as patch:
        from tests.support.recipes import answered_here

        patch.setattr("rnnzoo.training.parity.answers", answered_here)
        return folder, run(TASK, folder, context_model=str(characters[0]), num_train_epochs=2, **TAGGER)


def test_its_tokenizer_reads_the_words_of_a_tagger_with_a_mark_between_them():
    tokenizer = train_context_tokenizer([["Ada's", "(in", "London)"]], min_count=1)
    ids = tokenizer("Ada's  (in London)<br />")["input_ids"]
    assert "".join(tokenizer.convert_ids_to_tokens(ids)) == "▁Ada▁'s▁(▁in▁London▁)▁"
    assert tokenizer.decode(ids) == " Ada 's ( in London ) "
    assert tokenizer.convert_ids_to_tokens(tokenizer("ሀ")["input_ids"]) == ["▁", "<unk>", "▁"]


def test_it_learns_and_reads_so_many_of_the_further_texts(tmp_path):
    (tmp_path / "texts.txt").write_text("".join(f"Ada met number {n} in London.\n" for n in range(50)))
    for split in ("train", "test"):
        words = "\n\n".join("Ada B-X\nmet O\nBabbage B-X" for _ in range(20))
        (tmp_path / f"{split}.conll").write_text(words)
    named = {"dataset": str(tmp_path), "unlabelled": str(tmp_path / "texts.txt"), "num_train_epochs": 2}
    results = pretrained(tmp_path / "run", **named, unlabelled_examples=7)
    losses = [record["validation"]["loss"] for record in results["history"]]
    assert losses[1] < losses[0]
    assert results["dataset"]["unlabelled"] == 7 and results["task"] == "pretrain_characters"
    with pytest.raises(RecipeError, match="unlabelled_examples is 7: it must be at least 1, and is for the texts"):
        pretrained(tmp_path / "refused", unlabelled_examples=7)


@torch.no_grad()
def test_a_tagger_reads_the_states_of_the_language_model_at_each_word(characters, tagger):
    model, tokenizer = (auto.from_pretrained(characters[0]) for auto in (AutoModel, AutoTokenizer))
    ours = AutoModelForTokenClassification.from_pretrained(tagger[0]).backbone
    text = "Ada Lovelace's friend (Mr. Babbage) ሀ left U.N. headquarters, didn't he?"
    ids = tokenizer(text, return_tensors="pt")
    ahead, behind = model(**ids).last_hidden_state[0].split(10, dim=1)
    marks = (ids["input_ids"][0] == tokenizer.convert_tokens_to_ids("▁")).nonzero()[:, 0]
    expected = torch.cat([ahead[marks[1:]], behind[marks[:-1]]], dim=1)
    read = AutoTokenizer.from_pretrained(tagger[0])(text, return_tensors="pt")
    found = ours(**read, output_hidden_states=True).hidden_states[0][0, :, -20:]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_run_trains_a_tagger_and_leaves_the_language_model_alone(characters, tagger):
    folder, results = tagger
    model, found = load_file(characters[0] / "model.safetensors"), load_file(folder / "model.safetensors")
    for name in ("forward_direction", "backward_direction"):
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            theirs = model[f"layers.0.{name}.{part}"]
            assert torch.equal(found[f"backbone.context_encoder.{name}.{part}"], theirs)
    assert results["metrics"]["test"]["f1"] > 0.5
    assert results["context_model"]["model"] == "characters"
    assert results["context_model"]["git_commit"] == characters[1]["git_commit"]
    assert results["model_config"]["context_size"] == 10
    assert (folder / "context_rnnzoo.py").is_file()
    said = (folder / "README.md").read_text(encoding="utf-8")
    assert "it reads the states of `characters`, a character language model" in said


def test_a_run_that_starts_from_the_tagger_needs_no_language_model(tagger, tmp_path, served_here):
    named = {"model_name_or_path": str(tagger[0]), "learning_rate": 0.0, "num_train_epochs": 1, "batch_size": 32}
    results = run(TASK, tmp_path, **named, num_threads=1, verify_rows=5)
    assert results["metrics"]["test"] == tagger[1]["metrics"]["test"]


def test_an_interrupted_run_resumes_to_the_same_weights(characters, tagger, tmp_path, monkeypatch, served_here):
    options = {**TAGGER, "context_model": str(characters[0]), "num_train_epochs": 2}
    after_step = Saver.after_step

    def told_to_stop(self):
        if self.progress.step == 3:
            signal.raise_signal(signal.SIGTERM)
        after_step(self)

    with monkeypatch.context() as patched:
        patched.setattr(Saver, "after_step", told_to_stop)
        with pytest.raises(saver.Stopped):
            run(TASK, tmp_path, **options)
    run(TASK, tmp_path, **options, resume=True)
    for name, weight in load_file(tagger[0] / "model.safetensors").items():
        assert torch.equal(load_file(tmp_path / "model.safetensors")[name], weight)


def saved(folder, tokenizer, kind=rnnzoo.LSTMModel, config=rnnzoo.LSTMConfig, **fields):
    sizes = {"vocab_size": len(tokenizer), "embedding_size": 4, "hidden_size": 3, "bidirectional": True}
    kind(config(**sizes | fields)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"kind": rnnzoo.GRUModel, "config": rnnzoo.GRUConfig}, "is a rnnzoo-gru: it must be a rnnzoo-lstm"),
        ({"bidirectional": False}, "has bidirectional=False: it must be True"),
        ({"num_hidden_layers": 2}, "has num_hidden_layers=2: it must be 1"),
        ({"vocab_size": 5}, "has ids up to .*, and its embedding 5 rows"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_before_any_data_is_read(fields, says, characters, tmp_path):
    path = saved(tmp_path / "other", AutoTokenizer.from_pretrained(characters[0]), **fields)
    with pytest.raises(RecipeError, match=says):
        parse(TASK, flags(tmp_path / "run", **TAGGER, context_model=path))


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path):
    path = saved(tmp_path / "words", rnnzoo.train_tokenizer(["a good film"], vocab_size=9))
    with pytest.raises(RecipeError, match="has no tokenizer of characters with ▁ between words"):
        parse(TASK, flags(tmp_path / "run", **TAGGER, context_model=path))
    with pytest.raises(RecipeError, match="context_model .*nowhere cannot be loaded"):
        parse(TASK, flags(tmp_path / "run", **TAGGER, context_model=str(tmp_path / "nowhere")))


def test_a_tagger_of_other_characters_or_widths_is_refused(characters):
    found = ContextModel.at(str(characters[0]))
    sizes = {"embedding_size": 4, "hidden_size": 3, "character_vocab_size": len(found.rows), **found.fields}
    for field, says in (
        ("character_vocab_size", f"has {len(found.rows)} characters, and the tagger {len(found.rows) + 1}"),
        ("context_size", "has 10 features of a state, and the tagger 11"),
        ("context_embedding_size", "has 6 features of a character, and the tagger 7"),
    ):
        other = rnnzoo.GRUForTokenClassification(rnnzoo.GRUConfig(**sizes | {field: sizes[field] + 1}))
        with pytest.raises(RecipeError, match=says):
            found.fill(other)


def test_options_that_make_no_sense_are_refused(characters, tmp_path):
    named = {"context_model": str(characters[0])}
    with pytest.raises(RecipeError, match="a checkpoint keeps the context that it was trained with"):
        parse(TASK, flags(tmp_path, **named, model_name_or_path="any/checkpoint"))
    with pytest.raises(RecipeError, match="word_length is 0, model.character_size 0 and context_model .*characters"):
        parse(TASK, flags(tmp_path, **named, model=LSTM, tokenizer={"vocab_size": 9, "word_length": 0}))
    with pytest.raises(RecipeError, match="context_size.*model is not an option"):
        parse(TASK, flags(tmp_path, model=LSTM | {"context_size": 3}, tokenizer={"vocab_size": 9}))
