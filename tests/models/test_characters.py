"""The vector of a word's characters: each encoder against a plain one, word by word; what a configuration refuses."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn

import rnnzoo
from rnnzoo.characters_rnnzoo import FACTOR, PRIME, CharacterEncoder, NGrams


WORDS = [[5, 3, 9], [7], [], [2, 2, 2, 2, 2, 2], [1, 8, 8, 4, 3, 5, 6, 7]]
E, F, SIZE = 4, 6, 50


def batch(words, width):
    """[1, N, width], padded."""
    return torch.tensor([[word + [0] * (width - len(word)) for word in words]])


@torch.no_grad()
def encoder(**fields):
    torch.manual_seed(0)
    sizes = {"character_size": F, "character_embedding_size": E, "character_vocab_size": 12}
    model = rnnzoo.GRUModel(rnnzoo.GRUConfig(vocab_size=9, **sizes, **fields)).eval()
    nn.init.normal_(model.character_encoder.embed_characters.weight[1:])
    return model.character_encoder


def by_torch(module, word):
    """The last states of torch's own LSTM, which reads one word at a time."""
    plain = nn.LSTM(E, F // 2, batch_first=True, bidirectional=True)
    for name, direction in (
        ("", module.recurrence.forward_direction),
        ("_reverse", module.recurrence.backward_direction),
    ):
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(plain, f"{part}_l0{name}").data = getattr(direction, part).data
    return plain(module.embed_characters(torch.tensor([word])))[1][0].flatten()


def by_counting(module, word):
    """The mean over all n-grams of the word between two marks, each hashed by itself."""
    marked, vectors = [0, *word, 0], []
    for n in (3, 4, 5):
        for start in range(len(marked) - n + 1):
            bucket = n
            for character in marked[start : start + n]:
                bucket = (bucket * FACTOR + character) % PRIME
            vectors.append(module.ngrams.embed_ngrams.weight[bucket % SIZE])
    return torch.stack(vectors).mean(0)


def by_convolving(module, word):
    x = module.embed_characters(torch.tensor([[0, *word, 0]]))[0]
    w, b = module.convolution.weight, module.convolution.bias
    return torch.stack([(w * x[i : i + 3].T).sum((1, 2)) + b for i in range(len(word))]).amax(0)


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({}, [by_convolving]),
        ({"character_encoder": "lstm"}, [by_torch]),
        ({"character_ngrams": SIZE}, [by_convolving, by_counting]),
        ({"character_encoder": "lstm", "character_ngrams": SIZE}, [by_torch, by_counting]),
    ],
)
@torch.no_grad()
def test_a_word_is_read_as_it_would_be_alone(fields, parts):
    module = encoder(**fields)
    assert isinstance(module, CharacterEncoder)
    for width in (8, 20):
        found = module(batch(WORDS, width))[0]
        assert found.shape == (len(WORDS), F)
        for word, vector in zip(WORDS, found, strict=True):
            expected = sum(part(module, word) for part in parts) if word else torch.zeros(F)
            torch.testing.assert_close(vector, expected, rtol=0, atol=1e-6)


def test_words_of_one_beginning_have_n_grams_in_common():
    ngrams = encoder(character_ngrams=100_000).ngrams
    buckets = ngrams.buckets(batch([[5, 6, 7, 8, 9], [5, 6, 7, 8, 10], [9, 8, 7, 6, 5]], 6)[0])
    first, second, reversed_ = ({bucket for bucket in row if bucket < 100_000} for row in buckets.tolist())
    # Of 5 + 4 + 3 n-grams between two marks those without the last character and what follows it: 3 + 2 + 1.
    assert len(first) == 12 and len(first & second) == 6 and not first & reversed_


def test_padding_stays_zero_and_a_character_that_is_none_is_refused():
    module = encoder()
    module(batch(WORDS, 8)).sum().backward()
    assert not module.embed_characters.weight.grad[0].any() and module.embed_characters.weight.grad[1:].any()
    with pytest.raises((IndexError, RuntimeError)):
        module(batch([[3, 12]], 4))


@torch.no_grad()
def test_dropout_leaves_out_the_same_share_of_n_grams_of_every_token_anew():
    size, tokens = 10_000, 500
    ngrams = NGrams(size, 12, dropout=0.75)
    word = batch([[5, 6, 7, 8, 9]], 5)[0]
    buckets = ngrams.buckets(word).unique()
    buckets = buckets[buckets < size]
    ngrams.embed_ngrams.weight[buckets] = torch.eye(12)  # the mean then tells which n-grams it is of
    assert torch.equal(ngrams.eval()(word), torch.full((1, 12), 1 / 12))
    found = ngrams.train()(word.repeat(tokens, 1))
    kept = (found > 0).sum(1)
    assert kept.float().mean().item() == pytest.approx(12 * 0.25, abs=0.3)
    assert len(found.unique(dim=0)) > tokens / 2
    torch.testing.assert_close(found.sum(1), (kept > 0).float())  # of those that are kept it is the mean


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"character_encoder": "lstm"}, "character_encoder='lstm' has no effect with character_size=0"),
        ({"character_ngrams": 9}, "character_ngrams=9 has no effect with character_size=0"),
        ({"ngram_dropout": 0.5, "character_size": 4}, "ngram_dropout=0.5 has no effect with character_ngrams=0"),
        ({"character_encoder": "lstm", "character_size": 5}, "character_size=5 must be even"),
        ({"character_ngrams": -1, "character_size": 4}, "character_ngrams=-1 must be at least 0"),
        ({"character_encoder": "gru", "character_size": 4}, "character_encoder"),
    ],
)
def test_what_cannot_read_characters_is_refused(fields, says):
    with pytest.raises(StrictDataclassError, match=says):
        rnnzoo.LSTMConfig(**fields)
