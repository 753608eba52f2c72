"""Rows that are read as they are needed, for data sets larger than memory: what is held does not grow with them."""

import csv
import json
import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet
import torch
from datasets import Dataset, DatasetDict, Features

from rnnzoo.data import texts as data
from rnnzoo.data.texts import DataError


Row = dict[str, Any]
Pass = Callable[[], Iterator[Row]]

# Rows among which the next one is drawn; rows to choose an epoch by, one in so many until there are enough.
BUFFER, VALIDATION, ONE_IN = 10_000, 5_000, 20
# What the libraries raise that read rows, from files and over the network.
_UNREADABLE = (
    *(OSError, ValueError, RuntimeError, csv.Error),
    *(pyarrow.ArrowException, datasets.exceptions.DatasetsError),
)


@dataclass(frozen=True)
class Streamed:
    """A data set whose train split is read anew for every pass.

    name, source, labels: as of `data.Corpus` or `tagged.TaggedCorpus`.
    read: begins a pass over the rows to train on.
    splits: validation and test, in memory, with the columns of those rows.
    """

    name: str
    source: str
    labels: list[str]
    read: Pass
    splits: DatasetDict


class Stream:
    """Rows to train on, in batches of rows of like length.

    The order is a function of seed and epoch: rows are drawn from a buffer, sorted by length within pools of 50
    batches, and the batches of a pool shuffled. Every process reads all rows and encodes those that fall to it, so
    that any number of processes trains on the same batches.

    Args:
        read: begins a pass.
        size: rows of a pass.
        encode: columns of rows -> those that the task collates.
        column: the column whose length counts.
    """

    def __init__(self, read: Pass, size: int, encode: Callable[[dict], dict[str, list]], column: str):
        self.read, self.size, self.encode, self.column = read, size, encode, column

    def __len__(self):
        return self.size

    def __getitem__(self, rows: list[Row]) -> dict[str, list]:
        return self.encode({name: [row[name] for row in rows] for name in rows[0]})

    def batches(self, batch_size: int, seed: int, epoch: int) -> Iterator[list[Row]]:
        """All rows of an epoch, in batches as equal as can be.

        Raises:
            DataError: there are fewer than there were.
        """
        rng = random.Random(1_000_003 * seed + epoch)
        rows = shuffled(self._all(), rng)
        pool = list(islice(rows, 50 * batch_size))
        while pool:
            following = list(islice(rows, 50 * batch_size))
            if len(following) < 50 * batch_size:  # a short last batch might not go round among processes
                pool, following = pool + following, []
            pool.sort(key=lambda row: len(row[self.column]))
            parts = torch.arange(len(pool)).tensor_split(math.ceil(len(pool) / batch_size))
            found = [[pool[i] for i in part] for part in parts]
            rng.shuffle(found)
            yield from found
            pool = following

    def _all(self) -> Iterator[Row]:
        """As many rows as were counted; a file may have grown since."""
        count = 0
        for row in islice(self.read(), self.size):
            count += 1
            yield row
        if count < self.size:
            raise DataError(
                f"The train split has {count} rows, and had {self.size} when they were counted: it has been changed "
                "while it was read. Leave the data set as it is until the run is over, and start anew."
            )


class Survey:
    """A column of a pass, for a tokenizer to learn from; counts the rows."""

    def __init__(self, rows: Iterator[Row], column: str):
        self.rows, self.column, self.size = rows, column, 0

    def __iter__(self) -> Iterator[Any]:
        for row in self.rows:
            self.size += 1
            yield row[self.column]

    def finish(self) -> int:
        """Reads what nobody has read; how many rows there are."""
        for _ in self:
            pass
        return self.size


def shuffled(rows: Iterable[Row], rng: random.Random) -> Iterator[Row]:
    """Each row in the place of one that is drawn from the buffer."""
    buffer = []
    for row in rows:
        if len(buffer) < BUFFER:
            buffer.append(row)
            continue
        place = rng.randrange(BUFFER)
        yield buffer[place]
        buffer[place] = row
    rng.shuffle(buffer)
    yield from buffer


# ---- what any task reads ----


def splits_at(
    there: data.Place,
    names: dict[str, tuple[str, ...]],
    readers: dict[str, Callable[[Path], Iterator[Row]]],
    read_whole: Callable[[Path], Dataset],
    layout: str,
) -> tuple[dict[str, Any], Features | None, tuple[str, ...] | None]:
    """The splits of a data set, train as a `Pass` and the others whole; train's features, if any; labels.json's names.

    `names` and `layout` are as of `data.split_files`; `readers`, by suffix, give the rows of an open file one by one.

    Raises:
        DataError: there is no such data set, one that lacks train or test, or a file that cannot be read.
    """
    listed, features = None, None
    if there.folder is not None:
        listed, files = data.read_names(there.folder), data.split_files(there.folder, names, readers, layout)
        raw = {split: read_whole(file) for split, file in files.items() if split != "train"}
        if train := files.get("train"):
            raw["train"], features = partial(readers[train.suffix[1:]], train), _features_of(train)
    else:
        streams = data.read_hub(there.hub_id, there.revision, streaming=True)
        raw = {split: partial(iter, rows) for split, rows in streams.items() if split in data.SPLITS}
        for split in raw.keys() - {"train"}:
            rows = [row for _, row in numbered(raw[split], f"the {split} split ({there.source})")]
            raw[split] = Dataset.from_list(rows, features=streams[split].features)
        if "train" in streams:
            features = streams["train"].features
    data.need_train_and_test(raw, there.source)
    return raw, features, listed


def numbered(read: Pass, where: str) -> Iterator[tuple[int, Row]]:
    """The rows of a pass with their numbers.

    Raises:
        DataError: they cannot be read; from which on.
    """
    rows, number = read(), 0
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except DataError:
            raise
        except _UNREADABLE as error:
            raise DataError(
                f"From row {number} (counted from 0) on, {where} cannot be read: {data.brief(error)}"
            ) from error
        if not isinstance(row, dict):
            raise DataError(f"Row {number} (counted from 0) of {where} is {row!r:.60}, and no object with columns.")
        yield number, row
        number += 1


def set_apart(read: Pass, seed: int, source: str) -> tuple[list[Row], Pass]:
    """Rows to choose an epoch by, one in twenty of the first 100,000, drawn by `seed`; and a pass over all others.

    Raises:
        DataError: there is none.
    """
    chosen = list(_apart(read, seed, validation=True))
    if not chosen:
        raise DataError(
            f"The train split ({source}) is too short to set one row in {ONE_IN} apart for validation. Bring a "
            "validation split, or leave out streaming."
        )
    return chosen, partial(_apart, read, seed, validation=False)


def _apart(read: Pass, seed: int, *, validation: bool) -> Iterator[Row]:
    """The rows that are set apart for validation, or all others."""
    rng, chosen = random.Random(seed), 0
    for row in read():
        apart = chosen < VALIDATION and rng.randrange(ONE_IN) == 0
        chosen += apart
        if apart == validation:
            yield row
        if validation and chosen == VALIDATION:
            return


# ---- reviews ----


def load(name: str, dataset: str = "auto", *, seed: int, most: int | None = None) -> Streamed:
    """The data set that `data.load` would give, without reading its train split now; `most` rows of that a pass.

    Where there is no validation split, of the first 100,000 rows of train one in twenty is set apart, drawn by `seed`.

    Raises:
        DataError: there is no such data set, or it is not fit for a text classifier. What is wrong with a row of train
            is said when that row is read.
    """
    there = data.place(name, dataset)
    source = there.source
    raw, features, listed = splits_at(there, {s: (s,) for s in data.SPLITS}, READERS, data.read_file, _LAYOUT)
    read = raw.pop("train")
    names = data.own_names([features, *(rows.features for rows in raw.values())], source) or listed
    names = names or (data.LABELS[name] if dataset == "auto" else None)
    if not names:
        raise DataError(
            f"Nothing says which classes the data set ({source}) has, and a stream is not read for it. List their "
            'names in the order of their numbers in labels.json beside the files, such as ["negative", "positive"].'
        )
    read = partial(_reviews, read, names, f"the train split ({source})")
    if "validation" not in raw:
        apart, read = set_apart(read, seed, source)
        raw["validation"] = Dataset.from_list(apart)
    splits = {
        split: data.checked_split(raw[split], names, f"the {split} split ({source})")
        for split in ("validation", "test")
    }
    return Streamed(there.name, source, list(names), partial(_pass, read, most, source), DatasetDict(splits))


def _reviews(read: Pass, names: tuple[str, ...], where: str) -> Iterator[Row]:
    """Rows with a text and the number of a class, or an error that names the row."""
    for number, row in numbered(read, where):
        text, label = row.get("text"), row.get("label")
        if not isinstance(text, str) or type(label) is not int or not 0 <= label < len(names):
            raise DataError(
                f"Row {number} (counted from 0) of {where} has the text {text!r:.60} and the label {label!r:.60}: it "
                f"must have a string and the number of a class ({len(names)} classes: {', '.join(names[:8])}). "
                "Correct it, or leave it out."
            )
        yield {"text": text, "label": label}


def _pass(read: Pass, most: int | None, source: str) -> Iterator[Row]:
    """So many rows, which must not all be of one class."""
    classes = set()
    for row in islice(read(), most):
        classes.add(row["label"])
        yield row
    if len(classes) < 2:
        raise DataError(
            f"The rows of the train split ({source}) that are read have the classes {sorted(classes)}: there is "
            "nothing to tell apart. Check how the labels were written, and that max_train_steps reaches beyond the "
            "first class of a file that is sorted."
        )


# ---- files ----

_LAYOUT = (
    "A data set that is streamed is a folder with train, validation (optional) and test as .parquet, .csv or .jsonl."
)


def read_parquet(path: Path, columns: list[str]) -> Iterator[Row]:
    """The rows of a file."""
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(1000, columns=columns):
        yield from batch.to_pylist()


def lines(path: Path) -> Iterator[str]:
    """The lines of a file of UTF-8, with their ends; not with the byte order mark that spreadsheets write."""
    # As bytes, whose lines end where "\n" is, and not also at characters within a word, such as U+0085.
    with path.open("rb") as file:
        for number, line in enumerate(file):
            yield line.decode("utf-8" if number else "utf-8-sig")


def _read_csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)  # a text may be longer than the 131,072 characters that Python takes for damage
    for row in csv.DictReader(lines(path)):
        label = row.get("label") or ""
        yield {**row, "label": int(label) if label.isdecimal() else label}


def read_jsonl(path: Path) -> Iterator[Row]:
    """The rows of a file."""
    for line in lines(path):
        if not line.strip():
            continue
        row = json.loads(line)
        if "\\u" in line:  # half a character can be written so: an error now rather than in a tokenizer
            json.dumps(row, ensure_ascii=False).encode()
        yield row


READERS = {"parquet": partial(read_parquet, columns=["text", "label"]), "csv": _read_csv, "jsonl": read_jsonl}


def _features_of(file: Path) -> Features | None:
    """The types, and names of classes, that a parquet file carries."""
    if file.suffix != ".parquet":
        return None
    try:
        return Features.from_arrow_schema(pyarrow.parquet.read_schema(file))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise data.unreadable(file, error) from error
