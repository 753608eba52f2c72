"""Word-level tokenizers: classifiers', which load without custom code, and taggers', with characters."""

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import chain
from typing import Literal, TypeVar, get_args

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BatchEncoding, PreTrainedTokenizerFast


T = TypeVar("T")

PAD, BOS, UNK, EOS = "<pad>", "<s>", "<unk>", "</s>"
_MOST_IDS = 2**31 - 1
# Half of a character beyond the basic plane: a Python str can hold it alone, but not Unicode text nor tokenizers.
_SURROGATE = re.compile(r"[\ud800-\udfff]")

# Runs of characters that are longer than almost every word, in scripts without spaces between words: Han and kana;
# Thai, Lao, Burmese, Khmer. (A zero-width space between words, as Khmer text may have, ends a run.)
_KATAKANA = r"\u30a1-\u30ff\uff66-\uff9f"  # words from other languages, which are longer
_HAN_AND_KANA = _KATAKANA + r"\u3005-\u3007\u3041-\u309f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNSPACED = re.compile(
    rf"(?![{_KATAKANA}]{{5,8}}(?![{_HAN_AND_KANA}]))[{_HAN_AND_KANA}]{{5,}}|[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff]{{9,}}"
)
# The share of such texts from which on a tokenizer warns.
_MANY_UNSPACED = 0.05

Punctuation = Literal["split", "drop", "keep"]
Side = Literal["left", "right"]

# What a token is, in normalised text. An apostrophe between letters belongs to its word ("don't"). With "keep" words
# are separated by white space only; one that equals a special token is split after its "<", or its look-up would give
# the special token's id.
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
    machine. No special token is added unless `add_eos` asks for one; an empty text gives no ids. In a pair of texts,
    `tokenizer(text, text_pair)`, a `<s>` separates them, or with `add_eos` the `</s>` after each. `offset_mapping`
    refers to the text as given. A `<pad>` or `</s>` written in a text is read as ordinary characters
    (`split_special_tokens`), never as a special token. `decode` joins words with spaces.

    Texts are normalised first: control characters and zero-width spaces become spaces, invisible characters (soft
    hyphens, joiners, byte order marks, variation selectors) are removed, a typographic apostrophe becomes the plain
    one, and letters with accents take their composed form (NFC).

    Words are found by the spaces and marks between them. Where more than one text in twenty is in a script without
    spaces between words (Chinese, Japanese, Thai …), a UserWarning says so: segment such texts first.

    Args:
        texts: raw texts.
        vocab_size: number of ids, special tokens included. There are fewer, `len(tokenizer)`, if the texts have fewer
            words.
        lowercase: whether "Good" and "good" are one word.
        html_breaks: whether `<br>`, `<br/>` and `<br />` are read as white space.
        punctuation: "split" makes every mark (emoji too) a token of its own, "drop" leaves marks out, "keep" splits
            at white space only, so that marks stay in their words (for text that is tokenized already).
        add_eos: whether every text ends with a `</s>`, which has the last id
            (`tokenizer(prompt, add_special_tokens=False)` leaves it out).
        padding_side: where a short row of a batch is padded.
        truncation_side: where a long text is truncated, if the call asks for truncation.
        model_max_length: tokens that a call with `truncation=True` keeps; None for all.

    Raises:
        TypeError: an argument has the wrong type, or `texts` is not an iterable of str.
        ValueError: an option has a wrong value, `vocab_size` leaves no room for a word, no text has a word, or one
            has half a character (a surrogate on its own), which the tokenizer would not accept either.
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
        raise ValueError(f"vocab_size={vocab_size} is more than the {_MOST_IDS} ids that are possible.")
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
    unspaced = _Unspaced()
    tokenizer.train_from_iterator(unspaced.counted(checked(texts)), trainer)
    if tokenizer.get_vocab_size() == len(specials):
        raise ValueError(
            "There is no word in texts: it is empty, or all its texts are. Check the column that they come from"
            + (', or keep punctuation marks with punctuation="split".' if punctuation == "drop" else ".")
        )

    unspaced.warn(
        "What stands between two spaces or marks is one token, so that almost every token of a new text will be "
        "unknown. Put spaces between words (jieba, MeCab or PyThaiNLP find them), or between all characters "
        "(' '.join(text)), in these texts and in all that the model is given later."
    )

    if add_eos:
        vocab = tokenizer.get_vocab()
        vocab[EOS] = len(vocab)
        tokenizer.model = models.WordLevel(vocab, unk_token=UNK)
        single, pair, special = f"$A {EOS}", f"$A {EOS} $B {EOS}", EOS
    else:
        single, pair, special = "$A", f"$A {BOS} $B", BOS
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(special, tokenizer.token_to_id(special))]
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
    # Last, since the lower case of a composed letter can be decomposed.
    return normalizers.Sequence([*steps, normalizers.NFC()])


def checked(texts: Iterable[str]) -> Iterator[str]:
    """The texts, each of which is a str of complete characters; see `train_tokenizer` for what is raised."""
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(
                f"texts must contain str only, but element {position} (counted from 0) is {text!r:.60}, "
                f"a {type(text).__name__}. Drop it, or replace it with an empty text."
            )
        if not text.isascii() and (half := _SURROGATE.search(text)):
            raise ValueError(
                f"Element {position} of texts (counted from 0) has half a character, {half[0]!a} at index "
                f"{half.start()}, which is not valid Unicode: the text was truncated there, or not decoded as UTF-8. "
                "Fix it, or replace such halves with a ?: text.encode(errors='replace').decode()."
            )
        yield text


class _Unspaced:
    """Counts the texts that are for the most part in a script without spaces between words."""

    def __init__(self):
        self.texts = self.found = 0

    def counted(self, given: Iterable[T], text_of: Callable[[T], str] = str) -> Iterator[T]:
        """The same, while `text_of` each is counted."""
        for one in given:
            text = text_of(one)
            runs = "" if text.isascii() else "".join(_UNSPACED.findall(text))
            self.texts += 1
            # Of segmented texts fewer than 4 in 100 have more than two thirds of their letters in such runs.
            if runs and 3 * sum(map(str.isalpha, runs)) > 2 * sum(map(str.isalpha, text)):
                self.found += 1
            yield one

    def warn(self, consequence: str):
        """Warns if there are more than a few of them."""
        if self.found > _MANY_UNSPACED * self.texts:
            warnings.warn(
                f"{self.found:,} of {self.texts:,} texts ({self.found / self.texts:.0%}) are in a script without "
                f"spaces between words (Chinese, Japanese, Thai, Lao, Burmese or Khmer). {consequence}",
                stacklevel=3,
            )


# A word of running text, as in corpora of named entities: an abbreviation keeps its periods and a number its
# separators, hyphenated words are not split, English clitics ('s, n't) are words, and so is a repeated mark.
_CLITIC = r"'(?:s|m|d|re|ve|ll)(?!\w)"
TAGGER_WORDS = (
    rf"(?i:{_CLITIC}|n't(?!\w))"
    r"|(?:\b\p{L}\.)+"
    r"|\w+?(?=(?i:n't)(?!\w))"
    rf"|\w+(?:(?:[-.,:/&@_]|(?!(?i:{_CLITIC}))')\w+)*"
    r"|([^\w\s])\1*"
)

# What ends a sentence, for a tokenizer that has it among its words.
LINE_BREAK = "\n"

CHARACTER_PAD, CHARACTER_UNK = 0, 1
_LONGEST_WORD = 1000
_SPLITS_AT_SPACES = (
    "The tokenizer splits raw text at spaces and marks only, so that pipelines will not find words like these in it. "
    "Put spaces between the words of every text that the model is given (jieba, MeCab or PyThaiNLP find them)."
)


def _valid(text):
    """A text, or lists of texts, in which each half of a character is replaced with U+FFFD, so that offsets stay.

    Such halves come from texts that were truncated, or decoded with `surrogateescape`.
    """
    if isinstance(text, list | tuple):
        return [_valid(part) for part in text]
    return _SURROGATE.sub("\ufffd", text) if isinstance(text, str) and not text.isascii() else text


class CharacterTokenizer(PreTrainedTokenizerFast):
    """A tagger's tokenizer, which also returns the characters of every token: `character_ids`, [T][word_length].

    Characters come from the text as given, in their case. Of a token longer than `word_length` they are its first and
    last ones; 0 follows the last character, and fills padding and special tokens. Half a character, a surrogate on its
    own, is read as U+FFFD.

    Args:
        letters: the characters it knows; the n-th (from 0) has the id n + 2, all others 1.
        word_length: characters of each token, 1000 at most; with 0 there are no `character_ids`.
    """

    model_input_names = ["input_ids", "attention_mask", "character_ids"]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """As in transformers.

        Raises:
            OSError: its files are damaged or missing.
        """
        try:
            tokenizer = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
            letters, length = (tokenizer.init_kwargs.get(name) for name in ("letters", "word_length"))
            if type(letters) is not str or type(length) is not int or not 0 <= length <= _LONGEST_WORD:
                raise ValueError(f"letters={letters!r:.60}, word_length={length!r:.60}")
        except OSError:
            raise
        except Exception as error:  # errors of tokenizers have no class of their own
            given = [*kwargs, *(value for value in kwargs.values() if value and isinstance(value, str))]
            if any(part in str(error) for part in given):
                raise  # about an argument, not about the files
            raise OSError(
                f"The tokenizer of {pretrained_model_name_or_path} cannot be loaded ({type(error).__name__}: "
                f"{' '.join(str(error).split()):.300}). If its files are damaged, load with force_download=True, or "
                "from a complete copy."
            ) from error
        return tokenizer

    def train_new_from_iterator(
        self,
        text_iterator: Iterable[str] | Iterable[list[str]],
        vocab_size: int,
        length: int | None = None,
        new_special_tokens: list | None = None,
        special_tokens_map: dict[str, str] | None = None,
        min_frequency: int = 1,
    ) -> "CharacterTokenizer":
        """As in transformers: the same options, and the words and characters of the new texts.

        Args:
            text_iterator: raw texts, or batches of them.
            vocab_size: number of ids, at most.
            length: not needed; transformers has it for a progress bar.
            new_special_tokens, special_tokens_map: special tokens to add, and others to rename.
            min_frequency: rarer words become `<unk>`, which trains its vector, and rarer characters unknown ones.

        Raises:
            ValueError: there is no word, or no room for one.
        """
        # Without a text transformers gives the special tokens only; its trainer would make sub-tokens of words.
        new = super().train_new_from_iterator(
            [], vocab_size, new_special_tokens=new_special_tokens, special_tokens_map=special_tokens_map
        )
        batches = ([batch] if isinstance(batch, str) else batch for batch in text_iterator)
        texts = map(_valid, chain.from_iterable(batches))
        split = self.backend_tokenizer.pre_tokenizer.pre_tokenize_str
        unspaced = _Unspaced()
        sentences = ([word for word, _ in split(text)] for text in unspaced.counted(texts))
        new.init_kwargs["letters"] = _learn_words(
            new.backend_tokenizer, new.unk_token, sentences, vocab_size=vocab_size, min_count=min_frequency
        )
        unspaced.warn(_SPLITS_AT_SPACES)
        return new

    # No __init__: transformers would rebuild a class that has one from its vocabulary, as another tokenizer model.
    @property
    def word_length(self) -> int:
        return self.init_kwargs["word_length"]

    @property
    def sentence_token_id(self) -> int | None:
        """The id of a line break, if that is a word and ends a sentence; else None."""
        return self.get_vocab().get(LINE_BREAK)

    @cached_property
    def _ids_of_characters(self) -> dict[str, int]:
        return {character: i for i, character in enumerate(self.init_kwargs["letters"], start=CHARACTER_UNK + 1)}

    @cached_property
    def _ids_of_words(self) -> dict[str, list[int]]:
        return {}  # a cache, since words recur

    @property
    def character_vocab_size(self) -> int:
        """Rows that a character embedding needs."""
        return CHARACTER_UNK + 1 + len(self._ids_of_characters)

    def letters_of(self, word: str) -> list[int]:
        """Ids of a word's characters, `word_length` of them."""
        found = self._ids_of_words.get(word)
        if found is None:
            front, back = (self.word_length + 1) // 2, self.word_length // 2
            shown = word if len(word) <= self.word_length else word[:front] + word[len(word) - back :]
            found = [self._ids_of_characters.get(character, CHARACTER_UNK) for character in shown]
            found += [CHARACTER_PAD] * (self.word_length - len(found))
            if len(self._ids_of_words) < 100_000:
                self._ids_of_words[word] = found
        return found

    def _encode_plus(self, text, text_pair=None, *, return_tensors=None, is_split_into_words=False, **kwargs):
        text = _valid(text)
        batched = isinstance(text, list | tuple)
        if is_split_into_words:
            batched = batched and bool(text) and isinstance(text[0], list | tuple)
        texts = text if batched else [text]
        # A pair may also be a tuple among the texts.
        parts = chain.from_iterable(texts) if is_split_into_words else texts
        if text_pair is not None or any(isinstance(part, list | tuple) for part in parts):
            raise ValueError("A tagger reads one text at a time: pass no pairs, and leave text_pair out.")
        found = super()._encode_plus(text, is_split_into_words=is_split_into_words, **kwargs)
        flat = not batched and "overflow_to_sample_mapping" not in found
        if self.word_length:
            rows = found.get("overflow_to_sample_mapping", range(len(texts)))
            characters = []
            for encoding, row in zip(found.encodings, rows, strict=True):
                source = texts[row]
                spans = zip(encoding.offsets, encoding.word_ids, encoding.special_tokens_mask, strict=True)
                characters.append(
                    [
                        [CHARACTER_PAD] * self.word_length
                        if special
                        else self.letters_of((source[word] if is_split_into_words else source)[start:end])
                        for (start, end), word, special in spans
                    ]
                )
            found["character_ids"] = characters[0] if flat else characters
        if return_tensors and not any(encoding.ids for encoding in found.encodings):
            # Empty lists would become tensors of floats, some of them without their last axis.
            for key, value in found.items():
                last = {"character_ids": (self.word_length,), "offset_mapping": (2,)}.get(key, ())
                found[key] = np.zeros((*np.shape(value), *last), dtype=np.int64)
        return BatchEncoding(dict(found), found.encodings, return_tensors, prepend_batch_axis=flat)

    def _pad(self, encoded_inputs, *args, **kwargs):
        before = len(encoded_inputs["input_ids"])
        padded = super()._pad(encoded_inputs, *args, **kwargs)
        if "character_ids" in padded and (missing := len(padded["input_ids"]) - before):
            rows = [[CHARACTER_PAD] * self.word_length] * missing
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
    line_breaks: bool = False,
    letters: str | None = None,
) -> CharacterTokenizer:
    """Train a tagger's tokenizer on sentences that are lists of words; it splits raw text into the same kind of words.

    Ids are ranks as in `train_tokenizer`: `<pad>` 0, `<s>` 1, `<unk>` 2, then the words by frequency, then those of
    `also` in their order. A word of the sentences may have several sub-tokens, "(1)" has three, "and/or" only one:
    label every sub-token. No special token is added, and offsets refer to the text as given. Where more than one
    sentence in twenty is in a script without spaces between words (Chinese, Japanese, Thai …), a UserWarning says that
    raw text will not be split into such words.

    Args:
        sentences: lists of words.
        vocab_size: number of ids, at most.
        also: words with pretrained vectors; those that never are a token are left out.
        min_count: rarer words become `<unk>`, which trains its vector; those of `also` stay.
        lowercase: whether "Good" and "good" are one word in `input_ids`; characters keep their case.
        word_length: characters of a word in `character_ids`; 0 for a tokenizer without characters.
        line_breaks: whether a line break is a word, for a model that reads texts of several sentences, a line each.
        letters: the characters that `character_ids` tell apart, in the order of their ids; None: those of the
            sentences that occur `min_count` times.

    Raises:
        ValueError: there is no word, or no room for one; or `word_length` is out of range.
    """
    if type(word_length) is not int or not 0 <= word_length <= _LONGEST_WORD:
        raise ValueError(f"word_length={word_length!r} must be an int from 0 to {_LONGEST_WORD}.")
    tokenizer = Tokenizer(models.WordPiece())
    tokenizer.add_special_tokens([PAD, BOS, UNK])
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    words = TAGGER_WORDS + (rf"|{LINE_BREAK}" if line_breaks else "")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(words), behavior="removed", invert=True)
    unspaced = _Unspaced()
    counted = unspaced.counted(sentences, "".join)
    always = [LINE_BREAK] if line_breaks else []
    found = _learn_words(tokenizer, UNK, counted, vocab_size=vocab_size, always=always, also=also, min_count=min_count)
    unspaced.warn(_SPLITS_AT_SPACES)
    return CharacterTokenizer(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        unk_token=UNK,
        model_input_names=CharacterTokenizer.model_input_names[: 3 if word_length else 2],
        split_special_tokens=True,
        letters=found if letters is None else letters,
        word_length=word_length,
    )


def _learn_words(
    tokenizer: Tokenizer,
    unk_token: str,
    sentences: Iterable[list[str]],
    *,
    vocab_size: int,
    min_count: int,
    always: Iterable[str] = (),
    also: Iterable[str] = (),
) -> str:
    """Gives a tokenizer that has special tokens only the words of sentences; returns their characters, in order.

    Words of `always` come first, whether they occur or not, and those of `also` last, as far as there is room.
    """
    lowercase, split = tokenizer.normalizer is not None, tokenizer.pre_tokenizer.pre_tokenize_str
    words = Counter(_valid(word) for sentence in sentences for word in sentence)
    counts, characters = Counter(), Counter()
    for word, count in words.items():
        characters.update({character: count for character in word})
        for token, _ in split(tokenizer.normalizer.normalize_str(word) if lowercase else word):
            counts[token] += count
    if not counts:
        raise ValueError("There is no word in sentences: check the column that they come from.")
    frequent = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))

    def candidates():
        yield from always
        yield from frequent
        for word in map(_valid, also):
            word = word.lower() if lowercase else word
            if [token for token, _ in split(word)] == [word]:
                yield word

    vocab = tokenizer.get_vocab()
    specials = len(vocab)
    for word in candidates():
        if len(vocab) >= vocab_size:
            break
        # "İ" is the one letter whose lower case is longer. Pipelines would take a token with it, which is longer than
        # its text, for a sub-token of a word, and the model would take one in "##" for that.
        if "i\u0307" not in word and not word.startswith("##"):
            vocab.setdefault(word, len(vocab))
    if len(vocab) == specials:
        raise ValueError(
            f"vocab_size={vocab_size} and min_count={min_count} leave no word: raise vocab_size or lower min_count."
        )
    # Only a WordPiece model tells pipelines that no token is a sub-token of a word.
    longest = max(map(len, vocab))
    tokenizer.model = models.WordPiece(vocab, unk_token=unk_token, max_input_chars_per_word=longest)
    return "".join(sorted(character for character, count in characters.items() if count >= min_count))
