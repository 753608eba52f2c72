"""Language models as a task: the carried state, resuming with it, both ways to read texts, and the scores."""

import json
import math
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rnnzoo.cli import main
from rnnzoo.data.errors import DataError, RecipeError
from rnnzoo.scoring import score_texts, token_nats
from rnnzoo.tasks.classify import Classify
from rnnzoo.tasks.language_model import LanguageModel
from rnnzoo.tasks.tag import Tag
from rnnzoo.training import saver
from rnnzoo.training.saver import Saver
from tests.support.recipes import run


TEXTS = {
    "train": [f"text {n}: {'la ' * (n % 7)}{'do ' * (n % 3)}end" for n in range(60)],
    "test": [f"text {n}: {'la ' * (n % 5)}do" for n in range(100, 113)],
}
OPTIONS = {
    "model": {"model_type": "rnnzoo-lstm", "embedding_size": 12, "hidden_size": 14, "embedding_dropout": 0.2},
    "tokenizer": {"unit": "character"},
    "batch_size": 6,
    "chunk_length": 10,
    "num_train_epochs": 2,
    "learning_rate": 0.02,
    "num_threads": 1,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for split, texts in TEXTS.items():
        (folder / f"{split}.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return folder


def trained(folder, data, **changes):
    """A run that is not measured on test, which takes a new process."""
    return run(LanguageModel, folder, data, **OPTIONS | {"validation_only": True} | changes)


@pytest.fixture(scope="module")
def model_folder(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "lm"
    return folder, trained(folder, data, validation_only=False)


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_it_learns_and_its_folder_scores_and_writes(model_folder):
    folder, results = model_folder
    first, last = (record["validation"]["perplexity"] for record in results["history"])
    assert last < first and results["selected_by"] == "loss"
    assert results["description"]["metric"] == "perplexity" and results["description"]["lower_is_better"]
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results["served"]["rows"] == 13 and results["served"]["largest_difference"] < 1e-5
    assert (folder / "predictions.csv").read_text(encoding="utf-8-sig").startswith("text,nats,tokens\n")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer("text 1", return_tensors="pt")
    written = tokenizer.decode(model.generate(**prompt, max_new_tokens=30)[0], skip_special_tokens=True)
    assert written.startswith("text 1") and model.generation_config.eos_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize("without", ["", "results.json"])
def test_the_command_writes_on_from_a_text(model_folder, tmp_path, capfd, without):
    folder = shutil.copytree(model_folder[0], tmp_path / "lm", ignore=shutil.ignore_patterns(without))
    main(["predict", str(folder), "text 1"])
    written = capfd.readouterr().out
    assert written.startswith("text 1") and len(written) > len("text 1 ") and written.endswith("\n")
    main(["predict", str(folder), "text 1", "--json"])
    assert json.loads(capfd.readouterr().out)[0]["generated_text"].startswith("text 1")


def test_perplexity_is_that_of_a_plain_loop_over_tokens(model_folder):
    folder, results = model_folder
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    nats, tokens, found = 0.0, 0, list(score_texts(model, tokenizer, TEXTS["test"], batch_size=4))
    for text, score in zip(TEXTS["test"], found, strict=True):
        ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        of_text = 0.0
        for t in range(1, len(ids)):
            with torch.no_grad():
                logits = model(torch.tensor([ids[:t]])).logits[0, -1]
            of_text -= logits.log_softmax(0)[ids[t]].item()
        assert score == (pytest.approx(of_text, rel=1e-4), len(text) + 1)
        assert score.perplexity == pytest.approx(math.exp(of_text / len(ids[1:])), rel=1e-4)
        nats, tokens = nats + of_text, tokens + len(ids) - 1
    test = results["metrics"]["test"]
    assert test["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    assert test["bits_per_character"] == pytest.approx(nats / math.log(2) / tokens, rel=1e-4)
    assert test["loss"] == pytest.approx(nats / tokens, rel=1e-4)


def test_texts_are_scored_whatever_is_beside_them_and_one_string_is_no_list(model_folder):
    folder, _ = model_folder
    both = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = ["", "text 1: la end", "?"]
    alone = [score for text in texts for score in score_texts(*both, [text])]
    for ours, theirs in zip(score_texts(*both, texts), alone, strict=True):
        assert ours == (pytest.approx(theirs.nats, rel=1e-5), theirs.tokens)
    assert [score.tokens for score in alone] == [1, 15, 2]
    with pytest.raises(TypeError, match="texts is one str, 'text 1': give a list of texts"):
        list(score_texts(*both, "text 1"))
    with pytest.raises(ValueError, match="batch_size=0 must be at least 1"):
        list(score_texts(*both, texts, batch_size=0))


@pytest.mark.parametrize("model_type", ["rnnzoo-rnn", "rnnzoo-lstm", "rnnzoo-gru"])
def test_chunks_with_a_carried_state_have_the_loss_of_streams_read_at_once(data, monkeypatch, tmp_path, model_type):
    steps, inputs = [], LanguageModel.inputs

    def noted(self, batch):
        steps.append(batch)
        return inputs(self, batch)

    monkeypatch.setattr(LanguageModel, "inputs", noted)
    model = OPTIONS["model"] | {"model_type": model_type, "embedding_dropout": 0.0, "num_hidden_layers": 2}
    # Of a model that does not learn, the mean loss of an epoch's steps can be found afterwards.
    results = trained(tmp_path, data, model=model, learning_rate=0.0, chunk_length=7)
    steps = steps[len(steps) // 2 :]  # those of the second epoch, which begins without a state again
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    sums = torch.zeros(len(steps))
    for b in range(OPTIONS["batch_size"]):
        real = [step["attention_mask"][b].bool() if "attention_mask" in step else ... for step in steps]
        read, labels = (
            [step[name][b][part] for step, part in zip(steps, real, strict=True)] for name in ("input_ids", "labels")
        )
        nats = token_nats(loaded, torch.cat(read)[None], None, torch.cat(labels)[None])[0]
        sums += torch.stack([part.sum() for part in nats.split(list(map(len, read)))])
    counts = torch.tensor([(step["labels"] != -100).sum() for step in steps])
    assert len(steps) > 5
    assert results["history"][1]["train_loss"] == pytest.approx((sums / counts).mean().item(), rel=1e-4)


@pytest.mark.parametrize("changes", [{}, {"documents": True}, {"streaming": True}], ids=str)
def test_a_new_model_starts_at_the_frequencies_of_tokens(changes, tmp_path):
    for split in ("train", "test", "validation"):
        texts = TEXTS[split if split in TEXTS else "test"]
        (tmp_path / f"{split}.txt").write_text("\n".join(texts), encoding="utf-8")
    trained(tmp_path / "run", tmp_path, learning_rate=0.0, num_train_epochs=1, **changes)
    model, tokenizer = (auto.from_pretrained(tmp_path / "run") for auto in (AutoModelForCausalLM, AutoTokenizer))
    characters = "".join(TEXTS["train"])
    total = len(characters) + len(TEXTS["train"])
    shares = {token: model.lm_head.bias[i].exp().item() for token, i in tokenizer.get_vocab().items()}
    for token, count in {"e": characters.count("e"), " ": characters.count(" "), "</s>": 60}.items():
        assert shares[token] == pytest.approx(count / total)
    assert shares["<pad>"] == shares["<s>"] == min(shares.values()) > 0


def test_a_sampled_softmax_learns_what_the_complete_one_does(model_folder, data, tmp_path):
    perplexity = model_folder[1]["metrics"]["validation"]["perplexity"]
    sampled = trained(tmp_path, data, sampled_softmax=True)["metrics"]["validation"]["perplexity"]
    assert sampled == pytest.approx(perplexity, rel=0.1)
    complete, found = weights(model_folder[0]), weights(tmp_path)
    assert not torch.equal(found["lm_head.weight"], complete["lm_head.weight"]), "it is not in use"


def test_a_run_that_is_told_to_stop_resumes_to_the_same_weights(model_folder, data, tmp_path, monkeypatch):
    folder, _ = model_folder
    after_step = Saver.after_step

    def told_to_stop(self):
        if self.progress.step == 17:
            signal.raise_signal(signal.SIGTERM)
        after_step(self)

    with monkeypatch.context() as patched:
        patched.setattr(Saver, "after_step", told_to_stop)
        with pytest.raises(saver.Stopped):
            trained(tmp_path, data)
    assert (tmp_path / "checkpoints" / "step-17" / "carried.safetensors").exists()
    trained(tmp_path, data, resume=True)
    for name, weight in weights(folder).items():
        assert torch.equal(weights(tmp_path)[name], weight), name


@pytest.mark.parametrize("chunk_length", [10, 1])  # of one token, some micro-batches have no label, and some no token
def test_micro_batches_carry_the_states_of_their_own_streams(data, tmp_path, chunk_length):
    plain = {"model": OPTIONS["model"] | {"embedding_dropout": 0.0}, "num_train_epochs": 1, "learning_rate": 2e-3}
    trained(tmp_path / "one", data, chunk_length=chunk_length, **plain)
    trained(tmp_path / "six", data, chunk_length=chunk_length, **plain, gradient_accumulation_steps=6)
    for name, weight in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "six")[name], weight, rtol=1e-3, atol=1e-4)


def test_texts_read_lazily_train_as_those_in_memory(model_folder, data, tmp_path):
    for split in ("train", "test", "validation"):
        texts = TEXTS[split if split in TEXTS else "test"]
        (tmp_path / f"{split}.txt").write_text("\n".join(texts), encoding="utf-8")
    trained(tmp_path / "memory", tmp_path)
    results = trained(tmp_path / "lazy", tmp_path, streaming=True)
    assert results["dataset"]["splits"] == {"train": 60, "validation": 13, "test": 13}
    for name, weight in weights(tmp_path / "memory").items():
        assert torch.equal(weights(tmp_path / "lazy")[name], weight), name


def test_steps_on_texts_that_are_read_lazily_are_as_many_as_asked_for(data, tmp_path):
    results = trained(tmp_path, data, streaming=True, chunk_length=200, max_train_steps=3)
    assert results["history"][-1]["step"] == 3


def test_documents_are_read_each_from_its_beginning(data, tmp_path):
    (tmp_path / "more.txt").write_text("\n".join(f"more {n}" for n in range(12)))
    results = trained(tmp_path / "run", data, documents=True, unlabelled=str(tmp_path / "more.txt"), max_train_steps=3)
    assert results["history"][-1]["step"] == 3 and results["dataset"]["unlabelled"] == 12


@pytest.mark.parametrize("task", [Classify, Tag])
def test_a_classifier_and_a_tagger_start_from_its_words_and_layers(task, data, tmp_path):
    lm, of_task = tmp_path / "lm", tmp_path / "data"
    trained(lm, data, tokenizer={"unit": "word"}, max_train_steps=1)
    of_task.mkdir()
    for split in ("train", "test"):
        tagged = "".join("do O\n" * (n % 3) + "text B-X\n\n" for n in range(20))
        labelled = "text,label\n" + "".join("text do,good\n" if n % 2 else "la end,bad\n" for n in range(20))
        (of_task / f"{split}.{'csv' if task is Classify else 'conll'}").write_text(
            labelled if task is Classify else tagged
        )
    model = {"pooling": "concat"} if task is Classify else {"use_crf": True}
    steps = {"max_train_steps": 2, "learning_rate": 0.0, "num_threads": 1}
    results = run(task, tmp_path / "run", of_task, model_name_or_path=str(lm), model=model, **steps)
    assert f"{lm} has no head for this task: its head is new." in results["notes"]
    assert results["served"]["largest_difference"] < 1e-5
    before, after = (load_file(path / "model.safetensors") for path in (lm, tmp_path / "run"))
    kept = {name for name in before if name.startswith("backbone.")}
    assert len(kept) > 4 and all(torch.equal(after[name], before[name]) for name in kept)
    assert AutoTokenizer.from_pretrained(tmp_path / "run").get_vocab() == AutoTokenizer.from_pretrained(lm).get_vocab()


def test_a_word_that_the_vocabulary_lacks_is_expected_but_not_written(data, tmp_path):
    trained(tmp_path, data, tokenizer={"unit": "word", "vocab_size": 8}, max_train_steps=1)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    start = tokenizer("la", return_tensors="pt")
    assert model(**start).logits[0, -1].softmax(0)[tokenizer.unk_token_id] > 0.05
    for ways in ({}, {"do_sample": True, "top_k": 0, "num_return_sequences": 20}, {"num_beams": 3}):
        assert tokenizer.unk_token_id not in model.generate(**start, max_new_tokens=30, **ways)


def test_training_goes_on_from_a_language_model(model_folder, data, tmp_path):
    folder, before = model_folder
    changes = {"model": {}, "tokenizer": {}, "learning_rate": 0.0, "max_train_steps": 1}
    after = trained(tmp_path, data, model_name_or_path=str(folder), **changes)
    assert after["notes"] == [], "it has no classes of which something could be said"
    assert after["metrics"]["validation"]["loss"] == pytest.approx(before["metrics"]["validation"]["loss"], rel=1e-6)


def test_a_tagger_cannot_start_from_a_model_that_reads_spaces(model_folder, tmp_path):
    with pytest.raises(RecipeError, match="has tokens for the spaces of a text"):
        run(Tag, tmp_path, model_name_or_path=str(model_folder[0]))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"chunk_length": 0}, "chunk_length is 0: it must be at least 1"),
        ({"adversarial_epsilon": 0.1}, "adversarial_epsilon is 0.1, but a language model has no use for it"),
        ({"word_vectors": "word2vec"}, "word_vectors is word2vec, but a language model has no use for it"),
        ({"gradient_accumulation_steps": 7}, "batch_size is 6, so many streams, and cannot be split into 7"),
        (
            {"model": {"model_type": "rnnzoo-birnn"}},
            "no language model is a rnnzoo-birnn: choose rnnzoo-rnn",
        ),
        ({"model": OPTIONS["model"] | {"bidirectional": True}}, "model.bidirectional is true, but a language model"),
        ({"tokenizer": {"unit": "letter"}}, "unit='letter' is not a choice"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(changes, says, data, tmp_path):
    with pytest.raises(RecipeError, match=says):
        trained(tmp_path, data, **changes)


def test_data_without_texts_are_refused(tmp_path):
    (tmp_path / "train.csv").write_text("label,number\n1,2\n3,4\n")
    with pytest.raises(DataError, match="there is no column 'text', only: label, number"):
        trained(tmp_path / "run", tmp_path)
