"""recipes.tagged: every source read for real into one form, every fault in a sentence named before any work."""

import json
import os
import tracemalloc
from collections import Counter

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from rnnzoo.data import schemes as tags
from rnnzoo.data import sentences as tagged
from rnnzoo.data import texts as data
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.synthetic import names as made_names


# Kept here, because the tests take it out of the environment.
REAL_DATA = os.environ.get("RNNZOO_DATA", "")


@pytest.fixture(autouse=True)
def no_data_no_hub(monkeypatch):
    """Every test starts on a machine without data; both libraries read the variable at import only."""
    monkeypatch.delenv("RNNZOO_DATA", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


TOKENS = [["Anna", "lives", "in", "New", "York"], ["Bonn"], ["Nobody", "is", "here"], ["café\xa0no.\x857", "👍"]]
TAGS = [["B-PER", "O", "O", "B-LOC", "I-LOC"], ["B-LOC"], ["O", "O", "O"], ["B-ORG", "O"]]
NAMES = ["O", "I-PER", "B-PER", "B-ORG", "I-ORG", "I-LOC", "B-LOC", "B-never-seen"]
NUMBERS = [[NAMES.index(tag) for tag in row] for row in TAGS]
LABELS = ["O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
GOOD = {"tokens": TOKENS, "ner_tags": TAGS}
SENTENCES = {"tokens": TOKENS, "tags": TAGS}


def rows(count):
    return {"tokens": [[f"word{i}", "is"] for i in range(count)], "ner_tags": [["B-LOC", "O"]] * count}


def write(folder, suffix="parquet", **splits):
    folder.mkdir(exist_ok=True)
    for split, columns in splits.items():
        path = folder / f"{split}.{suffix}"
        if suffix == "parquet":
            pq.write_table(pa.table(columns), path)
        elif suffix == "jsonl":
            lines = [json.dumps(row) + "\n" for row in pa.table(columns).to_pylist()]
            path.write_text("".join(lines), encoding="utf-8")
        else:
            path.write_bytes(conll(columns["tokens"], columns["ner_tags"]).encode())
    return folder


def conll(tokens, ner_tags, apart=" ", end="\n"):
    """A column file with four columns."""
    sentences = [
        "".join(f"{apart.join([word, 'NN', 'I-NP', tag])}{end}" for word, tag in zip(words, row, strict=True))
        for words, row in zip(tokens, ner_tags, strict=True)
    ]
    return f"-DOCSTART- -X- -X- O{end}{end}" + end.join(sentences)


def load(folder, **kwargs):
    return tagged.load(str(folder), **{"seed": 0} | kwargs)


def refused(folder, message, **kwargs):
    with pytest.raises(RecipeError, match=message) as caught:
        load(folder, **kwargs)
    assert "\n" not in str(caught.value)


# ---- sources ----


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "conll", "txt", "iob", "bio"])
def test_folder(tmp_path, suffix):
    corpus = load(write(tmp_path / "mine", suffix, train=GOOD, validation=rows(2), test=rows(3), other=rows(4)))
    assert (corpus.name, corpus.source, corpus.labels) == ("mine", "folder mine", LABELS)
    assert list(corpus.splits) == ["train", "validation", "test"]
    assert {split: len(part) for split, part in corpus.splits.items()} == {"train": 4, "validation": 2, "test": 3}
    assert corpus.splits["train"].to_dict() == SENTENCES
    features = Features({"tokens": List(Value("string")), "tags": List(Value("string"))})
    assert all(part.features == features for part in corpus.splits.values())


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint8()])
def test_numbers_are_named_by_labels_json(tmp_path, kind):
    columns = {
        "id": [7, 8, 9, 10],
        "ner_tags": pa.array(NUMBERS, pa.large_list(kind)),
        "tokens": pa.array(TOKENS, pa.list_(pa.large_string())),
    }
    folder = write(tmp_path, train=columns, test=columns, validation=columns)
    (folder / "labels.json").write_text(json.dumps(NAMES))
    corpus = load(folder)
    assert corpus.labels == LABELS
    assert all(part.to_dict() == SENTENCES for part in corpus.splits.values())


def test_numbers_are_named_by_each_file_itself(tmp_path):
    """By name, never by number: the splits may count differently."""
    for split, names in {"train": NAMES, "test": NAMES[::-1]}.items():
        features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))})
        columns = {"tokens": TOKENS * 2, "ner_tags": [[names.index(tag) for tag in row] for row in TAGS * 2]}
        Dataset.from_dict(columns, features=features).to_parquet(tmp_path / f"{split}.parquet")
    assert load(tmp_path).splits["test"].to_dict() == {"tokens": TOKENS * 2, "tags": TAGS * 2}


@pytest.mark.parametrize("scheme", tags.SCHEMES)
@pytest.mark.parametrize("suffix", ["parquet", "conll"])
def test_any_scheme_becomes_iob2(tmp_path, scheme, suffix):
    neighbours = [["B-LOC", "I-LOC", "B-LOC"]]
    train = {"tokens": [*TOKENS, ["New", "York", "Paris"]], "ner_tags": TAGS + neighbours}
    written = train | {"ner_tags": [tags.convert(row, "IOB2", scheme) for row in train["ner_tags"]]}
    # In test alone no scheme could be told from another.
    nothing = {"tokens": [["no"]], "ner_tags": [["O"]]}
    splits = load(write(tmp_path, suffix, train=written, validation=written, test=nothing)).splits
    assert splits["train"]["tags"][:] == splits["validation"]["tags"][:] == train["ner_tags"]


def test_labels_are_those_of_all_splits(tmp_path):
    test = {"tokens": [["Xmas"]], "ner_tags": [["B-DATE"]]}
    assert load(write(tmp_path, train=GOOD, validation=GOOD, test=test)).labels == tags.labels(
        ["DATE", "LOC", "ORG", "PER"]
    )


@pytest.mark.parametrize("apart, end", [(" ", "\n"), ("\t", "\r\n"), ("  \t", " \n")])
def test_column_files_as_they_come(tmp_path, apart, end):
    text = conll(TOKENS, TAGS, apart, end)
    (tmp_path / "train.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    # Documents that nothing but DOCSTART parts, many blank lines, and none at the end.
    (tmp_path / "testb.txt").write_bytes((text + text.replace(end * 2, end, 1) + end * 3 + text.rstrip()).encode())
    (tmp_path / "README.md").write_text("mine")
    splits = load(tmp_path, validation_fraction=0.5).splits
    assert splits["test"].to_dict() == {"tokens": TOKENS * 3, "tags": TAGS * 3}
    assert sorted(row for split in ("train", "validation") for row in splits[split]["tokens"]) == sorted(TOKENS)


@pytest.mark.parametrize("validation", ["validation", "valid", "dev", "testa"])
@pytest.mark.parametrize("test", ["test", "testb"])
def test_names_of_splits(tmp_path, validation, test):
    write(tmp_path, "conll", train=GOOD, **{validation: rows(2), test: rows(3)})
    assert {split: len(part) for split, part in load(tmp_path).splits.items()} == {
        "train": 4,
        "validation": 2,
        "test": 3,
    }


def test_known_names_take_rnnzoo_data(tmp_path, monkeypatch):
    write(tmp_path / "conll2003", train=GOOD, validation=GOOD, test=GOOD)
    write(tmp_path / "wnut_17", train=rows(10), test=GOOD)
    monkeypatch.setenv("RNNZOO_DATA", str(tmp_path))
    for dataset, name in {"auto": "conll2003", "conll2003": "conll2003", "wnut_17": "wnut_17"}.items():
        corpus = tagged.load(dataset, seed=0)
        assert (corpus.name, corpus.source) == (name, f"$RNNZOO_DATA/{name}")
        assert corpus.splits["test"].to_dict() == SENTENCES
    assert tagged.load(seed=0).name == "conll2003"


def test_rnnzoo_data_without_the_set_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("RNNZOO_DATA", str(tmp_path))
    for dataset, name in {"auto": "conll2003", "wnut_17": "wnut_17"}.items():
        with pytest.raises(data.DataError, match=f"no folder '{name}' in it.*--dataset made"):
            tagged.load(dataset, seed=0)


@pytest.mark.parametrize("dataset", ["auto", "wnut_17", "nobody/nothing"])
def test_without_data_the_made_set_is_named(dataset):
    hub_id = {"auto": "eriktks/conll2003", "wnut_17": "leondz/wnut_17"}.get(dataset, dataset)
    with pytest.raises(data.DataError, match=f"'{hub_id}' is neither a folder here, .*--dataset made"):
        tagged.load(dataset, seed=0)


def test_the_hub_is_asked_once_and_for_files(monkeypatch):
    asked = []

    class Hub:
        def dataset_info(self, hub_id, revision, timeout):
            asked.append((hub_id, revision))

    def load_dataset(hub_id, revision, streaming):
        asked.append((hub_id, revision))
        features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=NAMES))})
        part = Dataset.from_dict({"tokens": TOKENS, "ner_tags": NUMBERS}, features=features)
        part = part.to_iterable_dataset() if streaming else part
        return {split: part for split in ("test", "train", "validation", "other")}

    monkeypatch.setattr(data, "HfApi", Hub)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for dataset, name, hub_id, revision in (
        ("auto", "conll2003", "eriktks/conll2003", "refs/convert/parquet"),
        ("wnut_17", "wnut_17", "leondz/wnut_17", "refs/convert/parquet"),
        ("some/one", "some/one", "some/one", None),
    ):
        asked.clear()
        corpus = tagged.load(dataset, seed=0)
        assert asked == [(hub_id, revision)] * 2
        assert (corpus.name, corpus.source, corpus.labels) == (name, f"Hub: {hub_id}", LABELS)
        assert corpus.splits["validation"].to_dict() == SENTENCES
        asked.clear()
        streamed = tagged.stream(dataset, seed=0)
        assert asked == [(hub_id, revision)] * 2
        same(streamed, corpus)


def test_made():
    corpus = tagged.load("made", seed=3)
    assert (corpus.name, corpus.source) == ("made", "made by this project (not CoNLL-2003)")
    assert list(corpus.splits) == ["train", "validation", "test"]
    assert {split: part.to_dict() for split, part in corpus.splits.items()} == {
        split: part.to_dict() for split, part in made_names.make_sentences(seed=0).items()
    }
    found = {kind for part in corpus.splits.values() for row in part["tags"] for kind, _, _ in tags.entities(row)}
    assert corpus.labels == tags.labels(found)


def test_changed_files_are_read_anew(tmp_path):
    folder = write(tmp_path, "conll", train=GOOD, test=rows(2))
    assert len(load(folder).splits["test"]) == 2
    assert len(load(write(folder, "conll", test=rows(3))).splits["test"]) == 3


# ---- streams ----


def same(streamed, corpus):
    """Whether a stream gives what is loaded as a whole, at every pass."""
    assert (streamed.name, streamed.source, streamed.labels) == (corpus.name, corpus.source, corpus.labels)
    for _ in range(2):
        assert list(streamed.read()) == list(corpus.splits["train"])
    for split in ("validation", "test"):
        assert streamed.splits[split].to_dict() == corpus.splits[split].to_dict()
        assert streamed.splits[split].features == corpus.splits[split].features


@pytest.mark.parametrize("scheme", tags.SCHEMES)
@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "conll"])
def test_a_stream_has_the_sentences_that_would_be_loaded(tmp_path, suffix, scheme):
    neighbours = {"tokens": [["New", "York", "Paris"]], "ner_tags": [["B-LOC", "I-LOC", "B-LOC"]]}
    train = {column: GOOD[column] + neighbours[column] for column in GOOD}
    written = train | {"ner_tags": [tags.convert(row, "IOB2", scheme) for row in train["ner_tags"]]}
    # In test alone no scheme could be told from another.
    test = {"tokens": [["no", "Xmas"]], "ner_tags": [["O", "B-DATE" if scheme == "IOB2" else "O"]]}
    folder = write(tmp_path / "mine", suffix, train=written, testa=written, test=test)
    if suffix != "conll":
        (folder / f"testa.{suffix}").rename(folder / f"dev.{suffix}")
    same(tagged.stream(str(folder), seed=0), load(folder))


def test_a_stream_names_numbers_as_each_file_does(tmp_path):
    for split, names in {"train": NAMES, "validation": NAMES[::-1], "test": None}.items():
        kind = Value("int64") if names is None else ClassLabel(names=names)
        features = Features({"tokens": List(Value("string")), "ner_tags": List(kind)})
        columns = {"tokens": TOKENS, "ner_tags": [[(names or LABELS).index(tag) for tag in row] for row in TAGS]}
        Dataset.from_dict(columns, features=features).to_parquet(tmp_path / f"{split}.parquet")
    (tmp_path / "labels.json").write_text(json.dumps(LABELS))
    same(tagged.stream(str(tmp_path), seed=0), load(tmp_path))
    numbers = {"tokens": TOKENS, "ner_tags": NUMBERS}
    folder = write(tmp_path / "other", "jsonl", train=numbers, validation=numbers, test=numbers)
    (folder / "labels.json").write_text(json.dumps(NAMES))
    same(tagged.stream(str(folder), seed=0), load(folder))


def test_of_a_stream_one_sentence_in_twenty_is_set_apart(tmp_path):
    train = rows(400) | {"ner_tags": [["I-LOC", "O"]] * 399 + [["O", "I-LOC"]]}  # IOB1, seen in train alone
    folder = write(tmp_path / "mine", "conll", train=train, test={"tokens": [["no"]], "ner_tags": [["O"]]})
    found = tagged.stream(str(folder), seed=1)
    apart, others = found.splits["validation"]["tokens"][:], [row["tokens"] for row in found.read()]
    assert sorted(apart + others) == sorted(train["tokens"]) and 5 < len(apart) < 40
    assert {tag for row in [*found.splits["validation"], *found.read()] for tag in row["tags"]} == {"B-LOC", "O"}
    assert apart == tagged.stream(str(folder), seed=1).splits["validation"]["tokens"][:]
    assert apart != tagged.stream(str(folder), seed=2).splits["validation"]["tokens"][:]


def test_a_stream_of_some_sentences_has_their_labels(tmp_path):
    nothing = {"tokens": [["no"]], "ner_tags": [["O"]]}
    folder = write(tmp_path / "mine", "jsonl", train=GOOD, validation=nothing, test=nothing)
    found = tagged.stream(str(folder), seed=0, most=2)
    assert found.labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert [row["tokens"] for row in found.read()] == TOKENS[:2]


def test_a_tag_that_comes_later_is_named(tmp_path):
    folder = write(tmp_path / "mine", "conll", train=GOOD, validation=GOOD, test=GOOD)
    found = tagged.stream(str(folder), seed=0)
    with (folder / "train.conll").open("a") as file:
        file.write("\nXmas NN I-NP B-DATE\n")
    with pytest.raises(
        data.DataError, match=r"Sentence 4 .* train split \(folder mine\) has the tag 'B-DATE', .*O, B-"
    ):
        list(found.read())


def test_a_column_file_is_read_as_it_is_needed(tmp_path):
    """A sentence at a time: what stands further on, wrong as it may be, is not looked at yet."""
    path = tmp_path / "train.conll"
    path.write_bytes(conll(TOKENS, TAGS).encode() * 2000 + b"\nlonely\n")
    sentences = tagged.READERS["conll"](path)
    tracemalloc.start()
    assert next(sentences) == {"tokens": TOKENS[0], "ner_tags": TAGS[0]}
    with pytest.raises(data.DataError, match="Line 32002 .* one column only, 'lonely'"):
        for _ in sentences:
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 400_000 and peak < 100_000


# ---- the cut ----


def test_the_cut_is_a_function_of_the_seed(tmp_path):
    folder = write(tmp_path, train=rows(100), test=rows(2))
    splits = load(folder, seed=1).splits
    assert {split: len(part) for split, part in splits.items()} == {"train": 80, "validation": 20, "test": 2}
    both = [row for split in ("train", "validation") for row in splits[split]["tokens"]]
    assert sorted(both) == sorted(rows(100)["tokens"])
    again, other = load(folder, seed=1).splits, load(folder, seed=2).splits
    assert {split: part.to_dict() for split, part in again.items()} == {s: p.to_dict() for s, p in splits.items()}
    assert sorted(other["validation"]["tokens"][:]) != sorted(splits["validation"]["tokens"][:])
    assert len(load(folder, validation_fraction=0.5).splits["validation"]) == 50


def test_a_cut_needs_sentences_and_a_fraction(tmp_path):
    folder = write(tmp_path, train=rows(1), test=GOOD)
    refused(folder, "No validation split can be cut from the 1 sentences of train, 0.2 of all")
    for fraction in (0, 1, -0.1):
        refused(folder, f"validation_fraction is {fraction}", validation_fraction=fraction)


# ---- faults ----

BAD_SPLITS = {
    "no tokens column": ({"text": ["a"], "ner_tags": [["O"]]}, "no column 'tokens' in the train split .* only: text"),
    "no tags column": ({"tokens": [["a"]], "tags": [["O"]]}, "no column 'ner_tags' in .* only: tokens, tags"),
    "no rows": ({"tokens": [], "ner_tags": []}, "no sentences in the train split"),
    "texts": ({"tokens": ["a b"], "ner_tags": [["O", "O"]]}, "'tokens' .* holds string, such as 'a b' in the first"),
    "words are numbers": ({"tokens": [[1]], "ner_tags": [["O"]]}, r"'tokens' .* holds list<.*>, such as \[1\]"),
    "tags are fractions": ({"tokens": [["a"]], "ner_tags": [[0.5]]}, r"'ner_tags' .* holds list<.*>, such as \[0.5\]"),
    "null sentence": (GOOD | {"tokens": [*TOKENS[:3], None]}, "Sentence 3 .* has no tokens"),
    "null tags": (GOOD | {"ner_tags": [*TAGS[:3], None]}, "Sentence 3 .* has no ner_tags"),
    "empty sentence": (GOOD | {"tokens": [TOKENS[0], [], *TOKENS[2:]]}, "Sentence 1 .* of the train .* has no words"),
    "empty sentence and tags": (
        {"tokens": [*TOKENS, []], "ner_tags": [*TAGS, []]},
        r"Sentence 4 \(counted from 0\) of the train split \(folder mine\) has no words",
    ),
    "fewer tags": (GOOD | {"ner_tags": [*TAGS[:3], ["O"]]}, "Sentence 3 .* has 2 tokens, but 1 tags"),
    "more tags": (GOOD | {"ner_tags": [*TAGS[:3], ["O"] * 3]}, "Sentence 3 .* has 2 tokens, but 3 tags"),
    "null word": (GOOD | {"tokens": [*TOKENS[:3], ["a", None]]}, "Sentence 3 .* has None for its word 1"),
    "empty word": (GOOD | {"tokens": [*TOKENS[:3], ["a", ""]]}, "Sentence 3 .* has '' for its word 1"),
    "blank word": (GOOD | {"tokens": [*TOKENS[:3], ["a", " "]]}, "Sentence 3 .* has ' ' for its word 1"),
    "null tag": (GOOD | {"ner_tags": [["O"] * 4 + [None], *TAGS[1:]]}, "Sentence 0 .* no tag .* its word 4, 'York'"),
    "no such tag": (
        GOOD | {"ner_tags": [*TAGS[:3], ["O", "LOC"]]},
        r"Word 1 of sentence 3 of the train split \(folder mine\) .* the tag 'LOC', which is none",
    ),
    "a tag out of place": (
        GOOD | {"ner_tags": [*TAGS[:3], ["O", "I-LOC"]]},
        "Word 1 of sentence 3 of the train .* has the tag 'I-LOC', where IOB2 has 'B-LOC'",
    ),
    "numbers without names": (GOOD | {"ner_tags": NUMBERS}, "tags of the train split .* are numbers, .* labels.json"),
    "no entities": (GOOD | {"ner_tags": [["O"] * len(row) for row in TAGS]}, "No word of the train split .* entity"),
}


@pytest.mark.parametrize("columns, message", BAD_SPLITS.values(), ids=BAD_SPLITS)
def test_bad_sentences_are_refused(tmp_path, columns, message):
    refused(write(tmp_path / "mine", train=columns, validation=GOOD, test=GOOD), message)


# A stream has rows, and no types of columns.
SAID_OF_A_STREAM = {
    "no tokens column": r"Sentence 0 \(counted from 0\) of the train split \(folder mine\) has no tokens",
    "no tags column": "Sentence 0 .* has no ner_tags",
    "no rows": "No word of the train split .* entity",
    "texts": "Sentence 0 .* has the tokens 'a b' and the ner_tags .* They must be lists",
    "words are numbers": r"Sentence 0 .* has the tokens \[1\] and",
    "tags are fractions": r"Sentence 0 .* the ner_tags \[0.5\]",
    "truths": r"Sentence 0 .* the ner_tags \[True\]",
    "both kinds of tags": r"Sentence 3 .* the ner_tags \['O', 1\]",
    "a word": "Row 1 .* is 'Bonn', and no object with columns",
}


@pytest.mark.parametrize("fault", BAD_SPLITS | SAID_OF_A_STREAM)
def test_bad_sentences_of_a_stream_are_refused(tmp_path, fault):
    folder = write(tmp_path / "mine", "jsonl", train=GOOD, validation=GOOD, test=GOOD)
    if fault in BAD_SPLITS:
        write(folder, "jsonl", train=BAD_SPLITS[fault][0])
    else:
        lines = {
            "truths": [{"tokens": ["a"], "ner_tags": [True]}],
            "both kinds of tags": [*pa.table(GOOD).to_pylist()[:3], {"tokens": ["a", "b"], "ner_tags": ["O", 1]}],
            "a word": [pa.table(GOOD).to_pylist()[0], "Bonn"],
        }[fault]
        (folder / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    message = SAID_OF_A_STREAM.get(fault) or BAD_SPLITS[fault][1]
    with pytest.raises(RecipeError, match=message) as caught:
        list(tagged.stream(str(folder), seed=0).read())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("fault", ["empty word", "fewer tags", "a tag out of place"])
def test_every_split_is_checked(tmp_path, split, fault):
    columns, message = BAD_SPLITS[fault]
    splits = {"train": GOOD, "validation": GOOD, "test": GOOD} | {split: columns}
    refused(write(tmp_path / "mine", **splits), message.replace("train", split))


def test_splits_must_be_written_in_one_scheme(tmp_path):
    test = {"tokens": [["in", "Bonn"]], "ner_tags": [["O", "S-LOC"]]}
    refused(write(tmp_path, train=GOOD, test=test), "Word 1 of sentence 0 of the test split .* where IOB2 has 'B-LOC'")


@pytest.mark.parametrize("number", [-1, 8])
def test_numbers_must_have_names(tmp_path, number):
    columns = GOOD | {"ner_tags": [*NUMBERS[:3], [0, number]]}
    (write(tmp_path, train=columns, test=columns) / "labels.json").write_text(json.dumps(NAMES))
    refused(
        tmp_path, rf"Word 1 of sentence 3 of the train .* has the tag {number}, but there are 8 \(O, I-PER, .* 0 to 7"
    )


def test_the_list_of_names_is_checked(tmp_path):
    (write(tmp_path, train=GOOD, test=GOOD) / "labels.json").write_text('{"0": "O"}')
    refused(tmp_path, "^labels.json of the folder")


def test_entities_must_be_left_after_the_cut(tmp_path):
    """One sentence of three goes to validation: with some seed, the only one that has an entity."""
    train = {"tokens": TOKENS[1:3] + [["no"]], "ner_tags": [["B-LOC"], *TAGS[2:3], ["O"]]}
    folder = write(tmp_path, train=train, test=GOOD)
    seed = next(
        seed
        for seed in range(20)
        if Dataset.from_dict(train).train_test_split(test_size=0.2, seed=seed)["test"]["tokens"][:] == [["Bonn"]]
    )
    refused(folder, "No word of the train split", seed=seed)


@pytest.mark.parametrize("missing", ["train", "test"])
def test_train_and_test_are_needed(tmp_path, missing):
    splits = {split: GOOD for split in ("train", "validation", "test") if split != missing}
    refused(write(tmp_path / "mine", "conll", **splits), f"has no {missing} split, only: ")


BAD_FILES = {
    "not UTF-8": (
        b"tea O\ncaf\xe9 O\n",
        r"^The text of the file 'test.txt' of the folder 'mine' cannot be read as UTF-8 \(line 2: Unicode",
    ),
    "one column": (b"a O\nb\n", "Line 2 of the file 'test.txt' of the folder 'mine' has one column only, 'b'"),
    "one column everywhere": (b"\nBonn\n", "Line 2 of the file 'test.txt' .* has one column only, 'Bonn'"),
    "cut short": (b"-DOCSTART- -X- O\n\na NN O\nb NN", "Line 4 of the file .* has 2 columns where line 3 has 3"),
    "a word with a space": (b"a\tO\nNew York\tB-LOC\n", "Line 2 of the file .* has 3 columns where line 1 has 2"),
    "no words": (b"\n-DOCSTART- -X- O\n\n", "no sentences in the test split"),
    "nothing": (b"", "no sentences in the test split"),
}


@pytest.mark.parametrize("content, message", BAD_FILES.values(), ids=BAD_FILES)
def test_bad_column_files_are_refused(tmp_path, content, message):
    folder = write(tmp_path / "mine", "txt", train=GOOD, test=GOOD)
    (folder / "test.txt").write_bytes(content)
    refused(folder, message)


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_damaged_file_is_named(tmp_path, suffix):
    folder = write(tmp_path / "mine", suffix, train=GOOD, test=GOOD)
    file = folder / f"test.{suffix}"
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    refused(folder, f"file 'test.{suffix}' of the folder 'mine' cannot be read as {suffix}")
    file.write_bytes(whole.replace(b"Anna", b"Ann\xe9"))
    refused(folder, f"file 'test.{suffix}' of the folder 'mine' cannot be read as {suffix} .*UTF8")


def test_folders_that_are_none(tmp_path):
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "no data set that can be read, but nothing. A data set for a tagger is a folder")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "train.csv").write_text("tokens,ner_tags\n")
    refused(tmp_path / "odd", r"but train.csv\. A data set for a tagger")
    refused(tmp_path / "absent", "must be a folder .* not there")
    write(tmp_path / "odd", "conll", train=GOOD, test=GOOD, testb=GOOD)
    refused(tmp_path / "odd", "test split more than once: test.conll, testb.conll")


# ---- the real thing ----


@pytest.mark.realdata
@pytest.mark.parametrize(
    "name, sizes",
    [
        ("conll2003", {"train": 14041, "validation": 3250, "test": 3453}),
        ("wnut_17", {"train": 3394, "validation": 1009, "test": 1287}),
    ],
)
def test_real_sizes(monkeypatch, name, sizes):
    monkeypatch.setenv("RNNZOO_DATA", REAL_DATA)
    assert {split: len(part) for split, part in tagged.load(name, seed=0).splits.items()} == sizes


@pytest.mark.realdata
def test_conll2003(monkeypatch):
    monkeypatch.setenv("RNNZOO_DATA", REAL_DATA)
    corpus = tagged.load("auto", seed=0)
    assert corpus.labels == ["O", "B-LOC", "I-LOC", "B-MISC", "I-MISC", "B-ORG", "I-ORG", "B-PER", "I-PER"]
    counts = {
        split: Counter(kind for row in part["tags"] for kind, _, _ in tags.entities(row))
        for split, part in corpus.splits.items()
    }
    assert counts == {
        "train": {"LOC": 7140, "MISC": 3438, "ORG": 6321, "PER": 6600},
        "validation": {"LOC": 1837, "MISC": 922, "ORG": 1341, "PER": 1842},
        "test": {"LOC": 1668, "MISC": 702, "ORG": 1661, "PER": 1617},
    }
