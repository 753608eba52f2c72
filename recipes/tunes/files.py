"""Tunes as files: ABC notation, and with the packages of rnnzoo[music] MIDI and a picture of the score."""

from functools import partial
from importlib.util import find_spec
from pathlib import Path

from recipes.tunes.bars import refused
from recipes.tunes.playing import played
from rnnzoo.data.abc_notation import as_abc
from rnnzoo.data.errors import brief


# What MIDI and pictures need, as they are imported: music21 reads ABC, verovio engraves.
NEEDED = ("music21", "verovio")


def missing() -> str:
    """What to install for MIDI and pictures; "" if it is there."""
    lacking = [name for name in NEEDED if find_spec(name) is None]
    return f"No MIDI and no pictures: {' and '.join(lacking)} not installed, see rnnzoo[music]." if lacking else ""


def write(text: str, path: Path, number: int, draw: bool = True) -> None:
    """Writes a tune to PATH, which ends in .abc; with `draw`, where the packages are there, .mid and .svg beside it.

    Of a tune that music21 cannot read there is no MIDI and no picture, which is said.
    """
    book, metre, _, key = text.splitlines()[:4]
    abc = as_abc(text, number, f"{book}, {metre[2:]}, {key[2:]}, number {number}")
    path.write_text(abc, encoding="utf-8")
    if not draw or missing():
        return
    if reason := refused(text):
        print(f"{path.name} has no MIDI and no picture: {reason}.")
        return
    for form, make in ((".mid", partial(_write_midi, text)), (".svg", partial(_draw, abc))):
        try:
            make(path.with_suffix(form))
        except Exception as error:  # music21 reads more than it can write
            print(f"{path.stem}{form} is not written: {brief(error)}")


def _score(abc: str):
    from music21.abcFormat import ABCFile, translate

    return translate.abcToStreamScore(ABCFile().readstr(abc))


def _write_midi(text: str, path: Path) -> None:
    """The melody as it is played. Chord symbols have no length of their own, and music21 would make them notes."""
    from music21.harmony import ChordSymbol

    sounds = _score(as_abc(played(text))).flatten().notesAndRests
    sounds.getElementsNotOfClass(ChordSymbol).stream().write("midi", path)


def _draw(abc: str, path: Path) -> None:
    import verovio
    from music21.musicxml.m21ToXml import GeneralObjectExporter

    toolkit = verovio.toolkit()
    toolkit.setOptions({"adjustPageHeight": True, "pageWidth": 1800, "pageHeight": 60000, "scale": 40})
    toolkit.loadData(GeneralObjectExporter(_score(abc)).parse().decode())
    toolkit.renderToSVGFile(str(path), 1)
