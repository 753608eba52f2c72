"""Reviews that are read as they are needed, for data sets larger than memory: what is held does not grow with them."""

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
from datasets import ClassLabel, Dataset, DatasetDict

from recipes import data
from recipes.data import DataError


Row = dict[str, Any]

# Rows among which the next one is drawn; rows to choose an epoch by, one in so many until there are enough.
BUFFER, VALIDATION, ONE_IN = 10_000, 5_000, 20


@dataclass(frozen=True)
class Streamed:
    """A labelled data set whose train split is read anew for every pass.

    name, source, labels: as of `data.Corpus`.
    read: begins a pass over the rows to train on.
    splits: validation and test, in memory, with the columns `text` and `label`.
    """

    name: str
    source: str
    labels: list[str]
    read: Callable[[], Iterator[Row]]
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
    """

    def __init__(self, read: Callable[[], Iterator[Row]], size: int, encode: Callable[[dict], dict[str, list]]):
        self.read, self.size, self.encode = read, size, encode

    def __len__(self):
        return self.size

    def __getitem__(self, rows: list[Row]) -> dict[str, list]:
        return self.encode({name: [row[name] for row in rows] for name in ("text", "label")})

    def batches(self, batch_size: int, seed: int, epoch: int) -> Iterator[list[Row]]:
        """All rows of an epoch, in batches as equal as can be."""
        rng = random.Random(1_000_003 * seed + epoch)
        rows = shuffled(islice(self.read(), self.size), rng)
        pool = list(islice(rows, 50 * batch_size))
        while pool:
            following = list(islice(rows, 50 * batch_size))
            if len(following) < 50 * batch_size:  # a short last batch might not go round among processes
                pool, following = pool + following, []
            pool.sort(key=lambda row: len(row["text"]))
            parts = torch.arange(len(pool)).tensor_split(math.ceil(len(pool) / batch_size))
            found = [[pool[i] for i in part] for part in parts]
            rng.shuffle(found)
            yield from found
            pool = following


class Survey:
    """The texts of a pass, for a tokenizer to learn from; counts the rows, and notes their classes."""

    def __init__(self, rows: Iterable[Row], most: int | None):
        self.rows, self.size, self.classes = islice(rows, most), 0, set()

    def __iter__(self) -> Iterator[str]:
        for row in self.rows:
            self.size += 1
            self.classes.add(row["label"])
            yield row["text"]

    def finish(self, source: str) -> int:
        """Reads what nobody has read; how many rows there are.

        Raises:
            DataError: they are all of one class.
        """
        for _ in self:
            pass
        if len(self.classes) < 2:
            raise DataError(
                f"The {self.size} rows of the train split ({source}) that are read have the classes "
                f"{sorted(self.classes)}: there is nothing to tell apart. Check how the labels were written, and that "
                "max_train_steps reaches beyond the first class of a file that is sorted."
            )
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


def load(name: str, dataset: str = "auto", *, seed: int) -> Streamed:
    """The data set that `data.load` would give, without reading its train split now.

    Where there is no validation split, of the first 100,000 rows of train one in twenty is set apart, drawn by `seed`.

    Raises:
        DataError: there is no such data set, or it is not fit for a text classifier. What is wrong with a row of train
            is said when that row is read.
    """
    there = data.place(name, dataset)
    source = there.source
    if there.folder is not None:
        files = data.split_files(there.folder, {split: (split,) for split in data.SPLITS}, READERS, _LAYOUT)
        raw = {split: data.read_file(file) for split, file in files.items() if split != "train"}
        names = data.read_names(there.folder)
        if "train" in files:
            raw["train"] = partial(READERS[files["train"].suffix[1:]], files["train"])
            names = names or _names_in(files["train"])
    else:
        streams = {s: rows for s, rows in data.read_hub(there.hub_id, streaming=True).items() if s in data.SPLITS}
        names = _class_names(streams["train"].features) if "train" in streams else None
        raw = {
            split: partial(iter, rows) if split == "train" else Dataset.from_list(list(rows), features=rows.features)
            for split, rows in streams.items()
        }
    data.need_train_and_test(raw, source)
    names = data.written_out(names or (data.LABELS[name] if dataset == "auto" else ()))
    if not names:
        raise DataError(
            f"Nothing says which classes the data set ({source}) has, and a stream is not read for it. List their "
            'names in the order of their numbers in labels.json beside the files, such as ["negative", "positive"].'
        )
    read, validation = partial(_checked, raw["train"], names, source), raw.get("validation")
    if validation is None:
        everything = read
        apart = list(_apart(everything(), seed, validation=True))
        if not apart:
            raise DataError(
                f"The train split ({source}) is too short to set one row in {ONE_IN} apart for validation. Bring a "
                "validation split, or leave out streaming."
            )
        validation, read = Dataset.from_list(apart), partial(_rest, everything, seed)
    splits = {
        split: data.checked_split(rows, names, f"the {split} split ({source})")
        for split, rows in (("validation", validation), ("test", raw["test"]))
    }
    return Streamed(there.name, source, list(names), read, DatasetDict(splits))


def _apart(rows: Iterator[Row], seed: int, *, validation: bool) -> Iterator[Row]:
    """The rows that are set apart for validation, or all others."""
    rng, chosen = random.Random(seed), 0
    for row in rows:
        apart = chosen < VALIDATION and rng.randrange(ONE_IN) == 0
        chosen += apart
        if apart == validation:
            yield row
        if validation and chosen == VALIDATION:
            return


def _rest(everything: Callable[[], Iterator[Row]], seed: int) -> Iterator[Row]:
    return _apart(everything(), seed, validation=False)


def _checked(read: Callable[[], Iterator[Row]], names: tuple[str, ...], source: str) -> Iterator[Row]:
    """Rows with a text and the number of a class, or an error that names the row."""
    rows, classes = enumerate(read()), f"{len(names)} classes: {', '.join(names[:8])}"
    while True:
        number = None
        try:
            number, row = next(rows)
            text, label = row.get("text"), row.get("label")
        except StopIteration:
            return
        except (AttributeError, ValueError, OSError, csv.Error, pyarrow.ArrowException) as error:
            where = "a row" if number is None else f"row {number}"
            raise DataError(f"The train split ({source}) cannot be read at {where}: {data.brief(error)}") from error
        if not isinstance(text, str) or type(label) is not int or not 0 <= label < len(names):
            raise DataError(
                f"Row {number} (counted from 0) of the train split ({source}) has the text {text!r:.60} and the label "
                f"{label!r:.60}: it must have a string and the number of a class ({classes}). Correct it, or leave it "
                "out."
            )
        yield {"text": text, "label": label}


# ---- files ----

_LAYOUT = (
    "A data set that is streamed is a folder with train, validation (optional) and test as .parquet, .csv or .jsonl."
)


def _read_parquet(path: Path) -> Iterator[Row]:
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(1000, columns=["text", "label"]):
        yield from batch.to_pylist()


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            label = row.get("label") or ""
            yield {**row, "label": int(label) if label.isdecimal() else label}


def _read_jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


READERS = {"parquet": _read_parquet, "csv": _read_csv, "jsonl": _read_jsonl}


def _names_in(file: Path) -> tuple[str, ...] | None:
    """The names of the classes that a parquet file carries."""
    if file.suffix != ".parquet":
        return None
    return _class_names(datasets.Features.from_arrow_schema(pyarrow.parquet.read_schema(file)))


def _class_names(features: datasets.Features | None) -> tuple[str, ...] | None:
    """Those of a ClassLabel."""
    label = (features or {}).get("label")
    return tuple(label.names) if isinstance(label, ClassLabel) else None
