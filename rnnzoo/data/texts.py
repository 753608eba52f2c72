"""Corpora of labelled texts, for classifiers: read whole (`load`) or lazily (`stream`), with the same row check."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from rnnzoo.data.catalog import KNOWN
from rnnzoo.data.corpus import Corpus, Pass, Row, check_fraction, with_validation
from rnnzoo.data.errors import DataError
from rnnzoo.data.places import Layout, Place, Split, place, splits_at
from rnnzoo.data.streams import set_apart


_LAYOUT = Layout(
    suffixes=("parquet", "csv", "jsonl", ""),
    columns=(("text", "label"),),
    described=(
        "A data set is a folder with train, validation (optional) and test as .parquet, .csv or .jsonl files, or one "
        "like aclImdb with train/pos, train/neg, test/pos and test/neg."
    ),
)
_ALIASES = {alias: label for known in KNOWN.values() for alias, label in known.aliases.items()}
_CHUNK = 10_000  # rows that become a chunk of a table


def load(name: str, dataset: str = "auto", *, seed: int, validation_fraction: float | None = None) -> Corpus:
    """Read a corpus of labelled texts whole, and check every row of it.

    `dataset` is one of
        "auto": the known data set `name`: `$RNNZOO_DATA/<name>` where that variable is set, else the Hub (or its copy
            in the local cache);
        "made": synthetic reviews, available on every machine;
        a folder with `train|validation|test.{parquet,csv,jsonl}`, columns `text` and `label` (0, 1, ...); the names
            of the classes come from a parquet file's ClassLabel or from a `labels.json` list beside the files;
        a folder like `aclImdb`, with `train/neg/*.txt`, `train/pos/*.txt` and the same under `test`;
        a known name, or a Hub id.

    Other splits (IMDB's unsupervised one) are ignored. Where there is no validation split, a fifth of train becomes
    one; with `validation_fraction`, that share of train and validation together: the same share of every class, drawn
    by `seed`. Local files are read again every time: nothing of them is kept in the cache of `datasets`.

    Raises:
        DataError: there is no such data set, or a text classifier cannot be trained on it.
    """
    check_fraction(validation_fraction)
    if dataset == "made":
        # Here, so that only those who use synthetic data load its grammar.
        from rnnzoo.data.synthetic.reviews import BANNER, LABELS, make_reviews

        splits = with_validation(make_reviews(seed=0), validation_fraction, seed=seed, stratify_by="label")
        return Corpus("made", "made by this project (not IMDB)", list(LABELS), splits, banner=BANNER)

    there, splits, names = _open(name, dataset, lazy=False)
    train = _table(_examples(splits.pop("train"), names))
    classes = sorted(pc.unique(train["label"]).to_pylist())
    if len(classes) == 1:
        raise _one_class(classes, there.source)
    names = names or _numbered(classes, there.source)
    tables = {"train": train} | {split: _table(_examples(rows, names)) for split, rows in splits.items()}
    whole = {split: _labelled(table, names) for split, table in tables.items()}
    whole = with_validation(whole, validation_fraction, seed=seed, stratify_by="label")
    return Corpus(there.name, there.source, list(names), whole)


def stream(name: str, dataset: str = "auto", *, seed: int, most: int | None = None) -> Corpus:
    """Open the corpus that `load` reads, to read its training split lazily: the first `most` rows, again every pass.

    Where there is no validation split, one row in twenty of the first 100,000 of train is held out, drawn by `seed`.

    Raises:
        DataError: there is no such data set, or a text classifier cannot be trained on it. Faults in rows of train are
            raised when those are read.
    """
    if dataset == "made":
        raise DataError("Synthetic data (--dataset made) is in memory anyway: leave out --streaming.")
    there, splits, names = _open(name, dataset, lazy=True)
    if not names:
        raise DataError(
            f"Class names of the data set ({there.source}) are unknown, and --streaming does not infer them: add "
            'labels.json beside the files, a list in the order of the labels, such as ["negative", "positive"].'
        )
    read = partial(_examples, splits.pop("train"), names)
    held = {split: _examples(rows, names) for split, rows in splits.items()}
    if "validation" not in held:
        held["validation"], read = set_apart(read, seed, there.source)
    held = {split: _labelled(_table(held[split]), names) for split in ("validation", "test")}
    read = partial(_pass, read, most, there.source)
    return Corpus(there.name, there.source, list(names), DatasetDict(held), read)


def _open(name: str, dataset: str, *, lazy: bool) -> tuple[Place, dict[str, Split], Sequence[str] | None]:
    """The splits of a data set, unread, and the names of its classes where they are known."""
    there = place(dataset, default=name)
    splits, listed = splits_at(there, _LAYOUT, lazy=lazy)
    known = KNOWN.get(name if dataset == "auto" else dataset)
    return there, splits, _own_names(splits.values(), there.source) or listed or (known and known.labels)


def _own_names(splits: Iterable[Split], source: str) -> tuple[str, ...] | None:
    """The class names that the splits store, if they do, in the words of the catalog.

    Raises:
        DataError: they store different ones.
    """
    labels = [(split.features or {}).get("label") for split in splits]
    found = {tuple(label.names) for label in labels if isinstance(label, ClassLabel)}
    if len(found) > 1:
        raise DataError(
            f"The splits ({source}) name their classes differently: {' and '.join(map(str, sorted(found)))}. "
            "A number must mean the same class everywhere: write the files with one ClassLabel."
        )
    return tuple(_ALIASES.get(name, name) for name in found.pop()) if found else None


def _examples(split: Split, names: Sequence[str] | None) -> Iterator[Row]:
    """The rows of a split, checked."""
    for number, row in split.numbered():
        yield example(row, number, split.where, names)


def example(row: Row, number: int, where: str, names: Sequence[str] | None) -> Row:
    """The text and the label of row `number` of a split, which errors call `where`; `names` may not be known yet.

    Raises:
        DataError: it has no text, or no label that is the number of a class.
    """
    text, label = row.get("text"), row.get("label")
    if type(text) is str and type(label) is int and 0 <= label < (len(names) if names else sys.maxsize):
        return {"text": text, "label": label}
    at = f"Row {number} (counted from 0) of {where}"
    for column in ("text", "label"):
        if column not in row:
            raise DataError(
                f"{at} has no column {column!r}, only: {', '.join(row)}. A text classifier needs the columns 'text' "
                "and 'label': rename yours."
            )
        if row[column] is None:
            raise DataError(f"{at} has no {column} (null). Fill it in, or leave the row out.")
    if type(text) is not str:
        raise DataError(f"{at} has the text {text!r:.60}, which is no string. Write every text as a string.")
    if type(label) is not int:
        raise DataError(
            f"{at} has the label {label!r:.60}. Labels must be integers: number the classes 0, 1 and so on, and list "
            "their names in that order in labels.json beside the files."
        )
    classes = f"there are {len(names)} classes ({', '.join(names[:8])})" if names else "classes are"
    raise DataError(
        f"{at} has the label {label}, but {classes} numbered from 0 on. Correct it, or leave rows without a class out "
        "(-1 often stands for that)."
    )


def _numbered(classes: list[int], source: str) -> tuple[str, ...]:
    """Names for classes that have none: their numbers."""
    if classes != list(range(len(classes))):
        raise DataError(
            f"The labels of the train split ({source}) are {', '.join(map(str, classes[:8]))}"
            f"{', ...' if len(classes) > 8 else ''}: classes are numbered 0, 1, 2 and so on, without a gap. "
            "Number them so, or list the names of all classes in labels.json beside the files."
        )
    return tuple(map(str, classes))


def _pass(read: Pass, most: int | None, source: str) -> Iterator[Row]:
    """The first `most` rows, which must not all be of one class."""
    classes = set()
    for row in islice(read(), most):
        classes.add(row["label"])
        yield row
    if len(classes) < 2:
        raise _one_class(sorted(classes), source)


def _one_class(classes: list[int], source: str) -> DataError:
    return DataError(
        f"All rows that are read of the train split ({source}) have the label {', '.join(map(str, classes))}: there "
        "is nothing to tell apart. Check how the labels were written, and that a file sorted by class is not "
        "truncated (with --streaming: that --max_train_steps reaches beyond its first class)."
    )


def _table(rows: Iterable[Row]) -> pa.Table:
    schema, rows = pa.schema({"text": pa.string(), "label": pa.int64()}), iter(rows)
    chunks = iter(lambda: list(islice(rows, _CHUNK)), [])
    columns = ({name: [row[name] for row in chunk] for name in schema.names} for chunk in chunks)
    return pa.Table.from_batches([pa.RecordBatch.from_pydict(chunk, schema) for chunk in columns], schema)


def _labelled(table: pa.Table, names: Sequence[str]) -> Dataset:
    """A table with its class names; in memory, so that what is derived from it leaves no files in the cache either."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(names))})
    return Dataset(table.cast(features.arrow_schema))
