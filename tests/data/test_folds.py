"""Parts of the training split: shares of every class, folds that are the same in every run, and what is refused."""

from collections import Counter
from functools import partial

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from hypothesis import given
from hypothesis import strategies as st

from recipes.imdb import TASK as IMDB
from recipes.ner import TASK as NER
from rnnzoo.data import sentences, texts
from rnnzoo.data.corpus import Corpus
from rnnzoo.data.errors import DataError
from rnnzoo.data.folds import classes, drawn_rows, fold_rows, parse_fold, reduced
from rnnzoo.training.run import load
from tests.support.data_files import texts as rows
from tests.support.data_files import write


LABELS = st.lists(st.sampled_from("abcdefgh") | st.just("a"), min_size=1, max_size=60)


def corpus(labels):
    """A corpus whose texts are the numbers of its rows."""
    names = sorted(set(labels))
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    columns = {"text": list(map(str, range(len(labels)))), "label": [names.index(label) for label in labels]}
    few = Dataset.from_dict({"text": ["x", "y"], "label": [0, 0]}, features=features)
    splits = {"train": Dataset.from_dict(columns, features=features), "validation": few, "test": few}
    return Corpus("small", "tests", names, DatasetDict(splits))


def numbers(found):
    return list(map(int, found.splits["train"]["text"]))


# ---- folds ----


@given(LABELS, st.integers(1, 9))
def test_folds_are_disjoint_cover_all_rows_and_have_the_same_share_of_every_class(labels, n):
    n = min(n, len(labels))
    folds = [fold_rows(labels, k, n) for k in range(n)]
    assert sorted(sum(folds, [])) == list(range(len(labels))) and all(fold == sorted(fold) for fold in folds)
    for counts in (
        [len(fold) for fold in folds],
        *([[labels[i] for i in fold].count(c) for fold in folds] for c in "ab"),
    ):
        assert max(counts) - min(counts) <= 1


def test_folds_are_mixed_and_the_same_in_every_run():
    labels = [0] * 10 + [1] * 10
    assert fold_rows(labels, 0, 2) == [1, 2, 3, 7, 9, 10, 13, 17, 18, 19]  # for good: of teachers that exist
    assert fold_rows(labels, 0, 2) != fold_rows([0] * 20, 0, 2)


def test_what_is_left_of_a_corpus_is_the_other_rows_in_their_order():
    whole = corpus(["a", "b", "b"] * 7)
    for k in range(3):
        found = reduced(whole, None, f"{k}/3", seed=5)
        out = fold_rows(classes(whole.splits["train"]), k, 3)
        assert numbers(found) == [i for i in range(21) if i not in out]
        assert found.remarks == [f"Of 21 training examples fold {k}/3 is left out: 7."]
        assert found.splits["test"].to_dict() == whole.splits["test"].to_dict()
    assert reduced(whole, None, None, seed=0) is whole


# ---- so many examples ----


@given(LABELS, st.data())
def test_a_draw_has_exactly_so_many_rows_and_the_same_share_of_every_class(labels, data):
    count = data.draw(st.integers(1, len(labels)))
    found = drawn_rows(labels, count, seed=data.draw(st.integers(0, 9)))
    assert len(set(found)) == len(found) == count and found == sorted(found)
    drawn = Counter(labels[i] for i in found)
    for label, size in Counter(labels).items():
        assert abs(drawn[label] - count * size / len(labels)) < 1


def test_a_draw_is_a_function_of_the_seed_and_part_of_a_larger_one():
    labels = [0] * 100 + [1] * 100
    draw = partial(drawn_rows, labels)
    assert draw(20, 0) == draw(20, 0) != draw(20, 1)
    assert set(draw(20, 0)) < set(draw(50, 0)) < set(draw(120, 0))
    assert draw(200, 0) == list(range(200))


def test_a_fold_is_one_of_the_examples_that_were_drawn():
    whole = corpus(["a", "b"] * 20)
    drawn = reduced(whole, 12, None, seed=3)
    parts = [numbers(reduced(whole, 12, f"{k}/2", seed=3)) for k in (0, 1)]
    assert sorted(sum(parts, [])) == numbers(drawn) and len(parts[0]) == 6
    # What a teacher that was trained without fold 0 answers on.
    inside = fold_rows(classes(drawn.splits["train"]), 0, 2)
    assert [numbers(drawn)[i] for i in inside] == parts[1]


# ---- what is refused ----


def test_values_that_no_corpus_allows_are_refused():
    for text in ("0", "2/2", "0/1", "-1/2", "1/0", "a/b", "0/2/3", "", "²/3"):
        with pytest.raises(DataError, match="^fold is .*: it must be K/N"):
            parse_fold(text)
    with pytest.raises(DataError, match="no fold 0 of 5: .* 4 training examples"):
        reduced(corpus("abab"), None, "0/5", seed=0)
    with pytest.raises(DataError, match="train_examples is 5, but the training split has 4: lower it"):
        reduced(corpus("abab"), 5, None, seed=0)


def test_classes_that_lose_all_their_examples_are_named():
    found = reduced(corpus("aaaaabbbbbc"), 4, None, seed=0)
    assert found.labels == ["a", "b", "c"]
    assert found.remarks[-1] == "Warning: no training example is left of the classes c."
    with pytest.raises(DataError, match="1 are used .* of one class: there is nothing to tell apart. Use more"):
        reduced(corpus("aaab"), 1, None, seed=0)


# ---- by the options of a recipe ----


def options(task, **chosen):
    return task.Options(dataset="made", **chosen)


def test_a_classifiers_options_take_the_same_share_of_every_class():
    found = load(IMDB, options(IMDB, train_examples=100, seed=1))
    assert Counter(found.splits["train"]["label"]) == {0: 50, 1: 50} and len(found.splits["test"]) == 1000
    whole = texts.load("imdb", "made", seed=1).splits["train"]
    found = load(IMDB, options(IMDB, fold="1/4", seed=1)).splits["train"]
    out = fold_rows(whole["label"][:], 1, 4)
    assert found.to_dict() == whole.select(sorted(set(range(4000)) - set(out))).to_dict()


def test_a_taggers_options_take_any_sentences():
    whole = sentences.load("conll2003", "made", seed=0).splits["train"]
    found = load(NER, options(NER, train_examples=100)).splits["train"]
    assert found.to_dict() == whole.select(drawn_rows([None] * len(whole), 100, 0)).to_dict()
    assert len(load(NER, options(NER, fold="0/2")).splits["train"]) == len(whole) // 2


def test_unlabelled_texts_never_hold_those_of_examples_that_are_left_out(tmp_path):
    train = rows(20)
    write(tmp_path / "mine", "jsonl", train=train, validation=rows(4, word="clip"), test=rows(4, word="play"))
    (tmp_path / "more.txt").write_text("\n".join([*train["text"], "new"]))
    chosen = {"dataset": str(tmp_path / "mine"), "unlabelled": str(tmp_path / "more.txt")}
    for part in ({"train_examples": 4}, {"fold": "0/2"}):
        found = load(IMDB, IMDB.Options(**chosen, **part))
        assert found.unlabelled["text"][:] == ["new"] and len(found.splits["train"]) in (4, 10)
