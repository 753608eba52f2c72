"""Readers of formats: what each format alone can do, and that no file is held in memory."""

import json
import tracemalloc
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rnnzoo.data import columns, sentences
from rnnzoo.data.columns import Columns, find
from rnnzoo.data.errors import DataError
from rnnzoo.data.formats import READERS
from tests.support.data_files import conll, write
from tests.support.data_files import sentences as rows


TOKENS = [["Anna", "lives", "in", "New", "York"], ["Bonn"], ["Nobody", "is", "here"], ["café\xa0no.\x857", "👍"]]
TAGS = [["B-PER", "O", "O", "B-LOC", "I-LOC"], ["B-LOC"], ["O", "O", "O"], ["B-ORG", "O"]]
LAYOUTS = {"texts": [(columns.TEXT, columns.LABEL)], "sentences": [(columns.TOKENS, columns.TAGS)]}
MANY = {
    "parquet": lambda path: pq.write_table(
        pa.table({"text": ["a film " * 20] * 20_000, "label": [0] * 20_000, "more": ["x" * 200] * 20_000}), path
    ),
    "csv": lambda path: path.write_text("text,label\n" + f'"{"a film " * 20}",0\n' * 20_000),
    "tsv": lambda path: path.write_text("text\tlabel\n" + f"{'a film ' * 20}\t0\n" * 20_000),
    # One line, as json.dump writes it.
    "json": lambda path: path.write_text(json.dumps([{"text": "a film " * 20, "label": 0, "more": [[]]}] * 20_000)),
    "jsonl": lambda path: path.write_text(f'{{"text": "{"a film " * 20}", "label": 0}}\n' * 20_000),
    "conll": lambda path: path.write_bytes(conll(TOKENS, TAGS) * 4000),
}


def rows_of(path, kind="texts"):
    found = READERS[path.suffix[1:]](path, partial(find, layouts=LAYOUTS[kind], chosen=Columns()), None)
    return found.read()


@pytest.mark.parametrize("suffix", MANY)
def test_a_file_is_read_row_by_row(tmp_path, suffix):
    path = tmp_path / f"train.{suffix}"
    MANY[suffix](path)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    found = rows_of(path, "sentences" if suffix == "conll" else "texts")
    first, count, arrow = next(found), 1, 0
    for _ in found:
        count += 1
        arrow = max(arrow, pa.total_allocated_bytes() - before)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if suffix == "conll":
        assert first == {"tokens": TOKENS[0], "ner_tags": TAGS[0]} and count == 16_000
    else:
        assert first == {"text": "a film " * 20, "label": 0} and count == 20_000
    assert peak < 1_000_000 and arrow < 2_000_000


def test_a_damaged_line_is_reached_only_when_it_is_read(tmp_path):
    path = tmp_path / "train.conll"
    path.write_bytes(conll(TOKENS, TAGS) + b"\nlonely\n")
    found = rows_of(path, "sentences")
    assert [next(found)["tokens"] for _ in TOKENS] == TOKENS
    with pytest.raises(DataError, match="Line 18 .* one column only, 'lonely'"):
        next(found)


# ---- column files ----


@pytest.mark.parametrize("apart, end", [(" ", "\n"), ("\t", "\r\n"), ("  \t", " \n")])
def test_column_files_as_they_come(tmp_path, apart, end):
    text = conll(TOKENS, TAGS, apart, end).decode()
    # Documents that nothing but DOCSTART separates, many blank lines, and none at the end.
    (tmp_path / "x.txt").write_bytes((text + text.replace(end * 2, end, 1) + end * 3 + text.rstrip()).encode())
    found = list(rows_of(tmp_path / "x.txt", "sentences"))
    assert [row["tokens"] for row in found] == TOKENS * 3 and [row["ner_tags"] for row in found] == TAGS * 3


BAD_FILES = {
    "not UTF-8": (
        b"tea O\ncaf\xe9 O\n",
        r"^Line 2 of the file 'test.txt' of the folder 'mine' cannot be read as UTF-8 \(UnicodeDecodeError",
    ),
    "one column": (b"a O\nb\n", "^Line 2 of the file 'test.txt' of the folder 'mine' has one column only, 'b'"),
    "one column everywhere": (b"\nBonn\n", "^Line 2 of the file 'test.txt' .* has one column only, 'Bonn'"),
    "truncated": (b"-DOCSTART- -X- O\n\na NN O\nb NN", "^Line 4 of the file .* has 2 columns where line 3 has 3"),
    "a word with a space": (b"a\tO\nNew York\tB-LOC\n", "^Line 2 of the file .* has 3 columns where line 1 has 2"),
    "no words": (b"\n-DOCSTART- -X- O\n\n", "^There are no rows in the test split"),
    "nothing": (b"", "^There are no rows in the test split"),
}


@pytest.mark.parametrize("content, message", BAD_FILES.values(), ids=BAD_FILES)
def test_bad_column_files_are_refused_whole_and_lazily(tmp_path, content, message):
    folder = write(tmp_path / "mine", "txt", train=rows(40), test=rows(2))
    (folder / "test.txt").write_bytes(content)
    for read in (sentences.load, sentences.stream):
        with pytest.raises(DataError, match=message):
            read("conll2003", str(folder), seed=0)
