"""Random texts, configurations and damaged files are answered, or refused with a documented error.

Each kind has a strategy of hypothesis and a check of what it draws, which returns the outcome in a word and fails on
any undocumented error. No check may allocate more memory than `ROOM`. The long versions run in processes of their own,
so that a crash of a library is seen and a hanging case is stopped.
"""

import faulthandler
import functools
import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import transformers
import yaml
from huggingface_hub.errors import StrictDataclassError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

import rnnzoo
from rnnzoo.data import sentences as tagged
from rnnzoo.data.errors import RecipeError
from rnnzoo.embeddings import load_word_vectors
from rnnzoo.tasks.classify import Classify
from rnnzoo.training.command_line import parse
from tests import conftest  # noqa: F401, first of all, because it says that there is no network
from tests.support.reliability import note
from tests.support.small_pipelines import SENTENCES, pipelines
from tests.support.vector_files import FORMATS


# Libraries warn of various kinds of damage.
pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).parents[2]
ROOM = 2 << 30  # bytes of memory that a check may allocate
SECONDS = 300  # after which a case counts as hanging, even on a busy machine


def refused(error, *documented):
    """The outcome of an error. One that passed through rnnzoo must be documented; others are transformers' own."""
    said = str(error)
    assert said and not isinstance(error, MemoryError)
    assert not any(word in said for word in ("alloc", "MemoryError")), said
    package = str(ROOT / "rnnzoo")
    if documented and any(frame.filename.startswith(package) for frame in traceback.extract_tb(error.__traceback__)):
        assert isinstance(error, documented), traceback.format_exception(error)
    return "refused"


# ---- texts ----

FRAGMENTS = [
    *("a\u0301\u0302\u0303", "\u202eabc\u202c", "שלום", "مرحبا", "東京", "ß", "İ", "ﬁ"),  # marks, and both directions
    *("\0", "\ufeff", "\u200b", "\u2028", "\r\n", " ", "\U0010ffff", "\ud83d", "\ude00", "\udcff"),
    *("\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f3f3\ufe0f\u200d\U0001f308"),  # a family, a flag
    *("don't", "N'T", "'s", "U.S.", "1,000.5", "a-a", "''''", "_", "##a", "<br />", "<pad>", "</s>"),
]
ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=30)
MIXED = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=12).map("".join)
LONG = st.tuples(st.sampled_from(FRAGMENTS) | ANY_TEXT, st.sampled_from([10**2, 10**2, 10**3, 10**3, 10**4, 10**5]))
TEXTS = st.lists(ANY_TEXT | MIXED | LONG.map(lambda drawn: (drawn[0] * drawn[1])[: drawn[1]]), min_size=1, max_size=3)


def check_texts(texts):
    classify, tag = pipelines()
    # Halves of characters are refused by a classifier's tokenizer, which is a class of transformers.
    valid = [text.encode(errors="replace").decode() for text in texts]
    for tokenizer, asked in (classify.tokenizer, valid), (tag.tokenizer, texts):
        spans = tokenizer(asked, return_offsets_mapping=True)["offset_mapping"]
        for text, row in zip(asked, spans, strict=True):
            assert all(0 <= start < end <= len(text) for start, end in row)
    for text, answer, entities in zip(texts, classify(valid, batch_size=2), tag(texts, batch_size=2), strict=True):
        assert 0 <= answer["score"] <= 1
        assert all(0 <= found["start"] < found["end"] <= len(text) for found in entities)
    found = "answered"
    for train, rows in (
        (rnnzoo.train_tokenizer, valid),
        (rnnzoo.train_tagger_tokenizer, [text.split() for text in texts]),
    ):
        try:
            train(rows, vocab_size=30)
        except ValueError as error:
            assert "no word" in str(error)
            found = "answered, no word to train on"
    return found


# ---- configurations ----

SMALL = st.integers(1, 12)
SHARE = st.sampled_from([0, 0.0, 0.5])
SENSIBLE = {
    **dict.fromkeys(("embedding_size", "hidden_size", "window"), SMALL),
    **dict.fromkeys(("character_embedding_size", "character_vocab_size"), SMALL),
    **dict.fromkeys(("embedding_dropout", "hidden_dropout", "recurrent_dropout", "classifier_dropout"), SHARE),
    **dict.fromkeys(("use_crf", "iobes", "tie_word_embeddings"), st.booleans()),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id"), st.none() | st.integers(0, 7)),
    "vocab_size": st.integers(8, 20),
    "num_hidden_layers": st.integers(0, 3),
    "bidirectional": st.just(True),
    **dict.fromkeys(("character_size", "context_size"), st.integers(0, 3)),
    "pooling": st.sampled_from(["last", "mean", "max", "concat", "attention"]),
    "num_labels": SMALL,
    "id2label": st.integers(1, 5).map(lambda n: {i: f"B-{i}" for i in range(n)}),
    "label2id": st.none() | st.just({"B-0": 0}),
    "problem_type": st.sampled_from([None, "regression", "multi_label_classification"]),
    "dtype": st.sampled_from([None, "float32", "bfloat16"]),
}
NUMBERS = st.integers(-3, 40) | st.sampled_from([2**31, 2**63, 10**30, -(10**30)]) | st.floats(width=16)
PLAIN = st.none() | st.booleans() | NUMBERS | st.text(max_size=5) | st.just("load")
JUNK = (
    PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.integers(0, 3) | st.text(max_size=3), PLAIN, max_size=3)
)
CONFIGS = st.tuples(
    st.sampled_from(sorted(rnnzoo.FAMILIES)),
    st.fixed_dictionaries({}, optional=SENSIBLE),
    st.just({}) | st.dictionaries(st.sampled_from(sorted(SENSIBLE)), JUNK | st.binary(max_size=3), max_size=2),
)


@contextmanager
def folder():
    """An empty temporary folder."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def check_configs(drawn):
    name, sensible, junk = drawn
    given, family = sensible | junk, rnnzoo.FAMILIES[name]
    try:
        config = family.config(**given)
    except (StrictDataclassError, TypeError, ValueError) as error:
        assert any(field in str(error) or str(value) in str(error) for field, value in given.items()), str(error)
        return refused(error)
    batch = {
        "input_ids": torch.randint(config.vocab_size, (2, 3)),
        "attention_mask": torch.tensor([[1, 1, 1], [0, 0, 1]]),
    }
    if config.reads_characters:
        batch["character_ids"] = torch.randint(config.character_vocab_size, (2, 3, 4))
    for auto, kind in family.models.items():
        if auto is AutoModelForCausalLM and (config.bidirectional or config.reads_characters):
            with pytest.raises(ValueError, match="A language model cannot have"):
                auto.from_config(config)
            continue
        model = auto.from_config(config).eval()
        assert type(model) is kind
        with folder() as path, torch.no_grad():
            assert model(**batch)[0].isfinite().all()
            model.save_pretrained(path)
            again = auto.from_pretrained(path)
            assert all(torch.equal(weight, again.state_dict()[key]) for key, weight in model.state_dict().items())
            told = [{field: getattr(part.config, field) for field in SENSIBLE} for part in (model, again)]
            assert told[0] | {"dtype": None} == told[1] | {"dtype": None}
    return "answered"


# ---- damaged files ----


def damaged(content, edits):
    """Bytes after edits: each has a kind, an offset and some bytes."""
    for kind, place, new in edits:
        place %= len(content) + 1
        behind = {"flip": len(new), "insert": 0, "cut": len(content), "drop": len(new) ** 2, "twice": -place}[kind]
        content = content[:place] + (b"" if kind in ("cut", "drop") else new) + content[max(0, place + behind) :]
    return content


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "flip", "insert", "cut", "drop", "twice"]),
        st.integers(0, 1 << 16),
        st.binary(min_size=1, max_size=4)
        | st.sampled_from([b"0", b"9999999999", b"\n", b" ", b"\t", b"-", b"{", b'"', b"\xff" * 4]),
    ),
    min_size=1,
    max_size=3,
)

# ---- checkpoints ----

JSON_VALUES = PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(st.text(max_size=3), PLAIN, max_size=3)
SHAPES = st.lists(st.sampled_from([0, 1, 3, 4, -1, 10**6, 10**12, 2**63, 2**64, None, "3", 1.5]), max_size=4)
CHECKPOINTS_OF = ["backbone", "classifier", "tagger"]
HEADERS = st.one_of(
    st.tuples(st.integers(0, 20), st.sampled_from(["shape", "data_offsets"]), SHAPES),
    st.tuples(st.integers(0, 20), st.just("dtype"), st.sampled_from(["F16", "F64", "I32", "F77"])),
    st.tuples(st.integers(0, 20), st.sampled_from(["gone", "twice", "renamed", "whole"]), JSON_VALUES),
    st.tuples(st.just(0), st.just("length"), st.integers(0, 2**64 - 1)),
)
CHECKPOINTS = st.tuples(
    st.sampled_from(CHECKPOINTS_OF),
    st.one_of(
        st.tuples(
            st.sampled_from(["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"]), EDITS
        ),
        st.tuples(st.just("header"), HEADERS),
        st.tuples(
            st.sampled_from(["config.json", "tokenizer_config.json"]),
            st.tuples(st.integers(0, 40), st.sampled_from(["value", "gone"]), JSON_VALUES),
        ),
    ),
)


@functools.cache
def checkpoint(name):
    """Its Auto class, and the bytes of its files."""
    torch.manual_seed(0)
    classify, tag = pipelines()
    models = {
        "backbone": (
            AutoModel,
            rnnzoo.RNNModel(rnnzoo.RNNConfig(**conftest.SMALL, num_hidden_layers=2)),
            classify.tokenizer,
        ),
        "classifier": (AutoModelForSequenceClassification, classify.model, classify.tokenizer),
        "tagger": (AutoModelForTokenClassification, tag.model, tag.tokenizer),
    }
    auto, model, tokenizer = models[name]
    with folder() as path:
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
        return auto, {file.name: file.read_bytes() for file in path.iterdir() if file.suffix != ".py"}


def with_header(weights, place, kind, value):
    """A safetensors file whose header is damaged, but still JSON."""
    size = 8 + int.from_bytes(weights[:8], "little")
    header, rest = json.loads(weights[8:size]), weights[size:]
    name = sorted(header)[place % len(header)]
    if kind == "length":
        return struct.pack("<Q", value) + weights[8:]
    if kind == "whole":
        header = value
    elif kind == "gone":
        del header[name]
    elif kind == "renamed":
        header[str(value)] = header.pop(name)
    elif kind in header[name]:
        header[name][kind] = value
    said = json.dumps(header)
    if kind == "twice":
        said = f'{{"{name}": {json.dumps(header[name])}, {said[1:]}'
    return struct.pack("<Q", len(said)) + said.encode() + rest


def with_value(content, place, kind, value):
    """A JSON file with one value replaced or removed."""
    values = json.loads(content)
    name = sorted(values)[place % len(values)]
    del values[name]
    return json.dumps(values if kind == "gone" else values | {name: value}).encode()


def check_checkpoints(drawn):
    name, (file, damage) = drawn
    auto, files = checkpoint(name)
    if file == "header":
        file, content = "model.safetensors", with_header(files["model.safetensors"], *damage)
    else:
        content = damaged(files[file], damage) if isinstance(damage, list) else with_value(files[file], *damage)
    with folder() as path:
        for part, whole in files.items():
            (path / part).write_bytes(content if part == file else whole)
        try:
            if file.startswith("tokenizer"):
                AutoTokenizer.from_pretrained(path, trust_remote_code=False)
                return "answered"
            model = auto.from_pretrained(path, trust_remote_code=False)
        except Exception as error:
            return refused(error, OSError, ValueError, RuntimeError, StrictDataclassError)
    expected = {key: weight.shape for key, weight in type(model)(model.config).state_dict().items()}
    assert {key: weight.shape for key, weight in model.state_dict().items()} == expected
    assert all(weight.isfinite().all() for weight in model.parameters())
    return "answered"


# ---- YAML ----

NAMES = st.sampled_from(sorted(Classify.Options.__dataclass_fields__)) | st.text(max_size=5)
MAPPINGS = st.dictionaries(
    st.sampled_from(["model_type", "hidden_size", "vocab_size", "pooling", "window", "punctuation", "lowercase"])
    | st.text(max_size=3),
    JSON_VALUES | st.sampled_from(["rnnzoo-lstm", "mean", 10]),
    max_size=3,
)
OPTIONS = st.dictionaries(NAMES, JSON_VALUES | MAPPINGS, max_size=4)
LSTM = {"model": {"model_type": "rnnzoo-lstm", "hidden_size": 8}, "tokenizer": {"vocab_size": 100}, "seed": 1}
TOKENS = [
    *("&a ", "*a", "<<: ", "? ", ": ", "- ", "[", "]", "{", "}", ", ", "\n", "  ", "|\n", "'", '"', "#", "---\n"),
    *("!!bool ", "!!int ", "!!float ", "!!timestamp ", "!!binary ", "!!set ", "!!omap ", "!!python/name:os.system "),
    *("seed", "model", "0x1", "1e999", "~", "\0", "%YAML 9\n"),
]
CONFIG_FILES = (
    st.binary(max_size=60)
    | st.lists(st.sampled_from(TOKENS), max_size=20).map(lambda parts: "".join(parts).encode())
    | st.tuples(st.sampled_from(["[", "{a: ", "- ", "? "]), st.integers(1, 3000)).map(lambda p: (p[0] * p[1]).encode())
    | (OPTIONS | st.dictionaries(NAMES, JSON_VALUES, max_size=1).map(lambda drawn: LSTM | drawn)).map(
        lambda drawn: yaml.safe_dump(drawn).encode()
    )
    | EDITS.map(lambda edits: damaged(yaml.safe_dump(LSTM).encode(), edits))
)


def check_yaml(content):
    with folder() as path:
        (path / "some.yaml").write_bytes(content)
        try:
            parse(Classify.Options, ["--config", str(path / "some.yaml")])
        except RecipeError as error:
            assert len(str(error)) < 3000
            return refused(error)
    return "answered"


# ---- data ----

COLUMNS = "".join(
    "".join(f"{word} NN {tag}\n" for word, tag in zip(row, ["B-X", "I-X", "O", "O", "B-Y", "O"], strict=False)) + "\n"
    for row in SENTENCES * 3
).encode()


def check_columns(edits):
    with folder() as path:
        (path / "train.conll").write_bytes(damaged(COLUMNS, edits))
        (path / "test.conll").write_bytes(COLUMNS)
        try:
            corpus = tagged.load("columns", str(path), seed=0)
        except RecipeError as error:
            return refused(error)
    assert all(len(row["tokens"]) == len(row["tags"]) for split in corpus.splits.values() for row in split)
    return "answered"


VECTORS = st.tuples(
    st.sampled_from(sorted(FORMATS)),
    st.none() | st.tuples(*[st.sampled_from([-1, 0, 5, 9, 10**9, 2**31, 2**63, 10**25])] * 2),
    EDITS | st.just([]),
)


def check_vectors(drawn):
    name, sizes, edits = drawn
    content = FORMATS[name]
    if sizes:
        content = b"%d %d\n" % sizes + content.partition(b"\n")[2]
    with folder() as path:
        (path / "vectors").write_bytes(damaged(content, edits))
        try:
            words, vectors = load_word_vectors(path / "vectors")
        except ValueError as error:
            return refused(error)
    assert len(words) == len(vectors) == len(set(words)) and vectors.isfinite().all()
    return "answered"


# ---- all of them ----

KINDS = {
    "texts": (TEXTS, check_texts),
    "configurations": (CONFIGS, check_configs),
    "checkpoints": (CHECKPOINTS, check_checkpoints),
    "YAML files": (CONFIG_FILES, check_yaml),
    "column files": (EDITS, check_columns),
    "vector files": (VECTORS, check_vectors),
}


@contextmanager
def limited_memory():
    """Allocating more memory than `ROOM` fails."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def fuzz(kind, cases, watched=False):
    """Counts of the outcomes."""
    strategy, check = KINDS[kind]
    found = Counter()

    @settings(max_examples=cases, derandomize=True, deadline=None, database=None, suppress_health_check=HealthCheck)
    @given(strategy)
    def one(drawn):
        if watched:
            faulthandler.dump_traceback_later(SECONDS, exit=True)
        found[check(drawn)] += 1

    for name in CHECKPOINTS_OF:
        checkpoint(name)  # now, before memory is limited
    with limited_memory():
        one()
    return found


# The number of cases of each kind, in the default suite and in the long versions.
CASES = {
    "texts": (25, 1000),
    "configurations": (30, 1500),
    "checkpoints": (200, 5000),
    "YAML files": (200, 5000),
    "column files": (30, 1500),
    "vector files": (300, 10_000),
}


@pytest.mark.parametrize("kind", CASES)
def test_a_few_cases_are_answered_or_refused(kind):
    assert fuzz(kind, CASES[kind][0])


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_many_cases_are_answered_or_refused(kind):
    done = subprocess.run(
        [sys.executable, __file__, kind, str(CASES[kind][1])],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    figures = ", ".join(f"{number:,} {what}" for what, number in sorted(found.items()))
    note(
        f"random or damaged: {kind}",
        f"{sum(found.values()):,} cases: {figures}; no crash, no hang, none took {ROOM >> 20} MiB",
    )


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(json.dumps(fuzz(sys.argv[1], int(sys.argv[2]), watched=True)))
