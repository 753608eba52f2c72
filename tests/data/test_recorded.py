"""Recorded validation splits: rows by number, copies that were not recorded, and IMDB's, without train's films."""

import random
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from rnnzoo.data import places, sentences, texts
from rnnzoo.data.catalog import KNOWN
from rnnzoo.data.errors import DataError
from rnnzoo.data.recorded import checksum, recorded
from rnnzoo.training.card import training_data
from tests.support.data_files import texts as rows
from tests.support.data_files import write


TRAIN, TEST = rows(20), rows(6, word="another film")


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A data set that stands in for IMDB in $RNNZOO_DATA, with a recorded split of its 20 rows."""
    few = {"about": "", "rows": 20, "sha256": checksum(TRAIN["text"]), "validation": [[2, 4], [10, 13]]}
    few["left_out"] = [[4, 5], [19, 20]]
    monkeypatch.setitem(KNOWN, "imdb", KNOWN["imdb"]._replace(validation_splits={"few": few}))
    monkeypatch.setenv("RNNZOO_DATA", str(tmp_path))
    return write(tmp_path / "imdb", train=TRAIN, test=TEST)


def test_the_recorded_rows_are_held_out_in_their_order_whatever_the_seed(small):
    for seed, dataset in ((0, "auto"), (1, "imdb")):
        corpus = texts.load("imdb", dataset, seed=seed, validation_split="few")
        numbers = {"validation": [2, 3, 10, 11, 12], "train": [0, 1, *range(5, 10), *range(13, 19)]}
        for split, chosen in numbers.items():
            assert corpus.splits[split]["text"][:] == [TRAIN["text"][i] for i in chosen]
            assert corpus.splits[split]["label"][:] == [TRAIN["label"][i] for i in chosen]
        assert list(corpus.splits) == ["train", "validation", "test"] and corpus.splits["test"].to_dict() == TEST
        assert corpus.validation == "few"
        assert corpus.remarks == [
            "Validation is the recorded split few: 5 rows of train; 2 rows at its borders are left out of both."
        ]
    assert texts.load("imdb", seed=0).validation is None


@pytest.mark.parametrize(
    "train",
    [rows(19), rows(21), rows(20, word="review"), {name: column[::-1] for name, column in TRAIN.items()}],
    ids=["a row less", "a row more", "other texts", "another order"],
)
def test_a_copy_that_was_not_recorded_is_refused(small, train):
    write(small, train=train)
    with pytest.raises(DataError, match="are not the 20 that were numbered, or not in that order"):
        texts.load("imdb", seed=0, validation_split="few")


def test_a_copy_with_other_splits_is_refused(small):
    write(small, validation=rows(4, word="third film"))
    with pytest.raises(DataError, match="a copy with train and test; this one has train, validation, test"):
        texts.load("imdb", seed=0, validation_split="few")


def test_a_name_that_is_not_recorded_is_refused_before_any_work(tmp_path):
    for dataset in ("auto", "made", str(tmp_path / "absent")):  # there is no data at all
        with pytest.raises(DataError, match=r"'film', which is not recorded for .* There are: films \(of imdb\)"):
            texts.load("imdb", dataset, seed=0, validation_split="film")
    with pytest.raises(DataError, match="not recorded for the data set 'made'"):
        texts.load("imdb", "made", seed=0, validation_split="films")
    with pytest.raises(DataError, match="two ways to hold rows out"):
        texts.load("imdb", seed=0, validation_split="films", validation_fraction=0.1)
    with pytest.raises(DataError, match="no validation split is recorded for a tagger's data"):
        sentences.load("conll2003", seed=0, validation_split="films")


def test_the_card_says_which_validation_was_used(small):
    results = {"dataset": texts.load("imdb", seed=0, validation_split="few").described({"train": 13}), "config": {}}
    assert results["dataset"]["validation"] == "few"
    assert "Validation is the recorded split few of the data's own training split." in training_data(results, "")


# ---- IMDB ----


def test_blocks_of_rows_do_not_overlap():
    for name, known in KNOWN.items():
        for split in known.validation_splits:
            found = recorded(name, split)
            blocks = sorted(found.validation + found.left_out)
            assert all(first < end for first, end in blocks) and 0 <= blocks[0][0] and blocks[-1][1] <= found.rows
            assert all(end <= first for (_, end), (first, _) in zip(blocks, blocks[1:], strict=False))


WINDOW, NEAR = 10, 0.07  # neighbouring rows; a mean cosine that windows about one film often exceed


def near(vectors, validation, train):
    """The share of the windows of validation to which the rare terms of some window of train are near."""

    def windows(numbers):
        count = len(numbers) // WINDOW
        rows = vectors[sorted(numbers)[: count * WINDOW]]
        return sparse.kron(sparse.eye(count), np.full((1, WINDOW), 1 / WINDOW, np.float32), "csr") @ rows

    return ((windows(validation) @ windows(train).T).toarray().max(1) > NEAR).mean()


@pytest.mark.realdata
def test_the_films_of_imdbs_validation_are_not_those_of_train(real_data):
    corpus = texts.load("imdb", seed=0, validation_split="films")
    counts = {split: Counter(part["label"]) for split, part in corpus.splits.items()}
    assert counts["validation"] == {0: 2500, 1: 2500} and counts["test"] == {0: 12500, 1: 12500}
    assert sum(counts["train"].values()) == 19_885 and "115 rows at its borders are left out" in corpus.remarks[0]
    # Rare terms, as they are written: the names of films, characters and actors.
    rare = TfidfVectorizer(lowercase=False, min_df=2, max_df=40, dtype=np.float32)
    vectors = rare.fit_transform(pq.read_table(places.rnnzoo_data("imdb") / "train.parquet")["text"].to_pylist())
    films, everything = recorded("imdb", "films"), set(range(25_000))

    def outside(*blocks):
        return everything.difference(*(range(*block) for part in blocks for block in part))

    held_out = everything - outside(films.validation)
    assert near(vectors, held_out, outside(films.validation, films.left_out)) < 0.015  # namesakes, and actors
    drawn = set(random.Random(0).sample(sorted(everything), 5000))
    assert near(vectors, drawn, everything - drawn) > 0.15
    # Blocks alone are not enough: those of the two classes must be about the same films.
    shifted = everything - outside([*films.validation[:2], [20_000, 22_500]])
    assert near(vectors, shifted, everything - shifted) > 0.05
