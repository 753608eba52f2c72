"""One reader a format: each opens a file and yields its rows one by one, for corpora read whole and lazily alike.

A further format is a function and a line of `READERS`.
"""

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet
from datasets import ClassLabel, Features, Value

from rnnzoo.data.columns import LABEL, TAGS, TEXT, TOKENS, Find, NoColumn, Role, shown
from rnnzoo.data.corpus import Pass, Row
from rnnzoo.data.errors import BadRow, DataError, brief


@dataclass(frozen=True)
class Table:
    """A table of which no row is read yet.

    names: of all its columns.
    columns: those that are read, by role.
    read: begins a pass over its rows, which have the roles' names for keys.
    features: the types of the columns that are read, by role, where the format stores them.
    remark: what was found out about the file, a sentence; "" if nothing had to be.
    """

    names: Sequence[str]
    columns: dict[Role, str]
    read: Pass
    features: dict[Role, Any] = field(default_factory=dict)
    remark: str = ""


# ---- parquet ----

_BATCH = 1000  # rows of a parquet file that are in memory at a time


def open_parquet(path: Path, find: Find, encoding: str | None) -> Table:
    """A parquet file.

    Raises:
        DataError: it is damaged.
        NoColumn: as `columns.find` does.
    """
    try:
        schema = pyarrow.parquet.read_schema(path)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"The file {path.name!r} of the folder {path.parent.name!r} cannot be read as parquet ({brief(error)}). "
            "It may be damaged or truncated: write it again."
        ) from error
    columns = find(schema.names)
    return Table(schema.names, columns, partial(_parquet_rows, path, columns), _features(schema, columns))


def _parquet_rows(path: Path, columns: dict[Role, str]) -> Iterator[Row]:
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH, columns=list(columns.values())):
            yield from arrow_rows(batch, columns)


def arrow_rows(batch: pyarrow.RecordBatch | pyarrow.Table, columns: dict[Role, str]) -> Iterator[Row]:
    """The rows of a few records, by role."""
    batch = batch.select(list(columns.values())).rename_columns([role.name for role in columns])
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:
        # One at a time, so that the row whose bytes are not UTF-8 is the one that is named.
        rows = (row for i in range(batch.num_rows) for row in batch.slice(i, 1).to_pylist())
    yield from rows


def _features(schema: pyarrow.Schema, columns: dict[Role, str]) -> dict[Role, Any]:
    """The types of the columns that are read; of others, datasets need not know the type."""
    try:
        found = Features.from_arrow_schema(
            pyarrow.schema([schema.field(name) for name in columns.values()], schema.metadata)
        )
    except (NotImplementedError, ValueError):  # a category of pandas, say: it has no names beside its values
        return {}
    return {role: found[name] for role, name in columns.items()}


# ---- CSV and its like ----


def open_csv(path: Path, find: Find, encoding: str | None, separators: str = ",;\t|") -> Table:
    """A file with a header and a record a line, or over several lines within quotes.

    An empty field is a missing value (None), and "" in quotes an empty string. A text is what is written; whole
    numbers that are labels become integers, and lists are read as JSON. The separator is the first of `separators`
    with which the columns are found in the header.

    Raises:
        NoColumn: there is none.
    """
    csv.field_size_limit(2**31 - 1)  # a text may be longer than the module's default of 131,072 characters
    faults, most = [], 0
    for separator in separators:
        records = csv.reader(_lines(path, encoding), delimiter=separator)
        header = [name.strip() for name in next(filter(None, records), [])]  # after any blank lines
        if not header:
            return Table([], {}, partial(iter, ()))
        try:
            columns = find(header)
        except NoColumn as error:
            # The message about the separator with which there are the most columns.
            faults, most = ([error], len(header)) if len(header) > most else (faults, most)
            continue
        quoted = separator != "\t" or _is_quoted(path, encoding, len(header))
        records = _quoted_records if quoted else _plain_records
        remark = "" if separator == separators[0] else f"The fields of {path.name} are separated by {separator!r}."
        read = partial(_csv_rows, partial(records, path, encoding, separator), header, columns)
        return Table(header, columns, read, remark=remark)
    hint = "" if most > 1 else f" The separator must be one of {' '.join(map(repr, separators))}."
    raise NoColumn(f"{faults[0]}{hint}")


def open_tsv(path: Path, find: Find, encoding: str | None) -> Table:
    """As `open_csv`, but that a tab is the separator before all others."""
    return open_csv(path, find, encoding, "\t,;|")


def _csv_rows(
    records: Callable[[], Iterator[list[str | None]]], header: list[str], columns: dict[Role, str]
) -> Iterator[Row]:
    places = [(role.name, header.index(name), _CSV_VALUES[role.reads]) for role, name in columns.items()]
    records = records()
    next(records)
    for record in records:
        if len(record) != len(header):
            raise BadRow(
                f"has {len(record)} fields, but the header has {len(header)} ({shown(header)}). Put a field that "
                "contains the separator in quotes."
            )
        yield {role: None if record[place] is None else value(record[place]) for role, place, value in places}


def _csv_label(field: str) -> int | float | str:
    field = field.strip()
    if field.isascii() and field.removeprefix("-").isdigit() and len(field) < 20:
        return int(field)
    return float(field) if _FRACTION.fullmatch(field) else field


def _csv_list(field: str) -> Any:
    return _from_json(field) if field.startswith("[") else field


_FRACTION = re.compile(r"-?\d{1,15}\.\d{0,15}", re.ASCII)
_CSV_VALUES: dict[str, Callable[[str], Any]] = {"text": str, "label": _csv_label, "list": _csv_list}


def _quoted_records(path: Path, encoding: str | None, separator: str) -> Iterator[list[str | None]]:
    """Records whose fields may be in quotes, within which a quote is doubled; blank lines are skipped."""
    # A field as it is written: what csv returns does not tell an empty one from "" in quotes.
    as_written = re.compile(rf'("[^"]*(?:""[^"]*)*"|[^{re.escape(separator)}]*)(?:{re.escape(separator)}|$)')
    written: list[str] = []  # the lines of the current record

    def lines() -> Iterator[str]:
        for line in _lines(path, encoding):
            written.append(line)
            yield line

    records = csv.reader(lines(), delimiter=separator, strict=True)
    while True:
        try:
            record = next(records, None)
        except csv.Error as error:
            raise BadRow(
                f"cannot be read as CSV ({error}). Put a field that contains quotes in quotes, and double those "
                "within it; or a quote that opens here is never closed."
            ) from error
        if record is None:
            return
        if record:
            if "" in record:
                fields = as_written.findall("".join(written).rstrip("\r\n"))
                record = [field if raw else None for field, raw in zip(record, fields, strict=False)]
            yield record
        written.clear()


def _plain_records(path: Path, encoding: str | None, separator: str) -> Iterator[list[str | None]]:
    """Records in which a quote is a character like any other; blank lines are skipped."""
    for line in _lines(path, encoding):
        if line := line.rstrip("\r\n"):
            yield [field or None for field in line.split(separator)]


def _is_quoted(path: Path, encoding: str | None, width: int) -> bool:
    """Whether quotes enclose fields of a file with tabs, where there are two customs: in one they are characters.

    Raises:
        BadRow: both readings are possible, and they differ in their rows.
    """
    lines = 0
    for line in _lines(path, encoding):
        if line := line.rstrip("\r\n"):
            if line.count("\t") != width - 1:
                return True  # it continues a field, or else is an error either way
            lines += 1
    records = 0
    try:
        for record in _quoted_records(path, encoding, "\t"):
            if len(record) != width:
                return False
            records += 1
    except BadRow:
        return False
    if records < lines:
        raise BadRow(
            f"has quotes that may enclose fields of several lines, or be characters of them: it has {records - 1} "
            f"rows or {lines - 1}. Write the file as CSV with commas, or as JSONL, where there is no doubt."
        )
    return True


# ---- JSON ----


def open_jsonl(path: Path, find: Find, encoding: str | None) -> Table:
    """A file with a JSON object a line; blank lines are skipped.

    Raises:
        NoColumn: as `columns.find` does.
    """
    return _json_table(partial(_lines_of_json, path, encoding), find)


def open_json(path: Path, find: Find, encoding: str | None) -> Table:
    """A JSON list of objects, or an object that holds one such list; or one object after another, as in JSONL.

    Raises:
        NoColumn: as `columns.find` does.
    """
    return _json_table(partial(_elements, path, encoding), find)


def _json_table(read: Pass, find: Find) -> Table:
    """A table whose columns are the keys of its first rows; where those cannot be read, the first pass says so."""
    names: dict[str, None] | None = None
    try:
        for row in islice(read(), _BATCH):
            names = (names or {}) | dict.fromkeys(row)
    except (ValueError, OSError):
        pass
    if names is None:
        return Table([], {}, read)
    columns = find(list(names))
    roles = {name: role.name for role, name in columns.items()}
    return Table(
        list(names), columns, lambda: ({role: row.get(name) for name, role in roles.items()} for row in read())
    )


def _lines_of_json(path: Path, encoding: str | None) -> Iterator[Row]:
    for line in _lines(path, encoding):
        if line.strip():
            yield _row(_from_json(line))


def _elements(path: Path, encoding: str | None) -> Iterator[Row]:
    """The objects that a JSON file holds, of which one is in memory at a time."""
    text = _JsonText(_blocks(path, encoding))
    if text.next() != "{":
        yield from map(_row, text.list())
    elif _is_sequence(_JsonText(islice(_blocks(path, encoding), 64))):
        while text.next():
            yield _row(text.value())
    else:
        found = False
        for _ in text.items("{", "}"):
            text.value()  # the key
            text.skip(":")
            if text.next() == "[" and text.next(1) == "{":
                if found:
                    raise ValueError("it holds two lists of objects: write the one that is meant alone")
                found = True
                yield from map(_row, text.list())
            else:
                text.value()
    if rest := text.next():
        raise ValueError(f"it is not JSON: {rest!r} follows its end")


def _is_sequence(text: "_JsonText") -> bool:
    """Whether a file that begins with an object is one row after another, and not an object with a list of rows."""
    try:
        first = text.value()
    except ValueError:  # longer than what is looked at
        return False
    lists = (value for value in first.values() if isinstance(value, list))
    return text.next() == "{" or not any(isinstance(item, dict) for found in lists for item in found[:1])


class _JsonText:
    """JSON that is read part by part: a buffer over the blocks of a file, and the position in it."""

    def __init__(self, blocks: Iterator[str]):
        self.blocks, self.buffer, self.at = blocks, "", 0
        self.decoder = json.JSONDecoder(object_pairs_hook=_object)

    def more(self) -> bool:
        """Doubles what is in the buffer at least, so that a long value is not decoded over and over."""
        kept = self.buffer[self.at :]
        added = list(islice(self.blocks, len(kept) // _BLOCK + 1))
        self.buffer, self.at = kept + "".join(added), 0
        return bool(added)

    def next(self, after: int = 0) -> str:
        """The next character that is not white space, or the one that follows it; "" at the end."""
        while True:
            found = _CHARACTERS.match(self.buffer, self.at)
            if len(found[1 + after]) or not self.more():
                return found[1 + after]

    def skip(self, character: str) -> None:
        if self.next() != character:
            raise ValueError(f"it is not JSON: {character!r} is missing before {self.buffer[self.at :].strip()!r:.40}")
        self.at = self.buffer.index(character, self.at) + 1

    def value(self) -> Any:
        while True:
            self.next()
            start = _CHARACTERS.match(self.buffer, self.at).start(1)
            try:
                value, end = self.decoder.raw_decode(self.buffer, start)
                if end < len(self.buffer) or not self.more():  # a number might go on
                    self.at = end
                    return _valid(value, self.buffer[start:end])
            except (json.JSONDecodeError, RecursionError) as error:
                if not self.more():
                    raise ValueError(f"it is not JSON ({error.msg} at {self.buffer[start : start + 40]!r})") from error

    def items(self, first: str, last: str) -> Iterator[None]:
        """Stops at every item between brackets, for the caller to read it."""
        self.skip(first)
        if self.next() != last:
            yield
            while self.next() != last:
                self.skip(",")
                yield
        self.skip(last)

    def list(self) -> Iterator[Any]:
        for _ in self.items("[", "]"):
            yield self.value()


_CHARACTERS = re.compile(r"[ \t\r\n]*(.?)[ \t\r\n]*(.?)", re.DOTALL)


def _row(value: Any) -> Row:
    if not isinstance(value, dict):
        raise BadRow(f"is {value!r:.60}: it must be a JSON object whose keys are the columns.")
    return value


def _from_json(text: str) -> Any:
    try:
        return _valid(json.loads(text, object_pairs_hook=_object), text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadRow(f"cannot be read as JSON ({brief(error)}). Correct it, or leave it out.") from error


def _valid(value: Any, text: str) -> Any:
    if "\\u" in text:  # an escape can be half a surrogate pair, at which a tokenizer would fail
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise BadRow(f"cannot be read as JSON ({brief(error)}). Correct it, or leave it out.") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise BadRow(f"has a key twice in one JSON object ({', '.join(key for key, _ in pairs)}). Leave one out.")
    return row


# ---- files without names of columns ----


def open_columns(path: Path, find: Find, encoding: str | None) -> Table:
    """Sentences of a CoNLL file: a word a line, its tag in the last of the columns, a blank line after a sentence.

    Raises:
        DataError: while it is read: a line without a tag, with another number of columns than the first one, or that
            cannot be decoded.
    """
    columns = find([TOKENS.common[0], TAGS.common[0]])
    return Table(list(columns.values()), columns, partial(_column_sentences, path, encoding))


def _column_sentences(path: Path, encoding: str | None) -> Iterator[Row]:
    where = f"the file {path.name!r} of the folder {path.parent.name!r}"
    words: list[list[str]] = []  # of the current sentence, each with its columns
    first = None  # the first line with a word: its number and how many columns it has
    for number, line in _numbered_lines(path, encoding, where):
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
    return {TOKENS.name: [columns[0] for columns in words], TAGS.name: [columns[-1] for columns in words]}


def _numbered_lines(path: Path, encoding: str | None, where: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, counted from 1 as editors do."""
    number = 0
    try:
        for number, line in enumerate(_lines(path, encoding), start=1):
            yield number, line
    except (OSError, BadRow) as error:
        raise DataError(f"Line {number + 1} of {where} {error}") from error


def open_acl_imdb(path: Path, find: Find, encoding: str | None) -> Table:
    """A split of the aclImdb folder: a .txt file a review in neg (label 0), then those in pos (label 1).

    Raises:
        DataError: while it is read: one of the two has no review, or a review cannot be decoded.
    """
    columns = find([TEXT.common[0], LABEL.common[0]])
    features = {TEXT: Value("string"), LABEL: ClassLabel(names=["neg", "pos"])}
    return Table(list(columns.values()), columns, partial(_acl_imdb_rows, path, encoding), features)


def _acl_imdb_rows(path: Path, encoding: str | None) -> Iterator[Row]:
    for label, part in enumerate(("neg", "pos")):
        files = sorted((path / part).glob("*.txt"))
        if not files:
            raise DataError(
                f"There is no text in {path.name}/{part} of the folder {path.parent.name!r}. A folder like aclImdb "
                "holds a .txt file a review in train/pos, train/neg, test/pos and test/neg: unpack it again."
            )
        for file in files:
            try:
                yield {"text": "".join(_lines(file, encoding)), "label": label}
            except BadRow as error:
                raise DataError(f"The file {path.name}/{part}/{file.name} {error}") from error


def open_lines(path: Path, find: Find, encoding: str | None) -> Table:
    """A text a line; blank lines are skipped.

    Raises:
        NoColumn: as `columns.find` does.
    """
    columns = find([TEXT.common[0]])
    return Table(list(columns.values()), columns, partial(_text_lines, path, encoding))


def _text_lines(path: Path, encoding: str | None) -> Iterator[Row]:
    for line in _lines(path, encoding):
        if line.strip():
            yield {TEXT.name: line.rstrip("\r\n")}


def open_texts(path: Path, find: Find, encoding: str | None) -> Table:
    """A folder with a .txt file a text, such as `train/unsup` of aclImdb.

    Raises:
        DataError: while it is read: a text cannot be decoded.
        NoColumn: as `columns.find` does.
    """
    columns = find([TEXT.common[0]])
    return Table(list(columns.values()), columns, partial(_text_files, path, encoding))


def _text_files(path: Path, encoding: str | None) -> Iterator[Row]:
    for file in sorted(path.glob("*.txt")):
        try:
            yield {TEXT.name: "".join(_lines(file, encoding))}
        except BadRow as error:
            raise DataError(f"The file {file.name!r} of the folder {path.name!r} {error}") from error


# From a file, what finds its columns, and the encoding that was named, to its table. The key is the suffix.
READERS: dict[str, Callable[[Path, Find, str | None], Table]] = {
    "parquet": open_parquet,
    "csv": open_csv,
    "tsv": open_tsv,
    "jsonl": open_jsonl,
    "json": open_json,
    **dict.fromkeys(("conll", "txt", "iob", "bio"), open_columns),
    "": open_acl_imdb,  # a folder
}
# The same of texts without labels.
TEXT_READERS = {
    **{suffix: READERS[suffix] for suffix in ("parquet", "csv", "tsv", "jsonl", "json")},
    "txt": open_lines,
    "": open_texts,  # a folder
}
# And of sentences: those of column files besides, without their tags.
SENTENCE_READERS = TEXT_READERS | {suffix: READERS[suffix] for suffix in ("conll", "iob", "bio")}


# ---- text ----

# Those of UTF-32 first: one begins as that of UTF-16 does.
_MARKS = (
    *((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32")),
    *((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")),
)
_BLOCK = 1 << 16  # characters of a file without lines that are read at a time


def _lines(path: Path, encoding: str | None) -> Iterator[str]:
    """The lines of a text file with their ends, without a byte order mark.

    Raises:
        BadRow: a line cannot be decoded.
    """
    with path.open("rb") as file, _decoding(file, encoding) as encoding:
        if encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32")):
            lines = io.TextIOWrapper(file, encoding, newline="\n")
        else:
            # As bytes, so that the row whose bytes are wrong is the one that is named; and their lines end at "\n"
            # only, where str.splitlines also ends them at characters such as U+0085.
            lines = (line.decode(encoding) for line in file)
        for line in lines:
            yield line.removeprefix("\ufeff")
            break
        yield from lines


def _blocks(path: Path, encoding: str | None) -> Iterator[str]:
    """The characters of a text file, some at a time, without a byte order mark.

    Raises:
        BadRow: some cannot be decoded.
    """
    with path.open("rb") as file, _decoding(file, encoding) as encoding:
        text = io.TextIOWrapper(file, encoding, newline="\n")
        block = text.read(_BLOCK).removeprefix("\ufeff")
        while block:
            yield block
            block = text.read(_BLOCK)


@contextmanager
def _decoding(file: BinaryIO, encoding: str | None) -> Iterator[str]:
    """The encoding of a text file: what its byte order mark says, else the given one, else UTF-8.

    Raises:
        BadRow: what is read then cannot be decoded.
    """
    start = file.read(4)
    file.seek(0)
    marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if b"\0" in start and marked is encoding is None:
        raise BadRow("begins with null bytes. If it is UTF-16 without a byte order mark: --encoding utf-16-le.")
    encoding = marked or encoding or "utf-8"
    try:
        yield encoding
    except UnicodeError as error:
        raise BadRow(
            f"cannot be read as {encoding.upper()} ({brief(error)}). Write the file as UTF-8, or name its encoding, "
            "such as --encoding cp1252 (Windows, Western Europe); or it is damaged, or of another format than its "
            "name says."
        ) from error
