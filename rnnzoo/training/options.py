"""The options of every recipe: a field each, its help, and whether it decides what is learned."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from rnnzoo.data.columns import Columns
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.folds import check_parts


# What `word_vectors` can be besides a file or the name of one.
WORD2VEC = "word2vec"


def option(default: Any, help: str, *, group: str = "Training", decides: bool = True) -> Any:
    """A field of a recipe's options.

    Args:
        help: what `--help` says of it, and `group` the heading under which it does.
        decides: whether it decides what is learned: runs of one model agree in it, and a resumed run keeps it.
    """
    metadata = {"help": help, "group": group, "decides": decides}
    if isinstance(default, dict | list):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def incidental(options: type | Any) -> list[str]:
    """The options that do not decide what is learned."""
    return [field.name for field in dataclasses.fields(options) if not field.metadata.get("decides", True)]


@dataclass
class Options:
    """What every recipe can be told; a task may add fields, and a YAML file states only what differs."""

    output_dir: str | None = option(
        None, "folder for everything that is written (default: runs/TASK)", decides=False, group="Results"
    )
    dataset: str = option(
        "auto", "auto, made (synthetic data), a folder, a file, or the id of a data set on the Hub", group="Data"
    )
    text_column: str | None = option(None, "column of the texts (default: text, or another common name)", group="Data")
    label_column: str | None = option(
        None, "column of the labels (default: label, or another common name)", group="Data"
    )
    tokens_column: str | None = option(None, "column of the lists of words (default: tokens or words)", group="Data")
    tags_column: str | None = option(
        None, "column of the lists of tags, or of spans (default: ner_tags, or another common name)", group="Data"
    )
    drop_incomplete: bool = option(
        False, "leave out rows without text or label, instead of refusing the data", group="Data"
    )
    encoding: str | None = option(
        None, "encoding of text files (default: UTF-8, or what a byte order mark says)", group="Data"
    )
    validation_fraction: float | None = option(
        None,
        "fraction of train and validation together to hold out for model selection (default: the data's own "
        "validation split, or 0.2 of train)",
        group="Data",
    )
    validation_split: str | None = option(
        None,
        "a recorded validation split of a known data set: films for imdb, reviews of films that train is not about",
        group="Data",
    )
    train_examples: int | None = option(
        None,
        "use only so many training examples, drawn by the seed, the same share of every class",
        group="Data",
    )
    fold: str | None = option(
        None,
        "K/N: leave the K-th (from 0) of N folds of the training split out, for a teacher that is to answer on "
        "examples that it has not learned from; the same folds in every run",
        group="Data",
    )
    streaming: bool = option(False, "read the training split lazily: it need not fit in memory", group="Data")
    seed: int = option(0, "random seed of weights, dropout, order and the held-out split", group="Data")
    model_name_or_path: str | None = option(None, "start from this checkpoint instead of a new model", group="Model")
    model: dict = option({}, "a field of the model's configuration; a new model needs model_type", group="Model")
    tokenizer: dict = option(
        {},
        "an argument of the function that trains a new model's tokenizer; with a checkpoint, tokenizer.vocab_size "
        "alone: how many ids to keep, those of the most frequent words",
        group="Model",
    )
    word_vectors: str | None = option(
        None,
        "initial word embeddings: a GloVe, word2vec or fastText file, a name, or word2vec (trained on the "
        "training texts, and unlabelled ones)",
        group="Model",
    )
    word2vec_folder: str | None = option(
        None,
        "folder that keeps the vectors of word2vec, so that other runs on the same texts with the same seed need not "
        "train them again (default: they are not kept)",
        group="Model",
        decides=False,
    )
    freeze_word_vectors: bool = option(False, "do not train the word embeddings", group="Model")
    max_length: int | None = option(None, "truncate texts to this many tokens; for transformers only", group="Model")

    batch_size: int = option(64, "examples in a step, over all processes and micro-batches")
    eval_batch_size: int = option(
        256, "examples evaluated at a time, over all processes", decides=False, group="Results"
    )
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
    ema: float = option(
        0.0,
        "decay of an average of the weights, which is evaluated and stored in their place (0: off; 0.999 is usual)",
    )
    metric_for_best_model: str | None = option(
        None, "metric on validation that selects the best epoch, or loss (default: the task's own)"
    )
    patience: int | None = option(None, "stop after this many epochs without a better validation score")

    half_precision: bool = option(
        False, "store the weights in fp16; they are loaded in fp32", decides=False, group="Results"
    )
    no_examples: bool = option(
        False,
        "keep the texts of the data out of everything that is written (predictions.csv, card, results.json), as is "
        "always done with push_to_hub",
        decides=False,
        group="Results",
    )
    validation_only: bool = option(
        False,
        "stop after validation: test is not evaluated, and only the model and results.json are written; to compare "
        "settings, and for teachers",
        decides=False,
        group="Results",
    )
    verify_rows: int = option(
        200, "test examples on which pipeline() must reproduce the evaluation", decides=False, group="Results"
    )
    mixed_precision: str | None = option(
        None, "of training: no, bf16, fp16 (default: accelerate's setting)", group="Device"
    )
    num_threads: int | None = option(
        None,
        "CPU threads per process (default: the cores, divided among the processes)",
        decides=False,
        group="Device",
    )
    report_to: str = option("none", "a tracker of accelerate: tensorboard, wandb, ...", decides=False, group="Results")
    checkpointing_steps: int | None = option(
        None, "save a checkpoint every so many steps, besides every epoch", decides=False, group="Checkpoints"
    )
    checkpointing_minutes: float | None = option(
        None, "save a checkpoint every so many minutes", decides=False, group="Checkpoints"
    )
    keep: int = option(
        1, "recent checkpoints to keep; all are deleted when the run finishes", decides=False, group="Checkpoints"
    )
    resume: bool = option(False, "resume from the newest checkpoint in output_dir", decides=False, group="Checkpoints")

    push_to_hub: bool = option(
        False, "push the results to the Hub, with the token of `hf auth login` or HF_TOKEN", decides=False, group="Hub"
    )
    hub_model_id: str | None = option(
        None,
        "the repository, you/name, which the card names (default: the name of output_dir, in your namespace)",
        decides=False,
        group="Hub",
    )
    hub_private: bool = option(False, "create the repository as a private one", decides=False, group="Hub")

    def __post_init__(self):
        """Refuses values out of range, whatever task they are for."""
        self._check_ranges()
        _ = self.columns  # which refuses an unknown encoding
        check_parts(self.train_examples, self.fold)
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise RecipeError(f"max_grad_norm is {self.max_grad_norm}: it must be above 0, or null for no clipping.")
        if self.mixed_precision not in (None, "no", "bf16", "fp16"):
            raise RecipeError(f"mixed_precision is {self.mixed_precision!r}: choose no, bf16 or fp16.")
        if self.lr_scheduler_type not in ("constant", "linear", "cosine"):
            raise RecipeError(f"lr_scheduler_type is {self.lr_scheduler_type!r}: choose constant, linear or cosine.")
        others = self.tokenizer.keys() - {"vocab_size"}
        if self.model_name_or_path and (others or self.word_vectors or "model_type" in self.model):
            raise RecipeError(
                "model_name_or_path loads a model as it was saved, with its tokenizer: leave out model.model_type, "
                "word_vectors and the options under tokenizer but vocab_size, or leave out model_name_or_path to make "
                "a new model from them."
            )
        if self.word2vec_folder is not None and self.word_vectors != WORD2VEC:
            raise RecipeError(
                f"word2vec_folder is {self.word2vec_folder}, but has no effect: set word_vectors to {WORD2VEC}, or "
                "leave it out."
            )
        if self.validation_split is not None and self.validation_fraction is not None:
            raise RecipeError(
                f"validation_split is {self.validation_split} and validation_fraction {self.validation_fraction}: "
                "these are two ways to hold examples out for model selection. Leave out one of them."
            )
        if self.hub_private and not self.push_to_hub:
            raise RecipeError("hub_private is true, but has no effect without push_to_hub: add that, or leave it out.")
        if self.validation_only and self.push_to_hub:
            raise RecipeError("validation_only writes no card that push_to_hub could push: leave out one of them.")
        for name, refused, why in (
            ("dataset", self.dataset == "made", "the synthetic data is in memory already"),
            ("word_vectors", self.word_vectors == WORD2VEC, "word2vec reads all texts several times"),
            ("validation_fraction", self.validation_fraction is not None, "the size of a stream is unknown"),
            ("validation_split", self.validation_split is not None, "its rows are checked as a whole"),
            ("train_examples", self.train_examples is not None, "max_train_steps limits how much of a stream is read"),
            ("fold", self.fold is not None, "the size of a stream is unknown"),
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
        if not 0 <= self.ema < 1:
            raise RecipeError(f"ema is {self.ema}: it must be at least 0 and below 1.")

    @property
    def columns(self) -> Columns:
        """What is said of the table that `dataset` names."""
        return Columns.of(vars(self))

    @property
    def most_rows(self) -> int | None:
        """Examples of a stream that can be read at all; the rest need not be looked at."""
        return self.max_train_steps and self.max_train_steps * self.batch_size
