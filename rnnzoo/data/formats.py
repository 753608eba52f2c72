"""One reader a format: each yields the rows of a file one by one, for corpora that are read whole and lazily alike.

A further format is a function and a line of `READERS`.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
from datasets import ClassLabel, Features, Value

from rnnzoo.data.corpus import Row
from rnnzoo.data.errors import DataError, brief


# The columns of a row, by the names that a task knows: the first of the alternatives that is there is what it reads.
Layouts = Sequence[tuple[str, ...]]

_BATCH = 1000  # rows of a parquet file that are in memory at a time
# A field of a CSV record as it is written: in quotes, within which a quote is doubled, or without.
_CSV_FIELD = re.compile(r'("[^"]*(?:""[^"]*)*"|[^,]*)(?:,|$)')


class BadRow(ValueError):
    """A row that cannot be read, though the rows after it can: the rest of a sentence that begins "Row 7 ..."."""


def read_parquet(path: Path, layouts: Layouts) -> Iterator[Row]:
    """Rows of a parquet file, with the columns of the first layout that it has; if it has none, with all columns."""
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH, columns=first_layout(file.schema_arrow.names, layouts)):
            try:
                rows = batch.to_pylist()
            except UnicodeDecodeError:
                # One at a time, so that the row whose bytes are not UTF-8 is the one that is named.
                rows = (row for i in range(len(batch)) for row in batch.slice(i, 1).to_pylist())
            yield from rows


def read_csv(path: Path, layouts: Layouts) -> Iterator[Row]:
    """Rows of a CSV file with a header. An empty field is a missing value (None), and "" in quotes an empty string.

    In the columns of `layouts` other than `text`, whole numbers become integers, and lists are read as JSON.
    """
    csv.field_size_limit(2**31 - 1)  # a text may be longer than the module's default of 131,072 characters
    written: list[str] = []  # the lines of the current record
    records = csv.reader(_lines(path, written), strict=True)
    header = next(records, [])
    if len(set(header)) < len(header):
        raise ValueError(f"a column name occurs twice in the header ({', '.join(header)})")
    known = {column for layout in layouts for column in layout} - {"text"}
    typed = [place for place, column in enumerate(header) if column in known]
    written.clear()
    for record in records:
        if record:  # not a blank line
            if len(record) != len(header):
                raise BadRow(
                    f"has {len(record)} fields, but the header has {len(header)} ({', '.join(header)}). Put a field "
                    "that contains commas in quotes."
                )
            if "" in record:
                as_written = _CSV_FIELD.findall("".join(written).rstrip("\r\n"))
                record = [field if raw else None for field, raw in zip(record, as_written, strict=False)]
            for place in typed:
                record[place] = _csv_value(record[place])
            yield dict(zip(header, record, strict=True))
        written.clear()


def _csv_value(field: str | None) -> Any:
    if field is None:
        return None
    if field.isascii() and field.removeprefix("-").isdigit():
        return int(field)
    return _from_json(field) if field.startswith("[") else field


def read_jsonl(path: Path, layouts: Layouts) -> Iterator[Row]:
    """Rows of a file with a JSON object a line; blank lines are skipped."""
    for line in _lines(path):
        if line.strip():
            row = _from_json(line)
            if not isinstance(row, dict):
                raise BadRow(f"is {row!r:.60}: it must be a JSON object whose keys are the columns.")
            yield row


def _from_json(text: str) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_object)
        if "\\u" in text:  # an escape can be half a surrogate pair, at which a tokenizer would fail
            json.dumps(value, ensure_ascii=False).encode()
    except (json.JSONDecodeError, UnicodeEncodeError) as error:
        raise BadRow(f"cannot be read as JSON ({brief(error)}). Correct it, or leave it out.") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise BadRow(f"has a key twice in one JSON object ({', '.join(key for key, _ in pairs)}). Leave one out.")
    return row


def read_columns(path: Path, layouts: Layouts) -> Iterator[Row]:
    """Sentences of a CoNLL file: a word a line, its tag in the last of the columns, a blank line after a sentence.

    Raises:
        DataError: a line without a tag, with another number of columns than the first one, or that is not UTF-8.
    """
    where = f"the file {path.name!r} of the folder {path.parent.name!r}"
    words: list[list[str]] = []  # of the current sentence, each with its columns
    first = None  # the first line with a word: its number and how many columns it has
    for number, line in _numbered_lines(path, where):
        # Not split(), for which characters within a word, such as U+00A0, are white space too.
        columns = re.split(r"[ \t]+", line.strip(" \t\r\n"))
        if columns[0] in ("", "-DOCSTART-"):
            if words:
                yield _sentence(words)
            words = []
            continue
        first = first or (number, len(columns))
        if len(columns) == 1:
            raise DataError(
                f"Line {number} of {where} has one column only, {columns[0]!r:.60}. Every word needs a line with its "
                "tag in the last column, after spaces or a tab; the file may be truncated."
            )
        if len(columns) != first[1]:
            raise DataError(
                f"Line {number} of {where} has {len(columns)} columns where line {first[0]} has {first[1]}, so its "
                "last column may not be a tag. Words must not contain spaces; the file may be truncated."
            )
        words.append(columns)
    if words:
        yield _sentence(words)


def _sentence(words: list[list[str]]) -> Row:
    return {"tokens": [columns[0] for columns in words], "ner_tags": [columns[-1] for columns in words]}


def _numbered_lines(path: Path, where: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, counted from 1 as editors do."""
    number = 0
    try:
        for number, line in enumerate(_lines(path), start=1):
            yield number, line
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"Line {number + 1} of {where} cannot be read as UTF-8 ({brief(error)}). Write the file as UTF-8."
        ) from error


def read_acl_imdb(path: Path, layouts: Layouts) -> Iterator[Row]:
    """Rows of a split of the aclImdb folder: a .txt file a review in neg (label 0), then those in pos (label 1).

    Raises:
        DataError: one of the two has no review, or a review is not UTF-8.
    """
    for label, part in enumerate(("neg", "pos")):
        files = sorted((path / part).glob("*.txt"))
        if not files:
            raise DataError(
                f"There is no text in {path.name}/{part} of the folder {path.parent.name!r}. A folder like aclImdb "
                "holds a .txt file a review in train/pos, train/neg, test/pos and test/neg: unpack it again."
            )
        for file in files:
            try:
                yield {"text": file.read_bytes().decode("utf-8-sig"), "label": label}
            except UnicodeDecodeError as error:
                raise DataError(
                    f"The file {path.name}/{part}/{file.name} is not UTF-8 text ({error.reason} at byte "
                    f"{error.start}). Write it as UTF-8, or unpack the folder again."
                ) from error


READERS: dict[str, Callable[[Path, Layouts], Iterator[Row]]] = {
    "parquet": read_parquet,
    "csv": read_csv,
    "jsonl": read_jsonl,
    **dict.fromkeys(("conll", "txt", "iob", "bio"), read_columns),
    "": read_acl_imdb,  # a folder
}


def features_of(path: Path) -> Features | None:
    """The types of the columns, and the names of the classes, where the format stores them.

    Raises:
        DataError: the file is damaged.
    """
    if path.is_dir():
        return Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    if path.suffix != ".parquet":
        return None
    try:
        return Features.from_arrow_schema(pyarrow.parquet.read_schema(path))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"The file {path.name!r} of the folder {path.parent.name!r} cannot be read as parquet ({brief(error)}). "
            "It may be damaged or truncated: write it again."
        ) from error


def first_layout(columns: Sequence[str], layouts: Layouts) -> list[str]:
    """The columns of the first layout that is there; all columns if none is, so that an error can name them."""
    return list(next((layout for layout in layouts if set(layout) <= set(columns)), columns))


def _lines(path: Path, read: list[str] | None = None) -> Iterator[str]:
    """The lines of a UTF-8 file with their ends, without the byte order mark that spreadsheets write.

    Each is appended to the list `read`, if there is one, before it is yielded.
    """
    # As bytes, whose lines end at "\n" only: str.splitlines also ends them at characters such as U+0085.
    with path.open("rb") as file:
        for number, line in enumerate(file):
            text = line.decode("utf-8" if number else "utf-8-sig")
            if read is not None:
                read.append(text)
            yield text
