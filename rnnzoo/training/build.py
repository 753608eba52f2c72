"""What a recipe trains: the model and the tokenizer of a checkpoint, or new ones made from its options."""

import dataclasses
import inspect
import re
import warnings
from typing import Any, NamedTuple

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from tokenizers.models import WordLevel
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

import rnnzoo
from rnnzoo.configuration_rnnzoo import RecurrentConfig
from rnnzoo.data.errors import RecipeError
from rnnzoo.training.command_line import Flag, unknown
from rnnzoo.training.options import Options
from rnnzoo.training.task import Task


CONFIGS = {family.config.model_type: family.config for family in rnnzoo.FAMILIES.values()}

# Ours alone: what transformers adds to every config, and what the tokenizer decides, is not for a recipe to set.
FIELDS = {field.name for field in dataclasses.fields(RecurrentConfig)} - {
    *(field.name for field in dataclasses.fields(PreTrainedConfig)),
    *("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id"),
    *("character_vocab_size", "sentence_token_id", "pool_repeated_words"),
    *("context_size", "context_embedding_size"),
}

NO_MAX_LENGTH = (
    "max_length truncates texts in the tokenizer, which pipeline() would not do later. A recurrent network has no "
    "maximum length; to read only the last words of each text, a text classifier takes --model.window N, which is "
    "saved with it."
)


def auto_class(task: type[Task]) -> type:
    """The Auto class of a task's models."""
    return getattr(transformers, task.description.auto_class)


def model_fields(task: type[Task]) -> set[str]:
    """Fields of the configuration that a new model of this task reads."""
    heads = [set(head.reads) for family in rnnzoo.FAMILIES.values() for head in family.models.values()]
    ours = next(iter(rnnzoo.FAMILIES.values())).models[auto_class(task)]
    fields = FIELDS - (set().union(*heads) - set(ours.reads))
    if "word_length" not in inspect.signature(task.train_tokenizer).parameters:  # it gives no characters
        fields = {name for name in fields if not name.startswith(("character_", "ngram_"))}
    return fields


def tokenizer_arguments(task: type[Task]) -> set[str]:
    """Arguments of the function that trains a new model's tokenizer, but for those that follow from other options."""
    parameters = inspect.signature(task.train_tokenizer).parameters
    return set(parameters) - {next(iter(parameters)), "model_max_length", "also", "line_breaks", "letters"}


def flags(task: type[Task]) -> list[Flag]:
    """What `--help` says of the fields under `model` and `tokenizer`, from the docstrings of their owners."""
    config, parameters = RecurrentConfig(), inspect.signature(task.train_tokenizer).parameters
    fields, arguments = _documented(RecurrentConfig), _documented(task.train_tokenizer)
    group = "A new model's configuration (model.KEY)"
    found = [Flag("model.model_type", None, f"the family: {', '.join(CONFIGS)}", group)]
    found += [
        Flag(f"model.{name}", getattr(config, name), fields.get(name, ""), group)
        for name in sorted(model_fields(task))
    ]
    group = "A new model's tokenizer (tokenizer.KEY)"
    for name in sorted(tokenizer_arguments(task)):
        default = parameters[name].default
        default = None if default is inspect.Parameter.empty else default
        found.append(Flag(f"tokenizer.{name}", default, arguments.get(name, ""), group))
    return found


def _documented(what: Any) -> dict[str, str]:
    """The arguments in a docstring: `name: text`, or `name, name: text`, indented under `Args:`."""
    section = re.search(r"^Args:\n(.*?)(?:\n\n|\Z)", inspect.getdoc(what), re.DOTALL | re.MULTILINE)
    found = {}
    for names, text in re.findall(r"^    (\w[\w, ]*): (.*?)(?=^    \w|\Z)", section[1], re.DOTALL | re.MULTILINE):
        found |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return found


def check(task: type[Task], options: Options) -> None:
    """Refuses options that the new model or its tokenizer would refuse, before any data is read.

    Raises:
        RecipeError: naming the option.
    """
    if options.model_name_or_path:
        return
    if options.max_length:
        raise RecipeError(NO_MAX_LENGTH)
    fields = dict(options.model)
    model_type = fields.pop("model_type", None)
    if model_type not in list(CONFIGS):  # a YAML list cannot be hashed
        raise RecipeError(
            f"model.model_type is {model_type!r:.60}: choose {', '.join(CONFIGS)}, or give --model_name_or_path."
        )
    able = [f.config.model_type for f in rnnzoo.FAMILIES.values() if auto_class(task) in f.models]
    if model_type not in able:
        raise RecipeError(
            f"model.model_type is {model_type!r}, but no {task.description.model} is a {model_type}: choose "
            f"{', '.join(able)}."
        )
    for given, allowed, where in (
        (fields, model_fields(task), "model"),
        (options.tokenizer, tokenizer_arguments(task), "tokenizer"),
    ):
        for name in given:
            if name not in allowed:
                raise RecipeError(unknown(name, allowed, where))
    try:
        CONFIGS[model_type](**fields)
        task.train_tokenizer([task.smallest_input] * 1000, **options.tokenizer)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise RecipeError(f"An option under model or tokenizer is refused: {' '.join(str(error).split())}") from error


def longest(options: Options, tokenizer, model) -> int | None:
    """The number of tokens at which texts are truncated: a transformer has a maximum, a recurrent network none.

    Raises:
        RecipeError: max_length exceeds the maximum.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions and options.max_length and options.max_length > positions:
        raise RecipeError(f"max_length is {options.max_length}, and this model has {positions} positions: lower it.")
    # The tokenizer may know of fewer: some models reserve positions for padding.
    return options.max_length or (positions and min(positions, tokenizer.model_max_length))


class Built(NamedTuple):
    """What a recipe trains. `notes` says what its user should know of how it was made."""

    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel
    notes: list[str]


def build(
    task: type[Task], options: Options, names: list[str], texts: Any, tokenizer_options: dict[str, Any] | None = None
) -> Built:
    """The tokenizer and the model: a checkpoint's, or new ones made from the options.

    Args:
        names: the names of the classes.
        texts: what a new tokenizer learns its words from; `tokenizer_options` are those that the user does not set.

    Raises:
        RecipeError: a checkpoint that cannot be loaded, or texts without a word.
    """
    if options.model_name_or_path:
        return from_checkpoint(task, options, names)
    fields = task.config_fields | task.model_options(options) | label_fields(names)
    try:
        tokenizer = task.train_tokenizer(texts, **{**(tokenizer_options or {}), **options.tokenizer})
    except RecipeError:
        raise  # a stream is read here for the first time
    except ValueError as error:
        raise RecipeError(f"No tokenizer can be trained on the training split: {error}") from error
    if getattr(tokenizer, "word_length", 0):
        fields["character_vocab_size"] = tokenizer.character_vocab_size
    if getattr(tokenizer, "sentence_token_id", None) is not None:
        fields |= {"sentence_token_id": tokenizer.sentence_token_id, "pool_repeated_words": True}
    config = AutoConfig.for_model(
        **options.model,
        **fields,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        unk_token_id=tokenizer.unk_token_id,
    )
    return Built(tokenizer, auto_class(task).from_config(config), [])


def label_fields(names: list[str]) -> dict[str, Any]:
    """The fields of a configuration that name its classes."""
    if not names:  # a language model has no classes
        return {}
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
    }


def label_names(config: PreTrainedConfig) -> list[str]:
    """The names of a model's classes, in the order of its outputs."""
    return [config.id2label[i] for i in range(config.num_labels)]


def from_checkpoint(task: type[Task], options: Options, names: list[str]) -> Built:
    """The tokenizer and the model of `model_name_or_path`, for classes with these names.

    Classes are matched by name: a checkpoint that knows the same ones keeps its head and its order, whatever their
    order in the data. Where the sets differ, the head is new and the backbone the checkpoint's.

    Raises:
        RecipeError: they cannot be loaded, do not belong together, or cannot keep `tokenizer.vocab_size` words.
    """
    path, notes = options.model_name_or_path, []
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        theirs = label_names(AutoConfig.from_pretrained(path))
        unnamed = theirs == [f"LABEL_{i}" for i in range(len(theirs))]
        keep = not names or set(theirs) == set(names) or (unnamed and len(theirs) == len(names))
        fields = task.config_fields | label_fields(theirs if set(theirs) == set(names) else names)
        config = changed(AutoConfig.from_pretrained(path, **fields), options.model)
        loading = {"config": config, "dtype": torch.float32, "output_loading_info": True}
        with warnings.catch_warnings():  # that a head is new is among the notes
            warnings.filterwarnings("ignore", message=".* whose head does another task")
            model, found = auto_class(task).from_pretrained(path, ignore_mismatched_sizes=not keep, **loading)
        missing = sorted(found["missing_keys"])
        head = {name for name in model.state_dict() if not name.startswith(f"{model.base_model_prefix}.")}
        if not keep:
            # All of it: weights of a head for as many other classes would fit, and mean nothing.
            backbone, model = model.base_model.state_dict(), auto_class(task).from_config(config)
            model.base_model.load_state_dict(backbone)
        if head and head <= set(missing):
            notes.append(f"{path} has no head for this task: its head is new.")
        elif not keep:
            notes.append(
                f"{path} was trained for other classes ({_shown(theirs)}) than those of the data ({_shown(names)}): "
                "its head is new, its backbone is kept."
            )
        elif names and unnamed:
            notes.append(f"The classes of {path} have no names: they are taken to be {_shown(names)}, in this order.")
        elif names and theirs != names:
            notes.append(f"The classes keep the order that they have in {path}: {_shown(theirs)}.")
        if missing and not head <= set(missing):
            notes.append(f"{path} lacks {_shown(missing)}: new.")
    except RecipeError:
        raise
    except Exception as error:  # whatever is in a folder that somebody names
        raise RecipeError(
            f"model_name_or_path {path} cannot be loaded as a {task.description.model} with {len(names)} labels: "
            f"{' '.join(str(error).split())[:500]}"
        ) from error
    check_pair(path, tokenizer, model.config)
    if "vocab_size" in options.tokenizer:
        notes.append(keep_frequent_words(path, tokenizer, model, options.tokenizer["vocab_size"]))
    if options.max_length and hasattr(model.config, "window"):
        raise RecipeError(NO_MAX_LENGTH)
    return Built(tokenizer, model, notes)


def keep_frequent_words(path: str, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, vocab_size: int) -> str:
    """Keeps the first `vocab_size` ids of a word-level tokenizer and their embeddings: the most frequent words.

    All other words become unknown ones. Returns what a user should know of it.

    Raises:
        RecipeError: the checkpoint is no network of the zoo, or has special tokens after its words; `vocab_size` is
            not an int, leaves no word, or is more than the checkpoint has.
    """
    if not isinstance(model.config, RecurrentConfig):
        raise RecipeError(
            f"tokenizer.vocab_size is {vocab_size}, but {path} is no network of rnnzoo, whose ids are in order of "
            "frequency: leave it out."
        )
    before, special = len(tokenizer), tokenizer.all_special_ids
    if max(special) >= len(special):
        raise RecipeError(
            f"tokenizer.vocab_size is {vocab_size}, but the tokenizer of {path} has special tokens after its words, "
            "whose ids would change: leave it out."
        )
    if type(vocab_size) is not int or not len(special) < vocab_size <= before:
        raise RecipeError(
            f"tokenizer.vocab_size is {vocab_size!r}, and {path} has {before} ids, {len(special)} of them of special "
            f"tokens: a checkpoint can keep {len(special) + 1} to {before}."
        )
    words = {word: i for word, i in tokenizer.get_vocab().items() if i < vocab_size}
    tokenizer.backend_tokenizer.model = WordLevel(words, unk_token=tokenizer.unk_token)
    model.resize_token_embeddings(vocab_size)
    return f"Of the {before:,} ids of {path}, the first {vocab_size:,} are kept: the most frequent words."


def check_pair(path: str, tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig) -> None:
    """Refuses a tokenizer and a model that do not belong together.

    Raises:
        RecipeError: what does not fit.
    """
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        # transformers makes one up for a folder that lacks its files.
        raise RecipeError(f"model_name_or_path {path} cannot be loaded: its tokenizer has no words. Save one there.")
    highest = max(tokenizer.get_vocab().values())  # there may be gaps below it
    if highest >= config.vocab_size:
        raise RecipeError(
            f"The tokenizer of {path} has ids up to {highest}, and its model's embedding {config.vocab_size} rows: "
            "they come from different checkpoints."
        )
    if getattr(config, "reads_characters", False):
        characters = tokenizer.character_vocab_size if getattr(tokenizer, "word_length", 0) else 0
        if not 0 < characters <= config.character_vocab_size:
            raise RecipeError(
                f"The tokenizer of {path} has {characters} characters, the model's character embedding "
                f"{config.character_vocab_size} rows: they come from different checkpoints."
            )


def _shown(names: list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def changed(config: PreTrainedConfig, fields: dict[str, Any]) -> PreTrainedConfig:
    """A checkpoint's configuration with some fields changed, its dropout for one.

    Raises:
        RecipeError: it has no such field.
        huggingface_hub.errors.StrictDataclassError: the field does not take such a value.
    """
    for name, value in fields.items():
        known = FIELDS if isinstance(config, RecurrentConfig) else set(config.to_dict())
        if name not in known:
            raise RecipeError(unknown(name, known, "model"))
        setattr(config, name, value)
    config.validate()
    return config
