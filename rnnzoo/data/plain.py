"""Corpora of texts without labels, for language models: read whole (`load`) or lazily (`stream`)."""

from collections.abc import Iterator
from functools import partial
from itertools import chain, islice

from datasets import Dataset, DatasetDict, Features, Value

from rnnzoo.data import division
from rnnzoo.data.checked import Checked
from rnnzoo.data.columns import TEXT, Columns
from rnnzoo.data.corpus import Corpus, Overlap, Pass, Row, check_fraction, with_validation
from rnnzoo.data.errors import DataError
from rnnzoo.data.formats import TEXT_READERS
from rnnzoo.data.places import Layout, place, splits_at
from rnnzoo.data.recorded import recorded
from rnnzoo.data.streams import set_apart
from rnnzoo.data.unlabelled import check_text, without_labels


_LAYOUT = Layout(
    suffixes=("parquet", "csv", "tsv", "jsonl", "json", "txt"),
    columns=((TEXT,),),
    described=(
        "A data set is a .txt file with a text per line, or a .csv, .tsv, .json, .jsonl or .parquet file with a "
        "column of texts; or a folder with such files for train, test and perhaps validation."
    ),
    split_readers=TEXT_READERS,
)
_FEATURES = Features({"text": Value("string")})


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
    """Read a corpus of texts whole.

    `dataset` and the other arguments are those of `rnnzoo.data.texts.load`, except that no labels are read: a table
    needs a column of texts only, and a .txt file is a table with a text per line. The texts that `unlabelled` names
    are added to those of train.

    Raises:
        DataError: there is no such data set, or one of its texts is none.
    """
    check_fraction(validation_fraction)
    chosen = validation_split and recorded(name if dataset == "auto" else dataset, validation_split)
    if chosen and validation_fraction:
        raise DataError("validation_split and validation_fraction are two ways to hold rows out. Leave out one.")
    if dataset == "made":
        # Here, so that only those who use synthetic data load its grammar.
        from rnnzoo.data.synthetic.reviews import BANNER, make_reviews

        columns.refuse_for_synthetic_data()
        if unlabelled is not None:
            raise DataError(
                f"unlabelled is {unlabelled!r}: real texts do not go with the synthetic data (--dataset made). Leave "
                "unlabelled out, or name another data set."
            )
        splits = with_validation(make_reviews(seed=0).select_columns("text"), validation_fraction, seed=seed)
        return Corpus("made", "made by this project", [], splits, banner=BANNER)
    there = place(dataset, default=name)
    found = splits_at(there, _LAYOUT, columns)
    checked = _checked(found.splits, columns)
    splits = {split: _texts(rows()) for split, rows in checked.items()}
    source, remarks = there.source, [*found.remarks, *chain.from_iterable(rows.remarks() for rows in checked.values())]
    if chosen:
        splits, remarks = chosen.divide(splits), [*remarks, chosen.remark(validation_split)]
    elif "test" not in splits:
        rows = splits["train"]
        splits, divided = division.divide(rows, [None] * len(rows), seed, validation_fraction)
        source, remarks = source + division.IN_SOURCE, [*remarks, divided]
    else:
        splits = with_validation(splits, validation_fraction, seed=seed)
    overlap = Overlap(splits["test"]["text"][:])
    for text in splits["train"]["text"][:]:
        overlap.see(text)
    splits, others = DatasetDict(splits), None
    if unlabelled is not None:
        others, of_others = without_labels(there, unlabelled, _LAYOUT, columns, splits)
        remarks = remarks + of_others
    remarks = remarks + overlap.remarks()
    return Corpus(there.name, source, [], splits, remarks=remarks, validation=validation_split, unlabelled=others)


def stream(
    name: str,
    dataset: str = "auto",
    *,
    seed: int,
    most: int | None = None,
    columns: Columns = Columns(),  # noqa: B008, it is frozen
) -> Corpus:
    """Open the corpus that `load` reads, to read its training split lazily: the first `most` rows, again every pass.

    Where there is no validation split, one row in twenty of the first 100,000 of train is held out, drawn by `seed`.

    Raises:
        DataError: there is no such data set, or one of its texts is none.
    """
    if dataset == "made":
        raise DataError("Synthetic data (--dataset made) is in memory anyway: leave out --streaming.")
    there = place(dataset, default=name)
    found = splits_at(there, _LAYOUT, columns, lazy=True)
    checked = _checked(found.splits, columns)
    read: Pass = checked["train"]
    held = {split: list(rows()) for split, rows in checked.items() if split != "train"}
    source, remarks = there.source, found.remarks
    if "test" not in held:
        read, held, divided = division.divide_lazily(read, lambda row: None, seed)
        source, remarks = source + division.IN_SOURCE, [*remarks, divided]
    if "validation" not in held:
        held["validation"], read = set_apart(read, seed, there.source)
    overlap = Overlap(row["text"] for row in held["test"])
    for row in islice(read(), most):
        overlap.see(row["text"])
    remarks = [*remarks, *chain.from_iterable(rows.remarks() for rows in checked.values()), *overlap.remarks()]
    splits = DatasetDict({split: _texts(held[split]) for split in ("validation", "test")})
    return Corpus(there.name, source, [], splits, partial(_first, read, most), remarks=remarks)


def _checked(splits: dict, columns: Columns) -> dict[str, Checked]:
    return {
        split: Checked(rows, check_text, drop_incomplete=columns.drop_incomplete) for split, rows in splits.items()
    }


def _texts(rows: Iterator[Row] | list[Row]) -> Dataset:
    return Dataset.from_dict({"text": [row["text"] for row in rows]}, features=_FEATURES)


def _first(read: Pass, most: int | None) -> Iterator[Row]:
    return islice(read(), most)
