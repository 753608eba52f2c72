"""Corpora of sentences with named entities, for taggers: read whole (`load`) or lazily (`stream`), one row check."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from rnnzoo.data import schemes
from rnnzoo.data.corpus import Corpus, Pass, Row, check_fraction, with_validation
from rnnzoo.data.errors import DataError
from rnnzoo.data.places import Layout, Split, place, splits_at
from rnnzoo.data.spans import words_and_tags
from rnnzoo.data.streams import set_apart


# Where annotation tools write the spans of a text: as `entities`, as `spans` (Prodigy, spaCy), as `label` (doccano).
_SPAN_COLUMNS = ("entities", "spans", "label")
_LAYOUT = Layout(
    suffixes=("parquet", "csv", "jsonl", "conll", "txt", "iob", "bio"),
    columns=(("tokens", "ner_tags"), *(("text", column) for column in _SPAN_COLUMNS)),
    described=(
        "A data set for a tagger is a folder with train, validation (optional) and test as .parquet, .jsonl or .csv "
        "files (columns tokens and ner_tags, or text and entities), or as column files: .conll, .txt, .iob, .bio."
    ),
)
_FEATURES = Features({"tokens": List(Value("string")), "tags": List(Value("string"))})


def load(name: str, dataset: str = "auto", *, seed: int, validation_fraction: float | None = None) -> Corpus:
    """Read a corpus of tagged sentences whole, and check every word of it.

    `dataset` is one of
        "auto" (the known data set `name`), or a known name ("conll2003", "wnut_17"): `$RNNZOO_DATA/<name>` where that
            variable is set, else the Hub (or its copy in the local cache);
        "made": synthetic sentences, available on every machine;
        a folder with `train|validation|test.{parquet,jsonl,csv}` (`valid`, `dev`, `testa`, `testb` are understood) and
            columns `tokens` and `ner_tags`: strings, or numbers whose meaning a parquet file's ClassLabel or a
            `labels.json` list beside the files tells;
        such a folder with columns `text` and `entities`, a list of `{"start", "end", "label"}` or of
            `[start, end, label]`, in CSV as JSON (also named `spans` or `label`): see `rnnzoo.data.spans`;
        a folder with `train|validation|test.{conll,txt,iob,bio}`: a word a line, the word in the first column and its
            tag in the last, a blank line after every sentence;
        a Hub id.

    The tags may be IOB2, IOB1 or IOBES, the same scheme in all splits (spans count as IOB2); the corpus has IOB2.
    Where there is no validation split, a fifth of train becomes one; with `validation_fraction`, that share of train
    and validation together; drawn by `seed`. Local files are read again every time.

    Raises:
        DataError: there is no such data set, or a tagger cannot be trained on it.
    """
    check_fraction(validation_fraction)
    if dataset == "made":
        # Here, so that only those who use synthetic data load its grammar.
        from rnnzoo.data.synthetic.names import BANNER, TYPES, make_sentences

        splits = with_validation(make_sentences(seed=0), validation_fraction, seed=seed)
        source = "made by this project (not CoNLL-2003)"
        return Corpus("made", source, schemes.labels(TYPES), splits, banner=BANNER)

    there = place(dataset, default=name)
    splits, listed = splits_at(there, _LAYOUT)
    held = {split: list(_sentences(rows, listed)) for split, rows in splits.items()}
    # Of all splits, because a small one may lack the places in which schemes differ.
    scheme, labels = _scheme_and_labels(row["tags"] for row in chain(*held.values()))
    whole = {split: _in_memory(held[split], scheme, labels, rows.where) for split, rows in splits.items()}
    whole = with_validation(whole, validation_fraction, seed=seed)
    if not any(tag != "O" for row in whole["train"]["tags"] for tag in row):
        raise _no_entity(there.source)
    return Corpus(there.name, there.source, labels, whole)


def stream(name: str, dataset: str = "auto", *, seed: int, most: int | None = None) -> Corpus:
    """Open the corpus that `load` reads, to read its training split lazily: the first `most` rows, again every pass.

    A first pass over the tags finds their scheme and the labels: those of the sentences that are read. Where there is
    no validation split, one sentence in twenty of the first 100,000 of train is held out, drawn by `seed`.

    Raises:
        DataError: there is no such data set, or a tagger cannot be trained on it. Files that change during the run
            are noticed when they are read.
    """
    if dataset == "made":
        raise DataError("Synthetic data (--dataset made) is in memory anyway: leave out --streaming.")
    there = place(dataset, default=name)
    splits, listed = splits_at(there, _LAYOUT, lazy=True)
    where = {split: rows.where for split, rows in splits.items()}
    read = partial(_sentences, splits.pop("train"), listed)
    held = {split: list(_sentences(rows, listed)) for split, rows in splits.items()}
    if "validation" not in held:
        held["validation"], read = set_apart(read, seed, there.source)
        where["validation"] = where["train"]
    scheme, labels = _scheme_and_labels(row["tags"] for row in chain(islice(read(), most), *held.values()))
    held = {split: _in_memory(held[split], scheme, labels, where[split]) for split in ("validation", "test")}
    read = partial(_pass, read, most, scheme, labels, where["train"], there.source)
    return Corpus(there.name, there.source, labels, DatasetDict(held), read)


# ---- what a sentence must be ----


def _sentences(split: Split, listed: Sequence[str] | None) -> Iterator[Row]:
    """The sentences of a split, checked: `tokens`, `tags` in the scheme of the file, and the `number` of the row."""
    feature = getattr((split.features or {}).get("ner_tags"), "feature", None)
    names = feature.names if isinstance(feature, ClassLabel) else listed
    for number, row in split.numbered():
        words, tags = sentence(row, number, split.where, names)
        yield {"tokens": words, "tags": tags, "number": number}


def sentence(row: Row, number: int, where: str, names: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The words and the tags of row `number` of a split, which errors call `where`; `names` are those of numbers.

    Raises:
        DataError: it has no words, or not one tag for each, or spans that are none of its text.
    """
    at = f"Row {number} (counted from 0) of {where}"
    column = next((column for column in _SPAN_COLUMNS if column in row), None)
    if {"tokens", "ner_tags"} <= row.keys() or column is None or "text" not in row:
        words, tags = _tagged(row, names, at)
    else:
        words, tags = _spanned(row, column, at)
    if not words:
        raise DataError(f"{at} has no words. Leave it out.")
    return words, tags


def _spanned(row: Row, column: str, at: str) -> tuple[list[str], list[str]]:
    text, spans = row["text"], row[column]
    if text is None or spans is None:
        raise DataError(f"{at} has no {'text' if text is None else column} (null). Fill it in, or leave the row out.")
    if not isinstance(text, str) or not isinstance(spans, list):
        raise DataError(
            f"{at} has the text {text!r:.60} and the {column} {spans!r:.60}. They must be a string, and a list of "
            'spans such as {"start": 0, "end": 3, "label": "LOC"} (in CSV: that list as JSON).'
        )
    if row.get("answer", "accept") != "accept":  # Prodigy keeps what its annotators rejected
        raise DataError(f"{at} has the answer {row['answer']!r:.60}, which is not 'accept'. Leave it out.")
    return words_and_tags(text, spans, at)


def _tagged(row: Row, names: Sequence[str] | None, at: str) -> tuple[list[str], list[str]]:
    for column in ("tokens", "ner_tags"):
        if column not in row:
            raise DataError(
                f"{at} has no column {column!r}, only: {', '.join(row)}. A tagger needs the columns 'tokens' and "
                "'ner_tags', or 'text' and 'entities': rename yours."
            )
        if row[column] is None:
            raise DataError(f"{at} has no {column} (null). Fill them in, or leave the row out.")
    words, tags = row["tokens"], row["ner_tags"]
    if not _is_list_of(words, str) or not (_is_list_of(tags, str) or _is_list_of(tags, int)):
        raise DataError(
            f"{at} has the tokens {words!r:.60} and the ner_tags {tags!r:.60}. They must be lists: the words as "
            "strings, and a tag for each of them, strings such as 'B-LOC' or the numbers of names."
        )
    if len(words) != len(tags):
        raise DataError(f"{at} has {len(words)} tokens, but {len(tags)} tags. Give every word one tag.")
    for position, (word, tag) in enumerate(zip(words, tags, strict=True)):
        if word is None or not word.strip():
            raise DataError(f"{at} has {word!r} for its word {position}. Leave it out, and its tag with it.")
        if word != word.strip():
            raise DataError(
                f"{at} has {word!r:.60} for its word {position}, with white space around it, which would not survive "
                "in a text of words joined by spaces. Strip it."
            )
        if tag is None:
            raise DataError(f"{at} has no tag (null) for its word {position}, {word!r:.60}. Fill it in.")
    return words, _named(tags, names, at)


def _is_list_of(held: Any, kind: type) -> bool:
    return isinstance(held, list) and {*map(type, held)} <= {kind, type(None)}


def _named(tags: list[str] | list[int], names: Sequence[str] | None, at: str) -> list[str]:
    """Tags as strings."""
    if not tags or isinstance(tags[0], str):
        return tags
    if names is None:
        raise DataError(
            f"{at} has numbers for its tags, and nothing says what they mean. List their names in the order of the "
            'numbers in labels.json beside the files, such as ["O", "B-LOC", "I-LOC"], or write the tags themselves.'
        )
    for word, number in enumerate(tags):
        if not 0 <= number < len(names):
            raise DataError(
                f"{at} has the tag {number} for its word {word} (counted from 0), but there are {len(names)} "
                f"({', '.join(names[:8])}{', ...' if len(names) > 8 else ''}), numbered 0 to {len(names) - 1}. "
                "Correct it, or the list of names."
            )
    return [names[number] for number in tags]


# ---- schemes ----


def _scheme_and_labels(sentences: Iterable[list[str]]) -> tuple[str, list[str]]:
    """The scheme that the tags of all sentences are written in, and a tagger's labels for them, in one pass."""
    types = set()

    def noted() -> Iterator[list[str]]:
        for tags in sentences:
            types.update(tag[2:] for tag in tags)
            yield tags

    scheme = schemes.guess(noted())
    return scheme, schemes.labels(types - {""})


def _in_memory(rows: Iterable[Row], scheme: str, labels: list[str], where: str) -> Dataset:
    return Dataset.from_list(list(_in_iob2(rows, scheme, labels, where)), features=_FEATURES)


def _in_iob2(rows: Iterable[Row], scheme: str, labels: list[str], where: str) -> Iterator[Row]:
    """Sentences with their tags converted, or an error that names the row."""
    known = set(labels)
    for row in rows:
        converted = schemes.convert(row["tags"], scheme, "IOB2", f"row {row['number']} of {where}")
        if unknown := sorted(set(converted) - known):
            raise DataError(
                f"Row {row['number']} (counted from 0) of {where} has the tag {unknown[0]!r}, which did not occur "
                f"when the labels were collected ({', '.join(labels[:8])}{', ...' if len(labels) > 8 else ''}): the "
                "data set was changed during the run. Leave it as it is until the run has finished, and start again."
            )
        yield {"tokens": row["tokens"], "tags": converted}


def _pass(read: Pass, most: int | None, scheme: str, labels: list[str], where: str, source: str) -> Iterator[Row]:
    """The first `most` sentences, at least one of which has an entity."""
    entities = False
    for row in _in_iob2(islice(read(), most), scheme, labels, where):
        entities = entities or set(row["tags"]) != {"O"}
        yield row
    if not entities:
        raise _no_entity(source)


def _no_entity(source: str) -> DataError:
    return DataError(
        f"No word of the train split ({source}) belongs to an entity: there is nothing to learn. Check how the tags "
        "were written, and that all of the split is there."
    )
