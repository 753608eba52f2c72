"""Tokenizers of language models: characters, sub-words or words, whose ids decode to text as a person writes it."""

from collections.abc import Iterable
from typing import Literal, get_args

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from .tokenization_rnnzoo import BOS, EOS, PAD, TAGGER_WORDS, UNK, checked, train_tokenizer


# What separates words, for a character language model whose states taggers read. (Text that has this mark as a word
# has one separator more.)
SEPARATOR = "▁"

Unit = Literal["character", "subword", "word"]

# Straight quotes that open or close, as they are told apart, and what has no space beside it in decoded words: marks
# that close, marks that open, those within compounds, the period of a number.
_OPENS, _CLOSES = r'(?<!\S)"(?=\S)', r'(?<=\S)"'
_NO_SPACE = (
    *(r" (?=[.,:;!?…%)\]}”])", r"(?<=[(\[{“$£€#]) "),
    *(r"(?<=\w) (?=[-/] \w)", r"(?<=\w[-/]) (?=\w)", r"(?<=\d[.,]) (?=\d)"),
)


def train_lm_tokenizer(
    texts: Iterable[str], *, unit: Unit = "subword", vocab_size: int | None = None, lowercase: bool = False
) -> PreTrainedTokenizerFast:
    """Train the tokenizer of a language model in one pass over `texts`, which may be a generator.

    A text begins with `<s>`; the `</s>` that ends it is for the model to predict, and not added. Ids are `<pad>` 0,
    `<s>` 1, `<unk>` 2, then the tokens, and `</s>` last. `decode(ids, skip_special_tokens=True)` gives text:

    - "character": every character of the texts is a token, those of line breaks and spaces too. Decoding is exact.
    - "subword": byte-level BPE (Radford et al. 2019). Any text can be written with it, and decoding is exact.
    - "word": the words and marks of `train_tokenizer`. White space is not kept: decoding puts a space before each word
      (the first one may continue a text), and none where English has none between a word and a mark.

    Args:
        texts: raw texts.
        unit: what a token is.
        vocab_size: number of ids, special tokens included; None: all characters, or 8,000 sub-words or words. There
            are fewer if the texts have fewer.
        lowercase: whether "Good" and "good" are one word; for words only.

    Raises:
        TypeError, ValueError: as `train_tokenizer` does; or `unit`, `vocab_size` or `lowercase` has a wrong value.
    """
    if unit not in get_args(Unit):
        raise ValueError(f"unit={unit!r} is not a choice: use one of {', '.join(map(repr, get_args(Unit)))}.")
    if lowercase and unit != "word":
        raise ValueError(f"lowercase=True is for unit='word', and unit is {unit!r}: leave one of them out.")
    if vocab_size is None and unit != "character":
        vocab_size = 8_000
    smallest = {"character": 5, "subword": 260, "word": 5}[unit]
    if vocab_size is not None and (type(vocab_size) is not int or vocab_size < smallest):
        raise ValueError(
            f"vocab_size={vocab_size!r} must be an int of at least {smallest}: the four special tokens, and "
            + ("the 256 bytes." if unit == "subword" else f"one {unit}.")
        )
    train = {"character": _characters, "subword": _subwords, "word": _words}[unit]
    backend = train(texts, vocab_size, lowercase)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, backend.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=BOS,
        unk_token=UNK,
        eos_token=EOS,
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )


def _characters(texts: Iterable[str], vocab_size: int | None, lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    size = (vocab_size or 2**31) - 1  # one is for </s>
    trainer = trainers.WordLevelTrainer(vocab_size=size, special_tokens=[PAD, BOS, UNK], show_progress=False)
    tokenizer.train_from_iterator(checked(texts), trainer)
    return tokenizer


def _subwords(texts: Iterable[str], vocab_size: int, lowercase: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        special_tokens=[PAD, BOS, UNK],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(checked(texts), trainer)
    return tokenizer


def _words(texts: Iterable[str], vocab_size: int, lowercase: bool) -> Tokenizer:
    quotes = normalizers.Sequence([normalizers.Replace(Regex(_OPENS), "“"), normalizers.Replace(Regex(_CLOSES), "”")])
    texts = map(quotes.normalize_str, checked(texts))
    tokenizer = train_tokenizer(texts, vocab_size=vocab_size - 1, lowercase=lowercase)
    backend = tokenizer.backend_tokenizer
    backend.normalizer = normalizers.Sequence([quotes, backend.normalizer])
    joined = [decoders.Replace(Regex(gap), "") for gap in _NO_SPACE]
    backend.decoder = decoders.Sequence([decoders.Replace(Regex("^"), " "), decoders.Fuse(), *joined])
    return backend


def train_context_tokenizer(
    sentences: Iterable[list[str]], *, vocab_size: int | None = None, min_count: int = 2
) -> PreTrainedTokenizerFast:
    """Train the tokenizer of a character language model whose states taggers read as the context of words.

    A text is split into the words of a tagger, and a token is a character of one, or the `SEPARATOR` that stands
    before the first word and after each: "U.S. (1)" is ▁ U . S . ▁ ( ▁ 1 ▁ ) ▁. Ids are `<pad>` 0, `<s>` 1, `<unk>` 2,
    then the characters by frequency. HTML line breaks are spaces.

    Args:
        sentences: lists of words.
        vocab_size: number of ids, special tokens included; None: all characters.
        min_count: rarer characters become `<unk>`, which trains its vector.

    Raises:
        TypeError, ValueError: as `train_tokenizer` does.
    """
    if vocab_size is not None and (type(vocab_size) is not int or vocab_size < 5):
        raise ValueError(
            f"vocab_size={vocab_size!r} must be an int of at least 5: three special tokens, ▁ and one more."
        )
    if type(min_count) is not int or min_count < 1:
        raise ValueError(f"min_count={min_count!r} must be an int of at least 1.")
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNK))
    tokenizer.normalizer = normalizers.Replace(Regex(r"<[bB][rR]\s*/?>"), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(TAGGER_WORDS), behavior="removed", invert=True),
            pre_tokenizers.Metaspace(SEPARATOR, prepend_scheme="always", split=False),
            pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Fuse(), decoders.Replace(SEPARATOR, " ")])
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size or 2**31,
        min_frequency=min_count,
        special_tokens=[PAD, BOS, UNK],
        show_progress=False,
    )
    tokenizer.train_from_iterator(checked(map(" ".join, sentences)), trainer)
    if tokenizer.get_vocab_size() < 5:
        raise ValueError("There is no word in sentences: check the column that they come from.")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {SEPARATOR}",
        pair=f"$A {SEPARATOR} $B {SEPARATOR}",
        special_tokens=[(SEPARATOR, tokenizer.token_to_id(SEPARATOR))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        unk_token=UNK,
        model_input_names=["input_ids", "attention_mask"],
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )
