"""Where a tagger's sentences come from: $RNNZOO_DATA, the Hub, a folder, or the set that this project makes itself."""

import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from recipes import tags
from recipes.data import (
    SPLITS,
    DataError,
    brief,
    is_text,
    looks_like_hub_id,
    need_train_and_test,
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
        from recipes.made_names import TYPES, make_sentences

        source = "made by this project (not CoNLL-2003)"
        splits = with_validation(make_sentences(seed=0), validation_fraction, cut)
        return TaggedCorpus("made", source, DatasetDict(splits), tags.labels(TYPES))

    names = None
    name = "conll2003" if dataset == "auto" else dataset
    if name in HUB and (folder := rnnzoo_data(name)):
        source = f"$RNNZOO_DATA/{name}"
        raw, names = _read_folder(folder)
    elif name in HUB:
        source, raw = f"Hub: {HUB[name][0]}", read_hub(*HUB[name])
    elif os.path.exists(name) or not looks_like_hub_id(name):
        folder = Path(name).expanduser()
        name, source = folder.resolve().name, f"folder {folder.resolve().name}"
        raw, names = _read_folder(folder)
    else:
        source, raw = f"Hub: {name}", read_hub(name)

    splits, labels = _checked(raw, names, source)
    splits = with_validation(splits, validation_fraction, cut)
    if not any(tag != "O" for row in splits["train"]["tags"] for tag in row):
        raise DataError(
            f"No word of the train split ({source}) belongs to an entity: there is nothing to learn. Check how the "
            "tags were written, and that all of the split is there."
        )
    return TaggedCorpus(name, source, DatasetDict({split: splits[split] for split in SPLITS}), labels)


# ---- files ----

_LAYOUT = (
    "A data set for a tagger is a folder with train, validation (optional) and test as .parquet or .jsonl files "
    f"(columns tokens and ner_tags), or as column files: {', '.join(f'.{suffix}' for suffix in _COLUMN_SUFFIXES)}."
)


def _read_folder(folder: Path) -> tuple[dict[str, Dataset], tuple[str, ...] | None]:
    """The splits that are in a folder, and the names of the tags if a file of their own has them."""
    files = split_files(folder, _SPLIT_NAMES, ("parquet", "jsonl", *_COLUMN_SUFFIXES), _LAYOUT)
    splits = {
        split: _read_column_file(file) if file.suffix[1:] in _COLUMN_SUFFIXES else read_file(file)
        for split, file in files.items()
    }
    return splits, read_names(folder)


def _read_column_file(path: Path) -> Dataset:
    """The sentences of a file as CoNLL has them: a word a line, columns apart by spaces or tabs."""
    where = f"the file {path.name!r} of the folder {path.parent.name!r}"
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The text of {where} cannot be read as UTF-8 ({brief(error)}). Write it as UTF-8, or make it anew."
        ) from error
    sentences: list[list[list[str]]] = [[]]
    first = None  # the first line with a word: its number and how many columns it has
    # Not splitlines() and split(): to them also characters within a word, such as U+0085 or U+00A0, are breaks.
    for number, line in enumerate(text.split("\n"), start=1):
        columns = re.split(r"[ \t]+", line.strip(" \t\r"))
        if columns[0] in ("", "-DOCSTART-"):
            sentences.append([])
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
        sentences[-1].append(columns)
    sentences = [sentence for sentence in sentences if sentence]
    held = {
        column: [[columns[place] for columns in sentence] for sentence in sentences]
        for column, place in (("tokens", 0), ("ner_tags", -1))
    }
    return Dataset.from_dict(held, features=Features({column: List(Value("string")) for column in held}))


# ---- what sentences must be ----


def _checked(
    raw: dict[str, Dataset], names: tuple[str, ...] | None, source: str
) -> tuple[dict[str, Dataset], list[str]]:
    """Refuse what a tagger cannot be trained or tested on; bring the tags into one form. Also the labels of it all."""
    need_train_and_test(raw, source)
    columns = {split: _columns(raw[split], names, f"the {split} split ({source})") for split in SPLITS if split in raw}
    # Of all splits, because a small one may lack the places in which schemes differ.
    scheme = tags.guess(row for split in columns.values() for row in split["tags"])
    types = set()
    for split, held in columns.items():
        for i, row in enumerate(held["tags"]):
            where = f"sentence {i} of the {split} split ({source})"
            types |= {kind for kind, _, _ in tags.entities(row, scheme, where)}
            held["tags"][i] = tags.convert(row, scheme, "IOB2", where)
    splits = {split: Dataset.from_dict(held, features=_FEATURES) for split, held in columns.items()}
    return splits, tags.labels(types)


def _columns(rows: Dataset, names: tuple[str, ...] | None, where: str) -> dict[str, list[list[str]]]:
    """The columns `tokens` and `tags` of a split, all strings: there, filled, of equal lengths."""
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
    tokens, ner_tags = table["tokens"].to_pylist(), table["ner_tags"].to_pylist()
    for i, (words, row) in enumerate(zip(tokens, ner_tags, strict=True)):
        _check_sentence(words, row, f"Sentence {i} (counted from 0) of {where}")
    if is_text(table["ner_tags"].type.value_type):
        return {"tokens": tokens, "tags": ner_tags}
    feature = rows.features["ner_tags"].feature
    names = feature.names if isinstance(feature, ClassLabel) else names
    if names is None:
        raise DataError(
            f"The tags of {where} are numbers, and nothing says what they mean. List their names in that order in "
            'labels.json beside the files, such as ["O", "B-LOC", "I-LOC"], or write the tags themselves.'
        )
    return {"tokens": tokens, "tags": [_named(row, names, i, where) for i, row in enumerate(ner_tags)]}


def _is_tag_or_number(kind: pa.DataType) -> bool:
    return is_text(kind) or pa.types.is_integer(kind)


def _check_sentence(words: list[str | None] | None, row: list[str | int | None] | None, sentence: str) -> None:
    if words is None or row is None:
        lacking = "tokens" if words is None else "ner_tags"
        raise DataError(f"{sentence} has no {lacking} (null). Fill them in, or leave the sentence out.")
    if not words:
        raise DataError(f"{sentence} has no words. Leave it out.")
    if len(words) != len(row):
        raise DataError(f"{sentence} has {len(words)} tokens, but {len(row)} tags. Give every word one tag.")
    for place, (word, tag) in enumerate(zip(words, row, strict=True)):
        if word is None or not word.strip():
            raise DataError(f"{sentence} has {word!r} for its word {place}. Leave it out, and its tag with it.")
        if tag is None:
            raise DataError(f"{sentence} has no tag (null) for its word {place}, {word!r:.60}. Fill it in.")


def _named(row: list[int], names: tuple[str, ...], sentence: int, where: str) -> list[str]:
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
