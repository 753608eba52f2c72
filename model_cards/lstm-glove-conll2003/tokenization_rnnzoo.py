"""Words ranked by frequency: classifiers' tokenizers, which load with no code of ours, and taggers', with letters."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain
from typing import Literal, get_args

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BatchEncoding, PreTrainedTokenizerFast


PAD, BOS, UNK, EOS = "<pad>", "<s>", "<unk>", "</s>"
_MOST_IDS = 2**31 - 1
# Half of a character beyond the basic plane: Python's str can hold it alone, Unicode text, and tokenizers, cannot.
_SURROGATE = re.compile(r"[\ud800-\udfff]")

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
        ValueError: if a choice is none of its values, `vocab_size` leaves no room for a word, no text has a word, or
            one holds half a character (a surrogate on its own), which the tokenizer would not take either.
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
    if vocab_size > _MOST_IDS:
        raise ValueError(f"vocab_size={vocab_size} is more than the {_MOST_IDS} ids that there can be.")
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
        if not text.isascii() and (half := _SURROGATE.search(text)):
            raise ValueError(
                f"Element {position} of texts (counted from 0) has half a character, {half[0]!a} at place "
                f"{half.start()}, which is no Unicode: it was cut, or not decoded as UTF-8. Mend it, or put a ? "
                "there: text.encode(errors='replace').decode()."
            )
        yield text


# A word of running text, as corpora of named entities have them: an abbreviation keeps its points and a number its
# separators, hyphenated words stay whole, English clitics ('s, n't) are words, and so is a run of one mark.
_CLITIC = r"'(?:s|m|d|re|ve|ll)(?!\w)"
_TAGGER_WORDS = (
    rf"(?i:{_CLITIC}|n't(?!\w))"
    r"|(?:\b\p{L}\.)+"
    r"|\w+?(?=(?i:n't)(?!\w))"
    rf"|\w+(?:(?:[-.,:/&@_]|(?!(?i:{_CLITIC}))')\w+)*"
    r"|([^\w\s])\1*"
)

LETTER_PAD, LETTER_UNK = 0, 1
_LONGEST_WORD = 1000


def _sayable(text):
    """A text, or lists of them, in which each half of a character is U+FFFD: one for one, so that places stay.

    They come from texts that were cut, or decoded with `surrogateescape`.
    """
    if isinstance(text, list | tuple):
        return [_sayable(part) for part in text]
    return _SURROGATE.sub("\ufffd", text) if isinstance(text, str) and not text.isascii() else text


class CharacterTokenizer(PreTrainedTokenizerFast):
    """A tagger's tokenizer that also gives the letters of every token: `character_ids`, [T][word_length].

    Letters are taken from the text as it was written, case and all. A token longer than `word_length` shows its first
    and its last letters; 0 follows the last letter, and fills what is padding or a special token. Half a character, a
    surrogate on its own, is read as U+FFFD.

    Args:
        letters: those it knows; the n-th has the id n + 2, and all others 1.
        word_length: letters shown of each token, 1000 at the most; with 0 there are no `character_ids`.
    """

    model_input_names = ["input_ids", "attention_mask", "character_ids"]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """As in transformers.

        Raises:
            OSError: its files are damaged, or not there.
        """
        try:
            tokenizer = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
            letters, length = (tokenizer.init_kwargs.get(name) for name in ("letters", "word_length"))
            if type(letters) is not str or type(length) is not int or not 0 <= length <= _LONGEST_WORD:
                raise ValueError(f"letters={letters!r:.60}, word_length={length!r:.60}")
        except OSError:
            raise
        except Exception as error:  # what tokenizers raises has no class of its own
            given = [*kwargs, *(value for value in kwargs.values() if value and isinstance(value, str))]
            if any(part in str(error) for part in given):
                raise  # it speaks of an argument: that is no damage
            raise OSError(
                f"The tokenizer of {pretrained_model_name_or_path} cannot be loaded ({type(error).__name__}: "
                f"{' '.join(str(error).split()):.300}). If its files are damaged, load with force_download=True, or "
                "from a whole copy."
            ) from error
        return tokenizer

    # There is no __init__: transformers would rebuild a class that has one from its words, as another kind of model.
    @property
    def word_length(self) -> int:
        return self.init_kwargs["word_length"]

    @cached_property
    def _ids_of_letters(self) -> dict[str, int]:
        return {letter: i for i, letter in enumerate(self.init_kwargs["letters"], start=LETTER_UNK + 1)}

    @cached_property
    def _ids_of_words(self) -> dict[str, list[int]]:
        return {}  # the same words come again and again

    @property
    def character_vocab_size(self) -> int:
        """Rows that an embedding of letters needs."""
        return LETTER_UNK + 1 + len(self._ids_of_letters)

    def letters_of(self, word: str) -> list[int]:
        """Ids of a word's letters, `word_length` of them."""
        found = self._ids_of_words.get(word)
        if found is None:
            front, back = (self.word_length + 1) // 2, self.word_length // 2
            shown = word if len(word) <= self.word_length else word[:front] + word[len(word) - back :]
            found = [self._ids_of_letters.get(letter, LETTER_UNK) for letter in shown]
            found += [LETTER_PAD] * (self.word_length - len(found))
            if len(self._ids_of_words) < 100_000:
                self._ids_of_words[word] = found
        return found

    def _encode_plus(self, text, text_pair=None, *, return_tensors=None, is_split_into_words=False, **kwargs):
        text = _sayable(text)
        batched = isinstance(text, list | tuple)
        if is_split_into_words:
            batched = batched and bool(text) and isinstance(text[0], list | tuple)
        texts = text if batched else [text]
        # A pair also comes as a tuple among the texts.
        parts = chain.from_iterable(texts) if is_split_into_words else texts
        if text_pair is not None or any(isinstance(part, list | tuple) for part in parts):
            raise ValueError("A tagger reads one text at a time: give it no pairs, and leave text_pair out.")
        found = super()._encode_plus(text, is_split_into_words=is_split_into_words, **kwargs)
        flat = not batched and "overflow_to_sample_mapping" not in found
        if self.word_length:
            rows = found.get("overflow_to_sample_mapping", range(len(texts)))
            letters = []
            for encoding, row in zip(found.encodings, rows, strict=True):
                source = texts[row]
                spans = zip(encoding.offsets, encoding.word_ids, encoding.special_tokens_mask, strict=True)
                letters.append(
                    [
                        [LETTER_PAD] * self.word_length
                        if special
                        else self.letters_of((source[word] if is_split_into_words else source)[start:end])
                        for (start, end), word, special in spans
                    ]
                )
            found["character_ids"] = letters[0] if flat else letters
        if return_tensors and not any(encoding.ids for encoding in found.encodings):
            # Lists without a number in them would become tensors of floats, and lack the last axis of some.
            for key, value in found.items():
                last = {"character_ids": (self.word_length,), "offset_mapping": (2,)}.get(key, ())
                found[key] = np.zeros((*np.shape(value), *last), dtype=np.int64)
        return BatchEncoding(dict(found), found.encodings, return_tensors, prepend_batch_axis=flat)

    def _pad(self, encoded_inputs, *args, **kwargs):
        before = len(encoded_inputs["input_ids"])
        padded = super()._pad(encoded_inputs, *args, **kwargs)
        if "character_ids" in padded and (missing := len(padded["input_ids"]) - before):
            rows = [[LETTER_PAD] * self.word_length] * missing
            side = kwargs.get("padding_side") or self.padding_side
            given = list(padded["character_ids"])
            padded["character_ids"] = rows + given if side == "left" else given + rows
        return padded


def train_tagger_tokenizer(
    sentences: Iterable[list[str]],
    *,
    vocab_size: int,
    also: Iterable[str] = (),
    min_count: int = 2,
    lowercase: bool = True,
    word_length: int = 20,
) -> CharacterTokenizer:
    """Train a tagger's tokenizer on sentences that are in words already; raw text is cut into the same kind of words.

    Ids are ranks as in `train_tokenizer`: `<pad>` 0, `<s>` 1, `<unk>` 2, then the words by frequency, then those of
    `also` in their order. A word of the sentences may be cut further, "and/or" into one piece but "(1)" into three:
    label every piece. Nothing is put around a text, and offsets point into it as it was given.

    Args:
        sentences: lists of words.
        vocab_size: ids in all, at the most.
        also: words that have vectors from elsewhere; those that no text would be cut into are left out.
        min_count: rarer words become `<unk>`, from which its vector learns; those of `also` stay.
        lowercase: whether "Good" and "good" are one word to `input_ids`; letters keep their case.
        word_length: letters of a word that are shown in `character_ids`; 0 for a tokenizer without letters.

    Raises:
        ValueError: no word, or no room for one; a `word_length` that is none.
    """
    if type(word_length) is not int or not 0 <= word_length <= _LONGEST_WORD:
        raise ValueError(f"word_length={word_length!r} must be an int from 0 to {_LONGEST_WORD}.")
    tokenizer = Tokenizer(models.WordPiece())
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_TAGGER_WORDS), behavior="removed", invert=True)
    words = Counter(_sayable(word) for sentence in sentences for word in sentence)
    counts, letters = Counter(), Counter()
    for word, count in words.items():
        letters.update({letter: count for letter in word})
        shown = tokenizer.normalizer.normalize_str(word) if lowercase else word
        for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(shown):
            counts[piece] += count
    if not counts:
        raise ValueError("There is no word in sentences: check the column that they come from.")
    frequent = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))

    def candidates():
        yield from frequent
        for word in map(_sayable, also):
            word = word.lower() if lowercase else word
            if [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(word)] == [word]:
                yield word

    specials = [PAD, BOS, UNK]
    vocab = {word: i for i, word in enumerate(specials)}
    for word in candidates():
        if len(vocab) == vocab_size:
            break
        # "İ" is the one letter whose lower case is longer: such a token, which does not have the length of its text,
        # would look like a part of a word to pipelines, and one in "##" to the model.
        if "i\u0307" not in word and not word.startswith("##"):
            vocab.setdefault(word, len(vocab))
    if len(vocab) <= len(specials):
        raise ValueError(
            f"vocab_size={vocab_size} and min_count={min_count} leave no word: raise the first or lower the second."
        )
    # Only this kind of model tells pipelines that no token is a part of a word.
    longest = max(map(len, vocab))
    tokenizer.model = models.WordPiece(vocab, unk_token=UNK, max_input_chars_per_word=longest)
    letters = sorted(letter for letter, count in letters.items() if count >= min_count)
    return CharacterTokenizer(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        unk_token=UNK,
        model_input_names=CharacterTokenizer.model_input_names[: 3 if word_length else 2],
        split_special_tokens=True,
        letters="".join(letters),
        word_length=word_length,
    )
