"""Probes: the model answers every text, and right answers give a share of 1."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from rnnzoo.training import probes


def asker(labels, answer):
    """A `pipeline` that answers as `answer` does, and the list of the texts that it was asked."""
    asked = []

    def ask(texts):
        asked.extend(texts)
        return [answer(text) for text in texts]

    ask.model = SimpleNamespace(config=SimpleNamespace(id2label=dict(enumerate(labels))))
    return asked, lambda task, model, **options: ask


def by_words(text):
    """Knows the words of praise and blame in these texts, and that a negation reverses them."""
    blame = [*probes.BLAME, "cold", "rude", "hour for tiny", "burnt", "dies", "broke", "late", "Dirty", "stale"]
    blame += ["insects", "not solve", "missed", "sorry"]
    bad = any(word in text for word in blame) != ("not" in text.split() and "film" in text)
    return [{"label": "positive", "score": 0.9 - 0.8 * bad}, {"label": "negative", "score": 0.1 + 0.8 * bad}]


def test_a_perfect_classifier_has_full_shares(monkeypatch):
    asked, pipeline = asker(("negative", "positive"), by_words)
    monkeypatch.setattr(probes, "pipeline", pipeline)
    found = probes.sentiment(Path("folder"))
    assert sum(probe.texts for probe in found) == len(asked) == len(set(asked))
    assert {probe.measure: probe.value for probe in found} == {
        "share that is right": 1.0,
        "mean probability of positive": 0.9,
    }
    assert len(found) == len(probes.NAMES) + len(probes.NEGATION) + len(probes.DOMAINS)


def test_a_classifier_that_ignores_negation_fails_on_negated_sentences_only(monkeypatch):
    _, pipeline = asker(("negative", "positive"), lambda text: by_words(re.sub(r"\bnot\b", "", text)))
    monkeypatch.setattr(probes, "pipeline", pipeline)
    shares = {probe.tried.partition(":")[0]: probe.value for probe in probes.sentiment(Path("folder"))}
    assert [shares[name] for name in ("plain", "negated", "negated from afar")] == [1.0, 0.0, 0.0]


def by_capitals(text):
    """Knows all the names in these texts, if they are written with a capital."""
    known = [name for _, names in probes.CASED for name in names] + [
        n for names in probes.NAMES.values() for n in names
    ]
    places = {"London", "Portugal", "Paris", "Madrid", "New York", "Germany", "Mexico", "Vienna", "Berlin"}
    return [
        {"entity_group": "LOC" if name in places else "PER", "start": found.start(), "end": found.end()}
        for name in {*known, "Berlin"}
        for found in re.finditer(rf"\b{name}\b", text)
    ]


def test_a_tagger_that_knows_the_names_has_full_shares_except_in_other_case(monkeypatch):
    asked, pipeline = asker(("O", "B-PER", "I-PER", "B-LOC", "I-LOC"), by_capitals)
    monkeypatch.setattr(probes, "pipeline", pipeline)
    found = {probe.tried: probe for probe in probes.names(Path("folder"))}
    assert sum(probe.texts for probe in found.values()) == len(asked)
    cased = {case: found.pop(f"plain sentences, {case}").value for case in ("as written", "in lower case")}
    assert cased == {"as written": 1.0, "in lower case": 0.0}
    assert found.pop("plain sentences, in upper case").value == 0.0
    assert {probe.value for probe in found.values()} == {1.0} and len(found) == len(probes.NAMES)


@pytest.mark.parametrize(
    ("probe", "labels"), [(probes.sentiment, ("0", "1", "2")), (probes.names, ("O", "B-DRUG", "I-DRUG"))]
)
def test_a_model_with_other_labels_is_not_probed(monkeypatch, probe, labels):
    asked, pipeline = asker(labels, None)
    monkeypatch.setattr(probes, "pipeline", pipeline)
    assert probe(Path("folder")) == [] and not asked
