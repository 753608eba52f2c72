"""recipes.ner: labels of pieces, what is trained is what is served, the made names, and what is refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, pipeline

import rnnzoo
from rnnzoo.data import sentences as tagged
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.schemes import entities
from rnnzoo.data.synthetic import names as made_names
from rnnzoo.tasks import classify as imdb
from rnnzoo.tasks import tag as ner
from rnnzoo.training.build import build
from rnnzoo.training.command_line import parse
from tests.support import small_bert
from tests.support.small_task import fresh_accelerator


ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "recipes" / "configs" / "ner").glob("*.yaml"))
LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]

MODEL = {"model_type": "rnnzoo-lstm", "embedding_size": 16, "hidden_size": 16, "bidirectional": True}
FULL = MODEL | {"character_size": 8, "character_embedding_size": 8, "use_crf": True}
BRIEF = {"batch_size": 32, "learning_rate": 0.01, "verify_rows": 40, "num_threads": 1}


def flags(folder, dataset, **options):
    given = {"output_dir": str(folder), "dataset": str(dataset), **options}
    return [part for name, value in given.items() for part in (f"--{name}", json.dumps(value))]


def run(folder, dataset="made", **options):
    fresh_accelerator()
    return ner.recipe(flags(folder, dataset, **options))


SENTENCES = {
    "train": [
        (["Ada", "Lovelace", "met", "Mr.", "Babbage", "in", "London", "."], "B-PER I-PER O O B-PER O B-LOC O"),
        (["(", "Reuters)", "-", "Paris", "won", "2.", "Ada", "did", "not", "."], "O O O B-LOC O O B-PER O O O"),
        (["New", "York(city)", "is", "far", "from", "London", "."], "B-LOC I-LOC O O O B-LOC O"),
        (["Babbage", "2.", "London", "1."], "B-PER O B-LOC O"),
    ]
    * 6,
}
SENTENCES["test"] = SENTENCES["train"][:3]


@pytest.fixture
def sentences(tmp_path):
    folder = tmp_path / "sentences"
    folder.mkdir()
    for split, rows in SENTENCES.items():
        text = "\n\n".join("\n".join(f"{w} {t}" for w, t in zip(ws, ts.split(), strict=True)) for ws, ts in rows)
        (folder / f"{split}.conll").write_text(text + "\n")
    return folder


# ---- pieces ----


def encoded(words, tags, whole=True, limit=None, tokenizer=None):
    tokenizer = tokenizer or rnnzoo.train_tagger_tokenizer([row for row, _ in SENTENCES["train"]], vocab_size=99)
    sentence = {"tokens": [words], "tags": [tags.split()]}
    columns = ner.encode(sentence, tokenizer=tokenizer, labels=LABELS, limit=limit, whole=whole)
    return {name: column[0] for name, column in columns.items()}


def test_every_piece_of_a_word_has_a_label():
    row = encoded(["New", "York(city)", "is"], "B-LOC I-LOC O")
    assert [LABELS[i] for i in row["labels"]] == ["B-LOC", "I-LOC", "I-LOC", "I-LOC", "I-LOC", "O"]
    assert row["starts"] == [0, 1, 5] and [LABELS[i] for i in row["tags"]] == ["B-LOC", "I-LOC", "O"]
    row = encoded(["York(city)", "is"], "B-LOC O")
    assert [LABELS[i] for i in row["labels"]] == ["B-LOC", "I-LOC", "I-LOC", "I-LOC", "O"]


def test_of_a_transformers_word_the_first_piece_has_one(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(small_bert.save(tmp_path / "bert", num_labels=5))
    row = encoded(["New", "York(city)", "is"], "B-LOC I-LOC O", whole=False, tokenizer=tokenizer)
    counted = [place for place, label in enumerate(row["labels"]) if label != -100]
    assert counted == row["starts"] and row["labels"][0] == row["labels"][-1] == -100


def test_words_beyond_the_limit_count_as_no_entity():
    row = encoded(["Ada", "met", "Ada", "in", "London"], "B-PER O B-PER O B-LOC", limit=3)
    assert row["starts"] == [0, 1, 2, -1, -1] and len(row["tags"]) == 5
    outputs = type("Outputs", (), {"logits": torch.eye(5)[None, [3, 0, 3]] * 9})
    ((found, right),) = ner.read(outputs, {"starts": [row["starts"]], "tags": [row["tags"]]})
    assert [LABELS[tag] for tag, _ in found] == ["B-PER", "O", "B-PER", "O", "O"] and right == row["tags"]


def test_a_word_without_a_piece_moves_no_other(tmp_path):
    """Transformers' tokenizers leave some words out: variation selectors, which stand in WNUT-17."""
    tokenizer = AutoTokenizer.from_pretrained(small_bert.save(tmp_path / "bert", num_labels=5))
    row = encoded(["good", "\ufe0f", "film", "bad"], "O O B-PER O", whole=False, tokenizer=tokenizer)
    assert row["starts"] == [1, -1, 2, 3]
    outputs = type("Outputs", (), {"logits": torch.eye(5)[None, [0, 0, 3, 0, 0]] * 9})
    ((found, right),) = ner.read(outputs, {"starts": [row["starts"]], "tags": [row["tags"]]})
    assert [tag for tag, _ in found] == right == [0, 0, 3, 0]


# ---- whole runs ----


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    """A tagger with letters and a CRF, trained for a while on the made names."""
    folder = tmp_path_factory.mktemp("tagger")
    results = run(folder, model=FULL, tokenizer={"vocab_size": 400}, num_train_epochs=2, **BRIEF)
    return folder, results


def test_the_folder_and_its_results(tagger):
    folder, results = tagger
    found = json.loads((folder / "results.json").read_text())
    assert found == json.loads(json.dumps(results))
    assert found["task"] == "ner" and found["dataset"]["words_unread"] == {"train": 0, "validation": 0, "test": 0}
    for split in ("validation", "test"):
        assert {"f1", "precision", "recall", "per_type", "loss"} == set(found["metrics"][split])
    assert found["metrics"]["test"]["f1"] > 0.5
    assert found["served"]["largest_difference"] < 1e-4 and found["served"]["rows"] >= 40
    assert "crf.transitions" in load_file(folder / "model.safetensors")
    assert "token-classification" in (folder / "README.md").read_text()


def test_the_pipelines_entities_are_the_recipes(tagger):
    """On plain text, with any strategy and batch size: types and character offsets of whole entities."""
    folder, _ = tagger
    corpus = tagged.load("made", seed=0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = rnnzoo.LSTMForTokenClassification.from_pretrained(folder).eval()
    rows = corpus.splits["test"].select(range(60))
    columns = ner.encode(rows[:], tokenizer=tokenizer, labels=corpus.labels, limit=None, whole=True)
    with torch.no_grad():
        outputs = model(**ner.collate(tokenizer, columns))
    expected = []
    for words, (found, _) in zip(rows["tokens"], ner.read(outputs, columns), strict=True):
        ends = torch.tensor([len(word) + 1 for word in words]).cumsum(0).tolist()
        starts = [0, *ends[:-1]]
        spans = entities([corpus.labels[tag] for tag, _ in found], "IOB2")
        expected.append([(kind, starts[first], ends[last - 1] - 1) for kind, first, last in spans])
    assert sum(map(len, expected)) > 60
    texts = [" ".join(words) for words in rows["tokens"]]
    for strategy in ("simple", "first", "average", "max"):
        for batch_size in (1, 7):
            tag = pipeline("token-classification", model=str(folder), aggregation_strategy=strategy)
            found = [
                [(entity["entity_group"], entity["start"], entity["end"]) for entity in row]
                for row in tag(texts, batch_size=batch_size)
            ]
            assert found == expected, (strategy, batch_size)


def test_scores_are_marginals(tagger):
    folder, _ = tagger
    tag = pipeline("token-classification", model=str(folder), ignore_labels=[])
    text = "We all know that April comes after March ."
    inputs = tag.tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        out = tag.model(**inputs)
    for piece in tag(text):
        place = piece["index"]
        assert piece["entity"] == tag.model.config.id2label[out.tags[0, place].item()]
        assert float(piece["score"]) == pytest.approx(out.marginals[0, place, out.tags[0, place]].item(), abs=1e-5)


def test_a_folder_of_ones_own_with_pieces(sentences, tmp_path):
    results = run(tmp_path / "run", sentences, model=FULL, tokenizer={"vocab_size": 60}, num_train_epochs=30, **BRIEF)
    assert results["metrics"]["test"]["f1"] == 1.0
    assert set(results["metrics"]["test"]["per_type"]) == {"LOC", "PER"}


def test_bert_by_the_same_loop(sentences, tmp_path):
    bert = small_bert.save(tmp_path / "bert", num_labels=5)
    results = run(
        tmp_path / "run", sentences, model_name_or_path=str(bert), max_length=12, num_train_epochs=1, **BRIEF
    )
    assert results["model_type"] == "bert" and results["dataset"]["words_unread"]["train"] > 0
    assert results["served"]["words"] == sum(len(words) for words, _ in SENTENCES["test"])


def test_vectors_from_a_file_and_their_words(sentences, tmp_path):
    words = ["paris", "oslo", "the", "ada"]
    vectors = torch.randn(len(words), 6)
    rows = zip(words, vectors.tolist(), strict=True)
    (tmp_path / "vectors.txt").write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in rows))
    model = MODEL | {"embedding_size": 6}
    options = {"learning_rate": 0, "max_train_steps": 1, "verify_rows": 1, "num_threads": 1}
    given = {"model": model, "tokenizer": {"vocab_size": 99}, "word_vectors": str(tmp_path / "vectors.txt")}
    run(tmp_path / "run", sentences, **given, **options)
    vocab = AutoTokenizer.from_pretrained(tmp_path / "run").get_vocab()
    table = load_file(tmp_path / "run" / "model.safetensors")["backbone.embed_tokens.weight"]
    for word, vector in zip(words, vectors, strict=True):
        torch.testing.assert_close(table[vocab[word]], vector)
    given["model"] = MODEL
    with pytest.raises(RecipeError, match="have 6 numbers each, and the model's embedding_size is 16"):
        run(tmp_path / "other", sentences, **given, **options)
    assert not (tmp_path / "other" / "results.json").exists()


# ---- the right context ----


def ambiguous_right(folder, model):
    """The share of ambiguous names that a network of the given kind gets right."""
    options = {"tokenizer": {"vocab_size": 900}, "num_train_epochs": 6, **BRIEF, "verify_rows": 5}
    options |= {"lr_scheduler_type": "linear"}
    run(folder, model=model, **options)
    corpus = tagged.load("made", seed=0)
    test = corpus.splits["test"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tagger = rnnzoo.FAMILIES[{"rnnzoo-rnn": "RNN", "rnnzoo-birnn": "BiRNN"}[model["model_type"]]]
    network = tagger.models[ner.NerOptions.auto].from_pretrained(folder).eval()
    columns = ner.encode(test[:], tokenizer=tokenizer, labels=corpus.labels, limit=None, whole=True)
    with torch.no_grad():
        outputs = network(**ner.collate(tokenizer, columns))
    right = [
        tag == reference
        for (found, references), marks in zip(ner.read(outputs, columns), test["ambiguous"], strict=True)
        for (tag, _), reference, ambiguous in zip(found, references, marks, strict=True)
        if ambiguous
    ]
    return sum(right) / len(right), len(right)


def test_only_who_reads_on_can_tell_april_from_april(tmp_path):
    """Left to right an ambiguous name is a matter of luck; in both directions it is not."""
    small = {"embedding_size": 32, "hidden_size": 32}
    left_to_right, names = ambiguous_right(tmp_path / "rnn", {"model_type": "rnnzoo-rnn", **small})
    both, _ = ambiguous_right(tmp_path / "birnn", {"model_type": "rnnzoo-birnn", **small})
    luck = 3 * (0.25 / names) ** 0.5  # three standard deviations of a coin
    assert abs(left_to_right - 0.5) < luck, (left_to_right, names)
    assert both > 0.95


# ---- what is refused ----


@pytest.mark.parametrize(("word_length", "letters"), [(13, 28), (0, 0)], ids=["more letters", "none"])
def test_a_tokenizer_with_other_letters_than_its_model(tmp_path, word_length, letters):
    config = rnnzoo.LSTMConfig(
        vocab_size=9, embedding_size=4, hidden_size=4, character_size=4, character_vocab_size=9, num_labels=len(LABELS)
    )
    rnnzoo.LSTMForTokenClassification(config).save_pretrained(tmp_path)
    alphabet = [["abcdefghijklm", "nopqrstuvwxyz"]] * 2
    rnnzoo.train_tagger_tokenizer(alphabet, vocab_size=9, word_length=word_length).save_pretrained(tmp_path)
    options = parse(ner.NerOptions, flags(tmp_path / "out", "made", model_name_or_path=str(tmp_path)))
    says = f"tells {letters} letters apart and its model has 9 rows for them: they do not belong together"
    with pytest.raises(RecipeError, match=says):
        build(options, LABELS, [])


def test_unknown_options(tmp_path):
    with pytest.raises(RecipeError, match="word_lenght.*Did you mean 'word_length'"):
        parse(ner.NerOptions, flags(tmp_path, "made", model=MODEL, tokenizer={"vocab_size": 9, "word_lenght": 3}))
    with pytest.raises(RecipeError, match="window.*model is not an option"):
        parse(ner.NerOptions, flags(tmp_path, "made", model=MODEL | {"window": 3}, tokenizer={"vocab_size": 9}))
    with pytest.raises(RecipeError, match="word_length is 0 and model.character_size 8"):
        parse(ner.NerOptions, flags(tmp_path, "made", model=FULL, tokenizer={"vocab_size": 9, "word_length": 0}))
    with pytest.raises(RecipeError, match="character_size.*model is not an option"):
        parse(imdb.ImdbOptions, flags(tmp_path, "made", model=FULL, tokenizer={"vocab_size": 9}))
    with pytest.raises(RecipeError, match="choose rnnzoo-rnn"):
        parse(ner.NerOptions, flags(tmp_path, "made", model={}))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_makes_its_model(config, tmp_path):
    assert f"--config {config.relative_to(ROOT)}\n" in config.read_text()  # how to launch it
    options = parse(ner.NerOptions, ["--config", str(config)])
    assert options.output_dir == f"runs/ner-{config.stem}"
    if options.model_name_or_path:
        options.model_name_or_path = str(small_bert.save(tmp_path / "bert", num_labels=5))
    texts = made_names.make_sentences()["train"]["tokens"]
    tokenizer, model = build(options, LABELS, texts)
    assert model.config.vocab_size == len(tokenizer) and model.config.num_labels == len(LABELS)
