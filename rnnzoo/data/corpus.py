"""A corpus as recipes get it: checked examples in three splits, the training split in memory or read lazily."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset, DatasetDict, concatenate_datasets

from rnnzoo.data.division import draw
from rnnzoo.data.errors import DataError, brief


SPLITS = ("train", "validation", "test")

Row = dict[str, Any]
Pass = Callable[[], Iterator[Row]]


@dataclass(frozen=True)
class Corpus:
    """Labelled examples, checked and ready for a recipe.

    name: of a known data set, "made", a folder's name or a Hub id.
    source: where the examples came from, in words for `results.json`; never an absolute path.
    labels: the names of the classes, in the order of their numbers.
    splits: `validation`, `test` and, unless it is read lazily, `train`.
    read: begins a pass over the training examples; None where `train` is in `splits`.
    banner: the warning that comes with synthetic data; None for real data.
    scheme: how the tags of words are to be read. "IOB2": entities, in IOB2; "IO": entities whose tags have no prefix,
        so that adjacent ones of one type are one; None: a class for each word (parts of speech), or no tags at all.
    remarks: what the user should know of the data, a sentence each: what was inferred, left out or found twice.
    sentences_per_text: how many consecutive sentences a row of a tagger's corpus has, a line each.
    unlabelled: texts to learn from without labels, a column `text` or `tokens`; None where none were asked for.
    validation: the name of the recorded validation split that was chosen; None where it is the data's own, or drawn.
    """

    name: str
    source: str
    labels: list[str]
    splits: DatasetDict
    read: Pass | None = None
    banner: str | None = None
    scheme: str | None = None
    remarks: list[str] = field(default_factory=list)
    validation: str | None = None
    unlabelled: Dataset | None = None
    sentences_per_text: int = 1

    def described(self, sizes: dict[str, int]) -> dict[str, Any]:
        """What results.json says of the data, given how many examples each split has."""
        found = {"name": self.name, "source": self.source, "splits": sizes}
        if self.validation is not None:
            found["validation"] = self.validation
        if self.unlabelled is not None:
            found["unlabelled"] = len(self.unlabelled)
        if self.sentences_per_text > 1:
            found["sentences_per_text"] = self.sentences_per_text
        return found | {"remarks": self.remarks}


def check_fraction(fraction: float | None) -> None:
    """Refuse, before any work, a `validation_fraction` that is not between 0 and 1."""
    if fraction is not None and not 0 < fraction < 1:
        raise DataError(f"validation_fraction is {fraction}: it must lie between 0 and 1, such as 0.2.")


class Overlap:
    """Counts the examples of a split whose text also stands in train; holds no more than a hash of each text."""

    def __init__(self, texts: Iterable[str], split: str = "test"):
        self.texts, self.split, self.found = Counter(map(hash, texts)), split, set()

    def see(self, train: str) -> None:
        """A text of train."""
        if (seen := hash(train)) in self.texts:
            self.found.add(seen)

    def remarks(self) -> list[str]:
        """The count, if there is any."""
        count = sum(self.texts[seen] for seen in self.found)
        if not count:
            return []
        return [
            f"Warning: {count} of {self.texts.total()} texts of {self.split} also stand in train, so that the score "
            f"on {self.split} is partly one of memory."
        ]


def with_validation(
    splits: dict[str, Dataset], fraction: float | None, *, seed: int, stratify_by: str | None = None
) -> DatasetDict:
    """The three splits: with their own validation split, or with a fifth of train drawn by `seed`.

    With `fraction`, that share of train and validation together is drawn, whether or not there was a validation split;
    with `stratify_by`, the same share of every class of that column, as far as a class has the rows.

    Raises:
        DataError: there are too few rows.
    """
    if fraction is not None or "validation" not in splits:
        rows = concatenate_datasets([splits[split] for split in ("train", "validation") if split in splits])
        fraction = fraction or 0.2
        try:
            train, validation = rows.train_test_split(
                test_size=fraction, stratify_by_column=stratify_by, seed=seed
            ).values()
        except ValueError as error:  # datasets wants two rows of every class, and as many rows as classes
            train, validation = draw(rows, rows[stratify_by][:], fraction, seed) if stratify_by else (rows, [])
            if not (len(train) and len(validation)):
                raise DataError(
                    f"No validation split can be drawn from the {len(rows)} rows of train, {fraction:g} of "
                    f"{'every class' if stratify_by else 'all'} ({brief(error)}). Add a validation split, or more "
                    "rows."
                ) from error
        splits = {**splits, "train": train, "validation": validation}
    return DatasetDict({split: splits[split] for split in SPLITS})
