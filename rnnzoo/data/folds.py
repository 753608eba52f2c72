"""Parts of the training split: folds to leave out, and some of the examples for curves over their number."""

import random
import re
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import replace
from itertools import chain

from datasets import ClassLabel, Dataset, DatasetDict

from rnnzoo.data.corpus import Corpus
from rnnzoo.data.errors import DataError


# Of the folds, whatever the seed of the run: a fold is the same in every run.
FOLD_SEED = 0


def fold_rows(labels: list, k: int, n: int) -> list[int]:
    """The row numbers of fold k (from 0) of n, ascending: the same share of every class, give or take one row.

    Args:
        labels: the class of every row of a training split, in its order, see `classes`.

    Raises:
        DataError: there is no such fold.
    """
    if not 0 <= k < n <= len(labels):
        raise DataError(
            f"There is no fold {k} of {n}: folds are counted from 0, and {len(labels)} training examples have that "
            "many folds at most."
        )
    # Dealt out class by class: the folds, and those of a class, differ by one row at most.
    return sorted(list(chain.from_iterable(_by_class(labels, FOLD_SEED)))[k::n])


def drawn_rows(labels: list, count: int, seed: int) -> list[int]:
    """The numbers of so many rows, ascending, drawn by `seed`: the same share of every class, give or take one row.

    A smaller draw is part of a larger one, unless rounding gives a class one row fewer in the larger one.
    """
    rows = _by_class(labels, seed)
    # By the largest remainder.
    sizes, remainders = zip(*(divmod(count * len(numbers), len(labels)) for numbers in rows), strict=True)
    largest = sorted(range(len(rows)), key=remainders.__getitem__, reverse=True)[: count - sum(sizes)]
    return sorted(chain.from_iterable(numbers[: sizes[i] + (i in largest)] for i, numbers in enumerate(rows)))


def check_parts(train_examples: int | None, fold: str | None) -> None:
    """Refuses, before any work, values that `reduced` could not take of any corpus, with a `DataError`."""
    if train_examples is not None and train_examples < 1:
        raise DataError(f"train_examples is {train_examples}: it must be at least 1.")
    if fold is not None:
        parse_fold(fold)


def parse_fold(text: str) -> tuple[int, int]:
    """The k and n of "k/n".

    Raises:
        DataError: it is no such thing.
    """
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    k, n = map(int, found.groups()) if found else (0, 0)
    if not 0 <= k < n or n < 2:
        raise DataError(
            f"fold is {text!r}: it must be K/N, the fold to leave out and the number of folds, two at least, such as "
            "0/2 and 1/2."
        )
    return k, n


def classes(rows: Dataset) -> list:
    """The class of every example; None for each where examples have not one class."""
    return rows["label"][:] if isinstance(rows.features.get("label"), ClassLabel) else [None] * len(rows)


def reduced(corpus: Corpus, train_examples: int | None, fold: str | None, seed: int) -> Corpus:
    """The corpus with only so many training examples, drawn by `seed`, and without a fold of these; None: all of them.

    Its unlabelled texts stay as they are: none of them is a text of an example that is left out.

    Raises:
        DataError: there are not so many examples or folds, or only one class is left.
    """
    if train_examples is not None:
        rows = corpus.splits["train"]
        if train_examples > len(rows):
            raise DataError(f"train_examples is {train_examples}, but the training split has {len(rows)}: lower it.")
        chosen = drawn_rows(classes(rows), train_examples, seed)
        corpus = _only(
            corpus, chosen, f"Of {len(rows):,} training examples {train_examples:,} are used (train_examples)."
        )
    if fold is not None:
        rows = corpus.splits["train"]
        k, n = parse_fold(fold)
        left_out = set(fold_rows(classes(rows), k, n))
        chosen = [number for number in range(len(rows)) if number not in left_out]
        corpus = _only(
            corpus, chosen, f"Of {len(rows):,} training examples fold {fold} is left out: {len(left_out):,}."
        )
    return corpus


def _only(corpus: Corpus, chosen: list[int], remark: str) -> Corpus:
    rows, remarks = corpus.splits["train"].select(chosen), [*corpus.remarks, remark]
    before, left = (set(classes(split)) for split in (corpus.splits["train"], rows))
    if len(left) < min(2, len(before)):
        raise DataError(f"{remark} Those that are left are of one class: there is nothing to tell apart. Use more.")
    if missing := before - left:
        names = ", ".join(corpus.labels[label] for label in sorted(missing))
        remarks.append(f"Warning: no training example is left of the classes {names}.")
    return replace(corpus, splits=DatasetDict({**corpus.splits, "train": rows}), remarks=remarks)


def _by_class(labels: list[Hashable], seed: int) -> list[list[int]]:
    """The row numbers of every class, shuffled."""
    rows, rng = defaultdict(list), random.Random(seed)
    for number, label in enumerate(labels):
        rows[label].append(number)
    for numbers in rows.values():
        rng.shuffle(numbers)
    return list(rows.values())
