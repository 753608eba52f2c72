"""What a task declares, once, for the loop, the card, the report and everything else that handles its runs."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from rnnzoo.data.columns import Columns
from rnnzoo.data.corpus import Corpus
from rnnzoo.data.streams import Stream
from rnnzoo.embeddings import WordVectors
from rnnzoo.training.batches import count_labels
from rnnzoo.training.options import Options
from rnnzoo.training.probes import Probe


@dataclass(frozen=True)
class Description:
    """How the models of a task are used, compared and shown. It travels in results.json and is read from there.

    Attributes:
        pipeline: the `pipeline()` that serves its models; `pipeline_options` is how users call it.
        truncate_in_call: whether that pipeline truncates long texts only if the call asks for it (a classifier's
            does; a tagger's follows its tokenizer).
        auto_class: name of the Auto class.
        model: what a model is called in a sentence, such as "text classifier"; `verb` is what it does.
        example: a text to try it on.
        metric: compares models on test; `metric_meaning` says what it counts.
        lower_is_better: whether a lower `metric` is better; by default, a larger one is.
        selects: the metric on validation that selects the best epoch, larger is better; by default the same.
        scores: all metrics that may select it (`--metric_for_best_model`), besides the loss.
        unit: what is answered at a time; `answer` is what comes out.
        rate: what is counted per second, one of the keys of `Task.counts`.
        timed_examples: how many test examples latency is measured on.
        traits: columns that a table of its models has besides the usual ones: names in recipes/report/columns.py, or
            the path of a value in results.json, such as "model_config.hidden_size".
        remark: ends the legend of that table.
    """

    pipeline: str
    auto_class: str
    example: str
    metric: str
    metric_meaning: str
    selects: str = ""
    scores: tuple[str, ...] = ()
    model: str = "model"
    verb: str = "predict"
    unit: str = "text"
    answer: str = "label"
    rate: str = "texts"
    pipeline_options: dict[str, Any] = field(default_factory=dict)
    timed_examples: int = 192
    truncate_in_call: bool = False
    traits: tuple[str, ...] = ()
    remark: str = ""
    lower_is_better: bool = False

    def __post_init__(self):
        object.__setattr__(self, "selects", self.selects or self.metric)
        object.__setattr__(self, "scores", tuple(self.scores) or (self.metric,))

    @classmethod
    def of(cls, results: dict[str, Any]) -> "Description":
        """The description that a results.json carries."""
        return cls(**results["description"])

    def truncation(self, max_length: int | None) -> dict[str, Any]:
        """Arguments of a call that truncate as the run did, at `max_length` tokens if at all."""
        return {"truncation": True, "max_length": max_length} if self.truncate_in_call and max_length else {}


class Task:
    """What can be trained. A subclass declares it; an instance is one run of it.

    Attributes:
        name: what results.json, the configurations' folder and the recipe are called.
        kind: the kind of task, as the Hub names it, such as "text-classification".
        default_dataset: the known data set that `--dataset auto` stands for, if any.
        description: how its models are used, compared and shown.
        Options: the options of its recipe.
        corpora: the module whose `load` and `stream` read its data, such as rnnzoo.data.texts.
        column: the column of the corpus that is tokenized.
        train_tokenizer: makes the tokenizer of a new model; `smallest_input` is an input to try its options on.
        config_fields: fields of the configuration that the task decides.
        rows: encoded examples by split, for the loop; train may be a `Stream`. Where the corpus has unlabelled texts,
            "unlabelled" are those, without labels.
        seconds_before: seconds of training spent before the loop (on word vectors, say).
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    default_dataset: ClassVar[str] = ""
    description: ClassVar[Description]
    Options: ClassVar[type[Options]] = Options
    corpora: ClassVar[ModuleType]
    column: ClassVar[str] = "text"
    train_tokenizer: ClassVar[Callable[..., PreTrainedTokenizerBase]]
    smallest_input: ClassVar[Any] = "word"
    config_fields: ClassVar[dict[str, Any]] = {}

    #: Options of `rnnzoo train`, which needs no configuration file.
    defaults: ClassVar[dict[str, Any]] = {}

    rows: dict[str, Dataset | Stream]
    seconds_before: float = 0.0

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: PreTrainedTokenizerBase | None = None,
        config: PreTrainedConfig | None = None,
        max_length: int | None = None,
    ):
        """`max_length` truncates texts; without tokenizer and config, only what a saved folder answers can be read."""
        # The classes in the order of the model's outputs, which is a checkpoint's where the model started from one.
        outputs = [] if config is None else [config.id2label[i] for i in range(config.num_labels)]
        self.labels = outputs if set(outputs) == set(corpus.labels) else corpus.labels
        self.corpus = corpus
        self.tokenizer, self.config, self.max_length = tokenizer, config, max_length

    # ---- where examples come from, and what a new model is made of ----

    @classmethod
    def usual(cls, given: dict[str, Any]) -> dict[str, Any]:
        """The `defaults` that go with the options that the user gave."""
        return cls.defaults

    @classmethod
    def load(cls, dataset: str, *, seed: int, **chosen: Any) -> Corpus:
        """The corpus that `dataset` names, in memory; `chosen` is what else `corpora.load` takes."""
        return cls.corpora.load(cls.default_dataset, dataset, seed=seed, **chosen)

    @classmethod
    def stream(
        cls,
        dataset: str,
        *,
        seed: int,
        most: int | None = None,
        columns: Columns = Columns(),  # noqa: B008, it is frozen
    ) -> Corpus:
        """The same with a training split that is read lazily, `most` examples of it."""
        return cls.corpora.stream(cls.default_dataset, dataset, seed=seed, most=most, columns=columns)

    @classmethod
    def check(cls, options: Options) -> None:
        """Refuses options that do not fit each other, with a `RecipeError`, before any work."""

    @classmethod
    def load_options(cls, options: Options) -> dict[str, Any]:
        """Arguments of `load` that follow from the task's own options: of those that have it, `unlabelled`."""
        named = getattr(options, "unlabelled", None)
        return {} if named is None else {"unlabelled": named}

    @classmethod
    def tokenizer_options(cls, options: Options, vectors: WordVectors | str | None) -> dict[str, Any]:
        """Arguments of `train_tokenizer` that follow from other options; the user's own win."""
        return {}

    @classmethod
    def model_options(cls, options: Options) -> dict[str, Any]:
        """Fields of a new model's configuration that follow from options besides `model`."""
        return {}

    # ---- for the loop ----

    def encode(self, columns: dict[str, list]) -> dict[str, list]:
        """Columns of the corpus -> `input_ids`, `length` and whatever `collate` and `predict` need.

        Of unlabelled texts, which only a task that can read them has, there is no column of labels.
        """
        raise NotImplementedError

    def collate(self, columns: dict[str, list]) -> dict[str, Tensor]:
        """Columns of encoded examples -> a batch for the model, `labels` included, on the CPU."""
        raise NotImplementedError

    def predict(self, model: PreTrainedModel, batch: dict[str, Tensor], columns: dict[str, list]):
        """Reads a batch: the mean loss over its labels, and for each example what `metrics` takes as a prediction."""
        raise NotImplementedError

    def references(self, examples: Dataset) -> list:
        """What `metrics` takes as the right answers to examples of the corpus."""
        raise NotImplementedError

    def metrics(self, predictions: list, references: list) -> dict[str, Any]:
        """Named numbers; a dict among them holds details."""
        raise NotImplementedError

    def breakdown(self, predictions: list, examples: Dataset) -> dict[str, Any]:
        """More metrics, which depend on the examples themselves and not only on their right answers."""
        return {}

    def begin(self, options: Options) -> None:
        """Prepares what the training needs besides the examples, such as weights of the classes."""

    def fit(self, model: PreTrainedModel, options: Options) -> None:
        """Fits, after `begin`, what of the model is not learned in the loop; its seconds count as training.

        A resumed run does so again: the same on every process, and every time.
        """

    def finish(
        self, model: PreTrainedModel, options: Options, validate: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Changes the trained model, before it is stored, and returns what results.json says of that.

        Args:
            model: with the best weights, on every process.
            validate: its metrics on validation, as it is then.
        """
        return {}

    def attacked(self, model: PreTrainedModel, options: Options) -> list[tuple[nn.Module, float]]:
        """The modules whose vectors an adversary perturbs in training, each with its epsilon: the word embeddings."""
        epsilon = options.adversarial_epsilon
        return [(model.get_input_embeddings(), epsilon)] if epsilon else []

    def augment(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What `collate` made of training examples, with random changes drawn from torch's generator for this step.

        Ids that no example has, apart from those of special tokens, must not be put in: their vectors are set aside
        during training.
        """
        return batch

    def inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the model reads of a batch in training; `loss` gets all of it."""
        return batch

    def loss(self, outputs: Any, batch: dict[str, Tensor]) -> Tensor:
        """The mean loss over the labels of a batch, for training; by default the model's own."""
        return outputs.loss

    def after_forward(self, outputs: Any, batch: dict[str, Tensor]) -> None:
        """Takes from the outputs of a training batch what the next step starts from; called without labels too."""

    def carried(self) -> dict[str, Tensor]:
        """What training carries from one step to the next besides the weights, for a checkpoint: recurrent states.

        Each process has tensors of the same shapes, with zeros where another process has values.
        """
        return {}

    def carry(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `carried`, when a run is resumed: the sums over the processes."""

    def label_weight(self, batch: dict[str, Tensor]) -> float:
        """The number of labels, or the sum of their weights, over which `loss` is a mean."""
        return count_labels(batch)

    def baselines(self) -> dict[str, dict[str, Any]]:
        """The metrics on test of answers that take no model, by name."""
        return {}

    def table(self, examples: Dataset, predictions: list) -> Iterator[dict[str, Any]]:
        """A row for each answer, for predictions.csv: `text`, `label`, `prediction`, `probability`, and what else."""
        for example, right, found in zip(examples, self.references(examples), predictions, strict=True):
            yield {"text": self.text(example), "label": right, "prediction": found}

    def confusion(self, predictions: list, references: list) -> np.ndarray | None:
        """[C, C] counts by right class and predicted class, in the order of the labels; None for no such matrix."""
        return None

    def correct(self, predictions: list, references: list) -> list[bool] | None:
        """Whether each prediction is right, so that models can be compared example by example; None: not yes or no."""
        return None

    def size(self, split: str) -> int:
        """How many examples a split has, for results.json."""
        return len(self.rows[split])

    def remarks(self) -> dict[str, dict[str, int]]:
        """What to know of the encoded examples, counted by split, for results.json and, where not zero, the user."""
        return {}

    def more_results(self, results: dict[str, Any]) -> dict[str, Any]:
        """Entries of results.json that only this task has, given the others."""
        return {}

    # ---- for what is served ----

    def text(self, example: dict[str, Any]) -> str:
        """An example as its author wrote it."""
        return example["text"]

    def counts(self, example: dict[str, Any]) -> dict[str, int]:
        """How much of everything that is counted per second an example has."""
        return {"texts": 1}

    #: Arguments under which the pipeline answers with all that a prediction holds; None: those that users give.
    parity_options: ClassVar[dict[str, Any] | None] = None

    #: What is asked in a fresh process where the pipeline does not answer what was measured: "score", of
    #: `rnnzoo.scoring.score_texts`; None: the pipeline.
    parity_pipeline: ClassVar[str | None] = None

    def read_answer(self, answer: Any, example: dict[str, Any]) -> Any:
        """The pipeline's answer to an example's text as a prediction."""
        raise NotImplementedError

    def gap(self, served: Any, measured: Any) -> float:
        """The largest distance between two predictions: of numbers, or lists of them, unless a task says otherwise."""
        return float(np.abs(np.subtract(served, measured)).max())  # NaN where one is

    def probe(self, folder: Path) -> list[Probe]:
        """What a saved folder does with texts unlike those of the data set, for results.json and the card."""
        return []

    @classmethod
    def record(cls, description: Description | None = None) -> dict[str, Any]:
        """What results.json says of the task: its name, its kind and its description, by default the declared one."""
        known = asdict(description or cls.description)
        known |= {name: list(value) for name, value in known.items() if isinstance(value, tuple)}  # as JSON has them
        return {"task": cls.name, "kind": cls.kind, "description": known}
