"""Synthetic reviews: the same on every machine, balanced, free of leaks, learnable only from the order of words."""

import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from rnnzoo.data.synthetic import reviews as made


HARD = ("negation", "contrast")
# Every polar word: +1 or -1, and the word of its pair.
POLARITY = {pair[label]: 2 * label - 1 for pairs in made.OPPOSITES.values() for pair in pairs for label in (0, 1)}
OPPOSITE = {pair[label]: pair[1 - label] for pairs in made.OPPOSITES.values() for pair in pairs for label in (0, 1)}


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def polar_count(text: str) -> int:
    """Positive minus negative words."""
    return sum(POLARITY.get(word, 0) for word in words(text))


def count_accuracy(construction: str, distance: str, rows: int = 4000) -> float:
    """The accuracy of the sign of the polar count as a prediction of the label; a tie counts one half."""
    rng = random.Random(0)
    hits = 0.0
    for row in range(rows):
        sign = (row % 2) * 2 - 1
        count = polar_count(made.review(rng, row % 2, construction, distance))
        hits += 0.5 if count == 0 else count * sign > 0
    return hits / rows


def slots(template: str) -> Counter:
    return Counter(re.findall(r"\{(same\w*|other\w*)\}", template))


@pytest.fixture(scope="module")
def reviews():
    return made.make_reviews()


def test_splits_have_their_sizes_columns_and_lengths(reviews):
    assert {split: rows.num_rows for split, rows in reviews.items()} == made.SPLITS
    for rows in reviews.values():
        assert rows.column_names == ["text", "label"]
        assert rows.features["label"].names == ["negative", "positive"]
        lengths = [len(words(text)) for text in rows["text"]]
        assert min(lengths) < 12 and max(lengths) > 80  # from one sentence to many
        assert max(lengths) <= 100  # so that the last 100 tokens hold nearly every review


def test_the_same_seed_gives_the_same_rows_in_every_process():
    """Another process has other string hashes, so that iteration over a set would show."""
    script = (
        "import json, sys; from rnnzoo.data.synthetic import reviews; splits = reviews.make_reviews(3); "
        "json.dump({split: rows.to_dict() for split, rows in splits.items()}, sys.stdout)"
    )
    here = {split: rows.to_dict() for split, rows in made.make_reviews(3).items()}
    there = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(made.__file__).parents[3],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert json.loads(there.stdout) == here


def test_another_seed_gives_other_rows(reviews):
    other = made.make_reviews(1)
    assert len(set(reviews["train"]["text"]) & set(other["train"]["text"])) < 0.1 * len(reviews["train"])


@pytest.mark.parametrize("seed", [None, -1, 0.5, "0"])
def test_a_seed_that_is_not_a_non_negative_integer_is_refused(seed):
    with pytest.raises(ValueError, match=re.escape(repr(seed))):
        made.make_reviews(seed)


def test_classes_are_balanced_also_in_the_first_rows(reviews):
    for rows in reviews.values():
        assert Counter(rows["label"]) == {0: len(rows) // 2, 1: len(rows) // 2}
        assert sum(rows["label"][:200]) == 100


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_text_occurs_twice_and_train_knows_every_word(seed):
    splits = made.make_reviews(seed)
    texts = [text for rows in splits.values() for text in rows["text"]]
    assert len(texts) == len(set(texts))
    known = {word for text in splits["train"]["text"] for word in words(text)}
    for split in ("validation", "test"):
        assert {word for text in splits[split]["text"] for word in words(text)} <= known


def test_only_slots_are_polar():
    templates = [
        *made.DIRECT,
        *(template for pair in made.NEGATION for template in pair),
        *made.CONTRAST,
        *made.NEUTRAL,
    ]
    assert not [template for template in templates if set(words(template)) & set(POLARITY)]
    assert not [word for group in made.NEUTRAL_WORDS.values() for word in group if word.lower() in POLARITY]
    assert len(POLARITY) == 2 * sum(len(pairs) for pairs in made.OPPOSITES.values())  # no word on two sides


def test_templates_are_mirrored():
    """A bag of words learns nothing: what one template suggests, its mirror image contradicts."""
    assert all(set(slots(template)) <= {"same", "same_noun", "same_verb"} for template in made.DIRECT)
    for stands, turned in made.NEGATION:
        assert slots(stands).total() == 1 and slots(turned).total() == 1
        assert list(slots(turned)) == [slot.replace("same", "other") for slot in slots(stands)]
    for template in made.CONTRAST:
        same = {slot: count for slot, count in slots(template).items() if slot.startswith("same")}
        assert same and slots(template) == {**same, **{slot.replace("same", "other"): n for slot, n in same.items()}}


@pytest.mark.parametrize("construction", made.CONSTRUCTIONS)
@pytest.mark.parametrize("distance", made.DISTANCES)
def test_the_other_label_gives_the_mirror_image(construction, distance):
    """With the same draws, every polar word becomes its opposite and nothing else changes."""
    for seed in range(200):
        negative, positive = (made.review(random.Random(seed), label, construction, distance) for label in (0, 1))
        assert negative != positive
        assert re.sub(r"\w+", lambda word: OPPOSITE.get(word[0], word[0]), negative) == positive


def test_the_verdict_is_where_the_distance_says():
    rng = random.Random(0)
    for distance, (before, after) in made.NEUTRALS.items():
        places = set()
        for row in range(500):
            sentences = made.review(rng, row % 2, "direct", distance).split(". ")
            (place,) = (i for i, sentence in enumerate(sentences) if set(words(sentence)) & set(POLARITY))
            places.add((place, len(sentences) - 1 - place))
        assert places == {(i, j) for i in range(before[0], before[1] + 1) for j in range(after[0], after[1] + 1)}


@pytest.mark.parametrize("distance", made.DISTANCES)
def test_counting_polar_words_reads_direct_reviews_only(distance):
    assert count_accuracy("direct", distance) == 1
    assert count_accuracy("contrast", distance) == 0.5  # always a tie
    assert abs(count_accuracy("negation", distance) - 0.5) < 0.04  # five standard deviations


def test_a_bag_of_words_guesses_at_the_hard_reviews():
    """Trained on hard reviews only, so that no easy ones hide what it could learn from them."""
    rng = random.Random(0)
    labels = [row % 2 for row in range(6000)]
    texts = [made.review(rng, label, rng.choice(HARD), made.draw(rng, made.DISTANCES)) for label in labels]
    bag = CountVectorizer().fit(texts)
    model = LogisticRegression(max_iter=1000).fit(bag.transform(texts[:4000]), labels[:4000])
    assert model.score(bag.transform(texts[4000:]), labels[4000:]) < 0.56


def test_a_bag_of_words_reads_part_of_the_set(reviews):
    bag = CountVectorizer().fit(reviews["train"]["text"])
    model = LogisticRegression(max_iter=1000).fit(bag.transform(reviews["train"]["text"]), reviews["train"]["label"])
    assert 0.62 < model.score(bag.transform(reviews["test"]["text"]), reviews["test"]["label"]) < 0.76


def test_the_banner_says_what_it_is_not():
    assert "not IMDB" in made.BANNER and "no published number" in made.BANNER
