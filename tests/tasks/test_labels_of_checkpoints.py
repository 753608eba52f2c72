"""Starting from a checkpoint, classes are matched by name: in any order, with other names, or with none."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification

import rnnzoo
from recipes import imdb, ner
from rnnzoo.data.schemes import labels
from rnnzoo.data.synthetic.names import TYPES, make_sentences
from rnnzoo.data.synthetic.reviews import make_reviews
from rnnzoo.training import parity
from tests.support import recipes, small_bert


STILL = {"learning_rate": 0.0, "max_train_steps": 1, "verify_rows": 5, "num_threads": 1}
NAMES = ["negative", "positive"]


@pytest.fixture(autouse=True)
def served_here(monkeypatch):
    monkeypatch.setattr(parity, "answers", recipes.answered_here)


def reviews(folder, names, rows=120):
    """Synthetic reviews whose labels are numbers of `names`."""
    folder.mkdir()
    for split, examples in make_reviews().items():
        lines = [
            {"text": row["text"], "label": names.index(NAMES[row["label"]])} for row in examples.select(range(rows))
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "labels.json").write_text(json.dumps(names))
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A classifier of synthetic reviews that has learned something."""
    folder = tmp_path_factory.mktemp("classifier")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "answers", recipes.answered_here)
        recipes.run(
            imdb.TASK, folder, model={"model_type": "rnnzoo-gru", "embedding_size": 16, "hidden_size": 16},
            tokenizer={"vocab_size": 500}, learning_rate=0.02, num_train_epochs=2, verify_rows=5, num_threads=1,
        )  # fmt: skip
    return folder


def test_classes_in_another_order_answer_as_before(tmp_path, classifier, capsys):
    scores = {}
    for names in (NAMES, NAMES[::-1]):
        data, out = reviews(tmp_path / names[0], names), tmp_path / f"out-{names[0]}"
        scores[names[0]] = recipes.run(imdb.TASK, out, data, model_name_or_path=str(classifier), **STILL)["metrics"]
        assert json.loads((out / "config.json").read_text())["id2label"] == {"0": "negative", "1": "positive"}
    assert scores["negative"]["test"]["accuracy"] == scores["positive"]["test"]["accuracy"] > 0.7
    assert scores["negative"]["test"]["loss"] == pytest.approx(scores["positive"]["test"]["loss"], abs=1e-6)
    assert f"The classes keep the order that they have in {classifier}: negative, positive." in capsys.readouterr().out


def test_other_classes_get_a_new_head_on_the_old_backbone(tmp_path, classifier, capsys):
    data, out = reviews(tmp_path / "data", ["negative", "neutral", "positive"]), tmp_path / "out"
    results = recipes.run(imdb.TASK, out, data, model_name_or_path=str(classifier), **STILL)
    before, after = (load_file(folder / "model.safetensors") for folder in (classifier, out))
    assert after["classifier.weight"].shape == (3, 16)
    for name, weight in before.items():
        if name.startswith("backbone."):
            assert torch.equal(weight, after[name]), name
    says = "trained for other classes (negative, positive) than those of the data (negative, neutral, positive)"
    assert says in capsys.readouterr().out and says in results["notes"][0]


def test_as_many_classes_with_other_names_get_a_new_head_too(tmp_path, classifier):
    data = reviews(tmp_path / "data", NAMES)
    (data / "labels.json").write_text('["bad", "good"]')
    recipes.run(imdb.TASK, tmp_path / "out", data, model_name_or_path=str(classifier), **STILL)
    before, after = (load_file(folder / "model.safetensors") for folder in (classifier, tmp_path / "out"))
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])


TAGS = labels(TYPES)


def test_a_head_of_other_tags_is_new_also_where_the_checkpoint_lacks_a_part_of_it(tmp_path):
    """As many tags as the data has, but of other types; the CRF that is asked for is not in the checkpoint."""
    names = labels(["CHEMICAL", "DISEASE", "GENE", "SPECIES"])
    assert len(names) == len(TAGS)
    tokenizer = rnnzoo.train_tagger_tokenizer(make_sentences()["train"]["tokens"], vocab_size=300, word_length=0)
    config = rnnzoo.LSTMConfig(
        vocab_size=len(tokenizer), embedding_size=8, hidden_size=8, id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    )  # fmt: skip
    torch.manual_seed(1)  # not the seed of the run, which would draw the same head again
    rnnzoo.LSTMForTokenClassification(config).save_pretrained(tmp_path / "tagger")
    tokenizer.save_pretrained(tmp_path / "tagger")
    given = {"model_name_or_path": str(tmp_path / "tagger"), "model": {"use_crf": True}}
    results = recipes.run(ner.TASK, tmp_path / "out", **given, **STILL)
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("tagger", "out"))
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])
    assert torch.equal(before["backbone.embed_tokens.weight"], after["backbone.embed_tokens.weight"])
    assert "trained for other classes" in results["notes"][0]


def test_a_part_that_a_checkpoint_lacks_is_named_and_the_rest_is_kept(tmp_path):
    tokenizer = rnnzoo.train_tagger_tokenizer(make_sentences()["train"]["tokens"], vocab_size=300, word_length=0)
    config = rnnzoo.LSTMConfig(
        vocab_size=len(tokenizer), embedding_size=8, hidden_size=8, id2label=dict(enumerate(TAGS)),
        label2id={name: i for i, name in enumerate(TAGS)},
    )  # fmt: skip
    rnnzoo.LSTMForTokenClassification(config).save_pretrained(tmp_path / "tagger")
    tokenizer.save_pretrained(tmp_path / "tagger")
    given = {"model_name_or_path": str(tmp_path / "tagger"), "model": {"use_crf": True}}
    results = recipes.run(ner.TASK, tmp_path / "out", **given, **STILL)
    weights = [load_file(tmp_path / name / "model.safetensors")["classifier.weight"] for name in ("tagger", "out")]
    assert torch.equal(*weights)
    (note,) = results["notes"]
    assert "lacks crf.end, crf.start, crf.transitions: new" in note


@pytest.mark.parametrize("names", [["O", *TAGS[:0:-1]], TAGS[::-1]], ids=["O first", "O last"])
def test_a_tagger_with_its_tags_in_another_order_scores_and_serves_by_name(tmp_path, names):
    """Also where "O" is not the first of them: words that are not read are outside whatever its number."""
    sentences = make_sentences()["train"]["tokens"]
    tokenizer = rnnzoo.train_tagger_tokenizer(sentences, vocab_size=300, word_length=0)
    torch.manual_seed(0)
    config = rnnzoo.LSTMConfig(
        vocab_size=len(tokenizer), embedding_size=8, hidden_size=8, use_crf=True, id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    )  # fmt: skip
    rnnzoo.LSTMForTokenClassification(config).save_pretrained(tmp_path / "tagger")
    tokenizer.save_pretrained(tmp_path / "tagger")
    results = recipes.run(ner.TASK, tmp_path / "out", model_name_or_path=str(tmp_path / "tagger"), **STILL)
    assert results["served"]["largest_difference"] < 1e-5
    assert list(json.loads((tmp_path / "out" / "config.json").read_text())["id2label"].values()) == names
    weights = [load_file(tmp_path / name / "model.safetensors")["classifier.weight"] for name in ("tagger", "out")]
    assert torch.equal(*weights)


def test_classes_without_names_are_taken_in_their_order_and_said_to_be(tmp_path, capsys):
    folder = small_bert.save(tmp_path / "bert")
    assert BertForSequenceClassification(BertConfig.from_pretrained(folder)).config.id2label[0] == "LABEL_0"
    results = recipes.run(imdb.TASK, tmp_path / "out", model_name_or_path=str(folder), **STILL)
    (note,) = results["notes"]
    assert "have no names: they are taken to be negative, positive, in this order" in note
    weights = [load_file(place / "model.safetensors")["classifier.weight"] for place in (folder, tmp_path / "out")]
    assert torch.equal(*weights)
