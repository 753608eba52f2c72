"""Tag schemes: every scheme encodes the same entities, and a tag that it does not allow is refused with its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnzoo.data.errors import DataError
from rnnzoo.data.schemes import SCHEMES, convert, entities, guess, labels


# The same words in every scheme: neighbours of one type and of two, at both ends and inside.
SENTENCE = {
    "IOB2": "B-LOC B-LOC I-LOC O B-PER B-ORG I-ORG I-ORG B-ORG O O B-a-b I-a-b".split(),
    "IOB1": "I-LOC B-LOC I-LOC O I-PER I-ORG I-ORG I-ORG B-ORG O O I-a-b I-a-b".split(),
    "IOBES": "S-LOC B-LOC E-LOC O S-PER B-ORG I-ORG E-ORG S-ORG O O B-a-b E-a-b".split(),
    "BILUO": "U-LOC B-LOC L-LOC O U-PER B-ORG I-ORG L-ORG U-ORG O O B-a-b L-a-b".split(),
}
SPANS = [("LOC", 0, 1), ("LOC", 1, 3), ("PER", 4, 5), ("ORG", 5, 8), ("ORG", 8, 9), ("a-b", 11, 13)]

schemes = st.sampled_from(SCHEMES)
segments = st.tuples(st.sampled_from([None, "LOC", "PER", "creative-work"]), st.integers(1, 4))


@st.composite
def sentences(draw):
    """The spans of a sentence and its length."""
    spans, word = [], 0
    for kind, length in draw(st.lists(segments, max_size=6)):
        if kind:
            spans.append((kind, word, word + length))
        word += length
    return spans, word


def iob2(spans, length):
    return [
        next((f"{'B' if word == start else 'I'}-{kind}" for kind, start, end in spans if start <= word < end), "O")
        for word in range(length)
    ]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_sentence_has_the_same_entities_in_every_scheme(scheme):
    assert entities(SENTENCE[scheme], scheme) == SPANS
    assert guess([["O"], SENTENCE[scheme]]) == scheme
    for target in SCHEMES:
        assert convert(SENTENCE[scheme], scheme, target) == SENTENCE[target]


@given(sentences(), schemes, schemes)
def test_conversion_there_and_back_loses_nothing(sentence, source, target):
    spans, length = sentence
    tags = convert(iob2(spans, length), "IOB2", source)
    assert entities(tags, source) == spans
    assert convert(convert(tags, source, target), target, source) == tags
    assert convert(tags, source, "IOB2") == iob2(spans, length)


@given(st.lists(sentences(), min_size=1), schemes)
def test_the_scheme_of_a_data_set_is_detected(drawn, scheme):
    written = [convert(iob2(*sentence), "IOB2", scheme) for sentence in drawn]
    assert guess(written) == (scheme if any(spans for spans, _ in drawn) else "IOB2")


def test_a_wrong_tag_does_not_change_the_guess():
    for scheme, tags in SENTENCE.items():
        for wrong in ("I-PER", "B-PER", "E-PER", "nonsense"):
            assert guess([tags, ["O", wrong, "O"]]) == scheme


BAD = {
    "unknown prefix": ("IOB2", "O X-LOC", 1, "'X-LOC', which is not a tag (O, B-LOC"),
    "no prefix": ("IOB2", "LOC O", 0, "'LOC', which is not a tag"),
    "no type": ("IOB2", "O O B-", 2, "'B-', which is not a tag"),
    "another O": ("IOB2", "o", 0, "'o', which is not a tag"),
    "IOB2, I- after O": ("IOB2", "B-LOC O I-LOC", 2, "'I-LOC', where IOB2 has 'B-LOC'"),
    "IOB2, I- of another type": ("IOB2", "B-LOC I-PER", 1, "'I-PER', where IOB2 has 'B-PER'"),
    "IOB2, S-": ("IOB2", "O S-LOC", 1, "'S-LOC', where IOB2 has 'B-LOC'"),
    "IOB1, B- after O": ("IOB1", "O B-LOC", 1, "'B-LOC', where IOB1 has 'I-LOC'"),
    "IOB1, B- after another type": ("IOB1", "I-PER B-LOC", 1, "'B-LOC', where IOB1 has 'I-LOC'"),
    "IOBES, E- after O": ("IOBES", "O E-LOC", 1, "'E-LOC', where IOBES has 'S-LOC'"),
    "IOBES, I- after S-": ("IOBES", "S-LOC I-LOC E-LOC", 1, "'I-LOC', where IOBES has 'B-LOC'"),
    "IOBES, B- with no end": ("IOBES", "B-LOC O", 0, "'B-LOC', where IOBES has 'S-LOC'"),
    "IOBES, I- with no end": ("IOBES", "B-LOC I-LOC", 1, "'I-LOC', where IOBES has 'E-LOC'"),
    "IOBES, S- inside": ("IOBES", "B-LOC S-LOC E-LOC", 0, "'B-LOC', where IOBES has 'S-LOC'"),
}


@pytest.mark.parametrize("scheme, tags, word, message", BAD.values(), ids=BAD)
def test_bad_tags_are_refused(scheme, tags, word, message):
    for ask in (
        lambda: entities(tags.split(), scheme, "row 7"),
        lambda: convert(tags.split(), scheme, "IOB1", "row 7"),
    ):
        with pytest.raises(DataError) as caught:
            ask()
        assert str(caught.value).startswith(f"Word {word} of row 7 (both counted from 0) has the tag {message}")
        assert "\n" not in str(caught.value)


def test_labels_are_in_alphabetical_order():
    assert labels(["PER", "LOC", "PER"]) == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert labels([]) == ["O"]
