"""Lazy reading: each row once an epoch, in batches of similar length, in an order that seed and epoch decide."""

import math
import random
from collections import Counter
from itertools import islice

import pytest

from rnnzoo.data import streams
from rnnzoo.data.errors import DataError
from rnnzoo.data.streams import Stream, Survey


def a_stream(size, most=None):
    rows = [{"text": "x" * random.Random(i).randrange(200), "label": i} for i in range(size)]
    return Stream(lambda: iter(rows), most or size, lambda columns: columns, column="text")


@pytest.mark.parametrize("size", [1, 7, 8, 400, 401, 799, 800, 1203])
def test_an_epoch_has_every_row_once_in_equal_batches(size, monkeypatch):
    monkeypatch.setattr(streams, "BUFFER", 100)
    found = list(a_stream(size).batches(8, seed=0, epoch=0))
    assert sorted(row["label"] for batch in found for row in batch) == list(range(size))
    assert len(found) == math.ceil(size / 8)
    assert min(map(len, found)) >= size // len(found)
    if size >= 400:  # rows of similar length are together
        spread = sum(max(map(length, batch)) - min(map(length, batch)) for batch in found) / len(found)
        assert spread < 20


def length(row):
    return len(row["text"])


def test_the_order_is_a_function_of_seed_and_epoch(monkeypatch):
    monkeypatch.setattr(streams, "BUFFER", 100)
    stream = a_stream(900)
    first = list(stream.batches(8, seed=0, epoch=0))
    assert first == list(stream.batches(8, seed=0, epoch=0))
    assert first != list(stream.batches(8, seed=1, epoch=0)) and first != list(stream.batches(8, seed=0, epoch=1))
    # Neighbours in the file are not neighbours in a batch: it is sorted by class, say.
    early = Counter(row["label"] < 450 for row in islice((row for batch in first for row in batch), 200, 400))
    assert early[True] < 200
    assert sorted(row["label"] for batch in a_stream(900, most=300).batches(8, 0, 0) for row in batch) == [*range(300)]


def test_a_pass_with_fewer_rows_than_were_counted_is_an_error():
    with pytest.raises(DataError, match="has 7 rows, but had 8 when they were counted"):
        list(a_stream(7, most=8).batches(4, seed=0, epoch=0))


def test_a_survey_counts_what_is_read():
    survey = Survey(iter([{"text": f"text {i}"} for i in range(30)]), "text")
    assert list(islice(survey, 10)) == [f"text {i}" for i in range(10)]
    assert survey.finish() == 30 and list(survey) == []
