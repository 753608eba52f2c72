"""Taggers: their tokenizer and its characters, padding, saving, and what is refused."""

import copy
import string

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    Trainer,
    TrainingArguments,
    pipeline,
)

import rnnzoo
from rnnzoo import FAMILIES, CharacterTokenizer, train_tagger_tokenizer


SENTENCES = [
    ["Ada", "Lovelace", "did", "n't", "visit", "the", "U.S.", "in", "1996-08-22", "."],
    ["Mr.", "O'Neill", "'s", "well-known", "AT&T", "office", "(", "London", ")", "!"],
] * 2
LABELS = ["O", "B-X", "I-X", "B-Y", "I-Y"]
SIZES = {"embedding_size": 6, "hidden_size": 5, "character_size": 4, "character_embedding_size": 3}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tagger_tokenizer(SENTENCES, vocab_size=60, word_length=6)


@pytest.fixture
def tagger(tokenizer):
    """A tagger of one family, every weight random: a CRF is the same code for all, here with tags of its own."""
    return some_tagger("LSTM", tokenizer, iobes=True)


@pytest.fixture(params=FAMILIES)
def any_tagger(request, tokenizer):
    """A tagger of every family."""
    return some_tagger(request.param, tokenizer)


def some_tagger(name, tokenizer, iobes=False):
    family = FAMILIES[name]
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
    sizes = SIZES | {"vocab_size": len(tokenizer), "character_vocab_size": tokenizer.character_vocab_size}
    config = family.config(**sizes, **labels, num_labels=len(LABELS), use_crf=True, iobes=iobes)
    model = family.models[AutoModelForTokenClassification](config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7)
    return model


# ---- words ----


def tokens_of(tokenizer, text):
    return [text[start:end] for start, end in tokenizer(text, return_offsets_mapping=True)["offset_mapping"]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("She didn't.", ["She", "did", "n't", "."]),
        ("O'Neill's dog", ["O'Neill", "'s", "dog"]),
        ("the U.N. and I.B.M.", ["the", "U.N.", "and", "I.B.M."]),
        ("on 1996-08-22, 3,000.50", ["on", "1996-08-22", ",", "3,000.50"]),
        ("AT&T and/or well-known", ["AT&T", "and/or", "well-known"]),
        ('He said: "no"...', ["He", "said", ":", '"', "no", '"', "..."]),
        ("(London)", ["(", "London", ")"]),
        ("'quoted'", ["'", "quoted", "'"]),
        ("Δοκιμή 東京 😀", ["Δοκιμή", "東京", "😀"]),
        (" \n\t ", []),
    ],
)
def test_raw_text_is_split_into_words_as_a_corpus_has_them(tokenizer, text, words):
    assert tokens_of(tokenizer, text) == words


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), max_size=6))
def test_words_and_their_text_give_the_same_tokens(words):
    """Training reads words, serving their text: ids, characters and offsets must agree."""
    tokenizer = train_tagger_tokenizer(SENTENCES, vocab_size=60, word_length=6)
    words = ["".join(word.split()) for word in words]
    words = [word for word in words if word]
    text = " ".join(words)
    as_words = tokenizer(words, is_split_into_words=True, return_offsets_mapping=True)
    as_text = tokenizer(text, return_offsets_mapping=True)
    assert as_words["input_ids"] == as_text["input_ids"]
    assert as_words["character_ids"] == as_text["character_ids"]
    starts = [sum(len(word) + 1 for word in words[:i]) for i in range(len(words))]
    places = zip(as_words.word_ids() if words else [], as_words["offset_mapping"], strict=True)
    assert [(starts[i] + a, starts[i] + b) for i, (a, b) in places] == as_text["offset_mapping"]


# Texts that were truncated within a character, or decoded although they are not UTF-8.
HALVES = ["\ud83d", "Ada met\ude00 Babbage \udcff\udcff.", "\ud83d\ude00 in London", "in \udc80London"]


def test_half_a_character_is_read_as_a_replacement_character(tagger, tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    replaced = ["".join("\ufffd" if "\ud800" <= part <= "\udfff" else part for part in text) for text in HALVES]
    for words in (False, True):
        given, read = ([text.split() for text in texts] if words else texts for texts in (HALVES, replaced))
        options = {"is_split_into_words": words, "return_offsets_mapping": True}
        for reader in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
            assert reader(given, **options) == reader(read, **options)
            assert [dict(reader(row, **options)) for row in given] == [dict(reader(row, **options)) for row in read]
    assert tokens_of(tokenizer, HALVES[1]) == ["Ada", "met", "\ude00", "Babbage", "\udcff\udcff", "."]
    tag = pipeline("token-classification", model=tagger, tokenizer=tokenizer, aggregation_strategy="simple")
    found, right = tag(HALVES, batch_size=2), tag(replaced, batch_size=2)
    for entity in [entity for rows in (*found, *right) for entity in rows]:
        del entity["word"]  # as in the text given
    assert found == right and any(found)


def test_half_a_character_is_learned_as_it_is_read():
    tokenizer = train_tagger_tokenizer([["Ada\ud83d", "\udcff"]], vocab_size=60, also=["\ud800"], min_count=1)
    assert set(tokenizer.get_vocab()) == {"<pad>", "<s>", "<unk>", "ada", "\ufffd"}
    assert "\ufffd" in tokenizer.init_kwargs["letters"]


def test_ids_are_frequency_ranks_and_rare_words_are_unknown():
    tokenizer = train_tagger_tokenizer([["b", "a", "a", "b", "A", "c"]], vocab_size=9, also=["d", "b", "##x", "İ"])
    assert tokenizer.get_vocab() == {"<pad>": 0, "<s>": 1, "<unk>": 2, "a": 3, "b": 4, "d": 5}
    assert "i\u0307" not in "".join(
        train_tagger_tokenizer([["İstanbul"]] * 2 + [["a", "a"]], vocab_size=9).get_vocab()
    )
    assert tokenizer(["A", "c", "d", "x", "<pad>"], is_split_into_words=True)["input_ids"] == [3, 2, 5, 2, 2, 2, 2]


def test_words_from_elsewhere_are_added_if_a_text_can_have_them():
    also = ["London", "e.g", "x y", "Paris", "paris", "or"]
    tokenizer = train_tagger_tokenizer(SENTENCES, vocab_size=60, also=also)
    new = set(tokenizer.get_vocab()) - set(train_tagger_tokenizer(SENTENCES, vocab_size=60).get_vocab())
    assert new == {"paris", "or"}  # "london" was there, "e.g" is "e." and "g"
    assert all(tokenizer.tokenize(word) == [word] for word in new)


# ---- characters ----


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("lowercase", [False, True])
def test_retraining_takes_words_and_characters_from_the_new_texts_only(tmp_path, lowercase, batched):
    """And keeps the options: the result is that of training a tokenizer on the words of the texts."""
    texts = ["Город Москва didn't, well-known\ud83d", "Москва и Новосибирскаяобласть."] * 2
    sentences = [["Город", "Москва", "did", "n't", ",", "well-known", "\ufffd"]]
    sentences = (sentences + [["Москва", "и", "Новосибирскаяобласть", "."]]) * 2
    options = {"vocab_size": 60, "lowercase": lowercase, "word_length": 6}
    old = train_tagger_tokenizer(SENTENCES, **options)
    found = old.train_new_from_iterator(iter([texts] if batched else texts), 60)
    found.save_pretrained(tmp_path)
    expected = train_tagger_tokenizer(sentences, min_count=1, **options)
    for new in found, AutoTokenizer.from_pretrained(tmp_path):
        assert type(new) is CharacterTokenizer and new.get_vocab() == expected.get_vocab()
        assert new(texts) == expected(texts) and new.character_vocab_size == expected.character_vocab_size


def test_retraining_takes_the_options_of_transformers(tokenizer):
    texts = ["Москва Москва Город Город Тверь"]
    new = tokenizer.train_new_from_iterator(
        texts, 6, new_special_tokens=["<sep>"], special_tokens_map={"<unk>": "[UNK]"}, min_frequency=2
    )
    assert new.convert_ids_to_tokens(range(len(new))) == ["<pad>", "<s>", "[UNK]", "<sep>", "город", "москва"]
    assert new("Тверь <sep>")["input_ids"] == [2, 2, 2, 2] and new.unk_token_id == 2
    assert new.init_kwargs["letters"] == "".join(sorted(set("МоскваГород")))
    with pytest.raises(ValueError, match="no word in"):
        tokenizer.train_new_from_iterator([" "], 9)


def test_words_that_are_not_those_of_raw_text_are_warned_of(tokenizer):
    chinese = [["我", "喜欢", "北京", "大学", "。"]]
    with pytest.warns(UserWarning, match=r"^1 of 5 texts \(20%\) .*splits raw text at spaces") as caught:
        train_tagger_tokenizer(SENTENCES + chinese, vocab_size=60)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"^1 of 1 texts \(100%\) .*splits raw text at spaces"):
        tokenizer.train_new_from_iterator(["我喜欢北京大学。"], 60)
    tokenizer.train_new_from_iterator(["我 喜欢 北京 大学 。"], 60)
    train_tagger_tokenizer(SENTENCES * 10 + chinese, vocab_size=60)


def test_characters_keep_their_case_and_long_words_both_ends(tokenizer):
    by_id = dict(enumerate(tokenizer.init_kwargs["letters"], start=2)) | {0: "", 1: "?"}

    def shown(word):
        return "".join(by_id[i] for i in tokenizer.letters_of(word))

    assert shown("Ada") == "Ada" and shown("visit") == "visit"
    assert shown("Lovelace") == "Lovace" and shown("Zoë") == "?o?"
    assert len(tokenizer.letters_of("a")) == len(tokenizer.letters_of(string.ascii_letters)) == 6


@pytest.mark.parametrize("side", ["left", "right"])
def test_every_way_of_making_a_batch_gives_the_same_characters(tokenizer, side):
    texts = ["Ada did n't", "London", "the office ( London )"]
    at_once = tokenizer(texts, padding=True, padding_side=side, return_tensors="pt")
    one_by_one = tokenizer.pad([tokenizer(text) for text in texts], padding_side=side, return_tensors="pt")
    assert at_once["character_ids"].shape == (3, 5, 6)
    for name in ("input_ids", "attention_mask", "character_ids"):
        assert torch.equal(at_once[name], one_by_one[name])
    assert not at_once["character_ids"][at_once["attention_mask"] == 0].any()


def test_the_standard_collator_pads_characters(tokenizer, tagger):
    rows = [dict(tokenizer(text)) for text in ("Ada did n't", "London")]
    for row in rows:
        row["labels"] = [1] * len(row["input_ids"])
    batch = DataCollatorForTokenClassification(tokenizer)(rows)
    assert batch["character_ids"].shape == (2, 3, 6)
    assert tagger(**batch).loss.isfinite()


def test_overflowing_chunks_have_their_characters(tokenizer):
    chunks = tokenizer("Ada did visit the office", truncation=True, max_length=2, return_overflowing_tokens=True)
    complete = tokenizer("Ada did visit the office")
    assert sum(chunks["character_ids"], []) == complete["character_ids"]


def test_overflowing_chunks_of_a_batch_are_padded_to_one_length(tokenizer):
    long, options = "Ada did visit the office", {"truncation": True, "max_length": 2}
    for text, count in (long, 3), ([long, "London"], 4):
        chunks = tokenizer(text, **options, padding=True, return_overflowing_tokens=True, return_tensors="pt")
        assert chunks["input_ids"].shape == chunks["attention_mask"].shape == (count, 2)
        assert chunks["character_ids"].shape == (count, 2, 6)


# ---- models ----


def test_a_text_is_tagged_alike_in_any_batch(any_tagger, tokenizer):
    texts = ["Ada visit", "", "the office ( London ) and O'Neill 's dog .", "London"]
    for side in ("left", "right"):
        batch = tokenizer(texts, padding=True, padding_side=side, return_tensors="pt")
        batch["character_ids"][batch["attention_mask"] == 0] = 7  # what lies in the padding does not matter
        with torch.no_grad():
            together = any_tagger(**batch)
            for row, text in enumerate(texts):
                alone = any_tagger(**tokenizer(text, return_tensors="pt"))
                real = batch["attention_mask"][row].bool()
                found, expected = (x.softmax(-1) for x in (together.logits[row, real], alone.logits[0]))
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
                assert torch.equal(alone.tags[0], together.tags[row, real])


def test_a_saved_tagger_is_loaded_with_its_tokenizer(any_tagger, tokenizer, tmp_path):
    any_tagger.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert type(again) is CharacterTokenizer and type(model) is type(any_tagger)
    for name, weight in any_tagger.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight)
    assert dict(again("Ada did")) == dict(tokenizer("Ada did"))


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("tokenizer.json", '"WordPiece"', '"Wor', "JSONDecodeError"),
        ("tokenizer.json", '"WordPiece"', '"Word"', "Exception: data did not match any variant"),
        ("tokenizer_config.json", '"word_length": 6', '"word_length": "x"', "word_length='x'"),
        ("tokenizer_config.json", '"word_length": 6', '"word_length": 9999999999', "word_length=9999999999"),
        ("tokenizer_config.json", '"letters"', '"lettres"', "letters=None"),
    ],
)
def test_a_damaged_tokenizer_is_not_loaded(tokenizer, tmp_path, file, old, new, says):
    tokenizer.save_pretrained(tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    with pytest.raises(OSError, match=f"The tokenizer of .* cannot be loaded .*{says}.*force_download=True"):
        AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("given", "error"), [({"padding_side": "middle"}, ValueError), ({"get_vocab": True}, AttributeError)], ids=str
)
def test_a_wrong_argument_is_not_reported_as_damage(tokenizer, tmp_path, given, error):
    tokenizer.save_pretrained(tmp_path)
    for load in (CharacterTokenizer, AutoTokenizer):
        with pytest.raises(error, match="middle|get_vocab"):
            load.from_pretrained(tmp_path, **given)


@pytest.mark.parametrize("word_length", [-1, 1001, 2.0])
def test_an_impossible_word_length_is_refused(word_length):
    with pytest.raises(ValueError, match=f"word_length={word_length} must be an int from 0 to 1000"):
        train_tagger_tokenizer(SENTENCES, vocab_size=60, word_length=word_length)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_pipelines_find_the_same_entities_with_every_strategy(tagger, tokenizer, batch_size):
    texts = ["", "Mr. O'Neill of AT&T didn't visit London!", "e\u0301te\u0301 İstanbul \U0001f600", "x" * 99]
    found = {}
    for strategy in ("simple", "first", "average", "max"):
        tag = pipeline("token-classification", model=tagger, tokenizer=tokenizer, aggregation_strategy=strategy)
        found[strategy] = tag(texts, batch_size=batch_size)
    for text, simple, *others in zip(texts, *found.values(), strict=True):
        for entity in simple:
            assert entity["word"] and 0 <= entity["start"] < entity["end"] <= len(text)
        for other in others:
            assert [(e["entity_group"], e["start"], e["end"]) for e in other] == [
                (e["entity_group"], e["start"], e["end"]) for e in simple
            ]


def test_an_empty_text_among_others_without_characters(tmp_path):
    tokenizer = train_tagger_tokenizer(SENTENCES, vocab_size=60, word_length=0)
    assert "character_ids" not in tokenizer("Ada did")
    model = rnnzoo.GRUForTokenClassification(rnnzoo.GRUConfig(vocab_size=len(tokenizer), hidden_size=4))
    tag = pipeline("token-classification", model=model, tokenizer=tokenizer, ignore_labels=[])
    assert [len(row) for row in tag(["", "Ada did", "London"], batch_size=2)] == [0, 2, 1]


def test_a_window_applies_to_characters_too_and_a_batch_may_be_empty(tokenizer):
    sizes = SIZES | {"vocab_size": len(tokenizer), "character_vocab_size": tokenizer.character_vocab_size}
    batch = tokenizer(["Ada did visit the office", "London in the U.S. office"], return_tensors="pt")
    model = rnnzoo.LSTMForSequenceClassification(rnnzoo.LSTMConfig(**sizes, window=3)).eval()
    last = {name: column[:, -3:] for name, column in batch.items()}
    with torch.no_grad():
        for left_out in ([], ["attention_mask"]):
            some = {name: column for name, column in batch.items() if name not in left_out}
            torch.testing.assert_close(model(**some).logits, model(**last).logits)
        tagger = rnnzoo.LSTMForTokenClassification(rnnzoo.LSTMConfig(**sizes)).eval()
        assert tagger(**{name: column[:0] for name, column in batch.items()}).logits.shape == (0, 5, 2)


def test_in_training_no_path_is_decoded(tagger, tokenizer):
    batch = tokenizer(["Ada did"], return_tensors="pt")
    labels = torch.tensor([[1, -100]])
    out = tagger.train()(**batch, labels=labels)
    assert out.tags is None and out.marginals is None and out.loss.isfinite()
    out.loss.backward()
    assert tagger.crf.start.grad.any()


def test_classifier_dropout_is_applied_before_the_classifier(tagger, tokenizer):
    tagger.dropout.p = 1.0
    logits = tagger.train()(**tokenizer(["Ada did"], return_tensors="pt")).logits
    torch.testing.assert_close(logits, tagger.classifier.bias.expand_as(logits))


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("strict", [True, False])
def test_a_tagger_exports_with_free_batch_and_length(tagger, tokenizer, strict, masked):
    names = ("input_ids", "attention_mask", "character_ids") if masked else ("input_ids", "character_ids")
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}

    def batch(*texts):
        found = tokenizer(list(texts), padding=True, return_tensors="pt")
        return {name: found[name] for name in names}

    example = batch("Ada did n't visit", "London")
    shapes = {name: dict(free) for name in example}
    program = torch.export.export(tagger, (), example, dynamic_shapes=shapes, strict=strict).module()
    for texts in (["the office ( London ) and O'Neill 's dog ."], ["London", "Ada visit the U.S.", "dog"]):
        given = batch(*texts)
        found, expected = program(**given), tagger(**given)
        assert torch.equal(found["tags"], expected.tags)
        torch.testing.assert_close(found["logits"], expected.logits)


# torch.compile itself reads the .grad of tensors that are no leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_tagger_compiles_around_its_loops(tagger, tokenizer):
    batch = tokenizer(["Ada did n't visit", "London"], padding=True, return_tensors="pt")
    labels = torch.tensor([[1, 2, 0, 0], [3, -100, -100, -100]])
    torch.compiler.reset()
    compiled = torch.compile(tagger, backend="aot_eager")
    assert torch.equal(compiled(**batch).tags, tagger(**batch).tags)
    tagger.train()
    expected = torch.autograd.grad(tagger(**batch, labels=labels).loss, list(tagger.parameters()))
    found = torch.autograd.grad(compiled(**batch, labels=labels).loss, list(tagger.parameters()))
    torch.testing.assert_close(found, expected)


def test_the_loss_is_that_of_the_labelled_words(tagger, tokenizer):
    """Words without a label are left out, and those around them become neighbours."""
    batch = tokenizer(["Ada did n't visit", "London"], padding=True, return_tensors="pt")
    labels = torch.tensor([[1, -100, 0, 3], [3, -100, -100, -100]])
    out = tagger(**batch, labels=labels)
    rows = [
        (row[real][None], tags[real][None])
        for row, tags, real in zip(out.emissions, labels, labels != -100, strict=True)
    ]
    expected = -sum(tagger.crf(*row)[0] for row in rows) / 4
    torch.testing.assert_close(out.loss, expected)
    torch.testing.assert_close(out.marginals, tagger.crf.marginals(out.emissions, batch["attention_mask"].bool()))


def test_labels_of_no_length(tagger):
    nothing = torch.zeros(2, 0, dtype=torch.long)
    out = tagger(input_ids=nothing, character_ids=torch.zeros(2, 0, 6, dtype=torch.long), labels=nothing)
    assert out.loss.isnan() and out.logits.shape == (2, 0, 5)  # the mean over no labels


@pytest.mark.parametrize(
    ("option", "argument"),
    [({"label_smoothing_factor": 0.1}, {}), ({}, {"compute_loss_func": lambda out, labels, **_: out.logits.sum()})],
    ids=["label_smoothing_factor", "compute_loss_func"],
)
def test_trainer_is_refused_a_loss_that_leaves_the_crf_out(tagger, tokenizer, tmp_path, option, argument):
    rows = [tokenizer(sentence, is_split_into_words=True) for sentence in SENTENCES]
    rows = [{**row, "labels": [1] * len(row["input_ids"])} for row in rows]

    def train(model, option, argument):
        options = TrainingArguments(
            tmp_path, max_steps=1, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True,
            dataloader_pin_memory=False, learning_rate=0.1, **option,
        )  # fmt: skip
        collator = DataCollatorForTokenClassification(tokenizer)
        Trainer(model, options, train_dataset=rows, data_collator=collator, **argument).train()

    before = copy.deepcopy(tagger.state_dict())
    with pytest.raises(ValueError, match="use_crf=True, .* label_smoothing_factor=0 .* compute_loss_func"):
        train(tagger, option, argument)
    assert all(torch.equal(weight, before[name]) for name, weight in tagger.state_dict().items())
    train(tagger, {}, {})
    assert not torch.equal(tagger.crf.transitions, before["crf.transitions"])

    config = copy.deepcopy(tagger.config)
    config.use_crf = False
    train(type(tagger)(config), option, argument)


def test_who_forgets_eval_has_an_answer(tagger, tokenizer):
    batch = tokenizer("Ada Lovelace", return_tensors="pt")
    with_gradients = tagger.train()(**batch).logits
    with torch.no_grad():
        # Not bitwise: without gradients a kernel may take another path.
        torch.testing.assert_close(tagger(**batch).logits, with_gradients)


def test_missing_characters_are_refused_with_the_way_out(tagger, tokenizer):
    batch = tokenizer(["Ada did"], return_tensors="pt")
    characters = batch.pop("character_ids")
    with pytest.raises(ValueError, match="character_ids are missing.*import rnnzoo.*trust_remote_code"):
        tagger(**batch)
    with pytest.raises(ValueError, match=r"character_ids have shape \(1, 1, 6\)"):
        tagger(**batch, character_ids=characters[:, :1])


def test_sentences_that_leave_no_word_are_refused():
    with pytest.raises(ValueError, match="no word in sentences"):
        train_tagger_tokenizer([[]], vocab_size=9)
    with pytest.raises(ValueError, match="vocab_size=3 and min_count=2 leave no word"):
        train_tagger_tokenizer(SENTENCES, vocab_size=3)


@pytest.mark.parametrize("pooling", ["last", "concat"])
def test_a_checkpoint_of_another_head_is_loaded_with_a_warning(any_tagger, tokenizer, tmp_path, pooling):
    """With `last` the classifiers of both heads have the same sizes, and no weight is missing."""
    any_tagger.config.pooling = pooling
    any_tagger.save_pretrained(tmp_path / "tagger")
    tokenizer.save_pretrained(tmp_path / "tagger")
    name = type(any_tagger).__name__
    warned = rf"tagger was saved by {name} and is loaded as \w+ForSequenceClassification.* AutoModelForTokenClass"
    with pytest.warns(UserWarning, match=warned):
        classifier, info = AutoModelForSequenceClassification.from_pretrained(
            tmp_path / "tagger", output_loading_info=True, ignore_mismatched_sizes=True
        )
    torch.testing.assert_close(classifier.backbone.layers.state_dict(), any_tagger.backbone.layers.state_dict())
    assert bool(info["mismatched_keys"]) == (pooling == "concat")
    if pooling == "last":
        with pytest.warns(UserWarning, match=warned):
            pipeline("text-classification", model=str(tmp_path / "tagger"))

    # What the classifier saves is its own, and a backbone has no head that could be another.
    classifier.save_pretrained(tmp_path / "classifier")
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "classifier")
    AutoModel.from_pretrained(tmp_path / "tagger").save_pretrained(tmp_path / "backbone")
    for auto in AutoModelForSequenceClassification, AutoModelForTokenClassification:
        auto.from_pretrained(tmp_path / "backbone")


@pytest.mark.parametrize(
    ("texts", "split"),
    [
        (("a", "b"), False),
        ((["a"], ["b"]), False),
        (([("a", "b")],), False),
        (([["a", "b"]],), False),
        (([(["a"], ["b"])],), True),
    ],
)
def test_a_pair_of_texts_is_refused(tokenizer, texts, split):
    with pytest.raises(ValueError, match="one text at a time"):
        tokenizer(*texts, is_split_into_words=split)
