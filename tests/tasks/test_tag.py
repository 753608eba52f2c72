"""Tagging by recipes.ner: labels of sub-tokens, complete runs, what they serve, synthetic names, what is refused."""

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline
from transformers.modeling_outputs import TokenClassifierOutput

import rnnzoo
from recipes.imdb import TASK as CLASSIFY
from recipes.ner import TASK
from rnnzoo.data.corpus import Corpus
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.schemes import entities
from rnnzoo.data.synthetic import names
from rnnzoo.training.build import build
from rnnzoo.training.run import parse
from tests.support import recipes, small_bert
from tests.support.recipes import flags


ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "recipes" / "configs" / "ner").glob("*.yaml"))
LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]

MODEL = {"model_type": "rnnzoo-lstm", "embedding_size": 16, "hidden_size": 16, "bidirectional": True}
FULL = MODEL | {"character_size": 8, "character_embedding_size": 8, "use_crf": True}
BRIEF = {"batch_size": 32, "learning_rate": 0.01, "verify_rows": 40, "num_threads": 1}

run = partial(recipes.run, TASK)


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


# ---- sub-tokens ----


def task_with(tokenizer=None, config=None, max_length=None):
    """The task with what reads sentences: by default, the zoo's tokenizer and a configuration of the zoo."""
    tokenizer = tokenizer or rnnzoo.train_tagger_tokenizer([row for row, _ in SENTENCES["train"]], vocab_size=99)
    return TASK(
        Corpus("small", "here", LABELS, {}, scheme="IOB2"), tokenizer, config or rnnzoo.LSTMConfig(), max_length
    )


@pytest.fixture
def bert_task(tmp_path):
    """The task with the tokenizer and the configuration of a transformer."""
    model = AutoModelForTokenClassification.from_pretrained(small_bert.save(tmp_path / "bert", num_labels=5))
    return task_with(AutoTokenizer.from_pretrained(tmp_path / "bert"), model.config)


def encoded(task, words, tags):
    columns = task.encode({"tokens": [words], "tags": [tags.split()]})
    return {name: column[0] for name, column in columns.items()}


def predicted(task, row, best):
    """What the task reads from a model that finds these tags at the sub-tokens of an encoded sentence."""

    def model(**batch):
        return TokenClassifierOutput(loss=torch.tensor(0.0), logits=torch.eye(5)[None, best] * 9)

    _, (found,) = task.predict(model, {}, {"starts": [row["starts"]]})
    return [LABELS[tag] for tag, _ in found]


def test_every_sub_token_of_a_word_has_a_label():
    row = encoded(task_with(), ["New", "York(city)", "is"], "B-LOC I-LOC O")
    assert [LABELS[i] for i in row["labels"]] == ["B-LOC", "I-LOC", "I-LOC", "I-LOC", "I-LOC", "O"]
    assert row["starts"] == [0, 1, 5] and [LABELS[i] for i in row["tags"]] == ["B-LOC", "I-LOC", "O"]
    row = encoded(task_with(), ["York(city)", "is"], "B-LOC O")
    assert [LABELS[i] for i in row["labels"]] == ["B-LOC", "I-LOC", "I-LOC", "I-LOC", "O"]


def test_for_a_transformer_the_first_sub_token_of_a_word_has_a_label(bert_task):
    row = encoded(bert_task, ["New", "York(city)", "is"], "B-LOC I-LOC O")
    labelled = [position for position, label in enumerate(row["labels"]) if label != -100]
    assert labelled == row["starts"] and row["labels"][0] == row["labels"][-1] == -100


def test_truncated_words_count_as_outside():
    task = task_with(max_length=3)
    row = encoded(task, ["Ada", "met", "Ada", "in", "London"], "B-PER O B-PER O B-LOC")
    assert row["starts"] == [0, 1, 2, -1, -1] and len(row["tags"]) == 5
    assert predicted(task, row, [3, 0, 3]) == ["B-PER", "O", "B-PER", "O", "O"]
    task.rows = {"train": Dataset.from_dict({"starts": [row["starts"]] * 2})}
    assert task.remarks() == {"words_unread": {"train": 4}}


def test_truncated_words_are_outside_whatever_number_that_has():
    names = LABELS[::-1]
    config = rnnzoo.LSTMConfig(id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)})
    task = task_with(config=config, max_length=1)
    assert task.labels == names
    outputs = SimpleNamespace(loss=None, logits=torch.eye(5)[None, [1]] * 9)
    _, (found,) = task.predict(lambda: outputs, {}, {"starts": [[0, -1]]})
    assert [names[tag] for tag, _ in found] == [names[1], "O"]
    found = task.read_answer([{"start": 0, "entity": names[1], "score": 0.9}], {"tokens": ["Ada", "ran"]})
    assert [names[tag] for tag, _ in found] == [names[1], "O"]


def test_a_word_without_a_sub_token_moves_no_other(bert_task):
    """Transformers' tokenizers drop some words: variation selectors, which occur in WNUT-17."""
    row = encoded(bert_task, ["good", "\ufe0f", "film", "bad"], "O O B-PER O")
    assert row["starts"] == [1, -1, 2, 3]
    assert predicted(bert_task, row, [0, 0, 3, 0, 0]) == ["O", "O", "B-PER", "O"]


# ---- complete runs ----


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    """A tagger with characters and a CRF, trained for a while on synthetic names."""
    folder = tmp_path_factory.mktemp("tagger")
    results = run(folder, model=FULL, tokenizer={"vocab_size": 400}, num_train_epochs=2, **BRIEF)
    return folder, results


def test_the_folder_and_its_results(tagger):
    folder, results = tagger
    found = json.loads((folder / "results.json").read_text())
    assert found == json.loads(json.dumps(results))
    assert found["task"] == "ner" and found["dataset"]["words_unread"] == {"train": 0, "validation": 0, "test": 0}
    for split in ("validation", "test"):
        metrics = {"f1", "precision", "recall", "per_type", "by_words_of_train", "loss"}
        assert metrics == set(found["metrics"][split])
    assert found["metrics"]["test"]["f1"] > 0.5
    assert found["served"]["largest_difference"] < 1e-4 and found["served"]["rows"] >= 40
    assert "crf.transitions" in load_file(folder / "model.safetensors")
    assert "token-classification" in (folder / "README.md").read_text()


def predictions(folder, corpus, rows):
    """The task's predictions by the model of a folder."""
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    task = TASK(corpus, AutoTokenizer.from_pretrained(folder), model.config)
    columns = task.encode(rows[:])
    with torch.no_grad():
        return task.predict(model, task.collate(columns), columns)[1]


def test_the_pipelines_entities_are_the_evaluations(tagger):
    """On plain text, with any strategy and batch size: types and character offsets of complete entities."""
    folder, _ = tagger
    corpus = TASK.load("made", seed=0)
    rows = corpus.splits["test"].select(range(60))
    expected = []
    for words, found in zip(rows["tokens"], predictions(folder, corpus, rows), strict=True):
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
    for found in tag(text):
        position = found["index"]
        best = out.tags[0, position]
        assert found["entity"] == tag.model.config.id2label[best.item()]
        assert float(found["score"]) == pytest.approx(out.marginals[0, position, best].item(), abs=1e-5)


def test_words_of_several_sub_tokens_are_learned_from_a_folder_of_files(sentences, tmp_path, served_here):
    results = run(tmp_path / "run", sentences, model=FULL, tokenizer={"vocab_size": 60}, num_train_epochs=30, **BRIEF)
    assert results["metrics"]["test"]["f1"] == 1.0
    assert set(results["metrics"]["test"]["per_type"]) == {"LOC", "PER"}


def test_the_same_loop_trains_bert(sentences, tmp_path, served_here):
    bert = small_bert.save(tmp_path / "bert", num_labels=5)
    results = run(
        tmp_path / "run", sentences, model_name_or_path=str(bert), max_length=12, num_train_epochs=1, **BRIEF
    )
    assert results["model_type"] == "bert" and results["dataset"]["words_unread"]["train"] > 0
    assert results["served"]["words"] == sum(len(words) for words, _ in SENTENCES["test"])


def test_word_vectors_come_from_a_file_with_their_words(sentences, tmp_path, served_here):
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
    with pytest.raises(RecipeError, match="embedding_size"):
        run(tmp_path / "other", sentences, **given, **options)
    assert not (tmp_path / "other" / "results.json").exists()


# ---- the right context ----


def ambiguous_right(folder, model):
    """The share of ambiguous names that a network of this kind tags correctly, and how many there are."""
    options = {"tokenizer": {"vocab_size": 900}, "num_train_epochs": 6, **BRIEF, "verify_rows": 5}
    options |= {"lr_scheduler_type": "linear"}
    run(folder, model=model, **options)
    corpus = TASK.load("made", seed=0)
    test = corpus.splits["test"]
    found = predictions(folder, corpus, test)
    right = [
        corpus.labels[tag] == reference
        for row, references, marks in zip(found, test["tags"], test["ambiguous"], strict=True)
        for (tag, _), reference, ambiguous in zip(row, references, marks, strict=True)
        if ambiguous
    ]
    return sum(right) / len(right), len(right)


def test_only_the_right_context_tells_april_from_april(tmp_path, served_here):
    """Left to right, an ambiguous name is tagged by chance; in both directions it is not."""
    small = {"embedding_size": 32, "hidden_size": 32}
    left_to_right, count = ambiguous_right(tmp_path / "rnn", {"model_type": "rnnzoo-rnn", **small})
    both, _ = ambiguous_right(tmp_path / "birnn", {"model_type": "rnnzoo-birnn", **small})
    chance = 3 * (0.25 / count) ** 0.5  # three standard deviations of a coin
    assert abs(left_to_right - 0.5) < chance, (left_to_right, count)
    assert both > 0.95


# ---- what is refused ----


@pytest.mark.parametrize(("word_length", "characters"), [(13, 28), (0, 0)], ids=["more characters", "none"])
def test_a_tokenizer_with_other_characters_than_its_model_is_refused(tmp_path, word_length, characters):
    config = rnnzoo.LSTMConfig(
        vocab_size=9, embedding_size=4, hidden_size=4, character_size=4, character_vocab_size=9, num_labels=len(LABELS)
    )
    rnnzoo.LSTMForTokenClassification(config).save_pretrained(tmp_path)
    alphabet = [["abcdefghijklm", "nopqrstuvwxyz"]] * 2
    rnnzoo.train_tagger_tokenizer(alphabet, vocab_size=9, word_length=word_length).save_pretrained(tmp_path)
    options = parse(TASK, flags(tmp_path / "out", "made", model_name_or_path=str(tmp_path)))
    says = f"has {characters} characters, the model's character embedding 9 rows: they come from different checkpoints"
    with pytest.raises(RecipeError, match=says):
        build(TASK, options, LABELS, [])


def test_options_that_a_tagger_cannot_have_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="word_lenght.*Did you mean 'word_length'"):
        parse(TASK, flags(tmp_path, "made", model=MODEL, tokenizer={"vocab_size": 9, "word_lenght": 3}))
    with pytest.raises(RecipeError, match="window.*model is not an option"):
        parse(TASK, flags(tmp_path, "made", model=MODEL | {"window": 3}, tokenizer={"vocab_size": 9}))
    with pytest.raises(RecipeError, match="word_length is 0, model.character_size 8 and context_model None"):
        parse(TASK, flags(tmp_path, "made", model=FULL, tokenizer={"vocab_size": 9, "word_length": 0}))
    with pytest.raises(RecipeError, match="character_size.*model is not an option"):
        parse(CLASSIFY, flags(tmp_path, "made", model=FULL, tokenizer={"vocab_size": 9}))
    with pytest.raises(RecipeError, match="choose rnnzoo-rnn"):
        parse(TASK, flags(tmp_path, "made", model={}))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_configuration_makes_its_model(config, tmp_path):
    assert f"--config {config.relative_to(ROOT)}\n" in config.read_text()  # how to launch it
    options = parse(TASK, ["--config", str(config)])
    assert options.output_dir == f"runs/ner-{config.stem}"
    if options.model_name_or_path:
        options.model_name_or_path = str(small_bert.save(tmp_path / "bert", num_labels=5))
    texts = names.make_sentences()["train"]["tokens"]
    tokenizer, model, _ = build(TASK, options, LABELS, texts, TASK.tokenizer_options(options, None))
    assert model.config.vocab_size == len(tokenizer) and model.config.num_labels == len(LABELS)
    # The tokenizer gives characters exactly if the model reads them.
    assert bool(getattr(tokenizer, "word_length", 0)) == bool(getattr(model.config, "character_size", 0))
