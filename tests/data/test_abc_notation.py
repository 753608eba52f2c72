"""Tunes in ABC notation as texts of a language model, and back; their bars."""

import pytest

from rnnzoo.data.abc_notation import as_abc, as_text, melody, prompt, title, tunes_of


TUNE = """X: 12
T:The Test
T:Another name
% a comment
S:somebody
M:6/8
R:jig
K:G
P:A
D|"G"GAB "D7"d2B\\
|"C"c3 % to the end
K:D
M:9/8
w:la la
d6:|
"""


def test_a_tune_is_its_book_metre_unit_length_key_and_music():
    text = as_text("jigs", TUNE)
    assert text == 'jigs\nM:6/8\nL:1/8\nK:G\nD|"G"GAB "D7"d2B\n|"C"c3\nK:D\nM:9/8\nd6:|'
    assert prompt(text) == "jigs\nM:6/8\nL:1/8\nK:G\n"
    assert title(TUNE) == "The Test" and title("K:C\nc") == ""


@pytest.mark.parametrize("header, c", [("2/4", "c/2"), ("3/4", "c"), ("6/8", "c"), ("C|", "c"), ("4/4\nL:1/4", "c2")])
def test_lengths_are_in_eighths_and_the_standards_where_the_header_has_none(header, c):
    text = as_text("b", f"M:{header}\nK:C\nc")
    assert text.splitlines()[2] == "L:1/8" and text.splitlines()[-1] == c


def test_every_note_is_written_in_eighths_and_nothing_else_changes():
    written = '"A2/4"A B2 c/ d/2 e// f3/4 ^G,3/2 z4 x1/2 [a/b\'2]3 (3cd/e2 A>B !fermata!A|[1 B:|'
    text = as_text("b", f"M:4/4\nL:1/4\nK:C\n{written}\nL:1/16\nA2B|")
    music = '"A2/4"A2 B4 c d e/2 f3/2 ^G,3 z8 x [ab\'4]3 (3c2de4 A2>B2 !fermata!A2|[1 B2:|'
    assert text.splitlines()[4:] == [music, "AB/2|"]


def test_a_metre_between_the_key_and_the_music_is_the_tunes():
    assert as_text("b", "K:C\nM:3/4\nc").splitlines()[1] == "M:3/4"


def test_a_metre_with_a_name_is_a_fraction_within_the_music_too():
    assert as_text("b", "M:3/4\nK:C\nc\nM:C|\nd").splitlines()[4:] == ["c", "M:2/2", "d"]


def test_a_note_before_a_repeat_sign_is_no_field():
    assert as_text("b", "M:4/4\nK:C\nc|\nG:|").splitlines()[-1] == "G:|"


@pytest.mark.parametrize(
    "tune, said",
    [
        ("K:C\nc", "metre ''"),
        ("M:none\nK:C\nc", "metre 'none'"),
        ("M:C\nc", "key"),
        ("M:C\nL:x\nK:C\nc", "unit note length 'x'"),
        ("M:C\nK:C\nc\nM:free\nc", "metre 'free'"),
        ("M:C\nL:1/4\nK:C\nc/0", "divided by zero, 'c/0'"),
    ],
)
def test_a_tune_without_metre_or_key_is_refused(tune, said):
    with pytest.raises(ValueError, match=said):
        as_text("b", tune)
    with pytest.raises(ValueError, match="music"):
        as_text("b", "M:4/4\nK:C\n% nothing")


def test_a_written_tune_is_read_as_the_same_text():
    text = as_text("jigs", TUNE)
    assert as_text("jigs", as_abc(text, 3, "name")) == text
    assert as_abc(text, 3, "name").startswith("X:3\nT:name\nM:6/8\nL:1/8\nK:G\n")
    assert as_text("b", "M:4/4\nK:C\nc8::d8:|").endswith("c8:||:d8:|")


def test_a_file_has_a_tune_from_each_number_on():
    first, second = tunes_of("% a book\nR:jigs\n\nX:1\nK:C\nc\n\nX:2\nK:D\nd\n")
    assert (first, second) == ("X:1\nK:C\nc\n", "X:2\nK:D\nd")


def test_bars_are_what_stands_between_bar_lines_without_chords_and_spaces():
    text = 'b\nM:4/4\nL:1/8\nK:C\n|:"C|m"c4 [ce]4|d8||\nK:G\n[1 e4\nf4:|[2g8::A8|]'
    assert melody(text) == ["c4[ce]4", "d8", "e4f4", "g8", "A8"]
