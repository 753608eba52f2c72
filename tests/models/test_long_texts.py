"""Texts of any length and characters: parts give the answer to the complete text, and memory stays small."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from rnnzoo import modeling_rnnzoo
from tests.conftest import HEADS, SMALL
from tests.support.reliability import note
from tests.support.small_pipelines import pipelines


ROOT = Path(__file__).parents[2]
CLASSIFIERS = [head for head in HEADS if head.auto is AutoModelForSequenceClassification]
TAGGERS = [head for head in HEADS if head.auto is AutoModelForTokenClassification]
LENGTH = 23


def named(head):
    return head.name


@pytest.fixture
def rows():
    """Rows of unequal length, padded on the right, and their mask."""
    lengths = torch.tensor([LENGTH, 9, 1, 0])
    mask = (torch.arange(LENGTH) < lengths[:, None]).long()
    return torch.randint(3, SMALL["vocab_size"], mask.shape), mask


def in_parts(model, size, ids, mask):
    """The output for each part of the rows, which continues from the state of the part before it."""
    state = None
    for part, real in zip(ids.split(size, 1), mask.split(size, 1), strict=True):
        out = model(part, attention_mask=real, initial_state=state)
        state = out.final_state
        yield out


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("head", [head for head in CLASSIFIERS if not head.bidirectional], ids=named)
@torch.no_grad()
def test_a_classifier_of_one_direction_continues_from_a_state(head, size, rows):
    model = head.model(num_hidden_layers=2)
    ids, mask = rows
    read = 0
    for out in in_parts(model, size, ids, mask):
        read = min(read + size, LENGTH)
        so_far = model(ids[:, :read], attention_mask=mask[:, :read])
        assert torch.allclose(out.logits, so_far.logits, atol=1e-6)
    for found, expected in zip(out.final_state.to_tuple(), so_far.final_state.to_tuple(), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("head", [head for head in TAGGERS if not head.bidirectional], ids=named)
@torch.no_grad()
def test_a_tagger_of_one_direction_continues_from_a_state(head, size, rows):
    model = head.model(num_hidden_layers=2)
    ids, mask = rows
    found = torch.cat([out.logits for out in in_parts(model, size, ids, mask)], dim=1)
    assert torch.allclose(found, model(ids, attention_mask=mask).logits, atol=1e-6)


NEEDS_THE_COMPLETE_TEXT = [
    *((next(head for head in heads if head.bidirectional), "bidirectional", True) for heads in (CLASSIFIERS, TAGGERS)),
    *((CLASSIFIERS[0], "window", 5), (CLASSIFIERS[0], "pooling", "mean"), (TAGGERS[0], "use_crf", True)),
]


@pytest.mark.parametrize(("head", "field", "value"), NEEDS_THE_COMPLETE_TEXT)
@torch.no_grad()
def test_a_model_that_needs_the_complete_text_says_why(head, field, value, rows):
    model = head.model(**{field: value})
    ids, mask = rows
    state = model(ids, attention_mask=mask).final_state
    with pytest.raises(ValueError, match=f"A model with {field}={value!r} cannot continue from an initial_state: it"):
        model(ids, attention_mask=mask, initial_state=state)


def test_in_training_rows_are_not_read_in_chunks(monkeypatch, rows):
    """Chunks keep no graph for gradients."""
    monkeypatch.setattr(modeling_rnnzoo, "CHUNK", 4)
    ids, _ = rows
    for head in (CLASSIFIERS[0], TAGGERS[0]):
        model = head.model()
        model(ids).logits.sum().backward()
        assert all(part.grad is not None for part in model.parameters())
        with torch.no_grad():
            assert len(model(ids, output_hidden_states=True).hidden_states[-1][0]) == LENGTH


# ---- characters ----

ODD = {
    "control characters": "".join(map(chr, range(32))) + "\x7f\x80\x85\x9f",
    "zero": "a\0b",
    "a byte order mark": "\ufeffa good film",
    "thousands of marks": "e" + "\u0301" * 5000,
    "right to left": "\u202eשלום \u202cمرحبا",
    "joined emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466" * 50,
    "private use": "\ue000\U000f0000\U0010fffd",
    "not assigned": "\u0378\U000e0fff\uffff\U0010ffff",
    "spaces": "\u00a0\u2003\u3000\u2028\u2029 \t\v\f",
    "one word of a million characters": "a" * 10**6,
    "a character that is longer in lower case": "İ" * 1000,
    "Chinese without a space": "東京都" * 1000,
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_characters_are_answered(text):
    classify, tag = pipelines()
    for asked in (text, f"Ada {text} good"):
        assert 0 <= classify([asked])[0]["score"] <= 1
        for found in tag(asked):
            assert 0 <= found["start"] < found["end"] <= len(asked)
            # Python strips \x1c to \x1f too, which are no white space by Unicode, and so words of their own.
            name = asked[found["start"] : found["end"]]
            assert name.strip() or set(name) <= set("\x1c\x1d\x1e\x1f")


# ---- memory ----

ASK = """
import json, re, sys
import torch
from transformers import pipeline
import rnnzoo

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024

torch.set_num_threads(1)
task, model, words = json.loads(sys.argv[1])
pipe = pipeline(task, model=model, device="cpu")
pipe("a good film")
before = peak()
text = "Ada did not like the film in Ulm , I did . " * (words // 12)
answer = pipe(text)
print(json.dumps({"peak": peak() - before, "words": len(text.split()), "answer": answer if len(answer) < 2 else 0}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "task, name, most",
    [("text-classification", "lstm-imdb", 1024), ("token-classification", "lstm-glove-conll2003", 4096)],
)
def test_a_million_words_take_little_memory(task, name, most):
    """At most `most` MiB above the peak of the process after it has answered a short text."""
    asked = json.dumps([task, str(ROOT / "model_cards" / name), 1_200_000])
    done = subprocess.run([sys.executable, "-c", ASK, asked], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["words"] >= 10**6 and found["peak"] < most
    note(
        f"a text of a million words, {name}", f"{found['words']:,} words through pipeline(): {found['peak']} MiB more"
    )
