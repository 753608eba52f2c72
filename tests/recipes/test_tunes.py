"""Tunes that models write: in which order they are played, whether their bars add up, and what of them is copied."""

import random
from importlib.util import find_spec

import pytest

from recipes.tunes.copying import longest_shared
from recipes.tunes.playing import played


needs_music21 = pytest.mark.skipif(find_spec("music21") is None, reason="music21 is not installed: rnnzoo[music]")


def text(music, metre="4/4", length="1/4"):
    return f"jigs\nM:{metre}\nL:{length}\nK:C\n{music}"


@pytest.mark.parametrize(
    "music, order",
    [
        ("A|B|C|", "A|B|C|"),
        ("A|B:|", "A|B||A|B||"),
        ("A|:B|C:|D|", "A||B|C||B|C||D|"),
        ("A|B:|C|D:|", "A|B||A|B||C|D||C|D||"),
        ("A::B:|", "A||A||B||B||"),
        ("A:||:B:|", "A||A||B||B||"),
        ("A||B|C:|", "A||B|C||B|C||"),
        ("A|[1B:|[2C||D|", "A|||B||A|||C||D|"),
        ("|:A|[1B:|[2C|]D:|", "||A|||B||A|||C||D||D||"),
        ('|:"C|x"A|\n"[1"B:|', '||"C|x"A|"[1"B||"C|x"A|"[1"B||'),
        ("A|\nK:G\nB:|", "A|\nK:G\nB||A|\nK:G\nB||"),
        ("[CE]A:|", "[CE]A||[CE]A||"),
    ],
)
def test_repeats_and_endings_are_played_out(music, order):
    assert played(text(music)) == text(order)


@pytest.mark.parametrize("music", ['A|"B|', "AB:C|", "A|[1B:|C|"])
def test_what_cannot_be_played_is_refused(music):
    with pytest.raises(ValueError, match="cannot be read|no second one"):
        played(text(music))


ADD_UP = {
    "complete bars": ("ABcd|A2B2|", {}),
    "an upbeat and a last bar without it": ("A|BcdA|BcdA|BcA|", {}),
    "an upbeat that a repeat goes back to": ("A|BcdA|BcA:|B|cdAB|cdA:|", {}),
    "endings of which each completes an upbeat": ("|:A|BcdA|[1BcA:|[2Bcd||B|cdAB|cdA:|", {}),
    "an ending without the upbeat, before a section without": ("|:A|BcdA|[1BcA:|[2BcdA||cdAB|", {}),
    "a bar that a double bar line divides": ("ABcd|AB||cd|ABcd|", {}),
    "a bar that a change of key divides": ("ABcd|ABc|\nK:G\nd|ABcd|", {}),
    "triplets": ("(3ABc d2|(3A/B/c/ d3|", {}),
    "dots, broken rhythm and rests": ("A3/2B/ c>d|z2 A<B|", {}),
    "chords, ties and grace notes": ("[ce]2-[ce]2|{g}A4|", {}),
    "chord symbols with a bar line in them": ('"C|G"ABcd|"Am"A4|', {}),
    "another unit length": ("A3 B3|c6|", {"metre": "6/8", "length": "1/8"}),
    "changes of metre and unit length": ("ABcd|\nM:3/4\nABc|\nL:1/8\nA2B2c2|\nM:4/4\nA8|", {}),
}
DO_NOT_ADD_UP = {
    "a bar that is short": ("ABcd|ABc|ABcd|", [1]),
    "a bar that is long": ("ABcd|ABcde|ABcd|", [1]),
    "two short bars at a plain bar line": ("ABcd|ABc|d|ABcd|", [1, 2]),
    "a repeat that goes back to an upbeat too many": ("A|BcdA|BcdA:|BcdA|", [3]),
    "an ending without the upbeat, before one": ("|:A|BcdA|[1BcA:|[2Bcd||BcdA|", [5]),
    "a first bar that is long": ("ABcde|ABcd|", [0]),
    "a last bar that is long": ("ABcd|ABcde|", [1]),
    "a triplet that lacks a note": ("(3ABc d2|(3AB d2|ABcd|", [1]),
    "the metre before a change": ("ABcd|\nM:3/4\nABcd|ABc|", [1]),
}


@needs_music21
@pytest.mark.parametrize("case", ADD_UP)
def test_these_bars_add_up(case):
    from recipes.tunes.bars import refused, wrong_bars

    music, header = ADD_UP[case]
    assert wrong_bars(text(music, **header)) == [] and not refused(text(music, **header))


@needs_music21
@pytest.mark.parametrize("case", DO_NOT_ADD_UP)
def test_these_bars_do_not_add_up(case):
    from recipes.tunes.bars import wrong_bars

    music, wrong = DO_NOT_ADD_UP[case]
    assert wrong_bars(text(music)) == wrong


@needs_music21
@pytest.mark.parametrize("music", ["A$BC|", '"C AB|', "[ce|", "AB|?|"])
def test_what_the_parser_does_not_read_to_the_last_character_is_refused(music):
    from recipes.tunes.bars import refused

    assert "music21" in refused(text(music))


def test_the_longest_shared_run_is_that_of_brute_force():
    rng = random.Random(0)
    for _ in range(50):
        others = [rng.choices("abc", k=rng.randrange(9)) for _ in range(4)]
        bars = rng.choices("abcd", k=rng.randrange(9))
        runs = (bars[i:j] for i in range(len(bars)) for j in range(i + 1, len(bars) + 1))
        within = [run for run in runs if any(run == o[k : k + len(run)] for o in others for k in range(len(o)))]
        assert longest_shared(others)(bars) == max(map(len, within), default=0)
