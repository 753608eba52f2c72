"""Texts of several sentences: how they are joined, and that a pipeline answers them, line by line, as was measured."""

import csv
import json

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from recipes.distil_ner import TASK as DISTIL
from recipes.ner import TASK
from rnnzoo import train_tagger_tokenizer
from rnnzoo.cli import main
from rnnzoo.data import sentences
from rnnzoo.data.errors import DataError, RecipeError
from rnnzoo.data.synthetic.names import make_sentences
from rnnzoo.tokenization_rnnzoo import LINE_BREAK
from tests.support.recipes import run


MODEL = {"model_type": "rnnzoo-lstm", "embedding_size": 16, "hidden_size": 16, "bidirectional": True, "use_crf": True}
OPTIONS = {
    "model": {**MODEL, "character_size": 8},
    "tokenizer": {"vocab_size": 2000},
    "sentences_per_text": 3,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "num_train_epochs": 2,
    "verify_rows": 20,
    "num_threads": 1,
}


def test_consecutive_sentences_become_lines_of_a_text():
    rows = Dataset.from_dict(
        {
            "tokens": [["Ada", "met"], ["him"], ["in", "London"], ["Riga"]],
            "tags": [["B-PER", "O"], ["O"], ["O", "B-LOC"], ["B-LOC"]],
        }
    )
    assert sentences.joined(rows, 1) is rows
    found = sentences.joined(rows, 3)
    assert found["tokens"][:] == [["Ada", "met", LINE_BREAK, "him", LINE_BREAK, "in", "London"], ["Riga"]]
    assert found["tags"][:] == [["B-PER", "O", "O", "O", "O", "O", "B-LOC"], ["B-LOC"]]


def test_synthetic_sentences_are_joined_too():
    joined, single = (
        sentences.load("x", "made", seed=0, sentences_per_text=number).splits["test"] for number in (3, 1)
    )
    assert len(joined) == -(-len(single) // 3)
    assert (
        joined["tokens"][0]
        == single["tokens"][0] + [LINE_BREAK] + single["tokens"][1] + [LINE_BREAK] + single["tokens"][2]
    )


def test_splits_are_drawn_of_whole_texts(tmp_path):
    lines = [f"word{i} O\nAda B-PER\n\n" for i in range(300)]
    (tmp_path / "all.conll").write_text("".join(lines))
    corpus = sentences.load("x", str(tmp_path / "all.conll"), seed=0, sentences_per_text=4)
    for split in corpus.splits.values():
        for tokens in split["tokens"]:
            numbers = [int(word[4:]) for word in tokens if word.startswith("word")]
            assert numbers == list(range(numbers[0], numbers[0] + 4)) and numbers[0] % 4 == 0
    assert sum(map(len, corpus.splits.values())) == 75


def test_a_line_break_is_a_word_for_those_who_ask():
    texts = [["Ada", "met", LINE_BREAK, "him"]] * 2
    plain, lines = (train_tagger_tokenizer(texts, vocab_size=9, line_breaks=breaks) for breaks in (False, True))
    text = "Ada met\r\n\nhim"
    assert plain.sentence_token_id is None and len(plain(text)["input_ids"]) == 3
    encoded = lines(text, return_offsets_mapping=True)
    assert [text[start:end] for start, end in encoded["offset_mapping"]] == [
        "Ada",
        "met",
        LINE_BREAK,
        LINE_BREAK,
        "him",
    ]
    assert [i == lines.sentence_token_id for i in encoded["input_ids"]] == [False, False, True, True, False]
    assert lines(texts[0], is_split_into_words=True)["input_ids"][2] == lines.sentence_token_id


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder and the results of a run; its check that the pipeline answers as was measured takes lines too."""
    folder = tmp_path_factory.mktemp("documents")
    return folder, run(TASK, folder, **OPTIONS)


def test_a_run_learns_and_its_pipeline_answers_as_was_measured(trained):
    folder, results = trained
    assert results["metrics"]["test"]["f1"] > 0.8
    assert results["served"]["rows"] >= 20 and results["served"]["largest_difference"] < 1e-5
    assert results["dataset"]["splits"]["test"] == len(make_sentences(seed=0)["test"]), "sentences, not texts"
    assert results["model_config"]["sentence_token_id"] == AutoTokenizer.from_pretrained(folder).sentence_token_id
    with (folder / "predictions.csv").open(newline="") as file:
        words = [row["text"] for row in csv.DictReader(file)]
    expected = make_sentences(seed=0)["test"]["tokens"][:]
    assert words == [word for sentence in expected for word in sentence], "without the line breaks"


def test_but_for_other_occurrences_a_line_is_answered_as_a_text_of_its_own(trained, tmp_path):
    folder, _ = trained
    model, tokenizer = AutoModelForTokenClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.weight[:, 2 * MODEL["hidden_size"] :] = 0  # of the mean over other occurrences
    tag = pipeline("token-classification", model=model.eval(), tokenizer=tokenizer, aggregation_strategy="simple")
    # The line break is the last word of its sentence.
    lines = ["Ada Lovelace lived in London .\n", "She met Charles Babbage .\n", "He did not leave London ."]
    alone = [[(found["word"], found["entity_group"]) for found in answer] for answer in tag(lines)]
    together = [(found["word"], found["entity_group"]) for found in tag("".join(lines))]
    assert together == [found for answer in alone for found in answer] != []


def test_no_dropout_joins_two_sentences(trained):
    folder, _ = trained
    tokenizer = AutoTokenizer.from_pretrained(folder)
    corpus = sentences.load("x", "made", seed=0, sentences_per_text=3)
    task = TASK(corpus, tokenizer, AutoModelForTokenClassification.from_pretrained(folder).config)
    task.rows = {"train": Dataset.from_dict(task.encode(corpus.splits["train"][:]))}
    task.begin(TASK.Options(word_dropout=0.9, rare_word_dropout=0.5, sentences_per_text=3))
    batch = task.collate(task.rows["train"][:50])
    read = task.augment(batch)["input_ids"]
    assert torch.equal(read == tokenizer.sentence_token_id, batch["input_ids"] == tokenizer.sentence_token_id)
    assert (read == tokenizer.unk_token_id).float().mean() > 0.4


def test_a_file_is_predicted_as_one_document(trained, tmp_path, capsys):
    folder, _ = trained
    (tmp_path / "document.txt").write_text("Ada Lovelace lived in London .\nShe met Charles Babbage .\n")
    main(["predict", str(folder), "--file", str(tmp_path / "document.txt"), "--json"])
    (answer,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert max(found["end"] for found in answer) > 31, "in its second line"


def test_sentences_of_test_that_stand_in_train_are_noticed_in_joined_texts(tmp_path):
    same = "".join(f"word{i} O\nAda B-PER\n\n" for i in range(20))
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.conll").write_text(f"{split} O\nRiga B-LOC\n\n" * (split != "test") + same)
    corpus = sentences.load("x", str(tmp_path), seed=0, sentences_per_text=3)
    assert any("20 of 20 texts of test also stand in train" in remark for remark in corpus.remarks)


def test_what_cannot_be_joined_is_refused(tmp_path):
    for options, message in (
        ({"sentences_per_text": 0}, "sentences_per_text is 0: it must be at least 1"),
        ({"sentences_per_text": 2, "streaming": True}, "the sentences of a stream are shuffled"),
    ):
        with pytest.raises(RecipeError, match=message):
            TASK.Options(**options)
    with pytest.raises(RecipeError, match="teachers answer a sentence at a time"):
        DISTIL.Options(sentences_per_text=2, teachers=["runs/x"])
    (tmp_path / "all.conll").write_text("".join(f"word{i} N\nruns V\n\n" for i in range(30)))
    with pytest.raises(DataError, match="unlabelled 'more.txt', whose sentences are not joined"):
        sentences.load("x", str(tmp_path / "all.conll"), seed=0, sentences_per_text=2, unlabelled="more.txt")
    with pytest.raises(DataError, match="none is outside .O., as a line break"):
        sentences.load("x", str(tmp_path / "all.conll"), seed=0, sentences_per_text=2)
    one_by_one = OPTIONS | {"sentences_per_text": 1, "max_train_steps": 1, "validation_only": True}
    run(TASK, tmp_path / "sentences", **one_by_one)
    with pytest.raises(RecipeError, match="sentences has no token for the end of a sentence: leave it out"):
        run(TASK, tmp_path / "next", sentences_per_text=2, model_name_or_path=str(tmp_path / "sentences"))
