"""Rows held out of one table: the share of each class, a function of classes and seed, the same whole and lazily."""

from collections import Counter

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from rnnzoo.data import division
from rnnzoo.data.division import Draw
from rnnzoo.data.errors import DataError


CLASSES = st.lists(st.sampled_from("abcd"), max_size=80)


@given(CLASSES, st.floats(0.01, 0.99), st.integers(0, 3))
def test_each_class_gives_its_share_and_keeps_a_row(classes, share, seed):
    counts = Counter(classes)
    decide = Draw(counts, share, seed).decider()
    held_out = Counter(key for key in classes if decide(key))
    for key, n in counts.items():
        assert held_out[key] == min(n - 1, max(1, round(n * share)))


def test_every_row_of_a_class_is_as_likely_to_be_held_out():
    draws, classes = Counter(), "ab" * 6
    for seed in range(2000):
        decide = Draw(Counter(classes), 0.5, seed).decider()
        draws.update(number for number, key in enumerate(classes) if decide(key))
    assert sum(draws.values()) == 2000 * 6
    assert max(abs(count - 1000) for count in draws.values()) < 5 * 2000**0.5 / 2


def test_no_more_than_a_number_of_rows_is_held_out():
    assert Draw({"a": 2000, "b": 1000}, 0.1, seed=0, most=30).sizes == {"a": 20, "b": 10}


def test_more_rows_than_there_were_are_noticed():
    decide = Draw({"a": 1, "b": 1}, 0.5, seed=0).decider()
    assert not decide("a")
    for key in "ac":
        with pytest.raises(DataError, match="more rows than there were"):
            decide(key)


@given(CLASSES.filter(lambda classes: max(Counter(classes).values(), default=0) > 2), st.integers(0, 3))
def test_a_table_is_divided_the_same_way_whole_and_lazily(classes, seed):
    rows = [{"number": number, "label": key} for number, key in enumerate(classes)]
    splits, remark = division.divide(Dataset.from_list(rows), classes, seed)
    train, held, said = division.divide_lazily(lambda: iter(rows), lambda row: row["label"], seed)
    assert remark == said
    assert list(splits["train"]) == list(train()) == list(train())
    for split in ("validation", "test"):
        assert list(splits[split]) == held[split]
        assert f"{len(held[split])} for {split}" in remark
    assert sorted(row["number"] for row in [*held["test"], *held["validation"], *train()]) == list(range(len(rows)))
    others = division.divide(Dataset.from_list(rows), classes, seed + 1)[0]
    assert list(others["test"]) == held["test"]


def test_a_table_without_three_rows_of_a_class_is_refused():
    with pytest.raises(DataError, match="one table of 4 rows, too few to hold some out for test and validation"):
        division.divide(Dataset.from_dict({"label": list("abab")}), list("abab"), 0)
