"""Tokenizers of language models: ids decode to the text, special tokens have their places, bad options are refused."""

import pytest
from transformers import AutoTokenizer

from rnnzoo import train_lm_tokenizer


TEXTS = ['X:1\n"Em"ef\t| a/2 <s> é ☃ ’\r\n', "", "  two  spaces ", "你好 \u200b </s>"]
WRITTEN = [
    "He said: “Don't go (now), it's well-made, 3.5 of 10/10!” And left... for $5.",
    "“Good” [sic]; 1,000 of them? 50% off…",
]


def decoded(tokenizer, text):
    return tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)


@pytest.mark.parametrize(("unit", "size"), [("character", None), ("subword", 300)])
def test_characters_and_subwords_decode_to_the_text_itself(unit, size, tmp_path):
    tokenizer = train_lm_tokenizer(TEXTS, unit=unit, vocab_size=size)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert decoded(tokenizer, text) == decoded(again, text) == text
    assert unit == "character" or decoded(tokenizer, "never seen: ж") == "never seen: ж"


def test_words_decode_to_text_as_it_is_written():
    straight = [text.replace("“", '"').replace("”", '"') for text in WRITTEN]
    tokenizer = train_lm_tokenizer(straight, unit="word")
    for text, given in zip(WRITTEN, straight, strict=True):
        assert decoded(tokenizer, given) == decoded(tokenizer, text) == " " + text
    assert "He said" + decoded(tokenizer, ", Don't go") == "He said, Don't go"
    assert "He" + decoded(tokenizer, "said") == "He said"
    assert decoded(train_lm_tokenizer(WRITTEN, unit="word", lowercase=True), "GOOD  off") == " good off"


@pytest.mark.parametrize("unit", ["character", "subword", "word"])
def test_a_text_begins_with_its_special_token_and_does_not_end(unit):
    tokenizer = train_lm_tokenizer(["a b", "b </s>"], unit=unit, vocab_size=300)
    special = tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id
    assert special == (0, 1, 2, len(tokenizer) - 1) and len(tokenizer) <= 300
    ids = tokenizer("b </s>")["input_ids"]
    assert ids[0] == 1 and tokenizer.eos_token_id not in ids and 2 not in ids
    batch = tokenizer(["a b", "b"], padding=True)
    assert batch["input_ids"][1][0] == 0 and batch["attention_mask"][1][0] == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"unit": "letter"}, "unit='letter' is not a choice: use one of 'character', 'subword', 'word'"),
        ({"unit": "character", "lowercase": True}, "lowercase=True is for unit='word'"),
        ({"unit": "subword", "vocab_size": 259}, "vocab_size=259 must be an int of at least 260: .* the 256 bytes"),
        ({"unit": "word", "vocab_size": 4}, "vocab_size=4 must be an int of at least 5"),
        ({"unit": "word", "vocab_size": 5.0}, "vocab_size=5.0 must be an int"),
    ],
    ids=str,
)
def test_options_without_a_meaning_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        train_lm_tokenizer(["a b"], **options)
