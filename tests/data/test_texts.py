"""Corpora of labelled texts: class names, one form of columns, validation splits, folders like aclImdb."""

from collections import Counter

import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from rnnzoo.data import texts
from rnnzoo.data.errors import DataError
from rnnzoo.data.synthetic.reviews import BANNER, make_reviews
from tests.support.data_files import texts as rows
from tests.support.data_files import write


GOOD = rows(10)
ALL = ("parquet", "csv", "tsv", "jsonl", "json")
LOOSE = ALL[1:]  # whose values may have any types


def load(folder, **options):
    return texts.load("imdb", str(folder), **{"seed": 0} | options)


def stream(folder, **options):
    return texts.stream("imdb", str(folder), **{"seed": 0} | options)


def refused(folder, message, reads=(load, stream), **options):
    for read in reads:
        with pytest.raises(DataError, match=message) as caught:
            corpus = read(folder, **options)
            list(corpus.read())
        assert "\n" not in str(caught.value)


def classes(folder, split, names, columns):
    """A parquet file that stores the names of its classes."""
    folder.mkdir(exist_ok=True)
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    Dataset.from_dict(columns, features=features).to_parquet(folder / f"{split}.parquet")


# ---- class names and columns ----


# What is written, in which formats, and the names of the classes in their order.
LABELS = {
    "strings": (["pos", "neg", " neutral\t"], ALL, ["neg", "neutral", "pos"]),
    "numbers from 0": ([0, 1, 2], ALL, ["0", "1", "2"]),
    "numbers from 1, and two digits": ([10, 9, 1], ALL, ["1", "9", "10"]),
    "numbers below 0": ([1, -1, 0], ALL, ["-1", "0", "1"]),
    "fractions that are whole": ([4.0, 2.0, 0.0], ALL, ["0", "2", "4"]),
    "truth values": ([True, False, True], ("parquet", "jsonl", "json"), ["False", "True"]),
    "numbers and strings": ([1, "one", "2"], LOOSE, ["1", "2", "one"]),
    "numbers that no number holds": (["9" * 30, "1", "2"], ALL, ["1", "2", "9" * 30]),
}


@pytest.mark.parametrize("labels, formats, names", LABELS.values(), ids=LABELS)
def test_labels_without_names_name_themselves(tmp_path, labels, formats, names):
    rows = [{"text": f"film {i}", "label": labels[i % 3]} for i in range(9)]
    for suffix in formats:
        test = [row | {"text": f"another {row['text']}"} for row in rows]
        folder = write(tmp_path / suffix, suffix, train=rows, validation=test[:3], test=test)
        features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
        found, lazy = load(folder), stream(folder)
        assert found.labels == lazy.labels == names and found.read is found.banner is found.scheme is None
        named = [str(int(label) if type(label) is float else label).strip() for label in labels]
        expected = [names.index(name) for name in named]
        assert found.splits["train"]["label"][:] == [row["label"] for row in lazy.read()] == expected * 3
        for split in ("validation", "test"):
            assert found.splits[split].features == lazy.splits[split].features == features
            assert found.splits[split].to_dict() == lazy.splits[split].to_dict()
        assert found.remarks == lazy.remarks == [f"Classes, by their labels: {', '.join(names)}."]


def test_classes_are_those_of_all_splits(tmp_path):
    splits = {"train": rows(6), "validation": rows(4), "test": {"text": ["a", "b"], "label": [1, 3]}}
    folder = write(tmp_path / "mine", "jsonl", **splits)
    for corpus in (load(folder), stream(folder)):
        assert corpus.labels == ["0", "1", "3"] and corpus.splits["test"]["label"][:] == [1, 2]
        assert "Warning: train has no example of the classes 3, which other splits have." in corpus.remarks
    some = stream(write(folder, "jsonl", train={"text": ["a", "b", "c"], "label": [1, 0, 2]}), most=2)
    assert some.labels == ["0", "1", "3"] and len(list(some.read())) == 2


def test_a_label_that_comes_later_is_named(tmp_path):
    folder = write(tmp_path / "mine", "csv", train=rows(6), validation=rows(2), test=rows(2))
    found = stream(folder)
    with (folder / "train.csv").open("a") as file:
        file.write("more,7\n")
    with pytest.raises(DataError, match="has the label '7', which did not occur when the classes were collected"):
        list(found.read())


def test_class_names_from_labels_json(tmp_path):
    names = ["bad", "fair", "good", "never seen"]
    folder = write(tmp_path / "mine", "csv", names, train=rows(20, classes=3), validation=rows(2), test=rows(3))
    assert load(folder).labels == stream(folder).labels == names


def test_class_names_that_a_file_stores(tmp_path):
    for split in ("train", "test"):
        classes(tmp_path / "mine", split, ["pos", "neg"], rows(50))
    # Written out, and in the order of the file: 0 is still the positive class.
    assert load(tmp_path / "mine").labels == stream(tmp_path / "mine").labels == ["positive", "negative"]
    assert load(tmp_path / "mine").splits["test"]["label"][:] == rows(50)["label"]
    classes(tmp_path / "mine", "test", ["neg", "pos"], rows(50))
    refused(tmp_path / "mine", "name their classes differently")


def test_known_names_refuse_the_unsupervised_label(tmp_path, monkeypatch):
    write(tmp_path / "imdb", train=GOOD, test=GOOD | {"label": [-1] * 10})
    monkeypatch.setenv("RNNZOO_DATA", str(tmp_path))
    refused("auto", "test split .* label -1, .* classes are negative, positive, numbered 0 to 1", [load])


def test_integers_of_any_type_are_brought_into_one_form(tmp_path):
    columns = {
        "label": pa.array([1, 0, 1], pa.uint8()),
        "text": pa.array(["a", "", "c"], pa.large_string()),
    }
    part = load(write(tmp_path / "mine", train=columns, validation=columns, test=columns)).splits["test"]
    assert part.column_names == ["text", "label"]
    assert part.to_dict() == {"text": ["a", "", "c"], "label": [1, 0, 1]}


def test_names_are_also_labels(tmp_path):
    """Strings mean the classes of those names, and numbers in strings nothing: labels.json names numbers only."""
    train = [{"text": f"film {i}", "label": label} for i, label in enumerate(["b", 0, "b", "a"])]
    folder = write(tmp_path / "mine", "jsonl", ["b", "a"], train=train, validation=train, test=train)
    assert load(folder).splits["test"]["label"][:] == stream(folder).splits["test"]["label"][:] == [0, 0, 0, 1]
    write(folder, "jsonl", test=[{"text": "film", "label": "1"}])
    refused(folder, "has the label '1', but the classes are b, a. Correct it")


def test_the_catalog_translates_labels(tmp_path, monkeypatch):
    train = [
        {"text": f"film {i}", "label": label} for i, label in enumerate(["pos", "neg", "positive", "negative"] * 9)
    ]
    write(tmp_path / "imdb", "csv", train=train, validation=train, test=train[:4])
    monkeypatch.setenv("RNNZOO_DATA", str(tmp_path))
    for corpus in (load("auto"), stream("auto")):
        assert corpus.labels == ["negative", "positive"] and corpus.splits["test"]["label"][:] == [1, 0, 1, 0]


def test_there_are_two_classes_at_least(tmp_path):
    splits = {"validation": rows(4), "test": rows(4)}
    folder = write(tmp_path / "one", labels=["a", "b"], train=GOOD | {"label": [1] * 10}, **splits)
    refused(folder, "All rows that are read of the train split .* have the label b: there is nothing to tell apart")
    # The first class of a file that is sorted by class.
    folder = write(tmp_path / "sorted", labels=["a", "b"], train=GOOD | {"label": [0] * 5 + [1] * 5}, **splits)
    assert len(list(stream(folder, most=6).read())) == 6
    refused(folder, "have the label a: .* --max_train_steps", [lambda folder: stream(folder, most=5)])


# ---- aclImdb ----


def acl_folder(root, count=5):
    for split in ("train", "test"):
        for part in ("neg", "pos", "unsup"):
            (root / split / part).mkdir(parents=True)
            for i in reversed(range(count)):
                (root / split / part / f"{i}_{i}.txt").write_bytes(f"{split} {part} {i}\r\n\x85é".encode())
    return root


def test_a_folder_like_acl_imdb_whole_and_lazily(tmp_path):
    folder = acl_folder(tmp_path / "aclImdb", count=30)
    corpus, lazy = load(folder), stream(folder)
    assert (corpus.name, corpus.source, corpus.labels) == ("aclImdb", "folder aclImdb", ["negative", "positive"])
    names = sorted(f"{i}_{i}" for i in range(30))
    expected = [f"{part} {name.split('_')[0]}\r\n\x85é" for part in ("neg", "pos") for name in names]
    for found in (corpus, lazy):
        assert found.splits["test"]["text"][:] == [f"test {text}" for text in expected]
        assert found.splits["test"]["label"][:] == [0] * 30 + [1] * 30
        train = list(found.read()) if found.read else list(found.splits["train"])
        both = [*train, *found.splits["validation"]]
        assert sorted(row["text"] for row in both) == sorted(f"train {text}" for text in expected)
        assert all(row["label"] == (" pos " in row["text"]) for row in both)


def test_damaged_folders_like_acl_imdb_are_refused(tmp_path):
    folder = acl_folder(tmp_path / "aclImdb")
    (folder / "train" / "neg" / "3_3.txt").write_bytes(b"caf\xe9")
    refused(folder, "train/neg/3_3.txt cannot be read as UTF-8")
    for file in (folder / "train" / "neg").iterdir():
        file.unlink()
    refused(folder, "no text in train/neg")


# ---- validation splits ----


def test_the_validation_split_is_stratified_and_a_function_of_the_seed(tmp_path):
    train = {"text": [f"film {i}" for i in range(1000)], "label": [0] * 600 + [1] * 300 + [2] * 100}
    folder = write(tmp_path / "mine", train=train, test=rows(3, classes=3))
    splits = load(folder, seed=1).splits
    assert Counter(splits["train"]["label"]) == {0: 480, 1: 240, 2: 80}
    assert Counter(splits["validation"]["label"]) == {0: 120, 1: 60, 2: 20}
    both = [(row["text"], row["label"]) for split in ("train", "validation") for row in splits[split]]
    assert sorted(both) == sorted(zip(train["text"], train["label"], strict=True))
    again, other = load(folder, seed=1).splits, load(folder, seed=2).splits
    assert again["validation"].to_dict() == splits["validation"].to_dict()
    assert again["train"].to_dict() == splits["train"].to_dict()
    assert set(other["validation"]["text"]) != set(splits["validation"]["text"])
    assert len(load(folder, validation_fraction=0.5).splits["validation"]) == 500


def test_a_validation_split_of_its_own_is_kept_unless_a_fraction_is_given(tmp_path):
    train, validation = ({"text": [f"{name} {i}" for i in range(n)], "label": [0, 1] * (n // 2)}
                         for name, n in (("train", 80), ("validation", 20)))  # fmt: skip
    folder = write(tmp_path / "mine", train=train, validation=validation, test=rows(4))
    splits = load(folder).splits
    assert splits["train"].to_dict() == train and splits["validation"].to_dict() == validation
    splits = load(folder, validation_fraction=0.1).splits
    assert len(splits["train"]) == 90 and splits["validation"]["label"].count(1) == 5
    both = [text for split in ("train", "validation") for text in splits[split]["text"]]
    assert sorted(both) == sorted(train["text"] + validation["text"]) and splits["test"].to_dict() == rows(4)


def test_a_validation_split_needs_rows_and_a_fraction(tmp_path):
    folder = write(tmp_path / "mine", train=rows(2), test=GOOD)
    refused(folder, "No validation split can be drawn from the 2 rows of train, 0.2 of every class", [load])
    for fraction in (0, 1, -0.1):  # before any work: there is no such folder
        refused(tmp_path / "absent", f"validation_fraction is {fraction}", [load], validation_fraction=fraction)


def test_classes_that_are_too_small_to_be_divided_stay_in_train(tmp_path):
    labels = [0] * 20 + [1] * 2 + [2]
    train = {"text": [f"film {i}" for i in range(23)], "label": labels}
    splits = load(write(tmp_path / "mine", train=train, test=GOOD)).splits
    assert Counter(splits["train"]["label"]) == {0: 16, 1: 1, 2: 1}
    assert Counter(splits["validation"]["label"]) == {0: 4, 1: 1}
    assert sorted([*splits["train"]["text"], *splits["validation"]["text"]]) == sorted(train["text"])


def test_a_stream_holds_one_row_in_twenty_out(tmp_path, monkeypatch):
    folder = write(tmp_path / "mine", labels=["a", "b"], train=rows(3000), test=GOOD)
    found = stream(folder, seed=1)
    validation, train = found.splits["validation"]["text"][:], [row["text"] for row in found.read()]
    assert sorted(validation + train) == sorted(rows(3000)["text"])
    assert 90 < len(validation) < 210  # 150, give or take five standard deviations
    assert validation != stream(folder, seed=2).splits["validation"]["text"][:]
    monkeypatch.setattr("rnnzoo.data.streams.VALIDATION", 40)
    capped = stream(folder, seed=1)
    assert capped.splits["validation"]["text"][:] == validation[:40] and len(list(capped.read())) == 2960
    short = write(tmp_path / "short", labels=["a", "b"], train=rows(2), test=GOOD)
    refused(short, "too short to hold out one row in 20 .* leave out --streaming", [stream])


# ---- synthetic and real data ----


def test_synthetic_reviews_come_with_their_warning():
    corpus = load("made", seed=3)
    assert (corpus.name, corpus.source, corpus.banner) == ("made", "made by this project (not IMDB)", BANNER)
    assert corpus.labels == ["negative", "positive"]
    assert {split: part.to_dict() for split, part in corpus.splits.items()} == {
        split: part.to_dict() for split, part in make_reviews(seed=0).items()
    }
    assert len(load("made", validation_fraction=0.5).splits["validation"]) == 2500
    refused("made", "in memory anyway: leave out --streaming", [stream])


@pytest.mark.realdata
def test_imdb(real_data):
    corpus = texts.load("imdb", seed=0)
    assert corpus.labels == ["negative", "positive"]
    counts = {split: Counter(part["label"]) for split, part in corpus.splits.items()}
    assert counts == {"train": {0: 10000, 1: 10000}, "validation": {0: 2500, 1: 2500}, "test": {0: 12500, 1: 12500}}
