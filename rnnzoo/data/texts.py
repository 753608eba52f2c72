"""Where a recipe's rows come from: $RNNZOO_DATA, the Hub, a folder, or the set that this project makes itself."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, concatenate_datasets
from huggingface_hub import HfApi

from rnnzoo.data.errors import DataError


SPLITS = ("train", "validation", "test")
# Data sets that recipes know by name: where the Hub has them, and their classes where the rows carry numbers only.
HUB = {"imdb": "stanfordnlp/imdb"}
LABELS = {"imdb": ("negative", "positive")}
# Class names that are written out, so that a model says the same whatever copy of IMDB it was trained on.
_WRITTEN_OUT = {"neg": "negative", "pos": "positive"}
_PROBE_SECONDS = 3.0


@dataclass(frozen=True)
class Corpus:
    """A labelled data set, checked and ready for a recipe.

    name: "imdb", "made", a folder's name or a Hub id.
    source: where the rows came from, in words for `results.json`; never an absolute path.
    splits: exactly `train`, `validation` and `test`, with the columns `text` (string) and `label` (ClassLabel).
    """

    name: str
    source: str
    splits: DatasetDict

    @property
    def labels(self) -> list[str]:
        return self.splits["train"].features["label"].names


def load(name: str, dataset: str = "auto", *, seed: int, validation_fraction: float | None = None) -> Corpus:
    """Load the data set of the task `name` from the place that `dataset` says, and check every row of it.

    `dataset` is one of
        "auto": `$RNNZOO_DATA/<name>` where that variable is set, else the Hub (or its copy in the local cache);
        "made": the set that this project makes itself, which is on every machine;
        a folder with `train|validation|test.{parquet,csv,jsonl}`, columns `text` and `label` (0, 1, ...); the names
            of the classes come from a parquet file's ClassLabel or from a `labels.json` list beside the files;
        a folder like `aclImdb`, with `train/neg/*.txt`, `train/pos/*.txt` and the same under `test`;
        a Hub id.

    Other splits (IMDB's unsupervised one) are left alone. Where there is no validation split, a fifth of train becomes
    one; with `validation_fraction`, that share of train and validation together becomes one: the same share of every
    class, drawn by `seed`. Local files are read anew every time: nothing of them is kept in the cache of `datasets`.

    Raises:
        DataError: if there is no such data set, or it is not fit for training a text classifier.
    """
    names = None
    if dataset == "made":
        # Here, so that only those who use the made set load its grammar.
        from rnnzoo.data.synthetic.reviews import make_reviews

        corpus_name, source, raw = "made", "made by this project (not IMDB)", make_reviews(seed=0)
    else:
        there = place(name, dataset)
        corpus_name, source = there.name, there.source
        raw, names = (read_hub(there.hub_id), None) if there.folder is None else _read_folder(there.folder)

    if names is None and dataset == "auto":
        names = LABELS.get(name)
    splits = _checked(raw, names, source)
    splits = with_validation(splits, validation_fraction, partial(_cut, seed=seed))
    return Corpus(corpus_name, source, DatasetDict({split: splits[split] for split in SPLITS}))


class Place(NamedTuple):
    """Where a data set is, a folder or an id of the Hub (and a revision), and what results.json calls it."""

    name: str
    source: str
    folder: Path | None
    hub_id: str | None
    revision: str | None = None


def place(name: str, dataset: str) -> Place:
    """What `dataset` means for the task `name`, as `load` says.

    Raises:
        DataError: `RNNZOO_DATA` is set, and lacks the folder.
    """
    if dataset == "auto" and (folder := rnnzoo_data(name)):
        return Place(name, f"$RNNZOO_DATA/{name}", folder, None)
    if dataset == "auto":
        return Place(name, f"Hub: {HUB[name]}", None, HUB[name])
    return place_of(dataset)


def place_of(dataset: str) -> Place:
    """The folder or the id of the Hub that somebody names."""
    if os.path.exists(dataset) or not looks_like_hub_id(dataset):
        folder = Path(dataset).expanduser()
        return Place(folder.resolve().name, f"folder {folder.resolve().name}", folder, None)
    return Place(dataset, f"Hub: {dataset}", None, dataset)


def reachable(name: str) -> bool:
    """Whether `load(name)` finds real data on this machine or on the Hub; takes some seconds at most.

    Raises:
        DataError: if `RNNZOO_DATA` is set but has no folder of that name, which is a mistake and no lack.
    """
    if rnnzoo_data(name) or _hub_trouble(HUB[name]) is None:
        return True
    try:
        with _hub_offline():
            datasets.load_dataset_builder(HUB[name])
    except (OSError, ValueError):
        return False
    return True


# ---- where rows come from ----


def rnnzoo_data(name: str) -> Path | None:
    """The folder of a data set in `$RNNZOO_DATA`; None where that is not set, an error where it lacks the folder."""
    root = os.environ.get("RNNZOO_DATA")
    if not root:
        return None
    folder = Path(root) / name
    if not folder.is_dir():
        raise DataError(
            f"RNNZOO_DATA is set to {root!r}, but there is no folder {name!r} in it. Put the data set there, or unset "
            "the variable to use the Hub, or pass --dataset made to use the set that this project makes itself."
        )
    return folder


def looks_like_hub_id(dataset: str) -> bool:
    """Whether what is no path here can be an id of the Hub."""
    return not dataset.startswith((".", "~", "/")) and "\\" not in dataset and dataset.count("/") <= 1


def _hub_trouble(hub_id: str, revision: str | None = None) -> str | None:
    """Ask the Hub for a data set, once: what is in the way, or None."""
    try:
        HfApi().dataset_info(hub_id, revision=revision, timeout=_PROBE_SECONDS)
    # No network, no such data set, offline mode: for us all the same, and the classes differ between HTTP clients.
    except Exception as error:
        return brief(error)
    return None


@contextmanager
def _hub_offline() -> Iterator[None]:
    """Make `datasets` use its local cache at once. Left to itself it first tries for half a minute to get through."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def read_hub(hub_id: str, revision: str | None = None, streaming: bool = False) -> dict[str, Dataset]:
    """The splits of a data set of the Hub, or of its copy in the local cache; with `streaming`, to be iterated."""
    trouble = _hub_trouble(hub_id, revision)
    try:
        if trouble is None:
            return datasets.load_dataset(hub_id, revision=revision, streaming=streaming)
        with _hub_offline():
            return datasets.load_dataset(hub_id, revision=revision, streaming=streaming)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        if trouble is None:
            raise DataError(f"The data set {hub_id!r} of the Hub cannot be read: {brief(error)}") from error
        raise DataError(
            f"The data set {hub_id!r} is neither a folder here, nor to be had from the Hub ({trouble}), nor in the "
            "local cache. Pass --dataset made to use the set that this project makes itself, or --dataset with a "
            "folder of your own, or set RNNZOO_DATA to the folder that holds your data sets."
        ) from error


def _read_folder(folder: Path) -> tuple[dict[str, Dataset], tuple[str, ...] | None]:
    """The splits that are in a folder, and the names of the classes if a file of their own has them."""
    if (folder / "train" / "pos").is_dir():
        return {split: _read_acl_split(folder / split) for split in ("train", "test")}, None
    files = split_files(folder, {split: (split,) for split in SPLITS}, _READERS, _LAYOUT)
    return {split: read_file(file) for split, file in files.items()}, read_names(folder)


def split_files(
    folder: Path, names: dict[str, tuple[str, ...]], suffixes: Iterable[str], layout: str
) -> dict[str, Path]:
    """The file of every split that is in a folder, by the names that each split may have.

    `layout` says, at the end of a refusal, what a folder should hold.
    """
    if not folder.is_dir():
        what = "a file" if folder.exists() else "not there"
        raise DataError(f"--dataset {str(folder)!r} must be a folder (or a Hub id), but it is {what}. {layout}")
    splits = {}
    for split in names:
        allowed = [f"{name}.{suffix}" for name in names[split] for suffix in suffixes]
        files = [path for file in allowed if (path := folder / file).is_file()]
        if len(files) > 1:
            raise DataError(
                f"The folder {folder.name!r} holds the {split} split more than once: "
                f"{', '.join(file.name for file in files)}. Leave one of them there."
            )
        if files:
            splits[split] = files[0]
    if not splits:
        held = sorted(path.name for path in folder.iterdir())
        shown = ", ".join(held[:8]) + (", ..." if len(held) > 8 else "") if held else "nothing"
        raise DataError(f"The folder {folder.name!r} holds no data set that can be read, but {shown}. {layout}")
    return splits


_LAYOUT = (
    "A data set is a folder with train, validation (optional) and test as .parquet, .csv or .jsonl files, "
    "or one like aclImdb with train/pos, train/neg, test/pos and test/neg."
)


def read_file(path: Path) -> Dataset:
    """A .parquet, .csv or .jsonl file, as it is."""
    try:
        table = _READERS[path.suffix[1:]](path)
        table.validate(full=True)  # text that is no UTF-8 would pass, and crash when it is taken out
        return Dataset(table)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> DataError:
    """What is said of a file that a library cannot read."""
    return DataError(
        f"The file {path.name!r} of the folder {path.parent.name!r} cannot be read as {path.suffix[1:]} "
        f"({brief(error)}). It may be damaged or cut short: make it anew."
    )


def _read_csv(path: Path) -> pa.Table:
    table = pyarrow.csv.read_csv(
        path,
        # One block, because a row longer than a block is an error, and line ends within a text may end a block.
        read_options=pyarrow.csv.ReadOptions(block_size=path.stat().st_size + 1),
        # Labels come as strings, because a column that is not all numbers is for our own check to refuse. An empty
        # field is a missing value; "" is an empty text, and so is no NA or null that someone has written.
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={"text": pa.string(), "label": pa.string()},
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
        ),
    )
    if "label" not in table.column_names:
        return table
    try:
        labels = table["label"].cast(pa.int64())
    except pa.ArrowInvalid:
        return table
    return table.set_column(table.column_names.index("label"), "label", labels)


def _read_jsonl(path: Path) -> pa.Table:
    # One block, as above.
    return pyarrow.json.read_json(path, read_options=pyarrow.json.ReadOptions(block_size=path.stat().st_size + 1))


_READERS = {"parquet": pyarrow.parquet.read_table, "csv": _read_csv, "jsonl": _read_jsonl}


def _read_acl_split(folder: Path) -> Dataset:
    names = LABELS["imdb"]
    texts, labels = [], []
    for label, part in enumerate(("neg", "pos")):
        files = sorted((folder / part).glob("*.txt"))
        if not files:
            raise DataError(
                f"There is no text in {folder.name}/{part} of the folder {folder.parent.name!r}. A folder like "
                "aclImdb holds a .txt file a review in train/pos, train/neg, test/pos and test/neg: unpack it anew."
            )
        for file in files:
            try:
                texts.append(file.read_bytes().decode("utf-8"))
            except UnicodeDecodeError as error:
                raise DataError(
                    f"The file {folder.name}/{part}/{file.name} is not UTF-8 text ({error.reason} at byte "
                    f"{error.start}). Write it as UTF-8, or unpack the folder anew."
                ) from error
        labels += [label] * len(files)
    return Dataset.from_dict({"text": texts, "label": labels}, features=_features(names))


def read_names(folder: Path) -> tuple[str, ...] | None:
    """The names of the classes, where the folder has a list of them."""
    path = folder / "labels.json"
    if not path.is_file():
        return None
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"labels.json of the folder {folder.name!r} is not JSON: {brief(error)}") from error
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len(set(names)) < len(names):
        raise DataError(
            f"labels.json of the folder {folder.name!r} must be a list of different names, one for each class in "
            f'the order of their numbers, such as ["negative", "positive"], not {names!r:.80}.'
        )
    return tuple(names)


# ---- what rows must be ----


def _features(names: tuple[str, ...]) -> Features:
    return Features({"text": Value("string"), "label": ClassLabel(names=list(names))})


def _checked(raw: dict[str, Dataset], names: tuple[str, ...] | None, source: str) -> dict[str, Dataset]:
    """Refuse what a text classifier cannot be trained or tested on; bring the rest into one form."""
    need_train_and_test(raw, source)
    raw = {split: raw[split] for split in SPLITS if split in raw}
    tables = {split: _columns(rows, f"the {split} split ({source})") for split, rows in raw.items()}

    names = own_names((rows.features for rows in raw.values()), source) or names
    classes = sorted(pc.unique(tables["train"]["label"]).to_pylist())
    if len(classes) == 1:
        raise DataError(
            f"Every row of the train split ({source}) has the label {classes[0]}: there is nothing to tell apart. "
            "Check how the labels were written; a file that is sorted by class may have been cut."
        )
    if names is None and classes[0] >= 0 and classes != list(range(len(classes))):
        raise DataError(
            f"The labels of the train split ({source}) are {', '.join(map(str, classes[:8]))}"
            f"{', ...' if len(classes) > 8 else ''}: classes are numbered 0, 1, 2 and so on, without a gap. "
            "Number them so, or list the names of all classes in labels.json beside the files."
        )
    names = names or tuple(map(str, classes))

    return {split: _labelled(table, names, f"the {split} split ({source})") for split, table in tables.items()}


def _labelled(table: pa.Table, names: tuple[str, ...], where: str) -> Dataset:
    """A split whose labels are numbers of these classes."""
    labels = table["label"]
    if (row := _first(pc.or_(pc.less(labels, 0), pc.greater_equal(labels, len(names))))) is not None:
        raise DataError(
            f"Row {row} (counted from 0) of {where} has the label {labels[row].as_py()}, but "
            f"there are {len(names)} classes ({', '.join(names[:8])}), numbered 0 to {len(names) - 1}. "
            "Correct it, or leave rows without a class out (-1 often stands for that)."
        )
    # In memory: what is derived from these rows leaves no files in the cache either.
    return Dataset(table.cast(_features(names).arrow_schema))


def checked_split(rows: Dataset, names: tuple[str, ...], where: str) -> Dataset:
    """One split, with the names of its classes, as `load` gives it."""
    return _labelled(_columns(rows, where), names, where)


def own_names(features: Iterable[Features | None], source: str) -> tuple[str, ...] | None:
    """The names that the splits themselves give their classes, if they do, neg and pos in full.

    Raises:
        DataError: they do it differently.
    """
    labels = [(held or {}).get("label") for held in features]
    found = {tuple(label.names) for label in labels if isinstance(label, ClassLabel)}
    if len(found) > 1:
        raise DataError(
            f"The splits ({source}) name their classes differently: {' and '.join(map(str, sorted(found)))}. "
            "A number must mean the same class everywhere: write the files with one ClassLabel."
        )
    return tuple(_WRITTEN_OUT.get(name, name) for name in found.pop()) if found else None


def need_train_and_test(raw: dict[str, Dataset], source: str) -> None:
    """Refuse a data set that lacks a split which a recipe cannot do without."""
    for split in ("train", "test"):
        if split not in raw:
            raise DataError(
                f"The data set ({source}) has no {split} split, only: {', '.join(raw)}. A recipe trains on train and "
                "is measured on test: name or cut the splits so that both are there."
            )


def _columns(rows: Dataset, where: str) -> pa.Table:
    """The columns `text` and `label` of a split: there, filled, of the right types."""
    for column in ("text", "label"):
        if column not in rows.column_names:
            raise DataError(
                f"There is no column {column!r} in {where}, only: {', '.join(rows.column_names)}. "
                "A text classifier needs the columns 'text' and 'label': rename yours."
            )
    if not len(rows):
        raise DataError(f"There are no rows in {where}. Check how it was written, or take another data set.")
    table = rows.select_columns(["text", "label"]).with_format("arrow")[:]
    for column in ("text", "label"):
        if (row := _first(pc.is_null(table[column]))) is not None:
            raise DataError(
                f"Row {row} (counted from 0) of {where} has no {column} (null). Fill it in, or leave the row out."
            )
    if not is_text(table["text"].type):
        raise DataError(
            f"The column 'text' of {where} holds {table['text'].type}, such as {table['text'][0].as_py()!r:.60} in "
            "its first row. It must hold strings, one text a row."
        )
    labels = table["label"]
    if not pa.types.is_integer(labels.type):
        row = _first(pc.invert(pc.match_substring_regex(labels, r"^\d+$"))) if is_text(labels.type) else 0
        raise DataError(
            f"The labels of {where} are {labels.type}, such as {labels[row or 0].as_py()!r:.60} in row {row or 0} "
            "(counted from 0). They must be integers: number the classes 0, 1 and so on, and list their names in "
            "that order in labels.json beside the files."
        )
    return table


def is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _first(mask: pa.ChunkedArray) -> int | None:
    row = pc.index(mask, True).as_py()
    return None if row < 0 else row


def with_validation(
    splits: dict[str, Dataset], fraction: float | None, cut: Callable[[Dataset, float], tuple[Dataset, Dataset]]
) -> dict[str, Dataset]:
    """The splits with one to validate on: their own, or a fifth of train; with `fraction`, that share of both."""
    if fraction is not None and not 0 < fraction < 1:
        raise DataError(f"validation_fraction is {fraction}: it must lie between 0 and 1, such as 0.2.")
    if fraction is None and "validation" in splits:
        return splits
    rows = concatenate_datasets([splits[split] for split in ("train", "validation") if split in splits])
    train, validation = cut(rows, fraction or 0.2)
    return {**splits, "train": train, "validation": validation}


def _cut(train: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    try:
        parts = train.train_test_split(test_size=fraction, stratify_by_column="label", seed=seed)
    except ValueError as error:
        raise DataError(
            f"No validation split can be cut from the {len(train)} rows of train, {fraction:g} of every class "
            f"({brief(error)}). Bring a validation split, or more rows of every class."
        ) from error
    return parts["train"], parts["test"]


def brief(error: Exception) -> str:
    """An error of a library as part of our paragraph."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}{' ...' if len(text) > 200 else ''}"
