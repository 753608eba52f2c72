"""Corpora of tagged sentences: tags of any scheme, by number or by name, in one form; labels; validation splits."""

from collections import Counter
from itertools import accumulate, islice

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from rnnzoo.data import schemes, sentences
from rnnzoo.data.errors import DataError, RecipeError
from rnnzoo.data.synthetic.names import BANNER, make_sentences
from tests.support.data_files import sentences as rows
from tests.support.data_files import write


TOKENS = [["Anna", "lives", "in", "New", "York"], ["Bonn"], ["Nobody", "is", "here"], ["café\xa0no.\x857", "👍"]]
TAGS = [["B-PER", "O", "O", "B-LOC", "I-LOC"], ["B-LOC"], ["O", "O", "O"], ["B-ORG", "O"]]
NAMES = ["O", "I-PER", "B-PER", "B-ORG", "I-ORG", "I-LOC", "B-LOC", "B-never-seen"]
NUMBERS = [[NAMES.index(tag) for tag in row] for row in TAGS]
LABELS = ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
GOOD = {"tokens": TOKENS, "ner_tags": TAGS}
SENTENCES = {"tokens": TOKENS, "tags": TAGS}
NOTHING = {"tokens": [["no"]], "ner_tags": [["O"]]}


def load(folder, **options):
    return sentences.load("conll2003", str(folder), **{"seed": 0} | options)


def stream(folder, **options):
    return sentences.stream("conll2003", str(folder), **{"seed": 0} | options)


def refused(folder, message, reads=(load, stream), **options):
    for read in reads:
        with pytest.raises(RecipeError, match=message) as caught:
            corpus = read(folder, **options)
            list(corpus.read())
        assert "\n" not in str(caught.value)


def alike(folder):
    """The corpus of a folder, which reads the same lazily, at every pass."""
    corpus, lazy = load(folder), stream(folder)
    assert (lazy.name, lazy.source, lazy.labels) == (corpus.name, corpus.source, corpus.labels)
    for _ in range(2):
        assert list(lazy.read()) == list(corpus.splits["train"])
    for split in ("validation", "test"):
        assert lazy.splits[split].to_dict() == corpus.splits[split].to_dict()
        assert lazy.splits[split].features == corpus.splits[split].features
    return corpus


# ---- tags ----


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint8()])
def test_numbers_are_named_by_labels_json(tmp_path, kind):
    columns = {
        "ner_tags": pa.array(NUMBERS, pa.large_list(kind)),
        "tokens": pa.array(TOKENS, pa.list_(pa.large_string())),
    }
    corpus = alike(write(tmp_path / "mine", labels=NAMES, train=columns, test=columns, validation=columns))
    features = Features({"tokens": List(Value("string")), "tags": List(Value("string"))})
    assert corpus.labels == LABELS
    assert all(part.to_dict() == SENTENCES and part.features == features for part in corpus.splits.values())


def test_numbers_are_named_by_each_file_itself(tmp_path):
    """By name, never by number: splits may number differently, and labels.json is for files that store no names."""
    for split, names in {"train": NAMES, "validation": NAMES[::-1], "test": None}.items():
        kind = Value("int64") if names is None else ClassLabel(names=names)
        features = Features({"tokens": List(Value("string")), "ner_tags": List(kind)})
        columns = {"tokens": TOKENS, "ner_tags": [[(names or LABELS).index(tag) for tag in row] for row in TAGS]}
        Dataset.from_dict(columns, features=features).to_parquet(tmp_path / f"{split}.parquet")
    write(tmp_path, labels=LABELS)
    assert all(part.to_dict() == SENTENCES for part in alike(tmp_path).splits.values())


@pytest.mark.parametrize("scheme", schemes.SCHEMES)
@pytest.mark.parametrize("suffix", ["parquet", "conll"])
def test_any_scheme_becomes_iob2(tmp_path, scheme, suffix):
    train = {"tokens": [*TOKENS, ["New", "York", "Paris"]], "ner_tags": [*TAGS, ["B-LOC", "I-LOC", "B-LOC"]]}
    written = train | {"ner_tags": [schemes.convert(row, "IOB2", scheme) for row in train["ner_tags"]]}
    # In test alone no scheme could be told from another.
    splits = alike(write(tmp_path / "mine", suffix, train=written, validation=written, test=NOTHING)).splits
    assert splits["train"]["tags"][:] == splits["validation"]["tags"][:] == train["ner_tags"]


def test_splits_must_be_written_in_one_scheme(tmp_path):
    test = {"tokens": [["in", "Bonn"]], "ner_tags": [["O", "S-LOC"]]}
    folder = write(tmp_path / "mine", train=GOOD, validation=GOOD, test=test)
    refused(folder, "Word 1 of row 0 of the test split .* where IOB2 has 'B-LOC'")


def test_labels_are_those_of_the_sentences_that_are_read(tmp_path):
    test = {"tokens": [["Xmas"]], "ner_tags": [["B-DATE"]]}
    folder = write(tmp_path / "mine", train=GOOD, validation=NOTHING, test=test)
    assert alike(folder).labels == schemes.labels(["DATE", "LOC", "ORG", "PER"])
    some = stream(folder, most=2)
    assert some.labels == schemes.labels(["DATE", "LOC", "PER"])
    assert [row["tokens"] for row in some.read()] == TOKENS[:2]


def test_a_tag_that_comes_later_is_named(tmp_path):
    folder = write(tmp_path / "mine", "conll", train=GOOD, validation=GOOD, test=GOOD)
    found = stream(folder)
    with (folder / "train.conll").open("a") as file:
        file.write("\nXmas NN I-NP B-DATE\n")
    with pytest.raises(
        DataError, match=r"^A word of row 4 of the train split \(folder mine\) has the tag 'B-DATE', .*O, B-"
    ):
        list(found.read())


def test_a_row_of_tags_and_spans_is_read_by_its_tags(tmp_path):
    both = {"tokens": ["in", "Bonn"], "ner_tags": ["O", "B-LOC"], "text": "in Bonn", "entities": [[0, 2, "ORG"]]}
    corpus = alike(write(tmp_path / "mine", "jsonl", train=[both] * 9, validation=[both], test=[both]))
    assert corpus.splits["test"]["tags"][:] == [["O", "B-LOC"]]


def test_a_split_for_training_has_an_entity(tmp_path):
    folder = write(
        tmp_path / "mine", train=GOOD | {"ner_tags": [["O"] * len(row) for row in TAGS]}, validation=GOOD, test=GOOD
    )
    refused(folder, "No word of the train split .* entity")
    # One sentence of three goes to validation: with some seed, the only one that has an entity.
    train = {"tokens": TOKENS[1:3] + [["no"]], "ner_tags": [["B-LOC"], *TAGS[2:3], ["O"]]}
    seed = next(
        seed
        for seed in range(20)
        if Dataset.from_dict(train).train_test_split(test_size=0.2, seed=seed)["test"]["tokens"][:] == [["Bonn"]]
    )
    refused(write(tmp_path / "few", train=train, test=GOOD), "No word of the train split", [load], seed=seed)


# ---- validation splits ----


def test_the_validation_split_is_a_function_of_the_seed(tmp_path):
    folder = write(tmp_path / "mine", train=rows(100), test=rows(2))
    splits = load(folder, seed=1).splits
    assert {split: len(part) for split, part in splits.items()} == {"train": 80, "validation": 20, "test": 2}
    both = [row for split in ("train", "validation") for row in splits[split]["tokens"]]
    assert sorted(both) == sorted(rows(100)["tokens"])
    again, other = load(folder, seed=1).splits, load(folder, seed=2).splits
    assert {split: part.to_dict() for split, part in again.items()} == {s: p.to_dict() for s, p in splits.items()}
    assert sorted(other["validation"]["tokens"][:]) != sorted(splits["validation"]["tokens"][:])
    assert len(load(folder, validation_fraction=0.5).splits["validation"]) == 50
    short = write(tmp_path / "short", train=rows(1), test=GOOD)
    refused(short, "No validation split can be drawn from the 1 rows of train, 0.2 of all", [load])


def test_a_stream_holds_one_sentence_in_twenty_out(tmp_path):
    train = rows(400) | {"ner_tags": [["I-LOC", "O"]] * 399 + [["O", "I-LOC"]]}  # IOB1, seen in train alone
    folder = write(tmp_path / "mine", "conll", train=train, test=NOTHING)
    found = stream(folder, seed=1)
    held_out, others = found.splits["validation"]["tokens"][:], [row["tokens"] for row in found.read()]
    assert sorted(held_out + others) == sorted(train["tokens"]) and 5 < len(held_out) < 40
    assert {tag for row in [*found.splits["validation"], *found.read()] for tag in row["tags"]} == {"B-LOC", "O"}
    assert held_out == stream(folder, seed=1).splits["validation"]["tokens"][:]
    assert held_out != stream(folder, seed=2).splits["validation"]["tokens"][:]


# ---- synthetic and real data ----


def test_synthetic_sentences_come_with_their_warning():
    corpus = load("made", seed=3)
    assert (corpus.name, corpus.source, corpus.banner) == ("made", "made by this project (not CoNLL-2003)", BANNER)
    assert {split: part.to_dict() for split, part in corpus.splits.items()} == {
        split: part.to_dict() for split, part in make_sentences(seed=0).items()
    }
    found = {kind for part in corpus.splits.values() for row in part["tags"] for kind, _, _ in schemes.entities(row)}
    assert corpus.labels == schemes.labels(found)
    refused("made", "in memory anyway: leave out --streaming", [stream])


@pytest.mark.realdata
def test_wnut_17(real_data):
    sizes = {split: len(part) for split, part in sentences.load("conll2003", "wnut_17", seed=0).splits.items()}
    assert sizes == {"train": 3394, "validation": 1009, "test": 1287}


def spans_of(row):
    """A sentence as annotation tools export it: its text, and spans of characters for its entities."""
    starts = list(accumulate((len(word) + 1 for word in row["tokens"]), initial=0))
    spans = [
        {"start": starts[first], "end": starts[after] - 1, "label": kind}
        for kind, first, after in schemes.entities(row["tags"])
    ]
    return {"text": " ".join(row["tokens"]), "entities": spans}


@pytest.mark.realdata
@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_wnut_17_written_as_spans_is_wnut_17(real_data, tmp_path, suffix):
    """All of it: no word of its sentences has white space in it."""
    corpus = sentences.load("conll2003", "wnut_17", seed=0)
    write(tmp_path / "mine", suffix, **{split: list(map(spans_of, rows)) for split, rows in corpus.splits.items()})
    spans = alike(tmp_path / "mine")
    assert spans.labels == corpus.labels and spans.scheme == corpus.scheme == "IOB2"
    for split, part in corpus.splits.items():
        assert spans.splits[split].to_dict() == part.to_dict()


@pytest.mark.realdata
def test_conll2003(real_data):
    corpus = sentences.load("conll2003", seed=0)
    assert {split: len(part) for split, part in corpus.splits.items()} == {
        "train": 14041,
        "validation": 3250,
        "test": 3453,
    }
    assert corpus.labels == ["O", "B-LOC", "I-LOC", "B-MISC", "I-MISC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
    counts = {
        split: Counter(kind for row in part["tags"] for kind, _, _ in schemes.entities(row))
        for split, part in corpus.splits.items()
    }
    assert counts == {
        "train": {"LOC": 7140, "MISC": 3438, "ORG": 6321, "PER": 6600},
        "validation": {"LOC": 1837, "MISC": 922, "ORG": 1341, "PER": 1842},
        "test": {"LOC": 1668, "MISC": 702, "ORG": 1661, "PER": 1617},
    }
    lazy = sentences.stream("conll2003", seed=0)
    assert list(islice(lazy.read(), 500)) == list(corpus.splits["train"].select(range(500)))
