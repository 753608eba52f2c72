"""The simple tokenizer: words ranked by frequency, in a form that AutoTokenizer loads with no code of ours."""

from collections.abc import Iterable, Iterator
from typing import Literal, get_args

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast


PAD, BOS, UNK, EOS = "<pad>", "<s>", "<unk>", "</s>"

Punctuation = Literal["split", "drop", "keep"]
Side = Literal["left", "right"]

# What a token is, once the text has been normalised. An apostrophe between letters belongs to its word ("don't").
# Under "keep" the words are what white space separates; one that reads exactly like a special token loses its "<"
# to a token of its own, or its look-up would give the special token's id.
_WORDS = {
    "split": r"\w+(?:'\w+)*|[^\w\s]",
    "drop": r"\w+(?:'\w+)*",
    "keep": r"<(?=(?:pad|s|unk|/s)>(?!\S))|\S+",
}


def train_tokenizer(
    texts: Iterable[str],
    *,
    vocab_size: int,
    lowercase: bool = True,
    html_breaks: bool = True,
    punctuation: Punctuation = "split",
    add_eos: bool = False,
    padding_side: Side = "right",
    truncation_side: Side = "right",
    model_max_length: int | None = None,
) -> PreTrainedTokenizerFast:
    """Train a word-level tokenizer in one pass over `texts`, which may be a generator.

    Ids are frequency ranks, as in Keras' IMDB: `<pad>` 0, `<s>` 1, `<unk>` 2, the most frequent word 3, and so on;
    words of equal frequency are in code point order, so the same texts give the same ids in any order and on any
    machine. Nothing is put around a text unless `add_eos` asks for it; an empty text gives no ids. Spans in
    `offset_mapping` point into the text as it was given. `<pad>` or `</s>` typed by the author of a text is read as
    ordinary characters (`split_special_tokens`), never as a special token. `decode` joins words with spaces.

    Before words are taken, control characters and zero-width spaces become spaces, characters that show nothing
    (soft hyphens, joiners, byte order marks, variation selectors) vanish, a typographic apostrophe becomes the
    plain one, and letters with accents take their composed form (NFC).

    Args:
        texts: raw texts.
        vocab_size: ids in all, special tokens included; fewer if the texts have fewer words: `len(tokenizer)` tells.
        lowercase: whether "Good" and "good" are one word.
        html_breaks: whether `<br>`, `<br/>` and `<br />` are read as white space.
        punctuation: "split" makes every mark (emoji too) a token of its own, "drop" leaves marks out, "keep" splits
            at white space only, so that marks stay in their words (for text that is in words already).
        add_eos: whether there is a `</s>`, with the last id, at the end of every text
            (`tokenizer(prompt, add_special_tokens=False)` leaves it out).
        padding_side: where a short row of a batch is padded.
        truncation_side: where a long text is cut, if the call asks for truncation.
        model_max_length: tokens that a call with `truncation=True` keeps; None for all.

    Raises:
        TypeError: if `vocab_size` is not an int, or `texts` is not an iterable of str.
        ValueError: if a choice is none of its values, `vocab_size` leaves no room for a word, or no text has a word.
    """
    specials = [PAD, BOS, UNK]
    if type(vocab_size) is not int:
        raise TypeError(f"vocab_size must be an int, not {vocab_size!r}: the number of ids, special tokens included.")
    smallest = len(specials) + (add_eos is True) + 1
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size={vocab_size} leaves no room for a word: {smallest - 1} ids go to the special tokens. "
            f"Use at least {smallest}; a text classifier usually has some thousands."
        )
    for name, value, choices in (
        ("punctuation", punctuation, get_args(Punctuation)),
        ("padding_side", padding_side, get_args(Side)),
        ("truncation_side", truncation_side, get_args(Side)),
    ):
        if value not in choices:
            raise ValueError(f"{name}={value!r} is not a choice: use one of {', '.join(map(repr, choices))}.")
    for name, value in (("lowercase", lowercase), ("html_breaks", html_breaks), ("add_eos", add_eos)):
        if type(value) is not bool:
            raise TypeError(f"{name} must be True or False, not {value!r}.")
    if model_max_length is not None and (type(model_max_length) is not int or model_max_length < 1):
        raise ValueError(f"model_max_length={model_max_length!r} must be a positive int, or None for no limit.")
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise TypeError(
            f"texts must be an iterable of str (a list, a column, a generator), not {type(texts).__name__}. "
            "Put a single text into a list."
        )

    tokenizer = Tokenizer(models.WordLevel(unk_token=UNK))
    tokenizer.normalizer = _normalizer(lowercase=lowercase, html_breaks=html_breaks)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS[punctuation]), behavior="removed", invert=True)
    # The trainer counts, and orders words of equal count by code point.
    trainer = trainers.WordLevelTrainer(vocab_size=vocab_size - add_eos, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(_checked(texts), trainer)
    if tokenizer.get_vocab_size() == len(specials):
        raise ValueError(
            "There is no word in texts: it is empty, or its texts are. Check the column that they come from"
            + (', or keep punctuation marks with punctuation="split".' if punctuation == "drop" else ".")
        )

    if add_eos:
        vocab = tokenizer.get_vocab()
        vocab[EOS] = len(vocab)
        tokenizer.model = models.WordLevel(vocab, unk_token=UNK)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {EOS}", pair=f"$A {EOS} $B {EOS}", special_tokens=[(EOS, vocab[EOS])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        unk_token=UNK,
        eos_token=EOS if add_eos else None,
        padding_side=padding_side,
        truncation_side=truncation_side,
        model_max_length=model_max_length,
        model_input_names=["input_ids", "attention_mask"],
        split_special_tokens=True,
    )


def _normalizer(*, lowercase: bool, html_breaks: bool) -> normalizers.Normalizer:
    gap = r"[\p{Cc}\u200b]" + (r"|<[bB][rR]\s*/?>" if html_breaks else "")
    steps = [
        normalizers.Replace(Regex(gap), " "),
        normalizers.Replace(Regex(r"\p{Default_Ignorable_Code_Point}"), ""),
        normalizers.Replace("’", "'"),
    ]
    if lowercase:
        steps.append(normalizers.Lowercase())
    # Last, because the lower case of a composed letter can be a decomposed one.
    return normalizers.Sequence([*steps, normalizers.NFC()])


def _checked(texts: Iterable[str]) -> Iterator[str]:
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"texts must hold str only, but element {position} (counted from 0) is {text!r:.60}, "
                f"a {type(text).__name__}. Drop it, or replace it by an empty text."
            )
        yield text
