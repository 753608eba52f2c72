"""The options of every recipe: a field each, its help, and whether it decides what is learned."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from rnnzoo.data.columns import Columns
from rnnzoo.data.errors import RecipeError


# What `word_vectors` can be besides a file or the name of one.
WORD2VEC = "word2vec"


def option(default: Any, help: str, *, decides: bool = True) -> Any:
    """A field of a recipe's options.

    Args:
        help: what `--help` says of it.
        decides: whether it decides what is learned: runs of one model agree in it, and a resumed run keeps it.
    """
    metadata = {"help": help, "decides": decides}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def incidental(options: type | Any) -> list[str]:
    """The options that do not decide what is learned."""
    return [field.name for field in dataclasses.fields(options) if not field.metadata.get("decides", True)]


@dataclass
class Options:
    """What every recipe can be told; a task may add fields, and a YAML file states only what differs."""

    output_dir: str | None = option(None, "folder for everything that is written (default: runs/TASK)", decides=False)
    dataset: str = option("auto", "auto, made (synthetic data), a folder, a file, or the id of a data set on the Hub")
    text_column: str | None = option(None, "column of the texts (default: text, or another common name)")
    label_column: str | None = option(None, "column of the labels (default: label, or another common name)")
    tokens_column: str | None = option(None, "column of the lists of words (default: tokens or words)")
    tags_column: str | None = option(
        None, "column of the lists of tags, or of spans (default: ner_tags, or another common name)"
    )
    drop_incomplete: bool = option(False, "leave out rows without text or label, instead of refusing the data")
    encoding: str | None = option(None, "of text files (default: UTF-8, or what a byte order mark says)")
    validation_fraction: float | None = option(
        None,
        "fraction of train and validation together to hold out for model selection (default: the data's own "
        "validation split, or 0.2 of train)",
    )
    streaming: bool = option(False, "read the training split lazily: it need not fit in memory")
    seed: int = option(0, "random seed of weights, dropout, order and the held-out split")
    model_name_or_path: str | None = option(None, "start from this checkpoint instead of a new model")
    model: dict = option({}, "a field of the model's configuration; a new model needs model_type")
    tokenizer: dict = option({}, "an argument of the function that trains a new model's tokenizer")
    word_vectors: str | None = option(
        None,
        "initial word embeddings: a GloVe, word2vec or fastText file, a name, or word2vec (trained on the "
        "training texts)",
    )
    freeze_word_vectors: bool = option(False, "do not train the word embeddings")
    max_length: int | None = option(None, "truncate texts to this many tokens; for transformers only")

    batch_size: int = option(64, "examples in a step, over all processes and micro-batches")
    eval_batch_size: int = option(256, "examples evaluated at a time, over all processes", decides=False)
    gradient_accumulation_steps: int = option(1, "micro-batches into which a process splits its part of a batch")
    num_train_epochs: int = option(5, "maximum number of epochs")
    max_train_steps: int | None = option(None, "maximum number of steps")
    learning_rate: float = option(1e-3, "peak learning rate of AdamW")
    weight_decay: float = option(0.0, "decoupled weight decay of AdamW")
    lr_scheduler_type: str = option("constant", "constant, linear or cosine, after the warm-up")
    warmup_ratio: float = option(0.0, "fraction of the steps over which the learning rate rises")
    max_grad_norm: float | None = option(1.0, "clip gradients to this norm; null: do not clip")
    adversarial_epsilon: float = option(
        0.0, "adversarial perturbation of the word embeddings, relative to their norm (0: off)"
    )
    patience: int | None = option(None, "stop after this many epochs without a better validation score")

    half_precision: bool = option(False, "store the weights in fp16; they are loaded in fp32", decides=False)
    verify_rows: int = option(200, "test examples on which pipeline() must reproduce the evaluation", decides=False)
    mixed_precision: str | None = option(None, "of training: no, bf16, fp16 (default: accelerate's setting)")
    num_threads: int | None = option(
        None, "CPU threads per process (default: the cores, divided among the processes)", decides=False
    )
    report_to: str = option("none", "a tracker of accelerate: tensorboard, wandb, ...", decides=False)
    checkpointing_steps: int | None = option(
        None, "save a checkpoint every so many steps, besides every epoch", decides=False
    )
    checkpointing_minutes: float | None = option(None, "save a checkpoint every so many minutes", decides=False)
    keep: int = option(1, "recent checkpoints to keep; all are deleted when the run finishes", decides=False)
    resume: bool = option(False, "resume from the newest checkpoint in output_dir", decides=False)

    push_to_hub: bool = option(
        False, "push the results to the Hub, with the token of `hf auth login` or HF_TOKEN", decides=False
    )
    hub_model_id: str | None = option(
        None,
        "the repository, you/name, which the card names (default: the name of output_dir, in your namespace)",
        decides=False,
    )
    hub_private: bool = option(False, "create the repository as a private one", decides=False)

    def __post_init__(self):
        """Refuses values out of range, whatever task they are for."""
        self._check_ranges()
        _ = self.columns  # which refuses an unknown encoding
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise RecipeError(f"max_grad_norm is {self.max_grad_norm}: it must be above 0, or null for no clipping.")
        if self.mixed_precision not in (None, "no", "bf16", "fp16"):
            raise RecipeError(f"mixed_precision is {self.mixed_precision!r}: choose no, bf16 or fp16.")
        if self.lr_scheduler_type not in ("constant", "linear", "cosine"):
            raise RecipeError(f"lr_scheduler_type is {self.lr_scheduler_type!r}: choose constant, linear or cosine.")
        if self.model_name_or_path and (self.tokenizer or self.word_vectors or "model_type" in self.model):
            raise RecipeError(
                "model_name_or_path loads a model as it was saved, with its tokenizer: leave out model.model_type, "
                "word_vectors and the options under tokenizer, or leave out model_name_or_path to make a new model "
                "from them."
            )
        if self.hub_private and not self.push_to_hub:
            raise RecipeError("hub_private is true, but has no effect without push_to_hub: add that, or leave it out.")
        for name, refused, why in (
            ("dataset", self.dataset == "made", "the synthetic data is in memory already"),
            ("word_vectors", self.word_vectors == WORD2VEC, "word2vec reads all texts several times"),
            ("validation_fraction", self.validation_fraction is not None, "the size of a stream is unknown"),
        ):
            if self.streaming and refused:
                raise RecipeError(
                    f"{name} is {getattr(self, name)} and streaming is true: {why}. Leave out one of them."
                )

    def _check_ranges(self) -> None:
        sizes = ("batch_size", "eval_batch_size", "gradient_accumulation_steps", "num_train_epochs", "verify_rows")
        optional = ("max_train_steps", "patience", "num_threads", "checkpointing_steps", "max_length")
        for name in (*sizes, *optional, "keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RecipeError(f"{name} is {value}: it must be at least 1.")
        highest = {"learning_rate": 1000, "weight_decay": 1000, "seed": 2**32 - 1, "warmup_ratio": 1}
        highest |= {"adversarial_epsilon": 1, "checkpointing_minutes": 60 * 24}
        for name, most in highest.items():
            value = getattr(self, name)
            if value is not None and not 0 <= value <= most:
                raise RecipeError(f"{name} is {value}: it must lie between 0 and {most}.")

    @property
    def columns(self) -> Columns:
        """What is said of the table that `dataset` names."""
        return Columns.of(vars(self))

    @property
    def most_rows(self) -> int | None:
        """Examples of a stream that can be read at all; the rest need not be looked at."""
        return self.max_train_steps and self.max_train_steps * self.batch_size
