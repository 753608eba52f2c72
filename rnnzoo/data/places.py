"""Where rows come from: $RNNZOO_DATA, a folder or the Hub, and the splits that are there."""

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow
from datasets import Features
from huggingface_hub import HfApi

from rnnzoo.data.catalog import KNOWN
from rnnzoo.data.corpus import SPLITS, Pass, Row
from rnnzoo.data.errors import DataError, brief
from rnnzoo.data.formats import READERS, BadRow, Layouts, features_of, first_layout


_PROBE_SECONDS = 3.0
_FILE_NAMES = {"train": ("train",), "validation": ("validation", "valid", "dev", "testa"), "test": ("test", "testb")}
# What libraries raise while rows are read, from files and over the network.
_UNREADABLE = (
    *(OSError, ValueError, RuntimeError, csv.Error),
    *(pyarrow.ArrowException, datasets.exceptions.DatasetsError),
)


class Place(NamedTuple):
    """Where a data set is, a folder or an id on the Hub (with a revision), and what `results.json` calls it."""

    name: str
    source: str
    folder: Path | None
    hub_id: str | None
    revision: str | None = None


class Layout(NamedTuple):
    """What a task can read.

    suffixes: of the files of its splits, keys of `formats.READERS`; "" where a split may be a folder like aclImdb's.
    columns: the alternatives for the columns of a row.
    described: the end of an error, which says what a folder should hold.
    """

    suffixes: tuple[str, ...]
    columns: Layouts
    described: str


@dataclass(frozen=True)
class Split:
    """A split as it is written, not checked yet.

    read: begins a pass over its rows.
    features: the types of its columns, and the names of classes, where its format stores them.
    where: what errors call it.
    """

    read: Pass
    features: Features | None
    where: str

    def numbered(self) -> Iterator[tuple[int, Row]]:
        """The rows with their numbers, counted from 0.

        Raises:
            DataError: there is no row, or one cannot be read.
        """
        count = 0
        try:
            for number, row in enumerate(self.read()):
                yield number, row
                count = number + 1
        except DataError:
            raise
        except BadRow as error:
            raise DataError(f"Row {count} (counted from 0) of {self.where} {error}") from error
        except _UNREADABLE as error:
            raise DataError(
                f"From row {count} (counted from 0) on, {self.where} cannot be read ({brief(error)}). The file may be "
                "damaged, truncated, or of another format than its name says."
            ) from error
        if not count:
            raise DataError(f"There are no rows in {self.where}. Check how it was written, or take another data set.")


def place(dataset: str, default: str) -> Place:
    """What `--dataset` means, for a recipe whose data set is `default`.

    "auto" is `default`. That, and any name of the catalog, is `$RNNZOO_DATA/<name>` where that variable is set, else
    the Hub's copy; anything else is a folder or an id on the Hub. (A folder whose name is in the catalog: "./imdb".)

    Raises:
        DataError: `RNNZOO_DATA` is set, but lacks the folder.
    """
    name = default if dataset == "auto" else dataset
    if (dataset == "auto" or name in KNOWN) and (folder := rnnzoo_data(name)):
        return Place(name, f"$RNNZOO_DATA/{name}", folder, None)
    if known := KNOWN.get(name):
        return Place(name, f"Hub: {known.hub}", None, known.hub, known.revision)
    if os.path.exists(name) or not _may_be_hub_id(name):
        folder = Path(name).expanduser()
        return Place(folder.resolve().name, f"folder {folder.resolve().name}", folder, None)
    return Place(name, f"Hub: {name}", None, name)


def reachable(name: str) -> bool:
    """Whether the known data set `name` is on this machine or can be had from the Hub; takes some seconds at most.

    Raises:
        DataError: `RNNZOO_DATA` is set, but lacks the folder: a mistake rather than missing data.
    """
    known = KNOWN[name]
    if rnnzoo_data(name) or _hub_trouble(known.hub, known.revision) is None:
        return True
    try:
        with _hub_offline():
            datasets.load_dataset_builder(known.hub, revision=known.revision)
    except (OSError, ValueError):
        return False
    return True


def rnnzoo_data(name: str) -> Path | None:
    """The folder of a data set in `$RNNZOO_DATA`; None where that is not set.

    Raises:
        DataError: it is set, but lacks the folder.
    """
    root = os.environ.get("RNNZOO_DATA")
    if not root:
        return None
    folder = Path(root) / name
    if not folder.is_dir():
        raise DataError(
            f"RNNZOO_DATA is set to {root!r}, but there is no folder {name!r} in it. Put the data set there, or unset "
            "the variable to use the Hub, or pass --dataset made to use synthetic data."
        )
    return folder


def splits_at(there: Place, layout: Layout, *, lazy: bool = False) -> tuple[dict[str, Split], tuple[str, ...] | None]:
    """The splits of a data set, and the class names of its `labels.json`, if it has one; no row is read yet.

    `lazy` decides how the Hub is read: downloaded whole, or streamed. Files are read row by row in any case.

    Raises:
        DataError: there is no such data set, it lacks train or test, or a file is damaged.
    """
    if there.folder is not None:
        files, listed = _split_files(there.folder, layout), _listed_names(there.folder)
        found = {
            split: (partial(READERS[path.suffix[1:]], path, layout.columns), features_of(path))
            for split, path in files.items()
        }
    else:
        listed, held = None, read_hub(there.hub_id, there.revision, streaming=lazy)
        found = {
            split: (partial(_hub_rows, held[split], layout.columns), held[split].features)
            for split in SPLITS
            if split in held
        }
    for split in ("train", "test"):
        if split not in found:
            raise DataError(
                f"The data set ({there.source}) has no {split} split, only: {', '.join(found)}. A recipe trains on "
                "train and is measured on test: rename or divide the splits so that both are there."
            )
    splits = {
        split: Split(read, features, f"the {split} split ({there.source})")
        for split, (read, features) in found.items()
    }
    return splits, listed


# ---- folders ----


def _split_files(folder: Path, layout: Layout) -> dict[str, Path]:
    """The file of every split that a folder has; the folder of a split, where it is like aclImdb."""
    if not folder.is_dir():
        what = "a file" if folder.exists() else "not there"
        raise DataError(
            f"--dataset {str(folder)!r} must be a folder (or a Hub id), but it is {what}. {layout.described}"
        )
    if "" in layout.suffixes and (folder / "train" / "pos").is_dir():
        return {split: folder / split for split in SPLITS if (folder / split).is_dir()}
    files = {}
    for split, names in _FILE_NAMES.items():
        allowed = [f"{name}.{suffix}" for name in names for suffix in layout.suffixes if suffix]
        found = [path for file in allowed if (path := folder / file).is_file()]
        if len(found) > 1:
            raise DataError(
                f"The folder {folder.name!r} holds the {split} split more than once: "
                f"{', '.join(file.name for file in found)}. Leave one of them there."
            )
        if found:
            files[split] = found[0]
    if not files:
        held = sorted(path.name for path in folder.iterdir())
        shown = ", ".join(held[:8]) + (", ..." if len(held) > 8 else "") if held else "nothing"
        raise DataError(
            f"The folder {folder.name!r} holds no data set that can be read, but {shown}. {layout.described}"
        )
    return files


def _listed_names(folder: Path) -> tuple[str, ...] | None:
    """The class names in the folder's labels.json, if it has one."""
    path = folder / "labels.json"
    if not path.is_file():
        return None
    try:
        names = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"labels.json of the folder {folder.name!r} is not JSON: {brief(error)}") from error
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len(set(names)) < len(names):
        raise DataError(
            f"labels.json of the folder {folder.name!r} must be a list of different names, one for each class in "
            f'the order of their numbers, such as ["negative", "positive"], not {names!r:.80}.'
        )
    return tuple(names)


# ---- the Hub ----


def read_hub(hub_id: str, revision: str | None = None, streaming: bool = False) -> dict[str, Any]:
    """The splits of a data set on the Hub, or of its copy in the local cache; with `streaming`, iterable ones.

    Raises:
        DataError: there is neither, or it cannot be read.
    """
    trouble = _hub_trouble(hub_id, revision)
    try:
        if trouble is None:
            return datasets.load_dataset(hub_id, revision=revision, streaming=streaming)
        with _hub_offline():
            return datasets.load_dataset(hub_id, revision=revision, streaming=streaming)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        if trouble is None:
            raise DataError(f"The data set {hub_id!r} on the Hub cannot be read: {brief(error)}") from error
        raise DataError(
            f"The data set {hub_id!r} is neither a folder here, nor available from the Hub ({trouble}), nor in the "
            "local cache. Pass --dataset made to use synthetic data, or --dataset with a folder of your own, or set "
            "RNNZOO_DATA to the folder that holds your data sets."
        ) from error


def _hub_rows(split: datasets.Dataset | datasets.IterableDataset, layouts: Layouts) -> Iterator[Row]:
    if split.column_names:
        split = split.select_columns(first_layout(split.column_names, layouts))
    for table in split.with_format("arrow").iter(1000):
        yield from table.to_pylist()


def _may_be_hub_id(dataset: str) -> bool:
    """Whether what is not a path here may be an id on the Hub."""
    return not dataset.startswith((".", "~", "/")) and "\\" not in dataset and dataset.count("/") <= 1


def _hub_trouble(hub_id: str, revision: str | None = None) -> str | None:
    """Ask the Hub for a data set, once: the error, or None."""
    try:
        HfApi().dataset_info(hub_id, revision=revision, timeout=_PROBE_SECONDS)
    # No network, no such data set, offline mode: all the same here, and HTTP clients differ in their exceptions.
    except Exception as error:
        return brief(error)
    return None


@contextmanager
def _hub_offline() -> Iterator[None]:
    """Make `datasets` use its local cache at once. By default it first retries the Hub for half a minute."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
