"""The classes of the zoo as cases of transformers' common tests; transformers_common.py puts this file beside them."""

import tempfile
import unittest

import torch
from transformers import PreTrainedTokenizerFast

from rnnzoo import FAMILIES, CharacterTokenizer, train_tagger_tokenizer, train_tokenizer
from rnnzoo.data.synthetic.names import make_sentences
from rnnzoo.data.synthetic.reviews import make_reviews

from .test_configuration_common import ConfigTester
from .test_modeling_common import ModelTesterMixin
from .test_tokenization_common import TokenizerTesterMixin
from .test_tokenizers_backend_mixin import TokenizersBackendTesterMixin


# Once as its configuration's defaults have it, and once with all that has weights or a path of its own.
OPTIONS = {
    "": {},
    "Full": {"bidirectional": True, "pooling": "attention", "character_size": 8, "use_crf": True},
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
        return config

    def prepare_config_and_inputs_for_common(self):
        config, shape = self.get_config(), (self.batch_size, self.seq_length)
        inputs = {"input_ids": torch.randint(99, shape), "attention_mask": (torch.rand(shape) < 0.8).long()}
        if config.character_size:
            inputs["character_ids"] = torch.randint(config.character_vocab_size, (*shape, 4))
        return config, inputs


class ModelCase(ModelTesterMixin):
    has_attentions = False
    test_can_init_all_missing_weights_before_2023 = True  # the year is that of a copyright line, where there is one

    def setUp(self):
        self.model_tester = SmallModel(self.family, self.options)

    def test_config(self):
        sizes = ["vocab_size", "embedding_size", "hidden_size", "num_hidden_layers"]
        ConfigTester(self, self.family.config, common_properties=sizes, **self.options).run_common_tests()


for _name, _family in FAMILIES.items():
    for _auto, _model in _family.models.items():
        # What a class is for, and so which labels it takes, the tests look up in transformers' lists of names.
        _auto._model_mapping._model_mapping[_family.config.model_type] = _model.__name__
    for _kind, _options in OPTIONS.items():
        _attributes = {"family": _family, "options": _options, "all_model_classes": tuple(_family.models.values())}
        globals()[f"{_name}{_kind}Test"] = type(f"{_name}{_kind}Test", (ModelCase, unittest.TestCase), _attributes)


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
