"""Any labelled table: one file or several a split, columns by name, what a file says of itself, incomplete rows."""

import csv
import json
from collections import Counter

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from rnnzoo.data import sentences, texts
from rnnzoo.data.columns import Columns
from rnnzoo.data.division import IN_SOURCE
from rnnzoo.data.errors import DataError
from tests.support import data_files
from tests.support.data_files import WRITERS, write


ALL = ("parquet", "csv", "tsv", "jsonl", "json")
SPLITS = {
    "train": data_files.texts(20),
    "validation": data_files.texts(4, word="new"),
    "test": data_files.texts(6, word="play"),
}
TAGGED = [{"tokens": ["in", f"New{i}", "York"], "ner_tags": ["O", "B-LOC", "I-LOC"]} for i in range(40)]


def both(path, task=texts, **columns):
    """The corpus read whole, which is the same row by row as read lazily, if validation is not drawn from train."""
    whole, lazy = (read("imdb", str(path), seed=0, columns=Columns(**columns)) for read in (task.load, task.stream))
    for field in ("name", "source", "labels", "scheme", "remarks"):
        assert getattr(whole, field) == getattr(lazy, field)
    for split in ("validation", "test"):
        assert whole.splits[split].to_dict() == lazy.splits[split].to_dict()
    for _ in range(2):
        assert list(whole.splits["train"]) == list(lazy.read())
    return whole


def refused(path, message, task=texts, **columns):
    said = []
    for read in (task.load, task.stream):
        with pytest.raises(DataError, match=message) as caught:
            read("imdb", str(path), seed=0, columns=Columns(**columns))
        said.append(str(caught.value))
    assert said[0] == said[1] and "\n" not in said[0]


def table(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


def rows(corpus, split="test"):
    return [(row["text"], corpus.labels[row["label"]]) for row in corpus.splits[split]]


# ---- one file ----


@pytest.mark.parametrize("suffix", ALL)
def test_one_file_is_divided_by_class_and_the_test_split_is_the_same_in_every_run(tmp_path, suffix):
    labels = ["neg"] * 60 + ["pos"] * 30 + ["odd"] * 1
    columns = {"text": [f"film {i}" for i in range(91)], "label": labels}
    WRITERS[suffix](tmp_path / f"reviews.{suffix}", columns)
    corpus = both(tmp_path / f"reviews.{suffix}")
    assert (corpus.name, corpus.source) == ("reviews", f"file reviews.{suffix}{IN_SOURCE}")
    assert corpus.labels == ["neg", "odd", "pos"]
    assert Counter(label for _, label in rows(corpus)) == {"neg": 6, "pos": 3}
    assert {split: len(part) for split, part in corpus.splits.items()} == {"train": 73, "validation": 9, "test": 9}
    divided = (
        "73 rows to train on, 9 for validation (drawn by the seed of the run), 9 for test (the same in every run)."
    )
    assert corpus.remarks[-1] == f"The data set is one table, which is divided by class: {divided}"
    found = sorted(row for split in corpus.splits for row in rows(corpus, split))
    assert found == sorted(zip(columns["text"], labels, strict=True))
    half = texts.load("imdb", str(tmp_path / f"reviews.{suffix}"), seed=0, validation_fraction=0.5)
    assert {split: len(part) for split, part in half.splits.items()} == {"train": 41, "validation": 41, "test": 9}
    assert "41 rows to train on, 41 for validation" in half.remarks[-1] and rows(half) == rows(corpus)
    other = texts.load("imdb", str(tmp_path / f"reviews.{suffix}"), seed=1)
    assert rows(other) == rows(corpus) and rows(other, "validation") != rows(corpus, "validation")


@pytest.mark.parametrize("suffix", [*ALL, "conll", "bio"])
def test_one_file_of_sentences_is_divided(tmp_path, suffix):
    WRITERS[suffix](tmp_path / f"names.{suffix}", TAGGED)
    corpus = both(tmp_path / f"names.{suffix}", sentences)
    assert len(corpus.splits["test"]) == 4 and corpus.source == f"file names.{suffix}{IN_SOURCE}"


def test_a_folder_or_a_file_with_train_alone_is_divided_and_without_train_refused(tmp_path):
    corpus = both(write(tmp_path / "mine", "csv", train=data_files.texts(20)))
    assert len(corpus.splits["test"]) == 2 and corpus.source == "folder mine" + IN_SOURCE
    refused(
        write(tmp_path / "few", "csv", train={"text": ["a", "b"], "label": [0, 1]}), "one table of 2 rows, too few"
    )
    refused(
        write(tmp_path / "odd", "csv", train=SPLITS["train"], validation=SPLITS["test"]),
        "has no test split, only: train, val",
    )


# ---- several files a split ----


@pytest.mark.parametrize("name", ["train-0000{}-of-00012.parquet", "train_{}.csv", "train.{}.jsonl", "Train-{}.TSV"])
def test_shards_are_one_split_in_the_order_of_their_numbers(tmp_path, name):
    suffix = name.rpartition(".")[2].lower()
    write(tmp_path, suffix, validation=SPLITS["validation"], test=SPLITS["test"])
    for number in reversed(range(12)):
        columns = {"text": [f"film {number}", f"play {number}"], "label": [0, 1]}
        WRITERS[suffix](tmp_path / name.format(number if "of" not in name else str(number)), columns)
    expected = [f"{word} {number}" for number in range(12) for word in ("film", "play")]
    assert both(tmp_path).splits["train"]["text"][:] == expected


def test_shards_that_are_missing_or_twice_there_are_named(tmp_path):
    write(tmp_path, "csv", validation=SPLITS["validation"], test=SPLITS["test"])
    for number in (0, 2):
        WRITERS["csv"](tmp_path / f"train-{number}-of-3.csv", SPLITS["train"])
    refused(tmp_path, "holds 2 of the 3 files of the train split: train-0-of-3.csv, train-2-of-3.csv. Add")
    WRITERS["csv"](tmp_path / "train-1-of-3.csv", SPLITS["train"])
    both(tmp_path)
    WRITERS["csv"](tmp_path / "train.csv", SPLITS["train"])
    refused(tmp_path, "holds the train split more than once: train.csv, train-0-of-3.csv, ")


def test_shards_must_name_their_classes_alike(tmp_path):
    for number, names in enumerate((["a", "b"], ["b", "a"])):
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
        Dataset.from_dict(SPLITS["train"], features=features).to_parquet(tmp_path / f"train-{number}.parquet")
    refused(tmp_path, r"The files of the train split \(folder .*\) name their classes differently")


# ---- columns ----


def test_columns_are_found_by_common_names_and_said(tmp_path):
    content = "id,Review,Sentiment,note\n" + "".join(
        f"{i},film {i},{'good' if i % 2 else 'bad'},x\n" for i in range(20)
    )
    corpus = both(table(tmp_path / "mine.csv", content))
    assert corpus.labels == ["bad", "good"] and corpus.splits["train"].column_names == ["text", "label"]
    assert corpus.remarks[:3] == [
        "Columns: Review is read as text, Sentiment is read as label.",
        "Columns that are not read: id, note.",
        "Classes, by their labels: bad, good.",
    ]


@pytest.mark.parametrize("suffix", ALL)
def test_columns_that_the_user_names(tmp_path, suffix):
    columns = {
        "text": ["no"] * 20,
        "what it says": [f"film {i}" for i in range(20)],
        "y": [1, 2] * 10,
        "label": [0] * 20,
    }
    WRITERS[suffix](tmp_path / f"mine.{suffix}", columns)
    chosen = {"text_column": "what it says", "label_column": "y"}
    corpus = both(tmp_path / f"mine.{suffix}", **chosen)
    assert corpus.labels == ["1", "2"] and set(corpus.splits["train"]["text"]) < set(columns["what it says"])
    message = "there is no column 'what it say', .* Correct --text_column, perhaps to 'what it says'"
    refused(tmp_path / f"mine.{suffix}", message, text_column="what it say")


def test_columns_of_tags_that_the_user_names(tmp_path):
    rows = [
        {"tokens": ["a", "b"], "pos_tags": ["X", "Y"], "ner_tags": ["O", "B-Z"], "text": "a b", "where": [[0, 1, "Q"]]}
    ]
    WRITERS["jsonl"](tmp_path / "mine.jsonl", rows * 20)
    path = tmp_path / "mine.jsonl"
    assert both(path, sentences).labels == ["O", "B-Z", "I-Z"]
    assert both(path, sentences, tags_column="pos_tags").labels == ["X", "Y"]
    assert both(path, sentences, text_column="text", tags_column="where").labels == ["O", "B-Q", "I-Q"]
    refused(path, "label_column cannot be given here: this task reads .*tokens_column", sentences, label_column="x")
    refused(
        path, "tokens_column cannot be given here: this task reads label_column and text_column", tokens_column="x"
    )
    refused(path, "text_column and tokens_column cannot be given here", sentences, text_column="x", tokens_column="y")
    WRITERS["conll"](tmp_path / "mine.conll", TAGGED)
    refused(tmp_path / "mine.conll", "there is no column 'x'", sentences, tags_column="x")


def test_columns_that_are_not_clear_are_refused(tmp_path):
    path = table(tmp_path / "mine.csv", "review,comment,label\na,b,0\n")
    refused(path, "several columns may be the text: review, comment. Choose one of them with --text_column")
    # In every split the same ones.
    write(tmp_path / "mine", "csv", train=SPLITS["train"])
    table(tmp_path / "mine" / "test.csv", "sentence,label\na,0\n")
    refused(tmp_path / "mine", "may be the text is 'sentence' in test, but 'text' in train.* with --text_column")


def test_synthetic_data_has_columns_of_its_own():
    for task in (texts, sentences):
        with pytest.raises(DataError, match="leave out the options about columns"):
            task.load("imdb", "made", seed=0, columns=Columns(text_column="review"))


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "jsonl", "json"])
def test_columns_that_are_not_read_may_hold_anything(tmp_path, suffix):
    others = [1, "b-2", None, {"a": [1]}, [1, "x"], True, 1.5] * 3
    rows = [{"id": other, "text": f"film {i}", "label": i % 2} for i, other in enumerate(others)]
    path = tmp_path / f"mine.{suffix}"
    if suffix == "parquet":  # which has one type a column: one that datasets does not know
        frame = pd.DataFrame({"text": [row["text"] for row in rows], "label": [row["label"] for row in rows]})
        frame["id"] = pd.Categorical(list(map(str, others)))
        frame["when"] = pd.Timedelta(days=1)
        frame.to_parquet(path)
    else:
        WRITERS[suffix](
            path, [row | {"id": json.dumps(row["id"])} if suffix in ("csv", "tsv") else row for row in rows]
        )
    corpus = both(path)
    found = [text for split in corpus.splits for text in corpus.splits[split]["text"]]
    assert sorted(found) == sorted(row["text"] for row in rows)


def test_categories_of_pandas_are_labels(tmp_path):
    frame = pd.DataFrame({"text": [f"film {i}" for i in range(20)], "label": pd.Categorical(["good", "bad"] * 10)})
    frame.to_parquet(tmp_path / "mine.parquet")
    assert both(tmp_path / "mine.parquet").labels == ["bad", "good"]


# ---- what a file says of itself ----


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_told_by_the_header(tmp_path, suffix, separator):
    path = tmp_path / f"mine.{suffix}"
    records = [("text", "label")] + [(f'a "b", c; d|e\tf\n\n{i}\n', i % 2) for i in range(20)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator).writerows(records)
    corpus = both(path)
    assert {text for split in corpus.splits for text, _ in rows(corpus, split)} == {text for text, _ in records[1:]}
    said = f"The fields of mine.{suffix} are separated by {separator!r}."
    assert (said in corpus.remarks) == (separator != {"csv": ",", "tsv": "\t"}[suffix])


def test_other_separators_are_refused_with_those_that_are_known(tmp_path):
    path = table(tmp_path / "mine.csv", "text:label\na:0\n")
    refused(path, r"no column 'text', only: text:label\. .* The separator must be one of ',' ';' '\\t' '\|'")


@pytest.mark.parametrize("text", ['"Great" film', 'a 5" screen', '"unclosed', 'closed"', '""', 'it says "no"'])
def test_quotes_of_a_tsv_file_that_does_not_quote_are_characters(tmp_path, text):
    """Such a file has a field with a quote that could not enclose it, and a record on every line."""
    content = "text\tlabel\n" + "".join(f"{text} {i}\t{i % 2}\n" for i in range(20))
    corpus = both(table(tmp_path / "mine.tsv", content))
    assert {found for split in corpus.splits for found, _ in rows(corpus, split)} == {f"{text} {i}" for i in range(20)}


def test_a_tsv_file_with_two_readings_is_refused(tmp_path):
    content = "text\tlabel\n" + '"Great film\t1\n' + 'they said"\t0\n' * 3
    refused(
        table(tmp_path / "mine.tsv", content), "quotes that may enclose fields .* has 3 rows or 4. Write the file as"
    )


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json"])
@pytest.mark.parametrize("encoding", [*ENCODINGS, "cp1252", "utf-16-le"])
def test_encodings(tmp_path, suffix, encoding):
    """One with a byte order mark says what it is; any other one must be named."""
    path = tmp_path / f"mine.{suffix}"
    text = "café naïve" if suffix == "tsv" or encoding == "cp1252" else "café\x85 naïve\nmore"
    records = [{"text": f"{text} {i}", "label": i % 2} for i in range(20)]
    WRITERS[suffix](path, records)
    content = path.read_text(encoding="utf-8")
    for character in "éï\x85":  # as json writes them by default
        content = content.replace(json.dumps(character)[1:-1], character)
    path.write_bytes(content.encode(encoding))
    named = {} if encoding in ENCODINGS else {"encoding": encoding}
    corpus = both(path, **named)
    assert {text for split in corpus.splits for text, _ in rows(corpus, split)} == {row["text"] for row in records}
    if named:
        refused(path, "cannot be read as UTF-8|begins with null bytes")


def test_an_encoding_that_does_not_exist_is_refused_before_any_work():
    with pytest.raises(DataError, match="encoding is 'latin-99', which is not known here"):
        Columns(encoding="latin-99")


def test_column_files_may_be_utf_16(tmp_path):
    path = tmp_path / "mine.conll"
    path.write_bytes("\n".join(f"é{i} O\nBonn B-LOC\n" for i in range(20)).encode("utf-16"))
    assert both(path, sentences).labels == ["O", "B-LOC", "I-LOC"]


JSON = {
    "a list": lambda rows: json.dumps(rows),
    "a list over many lines": lambda rows: json.dumps(rows, indent=2),
    "an object with one list of objects": lambda rows: json.dumps({"v": 1.5, "names": ["a"], "data": rows, "end": {}}),
    "the same over many lines": lambda rows: json.dumps({"v": [], "data": rows}, indent=2),
    "an object a line": lambda rows: "\n".join(map(json.dumps, rows)) + "\n\n",
}


@pytest.mark.parametrize("written", JSON.values(), ids=JSON)
@pytest.mark.parametrize("long", [1, 40_000])
def test_json_as_it_comes(tmp_path, written, long):
    """Short and longer than the buffer."""
    rows = [{"text": 'film [{"' * long + str(i), "label": i % 2} for i in range(20)]
    corpus = both(table(tmp_path / "mine.json", written(rows)))
    found = [text for split in corpus.splits for text in corpus.splits[split]["text"]]
    assert sorted(found) == sorted(row["text"] for row in rows)


# ---- incomplete rows, and rows that are in two splits ----

MESSY = (
    b"\xef\xbb\xbfid,review,sentiment\n"
    + b"".join(
        b'%d,"film %d,\nit says ""%d""",%s\n' % (i, i, i, (b"good", b"bad", b"so so")[i % 3]) for i in range(60)
    )
    + b'60,,good\n61,"a film",\n,,\n62,,bad\n'
)


def test_a_csv_file_with_everything_is_read_with_drop_incomplete_and_refused_with_a_count_without(tmp_path):
    (tmp_path / "mine.csv").write_bytes(MESSY)
    message = (
        r"^In the file mine.csv, 3 rows have no text and 1 row has no label \(first in rows 60, 61, 62, counted from "
        r"0\)\. Fill them in, or leave such rows out with --drop_incomplete\."
    )
    refused(tmp_path / "mine.csv", message)
    corpus = both(tmp_path / "mine.csv", drop_incomplete=True)
    assert corpus.labels == ["bad", "good", "so so"]
    assert sorted(text for split in corpus.splits for text, _ in rows(corpus, split)) == sorted(
        f'film {i},\nit says "{i}"' for i in range(60)
    )
    assert "Left out of the file mine.csv: 3 rows have no text and 1 row has no label." in corpus.remarks


@pytest.mark.parametrize("suffix", ALL)
def test_incomplete_rows_are_left_out_of_every_format_and_split(tmp_path, suffix):
    train = SPLITS["train"] | {"label": [None, *SPLITS["train"]["label"][1:]]}
    test = SPLITS["test"] | {"text": [*SPLITS["test"]["text"][:-1], None]}
    folder = write(tmp_path / "mine", suffix, train=train, validation=SPLITS["validation"], test=test)
    corpus = both(folder, drop_incomplete=True)
    assert corpus.splits["train"]["text"][:] == train["text"][1:]
    assert corpus.splits["test"]["text"][:] == test["text"][:-1]
    assert corpus.remarks[-2:] == [
        "Left out of the train split (folder mine): 1 row has no label.",
        "Left out of the test split (folder mine): 1 row has no text.",
    ]


def test_incomplete_sentences_are_left_out(tmp_path):
    odd = [{"tokens": [], "ner_tags": []}, {"tokens": None, "ner_tags": ["O"]}, {"tokens": ["a"]}]
    WRITERS["jsonl"](tmp_path / "mine.jsonl", [*TAGGED[:5], *odd, *TAGGED[5:]])
    corpus = both(tmp_path / "mine.jsonl", sentences, drop_incomplete=True)
    assert sum(map(len, corpus.splits.values())) == len(TAGGED)
    left_out = "1 row has no words and 1 row has no tokens and 1 row has no ner_tags."
    assert f"Left out of the file mine.jsonl: {left_out}" in corpus.remarks


def test_a_split_of_incomplete_rows_alone_is_refused(tmp_path):
    folder = write(tmp_path / "mine", "csv", train=SPLITS["train"], test={"text": ["a", "b"], "label": [None, None]})
    message = r"2 rows have no label \(first in rows 0, 1, counted from 0\)\. No row is left"
    refused(folder, message, drop_incomplete=True)


def test_texts_in_train_and_test_are_counted(tmp_path):
    test = {"text": ["film 1", "film 1", "film 2", "new"], "label": [0, 1, 0, 1]}
    folder = write(tmp_path / "mine", train=SPLITS["train"], validation=SPLITS["validation"], test=test)
    assert both(folder).remarks[-1].startswith("Warning: 3 of 4 texts of test also stand in train, ")
    folder = write(tmp_path / "tags", "jsonl", train=TAGGED[:8], validation=TAGGED[8:9], test=TAGGED[7:9])
    assert both(folder, sentences).remarks == [
        "Warning: 1 of 2 texts of test also stand in train, so that the score on test is partly one of memory."
    ]


# ---- tags ----


@pytest.mark.parametrize("suffix", [*ALL, "conll"])
def test_tags_without_a_prefix_are_types_and_stay_as_they_are(tmp_path, suffix):
    train = [{"tokens": [f"Ada{i}", "Byron", "in", "Bonn"], "ner_tags": ["PER", "PER", "O", "LOC"]} for i in range(6)]
    folder = write(tmp_path / "mine", suffix, train=train[:4], validation=train[4:5], test=train[5:])
    corpus = both(folder, sentences)
    assert corpus.scheme == "IO" and corpus.labels == ["O", "LOC", "PER"]
    assert corpus.splits["test"]["tags"][:] == [["PER", "PER", "O", "LOC"]]
    assert corpus.remarks == [
        "Tags: types of entities without a prefix (O, LOC, PER), so that adjacent entities of one type count as one."
    ]


@pytest.mark.parametrize("suffix", [*ALL, "conll"])
def test_tags_without_o_are_classes_of_words(tmp_path, suffix):
    train = [{"tokens": [f"Ada{i}", "saw", "("], "ner_tags": ["NNP", "VBD", "-LRB-"]} for i in range(6)]
    folder = write(tmp_path / "mine", suffix, train=train[:4], validation=train[4:5], test=train[5:])
    corpus = both(folder, sentences)
    assert corpus.scheme is None and corpus.labels == ["-LRB-", "NNP", "VBD"]
    assert corpus.splits["train"]["tags"][:] == [["NNP", "VBD", "-LRB-"]] * 4
    assert corpus.remarks == ["Tags: a class for each word, with no O for words outside (-LRB-, NNP, VBD)."]
    one = [{"tokens": ["a", "b"], "ner_tags": ["X", "X"]}] * 6
    refused(
        write(tmp_path / "one", suffix, train=one, validation=one, test=one),
        "have the tag 'X': there is nothing",
        sentences,
    )


def test_the_scheme_of_the_tags_is_said(tmp_path):
    train = [{"tokens": ["New", "York"], "ner_tags": ["B-LOC", "L-LOC"]}, {"tokens": ["Bonn"], "ner_tags": ["U-LOC"]}]
    corpus = both(write(tmp_path / "mine", "conll", train=train, validation=train, test=train), sentences)
    assert corpus.scheme == "IOB2" and "Tags: BILUO, read as IOB2." in corpus.remarks
    assert corpus.splits["test"]["tags"][:] == [["B-LOC", "I-LOC"], ["B-LOC"]]


@pytest.mark.parametrize("suffix", [*ALL, "conll"])
def test_white_space_around_words_and_tags_is_not_part_of_them(tmp_path, suffix):
    spaces = "\xa0" if suffix == "conll" else " \xa0\x85\u2003\t"
    odd = {
        "tokens": [f"{spaces}Ada{spaces}", f"{spaces}ran", "New\xa0York"],
        "ner_tags": [f"B-PER{spaces}", "O", "B-LOC"],
    }
    folder = write(tmp_path / "mine", suffix, train=[odd], validation=[odd], test=[odd])
    assert list(both(folder, sentences).splits["test"]) == [
        {"tokens": ["Ada", "ran", "New\xa0York"], "tags": ["B-PER", "O", "B-LOC"]}
    ]
