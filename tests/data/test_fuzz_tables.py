"""Random tables in every format: whole and lazily read alike, row by row, as written; damaged ones with one error."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnzoo.data import sentences, texts
from rnnzoo.data.columns import Columns
from rnnzoo.data.errors import DataError
from rnnzoo.data.schemes import OUTSIDE
from tests.support.data_files import COLUMN_FILES, WRITERS


FORMATS = ("parquet", "csv", "tsv", "jsonl", "json")
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
ODD = [
    "",
    " ",
    "NA",
    "null",
    "true",
    "123",
    "1.0",
    "2020-01-01",
    "[1]",
    '"',
    '""',
    ",",
    ";\t|",
    "\n",
    "\r\n",
    "\ufeff",
]
TEXT = ANY_TEXT | st.sampled_from(ODD)
LABEL = st.sampled_from(["good", "bad", 'so, "so"', " good\t", ""])
TEXTS = st.lists(st.tuples(st.none() | TEXT, st.none() | LABEL, TEXT), min_size=1, max_size=12)
WORD = (ANY_TEXT | st.sampled_from(["New York", " a\xa0b", "\u200b", '"', "[", "O"])).filter(str.strip)
TAG = st.sampled_from(["O", "B-LOC", "B-PER", " B-LOC\xa0"])
SENTENCES = st.lists(st.lists(st.tuples(WORD, TAG), max_size=5), min_size=1, max_size=8)

NASTY = [b'"', b",", b"\t", b";", b"\n", b"\r", b"\n\n", b"{", b"}", b"[", b"]", b":", b"\\", b"\\ud800", b"\xff"]
NASTY += [b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b" ", b"-1", b"NaN", b'""', b"null", b"text", b"\xc2\x85", b"I-LOC"]
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 6), st.sampled_from(NASTY) | st.binary(max_size=3)),
    min_size=1,
    max_size=3,
)


def read(task, folder, splits, drop_incomplete=True):
    """The splits read whole and lazily: what both find, rows or an error."""
    found = []
    for kind in (task.load, task.stream):
        try:
            corpus = kind("imdb", str(folder), seed=0, columns=Columns(drop_incomplete=drop_incomplete))
            rows = {
                split: list(corpus.read() if split == "train" and corpus.read else corpus.splits[split])
                for split in splits
            }
            found.append((corpus.labels, corpus.scheme, corpus.remarks, rows))
        except DataError as error:
            assert str(error) and "\n" not in str(error)
            found.append(str(error))
    assert found[0] == found[1]
    return found[0]


def texts_are_read_as_written(suffix, drawn):
    # In train and validation every label, so that no split is refused for having but one.
    base = [{"more": "", "label": label, "text": f"film {label}"} for label in ("bad", "good", 'so, "so"')]
    rows = base + [{"more": more, "label": label, "text": text} for text, label, more in drawn]
    with tempfile.TemporaryDirectory() as path:
        for split, held in {"train": rows, "validation": base, "test": base}.items():
            WRITERS[suffix](Path(path) / f"{split}.{suffix}", held)
        labels, _, _, found = read(texts, path, ["train", "test"])
        complete = [row for row in rows if row["text"] is not None and (row["label"] or "").strip()]
        assert found["train"] == [
            {"text": row["text"], "label": labels.index(row["label"].strip())} for row in complete
        ]
        refusal = read(texts, path, ["train"], drop_incomplete=False)
        assert isinstance(refusal, str) == (len(complete) < len(rows))


def sentences_are_read_as_written(suffix, drawn):
    base = [{"tokens": ["in", "Bonn"], "ner_tags": ["O", "B-LOC"]}]
    rows = base + [{"tokens": [w for w, _ in row], "ner_tags": [t for _, t in row]} for row in drawn]
    if suffix in COLUMN_FILES:  # whose words have no spaces and line ends, and whose sentences have words
        rows = [row | {"tokens": ["".join(filter(is_visible, w)) or "x" for w in row["tokens"]],
                       "ner_tags": [t.strip() for t in row["ner_tags"]]} for row in rows if row["tokens"]]  # fmt: skip
    with tempfile.TemporaryDirectory() as path:
        for split, held in {"train": rows, "validation": base, "test": base}.items():
            WRITERS[suffix](Path(path) / f"{split}.{suffix}", held)
        _, scheme, _, found = read(sentences, path, ["train", "test"])
    assert scheme == "IOB2" and found["train"] == [
        {"tokens": [w.strip() for w in row["tokens"]], "tags": [t.strip() for t in row["ner_tags"]]}
        for row in rows
        if row["tokens"]
    ]


def is_visible(character):
    return character not in " \t\r\n" and not character.isspace()


def damage_gives_one_answer(task, suffix, edits):
    """Rows or an error, the same whole and lazily, and no other error."""
    good = [{"text": 'a "film",\nwith\ttabs', "label": i % 2, "id": str(i)} for i in range(4)]
    if task is sentences:
        good = [{"tokens": ["in", "New", "York"], "ner_tags": [OUTSIDE, "B-LOC", "I-LOC"]}] * 4
    with tempfile.TemporaryDirectory() as path:
        for split in ("train", "validation", "test"):
            WRITERS[suffix](Path(path) / f"{split}.{suffix}", good)
        file = Path(path) / f"train.{suffix}"
        content = file.read_bytes()
        for place, removed, added in edits:
            at = int(place * len(content))
            content = content[:at] + added + content[at + removed :]
        file.write_bytes(content)
        read(task, path, ["train", "test"])


SHORT, LONG = settings(max_examples=15, deadline=None), settings(max_examples=500, deadline=None)


@pytest.mark.parametrize("suffix", FORMATS)
@given(TEXTS)
@SHORT
def test_texts_are_read_as_written(suffix, drawn):
    texts_are_read_as_written(suffix, drawn)


@pytest.mark.parametrize("suffix", [*FORMATS, "conll"])
@given(SENTENCES)
@SHORT
def test_sentences_are_read_as_written(suffix, drawn):
    sentences_are_read_as_written(suffix, drawn)


@pytest.mark.parametrize("suffix", FORMATS)
@given(EDITS)
@SHORT
def test_a_damaged_file_of_texts_gives_one_answer(suffix, edits):
    damage_gives_one_answer(texts, suffix, edits)


@pytest.mark.parametrize("suffix", [*FORMATS, "conll"])
@given(EDITS)
@SHORT
def test_a_damaged_file_of_sentences_gives_one_answer(suffix, edits):
    damage_gives_one_answer(sentences, suffix, edits)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [*FORMATS, "conll"])
def test_many_random_and_damaged_files(suffix):
    if suffix != "conll":
        given(TEXTS)(LONG(lambda drawn: texts_are_read_as_written(suffix, drawn)))()
        given(EDITS)(LONG(lambda edits: damage_gives_one_answer(texts, suffix, edits)))()
    given(SENTENCES)(LONG(lambda drawn: sentences_are_read_as_written(suffix, drawn)))()
    given(EDITS)(LONG(lambda edits: damage_gives_one_answer(sentences, suffix, edits)))()
