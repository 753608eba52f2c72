"""Tunes in other keys."""

from importlib.util import find_spec

import pytest

from rnnzoo.data.abc_notation import as_abc
from rnnzoo.data.transposing import signature, transposed


TUNE = 'jigs\nM:6/8\nL:1/8\nK:G\n"G"GAB d2g|"D7/f+"^c\'_B,=f F3|[1"F#m"[Bd]3 z3:|\nK:Em\nM:9/8\n"Em"(3E^DE {g}a6-|'


@pytest.mark.parametrize(
    "key, sharps", [("C", 0), ("G", 1), ("Bb", -2), ("F#", 6), ("Em", 1), ("Gm", -2), ("D mix", 1), ("Ador", 1)]
)
def test_a_key_has_these_sharps(key, sharps):
    assert signature(key) == sharps


@pytest.mark.parametrize("key", ["", "H", "G#", "none", "Xm"])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(ValueError):
        signature(key)


def test_notes_chord_symbols_and_keys_move_and_nothing_else():
    assert transposed(TUNE, 2) == (
        'jigs\nM:6/8\nL:1/8\nK:A\n"A"ABc e2a|"E7/g+"^d\'_C=g G3|[1"G#m"[ce]3 z3:|\nK:F#m\nM:9/8\n"F#m"(3F^EF {a}b6-|'
    ).replace("_C", "=C")
    with pytest.raises(ValueError):
        transposed(TUNE, 7)


@pytest.mark.parametrize("fifths", [-4, -3, -2, -1, 1, 2, 3, 4])
def test_moving_back_gives_the_tune(fifths):
    assert transposed(transposed(TUNE, fifths), -fifths) == TUNE


@pytest.mark.skipif(find_spec("music21") is None, reason="music21 is not installed: rnnzoo[music]")
@pytest.mark.parametrize("fifths", [-3, -1, 1, 2, 3])
def test_music21_hears_every_note_and_chord_at_the_same_distance(fifths):
    from music21.abcFormat import ABCFile, translate
    from music21.harmony import ChordSymbol

    def heard(text):
        sounds = translate.abcToStreamScore(ABCFile().readstr(as_abc(text))).flatten().notes
        return [
            sound.root().pitchClass if isinstance(sound, ChordSymbol) else [p.midi for p in sound.pitches]
            for sound in sounds
        ]

    distances = set()
    for before, after in zip(heard(TUNE), heard(transposed(TUNE, fifths)), strict=True):
        both = zip(before, after, strict=True) if isinstance(before, list) else [(before, after)]
        distances |= {(b - a) % 12 for a, b in both}
    assert distances == {7 * fifths % 12}
