"""Synthetic sentences: the same on every machine, and in its twins only the right context decides."""

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from rnnzoo.data import schemes as tags
from rnnzoo.data.synthetic import names as made_names


TWO_TYPES = {name: set(types) for types, names in made_names.AMBIGUOUS.items() for name in names}


@pytest.fixture(scope="module")
def splits():
    return made_names.make_sentences()


def words(rows):
    """Every word with its sentence, its place there, its tag and whether it is ambiguous."""
    for row in rows:
        for place, (tag, ambiguous) in enumerate(zip(row["tags"], row["ambiguous"], strict=True)):
            yield row["tokens"], place, tag, ambiguous


def twins(rows):
    """What stands before each ambiguous word, the word, what follows, and its type."""
    for tokens, place, tag, ambiguous in words(rows):
        if ambiguous:
            yield tuple(tokens[:place]), tokens[place], tuple(tokens[place + 1 :]), tag[2:]


def test_splits_have_their_sizes_columns_and_valid_tags(splits):
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 3000, "validation": 500, "test": 500}
    for rows in splits.values():
        assert rows.column_names == ["tokens", "tags", "ambiguous"]
        for row in rows:
            assert len(row["tokens"]) == len(row["tags"]) == len(row["ambiguous"]) > 0
            assert all(re.fullmatch(r"\S*\w\.?|[.,]", token) for token in row["tokens"])  # no slot is left
            tags.entities(row["tags"])  # raises unless they are IOB2


def test_every_type_occurs_and_many_entities_are_of_several_words(splits):
    for rows in splits.values():
        found = [entity for row in rows for entity in tags.entities(row["tags"])]
        assert {kind for kind, _, _ in found} == set(made_names.TYPES)
        for kind in made_names.TYPES:
            longer = [end - start > 1 for of_kind, start, end in found if of_kind == kind]
            assert len(longer) > 0.1 * len(found) and 0.1 * len(longer) < sum(longer) < 0.9 * len(longer)


def test_the_same_seed_gives_the_same_rows_in_every_process(splits):
    """Another process has other string hashes, so that iteration over a set would show."""
    script = (
        "import json, sys; from rnnzoo.data.synthetic import names; splits = names.make_sentences(0); "
        "json.dump({split: rows.to_dict() for split, rows in splits.items()}, sys.stdout)"
    )
    there = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(made_names.__file__).parents[3],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert json.loads(there.stdout) == {split: rows.to_dict() for split, rows in splits.items()}


def test_another_seed_gives_other_rows(splits):
    here, there = (
        {" ".join(tokens) for tokens in made["train"]["tokens"]} for made in (splits, made_names.make_sentences(1))
    )
    assert len(here & there) < 0.2 * len(here)


@pytest.mark.parametrize("seed", [None, -1, 0.5, "0"])
def test_a_seed_that_is_not_a_non_negative_integer_is_refused(seed):
    with pytest.raises(ValueError, match=re.escape(repr(seed))):
        made_names.make_sentences(seed)


def test_no_sentence_occurs_twice_and_train_knows_every_word(splits):
    sentences = [tuple(tokens) for rows in splits.values() for tokens in rows["tokens"]]
    assert len(sentences) == len(set(sentences))
    known = {token for tokens in splits["train"]["tokens"] for token in tokens}
    assert {token for sentence in sentences for token in sentence} <= known


# ---- twins ----


@pytest.mark.parametrize("seed", [0, 1])
def test_the_left_context_of_a_twin_carries_no_information(seed):
    """In every split and in its first rows, a name has each of its types equally often after the same words."""
    for rows in made_names.make_sentences(seed).values():
        for count in (len(rows), 100):
            types = defaultdict(Counter)
            for before, name, _, kind in twins(rows.select(range(count))):
                types[before, name][kind] += 1
            assert sum(sum(found.values()) for found in types.values()) == count // 2
            for (_, name), found in types.items():
                assert set(found) == TWO_TYPES[name] and len(set(found.values())) == 1


def test_chance_is_the_best_for_a_left_to_right_reader(splits):
    """Even one that has memorised train, or test: it has one answer for words that both types follow."""
    for rows in splits.values():
        for known in (splits["train"], rows):
            answers = {(before, name): kind for before, name, _, kind in twins(known)}
            right = Counter(
                answers.get((before, name), min(TWO_TYPES[name])) == kind for before, name, _, kind in twins(rows)
            )
            assert right[True] == right[False] == len(rows) // 4


def test_no_plain_sentence_begins_like_a_twin(splits):
    """Otherwise the type of the name in that sentence would tip the balance."""
    beginnings = {(*before, name) for rows in splits.values() for before, name, _, _ in twins(rows)}
    for rows in splits.values():
        for tokens, place, _, ambiguous in words(rows):
            assert ambiguous or tuple(tokens[: place + 1]) not in beginnings


def test_the_right_context_of_a_twin_decides(splits):
    """A bag of all words that follow is enough, the next word alone is not."""
    types = defaultdict(set)
    for rows in splits.values():
        for _, _, after, kind in twins(rows):
            types[after].add(kind)
    assert all(len(kinds) == 1 for kinds in types.values())

    def score(reach):
        bag = CountVectorizer(token_pattern=r"\S+", lowercase=False)
        texts, kinds = {}, {}
        for split in ("train", "test"):
            texts[split] = [" ".join([name, *after[:reach]]) for _, name, after, _ in twins(splits[split])]
            kinds[split] = [kind for *_, kind in twins(splits[split])]
        model = LogisticRegression(C=100, max_iter=300).fit(bag.fit_transform(texts["train"]), kinds["train"])
        return model.score(bag.transform(texts["test"]), kinds["test"])

    assert score(None) > 0.97
    assert score(1) < 0.75


def test_twins_of_every_pair_of_types_are_in_every_split(splits):
    for rows in splits.values():
        found = Counter(frozenset(TWO_TYPES[name]) for _, name, _, _ in twins(rows))
        assert set(found) == {frozenset(types) for types in made_names.AMBIGUOUS}
        assert min(found.values()) > 0.15 * len(rows) / 2


# ---- what is not ambiguous ----


def test_every_name_is_in_one_list():
    names = [name for group in made_names.AMBIGUOUS.values() for name in group]
    assert len(names) == len(set(names)) == len(TWO_TYPES)
    telling = [word for group in made_names.TELLING.values() for word in group]
    assert len(telling) == len(set(telling))


def test_every_other_word_has_one_tag(splits):
    found = defaultdict(set)
    for rows in splits.values():
        for tokens, place, tag, _ in words(rows):
            if tokens[place] not in TWO_TYPES:
                found[tokens[place]].add(tag)
    assert not {word: found_tags for word, found_tags in found.items() if len(found_tags) > 1}
    assert "may" not in found and "chase" not in found  # also for a tokenizer that lowers case


def test_in_plain_sentences_the_word_before_determines_the_type(splits):
    plain = 0
    for rows in splits.values():
        for tokens, place, tag, ambiguous in words(rows):
            if tokens[place] in TWO_TYPES:
                telling = {kind for kind, group in made_names.TELLING.items() if tokens[place - 1] in group and place}
                assert telling == (set() if ambiguous else {tag[2:]})
                plain += not ambiguous
            else:
                assert not ambiguous
    assert plain > 300


def test_the_banner_says_what_it_is_not():
    assert "not CoNLL-2003" in made_names.BANNER and "no published number" in made_names.BANNER
