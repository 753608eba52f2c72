"""The configurations: what they refuse and how they say it, and that JSON gives back what was saved.

All families share one validator: what it checks is tested on one of them, that it runs on each.
"""

import json
from dataclasses import fields

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from rnnzoo import FAMILIES, BiRNNConfig, LSTMConfig
from rnnzoo.configuration_rnnzoo import RecurrentConfig


FIELDS = {field.name for field in fields(RecurrentConfig)} - {field.name for field in fields(PreTrainedConfig)}

CHARACTERS = ("character_size", "character_ngrams", "character_embedding_size", "character_vocab_size")
CONTEXT = ("context_size", "context_embedding_size")
SIZES = ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "window", "wide_size")
SIZES += CHARACTERS + CONTEXT
MAY_BE_ZERO = ("num_hidden_layers", "character_size", "character_ngrams", "wide_size", "context_size")
DROPOUTS = [
    f"{kind}_dropout"
    for kind in ("embedding", "hidden", "recurrent", "recurrent_weight", "classifier", "ngram", "wide")
]
TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id", "sentence_token_id")
SWITCHES = ("bidirectional", "tie_word_embeddings", "use_crf", "iobes", "pool_repeated_words")

WRONG_TYPES = (
    [(name, value) for name in SIZES + TOKENS for value in ("7", 7.0, True, [7])]
    + [(name, value) for name in DROPOUTS for value in ("0.2", None, [0.2])]
    + [(name, value) for name in SWITCHES for value in ("yes", 1, None)]
    + [("pooling", value) for value in (None, 1, ["last"])]
    + [("character_encoder", value) for value in (None, 1, ["cnn"])]
)
OUT_OF_RANGE = (
    [(name, value) for name in SIZES for value in (0, -1) if value or name not in MAY_BE_ZERO]
    + [(name, value) for name in DROPOUTS for value in (-0.1, 1, 1.5, float("nan"))]
    + [(name, value) for name in TOKENS for value in (-1, 20)]
    + [("pooling", "average"), ("character_encoder", "gru")]
)


@pytest.fixture(params=FAMILIES)
def config_class(request):
    return FAMILIES[request.param].config


def test_every_field_is_covered_here():
    assert {name for name, _ in WRONG_TYPES} == FIELDS
    assert {name for name, _ in OUT_OF_RANGE} == FIELDS - set(SWITCHES)


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES + OUT_OF_RANGE, ids=str)
def test_refuses_a_wrong_value_and_names_it(name, value):
    with pytest.raises(StrictDataclassError) as refusal:
        LSTMConfig(**{"vocab_size": 20, name: value})
    assert name in str(refusal.value)
    assert str(value) in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in SIZES for value in (2**31, 2**70)]
    + [("num_hidden_layers", 1001)]
    + [("num_labels", value) for value in (0, "two", None, 10**9)]
    + [("id2label", value) for value in ([], {}, {5: "x"}, {0: None}, {"a": "x"})]
    + [("architectures", value) for value in ("LSTMModel", [3])]
    + [("problem_type", "x"), ("dtype", 3), ("dtype", "float99"), ("dtype", "load")],
    ids=str,
)
def test_refuses_what_would_fail_later_or_fill_the_memory(name, value):
    with pytest.raises((StrictDataclassError, ValueError)) as refusal:
        LSTMConfig(**{name: value})
    # The message of transformers for a wrong value need not name the field.
    assert str(refusal.value).partition(name)[1] or "wrong value" in str(refusal.value)


OTHER_NAMES = {
    "hiden_size": "did you mean hidden_size?",
    "poling": "did you mean pooling?",
    "bidirectonal": "did you mean bidirectional?",
    "num_label": "did you mean num_labels?",
    "num_layers": "use num_hidden_layers",
    "embedding_dim": "use embedding_size",
    "input_size": "use embedding_size",
    "units": "use hidden_size",
    "num_embeddings": "use vocab_size",
    "num_classes": "use num_labels",
    "dropout": "use embedding_dropout, hidden_dropout, recurrent_dropout or classifier_dropout",
    "batch_first": "it has .*embedding_dropout, .*, vocab_size, wide_dropout, wide_size, window",
    "max_length": "it has .*window",
}


@pytest.mark.parametrize(("name", "way_out"), OTHER_NAMES.items(), ids=OTHER_NAMES)
def test_refuses_a_name_that_is_no_field_with_the_way_out(config_class, name, way_out):
    for made in config_class, lambda **given: AutoConfig.for_model(config_class.model_type, **given):
        with pytest.raises(ValueError, match=f"^{config_class.__name__} has no field '{name}': {way_out}") as refusal:
            made(**{"hidden_size": 3, name: 3})
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["hiden_size", "num_layers", "dropout"])
def test_refuses_a_change_on_loading_that_is_no_field(config_class, tmp_path, name):
    config_class().save_pretrained(tmp_path)
    for loaded in config_class.from_pretrained, AutoConfig.from_pretrained, AutoModel.from_pretrained:
        with pytest.raises(ValueError, match=f"no field '{name}'.*_"):
            loaded(tmp_path, **{name: 3})
    assert (
        AutoConfig.from_pretrained(tmp_path, hidden_size=3, num_labels=5, use_fast=True, pad_token="x").num_labels == 5
    )


def test_keeps_the_fields_of_newer_versions_in_a_saved_configuration(config_class, tmp_path):
    config_class(hidden_size=3).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    newer = json.loads(file.read_text()) | {"dropout": 0.5, "hiden_size": 4, "temperature": 2, "of_a_newer_version": 7}
    file.write_text(json.dumps(newer))
    loaded = AutoConfig.from_pretrained(tmp_path)
    loaded.save_pretrained(tmp_path)
    for config in loaded, config_class(**loaded.to_dict()), AutoConfig.from_pretrained(tmp_path):
        assert (config.hidden_size, config.of_a_newer_version) == (3, 7)


def test_refuses_a_wrong_type_on_assignment(config_class):
    with pytest.raises(StrictDataclassError, match="hidden_size.*'64'"):
        config_class().hidden_size = "64"


def test_refuses_to_save_a_wrong_value(config_class, tmp_path):
    config = config_class()
    config.hidden_size = 0
    with pytest.raises(StrictDataclassError, match="hidden_size=0"):
        config.save_pretrained(tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_refuses_a_wrong_value_from_a_file(config_class, tmp_path):
    config_class().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"recurrent_dropout": 2}))
    with pytest.raises(StrictDataclassError, match="recurrent_dropout=2"):
        AutoConfig.from_pretrained(tmp_path)


def test_refuses_a_birnn_of_one_direction():
    with pytest.raises(StrictDataclassError, match="bidirectional=False.*RNNConfig"):
        BiRNNConfig(bidirectional=False)


@pytest.mark.parametrize("pooling", ["last", "concat"])
def test_refuses_to_pool_the_last_state_without_a_layer(pooling):
    with pytest.raises(StrictDataclassError, match=f"pooling='{pooling}' needs the last state.*choose mean, max or"):
        LSTMConfig(num_hidden_layers=0, pooling=pooling)


def test_each_family_has_a_model_type_of_its_own():
    types = [family.config.model_type for family in FAMILIES.values()]
    assert len(set(types)) == len(types)
    assert all(name.startswith("rnnzoo-") for name in types)


def test_the_bounds_of_every_range_are_allowed():
    bounds = dict.fromkeys(SIZES, 1) | dict.fromkeys(DROPOUTS, 0) | dict.fromkeys(TOKENS, 0)
    config = LSTMConfig(**bounds)
    assert {name: getattr(config, name) for name in bounds} == bounds
    assert LSTMConfig(**dict.fromkeys(TOKENS, None)).pad_token_id is None


def test_json_gives_back_what_was_saved(config_class, tmp_path):
    changes = {name: 7 for name in SIZES} | {name: 0.25 for name in DROPOUTS} | {name: 6 for name in TOKENS}
    changes |= dict.fromkeys(SWITCHES, True) | {"pooling": "concat", "character_encoder": "lstm", "character_size": 6}
    assert set(changes) == FIELDS
    config = config_class(**changes, id2label={0: "bad", 1: "fair", 2: "good"}, problem_type="regression")
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is config_class
    assert {name: getattr(loaded, name) for name in FIELDS} == changes
    assert (loaded.num_labels, loaded.id2label, loaded.problem_type) == (3, config.id2label, "regression")
    assert {name for name in json.loads((tmp_path / "config.json").read_text()) if "direction" in name} == {
        "bidirectional"
    }, "what is derived from other fields is not stored"


def test_keeps_the_fields_that_all_configurations_of_transformers_have(tmp_path):
    given = {
        "architectures": ["Some"],
        "output_hidden_states": True,
        "return_dict": False,
        "dtype": "float16",
        "chunk_size_feed_forward": 5,
        "is_encoder_decoder": True,
        "id2label": {0: "bad", 1: "good", 2: "unknown"},
        "label2id": {"bad": 0, "good": 1, "unknown": 2},
        "problem_type": "multi_label_classification",
    }
    config = LSTMConfig(**given)
    config.save_pretrained(tmp_path)
    for kept in config, AutoConfig.from_pretrained(tmp_path):
        found = {name: getattr(kept, name) for name in given}
        assert found | {"dtype": str(kept.dtype).removeprefix("torch.")} == given


def test_the_output_has_the_features_of_all_directions():
    config = LSTMConfig(hidden_size=7, bidirectional=True)
    assert (config.num_directions, config.output_size) == (2, 14)
    assert LSTMConfig(hidden_size=7, embedding_size=3, num_hidden_layers=0, pooling="mean").output_size == 3
