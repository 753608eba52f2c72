"""Where rows come from: $RNNZOO_DATA, a folder, a file or the Hub, and the splits and texts that are there."""

import csv
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import pyarrow
from datasets import ClassLabel
from huggingface_hub import HfApi

from rnnzoo.data.catalog import KNOWN
from rnnzoo.data.columns import BESIDE, TEXT, Columns, Find, Layouts, NoColumn, Role, check, find, inferred, shown
from rnnzoo.data.corpus import SPLITS, Pass, Row
from rnnzoo.data.errors import BadRow, DataError, brief
from rnnzoo.data.formats import READERS, TEXT_READERS, Table, arrow_rows


_PROBE_SECONDS = 3.0
_FILE_NAMES = {"train": ("train",), "validation": ("validation", "valid", "dev", "testa"), "test": ("test", "testb")}
# What libraries raise while rows are read, from files and over the network.
_UNREADABLE = (
    *(OSError, ValueError, RuntimeError, csv.Error),
    *(pyarrow.ArrowException, datasets.exceptions.DatasetsError),
)


class Place(NamedTuple):
    """Where a data set is, a path or an id on the Hub (with a revision), and what `results.json` calls it."""

    name: str
    source: str
    path: Path | None
    hub_id: str | None
    revision: str | None = None


class Layout(NamedTuple):
    """What a task can read.

    suffixes: of the files of its splits, keys of `split_readers`; "" where a split may be a folder like aclImdb's.
    columns: the alternatives for the columns of a table.
    described: the end of an error, which says what a data set is.
    unlabelled: the alternatives for the columns of texts without labels.
    readers: of files of such texts, by suffix.
    split_readers: of the files of the splits, by suffix.
    """

    suffixes: tuple[str, ...]
    columns: Layouts
    described: str
    unlabelled: Layouts = ((TEXT,),)
    readers: Mapping[str, Callable[[Path, Find, str | None], Table]] = TEXT_READERS
    split_readers: Mapping[str, Callable[[Path, Find, str | None], Table]] = READERS


@dataclass(frozen=True)
class Split:
    """A split as it is written, not checked yet.

    read: begins a pass over its rows, by role.
    features: the types of its columns, by role, where its format stores them.
    where: what errors call it.
    """

    read: Pass
    features: dict[Role, Any]
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
    the Hub's copy; anything else is a path or an id on the Hub. (A folder whose name is in the catalog: "./imdb".)

    Raises:
        DataError: `RNNZOO_DATA` is set, but lacks the folder; or the Hub is not where a known data set is read from.
    """
    name = default if dataset == "auto" else dataset
    if (dataset == "auto" or name in KNOWN) and (folder := rnnzoo_data(name)):
        return Place(name, f"$RNNZOO_DATA/{name}", folder, None)
    if known := KNOWN.get(name):
        if known.hub is None:
            raise DataError(
                f"The data set {name!r} is not on the Hub. Set RNNZOO_DATA to a folder that holds it in a folder of "
                f"its name, or give its place to --dataset. It is the {known.about}"
            )
        return Place(name, f"Hub: {known.hub}", None, known.hub, known.revision)
    if os.path.exists(name) or not _may_be_hub_id(name):
        path = Path(name).expanduser()
        what = "file" if path.is_file() else "folder"
        found = path.resolve()
        return Place(found.stem if path.is_file() else found.name, f"{what} {found.name}", path, None)
    return Place(name, f"Hub: {name}", None, name)


def reachable(name: str) -> bool:
    """Whether the known data set `name` is on this machine or can be had from the Hub; takes some seconds at most.

    Raises:
        DataError: `RNNZOO_DATA` is set, but lacks the folder: a mistake rather than missing data.
    """
    known = KNOWN[name]
    if rnnzoo_data(name):
        return True
    if known.hub is None:
        return False
    if _hub_trouble(known.hub, known.revision) is None:
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


class Found(NamedTuple):
    """The splits of a data set, unread, and what is known of them.

    splits: train and test, and perhaps validation; or train alone, if the data set is one table.
    listed: the class names of its `labels.json`, if it has one.
    remarks: which columns were chosen, and the like.
    """

    splits: dict[str, Split]
    listed: tuple[str, ...] | None
    remarks: list[str]


def splits_at(there: Place, layout: Layout, columns: Columns, *, lazy: bool = False) -> Found:
    """What is found at a place; of its rows no more is read than shows which columns there are.

    `lazy` decides how the Hub is read: downloaded whole, or streamed. Files are read row by row in any case.

    Raises:
        DataError: there is no such data set, it lacks train, test or a column, or a file is damaged.
    """
    check(columns, layout.columns)
    find_columns, readers = partial(find, layouts=layout.columns, chosen=columns), layout.split_readers
    if there.path is not None:
        files, listed = _split_files(there.path, layout), _listed_names(there.path)
        opened = {
            split: [partial(readers[path.suffix[1:].lower()], path, find_columns, columns.encoding) for path in paths]
            for split, paths in files.items()
        }
    else:
        listed, held = None, read_hub(there.hub_id, there.revision, streaming=lazy)
        opened = {split: [partial(_hub_table, held[split], find_columns)] for split in SPLITS if split in held}
    if "train" not in opened or ("test" not in opened and set(opened) != {"train"}):
        raise DataError(
            f"The data set ({there.source}) has no {'test' if 'train' in opened else 'train'} split, only: "
            f"{', '.join(opened)}. A recipe trains on train and is measured on test: rename the splits so that both "
            "are there, or write all rows into one file, which is then divided."
        )
    tables, splits = {}, {}
    for split, parts in opened.items():
        one_file = there.path is not None and there.path.is_file()
        where = f"the {there.source}" if one_file else f"the {split} split ({there.source})"
        tables[split] = [_opened(part, where) for part in parts]
        splits[split] = _split(tables[split], where)
    return Found(splits, listed, list(_remarks(tables, columns)))


def texts_at(there: Place, name: str, layout: Layout, columns: Columns) -> Split:
    """Texts without labels: a file or a folder of .txt files, another split of the data set, or a column of train.

    A column is read with the labelled text beside it, as BESIDE: its row may be held out of train yet.

    Raises:
        DataError: `name` is none of these, it is train, validation or test, or it has no column of texts.
    """
    if name in SPLITS:
        raise DataError(
            f"unlabelled is {name!r}, a split that is used with its labels, or measured on. Name another split, a "
            "file, or another column of train."
        )
    path = Path(name).expanduser()
    suffix = "" if path.is_dir() else path.suffix[1:].lower()
    if path.exists() and (path.is_dir() or path.suffix) and suffix in layout.readers:
        opened = [partial(layout.readers[suffix], path, partial(_find_texts, layout, columns), columns.encoding)]
        where = f"the {'file' if path.is_file() else 'folder'} {path.resolve().name}"
    else:
        opened, where = _named_texts(there, name, layout, columns)
    return _split([_opened(part, where) for part in opened], where)


def _named_texts(there: Place, name: str, layout: Layout, columns: Columns) -> tuple[list[Callable[[], Table]], str]:
    """A further split of the data set, or else the column of train, with this name: not opened yet, and what it is."""
    if there.path is not None:
        train = _split_files(there.path, layout)["train"]
        named = there.path.is_dir() and _files_named(there.path, [name], layout.suffixes)
        further = _one_split(named, name, there.path) if named else []
        files = there.path.iterdir() if there.path.is_dir() else ()
        others = {file.stem for file in files if file.suffix[1:].lower() in filter(None, layout.suffixes)}
        others = others.difference(*_FILE_NAMES.values())

        def opener(path: Path, find_text: Find) -> Callable[[], Table]:
            return partial(layout.split_readers[path.suffix[1:].lower()], path, find_text, columns.encoding)
    else:
        held = read_hub(there.hub_id, there.revision)
        train, further, others = [held["train"]], [held[name]] if name in held else [], set(held).difference(SPLITS)
        opener = partial(partial, _hub_table)
    if further:
        find_texts = partial(_find_texts, layout, columns)
        return [opener(each, find_texts) for each in further], f"the {name} split ({there.source})"
    labelled = partial(find, layouts=layout.columns, chosen=columns)
    table = _opened(opener(train[0], labelled), f"the train split ({there.source})")
    names = [name for name in table.names if name not in table.columns.values()]
    if layout.unlabelled != ((TEXT,),):  # a row of sentences is not told from others by one text
        names = []
    if name not in names:
        raise DataError(
            f"unlabelled is {name!r}, which is no file and no folder here, no split of the data set ({there.source}) "
            f"and no further column of its train split. Besides the splits that have labels there are: "
            f"{shown(sorted(others)) or 'none'}; columns: {shown(names) or 'none'}. A file is one of "
            f"{', '.join(f'.{suffix}' for suffix in layout.readers if suffix)}."
        )
    where = f"the column {name} of the train split ({there.source})"

    def find_beside(names: Sequence[str]) -> dict[Role, str]:
        return find(names, [(TEXT,)], Columns(text_column=name)) | {BESIDE: labelled(names)[TEXT]}

    return [opener(each, find_beside) for each in train], where


def _find_texts(layout: Layout, chosen: Columns, names: Sequence[str]) -> dict[Role, str]:
    """The column of texts: the one that the user named, if it is there, else that with a common name."""
    options = {role.option for alternative in layout.unlabelled for role in alternative}
    named = {option: name for option in options if (name := getattr(chosen, option)) in names}
    return find(names, layout.unlabelled, Columns(**named))


def _opened(open_table: Callable[[], Table], where: str) -> Table:
    try:
        return open_table()
    except NoColumn as error:
        raise DataError(f"In {where}, {error}") from error
    except BadRow as error:
        raise DataError(f"The beginning of {where} {error}") from error
    except DataError:
        raise
    except _UNREADABLE as error:
        raise DataError(
            f"{where[0].upper()}{where[1:]} cannot be read ({brief(error)}). The file may be damaged, truncated, or "
            "of another format than its name says."
        ) from error


def _split(tables: list[Table], where: str) -> Split:
    """The tables of a split, one after the other."""
    names = [{role: _names(feature) for role, feature in table.features.items()} for table in tables]
    if any(other != names[0] for other in names):
        raise DataError(
            f"The files of {where} name their classes differently. A number must mean the same class everywhere: "
            "write them with one ClassLabel."
        )
    return Split(lambda: chain.from_iterable(table.read() for table in tables), tables[0].features, where)


def _names(feature: Any) -> list[str] | None:
    feature = getattr(feature, "feature", feature)  # of a list
    return feature.names if isinstance(feature, ClassLabel) else None


def _remarks(tables: dict[str, list[Table]], columns: Columns) -> Iterator[str]:
    """What was inferred from the names of the columns.

    Raises:
        DataError: not the same in all tables.
    """
    train = tables["train"][0]
    guessed = dict(inferred(train.columns, columns))
    for split, parts in tables.items():
        for table in parts:
            for role, name in inferred(table.columns, columns):
                if guessed.get(role) != name:
                    ours = train.columns.get(role)
                    raise DataError(
                        f"The column that may be the {role.name} is {name!r} in {split}"
                        f"{f', but {ours!r} in train' if ours else ', and train has none'}. Give it the same name in "
                        f"all files, or name it with --{role.option}."
                    )
    if guessed:
        yield f"Columns: {', '.join(f'{name} is read as {role.name}' for role, name in guessed.items())}."
    read = set(train.columns.values())
    if unread := [name for name in train.names if name not in read]:
        yield f"Columns that are not read: {shown(unread)}."
    yield from dict.fromkeys(table.remark for parts in tables.values() for table in parts if table.remark)


# ---- folders and files ----

# The files of a split that is written in several: train_1.csv, train-00000-of-00003.parquet.
_SHARD = re.compile(r"(?:[-_.]?(\d+)(?:-of-(\d+))?)?")


def _split_files(path: Path, layout: Layout) -> dict[str, list[Path]]:
    """The files of every split of a folder, or the folder of a split, where it is like aclImdb; a file is train."""
    if path.is_file():
        if path.suffix[1:].lower() not in filter(None, layout.suffixes):
            raise DataError(f"The file {path.name!r} is of no format that is read here. {layout.described}")
        return {"train": [path]}
    if not path.is_dir():
        raise DataError(
            f"--dataset {str(path)!r} must be a folder, a file or a Hub id, but it is not there. {layout.described}"
        )
    if "" in layout.suffixes and (path / "train" / "pos").is_dir():
        return {split: [path / split] for split in SPLITS if (path / split).is_dir()}
    found = {split: _files_named(path, names, layout.suffixes) for split, names in _FILE_NAMES.items()}
    files = {split: _one_split(named, split, path) for split, named in found.items() if named}
    if not files:
        held = shown(sorted(file.name for file in path.iterdir())) or "nothing"
        raise DataError(f"The folder {path.name!r} holds no data set that can be read, but {held}. {layout.described}")
    return files


def _files_named(folder: Path, names: Sequence[str], suffixes: Sequence[str]) -> list[tuple[str, str, re.Match, Path]]:
    """The files of a folder with one of these names, or with a shard's number after it."""
    return [
        (name, file.suffix, shard, file)
        for name in names
        for file in folder.iterdir()
        if file.suffix[1:].lower() in filter(None, suffixes)
        and file.is_file()
        and file.stem.lower().startswith(name.lower())
        and (shard := _SHARD.fullmatch(file.stem[len(name) :]))
    ]


def _one_split(found: list[tuple[str, str, re.Match, Path]], split: str, folder: Path) -> list[Path]:
    """The files of a split in order, all of them of one kind.

    Raises:
        DataError: they are several splits, or some of the shards are missing.
    """
    numbered = sorted((int(shard[1] or -1), int(shard[2] or 0), file) for _, _, shard, file in found)
    numbers, totals, files = ([each[i] for each in numbered] for i in range(3))
    listed = shown([file.name for file in files])
    one_kind = len({(name, suffix) for name, suffix, _, _ in found}) == len(set(totals)) == 1
    if not one_kind or len(set(numbers)) < len(numbers) or (len(files) > 1 and -1 in numbers):
        raise DataError(
            f"The folder {folder.name!r} holds the {split} split more than once: {listed}. Leave one of them there."
        )
    if totals[0] and numbers not in ([*range(totals[0])], [*range(1, totals[0] + 1)]):
        raise DataError(
            f"The folder {folder.name!r} holds {len(files)} of the {totals[0]} files of the {split} split: {listed}. "
            "Add those that are missing."
        )
    return files


def _listed_names(folder: Path) -> tuple[str, ...] | None:
    """The class names in the labels.json of a folder, or beside a file, if there is one."""
    folder = folder.parent if folder.is_file() else folder
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


def _hub_table(split: datasets.Dataset | datasets.IterableDataset, find_columns: Find) -> Table:
    """A split on the Hub.

    Raises:
        NoColumn: as `columns.find` does.
    """
    # A stream may not know its columns before it is read, nor their types: each block of rows may have others.
    names = split.column_names or list(next(iter(split), {}))
    columns = find_columns(names)
    features = {role: split.features[name] for role, name in columns.items()} if split.features else {}

    def read() -> Iterator[Row]:
        rows = split.select_columns(list(columns.values())) if split.column_names else split
        if isinstance(split, datasets.IterableDataset):
            for row in rows:
                yield {role.name: row.get(name) for role, name in columns.items()}
        else:
            for table in rows.with_format("arrow").iter(1000):
                yield from arrow_rows(table, columns)

    return Table(names, columns, read, features)


def _may_be_hub_id(dataset: str) -> bool:
    """Whether what is not a path here may be an id on the Hub."""
    if Path(dataset).suffix[1:].lower() in filter(None, READERS):
        return False
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
