"""The same row in every format, read whole and lazily: the same example, or the same error, word for word."""

import json
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rnnzoo.data import sentences, texts
from rnnzoo.data.errors import RecipeError
from tests.support import data_files
from tests.support.data_files import MARK, write


NAMES = ["negative", "positive"]
TEXTS = [{"text": f"film {i}", "label": i % 2} for i in range(6)]
TAGGED = [{"tokens": ["in", f"New{i}", "York"], "ner_tags": ["O", "B-LOC", "I-LOC"]} for i in range(6)]
SPANS = [{"text": f"in New{i} York", "entities": [{"start": 3, "end": 12, "label": "LOC"}]} for i in range(6)]
HERE = "of the {split} split (folder mine)"
ROW = f"Row 3 (counted from 0) {HERE}"


def incomplete(what):
    return (
        f"In {HERE.removeprefix('of ')}, 1 row has no {what} (first in row 3, counted from 0). Fill them in, or leave"
    )


def no_column(name, others):
    return (
        f"In {HERE.removeprefix('of ')}, there is no column {name!r}, only: {others}. Name the one that it is with --"
    )


def outcomes(task, name, folder, split):
    """What comes of a split, read whole and lazily: its rows, or the error."""

    def whole():
        return list(task.load(name, str(folder), seed=0).splits[split])

    def lazily():
        corpus = task.stream(name, str(folder), seed=0)
        return list(corpus.read() if split == "train" else corpus.splits[split])

    found = []
    for read in (whole, lazily):
        try:
            found.append(read())
        except RecipeError as error:
            assert "\n" not in str(error)
            found.append(str(error))
    return found


def agree(task, name, tmp_path, good, rows, formats, says, labels):
    """Every format, whole and lazy, train and test: rows with one that is odd give one outcome, which is returned.

    `says` is what the error begins with; None where there is none.
    """
    found = []
    for suffix in formats:
        for split in ("train", "test"):
            folder = tmp_path / f"{suffix}-{split}"
            folder.mkdir()
            write(folder / "mine", suffix, labels, **{"train": good, "validation": good, "test": good, split: rows})
            for outcome in outcomes(task, name, folder / "mine", split):
                if says is not None:
                    assert isinstance(outcome, str) and outcome.startswith(says.replace("{split}", split)), (
                        suffix,
                        outcome,
                    )
                    outcome = outcome.replace(f"the {split} split", "the split")
                found.append(outcome)
    assert all(outcome == found[0] for outcome in found)
    return found[0]


def odd(good, **row):
    """The good rows with another one in the place of row 3."""
    return [*good[:3], good[3] | row, *good[4:]]


def without(rows, column):
    return [{name: value for name, value in row.items() if name != column} | {"more": "x"} for row in rows]


# ---- labelled texts ----

ALL = ("parquet", "csv", "tsv", "jsonl", "json")
LOOSE = ("csv", "tsv", "jsonl", "json")  # whose values may have any types
# The row, in which formats it can be written, and the error.
TEXT_ROWS = {
    "no text": (odd(TEXTS, text=None), ALL, incomplete("text")),
    "no label": (odd(TEXTS, label=None), ALL, incomplete("label")),
    "a blank label": (odd(TEXTS, label=" "), LOOSE, incomplete("label")),
    "a label that is not a number": (
        [{"text": "a", "label": float("nan")}] * 6,
        ("parquet", "jsonl", "json"),
        f"In {HERE.removeprefix('of ')}, 6 rows have no label (first in rows 0, 1, 2, counted from 0).",
    ),
    "no text column": (without(TEXTS, "text"), ALL, no_column("text", "label, more")),
    "no label column": (without(TEXTS, "label"), ALL, no_column("label", "text, more")),
    "a label below 0": (
        odd(TEXTS, label=-1),
        ALL,
        f"{ROW} has the label -1, but the classes are negative, positive, numbered 0 to 1.",
    ),
    "a label that is too large": (odd(TEXTS, label=2), ALL, f"{ROW} has the label 2, but the classes are"),
    "a word as a label": (odd(TEXTS, label="good"), LOOSE, f"{ROW} has the label 'good', but the classes are"),
    "words as labels": (
        [{"text": "a", "label": "good"}] * 6,
        ALL,
        f"Row 0 (counted from 0) {HERE} has the label 'good', but the classes are negative, positive.",
    ),
    "a fraction as a label": ([{"text": "a", "label": 0.5}] * 6, ALL, "Row 0 (counted from 0) of"),
    "a truth value as a label": (
        [{"text": "a", "label": True}] * 6,
        ("parquet", "jsonl", "json"),
        "Row 0 (counted from 0) of",
    ),
    "a list as a label": ([{"text": "a", "label": [1]}] * 6, ("parquet", "jsonl", "json"), "Row 0 (counted from"),
    "a number as a text": ([{"text": 7, "label": 1}] * 6, ("parquet", "jsonl", "json"), "Row 0 (counted from 0) of"),
    "no rows": ([], LOOSE, f"There are no rows in {HERE.removeprefix('of ')}"),
}


@pytest.mark.parametrize("rows, formats, says", TEXT_ROWS.values(), ids=TEXT_ROWS)
def test_a_bad_text_gives_the_same_error_in_every_format_whole_and_lazy(tmp_path, rows, formats, says):
    agree(texts, "imdb", tmp_path, TEXTS, rows, formats, says, NAMES)


def test_texts_give_the_same_rows_in_every_format_whole_and_lazy(tmp_path):
    strange = [
        'Quotes, "these", and\na line end',
        "",
        "NA",
        "null",
        "true",
        "123",
        "1.50",
        "2020-01-01",
        "[1]",
        "\t|;",
        "café \U0001f600\x85\u2028",
        " x ",
        "x" * 150_000,
    ]
    rows = [*TEXTS, *({"text": text, "label": 1, "id": i} for i, text in enumerate(strange))]
    found = agree(texts, "imdb", tmp_path, TEXTS, rows, ALL, None, NAMES)
    assert found == [{"text": row["text"], "label": row["label"]} for row in rows]


# ---- sentences ----

TAGGED_ROWS = {
    "no tokens": (odd(TAGGED, tokens=None), ALL, incomplete("tokens")),
    "no tags": (odd(TAGGED, ner_tags=None), ALL, incomplete("ner_tags")),
    "no tokens column": (without(TAGGED, "tokens"), ALL, no_column("tokens", "ner_tags, more")),
    "no tags column": (without(TAGGED, "ner_tags"), ALL, no_column("ner_tags", "tokens, more")),
    "no words": (odd(TAGGED, tokens=[], ner_tags=[]), ALL, incomplete("words")),
    "fewer tags": (odd(TAGGED, ner_tags=["O"]), ALL, f"{ROW} has 3 tokens, but 1 tags."),
    "more tags": (odd(TAGGED, tokens=["a"]), ALL, f"{ROW} has 1 tokens, but 3 tags."),
    "a null word": (odd(TAGGED, tokens=["a", None, "b"]), ALL, f"{ROW} has None for its word 1."),
    "an empty word": (odd(TAGGED, tokens=["a", "b", ""]), ALL, f"{ROW} has '' for its word 2."),
    "a blank word": (odd(TAGGED, tokens=[" ", "a", "b"]), ALL, f"{ROW} has ' ' for its word 0."),
    "a null tag": (
        odd(TAGGED, ner_tags=["O", "B-LOC", None]),
        ALL,
        f"{ROW} has no tag (None) for its word 2, 'York'.",
    ),
    "an unknown tag": (
        odd(TAGGED, ner_tags=["O", "O", "LOC"]),
        (*ALL, *data_files.COLUMN_FILES),
        f"Word 2 of row 3 {HERE} (both counted from 0) has the tag 'LOC', which is not a tag",
    ),
    "a tag out of place": (
        odd(TAGGED, ner_tags=["O", "O", "I-LOC"]),
        (*ALL, *data_files.COLUMN_FILES),
        f"Word 2 of row 3 {HERE} (both counted from 0) has the tag 'I-LOC', where IOB2 has 'B-LOC'",
    ),
    "a string of words": ([{"tokens": "a b", "ner_tags": ["O", "O"]}] * 6, ALL, "Row 0 (counted from 0) of"),
    "numbers as words": ([{"tokens": [1], "ner_tags": ["O"]}] * 6, ALL, "Row 0 (counted from 0) of"),
    "fractions as tags": ([{"tokens": ["a"], "ner_tags": [0.5]}] * 6, ALL, "Row 0 (counted from 0) of"),
    "truth values as tags": ([{"tokens": ["a"], "ner_tags": [True]}] * 6, ALL, "Row 0 (counted from 0) of"),
    "both kinds of tags": (odd(TAGGED, ner_tags=["O", 1, "O"]), LOOSE, f"{ROW} has the tokens ["),
    "a tag that has no name": (
        [{"tokens": ["a"], "ner_tags": [3]}] * 6,
        ALL,
        f"Row 0 (counted from 0) {HERE} has the tag 3 for its word 0 (counted from 0), but there are 3",
    ),
    "a tag below 0": ([{"tokens": ["a"], "ner_tags": [-1]}] * 6, ALL, f"Row 0 (counted from 0) {HERE} has the tag -1"),
    "no rows": ([], LOOSE, f"There are no rows in {HERE.removeprefix('of ')}"),
}


@pytest.mark.parametrize("rows, formats, says", TAGGED_ROWS.values(), ids=TAGGED_ROWS)
def test_a_bad_sentence_gives_the_same_error_in_every_format_whole_and_lazy(tmp_path, rows, formats, says):
    agree(sentences, "conll2003", tmp_path, TAGGED, rows, formats, says, ["O", "B-LOC", "I-LOC"])


def test_numbers_without_names_are_refused_in_every_format_whole_and_lazy(tmp_path):
    rows = odd(TAGGED, ner_tags=[0, 1, 2])
    says = f"{ROW} has numbers for its tags, and nothing says what they mean."
    agree(sentences, "conll2003", tmp_path, TAGGED, rows, LOOSE, says, None)


def test_sentences_give_the_same_rows_in_every_format_whole_and_lazy(tmp_path):
    rows = [*TAGGED, {"tokens": ["café\xa0no.\x857", "\U0001f600", '"'], "ner_tags": ["B-ORG", "I-ORG", "B-ORG"]}]
    found = agree(sentences, "conll2003", tmp_path, TAGGED, rows, (*ALL, *data_files.COLUMN_FILES), None, None)
    assert found == [{"tokens": row["tokens"], "tags": row["ner_tags"]} for row in rows]


def spans(*found):
    return odd(SPANS, entities=[dict(zip(("start", "end", "label"), span, strict=True)) for span in found])


SPAN_ROWS = {
    "no text": (odd(SPANS, text=None), ALL, incomplete("text")),
    "no entities": (odd(SPANS, entities=None), ALL, incomplete("entities")),
    "no words": (odd(SPANS, text=" ", entities=[]), ALL, incomplete("words")),
    "an overlap": (
        spans((3, 12, "LOC"), (0, 4, "ORG")),
        ALL,
        f"{ROW} has spans that overlap, at 0 to 4 and from 3 on",
    ),
    "a span twice": (spans((3, 12, "LOC"), (3, 12, "LOC")), ALL, f"{ROW} has spans that overlap"),
    "beyond the text": (
        spans((3, 13, "LOC")),
        ALL,
        f"{ROW} has the span {{'start': 3, 'end': 13, 'label': 'LOC'}}, but",
    ),
    "before the text": (spans((-1, 2, "LOC")), ALL, f"{ROW} has the span {{'start': -1"),
    "an empty span": (spans((3, 3, "LOC")), ALL, f"{ROW} has the span {{'start': 3, 'end': 3"),
    "a blank span": (spans((2, 3, "LOC")), ALL, f"{ROW} has the span {{'start': 2, 'end': 3, 'label': 'LOC'}}, which"),
    "no label": (spans((3, 12, "")), ALL, f"{ROW} has the span {{'start': 3, 'end': 12, 'label': ''}}, whose label"),
    "a null offset": (spans((3, None, "LOC")), ALL, f"{ROW} has the span {{'start': 3, 'end': None"),
    "a fraction": (spans((3.0, 12, "LOC")), LOOSE, f"{ROW} has the span {{'start': 3.0"),
    "an unknown key": (
        odd(SPANS, entities=[{"start": 3, "end": 12, "label": "LOC", "kind": "city"}]),
        LOOSE,
        f"{ROW} has the span {{'start': 3, 'end': 12, 'label': 'LOC', 'kind': 'city'}} with the unknown key 'kind'.",
    ),
    "a missing key": (odd(SPANS, entities=[{"start": 3, "label": "LOC"}]), LOOSE, f"{ROW} has the span"),
    "no list": (
        odd(SPANS, entities="LOC"),
        LOOSE,
        f"{ROW} has the text 'in New3 York' and the entities 'LOC'.",
    ),
    "rejected": (
        odd([row | {"answer": "accept"} for row in SPANS], answer="reject"),
        ALL,
        f"{ROW} has the answer 'reject', which is not 'accept'.",
    ),
}


@pytest.mark.parametrize("rows, formats, says", SPAN_ROWS.values(), ids=SPAN_ROWS)
def test_bad_spans_give_the_same_error_in_every_format_whole_and_lazy(tmp_path, rows, formats, says):
    agree(sentences, "conll2003", tmp_path, SPANS, rows, formats, says, None)


@pytest.mark.parametrize(
    "column, span",
    {
        "entities": {"start": 3, "end": 12, "label": "LOC"},
        "spans": {"start": 3, "end": 12, "label": "LOC", "token_start": 1, "token_end": 2},
        "label": [3, 12, "LOC"],
    }.items(),
    ids=["entities", "spans, of Prodigy", "label, of doccano"],
)
def test_spans_as_tools_write_them_give_the_sentences_that_tags_would(tmp_path, column, span):
    rows = [{"id": i, "text": f"in New{i} York", column: [span], "answer": "accept"} for i in range(6)]
    if column == "spans":
        rows = [row | {"tokens": [{"text": "in", "start": 0, "end": 2, "id": 0}]} for row in rows]
    formats = ALL if column != "label" else LOOSE  # whose lists may hold integers and a string
    found = agree(sentences, "conll2003", tmp_path, rows, rows, formats, None, None)
    assert found == [{"tokens": row["tokens"], "tags": row["ner_tags"]} for row in TAGGED]


# ---- rows that are damaged ----


def csv_lines(*odd_lines):
    lines = [f"film {i},{i % 2}".encode() for i in range(6)]
    return b"\n".join([b"text,label", *lines[:3], *odd_lines, *lines[4:], b""])


def jsonl_lines(line):
    lines = [json.dumps(row).encode() for row in TEXTS]
    return b"\n".join([*lines[:3], line, *lines[4:], b""])


DAMAGED = {
    "more fields than the header": (
        "csv",
        csv_lines(b"good, but far too long,1"),
        f"{ROW} has 3 fields, but the header has 2 (text, label). Put a field that contains the separator in quotes.",
    ),
    "fewer fields": ("csv", csv_lines(b"good"), f"{ROW} has 1 fields, but the header has 2"),
    "a quote that is not closed": (
        "csv",
        csv_lines(b'"good,1'),
        f"{ROW} cannot be read as CSV (unexpected end of data). Put a field that contains quotes in quotes",
    ),
    "a column twice": (
        "csv",
        b"text,label,text\na,1,b\n",
        f"In {HERE[3:]}, the column 'text' occurs twice (text, label, text). Rename one of the two.",
    ),
    "CSV, not UTF-8": (
        "csv",
        csv_lines(b"caf\xe9,1"),
        f"{ROW} cannot be read as UTF-8 (UnicodeDecodeError",
    ),
    "JSON, not UTF-8": (
        "jsonl",
        jsonl_lines(b'{"text": "caf\xe9", "label": 0}'),
        f"{ROW} cannot be read as UTF-8 (UnicodeDecodeError",
    ),
    "parquet, not UTF-8": (
        "parquet",
        None,
        f"From row 3 (counted from 0) on, {HERE[3:]} cannot be read (UnicodeDecode",
    ),
    "a truncated line": ("jsonl", jsonl_lines(b'{"text": "tru'), f"{ROW} cannot be read as JSON (JSONDecodeError"),
    "half a surrogate pair": (
        "jsonl",
        jsonl_lines(json.dumps({"text": "half a smile: \ud83d", "label": 0}).encode()),
        f"{ROW} cannot be read as JSON (UnicodeEncodeError",
    ),
    "a key twice": (
        "jsonl",
        jsonl_lines(b'{"text": "a", "label": 0, "text": "b"}'),
        f"{ROW} has a key twice in one JSON object (text, label, text).",
    ),
    "no object": ("jsonl", jsonl_lines(b'"film"'), f"{ROW} is 'film': it must be a JSON object"),
    "another format": ("csv", b"PAR1\x00\xff{", f"The beginning {HERE} cannot be read as UTF-8 (UnicodeDecodeError"),
    "UTF-16 without its mark": (
        "csv",
        "text,label".encode("utf-16-le"),
        f"The beginning {HERE} begins with null bytes",
    ),
    "JSON that ends early": (
        "json",
        b'[{"text": "a", "label": 0}, {"text": "b',
        f"From row 1 (counted from 0) on, {HERE[3:]}",
    ),
    "JSON with a list too many": (
        "json",
        b'{"train": [{"text": "a", "label": 0}], "more": [{"text": "b", "label": 1}]}',
        f"From row 1 (counted from 0) on, {HERE[3:]} cannot be read (ValueError: it holds two lists",
    ),
    "JSON and something after it": (
        "json",
        b'[{"text": "a", "label": 0}] x',
        f"From row 1 (counted from 0) on, {HERE[3:]}",
    ),
    "JSON, no list of objects": ("json", b'["a"]', f"Row 0 (counted from 0) {HERE} is 'a': it must be a JSON object"),
    "a truncated parquet file": (
        "parquet",
        b"PAR1",
        "The file '{split}.parquet' of the folder 'mine' cannot be read as",
    ),
    "an empty parquet file": (
        "parquet",
        b"",
        "The file '{split}.parquet' of the folder 'mine' cannot be read as parquet",
    ),
    "an empty CSV file": ("csv", b"", f"There are no rows in {HERE[3:]}."),
}


@pytest.mark.parametrize("suffix, content, says", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_damaged_row_gives_the_same_error_whole_and_lazy(tmp_path, suffix, content, says, split):
    folder = write(tmp_path / "mine", suffix, NAMES, train=TEXTS, validation=TEXTS, test=TEXTS)
    file = folder / f"{split}.{suffix}"
    if content is None:
        column = pa.array([b"a", b"b", b"c", b"caf\xe9", b"d"]).view(pa.string())
        pq.write_table(pa.table({"text": column, "label": [0, 1, 0, 1, 0]}), file)
    else:
        file.write_bytes(content)
    whole, lazy = outcomes(texts, "imdb", folder, split)
    assert whole == lazy and whole.startswith(says.replace("{split}", split))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "conll"])
def test_a_byte_order_mark_is_no_part_of_the_text_whole_and_lazy(tmp_path, suffix):
    task, name, rows = (sentences, "conll2003", TAGGED) if suffix == "conll" else (texts, "imdb", TEXTS)
    folder = write(tmp_path / "mine", suffix, None if suffix == "conll" else NAMES, train=rows, test=rows)
    write(folder, suffix, validation=rows)
    expected = outcomes(task, name, folder, "train")
    for file in folder.iterdir():
        file.write_bytes(MARK + file.read_bytes())
    assert outcomes(task, name, folder, "train") == expected and len(expected[0]) == len(expected[1]) == 6


def test_an_empty_field_of_a_csv_file_is_missing_and_quotes_are_an_empty_text(tmp_path):
    folder = write(tmp_path / "mine", "csv", NAMES, train=TEXTS, validation=TEXTS, test=TEXTS)
    write_train = partial((folder / "train.csv").write_text, encoding="utf-8")
    write_train('id,text,label,note\n1,NA,0,\n,"",1,""\n\n2,"a ""b"",\n,",0,\n3,null,1,"c"\n')
    expected = [("NA", 0), ("", 1), ('a "b",\n,', 0), ("null", 1)]
    for rows in outcomes(texts, "imdb", folder, "train"):
        assert [(row["text"], row["label"]) for row in rows] == expected
    write_train('id,text,label,note\n1,NA,0,\n2,,1,""\n')
    for error in outcomes(texts, "imdb", folder, "train"):
        assert error.startswith("In the train split (folder mine), 1 row has no text (first in row 1,")
