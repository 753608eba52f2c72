"""The classes of the zoo as cases of transformers' common tests; transformers_common.py puts this file beside them."""

import tempfile
import unittest
from contextlib import contextmanager
from functools import wraps
from unittest import mock

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from rnnzoo import FAMILIES, CharacterTokenizer, train_tagger_tokenizer, train_tokenizer
from rnnzoo.data.synthetic.names import make_sentences
from rnnzoo.data.synthetic.reviews import make_reviews
from rnnzoo.modeling_rnnzoo_lm import RecurrentForCausalLM

from .generation.test_utils import GenerationTesterMixin
from .test_configuration_common import ConfigTester
from .test_modeling_common import ModelTesterMixin
from .test_tokenization_common import TokenizerTesterMixin
from .test_tokenizers_backend_mixin import TokenizersBackendTesterMixin


# Once as its configuration's defaults have it, and once with all that has weights or a path of its own: what language
# models have is not what others have.
OPTIONS = {
    "": {},
    "Full": {"bidirectional": True, "pooling": "attention", "character_size": 8, "use_crf": True},
    "Tied": {"tie_word_embeddings": True},
}


class SmallModel:
    """What the tests call a model tester: a small configuration, and a batch for it."""

    batch_size, seq_length, num_hidden_layers, is_training = 5, 7, 2, True

    def __init__(self, family, options):
        self.family, self.options = family, options
        self.hidden_size = self.get_config().output_size

    def get_config(self):
        config = self.family.config(vocab_size=99, hidden_size=16, num_hidden_layers=2, **self.options)
        # As wide as what layers give: the tests know one width.
        config.embedding_size = config.output_size - config.character_size
        config.use_cache = True  # a state is
        return config

    def prepare_config_and_inputs_for_common(self):
        config, shape = self.get_config(), (self.batch_size, self.seq_length)
        inputs = {"input_ids": torch.randint(99, shape), "attention_mask": (torch.rand(shape) < 0.8).long()}
        if config.character_size:
            inputs["character_ids"] = torch.randint(config.character_vocab_size, (*shape, 4))
        return config, inputs


def classes(family, kind):
    """The classes of a family that a case is for."""
    language = (AutoModelForCausalLM,)
    for_kind = {"": family.models, "Full": family.models.keys() - language, "Tied": family.models.keys() & language}
    return tuple(model for auto, model in family.models.items() if auto in for_kind[kind])


class ModelCase(ModelTesterMixin):
    has_attentions = False
    test_can_init_all_missing_weights_before_2023 = True  # the year is that of a copyright line, where there is one

    def setUp(self):
        self.model_tester = SmallModel(self.family, self.options)

    def test_config(self):
        sizes = ["vocab_size", "embedding_size", "hidden_size", "num_hidden_layers"]
        ConfigTester(self, self.family.config, common_properties=sizes, **self.options).run_common_tests()


@contextmanager
def state_returned():
    """Has a model return its state without being asked, as transformers' own do by default."""
    forward = RecurrentForCausalLM.forward

    @wraps(forward)
    def with_state(self, *args, use_cache=True, **kwargs):
        return forward(self, *args, use_cache=use_cache, **kwargs)

    with mock.patch.object(RecurrentForCausalLM, "forward", with_state):
        yield


class GenerationCase(ModelCase, GenerationTesterMixin):
    """Where the tests of generate() look at keys and values, the state is looked at; where they would skip a model
    that can do what they test, because attentions or a list of layers do not say so, it is said for them."""

    def test_generate_continue_from_past_key_values(self):
        with state_returned():
            super().test_generate_continue_from_past_key_values()

    def test_generate_continue_from_inputs_embeds(self):
        with state_returned():
            super().test_generate_continue_from_inputs_embeds()

    def test_left_padding_compatibility(self):
        self.has_attentions = True
        super().test_left_padding_compatibility()

    def test_recurrent_layers_mask_padding_on_continued_forward(self):
        with mock.patch.object(self.family.config, "layer_types", ["linear_attention"] * 2, create=True):
            super().test_recurrent_layers_mask_padding_on_continued_forward()

    def _check_past_key_values_for_generate(self, batch_size, past_key_values, seq_length, config):
        for part in past_key_values.state.to_tuple():
            self.assertEqual(part.shape, (batch_size, config.num_hidden_layers, config.hidden_size))
        self.assertEqual(past_key_values.get_seq_length(), seq_length)

    def _check_caches_are_equal(self, cache1, cache2):
        self.assertEqual(cache1.get_seq_length(), cache2.get_seq_length())
        torch.testing.assert_close(cache1.state.to_tuple(), cache2.state.to_tuple())


# Where there is no clone of transformers, the mixin is a stand-in without tests.
_tests_of_generation = hasattr(GenerationTesterMixin, "test_greedy_generate")
_generating = (GenerationCase,) if _tests_of_generation else (ModelCase, GenerationTesterMixin)
for _name, _family in FAMILIES.items():
    for _auto, _model in _family.models.items():
        # What a class is for, and so which labels it takes, the tests look up in transformers' lists of names.
        _auto._model_mapping._model_mapping[_family.config.model_type] = _model.__name__
    for _kind, _options in OPTIONS.items():
        if _classes := classes(_family, _kind):
            _bases = _generating if any(model.can_generate() for model in _classes) else (ModelCase,)
            _attributes = {"family": _family, "options": _options, "all_model_classes": _classes}
            globals()[f"{_name}{_kind}Test"] = type(f"{_name}{_kind}Test", (*_bases, unittest.TestCase), _attributes)


class TokenizerCase(TokenizerTesterMixin, TokenizersBackendTesterMixin):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory() as folder:
            cls.trained().save_pretrained(folder)
            cls.from_pretrained_id = folder
            super().setUpClass()  # copies it, and knows the folder by its name
        cls.from_pretrained_id = [cls.tmpdirname]
        cls.tokenizers_list = [(cls.tokenizer_class, cls.tmpdirname, {})]


class TokenizerTest(TokenizerCase, unittest.TestCase):
    tokenizer_class = PreTrainedTokenizerFast

    @staticmethod
    def trained():
        return train_tokenizer(make_reviews()["train"]["text"], vocab_size=1000)


class TaggerTokenizerTest(TokenizerCase, unittest.TestCase):
    tokenizer_class = CharacterTokenizer

    @staticmethod
    def trained():
        return train_tagger_tokenizer(make_sentences()["train"]["tokens"], vocab_size=1000)
