"""Where a tagger's sentences come from: $RNNZOO_DATA, the Hub, a folder, or the set that this project makes itself."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from rnnzoo.data import schemes as tags
from rnnzoo.data import streams as streaming
from rnnzoo.data.streams import Pass, Row, Streamed
from rnnzoo.data.texts import (
    SPLITS,
    DataError,
    Place,
    brief,
    is_text,
    need_train_and_test,
    place_of,
    read_file,
    read_hub,
    read_names,
    rnnzoo_data,
    split_files,
    with_validation,
)


# Data sets that recipes know by name: where the Hub has them, as files that are read without running any code.
HUB = {
    "conll2003": ("eriktks/conll2003", "refs/convert/parquet"),
    "wnut_17": ("leondz/wnut_17", "refs/convert/parquet"),
}
_SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "dev", "testa"), "test": ("test", "testb")}
_COLUMN_SUFFIXES = ("conll", "txt", "iob", "bio")
_FEATURES = Features({"tokens": List(Value("string")), "tags": List(Value("string"))})


@dataclass(frozen=True)
class TaggedCorpus:
    """Sentences with named entities, checked and ready for a recipe.

    name: "conll2003", "made", a folder's name or a Hub id.
    source: where the sentences came from, in words for `results.json`; never an absolute path.
    splits: exactly `train`, `validation` and `test`, with the columns `tokens` and `tags` (IOB2), lists of strings;
        the made set's have `ambiguous` too.
    labels: "O", then "B-" and "I-" of every type of entity in any split.
    """

    name: str
    source: str
    splits: DatasetDict
    labels: list[str]


def load(dataset: str = "auto", *, seed: int, validation_fraction: float | None = None) -> TaggedCorpus:
    """Load the data set that `dataset` says, and check every word of it.

    `dataset` is one of
        "conll2003" (which "auto" stands for), "wnut_17": `$RNNZOO_DATA/<name>` where that variable is set, else the
            Hub (or its copy in the local cache);
        "made": the set that this project makes itself, which is on every machine;
        a folder with `train|validation|test.{parquet,jsonl}`, columns `tokens` and `ner_tags`: strings, or numbers
            whose meaning a parquet file's ClassLabel or a `labels.json` list beside the files tells;
        a folder with `train|validation|test.{conll,txt,iob,bio}` (`valid`, `dev`, `testa`, `testb` are understood):
            a word a line, the word in the first column and its tag in the last, a blank line after every sentence;
        a Hub id.

    The tags may be IOB2, IOB1 or IOBES, the same scheme in all splits; IOB2 comes out. Where there is no validation
    split, a fifth of train becomes one; with `validation_fraction`, that share of train and validation together
    becomes one; drawn by `seed`. Local files are read anew every time.

    Raises:
        RecipeError: if there is no such data set, or it is not fit for training a tagger.
    """
    cut = partial(_cut, seed=seed)
    if dataset == "made":
        # Here, so that only those who use the made set load its grammar.
        from rnnzoo.data.synthetic.names import TYPES, make_sentences

        source = "made by this project (not CoNLL-2003)"
        splits = with_validation(make_sentences(seed=0), validation_fraction, cut)
        return TaggedCorpus("made", source, DatasetDict(splits), tags.labels(TYPES))

    there = _place(dataset)
    raw, names = (read_hub(there.hub_id, there.revision), None) if there.folder is None else _read_folder(there.folder)
    splits, labels = _checked(raw, names, there.source)
    splits = with_validation(splits, validation_fraction, cut)
    if not any(tag != "O" for row in splits["train"]["tags"] for tag in row):
        raise _no_entity(there.source)
    return TaggedCorpus(there.name, there.source, DatasetDict({split: splits[split] for split in SPLITS}), labels)


def stream(dataset: str = "auto", *, seed: int, most: int | None = None) -> Streamed:
    """The data set that `load` would give, its train split read anew for every pass; `most` sentences of that.

    A first pass over the tags finds their scheme, and the labels: those of the sentences that are read. Where there
    is no validation split, of the first 100,000 sentences of train one in twenty is set apart, drawn by `seed`.

    Raises:
        DataError: there is no such data set, or it is not fit for a tagger. What is wrong with a sentence of train is
            said when that is read.
    """
    there = _place(dataset)
    source, where = there.source, {split: f"the {split} split ({there.source})" for split in SPLITS}
    raw, features, listed = streaming.splits_at(there, _SPLIT_NAMES, READERS, _read_whole, _LAYOUT)
    read = partial(_sentences, raw.pop("train"), _names(features, listed), where["train"])
    held = {split: _rows(rows, listed, where[split]) for split, rows in raw.items()}
    if "validation" not in held:
        held["validation"], read = streaming.set_apart(read, seed, source)
        where["validation"] = where["train"]
    scheme, labels = _scheme_and_labels(row["tags"] for row in chain(islice(read(), most), *held.values()))
    splits = {
        split: Dataset.from_list(list(_in_iob2(held[split], scheme, labels, where[split])), features=_FEATURES)
        for split in ("validation", "test")
    }
    read = partial(_pass, read, most, scheme, labels, source)
    return Streamed(there.name, source, labels, read, DatasetDict(splits))


def _place(dataset: str) -> Place:
    name = "conll2003" if dataset == "auto" else dataset
    if name not in HUB:
        return place_of(name)
    if folder := rnnzoo_data(name):
        return Place(name, f"$RNNZOO_DATA/{name}", folder, None)
    return Place(name, f"Hub: {HUB[name][0]}", None, *HUB[name])


# ---- files ----

_LAYOUT = (
    "A data set for a tagger is a folder with train, validation (optional) and test as .parquet or .jsonl files "
    f"(columns tokens and ner_tags), or as column files: {', '.join(f'.{suffix}' for suffix in _COLUMN_SUFFIXES)}."
)


def _read_folder(folder: Path) -> tuple[dict[str, Dataset], tuple[str, ...] | None]:
    """The splits that are in a folder, and the names of the tags if a file of their own has them."""
    files = split_files(folder, _SPLIT_NAMES, READERS, _LAYOUT)
    return {split: _read_whole(file) for split, file in files.items()}, read_names(folder)


def _read_whole(path: Path) -> Dataset:
    if path.suffix[1:] not in _COLUMN_SUFFIXES:
        return read_file(path)
    rows, columns = list(_read_columns(path)), ("tokens", "ner_tags")
    features = Features({column: List(Value("string")) for column in columns})
    return Dataset.from_dict({column: [row[column] for row in rows] for column in columns}, features=features)


def _read_columns(path: Path) -> Iterator[Row]:
    """The sentences of a file as CoNLL has them: a word a line, columns apart by spaces or tabs."""
    where = f"the file {path.name!r} of the folder {path.parent.name!r}"
    words: list[list[str]] = []  # of the sentence that is read, each with its columns
    first = None  # the first line with a word: its number and how many columns it has
    for number, line in _lines(path, where):
        # Not split(): to it also characters within a word, such as U+00A0, are breaks.
        columns = re.split(r"[ \t]+", line.strip(" \t\r\n"))
        if columns[0] in ("", "-DOCSTART-"):
            if words:
                yield _sentence(words)
            words = []
            continue
        first = first or (number, len(columns))
        if len(columns) == 1:
            raise DataError(
                f"Line {number} of {where} has one column only, {columns[0]!r:.60}. Every word needs a line with its "
                "tag in the last column, apart by spaces or a tab; the file may be cut short."
            )
        if len(columns) != first[1]:
            raise DataError(
                f"Line {number} of {where} has {len(columns)} columns where line {first[0]} has {first[1]}, so that "
                "its last one may be no tag. Words may not contain spaces; the file may be cut short."
            )
        words.append(columns)
    if words:
        yield _sentence(words)


def _sentence(words: list[list[str]]) -> Row:
    return {"tokens": [columns[0] for columns in words], "ner_tags": [columns[-1] for columns in words]}


def _lines(path: Path, where: str) -> Iterator[tuple[int, str]]:
    """The lines of an open file with their numbers, from 1."""
    number = 0
    try:
        for number, line in enumerate(streaming.lines(path), start=1):
            yield number, line
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The text of {where} cannot be read as UTF-8 (line {number + 1}: {brief(error)}). Write it as UTF-8, or "
            "make it anew."
        ) from error


READERS = {
    "parquet": partial(streaming.read_parquet, columns=["tokens", "ner_tags"]),
    "jsonl": streaming.read_jsonl,
    **dict.fromkeys(_COLUMN_SUFFIXES, _read_columns),
}


# ---- what sentences must be ----


def _checked(
    raw: dict[str, Dataset], names: tuple[str, ...] | None, source: str
) -> tuple[dict[str, Dataset], list[str]]:
    """Refuse what a tagger cannot be trained or tested on; bring the tags into one form. Also the labels of it all."""
    need_train_and_test(raw, source)
    where = {split: f"the {split} split ({source})" for split in SPLITS}
    held = {split: _rows(raw[split], names, where[split]) for split in SPLITS if split in raw}
    # Of all splits, because a small one may lack the places in which schemes differ.
    scheme, labels = _scheme_and_labels(row["tags"] for row in chain(*held.values()))
    splits = {
        split: Dataset.from_list(list(_in_iob2(rows, scheme, labels, where[split])), features=_FEATURES)
        for split, rows in held.items()
    }
    return splits, labels


def _scheme_and_labels(sentences: Iterable[list[str]]) -> tuple[str, list[str]]:
    """The scheme that the tags of all sentences are written in, and a tagger's labels for them, in one pass."""
    types = set()

    def noted() -> Iterator[list[str]]:
        for row in sentences:
            types.update(tag[2:] for tag in row)
            yield row

    scheme = tags.guess(noted())
    return scheme, tags.labels(types - {""})


def _in_iob2(rows: Iterable[Row], scheme: str, labels: list[str], where: str) -> Iterator[Row]:
    """Sentences with their tags in one form, or an error that names the sentence."""
    known = set(labels)
    for row in rows:
        converted = tags.convert(row["tags"], scheme, "IOB2", f"sentence {row['number']} of {where}")
        if unknown := sorted(set(converted) - known):
            raise DataError(
                f"Sentence {row['number']} (counted from 0) of {where} has the tag {unknown[0]!r}, which was nowhere "
                f"when the labels were taken ({', '.join(labels[:8])}{', ...' if len(labels) > 8 else ''}): the data "
                "set has been changed while it was read. Leave it as it is until the run is over, and start anew."
            )
        yield {"tokens": row["tokens"], "tags": converted}


def _pass(read: Pass, most: int | None, scheme: str, labels: list[str], source: str) -> Iterator[Row]:
    """So many sentences of a stream, of which one has an entity."""
    entities = False
    for row in _in_iob2(islice(read(), most), scheme, labels, f"the train split ({source})"):
        entities = entities or set(row["tags"]) != {"O"}
        yield row
    if not entities:
        raise _no_entity(source)


def _no_entity(source: str) -> DataError:
    return DataError(
        f"No word of the train split ({source}) belongs to an entity: there is nothing to learn. Check how the tags "
        "were written, and that all of the split is there."
    )


def _rows(rows: Dataset, names: tuple[str, ...] | None, where: str) -> list[Row]:
    """The sentences of a split as `_sentences` gives them: its columns there, filled, of the right types."""
    for column in ("tokens", "ner_tags"):
        if column not in rows.column_names:
            raise DataError(
                f"There is no column {column!r} in {where}, only: {', '.join(rows.column_names)}. "
                "A tagger needs the columns 'tokens' and 'ner_tags': rename yours."
            )
    if not len(rows):
        raise DataError(f"There are no sentences in {where}. Check how it was written, or take another data set.")
    table = rows.select_columns(["tokens", "ner_tags"]).with_format("arrow")[:]
    for column, wanted, is_right in (
        ("tokens", "the words of a sentence as strings", is_text),
        ("ner_tags", "a tag for each of them: strings such as 'B-LOC', or the numbers of names", _is_tag_or_number),
    ):
        kind = table[column].type
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not is_right(kind.value_type):
            raise DataError(
                f"The column {column!r} of {where} holds {kind}, such as {table[column][0].as_py()!r:.60} in the "
                f"first row. It must hold lists: {wanted}."
            )
    return list(_sentences(lambda: iter(table.to_pylist()), _names(rows.features, names), where))


def _names(features: Features | None, listed: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """What numbers mean: the names that a split has of its own, or those of labels.json."""
    feature = getattr((features or {}).get("ner_tags"), "feature", None)
    return tuple(feature.names) if isinstance(feature, ClassLabel) else listed


def _sentences(read: Pass, names: tuple[str, ...] | None, where: str) -> Iterator[Row]:
    """Sentences with their `tokens`, their `tags`, which are strings, and their `number`; or an error that names one.

    A stream has rows, and no types of columns: each row is looked at.
    """
    for number, row in streaming.numbered(read, where):
        words, row_tags = row.get("tokens"), row.get("ner_tags")
        _check_sentence(words, row_tags, f"Sentence {number} (counted from 0) of {where}")
        yield {"tokens": words, "tags": _named(row_tags, names, number, where), "number": number}


def _is_tag_or_number(kind: pa.DataType) -> bool:
    return is_text(kind) or pa.types.is_integer(kind)


def _check_sentence(words: list[str | None] | None, row: list[str | int | None] | None, sentence: str) -> None:
    if words is None or row is None:
        lacking = "tokens" if words is None else "ner_tags"
        raise DataError(f"{sentence} has no {lacking} (null). Fill them in, or leave the sentence out.")
    if not _is_list_of(words, str) or not (_is_list_of(row, str) or _is_list_of(row, int)):
        raise DataError(
            f"{sentence} has the tokens {words!r:.60} and the ner_tags {row!r:.60}. They must be lists: the words as "
            "strings, and a tag for each of them, strings such as 'B-LOC' or the numbers of names."
        )
    if not words:
        raise DataError(f"{sentence} has no words. Leave it out.")
    if len(words) != len(row):
        raise DataError(f"{sentence} has {len(words)} tokens, but {len(row)} tags. Give every word one tag.")
    for place, (word, tag) in enumerate(zip(words, row, strict=True)):
        if word is None or not word.strip():
            raise DataError(f"{sentence} has {word!r} for its word {place}. Leave it out, and its tag with it.")
        if tag is None:
            raise DataError(f"{sentence} has no tag (null) for its word {place}, {word!r:.60}. Fill it in.")


def _is_list_of(held: object, kind: type) -> bool:
    return isinstance(held, list) and {*map(type, held)} <= {kind, type(None)}


def _named(row: list[str] | list[int], names: tuple[str, ...] | None, sentence: int, where: str) -> list[str]:
    """The tags of a sentence as strings."""
    if isinstance(row[0], str):
        return row
    if names is None:
        raise DataError(
            f"The tags of {where} are numbers, and nothing says what they mean. List their names in that order in "
            'labels.json beside the files, such as ["O", "B-LOC", "I-LOC"], or write the tags themselves.'
        )
    for word, number in enumerate(row):
        if not 0 <= number < len(names):
            raise DataError(
                f"Word {word} of sentence {sentence} of {where} (both counted from 0) has the tag {number}, but there "
                f"are {len(names)} ({', '.join(names[:8])}{', ...' if len(names) > 8 else ''}), numbered 0 to "
                f"{len(names) - 1}. Correct it, or the list of names."
            )
    return [names[number] for number in row]


def _cut(train: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    try:
        parts = train.train_test_split(test_size=fraction, seed=seed)
    except ValueError as error:
        raise DataError(
            f"No validation split can be cut from the {len(train)} sentences of train, {fraction:g} of all "
            f"({brief(error)}). Bring a validation split, or more sentences."
        ) from error
    return parts["train"], parts["test"]
