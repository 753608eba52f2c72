"""Teachers: their answers are those of their own code, their labels are matched by name, their scales are levelled."""

import itertools
import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import rnnzoo
from rnnzoo.data.errors import RecipeError
from rnnzoo.training.answers import answers, by_text
from rnnzoo.training.teachers import Teacher, WordNetwork, combine, spread
from tests.support import small_bert


LABELS = ["negative", "positive"]
NAMED = {"id2label": dict(enumerate(LABELS)), "label2id": {name: i for i, name in enumerate(LABELS)}}
REVERSED = {"id2label": {0: "positive", 1: "negative"}, "label2id": {"positive": 0, "negative": 1}}


def of_the_zoo(folder, **changes):
    """Writes an untrained network of the zoo."""
    tokenizer = rnnzoo.train_tokenizer(["a good film", "not a good film, not at all", "bad"], vocab_size=30)
    config = rnnzoo.LSTMConfig(vocab_size=len(tokenizer), embedding_size=5, hidden_size=4, **NAMED | changes)
    torch.manual_seed(0)
    rnnzoo.LSTMForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def loaded(folder, batch_size=3, bf16=False):
    return Teacher(str(folder), {}).load(batch_size, bf16)


TEXTS = ["a good film", "", "bad " * 100, "not good", "a film so bad that it is good, not at all bad"]


@pytest.mark.parametrize("save", [of_the_zoo, small_bert.save, lambda folder: of_the_zoo(folder, window=3)])
def test_a_network_answers_as_its_pipeline_does(tmp_path, save):
    save(tmp_path, **NAMED) if save is small_bert.save else save(tmp_path)
    logits = loaded(tmp_path)(TEXTS)
    served = pipeline("text-classification", model=str(tmp_path), top_k=None)(
        TEXTS, truncation=save is small_bert.save
    )
    for row, answer in zip(logits.softmax(-1), served, strict=True):
        scores = {part["label"]: part["score"] for part in answer}
        assert row.tolist() == pytest.approx([scores[label] for label in LABELS], abs=1e-5)


def test_labels_are_matched_by_name(tmp_path):
    forward, backward = (
        Teacher(str(small_bert.save(tmp_path / n, **o)), {}) for n, o in (("a", NAMED), ("b", REVERSED))
    )
    assert forward.columns(LABELS) == [0, 1] and backward.columns(LABELS) == [1, 0]
    assert backward.columns(LABELS[::-1]) == [0, 1]
    unnamed = Teacher(str(small_bert.save(tmp_path / "c")), {})
    assert unnamed.labels == ["LABEL_0", "LABEL_1"] and unnamed.columns(LABELS) == [0, 1]
    with pytest.raises(RecipeError, match=r"b has the classes positive, negative, and the data bad, good: it cannot"):
        backward.columns(["bad", "good"])
    with pytest.raises(RecipeError, match="it cannot teach them"):
        backward.columns([*LABELS, "neither"])


def test_what_is_no_teacher_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="The teacher .* is neither a text classifier of transformers nor a folder"):
        Teacher(str(tmp_path), {})
    (tmp_path / "results.json").write_text(json.dumps({"model_type": "bag", "metrics": {"validation": {}}}))
    with pytest.raises(RecipeError, match="its results.json lists no classes"):
        Teacher(str(tmp_path), {"bag": lambda folder: None})


def test_a_fingerprint_follows_from_all_that_decides_the_answers(tmp_path):
    folder = of_the_zoo(tmp_path / "a")
    first = loaded(folder).fingerprint
    moved = folder.rename(tmp_path / "moved")
    (moved / "results.json").write_text(json.dumps({"model_type": "rnnzoo-lstm", "latency": 1}))
    assert loaded(moved, batch_size=7).fingerprint == first
    others = [loaded(moved, bf16=True).fingerprint, loaded(of_the_zoo(tmp_path / "b", window=2)).fingerprint]
    model = AutoModelForSequenceClassification.from_pretrained(moved)
    with torch.no_grad():
        model.classifier.bias[0] += 1e-3 if hasattr(model.classifier, "bias") else 0
    model.save_pretrained(moved)
    others.append(loaded(moved).fingerprint)
    rnnzoo.train_tokenizer(["a good film, bad, not at all"] * 2, vocab_size=30).save_pretrained(moved)
    others.append(loaded(moved).fingerprint)
    short = AutoTokenizer.from_pretrained(small_bert.save(tmp_path / "c"))
    others.append(loaded(tmp_path / "c").fingerprint)
    short.model_max_length = 9
    short.save_pretrained(tmp_path / "c")
    others.append(loaded(tmp_path / "c").fingerprint)
    assert len({first, *others}) == 7


def test_a_bag_answers_with_log_probabilities_and_its_files_are_its_fingerprint(tmp_path):
    scores = {name: {"f1": 1.0} for name in LABELS}
    results = {"model_type": "bag", "metrics": {"validation": {"per_class": scores}}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "weights").write_text("1")
    teacher = Teacher(str(tmp_path), {"bag": lambda folder: lambda texts: [[0.25, 0.75], [1.0, 0.0]]})
    assert teacher.labels == LABELS
    bag = teacher.load(3, bf16=False)
    found, before = bag(["a", "b"]), bag.fingerprint
    torch.testing.assert_close(found.softmax(-1), torch.tensor([[0.25, 0.75], [1.0, 0.0]]))
    assert found.isfinite().all() and found.dtype == torch.float32
    (tmp_path / "results.json").write_text("{}")
    assert teacher.load(3, bf16=False).fingerprint == before
    (tmp_path / "weights").write_text("2")
    assert teacher.load(3, bf16=False).fingerprint != before


# ---- taggers ----

TAGS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
TAGGED = {"id2label": dict(enumerate(TAGS)), "label2id": {name: i for i, name in enumerate(TAGS)}}
SENTENCES = [
    ("Ada", "Lovelace", "met", "Mr.", "Babbage", "in", "London"),
    ("New", "York(city)", "is", "far", "from", "London"),
    ("Reuters)",),
    ("a", "good") * 20,
]


def tagger_of_the_zoo(folder, **changes):
    """Writes an untrained tagger of the zoo whose tags depend on each other, if it has a CRF."""
    tokenizer = rnnzoo.train_tagger_tokenizer(SENTENCES, vocab_size=30)
    size = {"embedding_size": 5, "hidden_size": 4, "character_size": 4, "vocab_size": len(tokenizer)}
    config = rnnzoo.LSTMConfig(**size, character_vocab_size=tokenizer.character_vocab_size, **TAGGED | changes)
    torch.manual_seed(0)
    model = rnnzoo.LSTMForTokenClassification(config)
    for weights in model.crf.parameters() if model.crf else ():
        torch.nn.init.normal_(weights)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tagger(folder, batch_size=3, bf16=False):
    return Teacher(str(folder), {}, WordNetwork).load(batch_size, bf16)


def transformer(folder):
    return small_bert.save(folder, **TAGGED)


@pytest.mark.parametrize(
    "save", [lambda folder: tagger_of_the_zoo(folder, use_crf=True), tagger_of_the_zoo, transformer]
)
def test_a_tagger_answers_for_each_word_at_its_first_sub_token(tmp_path, save):
    """Whatever sentences are asked together: as the model does alone; with a CRF, by its marginals."""
    model = tagger(save(tmp_path))
    found = by_text(model(SENTENCES), SENTENCES)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for words, rows in zip(SENTENCES, found, strict=True):
        assert len(rows) == len(words)
        inputs = tokenizer([list(words)], is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            outputs = model.model(**inputs)
        marginals = getattr(outputs, "marginals", None)
        probabilities = outputs.logits.softmax(-1) if marginals is None else marginals
        word_ids = inputs.word_ids(0)
        expected = torch.stack([probabilities[0, word_ids.index(n)] for n in range(len(words))])
        torch.testing.assert_close(rows.softmax(-1), expected, atol=1e-5, rtol=0)


def test_words_that_a_tagger_does_not_read_have_no_logits(tmp_path):
    """Beyond its 64 positions, and what transformers' tokenizers drop: variation selectors."""
    found = tagger(transformer(tmp_path))([("a",) * 100, ("good", "\ufe0f", "film")]).isfinite().all(1)
    assert found.tolist() == [True] * 62 + [False] * 38 + [True, False, True]


def test_a_tagger_whose_weights_are_not_finite_cannot_teach(tmp_path):
    """NaN would pass for words that are not read."""
    model = tagger(transformer(tmp_path / "bert"))
    with torch.no_grad():
        model.model.classifier.weight.fill_(float("nan"))
    with pytest.raises(RecipeError, match="not finite: it cannot teach"):
        answers(tmp_path / "answers", model, SENTENCES)


def test_a_taggers_fingerprint_follows_from_its_characters_too(tmp_path):
    folder = tagger_of_the_zoo(tmp_path)
    first = tagger(folder).fingerprint
    assert tagger(folder, batch_size=7).fingerprint == first
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["letters"] = config["letters"][::-1]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    assert tagger(folder).fingerprint != first


def test_what_is_no_tagger_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="is neither a tagger of transformers nor a folder that a recipe wrote"):
        Teacher(str(tmp_path), {}, WordNetwork)
    of_texts = Teacher(str(of_the_zoo(tmp_path / "classifier")), {}, WordNetwork)
    with pytest.raises(RecipeError, match="has the classes negative, positive, and the data O, B-LOC"):
        of_texts.columns(TAGS)


# ---- several teachers ----


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_spread_is_the_deviation_of_the_margins_of_all_pairs_of_classes(classes):
    logits = torch.randn(40, classes) * torch.arange(1, classes + 1) + 7 * torch.randn(40, 1)
    pairs = list(itertools.combinations(range(classes), 2))
    margins = [(logits[:, a] - logits[:, b]).double().var(correction=0).item() for a, b in pairs]
    assert spread(logits) == pytest.approx((sum(margins) / len(pairs)) ** 0.5, rel=1e-5)


def test_teachers_count_by_their_weights_whatever_their_scale():
    network, bag = torch.randn(30, 3), torch.randn(30, 3)
    spreads = [spread(network), spread(bag)]
    both = combine([network, bag], spreads, [1.0, 3.0])
    mean = (network / spreads[0] + 3 * bag / spreads[1]) / 4
    torch.testing.assert_close(both, mean * (spreads[0] + 3 * spreads[1]) / 4)
    scaled = combine([10 * network, bag], [spread(10 * network), spreads[1]], [1.0, 3.0])
    torch.testing.assert_close(scaled / scaled.norm(), both / both.norm())
    torch.testing.assert_close(combine([network], [spreads[0]], [5.0]), network)


def test_a_row_is_that_of_the_teachers_who_answer_it():
    network, bag = torch.randn(4, 2), torch.randn(4, 2)
    network[1:3], bag[2:] = float("nan"), float("nan")
    found = combine([network, bag], [2.0, 0.5], [1.0, 1.0])
    torch.testing.assert_close(found[0], (network[0] / 2 + bag[0] / 0.5) / 2 * 1.25)
    torch.testing.assert_close(found[1], bag[1] / 0.5 * 1.25)
    assert found[2].isnan().all()
    torch.testing.assert_close(found[3], network[3] / 2 * 1.25)
