"""Corpora of sentences with named entities, for taggers: read whole (`load`) or lazily (`stream`), one row check."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from rnnzoo.data import division, schemes
from rnnzoo.data.checked import Checked
from rnnzoo.data.columns import ANSWER, SPANS, TAGS, TEXT, TOKENS, Columns, shown
from rnnzoo.data.corpus import Corpus, Overlap, Pass, Row, check_fraction, with_validation
from rnnzoo.data.errors import BadRow, DataError, Incomplete
from rnnzoo.data.formats import SENTENCE_READERS
from rnnzoo.data.places import Found, Layout, Place, Split, place, splits_at
from rnnzoo.data.schemes import OUTSIDE
from rnnzoo.data.spans import words_and_tags
from rnnzoo.data.streams import set_apart
from rnnzoo.data.unlabelled import check_sentence, without_labels
from rnnzoo.tokenization_rnnzoo import LINE_BREAK


_LAYOUT = Layout(
    suffixes=("parquet", "csv", "tsv", "jsonl", "json", "conll", "txt", "iob", "bio"),
    columns=((TOKENS, TAGS), (TEXT, SPANS, ANSWER)),
    described=(
        "A data set for a tagger is a .jsonl, .json, .parquet, .csv or .tsv file (columns tokens and ner_tags, or "
        "text and entities), or a column file: .conll, .txt, .iob, .bio; or a folder with such files for train, "
        "test and perhaps validation."
    ),
    unlabelled=((TOKENS,), (TEXT,)),
    readers=SENTENCE_READERS,
)
_FEATURES = Features({"tokens": List(Value("string")), "tags": List(Value("string"))})


def load(
    name: str,
    dataset: str = "auto",
    *,
    seed: int,
    validation_fraction: float | None = None,
    validation_split: str | None = None,
    unlabelled: str | None = None,
    sentences_per_text: int = 1,
    columns: Columns = Columns(),  # noqa: B008, it is frozen
) -> Corpus:
    """Read a corpus of tagged sentences whole, and check every word of it.

    `dataset` is one of
        "auto" (the known data set `name`), or a known name ("conll2003", "wnut_17"): `$RNNZOO_DATA/<name>` where that
            variable is set, else the Hub (or its copy in the local cache);
        "made": synthetic sentences, available on every machine;
        a file, which is divided 80 : 10 : 10 (see `rnnzoo.data.division`), or a folder with such files for `train`,
            `test` and perhaps `validation` (or `valid`, `dev`, `testa`, `testb`), or with several for each:
            .parquet, .jsonl, .json, .csv, .tsv with columns for tokens and tags: lists of strings, or of numbers whose
                meaning a parquet file's ClassLabel or a `labels.json` list beside the files tells; in CSV as JSON;
            the same with columns for a text and its entities, a list of `{"start", "end", "label"}` or of
                `[start, end, label]` (named `entities`, `spans` or `label`): see `rnnzoo.data.spans`;
            .conll, .txt, .iob, .bio: a word a line, the word in the first column and its tag in the last, a blank line
                after every sentence;
        a Hub id.

    White space around a word or a tag is not part of it. The tags of all splits are in one scheme. IOB2, IOB1, IOBES
    and BILUO become IOB2, which spans count as. Types without a prefix, besides O, stay as they are ("IO"), and so do
    tags of which none is O: a class for each word. `Corpus.scheme` says which.

    Where there is no validation split, a fifth of train becomes one; with `validation_fraction`, that share of train
    and validation together; drawn by `seed`. Local files are read again every time.

    `unlabelled` names further sentences, whose tags are not read: another split of the data set, a file in one of
    these formats or with a column of texts, or a .txt file with a sentence a line or a folder of such texts, split at
    white space. Those that stand in test, in validation, in train or twice are left out.

    With `sentences_per_text` above 1, so many consecutive sentences are one row, joined by line breaks, which are
    words outside of all entities. The sentences of a file should be in the order of its documents, whose ends are not
    looked for.

    Raises:
        DataError: there is no such data set, or a tagger cannot be trained on it; or a `validation_split` is given, of
            which none is recorded for a tagger's data.
    """
    check_fraction(validation_fraction)
    if unlabelled is not None and sentences_per_text > 1:
        raise DataError(
            f"sentences_per_text is {sentences_per_text} and unlabelled {unlabelled!r}, whose sentences are not "
            "joined: leave out one of them."
        )
    if validation_split is not None:
        raise DataError(
            f"validation_split is {validation_split!r}, but no validation split is recorded for a tagger's data: "
            "leave it out."
        )
    if dataset == "made":
        # Here, so that only those who use synthetic data load its grammar.
        from rnnzoo.data.synthetic.names import BANNER, TYPES, make_sentences

        columns.refuse_for_synthetic_data()
        if unlabelled is not None:
            raise DataError(
                f"unlabelled is {unlabelled!r}: the synthetic data (--dataset made) has no sentences besides the "
                "labelled ones, and real ones do not go with it. Leave unlabelled out, or name another data set."
            )
        splits = {name: joined(rows, sentences_per_text) for name, rows in make_sentences(seed=0).items()}
        splits = with_validation(splits, validation_fraction, seed=seed)
        source = "made by this project (not CoNLL-2003)"
        return Corpus(
            "made",
            source,
            schemes.labels(TYPES),
            splits,
            banner=BANNER,
            scheme="IOB2",
            sentences_per_text=sentences_per_text,
        )

    there, found = _open(name, dataset, columns, lazy=False)
    checked = _checked(found, columns)
    held = {split: list(read()) for split, read in checked.items()}
    # Of all splits, because a small one may lack the places in which schemes differ.
    tagging = _Tagging(row["tags"] for row in chain(*held.values()))
    if sentences_per_text > 1 and tagging.scheme is None:
        raise DataError(
            f"sentences_per_text is {sentences_per_text}, but every word of {there.source} has a class and none is "
            "outside (O), as a line break between two sentences is: leave it out."
        )
    # Joined before any are drawn for another split, which would tear neighbours apart.
    splits = {
        split: joined(_in_memory(rows, tagging, checked[split].split.where), sentences_per_text)
        for split, rows in held.items()
    }
    source, remarks = there.source, [*found.remarks, *tagging.remarks(), *_left_out(checked)]
    if "test" not in splits:
        splits, divided = division.divide(splits["train"], [None] * len(splits["train"]), seed, validation_fraction)
        source, remarks = source + division.IN_SOURCE, [*remarks, divided]
    else:
        splits = with_validation(splits, validation_fraction, seed=seed)
    tagging.check_train(set(chain.from_iterable(splits["train"]["tags"][:])), there.source)
    overlap = Overlap(_lines(splits["test"]))
    for line in _lines(splits["train"]):
        overlap.see(line)
    remarks += overlap.remarks()
    splits, others = DatasetDict(splits), None
    if unlabelled is not None:
        others, of_others = without_labels(there, unlabelled, _LAYOUT, columns, splits, check_sentence)
        remarks += of_others
    return Corpus(
        there.name,
        source,
        tagging.labels,
        splits,
        scheme=tagging.scheme,
        remarks=remarks,
        unlabelled=others,
        sentences_per_text=sentences_per_text,
    )


def stream(
    name: str,
    dataset: str = "auto",
    *,
    seed: int,
    most: int | None = None,
    columns: Columns = Columns(),  # noqa: B008, it is frozen
) -> Corpus:
    """Open the corpus that `load` reads, to read its training split lazily: the first `most` rows, again every pass.

    A first pass over the tags finds their scheme and the labels: those of the sentences that are read. Where there is
    no validation split, one sentence in twenty of the first 100,000 of train is held out, drawn by `seed`.

    Raises:
        DataError: there is no such data set, or a tagger cannot be trained on it. Files that change during the run
            are noticed when they are read.
    """
    if dataset == "made":
        raise DataError("Synthetic data (--dataset made) is in memory anyway: leave out --streaming.")
    there, found = _open(name, dataset, columns, lazy=True)
    checked = _checked(found, columns)
    read: Pass = checked["train"]
    held = {split: list(rows()) for split, rows in checked.items() if split != "train"}
    where = {split: rows.split.where for split, rows in checked.items()}
    source, remarks = there.source, []
    if "test" not in held:
        read, held, divided = division.divide_lazily(read, lambda row: None, seed)
        source, remarks = source + division.IN_SOURCE, [divided]
    if "validation" not in held:
        held["validation"], read = set_apart(read, seed, there.source)
    seen, overlap = set(), Overlap(" ".join(row["tokens"]) for row in held["test"])

    def first_pass() -> Iterator[list[str]]:
        for row in islice(read(), most):
            seen.update(row["tags"])
            overlap.see(" ".join(row["tokens"]))
            yield row["tags"]

    tagging = _Tagging(chain(first_pass(), (row["tags"] for rows in held.values() for row in rows)))
    tagging.check_train(seen, there.source)
    splits = {
        # A row that was held out has the number that it has in train.
        split: _in_memory(held[split], tagging, where.get(split, where["train"]))
        for split in ("validation", "test")
    }
    remarks = [*found.remarks, *tagging.remarks(), *_left_out(checked), *remarks, *overlap.remarks()]
    read = partial(_pass, read, most, tagging, where["train"])
    return Corpus(
        there.name, source, tagging.labels, DatasetDict(splits), read, scheme=tagging.scheme, remarks=remarks
    )


def joined(rows: Dataset, sentences_per_text: int) -> Dataset:
    """So many consecutive sentences of `tokens` and `tags` as one row, with a line break between two."""
    if sentences_per_text == 1:
        return rows
    found = {"tokens": [], "tags": []}
    for start in range(0, len(rows), sentences_per_text):
        part = rows[start : start + sentences_per_text]
        for name, between in (("tokens", LINE_BREAK), ("tags", OUTSIDE)):
            found[name].append([word for row in part[name] for word in (*row, between)][:-1])
    return Dataset.from_dict(found, features=_FEATURES)


def _lines(rows: Dataset) -> Iterator[str]:
    """The sentences of rows, whether or not they were joined."""
    for words in rows["tokens"]:
        yield from " ".join(words).split(f" {LINE_BREAK} ")


def first(dataset: str, columns: Columns) -> Row:
    """The first complete example, which tells whether a data set holds tagged sentences.

    Raises:
        DataError: it does not, or there is no such data set.
    """
    _, found = _open("", dataset, columns, lazy=True)
    return next(_checked(found, replace(columns, drop_incomplete=True))["train"]())


def _open(name: str, dataset: str, columns: Columns, *, lazy: bool) -> tuple[Place, Found]:
    there = place(dataset, default=name)
    return there, splits_at(there, _LAYOUT, columns, lazy=lazy)


# ---- what a sentence must be ----


def _checked(found: Found, columns: Columns) -> dict[str, Checked]:
    return {
        split: Checked(
            rows, partial(_numbered, names=_names(rows, found.listed)), drop_incomplete=columns.drop_incomplete
        )
        for split, rows in found.splits.items()
    }


def _names(split: Split, listed: Sequence[str] | None) -> Sequence[str] | None:
    """What the numbers of a split mean."""
    feature = getattr(split.features.get(TAGS), "feature", None)
    return feature.names if isinstance(feature, ClassLabel) else listed


def _numbered(row: Row, number: int, names: Sequence[str] | None) -> Row:
    words, tags = sentence(row, names)
    return {"tokens": words, "tags": tags, "number": number}


def sentence(row: Row, names: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The words of a row and their tags, without the white space around them; `names` are those of numbers.

    Raises:
        Incomplete: it has no words, no tags or no entities column.
        BadRow: it has not one tag for each word, or spans that are none of its text.
    """
    words, tags = _spanned(row) if SPANS.name in row else _tagged(row, names)
    if not words:
        raise Incomplete("words")
    return words, tags


def _spanned(row: Row) -> tuple[list[str], list[str]]:
    text, spans = row[TEXT.name], row[SPANS.name]
    for role in (TEXT, SPANS):
        if row[role.name] is None:
            raise Incomplete(role.name)
    if not isinstance(text, str) or not isinstance(spans, list):
        raise BadRow(
            f"has the text {text!r:.60} and the entities {spans!r:.60}. They must be a string, and a list of spans "
            'such as {"start": 0, "end": 3, "label": "LOC"} (in CSV: that list as JSON).'
        )
    if row.get(ANSWER.name) not in (None, "accept"):  # Prodigy keeps what its annotators rejected
        raise BadRow(f"has the answer {row[ANSWER.name]!r:.60}, which is not 'accept'. Leave it out.")
    return words_and_tags(text, spans)


def _tagged(row: Row, names: Sequence[str] | None) -> tuple[list[str], list[str]]:
    words, tags = row[TOKENS.name], row[TAGS.name]
    for role in (TOKENS, TAGS):
        if row[role.name] is None:
            raise Incomplete(role.name)
    if not _is_list_of(words, str) or not (_is_list_of(tags, str) or _is_list_of(tags, int)):
        raise BadRow(
            f"has the tokens {words!r:.60} and the ner_tags {tags!r:.60}. They must be lists: the words as strings, "
            "and a tag for each of them, strings such as 'B-LOC' or the numbers of names."
        )
    if len(words) != len(tags):
        raise BadRow(f"has {len(words)} tokens, but {len(tags)} tags. Give every word one tag.")
    # White space around a word would not survive in a text of words joined by spaces, which is what is served.
    clean = [word and word.strip() for word in words]
    for position, (word, tag) in enumerate(zip(clean, tags, strict=True)):
        if not word:
            raise BadRow(f"has {words[position]!r} for its word {position}. Leave it out, and its tag with it.")
        if tag is None or tag == "":
            raise BadRow(f"has no tag ({tag!r}) for its word {position}, {word!r:.60}. Fill it in.")
    return clean, _named(tags, names)


def _is_list_of(held: Any, kind: type) -> bool:
    return isinstance(held, list) and {*map(type, held)} <= {kind, type(None)}


def _named(tags: list[str] | list[int], names: Sequence[str] | None) -> list[str]:
    """Tags as strings."""
    if not tags or isinstance(tags[0], str):
        return [tag.strip() for tag in tags]
    if names is None:
        raise BadRow(
            "has numbers for its tags, and nothing says what they mean. List their names in the order of the numbers "
            'in labels.json beside the files, such as ["O", "B-LOC", "I-LOC"], or write the tags themselves.'
        )
    for word, number in enumerate(tags):
        if not 0 <= number < len(names):
            raise BadRow(
                f"has the tag {number} for its word {word} (counted from 0), but there are {len(names)} "
                f"({shown(names)}), numbered 0 to {len(names) - 1}. Correct it, or the list of names."
            )
    return [names[number] for number in tags]


def _left_out(checked: dict[str, Checked]) -> list[str]:
    return [remark for rows in checked.values() for remark in rows.remarks()]


# ---- schemes ----


class _Tagging:
    """How the tags of all sentences are written, and a tagger's labels for them, found in one pass.

    Attributes:
        written: the scheme of the files.
        scheme: that of the corpus, see `Corpus.scheme`.
        labels: of the corpus.
    """

    def __init__(self, sentences: Iterable[list[str]]):
        seen = set()

        def noted() -> Iterator[list[str]]:
            for tags in sentences:
                seen.update(tags)
                yield tags

        self.written = schemes.guess(noted())
        tags = seen - {OUTSIDE}
        if not tags or any(map(schemes.has_prefix, tags)):
            self.scheme, self.labels = "IOB2", schemes.labels({tag[2:] for tag in tags} - {""})
        elif OUTSIDE in seen:
            self.scheme, self.labels = "IO", [OUTSIDE, *sorted(tags)]
        else:
            self.scheme, self.labels = None, sorted(tags)

    def convert(self, tags: list[str], where: str) -> list[str]:
        """The tags of a sentence as the corpus has them.

        Raises:
            DataError: one is not a label, or not in its place.
        """
        if self.scheme == "IOB2":
            tags = schemes.convert(tags, self.written, "IOB2", where)
        if unknown := sorted(set(tags) - set(self.labels)):
            raise DataError(
                f"A word of {where} has the tag {unknown[0]!r}, which did not occur when "
                f"the labels were collected ({shown(self.labels)}): the data set was changed during the run. Leave it "
                "as it is until the run has finished, and start again."
            )
        return tags

    def check_train(self, seen: set[str], source: str) -> None:
        """Refuses a training split, all of whose tags were `seen`, from which nothing can be learned."""
        if self.scheme and seen == {OUTSIDE}:
            raise DataError(
                f"No word of the train split ({source}) belongs to an entity: there is nothing to learn. Check how "
                "the tags were written, and that all of the split is there."
            )
        if len(seen) == 1:
            raise DataError(
                f"All words of the train split ({source}) have the tag {next(iter(seen))!r}: there is nothing to tell "
                "apart. Check how the tags were written, and that all of the split is there."
            )

    def remarks(self) -> list[str]:
        """What the user should know of the tags."""
        if self.scheme is None:
            return [f"Tags: a class for each word, with no O for words outside ({shown(self.labels)})."]
        if self.scheme == "IO":
            return [
                f"Tags: types of entities without a prefix ({shown(self.labels)}), so that adjacent entities of one "
                "type count as one."
            ]
        return [f"Tags: {self.written}, read as IOB2."] if self.written != "IOB2" else []


def _in_memory(rows: Iterable[Row], tagging: _Tagging, where: str) -> Dataset:
    return Dataset.from_list(list(_converted(rows, tagging, where)), features=_FEATURES)


def _converted(rows: Iterable[Row], tagging: _Tagging, where: str) -> Iterator[Row]:
    for row in rows:
        yield {"tokens": row["tokens"], "tags": tagging.convert(row["tags"], f"row {row['number']} of {where}")}


def _pass(read: Pass, most: int | None, tagging: _Tagging, where: str) -> Iterator[Row]:
    """The first `most` sentences."""
    return _converted(islice(read(), most), tagging, where)
