"""Beams that follow the beat."""

from fractions import Fraction

import pytest

from rnnzoo.data.beams import beamed, on_beats


@pytest.mark.parametrize(
    "metre, written, spaced",
    [
        ("4/4", "A B2A GF ED|E4FG", "AB2A GF ED|E4 FG"),
        ("2/4", "A/2B/2c d2 |ef", "A/2B/2c d2|ef"),
        ("3/4", "ABcdef", "AB cd ef"),
        ("4/4", "A|BcdA", "A|Bc dA"),
        ("6/8", "A B c d2 e|f3- f3", "ABc d2e|f3- f3"),
        ("9/8", "A3 Bcde2f", "A3 Bcd e2f"),
        ("2/2", "A2B2 c4", "A2 B2 c4"),
        ("3/8", "ABc|d2e", "ABc|d2e"),
    ],
)
def test_a_space_ends_each_beat_of_the_metre(metre, written, spaced):
    assert on_beats(written, metre, Fraction(1, 8)) == spaced


@pytest.mark.parametrize(
    "written, spaced",
    [
        ('" Em"A2 "G/b" B2', '"Em"A2 "G/b"B2'),
        ("(3ABc d2", "(3ABc d2"),
        ("A(3ABc A d2", "A(3ABcA d2"),
        ("[AC]2[B2D2] ~c!trill!d", "[AC]2 [B2D2] ~c!trill!d"),
        ("A2 | B2 |: ||c2:|[1 d2", "A2|B2|: ||c2:|[1d2"),
        ("^A_B=c'D,", "^A_B =c'D,"),
    ],
)
def test_what_takes_no_time_does_not_move_the_beats(written, spaced):
    assert on_beats(written, "4/4", Fraction(1, 8)) == spaced


def test_the_beats_of_a_text_are_those_of_the_metre_that_holds():
    text = "b\nM:6/8\nL:1/8\nK:G\nABcd\nM:4/4\nK:D\nABcd|"
    assert beamed(text) == "b\nM:6/8\nL:1/8\nK:G\nABc d\nM:4/4\nK:D\nAB cd|"
    assert beamed(beamed(text)) == beamed(text)
