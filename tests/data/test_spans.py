"""Spans of characters: the words and tags that a walk over the characters finds, whatever the text and the spans."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnzoo.data.errors import BadRow
from rnnzoo.data.schemes import entities
from rnnzoo.data.spans import words_and_tags


@st.composite
def annotated(draw):
    """A text, and spans of it that do not overlap, in any order."""
    text = draw(st.text(st.sampled_from("ab.\U0001f600é \n\u00a0\u0085"), min_size=1, max_size=20))
    borders = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    spans = [
        [start, end, draw(st.sampled_from(["LOC", "PER"]))] for start, end in zip(borders, borders[1:], strict=False)
    ]
    spans = [span for span in spans if text[span[0] : span[1]].strip() and draw(st.booleans())]
    return text, draw(st.permutations(spans))


def walk(text, spans):
    """A word ends at white space and where another span, or none, begins; it has the tag of its span."""
    words, tags, before = [], [], None
    for place, character in enumerate(text):
        span = next((span for span in spans if span[0] <= place < span[1]), None)
        if character.isspace():
            before = None if before is None else (before[0], True)
            continue
        if before is not None and before[0] is span and not before[1]:
            words[-1] += character
        else:
            first = span is not None and not text[span[0] : place].strip()
            words.append(character)
            tags.append("O" if span is None else f"{'B' if first else 'I'}-{span[2]}")
        before = (span, False)
    return words, tags


@given(annotated())
def test_words_and_tags_are_those_of_a_walk_over_the_characters(drawn):
    text, spans = drawn
    words, tags = words_and_tags(text, spans)
    assert (words, tags) == walk(text, spans)
    # No character is lost, and every span is an entity, left to right.
    assert "".join(words) == "".join(text.split())
    found = [(kind, "".join(words[start:end])) for kind, start, end in entities(tags)]
    assert found == [(label, "".join(text[start:end].split())) for start, end, label in sorted(spans)]


def test_a_sentence_in_spans():
    text, york = "Ada (née Byron) left  New York.", {"start": 22, "end": 30, "label": "LOC", "token_start": 5}
    words, tags = words_and_tags(text, [york, [0, 3, "PER"], [9, 14, "PER"]])
    assert words == ["Ada", "(née", "Byron", ")", "left", "New", "York", "."]
    assert tags == ["B-PER", "O", "B-PER", "O", "O", "B-LOC", "I-LOC", "O"]


@pytest.mark.parametrize(
    "span", ["LOC", [0, 3], [0, 3, "LOC", "x"], [0, True, "LOC"], [0, "3", "LOC"], [0, 3, 7], None]
)
def test_what_is_no_span_is_refused(span):
    with pytest.raises(BadRow, match=r"^has the span .*\. A span must be"):
        words_and_tags("Bonn is here", [span])


@pytest.mark.parametrize("label", ["", " \t"])
def test_a_label_is_a_name(label):
    with pytest.raises(BadRow, match="whose label must be a name"):
        words_and_tags("Bonn is here", [[0, 4, label]])


def test_white_space_around_a_label_is_not_part_of_it():
    assert words_and_tags("Bonn is here", [[0, 4, "\xa0LOC "]])[1] == ["B-LOC", "O", "O"]
