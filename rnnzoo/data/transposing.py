"""Tunes in other keys: the text of a tune with every note, chord symbol and key moved by the same interval.

An interval is a number of fifths. One fifth upwards, a key has one sharp more, or one flat less. A note moves by as
many steps of the scale as the key, and keeps its alteration against the key signature, so accidentals hold as far as
before.
"""

import re


# In the order of fifths: the index of a letter, and 7 more for each sharp, is its place on the line of fifths.
_FIFTHS, _SCALE = "FCGDAEB", "CDEFGAB"
# By how many sharps the signature of a mode differs from that of the major key on the same note.
_MODES = {"": 0, "maj": 0, "mix": -1, "dor": -2, "m": -3, "min": -3, "aeo": -3, "phr": -4, "loc": -5, "lyd": 1}
_KEY = re.compile(r"([A-G])([#b]?) ?([a-zA-Z]*)$")
_ACCIDENTALS = {"__": -2, "_": -1, "=": 0, "^": 1, "^^": 2}
_SOUND = re.compile(r'(?P<symbol>"[^"]*")|![^!]*!|(?P<sign>\^\^?|__?|=)?(?P<letter>[A-Ga-g])(?P<octave>[,\']*)')
_ROOT = re.compile(r"(^|[/(])([A-G]|(?<=/)[a-g])([#b+-]?)")


def signature(key: str) -> int:
    """The sharps of a key such as G or Em; flats are negative.

    Raises:
        ValueError: it is no key of these modes, or has more than seven.
    """
    found = _KEY.match(key)
    mode = found and _MODES.get(found[3][:3].lower())
    if mode is None or not -7 <= (sharps := _place(found[1], found[2]) - 1 + mode) <= 7:
        raise ValueError(f"{key!r:.20} is no key such as G or Em")
    return sharps


def transposed(text: str, fifths: int) -> str:
    """The text of a tune, as `abc_notation.as_text` has it, an interval of so many fifths away, the near way.

    Raises:
        ValueError: one of its keys is none that can be read, or would have more than seven sharps or flats; or a note
            would need more than two.
    """
    steps = (4 * fifths + 3) % 7 - 3
    lines, sharps = text.splitlines(), 0
    for number, line in enumerate(lines[1:], start=1):
        if line.startswith("K:"):
            sharps = signature(line[2:].strip())
            lines[number] = f"K:{_key(line[2:].strip(), fifths)}"
        elif not re.match(r"[A-Z]:(?![|:])", line):
            lines[number] = _SOUND.sub(lambda found, sharps=sharps: _sound(found, steps, fifths, sharps), line)
    return "\n".join(lines)


def _place(letter: str, sign: str) -> int:
    return _FIFTHS.index(letter) + 7 * {"": 0, "#": 1, "b": -1}[sign]


def _key(key: str, fifths: int) -> str:
    found = _KEY.match(key)
    place = _place(found[1], found[2]) + fifths
    moved = _FIFTHS[place % 7] + {-1: "b", 0: "", 1: "#"}.get(place // 7, "?") + found[3]
    signature(moved)
    return moved


def _altered(letter: str, sharps: int) -> int:
    """The sharps that a key signature of so many sharps gives a letter."""
    return (sharps + 6 - _FIFTHS.index(letter)) // 7


def _moved(letter: str, steps: int) -> tuple[str, int]:
    """The letter so many steps up, and the octaves between them."""
    place = _SCALE.index(letter) + steps
    return _SCALE[place % 7], place // 7


def _sound(found: re.Match, steps: int, fifths: int, sharps: int) -> str:
    if found["symbol"]:
        return _ROOT.sub(lambda root: _root(root, steps, fifths, sharps), found[0][1:-1]).join('""')
    if not found["letter"]:
        return found[0]
    letter, up = _moved(found["letter"].upper(), steps)
    octave = found["letter"].islower() + found["octave"].count("'") - found["octave"].count(",") + up
    written = letter.lower() + "'" * (octave - 1) if octave > 0 else letter + "," * -octave
    if not found["sign"]:
        return written
    change = _ACCIDENTALS[found["sign"]] - _altered(found["letter"].upper(), sharps)
    return _sign(change + _altered(letter, sharps + fifths), {n: sign for sign, n in _ACCIDENTALS.items()}) + written


def _root(found: re.Match, steps: int, fifths: int, sharps: int) -> str:
    """The root of a chord symbol, or its bass, whose accidentals are written as plus and minus."""
    before, written, sign = found.groups()
    letter, _ = _moved(written.upper(), steps)
    change = {"": 0, "#": 1, "+": 1, "b": -1, "-": -1}[sign] - _altered(written.upper(), sharps)
    signs = {-1: "-", 0: "", 1: "+"} if written.islower() else {-1: "b", 0: "", 1: "#"}
    return (
        before
        + (letter.lower() if written.islower() else letter)
        + _sign(change + _altered(letter, sharps + fifths), signs)
    )


def _sign(sharps: int, signs: dict[int, str]) -> str:
    if sharps not in signs:
        raise ValueError(f"a note would have {sharps} sharps")
    return signs[sharps]
