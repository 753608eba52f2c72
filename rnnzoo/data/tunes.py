"""Corpora of tunes in ABC notation, divided so that the versions of a tune are on one side."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet
from datasets import Dataset, DatasetDict, Features, Value
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from rnnzoo.data.abc_notation import as_text, key, melody, title, tunes_of
from rnnzoo.data.beams import beamed
from rnnzoo.data.columns import Columns
from rnnzoo.data.corpus import Corpus, check_fraction
from rnnzoo.data.division import IN_SOURCE, TEST_SEED, Division
from rnnzoo.data.errors import DataError, brief
from rnnzoo.data.places import place
from rnnzoo.data.transposing import signature, transposed


# Tunes that share so many of their bars are versions of one another: of the different bars of the one with fewer.
SHARED = 0.5
# Of the keys into which tunes are transposed, in sharps: from two flats to four sharps, as nearly all tunes have them.
SIGNATURES = (-2, 4)

_DESCRIBED = (
    "A data set of tunes is a parquet file with the columns book and text, an .abc file, or a folder of such files; "
    "an .abc file is a book, which has the file's name."
)
_FEATURES = Features({"text": Value("string")})


class Tune(NamedTuple):
    """A tune: its title, its book, and its text as `abc_notation.as_text` has it, with beams that follow the beat."""

    title: str
    book: str
    text: str


def load(
    name: str,
    dataset: str = "auto",
    *,
    seed: int,
    validation_fraction: float | None = None,
    validation_split: str | None = None,
    unlabelled: str | None = None,
    columns: Columns = Columns(),  # noqa: B008, it is frozen
    transpositions: int = 0,
) -> Corpus:
    """Read tunes, and hold out a tenth of them as test and as many as validation, the same in every run.

    Tunes whose titles differ in a number, an article or punctuation at most, or that share at least half of their
    bars, are versions of one tune, and are on one side. Test and validation have the same share of every book.

    Args:
        name: the known data set that the `dataset` "auto" stands for.
        dataset: that, a file or a folder.
        seed: of the run, which draws the keys of `transpositions`.
        validation_fraction: what validation gets of the tunes that are not for test.
        unlabelled: a file or a folder of further tunes, all of them to train on as they are; versions of tunes that
            are held out are left out.
        validation_split, columns: of other corpora; refused.
        transpositions: in how many other keys, of two flats to four sharps, train has each of its tunes as well.

    Raises:
        DataError: there is no such data set, or a tune of it cannot be read.
    """
    check_fraction(validation_fraction)
    given = {"validation_split": validation_split, "columns": columns != Columns()}
    if refused := [option for option, value in given.items() if value]:
        raise DataError(f"Tunes are read without {' or '.join(refused)}: leave it out.")
    if dataset == "made":
        raise DataError(f"There are no synthetic tunes (--dataset made). {_DESCRIBED}")
    there = place(dataset, default=name)
    if there.path is None:
        raise DataError(f"{there.source} is no file and no folder here. {_DESCRIBED}")
    tunes = read(there.path)
    groups = versions(tunes)
    division = Division([tunes[group[0]].book for group in groups], TEST_SEED, validation_fraction)
    numbers: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    assign = division.assigner()
    for group in groups:
        numbers[assign(tunes[group[0]].book)] += group
    splits = {
        split: Dataset.from_dict({"text": [tunes[number].text for number in sorted(chosen)]}, features=_FEATURES)
        for split, chosen in numbers.items()
    }
    written = len(splits["train"])
    if transpositions:
        rng, texts = random.Random(seed), splits["train"]["text"][:]
        texts += [other for text in texts for other in in_other_keys(text, transpositions, rng)]
        splits["train"] = Dataset.from_dict({"text": texts}, features=_FEATURES)
    several = [group for group in groups if len(group) > 1]
    remarks = [
        f"{len(tunes)} tunes of {len({tune.book for tune in tunes})} books are divided by book: "
        f"{written} to train on, {len(splits['validation'])} for validation, {len(splits['test'])} for "
        f"test, the same in every run. {sum(map(len, several))} of them are versions of {len(several)} tunes, and the "
        "versions of a tune are on one side."
    ]
    if transpositions:
        remarks.append(f"Of those to train on there are {len(splits['train']) - written} copies in other keys.")
    others = None
    if unlabelled is not None:
        others, remark = further(Path(unlabelled), [tunes[n] for n in numbers["validation"] + numbers["test"]])
        remarks.append(remark)
    return Corpus(there.name, there.source + IN_SOURCE, [], DatasetDict(splits), remarks=remarks, unlabelled=others)


def further(path: Path, held_out: list[Tune]) -> tuple[Dataset, str]:
    """Further tunes to train on, without versions of those that are held out, and a remark about them."""
    found = read(path, "unlabelled")
    kept = [tune.text for tune in without_versions(found, held_out)]
    remark = (
        f"{len(kept)} further tunes to train on, of {path.name}; left out are {len(found) - len(kept)} that are "
        "versions of tunes of validation or test."
    )
    return Dataset.from_dict({"text": kept}, features=_FEATURES), remark


def in_other_keys(text: str, number: int, rng: random.Random) -> Iterator[str]:
    """A tune in so many other keys of `SIGNATURES`; in none if its key cannot be read, or its notes not be moved."""
    fewest, most = SIGNATURES
    try:
        sharps = signature(key(text))
        others = [fifths for fifths in range(fewest - sharps, most - sharps + 1) if fifths]
        yield from [transposed(text, fifths) for fifths in rng.sample(others, min(number, len(others)))]
    except ValueError:
        return


def stream(name: str, dataset: str = "auto", **chosen) -> Corpus:
    """Refuses to read tunes lazily: which of them are versions of one another, only all of them show."""
    raise DataError("Tunes are read whole, to find the versions of each: leave out --streaming.")


def read(path: Path, option: str = "dataset") -> list[Tune]:
    """All tunes of a file or a folder, in the order of the files' names.

    Args:
        option: that named the path, for the error.

    Raises:
        DataError: there are none, or one cannot be read.
    """
    if not path.exists():
        raise DataError(f"--{option} {str(path)!r} is not there. {_DESCRIBED}")
    files = [path] if path.is_file() else sorted(path.iterdir())
    found = []
    for file in (file for file in files if file.suffix in (".abc", ".parquet")):
        for number, (book, abc) in enumerate(_books(file)):
            try:
                found.append(Tune(title(abc), book, beamed(as_text(book, abc))))
            except ValueError as error:
                raise DataError(
                    f"Tune {number} (counted from 0) of {file.name}, {title(abc)!r:.60}, {error}. Complete it, or "
                    "leave it out."
                ) from error
    if not found:
        raise DataError(f"There are no tunes in {path.name!r}. {_DESCRIBED}")
    return found


def _books(file: Path) -> Iterator[tuple[str, str]]:
    """The tunes of a file as they are written, each after its book."""
    if file.suffix == ".abc":
        try:
            text = file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{file.name} is not in UTF-8 ({brief(error)}): convert it.") from error
        yield from ((file.stem, abc) for abc in tunes_of(text))
        return
    try:
        rows = pyarrow.parquet.read_table(file, columns=["book", "text"]).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{file.name} cannot be read ({brief(error)}). {_DESCRIBED}") from error
    for number, row in enumerate(rows):
        if not all(isinstance(value, str) and value for value in row.values()):
            raise DataError(f"Row {number} (counted from 0) of {file.name} has no book or no text: fill it in.")
        yield row["book"], row["text"]


def plain_title(tune: Tune) -> str:
    """A title without numbers, articles and punctuation, in lower case: what the versions of a tune have in common."""
    words = re.sub(r"\d+|[^\w\s]", "", tune.title.lower()).split()
    return " ".join(word for word in words if word not in ("the", "a", "an"))


def without_versions(tunes: list[Tune], others: list[Tune]) -> list[Tune]:
    """The tunes that are versions of none of `others`."""
    titles, bars = {title for tune in others if (title := plain_title(tune))}, [set(melody(o.text)) for o in others]
    with_bar = defaultdict(list)
    for number, of in enumerate(bars):
        for bar in of:
            with_bar[bar].append(number)

    def is_version(tune: Tune) -> bool:
        own = set(melody(tune.text))
        shared = Counter(number for bar in own for number in with_bar.get(bar, ()))
        alike = any(count >= SHARED * min(len(own), len(bars[number])) for number, count in shared.items())
        return alike or plain_title(tune) in titles

    return [tune for tune in tunes if not is_version(tune)]


def versions(tunes: list[Tune]) -> list[list[int]]:
    """The numbers of the tunes, those of the versions of a tune together, in the order of the first of each."""
    bars = [set(melody(tune.text)) for tune in tunes]
    with_title, with_bar, shared, pairs = {}, defaultdict(list), Counter(), [(0, 0)]
    for number, tune in enumerate(tunes):
        if name := plain_title(tune):
            pairs.append((with_title.setdefault(name, number), number))
        for bar in bars[number]:
            with_bar[bar].append(number)
    for numbers in with_bar.values():
        shared.update(combinations(numbers, 2))
    for (a, b), count in shared.items():
        if count >= SHARED * min(len(bars[a]), len(bars[b])):
            pairs.append((a, b))
    graph = coo_array((np.ones(len(pairs)), tuple(zip(*pairs, strict=True))), shape=(len(tunes), len(tunes)))
    _, of = connected_components(graph, directed=False)
    groups = defaultdict(list)
    for number in range(len(tunes)):
        groups[of[number]].append(number)
    return list(groups.values())
