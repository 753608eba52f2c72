"""Rows of several sentences: each is read by itself, and what stands elsewhere for the same word is a plain mean."""

import random

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoModelForTokenClassification

from rnnzoo import FAMILIES, LSTMConfig, LSTMForTokenClassification
from rnnzoo.documents_rnnzoo import NO_WORD, Sentences, mean_elsewhere, word_keys
from tests.support.invariance import lay_out


MARK, UNKNOWN = 4, 2
SIZES = {"vocab_size": 20, "embedding_size": 5, "hidden_size": 4, "character_size": 3, "character_vocab_size": 9}
LABELS = {0: "O", 1: "B-X", 2: "I-X"}
# Texts by the number of words of their sentences; 0: a mark right after another one.
TEXTS = [[4, 1, 6], [3], [], [2, 0, 5, 1]]


def some_text(lengths):
    """Sentences of random words, all but the last one ended by a mark: ids and characters of each."""
    found = []
    for place, length in enumerate(lengths):
        ids = torch.randint(5, 20, (length,))
        if place + 1 < len(lengths):
            ids = torch.cat([ids, torch.tensor([MARK])])
        found.append({"input_ids": ids, "character_ids": torch.randint(2, 9, (len(ids), 3))})
    return found


def joined(sentences):
    """One row of them."""
    empty = {"input_ids": torch.zeros(0, dtype=torch.long), "character_ids": torch.zeros(0, 3, dtype=torch.long)}
    return {name: torch.cat([part, *(sentence[name] for sentence in sentences)]) for name, part in empty.items()}


def some_model(family, **fields):
    config = FAMILIES[family].config(**SIZES, id2label=LABELS, sentence_token_id=MARK, num_hidden_layers=2, **fields)
    model = FAMILIES[family].models[AutoModelForTokenClassification](config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


@pytest.mark.parametrize("side", ["left", "right", "mixed"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_row_answers_as_its_sentences_do_alone(family, side):
    torch.manual_seed(0)
    texts = [some_text(lengths) for lengths in TEXTS]
    batch, mask = lay_out(random.Random(0), [joined(text) for text in texts], side)
    for use_crf in (False, True):
        model = some_model(family, use_crf=use_crf)
        together = model(**batch, attention_mask=mask, output_hidden_states=True)
        assert together.final_state is None
        for row, text in enumerate(texts):
            alone = [
                model(**{name: part[None] for name, part in one.items()}, output_hidden_states=True) for one in text
            ]
            words = mask[row].nonzero()[:, 0]
            for name, found in named(together).items():
                expected = [named(out)[name][0, : len(one["input_ids"])] for out, one in zip(alone, text, strict=True)]
                if expected:
                    torch.testing.assert_close(
                        found[row, words], torch.cat(expected), msg=lambda m, name=name: name + m
                    )


def named(out):
    """What a tagger returns for each word; of the logits their probabilities, as those of a path are clipped."""
    found = {"probabilities": out.logits.softmax(-1)}
    found |= {name: out[name] for name in ("emissions", "tags", "marginals") if name in out}
    return found | {f"layer {number}": layer for number, layer in enumerate(out.hidden_states)}


@pytest.mark.parametrize("use_crf", [False, True])
def test_its_loss_and_gradients_are_those_of_its_sentences(use_crf):
    torch.manual_seed(0)
    model, text = some_model("LSTM", use_crf=use_crf), some_text([4, 1, 6])
    row = joined(text)
    labels = torch.randint(3, row["input_ids"].shape)
    labels[2] = -100
    parts = labels.split([len(one["input_ids"]) for one in text])
    found = model(**{name: part[None] for name, part in row.items()}, labels=labels[None]).loss
    total = sum(
        model(**{name: part[None] for name, part in one.items()}, labels=part[None]).loss * (part != -100).sum()
        for one, part in zip(text, parts, strict=True)
    )
    expected = total / (labels != -100).sum()
    torch.testing.assert_close(found, expected)
    weights = list(model.parameters())
    torch.testing.assert_close(torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights))


def test_splitting_and_joining_are_inverse():
    ids = torch.tensor([[9, MARK, 5, 0], [7, MARK, 8, 6], [0, 0, 0, 0]])  # the second mark is in the padding
    sentences = Sentences(ids, torch.tensor([[1, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0]]).bool(), MARK)
    assert sentences.split(ids, -1).tolist() == [[9, MARK, -1], [5, -1, -1], [7, 8, 6]]
    assert sentences.lengths.tolist() == [[2], [1], [3]] and sentences.width == 3
    assert sentences.join(sentences.split(ids)).tolist() == [[9, MARK, 5, 0], [7, 0, 8, 6], [0, 0, 0, 0]]
    assert Sentences(ids[:0], None, MARK).split(ids[:0]).tolist() == [[0]]
    empty = Sentences(ids, torch.zeros(3, 4).bool(), MARK)
    assert empty.split(ids).tolist() == [[0]] and empty.lengths.tolist() == [[0]]
    assert empty.join(torch.ones(1, 1, 2)).tolist() == torch.zeros(3, 4, 2).tolist()


# ---- the same word elsewhere ----


def test_the_mean_elsewhere_is_that_of_a_plain_loop():
    torch.manual_seed(0)
    y, keys = torch.randn(3, 40, 4), torch.randint(NO_WORD, 6, (3, 40))
    keys[2] += 100
    keys[2, 0] = NO_WORD
    expected = torch.zeros_like(y)
    flat_y, flat_keys = y.flatten(0, 1), keys.flatten().tolist()
    for place, key in enumerate(flat_keys):
        others = [flat_y[other] for other, found in enumerate(flat_keys) if found == key and other != place]
        if key != NO_WORD and others:
            expected.view(-1, 4)[place] = torch.stack(others).mean(0)
    torch.testing.assert_close(mean_elsewhere(y, keys), expected)


def test_words_are_equal_by_their_characters_within_a_row():
    ids = torch.tensor([[7, 7, UNKNOWN, UNKNOWN, 8, 7], [7, 8, 9, 9, UNKNOWN, 7]])
    characters = torch.tensor(
        [[[2, 3], [2, 3], [3, 2], [4, 0], [0, 4], [0, 0]], [[2, 3], [2, 3], [5, 5], [5, 6], [3, 2], [2, 3]]]
    )
    real = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]]).bool()

    def equal(keys):
        """The places of equal words, in the flattened batch."""
        flat = keys.flatten().tolist()
        return {(a, b) for a in range(12) for b in range(a) if flat[a] == flat[b] != NO_WORD}

    assert equal(word_keys(ids, characters, real, UNKNOWN)) == {(1, 0), (7, 6)}
    assert equal(word_keys(None, characters, real, UNKNOWN)) == {(1, 0), (7, 6)}
    assert equal(word_keys(ids, None, real, UNKNOWN)) == {(1, 0), (5, 0), (5, 1), (9, 8)}
    assert equal(word_keys(ids, None, None, None)) == {(1, 0), (5, 0), (5, 1), (3, 2), (9, 8), (11, 6)}
    # A word without characters, and padding, are none.
    assert word_keys(ids, characters, real, UNKNOWN)[[0, 1], [5, 5]].tolist() == [NO_WORD, NO_WORD]
    # Many words have an unknown character at the same place: these are compared by their ids.
    unknown = torch.ones(2, 6, 2, dtype=torch.long)
    assert equal(word_keys(ids, unknown, real, UNKNOWN)) == {(1, 0), (5, 0), (5, 1), (9, 8)}
    assert equal(word_keys(None, unknown, real, UNKNOWN)) == set()


@torch.no_grad()
def test_a_word_is_answered_by_what_stands_at_its_other_places():
    torch.manual_seed(0)
    model = some_model("LSTM", pool_repeated_words=True)
    one, two = some_text([3]), some_text([3])
    repeated = [{name: part.clone() for name, part in two[0].items()}]
    for name in repeated[0]:
        repeated[0][name][1] = one[0][name][2]  # the second sentence has a word of the first one
    end = {"input_ids": torch.tensor([MARK]), "character_ids": torch.tensor([[8, 8, 8]])}

    def answers(second):
        row = joined([*one, end, *second])
        return model(**{name: part[None] for name, part in row.items()}).logits[0]

    apart = (answers(repeated) - answers(two)).abs().amax(1)
    assert apart[2] > 1e-3, "the first sentence is answered by the second one where the word is the same"
    assert apart[[0, 1, 3]].max() < 1e-5, "and nowhere else"


# ---- what is refused ----


def test_what_does_not_fit_is_refused():
    vectors = torch.randn(1, 3, 5)
    ids = torch.tensor([[5, 6, 7]])
    plain = {name: SIZES[name] for name in ("vocab_size", "embedding_size", "hidden_size")}
    for fields, field in (
        ({"sentence_token_id": MARK}, "sentence_token_id=4"),
        ({"pool_repeated_words": True}, "pool_repeated_words=True"),
    ):
        model = LSTMForTokenClassification(LSTMConfig(**plain, **fields))
        with pytest.raises(ValueError, match=f"has {field}, and word vectors alone .* give input_ids"):
            model(inputs_embeds=vectors)
        state = model.backbone(ids).final_state
        with pytest.raises(ValueError, match=f"{field} cannot continue from an initial_state"):
            model(ids, initial_state=state)
    with pytest.raises(StrictDataclassError, match="sentence_token_id=20 has no row"):
        LSTMConfig(**plain, sentence_token_id=20)
    model = LSTMForTokenClassification(LSTMConfig(**plain, sentence_token_id=MARK)).eval()
    with pytest.raises(ValueError, match="cannot be exported"):
        torch.export.export(model, (ids,))
