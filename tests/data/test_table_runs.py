"""Recipes on tables as users have them: a run ends with results, and says what it made of the table."""

import json

import pytest

from recipes import imdb, ner
from rnnzoo.data.errors import DataError
from rnnzoo.training import parity
from tests.support import recipes
from tests.support.data_files import write


OPTIONS = {
    "model": {"model_type": "rnnzoo-lstm", "embedding_size": 8, "hidden_size": 8},
    "tokenizer": {"vocab_size": 300},
    "num_train_epochs": 1,
    "num_threads": 1,
}


@pytest.fixture(autouse=True)
def asked_here(monkeypatch):
    monkeypatch.setattr(parity, "answers", recipes.answered_here)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_run_on_words_with_white_space_ends_with_results(tmp_path, suffix, streaming):
    """Around words it is cleaned; within them it stays, and what is served is still what was measured."""
    words = [" Ada", "\xa0lived\x85", "in\t", "New York", "a\xa0b", "x\ny", "\u200b", "St.\u2003 John 's", "\x1cz"]
    rows = [
        {"tokens": [f"{words[i]} ", *words], "ner_tags": ["B-PER", *["O", "B-LOC", "I-LOC"] * 3]} for i in range(9)
    ]
    folder = write(tmp_path / "mine", suffix, train=rows * 3, validation=rows, test=rows)
    results = recipes.run(ner.TASK, tmp_path / "out", folder, **OPTIONS, streaming=streaming)
    assert results["served"]["rows"] == 9 and (tmp_path / "out" / "results.json").is_file()


@pytest.mark.parametrize("streaming", [False, True])
def test_a_run_on_one_messy_csv_file_says_what_it_made_of_it(tmp_path, capsys, streaming):
    lines = [f'{i},"{word} film,\n""{i}""",{word}' for i in range(30) for word in ("good", "bad", "so so")]
    (tmp_path / "mine.csv").write_text("\ufeffid,Review,Sentiment\n" + "\n".join([*lines, "7,,good", "8,odd,"]))
    with pytest.raises(DataError, match="1 row has no text and 1 row has no label"):
        recipes.run(imdb.TASK, tmp_path / "out", tmp_path / "mine.csv", **OPTIONS, streaming=streaming)
    results = recipes.run(
        imdb.TASK, tmp_path / "out", tmp_path / "mine.csv", **OPTIONS, streaming=streaming, drop_incomplete=True
    )
    dataset, said = results["dataset"], capsys.readouterr().out
    assert dataset["source"] == "file mine.csv, divided into train, validation and test" and dataset["splits"] == {
        "train": 72,
        "validation": 9,
        "test": 9,
    }
    assert dataset["remarks"] == [
        "Columns: Review is read as text, Sentiment is read as label.",
        "Columns that are not read: id.",
        "Classes, by their labels: bad, good, so so.",
        "Left out of the file mine.csv: 1 row has no text and 1 row has no label.",
        "The data set is one table, which is divided by class: 72 rows to train on, 9 for validation (drawn by the "
        "seed of the run), 9 for test (the same in every run).",
    ]
    assert all(said.count(remark) == 1 for remark in dataset["remarks"])
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert list(config["id2label"].values()) == ["bad", "good", "so so"]
