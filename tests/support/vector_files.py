"""Word vectors in every format in which they are shared, as the bytes of a file."""

import numpy as np


WORDS = ["the", ",", "of", "café", "1984", "-0.5", "👍", "a\u00a0b", "don't"]
VECTORS = np.random.default_rng(0).normal(size=(len(WORDS), 5)).astype(np.float32)


def text(words=WORDS, vectors=VECTORS, end="\n"):
    # Of the shortest decimal fraction that gives the same double, which is none but the float that it was.
    rows = (" ".join([word, *map(repr, vector.tolist())]) for word, vector in zip(words, vectors, strict=True))
    return "".join(row + end for row in rows).encode()


def header(words=WORDS, vectors=VECTORS):
    return f"{len(words)} {vectors.shape[1]}\n".encode()


def binary(words=WORDS, vectors=VECTORS, end=b""):
    rows = (word.encode() + b" " + vector.astype("<f4").tobytes() for word, vector in zip(words, vectors, strict=True))
    return header(words, vectors) + b"".join(row + end for row in rows)


FORMATS = {
    "glove": text(),
    "glove with CRLF": text(end="\r\n"),
    "glove without a last line break": text()[:-1],
    "word2vec text": header() + text(),
    "fasttext": header() + text(end=" \n"),
    "word2vec binary": binary(),
    "word2vec binary with line breaks": binary(end=b"\n"),
}
