"""What a recipe trains: the model and the tokenizer of a checkpoint, or new ones made from its options."""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

import rnnzoo
from rnnzoo.configuration_rnnzoo import RecurrentConfig
from rnnzoo.data.errors import RecipeError
from rnnzoo.training.command_line import option, unknown
from rnnzoo.training.loop import TrainingOptions
from rnnzoo.training.word_vectors import WORD2VEC


CONFIGS = {family.config.model_type: family.config for family in rnnzoo.FAMILIES.values()}

# Ours alone: what transformers adds to every config, and what the tokenizer decides, is not for a recipe to set.
MODEL_FIELDS = {field.name for field in dataclasses.fields(RecurrentConfig)} - {
    *(field.name for field in dataclasses.fields(PreTrainedConfig)),
    *("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id", "tie_word_embeddings"),
    "character_vocab_size",
}

NO_MAX_LENGTH = (
    "max_length cuts texts in the tokenizer, which pipeline() would not do later. A recurrent network has no longest "
    "text; to read only the last words of each, a classifier of texts takes --model.window N, which is saved with it."
)


@dataclass
class ModelOptions(TrainingOptions):
    """Options of a recipe that makes models of the zoo.

    Attributes:
        auto: the Auto class of its models, and in `kind` what they are in words.
        train_tokenizer: what makes their tokenizers.
        smallest_text: a text to try the tokenizer's options on.
        not_here: fields of the configuration that are for other tasks.
    """

    auto: ClassVar[type]
    kind: ClassVar[str]
    train_tokenizer: ClassVar[Callable[..., PreTrainedTokenizerBase]]
    smallest_text: ClassVar[Any]
    not_here: ClassVar[frozenset[str]]

    streaming: bool = option(False, "read the train split as it is needed: what is held does not grow with it")

    def __post_init__(self):
        """Refuses options that the model, the tokenizer or a stream would refuse, before any data is read."""
        super().__post_init__()
        for name, refused, why in (
            ("dataset", self.dataset == "made", "the made set is in memory as it is"),
            ("word_vectors", self.word_vectors == WORD2VEC, "word2vec reads all texts again and again"),
            ("validation_fraction", self.validation_fraction is not None, "the size of a stream is not known"),
        ):
            if self.streaming and refused:
                raise RecipeError(
                    f"{name} is {getattr(self, name)}, and streaming true: {why}. Leave out one of them."
                )
        if self.model_name_or_path:
            return
        if self.max_length:
            raise RecipeError(NO_MAX_LENGTH)
        fields = dict(self.model)
        model_type = fields.pop("model_type", None)
        if model_type not in list(CONFIGS):  # a YAML's list has no hash
            raise RecipeError(
                f"model.model_type is {model_type!r:.60}: choose {', '.join(CONFIGS)}, or give --model_name_or_path."
            )
        parameters = inspect.signature(self.train_tokenizer).parameters
        choices = set(parameters) - {next(iter(parameters)), "model_max_length", "also"}
        for given, allowed, where in (
            (fields, MODEL_FIELDS - self.not_here, "model"),
            (self.tokenizer, choices, "tokenizer"),
        ):
            for name in given:
                if name not in allowed:
                    raise RecipeError(unknown(name, allowed, where))
        try:
            CONFIGS[model_type](**fields)
            self.train_tokenizer([self.smallest_text] * 1000, **self.tokenizer)
        except (StrictDataclassError, TypeError, ValueError) as error:
            raise RecipeError(
                f"An option under model or tokenizer is refused: {' '.join(str(error).split())}"
            ) from error

    @property
    def most_rows(self) -> int | None:
        """Rows of a stream that can come to be read, for which it need not be read to its end."""
        return self.max_train_steps and self.max_train_steps * self.batch_size


def longest(options: ModelOptions, tokenizer, model) -> int | None:
    """Tokens of a text that are read, the first ones: a transformer has so many positions and no more.

    Raises:
        RecipeError: max_length asks for more.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions and options.max_length and options.max_length > positions:
        raise RecipeError(f"max_length is {options.max_length}, and this model has {positions} positions: lower it.")
    # Its tokenizer may know of fewer: some models give away positions to their padding.
    return options.max_length or (positions and min(positions, tokenizer.model_max_length))


def build(
    options: ModelOptions, names: list[str], texts: Any, tokenizer_options: dict[str, Any] | None = None, **fields: Any
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """The tokenizer and the model: a checkpoint's, or new ones made from the options.

    Args:
        names: of the classes.
        texts: what a new tokenizer learns its words from; `tokenizer_options` are those that the user does not give.
        fields: of the configuration, that the task decides.

    Raises:
        RecipeError: a checkpoint that cannot be loaded, texts without a word.
    """
    fields |= {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
    }
    path = options.model_name_or_path
    if path:
        try:
            tokenizer = AutoTokenizer.from_pretrained(path)
            config = changed(AutoConfig.from_pretrained(path, **fields), options.model)
            model = options.auto.from_pretrained(path, config=config, dtype=torch.float32)
        except RecipeError:
            raise
        except Exception as error:  # whatever stands in a folder that somebody names
            raise RecipeError(
                f"model_name_or_path {path} cannot be loaded as a {options.kind} with {len(names)} labels: "
                f"{' '.join(str(error).split())[:500]}"
            ) from error
        if len(tokenizer) <= len(tokenizer.all_special_ids):
            # transformers makes one up for a folder that lacks its files.
            raise RecipeError(
                f"model_name_or_path {path} cannot be loaded: its tokenizer has no words. Save one there too."
            )
        highest = max(tokenizer.get_vocab().values())  # there may be gaps below it
        if highest >= model.config.vocab_size:
            raise RecipeError(
                f"The tokenizer of {path} has words up to number {highest}, counted from 0, and its model "
                f"{model.config.vocab_size} rows for them: they do not belong together."
            )
        if getattr(model.config, "character_size", 0):
            letters = tokenizer.character_vocab_size if getattr(tokenizer, "word_length", 0) else 0
            if not 0 < letters <= model.config.character_vocab_size:
                raise RecipeError(
                    f"The tokenizer of {path} tells {letters} letters apart and its model has "
                    f"{model.config.character_vocab_size} rows for them: they do not belong together."
                )
        if options.max_length and hasattr(model.config, "window"):
            raise RecipeError(NO_MAX_LENGTH)
        return tokenizer, model

    try:
        tokenizer = options.train_tokenizer(texts, **{**(tokenizer_options or {}), **options.tokenizer})
    except RecipeError:
        raise  # a stream is read here for the first time
    except ValueError as error:
        raise RecipeError(f"No tokenizer can be trained on the train split: {error}") from error
    if getattr(tokenizer, "word_length", 0):
        fields["character_vocab_size"] = tokenizer.character_vocab_size
    config = AutoConfig.for_model(
        **options.model,
        **fields,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        unk_token_id=tokenizer.unk_token_id,
    )
    return tokenizer, options.auto.from_config(config)


def changed(config: PreTrainedConfig, fields: dict[str, Any]) -> PreTrainedConfig:
    """A checkpoint's configuration with some fields set anew, its dropout for one.

    Raises:
        RecipeError: it has no such field.
        huggingface_hub.errors.StrictDataclassError: the field does not take such a value.
    """
    for name, value in fields.items():
        known = MODEL_FIELDS if isinstance(config, RecurrentConfig) else set(config.to_dict())
        if name not in known:
            raise RecipeError(unknown(name, known, "model"))
        setattr(config, name, value)
    config.validate()
    return config
