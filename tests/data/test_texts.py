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


def test_classes_without_names_are_numbered_and_a_stream_asks_for_names(tmp_path):
    folder = write(tmp_path / "mine", "jsonl", train=rows(20, classes=3), validation=rows(4), test=rows(6))
    corpus = load(folder)
    assert (corpus.name, corpus.source, corpus.labels) == ("mine", "folder mine", ["0", "1", "2"])
    features = Features({"text": Value("string"), "label": ClassLabel(names=["0", "1", "2"])})
    assert all(part.features == features for part in corpus.splits.values())
    assert corpus.read is corpus.banner is None
    refused(folder, "Class names .* unknown, and --streaming does not infer them: add labels.json", [stream])
    refused(write(folder, "jsonl", test={"text": ["a"], "label": [3]}), "label 3, but there are 3 classes", [load])


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
    refused("auto", r"test split .* label -1, .* 2 classes \(negative, positive\)", [load])


def test_integers_of_any_type_are_brought_into_one_form(tmp_path):
    columns = {
        "label": pa.array([1, 0, 1], pa.uint8()),
        "text": pa.array(["a", "", "c"], pa.large_string()),
    }
    part = load(write(tmp_path / "mine", train=columns, validation=columns, test=columns)).splits["test"]
    assert part.column_names == ["text", "label"]
    assert part.to_dict() == {"text": ["a", "", "c"], "label": [1, 0, 1]}


def test_classes_have_no_gap_and_are_more_than_one(tmp_path):
    splits = {"validation": rows(4), "test": rows(4)}
    folder = write(tmp_path / "gap", train=GOOD | {"label": [1, 2] * 5}, **splits)
    refused(folder, "labels of the train split .* are 1, 2: .* labels.json", [load])
    folder = write(tmp_path / "one", labels=["a", "b"], train=GOOD | {"label": [1] * 10}, **splits)
    refused(folder, "All rows that are read of the train split .* have the label 1: there is nothing to tell apart")
    # The first class of a file that is sorted by class.
    folder = write(tmp_path / "sorted", labels=["a", "b"], train=GOOD | {"label": [0] * 5 + [1] * 5}, **splits)
    assert len(list(stream(folder, most=6).read())) == 6
    refused(folder, "have the label 0: .* --max_train_steps", [lambda folder: stream(folder, most=5)])


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
    (folder / "train" / "neg" / "3_3.txt").write_bytes(b"\xff\xfe")
    refused(folder, "train/neg/3_3.txt is not UTF-8")
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
    folder = write(tmp_path / "mine", train=rows(3), test=GOOD)
    refused(folder, "No validation split can be drawn from the 3 rows of train, 0.2 of every class", [load])
    for fraction in (0, 1, -0.1):  # before any work: there is no such folder
        refused(tmp_path / "absent", f"validation_fraction is {fraction}", [load], validation_fraction=fraction)


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
