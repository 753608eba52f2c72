"""train_tokenizer: ids by rank, offsets into the raw text, AutoTokenizer in a fresh process, refusals."""

import json
import random
import subprocess
import sys
import tracemalloc
import unicodedata
import warnings
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from rnnzoo.tokenization_rnnzoo import train_tokenizer


REVIEWS = [
    "A good film.<br /><br />Don't miss it!",
    "Good actors, a good story, and no plot",
    "It isn’t bad; it is BAD<br/>a <BR>film",
]

# Fragments that tokenizers often get wrong: accents, marks, emoji, line ends, invisible characters, tags.
AWKWARD = st.lists(
    st.sampled_from(
        ["Cafe\u0301", "É", "İ", "ǅ", "ﬁ", "हिन्दी", "한글", "👍🏽", "👩\u200d🚀", "❤\ufe0f"]
        + ["\r\n", "\x85", "\x96", "\x00", "\u200b", "\u00ad", "\ufeff", "<br />", "<BR>", "<br\n/>", "<"]
        + ["<pad>", "</s>", "don't", "don’t", "'", "_", " ", "A"]
    )
    # The basic plane: what is a letter beyond it changes with the Unicode version of Python and of tokenizers.
    | st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs", "Cn"]), max_size=4),
    max_size=12,
).map("".join)

# Random characters may happen to be those of a script without spaces.
any_script = pytest.mark.filterwarnings("ignore:.* script without spaces between words")


def train(texts, vocab_size=1000, **choices):
    return train_tokenizer(texts, vocab_size=vocab_size, **choices)


def words(tokenizer, text, **kwargs):
    return tokenizer.convert_ids_to_tokens(tokenizer(text, **kwargs)["input_ids"])


def test_ids_are_frequency_ranks():
    tokenizer = train(["b b b c c a a", "z"])
    assert tokenizer.convert_ids_to_tokens(range(len(tokenizer))) == ["<pad>", "<s>", "<unk>", "b", "a", "c", "z"]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer.eos_token is None and "</s>" not in tokenizer.get_vocab()


@pytest.mark.parametrize("add_eos", [False, True])
def test_vocab_size_counts_everything(add_eos):
    tokenizer = train(["a a a b b c"], vocab_size=5 + add_eos, add_eos=add_eos)
    assert len(tokenizer) == tokenizer.vocab_size == 5 + add_eos
    assert words(tokenizer, "a b c", add_special_tokens=False) == ["a", "b", "<unk>"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(min_codepoint=97, max_codepoint=0x500), max_size=12), min_size=1), st.randoms())
def test_vocabulary_depends_on_counts_only(texts, shuffler):
    texts = [*texts, "a"]
    one = train(texts, vocab_size=8)
    shuffler.shuffle(texts)
    assert train(iter(texts), vocab_size=8).get_vocab() == one.get_vocab()
    everything = train(texts, vocab_size=10_000)
    counts = Counter(word for text in texts for word in words(everything, text))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    assert one.convert_ids_to_tokens(range(3, len(one))) == ranked[:5]


@any_script
@settings(max_examples=200, deadline=None)
@given(AWKWARD, st.booleans(), st.sampled_from(["split", "drop", "keep"]))
@example("It's\r\nfine<br /><BR>ΟΔΟΣ Cafe\u0301 👩\u200d🚀 na\u00adive", True, "split")
def test_offsets_point_into_the_raw_text(text, lowercase, punctuation):
    tokenizer = train([text, "a"], vocab_size=10_000, lowercase=lowercase, punctuation=punctuation)
    normalise = tokenizer.backend_tokenizer.normalizer.normalize_str
    encoding = tokenizer(text, return_offsets_mapping=True)
    spans = encoding["offset_mapping"]
    assert len(spans) == len(encoding["input_ids"])
    last, gaps = 0, ""
    next_starts = [start for start, _ in spans[1:]] + [len(text)]
    for id_, (start, end), next_start in zip(encoding["input_ids"], spans, next_starts, strict=False):
        assert last <= start < end <= next_start
        word = tokenizer.convert_ids_to_tokens(id_)
        reach = next(reach for reach in range(end, next_start + 1) if normalise(text[start:reach]) == word)
        # The one known flaw: a span may stop short of a combining character that composes with the last letter.
        if reach > end:
            assert not unicodedata.is_normalized("NFC", text[start:reach].lower())
        gaps += text[last:start] + " "
        last = reach
    # Nothing is left out that should be a token. (The rest is normalised separately: a break tag keeps its brackets.)
    rest = normalise(gaps + text[last:])
    assert not any(c.isalpha() or c.isdecimal() for c in rest) if punctuation == "drop" else not rest.strip()


@any_script
@settings(max_examples=100, deadline=None)
@given(AWKWARD)
@example("H\u0331")
def test_every_word_of_the_vocabulary_is_read_as_itself(text):
    tokenizer = train([text, "a"], vocab_size=10_000)
    for id_ in range(3, len(tokenizer)):
        assert tokenizer(tokenizer.convert_ids_to_tokens(id_))["input_ids"] == [id_]


@any_script
@settings(max_examples=50, deadline=None)
@given(AWKWARD, st.sampled_from(["split", "drop", "keep"]))
@example("<PAD> <s> </S><unk> x<s> <s>x", "keep")
def test_no_text_holds_a_special_token(text, punctuation):
    tokenizer = train([text, "a <pad> <s> <unk> </s>"], vocab_size=10_000, punctuation=punctuation, add_eos=True)
    ids = tokenizer(text + " <pad> <s> <unk> </s>")["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id == len(tokenizer) - 1
    assert not set(ids[:-1]) & set(tokenizer.all_special_ids)


@pytest.mark.parametrize(
    "choices, expected",
    [
        ({}, ["it's", "a", "café", ",", "don't", "miss", "it", "!"]),
        ({"punctuation": "drop"}, ["it's", "a", "café", "don't", "miss", "it"]),
        ({"punctuation": "keep"}, ["it's", "a", "café,", "don't", "miss", "it!"]),
        ({"lowercase": False}, ["It's", "a", "Café", ",", "Don't", "miss", "it", "!"]),
        (
            {"html_breaks": False},
            ["it's", "a", "café", ",", "<", "br", "/", ">", "don't", "miss", "<", "br", ">", "it", "!"],
        ),
    ],
)
def test_options_decide_what_a_word_is(choices, expected):
    text = "It’s a Cafe\u0301,<br />Don't miss<BR>it!"
    assert words(train([text], **choices), text) == expected


def test_invisible_characters_are_no_words():
    text = "\ufeffna\u00adi\u0308ve\u200bfilm\x96so\r\n❤\ufe0f\x00"
    assert words(train([text]), text) == ["naïve", "film", "so", "❤"]
    assert train(["a"])("\u200d\ufe0f\x07\u200b")["input_ids"] == []


def test_nothing_is_added_unless_asked():
    tokenizer = train(REVIEWS)
    assert words(tokenizer, "a good film") == ["a", "good", "film"]
    assert tokenizer("")["input_ids"] == []
    with_eos = train(REVIEWS, add_eos=True)
    assert words(with_eos, "a good film") == ["a", "good", "film", "</s>"]
    assert words(with_eos, "a good film", truncation=True, max_length=2) == ["a", "</s>"]
    assert with_eos("", add_special_tokens=False)["input_ids"] == []


def test_a_pair_of_texts_is_separated(tmp_path):
    for number, end in enumerate(([], ["</s>"])):
        train(["a b c d <s>"], add_eos=bool(end)).save_pretrained(tmp_path / str(number))
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / str(number))
        pair = tokenizer("a b", "c d")
        assert tokenizer.convert_ids_to_tokens(pair["input_ids"]) == ["a", "b", *(end or ["<s>"]), "c", "d", *end]
        assert pair.sequence_ids() == [0, 0, None, 1, 1, *[None] * len(end)]
        # As a pipeline calls it, which is given {"text": …, "text_pair": …}.
        assert dict(tokenizer(text="a b", text_pair="c d")) == dict(pair)
        assert words(tokenizer, "a b c d") == ["a", "b", "c", "d", *end]
        assert tokenizer("a b <s>", "c d")["input_ids"].count(tokenizer.bos_token_id) == (not end)


UNSPACED = {
    "Chinese": ["这部电影很好看", "这部电影很难看", "我不喜欢这部电影。"],
    "Japanese": ["この映画はとても良かったです。", "コンピューターが好きです"],
    "Thai": ["หนังดีมาก", "หนังแย่มาก"],
    "Khmer": ["ខ្ញុំចូលចិត្តភាពយន្តនេះ"],
    "Chinese with marks and digits": ["2019年的这部电影,真的很好看!!!!", "我在北京看了这部电影 :-) :-)"],
}
SPACED = {
    "English": ["I watched it in 東京 (Tokyo), by the director of 重慶森林; see https://example.com/a?b=c#d_e%20f"],
    "German": ["Das Donaudampfschifffahrtsgesellschaftskapitänspatent überraschte Fußgängerübergangsbenutzer"],
    "code": ["def test_that_a_very_long_name_is_no_text(self): return self.x['ключ_словаря'][0:10]"],
    "Russian": ["Этот фильм замечательный, превосходительнейший"],
    "Korean": ["이 영화는 정말 재미있습니다"],
    "Chinese, segmented": ["这 部 电影 很 好看", "我 不 喜欢 这 部 电影 。"],
    "Japanese, segmented": ["この 映画 は とても 良かった です 。", "コンピューター が 好き です"],
    "Japanese in katakana, segmented": ["スマートフォン ケース", "インターネット"],
    "Thai, segmented": ["หนัง เรื่อง นี้ สนุก มาก", "ภาพยนตร์ เรื่อง นี้ ยาว เกินไป"],
    "Khmer, segmented": ["ខ្ញុំ\u200bចូលចិត្ត\u200bភាពយន្ត\u200bនេះ"],
    "Chinese characters": [" ".join("这部电影很好看")],
}


@pytest.mark.parametrize("texts", UNSPACED.values(), ids=UNSPACED)
def test_texts_without_spaces_between_words_are_warned_of_with_their_share(texts):
    with pytest.warns(UserWarning, match=rf"^{len(texts)} of {len(texts)} texts \(100%\) .* spaces between words"):
        train(texts)
    known = ["A good film, and a long one."] * (9 * len(texts))
    with pytest.warns(UserWarning, match=rf"^{len(texts)} of {10 * len(texts)} texts \(10%\) .* \(jieba") as caught:
        train(iter(known + texts))
    assert caught[0].filename == __file__
    train(known * 3 + texts)  # a few of them


@pytest.mark.parametrize("texts", SPACED.values(), ids=SPACED)
def test_texts_with_spaces_between_words_are_not_warned_of(texts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(texts)


def test_decode_joins_words_with_spaces():
    tokenizer = train(REVIEWS)
    assert tokenizer.decode(tokenizer("A GOOD film. Don't!")["input_ids"]) == "a good film . don't !"


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_and_truncation_sides(side):
    tokenizer = train(REVIEWS, padding_side=side, truncation_side=side, model_max_length=2)
    a, good, film = tokenizer("a good film")["input_ids"]
    batch = tokenizer(["a", "a good film"], padding=True, truncation=True)
    assert dict(batch) == {
        "input_ids": {"left": [[0, a], [good, film]], "right": [[a, 0], [a, good]]}[side],
        "attention_mask": {"left": [[0, 1], [1, 1]], "right": [[1, 0], [1, 1]]}[side],
    }


def test_pretokenized_text_has_the_ids_of_its_words():
    tokenizer = train(REVIEWS)
    assert tokenizer(["Don't", "miss", "it!"], is_split_into_words=True).word_ids() == [0, 1, 2, 2]


@pytest.mark.parametrize("add_eos", [False, True])
def test_loads_in_a_fresh_process_without_rnnzoo(tmp_path, add_eos):
    tokenizer = train(REVIEWS, vocab_size=14, add_eos=add_eos, padding_side="left", truncation_side="left")
    tokenizer.save_pretrained(tmp_path)
    texts = [*REVIEWS, "", "<pad> </s> İstanbul <BR>naïve 👍"]
    code = (
        "import json, sys; from transformers import AutoTokenizer\n"
        "tokenizer = AutoTokenizer.from_pretrained('.'); texts = json.loads(sys.argv[1])\n"
        "out = tokenizer(texts, padding=True, truncation=True, max_length=7, return_offsets_mapping=True)\n"
        "assert not any(m.startswith('rnnzoo') for m in sys.modules)\n"
        "print(json.dumps([dict(out), tokenizer.model_input_names, len(tokenizer), tokenizer.special_tokens_map]))"
    )
    # -I keeps the current folder and PYTHONPATH off sys.path, so that rnnzoo cannot be imported.
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, json.dumps(texts)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    expected = tokenizer(texts, padding=True, truncation=True, max_length=7, return_offsets_mapping=True)
    names = ["input_ids", "attention_mask"]
    expected = [dict(expected), names, len(tokenizer), tokenizer.special_tokens_map]
    assert json.loads(done.stdout) == json.loads(json.dumps(expected))


def test_a_generator_is_read_once_and_not_kept():
    shuffler = random.Random(0)
    yielded = 0

    def reviews():
        nonlocal yielded
        for _ in range(5_000):
            yielded += 1
            yield "word " * shuffler.randint(190, 210)

    tracemalloc.start()
    tokenizer = train(reviews())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert yielded == 5_000
    assert words(tokenizer, "word") == ["word"]
    # The texts are 5 MB.
    assert peak < 2e6


@pytest.mark.parametrize(
    "texts, choices, error, message",
    [
        (["a"], {"vocab_size": 3}, ValueError, "at least 4"),
        (["a"], {"vocab_size": 4, "add_eos": True}, ValueError, "at least 5"),
        (["a"], {"vocab_size": 10**30}, ValueError, "more than the 2147483647 ids"),
        (["a"], {"vocab_size": 10.0}, TypeError, "10.0"),
        (["a"], {"vocab_size": True}, TypeError, "True"),
        (["a"], {"lowercase": "no"}, TypeError, "lowercase must be True or False, not 'no'"),
        (["a"], {"html_breaks": 1}, TypeError, "html_breaks must be True or False, not 1"),
        (["a"], {"add_eos": "no"}, TypeError, "add_eos must be True or False, not 'no'"),
        (["a"], {"punctuation": "none"}, ValueError, "'split', 'drop', 'keep'"),
        (["a"], {"padding_side": "start"}, ValueError, "padding_side='start'"),
        (["a"], {"truncation_side": "end"}, ValueError, "truncation_side='end'"),
        (["a"], {"model_max_length": 0}, ValueError, "model_max_length=0"),
        ("a text", {}, TypeError, "single text into a list"),
        (7, {}, TypeError, "not int"),
        (["a", None, "b"], {}, TypeError, "element 1 .* is None"),
        (({"text": "a"} for _ in range(2)), {}, TypeError, "element 0 .* dict"),
        (["a", "b é \ud83d"], {}, ValueError, r"Element 1 .* has half a character, '\\ud83d' at index 4"),
        ([], {}, ValueError, "no word"),
        (["", " <br />\u200b"], {}, ValueError, "no word"),
        (["...", "👍"], {"punctuation": "drop"}, ValueError, "split"),
    ],
)
def test_bad_input_is_refused(texts, choices, error, message):
    with pytest.raises(error, match=message) as caught:
        train(texts, **choices)
    assert "\n" not in str(caught.value)


def test_a_trained_tokenizer_refuses_half_a_character_too():
    """As every tokenizer of transformers does; a tagger's replaces it, see test_tagging.py."""
    with pytest.raises(TypeError, match="must be"):
        train(["a"])("half a smile: \ud83d")
