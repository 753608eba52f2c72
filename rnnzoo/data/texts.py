"""Corpora of labelled texts, for classifiers: read whole (`load`) or lazily (`stream`), with the same row check."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from rnnzoo.data import division
from rnnzoo.data.catalog import KNOWN
from rnnzoo.data.checked import Checked
from rnnzoo.data.columns import LABEL, TEXT, Columns, shown
from rnnzoo.data.corpus import Corpus, Overlap, Pass, Row, check_fraction, with_validation
from rnnzoo.data.errors import BadRow, DataError, Incomplete
from rnnzoo.data.places import Found, Layout, Place, Split, place, splits_at
from rnnzoo.data.recorded import recorded
from rnnzoo.data.streams import set_apart
from rnnzoo.data.unlabelled import without_labels


_LAYOUT = Layout(
    suffixes=("parquet", "csv", "tsv", "jsonl", "json", ""),
    columns=((TEXT, LABEL),),
    described=(
        "A data set is a .csv, .tsv, .json, .jsonl or .parquet file; or a folder with such files for train, test and "
        "perhaps validation; or a folder like aclImdb with train/pos, train/neg, test/pos and test/neg."
    ),
)
_ALIASES = {alias: label for known in KNOWN.values() for alias, label in known.aliases.items()}
_CHUNK = 10_000  # rows that become a chunk of a table


def load(
    name: str,
    dataset: str = "auto",
    *,
    seed: int,
    validation_fraction: float | None = None,
    validation_split: str | None = None,
    unlabelled: str | None = None,
    columns: Columns = Columns(),  # noqa: B008, it is frozen
) -> Corpus:
    """Read a corpus of labelled texts whole, and check every row of it.

    `dataset` is one of
        "auto": the known data set `name`: `$RNNZOO_DATA/<name>` where that variable is set, else the Hub (or its copy
            in the local cache);
        "made": synthetic reviews, available on every machine;
        a file, .csv, .tsv, .json, .jsonl or .parquet, which is divided 80 : 10 : 10, the same share of every class
            (see `rnnzoo.data.division`);
        a folder with `train|validation|test` as such files, or each as several: `train-00000-of-00002.parquet`;
        a folder like `aclImdb`, with `train/neg/*.txt`, `train/pos/*.txt` and the same under `test`;
        a known name, or a Hub id.

    The text and its label are in the columns that `columns` names, or that have common names. Numbers are labels by
    the names that a ClassLabel, or a `labels.json` list beside the files, gives them. Where there are no such names,
    the labels name themselves, whether strings, whole numbers or truth values: the classes are those of all splits,
    sorted as numbers if all are numbers.

    Other splits (IMDB's unsupervised one) are ignored, unless `unlabelled` names one, or a file with a column of texts
    (a .txt file: a text a line), a folder of .txt files, or another column of train. Those of its texts that stand in
    test, in validation, in train or twice are left out. Where there is no validation split, a fifth of train becomes
    one; with `validation_fraction`, that share of train and validation together: the same share of every class, drawn
    by `seed`. With `validation_split`, the rows of train that the catalog records under that name (see
    `rnnzoo.data.recorded`). Local files are read again every time: nothing of them is kept in the cache of `datasets`.

    Raises:
        DataError: there is no such data set, or a text classifier cannot be trained on it.
    """
    check_fraction(validation_fraction)
    chosen = validation_split and recorded(name if dataset == "auto" else dataset, validation_split)
    if chosen and validation_fraction:
        raise DataError("validation_split and validation_fraction are two ways to hold rows out. Leave out one.")
    if dataset == "made":
        # Here, so that only those who use synthetic data load its grammar.
        from rnnzoo.data.synthetic.reviews import BANNER, LABELS, make_reviews

        columns.refuse_for_synthetic_data()
        if unlabelled is not None:
            raise DataError(
                f"unlabelled is {unlabelled!r}: the synthetic data (--dataset made) has no texts besides the labelled "
                "ones, and real texts do not go with it. Leave unlabelled out, or name another data set."
            )
        splits = with_validation(make_reviews(seed=0), validation_fraction, seed=seed, stratify_by="label")
        return Corpus("made", "made by this project (not IMDB)", list(LABELS), splits, banner=BANNER)

    there, found, names = _open(name, dataset, columns, lazy=False)
    checked = _checked(found.splits, names, columns)
    source = there.source
    tables = {split: _table(read()) for split, read in checked.items()}
    classes = {split: set(pc.unique(table["label"]).to_pylist()) for split, table in tables.items()}
    names, remarks = _classes(classes, names, there.source)
    remarks = [*found.remarks, *remarks, *chain.from_iterable(rows.remarks() for rows in checked.values())]
    splits = {split: _numbered(table, names) for split, table in tables.items()}
    if chosen:
        splits, remarks = chosen.divide(splits), [*remarks, chosen.remark(validation_split)]
    elif "test" not in splits:
        splits, divided = division.divide(splits["train"], splits["train"]["label"][:], seed, validation_fraction)
        source, remarks = source + division.IN_SOURCE, [*remarks, divided]
    else:
        splits = with_validation(splits, validation_fraction, seed=seed, stratify_by="label")
    # Of a split that was drawn, nobody expects its films, or its authors, to be others than those of train.
    for split in ("validation", "test") if chosen else ("test",):
        overlap = Overlap(splits[split]["text"][:], split)
        for text in splits["train"]["text"][:]:
            overlap.see(text)
        remarks = remarks + overlap.remarks()
    splits, others = DatasetDict(splits), None
    if unlabelled is not None:
        others, of_others = without_labels(there, unlabelled, _LAYOUT, columns, splits)
        remarks = remarks + of_others
    return Corpus(there.name, source, names, splits, remarks=remarks, validation=validation_split, unlabelled=others)


def stream(
    name: str,
    dataset: str = "auto",
    *,
    seed: int,
    most: int | None = None,
    columns: Columns = Columns(),  # noqa: B008, it is frozen
) -> Corpus:
    """Open the corpus that `load` reads, to read its training split lazily: the first `most` rows, again every pass.

    A first pass checks them, and finds the names of the classes where nothing else tells them. Where there is no
    validation split, one row in twenty of the first 100,000 of train is held out, drawn by `seed`.

    Raises:
        DataError: there is no such data set, or a text classifier cannot be trained on it. Files that change during
            the run are noticed when they are read.
    """
    if dataset == "made":
        raise DataError("Synthetic data (--dataset made) is in memory anyway: leave out --streaming.")
    there, found, names = _open(name, dataset, columns, lazy=True)
    checked = _checked(found.splits, names, columns)
    read: Pass = checked["train"]
    held = {split: list(rows()) for split, rows in checked.items() if split != "train"}
    source, remarks = there.source, []
    if "test" not in held:
        read, held, divided = division.divide_lazily(read, itemgetter("label"), seed)
        source, remarks = source + division.IN_SOURCE, [divided]
    if "validation" not in held:
        held["validation"], read = set_apart(read, seed, there.source)
    overlap, classes = Overlap(row["text"] for row in held["test"]), {"train": set()}
    for row in islice(read(), most):
        classes["train"].add(row["label"])
        overlap.see(row["text"])
    classes |= {split: {row["label"] for row in rows} for split, rows in held.items()}
    names, of_classes = _classes(classes, names, there.source)
    left_out = chain.from_iterable(rows.remarks() for rows in checked.values())
    remarks = [*found.remarks, *of_classes, *left_out, *remarks, *overlap.remarks()]
    splits = DatasetDict({split: _numbered(_table(held[split]), names) for split in ("validation", "test")})
    read = partial(_pass, read, most, {name: number for number, name in enumerate(names)})
    return Corpus(there.name, source, names, splits, read, remarks=remarks)


def first(dataset: str, columns: Columns) -> Row:
    """The first complete example, which tells whether a data set holds texts with a label each.

    Raises:
        DataError: it does not, or there is no such data set.
    """
    _, found, names = _open("", dataset, columns, lazy=True)
    return next(_checked(found.splits, names, replace(columns, drop_incomplete=True))["train"]())


def _open(name: str, dataset: str, columns: Columns, *, lazy: bool) -> tuple[Place, Found, tuple[str, ...] | None]:
    """The splits of a data set, unread, and the names of its classes where something tells them."""
    there = place(dataset, default=name)
    found = splits_at(there, _LAYOUT, columns, lazy=lazy)
    known = KNOWN.get(name if dataset == "auto" else dataset)
    names = _own_names(found.splits.values(), there.source) or found.listed or (known and known.labels)
    return there, found, names and tuple(names)


def _own_names(splits: Iterable[Split], source: str) -> tuple[str, ...] | None:
    """The class names that the splits store, if they do, in the words of the catalog.

    Raises:
        DataError: they store different ones.
    """
    labels = [split.features.get(LABEL) for split in splits]
    found = {tuple(label.names) for label in labels if isinstance(label, ClassLabel)}
    if len(found) > 1:
        raise DataError(
            f"The splits ({source}) name their classes differently: {' and '.join(map(str, sorted(found)))}. "
            "A number must mean the same class everywhere: write the files with one ClassLabel."
        )
    return tuple(_ALIASES.get(name, name) for name in found.pop()) if found else None


# ---- what a row must be ----


def _checked(splits: dict[str, Split], names: Sequence[str] | None, columns: Columns) -> dict[str, Checked]:
    def check(row: Row, number: int) -> Row:
        return example(row, names)

    return {split: Checked(rows, check, drop_incomplete=columns.drop_incomplete) for split, rows in splits.items()}


def example(row: Row, names: Sequence[str] | None) -> Row:
    """The text of a row and the name of its class; `names`, where they are known, are those of numbers.

    Raises:
        Incomplete: it has no text or no label.
        BadRow: its text is no string, or its label none of a class.
    """
    text, label = row["text"], row["label"]
    if text is None:
        raise Incomplete("text")
    if type(text) is not str:
        raise BadRow(f"has the text {text!r:.60}, which is no string. Write every text as a string.")
    return {"text": text, "label": _class(label, names)}


def _class(label: Any, names: Sequence[str] | None) -> str:
    if isinstance(label, str):
        label = label.strip()
    if label is None or label == "" or label != label:  # NaN
        raise Incomplete("label")
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, bool | str):
        found = str(label)
        if names is None or found in names:
            return found
        if (found := _ALIASES.get(found)) in names:
            return found
    elif isinstance(label, int):
        if names is None:
            return str(label)
        if 0 <= label < len(names):
            return names[label]
    else:
        raise BadRow(
            f"has the label {label!r:.60}. A label must be a string, a whole number or a truth value, one for each "
            "text."
        )
    numbers = f", numbered 0 to {len(names) - 1}" if isinstance(label, int) else ""
    raise BadRow(
        f"has the label {label!r:.60}, but the classes are {shown(names)}{numbers}. Correct it, or leave rows without "
        "a class out (-1 often stands for that)."
    )


# ---- classes ----


def _classes(found: dict[str, set[str]], names: Sequence[str] | None, source: str) -> tuple[list[str], list[str]]:
    """The names of all classes, from those that are found in each split, and what the user should know of them.

    Raises:
        DataError: train has but one class.
    """
    if len(found["train"]) == 1:
        raise DataError(
            f"All rows that are read of the train split ({source}) have the label {shown(list(found['train']))}: "
            "there is nothing to tell apart. Check how the labels were written, and that a file sorted by class is "
            "not truncated (with --streaming: that --max_train_steps reaches beyond its first class)."
        )
    remarks = []
    if names is None:
        names = _in_order(set().union(*found.values()))
        remarks.append(f"Classes, by their labels: {shown(names)}.")
    if unseen := _in_order(set().union(*found.values()) - found["train"]):
        remarks.append(f"Warning: train has no example of the classes {shown(unseen)}, which other splits have.")
    return list(names), remarks


def _in_order(names: set[str]) -> list[str]:
    """Sorted, as numbers if all are whole numbers."""
    numbers = all(re.fullmatch(r"-?\d{1,18}", name, re.ASCII) for name in names)
    return sorted(names, key=(lambda name: (int(name), name)) if numbers else None)


def _pass(read: Pass, most: int | None, numbers: dict[str, int]) -> Iterator[Row]:
    """The first `most` rows, with the numbers of their classes."""
    for row in islice(read(), most):
        if row["label"] not in numbers:
            raise DataError(
                f"The train split has the label {row['label']!r:.60}, which did not occur when the classes were "
                "collected: the data set was changed during the run. Leave it as it is until the run has finished, "
                "and start again."
            )
        yield {"text": row["text"], "label": numbers[row["label"]]}


def _table(rows: Iterable[Row]) -> pa.Table:
    """Texts and the names of their classes."""
    schema, rows = pa.schema({"text": pa.string(), "label": pa.string()}), iter(rows)
    chunks = iter(lambda: list(islice(rows, _CHUNK)), [])
    columns = ({name: [row[name] for row in chunk] for name in schema.names} for chunk in chunks)
    return pa.Table.from_batches([pa.RecordBatch.from_pydict(chunk, schema) for chunk in columns], schema)


def _numbered(table: pa.Table, names: Sequence[str]) -> Dataset:
    """The table with numbers for its classes; in memory, so that what is derived leaves no files in the cache."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(names))})
    numbers = pc.index_in(table["label"], value_set=pa.array(names, pa.string()))
    return Dataset(table.set_column(1, "label", numbers).cast(features.arrow_schema))
