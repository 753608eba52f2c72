"""Data sets in files, for tests: the same rows in every format, and what one row of a corpus looks like in each."""

import json

import pyarrow as pa
import pyarrow.parquet as pq


MARK = b"\xef\xbb\xbf"  # the byte order mark, as spreadsheets write it


def write(folder, suffix="parquet", labels=None, **splits):
    """A folder with a file a split, from columns (or lists of rows); with `labels.json`, if `labels` are given."""
    folder.mkdir(exist_ok=True)
    for split, columns in splits.items():
        path = folder / f"{split}.{suffix}"
        WRITERS[suffix](path, columns)
    if labels is not None:
        (folder / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    return folder


def _rows(columns):
    return columns if isinstance(columns, list) else pa.table(columns).to_pylist()


def _write_parquet(path, columns):
    pq.write_table(pa.Table.from_pylist(columns) if isinstance(columns, list) else pa.table(columns), path)


def _write_csv(path, columns, separator=","):
    """As pandas and spreadsheets do, but that an empty string is in quotes and a missing value is not."""
    rows = _rows(columns)
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(columns)
    lines = [names, *([_field(row.get(name)) for name in names] for row in rows)]
    path.write_text("".join(separator.join(line) + "\n" for line in lines), encoding="utf-8")


def _write_tsv(path, columns):
    _write_csv(path, columns, "\t")


def _field(value):
    if value is None:
        return ""
    if isinstance(value, list):
        value = json.dumps(value)
    return '"' + value.replace('"', '""') + '"' if isinstance(value, str) else str(value)


def _write_jsonl(path, columns):
    path.write_text("".join(json.dumps(row) + "\n" for row in _rows(columns)), encoding="utf-8")


def _write_json(path, columns):
    path.write_text(json.dumps(_rows(columns), indent=1), encoding="utf-8")


def _write_columns(path, columns):
    path.write_bytes(conll([row["tokens"] for row in _rows(columns)], [row["ner_tags"] for row in _rows(columns)]))


def conll(tokens, ner_tags, apart=" ", end="\n"):
    """The bytes of a column file with four columns."""
    sentences = [
        "".join(f"{apart.join([word, 'NN', 'I-NP', tag])}{end}" for word, tag in zip(words, row, strict=True))
        for words, row in zip(tokens, ner_tags, strict=True)
    ]
    return (f"-DOCSTART- -X- -X- O{end}{end}" + end.join(sentences)).encode()


COLUMN_FILES = ("conll", "txt", "iob", "bio")
WRITERS = {
    "parquet": _write_parquet,
    "csv": _write_csv,
    "tsv": _write_tsv,
    "jsonl": _write_jsonl,
    "json": _write_json,
    **dict.fromkeys(COLUMN_FILES, _write_columns),
}


def texts(count, classes=2, word="film"):
    """Columns of labelled texts."""
    return {"text": [f"{word} {i}" for i in range(count)], "label": [i % classes for i in range(count)]}


def sentences(count):
    """Columns of tagged sentences, each with an entity."""
    return {"tokens": [[f"word{i}", "is"] for i in range(count)], "ner_tags": [["B-LOC", "O"]] * count}


def tagged(split):
    """A split of the synthetic sentences with the columns that a file has."""
    return split.select_columns(["tokens", "tags"]).rename_column("tags", "ner_tags").to_dict()
