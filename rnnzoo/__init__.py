"""rnnzoo: recurrent networks as Hugging Face models. Importing it registers its families with the Auto classes."""

from typing import NamedTuple

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from .configuration_rnnzoo import BiRNNConfig, GRUConfig, LSTMConfig, RecurrentConfig, RNNConfig
from .lm_tokenizer import train_lm_tokenizer
from .modeling_rnnzoo import (
    BiRNNForSequenceClassification,
    BiRNNForTokenClassification,
    BiRNNModel,
    GRUForSequenceClassification,
    GRUForTokenClassification,
    GRUModel,
    LSTMForSequenceClassification,
    LSTMForTokenClassification,
    LSTMModel,
    RecurrentPreTrainedModel,
    RecurrentState,
    RNNForSequenceClassification,
    RNNForTokenClassification,
    RNNModel,
)
from .modeling_rnnzoo_lm import GRUForCausalLM, LSTMForCausalLM, RNNForCausalLM
from .scoring import score_texts
from .tokenization_rnnzoo import CharacterTokenizer, train_tagger_tokenizer, train_tokenizer
from .zoo import list_models


__version__ = "0.1.0"


class Family(NamedTuple):
    """A configuration class and its model classes, by the Auto class that finds each."""

    config: type[RecurrentConfig]
    models: dict[type, type[RecurrentPreTrainedModel]]


# To add a family or a head, add a row or an entry here: registration, checkpoints and tests follow from it.
FAMILIES = {
    "RNN": Family(
        RNNConfig,
        {
            AutoModel: RNNModel,
            AutoModelForSequenceClassification: RNNForSequenceClassification,
            AutoModelForTokenClassification: RNNForTokenClassification,
            AutoModelForCausalLM: RNNForCausalLM,
        },
    ),
    "BiRNN": Family(
        BiRNNConfig,
        {
            AutoModel: BiRNNModel,
            AutoModelForSequenceClassification: BiRNNForSequenceClassification,
            AutoModelForTokenClassification: BiRNNForTokenClassification,
        },
    ),
    "LSTM": Family(
        LSTMConfig,
        {
            AutoModel: LSTMModel,
            AutoModelForSequenceClassification: LSTMForSequenceClassification,
            AutoModelForTokenClassification: LSTMForTokenClassification,
            AutoModelForCausalLM: LSTMForCausalLM,
        },
    ),
    "GRU": Family(
        GRUConfig,
        {
            AutoModel: GRUModel,
            AutoModelForSequenceClassification: GRUForSequenceClassification,
            AutoModelForTokenClassification: GRUForTokenClassification,
            AutoModelForCausalLM: GRUForCausalLM,
        },
    ),
}


def register(family: Family):
    """Makes the Auto classes find a family, and its checkpoints name and carry all of its classes."""

    def place(cls):
        return f"{cls.__module__.rsplit('.', 1)[-1]}.{cls.__name__}"

    AutoConfig.register(family.config.model_type, family.config)
    # For folders whose tokenizer is a CharacterTokenizer; classifiers' tokenizers name a class of transformers.
    AutoTokenizer.register(family.config, tokenizer_class=CharacterTokenizer)
    family.config.register_for_auto_class()
    auto_map = {"AutoConfig": place(family.config)}
    auto_map |= {auto.__name__: place(model) for auto, model in family.models.items()}
    for auto, model in family.models.items():
        auto.register(family.config, model)
        model.register_for_auto_class(auto.__name__)
        model.auto_map = auto_map


CharacterTokenizer.register_for_auto_class()
for _family in FAMILIES.values():
    register(_family)


__all__ = [
    "FAMILIES",
    "BiRNNConfig",
    "BiRNNForSequenceClassification",
    "BiRNNForTokenClassification",
    "BiRNNModel",
    "CharacterTokenizer",
    "Family",
    "GRUConfig",
    "GRUForCausalLM",
    "GRUForSequenceClassification",
    "GRUForTokenClassification",
    "GRUModel",
    "LSTMConfig",
    "LSTMForCausalLM",
    "LSTMForSequenceClassification",
    "LSTMForTokenClassification",
    "LSTMModel",
    "RNNConfig",
    "RNNForCausalLM",
    "RNNForSequenceClassification",
    "RNNForTokenClassification",
    "RNNModel",
    "RecurrentState",
    "list_models",
    "register",
    "score_texts",
    "train_lm_tokenizer",
    "train_tagger_tokenizer",
    "train_tokenizer",
]
