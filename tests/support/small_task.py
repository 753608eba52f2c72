"""Two small tasks for the training loop, and the runs of them that one process and several must agree on.

Run by a launcher as `-m tests.support.small_task FOLDER`, it does those runs and saves their outcome.
"""

import os
import random
import signal
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
from datasets import Dataset, DatasetDict, concatenate_datasets
from torch import nn
from transformers.modeling_outputs import TokenClassifierOutput

from rnnzoo import LSTMConfig, LSTMForSequenceClassification, LSTMForTokenClassification, LSTMModel
from rnnzoo.data.corpus import Corpus
from rnnzoo.data.streams import Stream
from rnnzoo.training.launch import start
from rnnzoo.training.loop import train
from rnnzoo.training.options import Options, option
from rnnzoo.training.task import Description, Task
from rnnzoo.training.unlabelled import UnlabelledOptions
from tests.support.recipes import fresh_accelerator


WORDS, TAGS = 30, 3
SIZES = {"train": 53, "validation": 11, "test": 13}  # multiples of no batch, micro-batch or number of processes
UNLABELLED = {"unlabelled": 31}
# Numbers tell the examples of all splits apart.
FIRST = {"train": 0, "validation": 1000, "test": 2000, "unlabelled": 3000}
STEPS_PER_EPOCH = 7


@dataclass
class SmallOptions(Options):
    """The options of all runs here."""

    batch_size: int = 8
    eval_batch_size: int = option(4, "", decides=False)
    num_train_epochs: int = 3
    learning_rate: float = 0.01
    num_threads: int | None = option(1, "", decides=False)


@dataclass
class SmallTextOptions(SmallOptions, UnlabelledOptions):
    """Those of the task with unlabelled texts."""

    unlabelled: str = option("random words", "")


# All objectives on unlabelled texts.
OBJECTIVES = {
    "virtual_adversarial_weight": 0.8,
    "virtual_adversarial_epsilon": 0.3,
    "entropy_weight": 0.6,
    "self_training_weight": 0.7,
    "ema": 0.8,
    "unlabelled_batch_size": 11,
}

# Runs that must give the same weights on one process and on several.
RUNS = {
    "plain": {},
    "with a CRF": {"crf": True, "eval_batch_size": 1},  # some processes have nothing to evaluate
    "accumulated, on a schedule": {
        "gradient_accumulation_steps": 2,
        "lr_scheduler_type": "linear",
        "warmup_ratio": 0.2,
    },
    "clipped": {"max_grad_norm": 0.05},
    "against an adversary": {"adversarial_epsilon": 0.1, "gradient_accumulation_steps": 2},
    "averaged": {"ema": 0.9},
    "on unlabelled texts": {
        **OBJECTIVES,
        "texts": True,
        "adversarial_epsilon": 0.1,
        "gradient_accumulation_steps": 2,
    },
    "against a virtual adversary": {"virtual_adversarial_weight": 1.0, "texts": True},
}
# The options of runs that are interrupted.
SETTINGS = {"dropout": 0.5, "checkpointing_steps": 3}


class Tagger(nn.Module):
    """A tag for every word; the loss is the mean over the labels that are not -100, as in transformers."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.backbone = LSTMModel(LSTMConfig(vocab_size=WORDS, embedding_size=6, hidden_size=5), False)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(5, TAGS)

    def get_input_embeddings(self):
        return self.backbone.get_input_embeddings()

    def forward(self, input_ids, attention_mask, labels):
        y = self.backbone(input_ids, attention_mask).last_hidden_state
        logits = self.classifier(self.dropout(y))
        loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        return TokenClassifierOutput(loss=loss, logits=logits)


class Steep(Tagger):
    """A tagger whose loss is a number, and whose gradient is none."""

    def forward(self, **inputs):
        outputs = super().forward(**inputs)
        outputs.loss = outputs.loss + (self.classifier.weight * 0).sqrt().sum()
        return outputs


def examples(split: str, labelled: float = 1.0) -> Dataset:
    """Examples of unequal length with very unequal numbers of labels; only the fraction `labelled` has any."""
    rng = random.Random(split)
    ids = [[rng.randrange(1, WORDS) for _ in range(rng.randint(1, 12))] for _ in range((SIZES | UNLABELLED)[split])]
    labels = []
    for row in ids:
        count = rng.randint(1, len(row)) if rng.random() < labelled else 0
        labels.append([word % TAGS if i < count else -100 for i, word in enumerate(row)])
    numbers = list(range(FIRST[split], FIRST[split] + len(ids)))
    return Dataset.from_dict({"input_ids": ids, "length": list(map(len, ids)), "labels": labels, "number": numbers})


class Stopped(BaseException):
    """The end of a run as by a power cut: at once, with nothing tidied up."""


class SmallTask(Task):
    """Tagging of random words. Records the examples of every micro-batch in `seen`.

    Args:
        stop_at: end the run before this micro-batch of training.
        scores: what validation gives, epoch by epoch, in place of the real score.
        labelled: the fraction of examples with labels.
        streamed: read the training split lazily.
    """

    name = "small"
    kind = "token-classification"
    default_dataset = "small"
    description = Description(
        pipeline="token-classification",
        auto_class="AutoModelForTokenClassification",
        model="tagger",
        verb="tag",
        example="word",
        metric="score",
        metric_meaning="share of the labels that are right",
        selects="score",
    )
    Options = SmallOptions

    def __init__(self, stop_at: int | None = None, scores=None, labelled: float = 1.0, streamed: bool = False):
        self.seen: list[list[int]] = []
        self.stop_at = stop_at
        self.scores = iter(scores) if scores else None
        splits = {split: examples(split, labelled) for split in SIZES}
        super().__init__(Corpus("small", "tests", [str(tag) for tag in range(TAGS)], DatasetDict(splits)))
        self.rows = splits
        if streamed:
            # Of two files, one of them far smaller, as a data set of the Hub may have them.
            shards = [
                splits["train"].select(part).to_iterable_dataset() for part in (range(4), range(4, SIZES["train"]))
            ]
            read = partial(iter, concatenate_datasets(shards))
            self.rows["train"] = Stream(read, SIZES["train"], lambda columns: columns, column="input_ids")

    def micro_batches(self, split: str = "train") -> list[list[int]]:
        """The micro-batches of a split, in the order in which they came."""
        return [numbers for numbers in self.seen if FIRST[split] <= numbers[0] < FIRST[split] + 1000]

    def model(self, dropout):
        return Tagger(dropout)

    def note(self, numbers):
        if self.stop_at is not None and numbers[0] < FIRST["validation"]:
            if len(self.micro_batches()) == self.stop_at:
                raise Stopped
        self.seen.append(numbers)

    def collate(self, columns):
        self.note(columns["number"])
        ids = padded(columns["input_ids"], 0)
        return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": padded(columns["labels"], -100)}

    def predict(self, model, batch, columns):
        outputs = model(**batch)
        tags = outputs.logits.argmax(-1).tolist()
        return outputs.loss, [row[:length] for row, length in zip(tags, columns["length"], strict=True)]

    def references(self, examples):
        return examples["labels"][:]

    def metrics(self, predictions, references):
        if self.scores:
            return {"score": next(self.scores)}
        pairs = [pair for row in zip(predictions, references, strict=True) for pair in zip(*row, strict=True)]
        counted = [found == right for found, right in pairs if right != -100]
        return {"score": sum(counted) / len(counted)}


class SmallTexts(SmallTask):
    """Classification of random words by the first one, with unlabelled texts, recorded in `unlabelled_seen`.

    Args:
        padding: columns of padding before and after the texts of each micro-batch without labels.
    """

    Options = SmallTextOptions

    def __init__(self, padding: tuple[int, int] = (0, 0), **more):
        super().__init__(**more)
        for split in SIZES:
            rows = self.rows[split]
            tags = [ids[0] % TAGS for ids in rows["input_ids"]]
            self.rows[split] = rows.remove_columns("labels").add_column("labels", tags)
            self.corpus.splits[split] = self.rows[split]
        self.rows["unlabelled"] = examples("unlabelled").remove_columns(["labels", "number"])
        self.padding, self.unlabelled_seen = padding, []

    def model(self, dropout):
        sizes = {"vocab_size": WORDS, "embedding_size": 6, "hidden_size": 5, "num_labels": TAGS, "pooling": "mean"}
        return LSTMForSequenceClassification(
            LSTMConfig(**sizes, pad_token_id=0, embedding_dropout=dropout, classifier_dropout=dropout)
        )

    def collate(self, columns):
        ids = padded(columns["input_ids"], 0)
        if "labels" not in columns:
            self.unlabelled_seen.append(columns["input_ids"])
            ids = nn.functional.pad(ids, self.padding)
            return {"input_ids": ids, "attention_mask": (ids > 0).long()}
        self.note(columns["number"])
        return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": torch.tensor(columns["labels"])}

    def predict(self, model, batch, columns):
        outputs = model(**batch)
        return outputs.loss, outputs.logits.argmax(-1).tolist()

    def metrics(self, predictions, references):
        return {"score": sum(map(int.__eq__, predictions, references)) / len(references)}


class Told(SmallTask):
    """A task in which this process receives SIGTERM while it collates a micro-batch of a split."""

    def __init__(self, moment: int, split: str = "train"):
        super().__init__()
        self.moment, self.split = moment, split

    def collate(self, columns):
        batch = super().collate(columns)
        if len(self.micro_batches(self.split)) == self.moment:
            self.moment = None
            os.kill(os.getpid(), signal.SIGTERM)
        return batch


def padded(rows: list[list[int]], value: int) -> torch.Tensor:
    """Rows of unequal length as a tensor."""
    return nn.utils.rnn.pad_sequence(list(map(torch.tensor, rows)), batch_first=True, padding_value=value)


def crf_tagger() -> LSTMForTokenClassification:
    """The zoo's own tagger, with a CRF."""
    sizes = {"vocab_size": WORDS, "embedding_size": 6, "hidden_size": 5, "num_labels": TAGS}
    return LSTMForTokenClassification(LSTMConfig(**sizes, bidirectional=True, use_crf=True))


def trained(
    folder,
    task: SmallTask | None = None,
    dropout: float = 0.0,
    crf: bool = False,
    texts: bool = False,
    **options,
) -> SimpleNamespace:
    """Trains on the task, by default on that of tags, or on that of texts; the outcome can be compared and saved."""
    fresh_accelerator()
    task = task or (SmallTexts() if texts else SmallTask())
    options = task.Options(output_dir=str(folder), **options)
    accelerator = start(options)
    model = crf_tagger() if crf else task.model(dropout)
    dtypes, drawn = set(), []

    # Hooks, because the copy that is trained where weights are sharded has them too.
    def note_dtype(classifier, inputs, logits):
        dtypes.add(logits.dtype)

    def note_generator(embeddings, inputs):
        if embeddings.training:
            drawn.append(torch.random.get_rng_state())  # before dropout: how much it draws depends on the batch

    model.classifier.register_forward_hook(note_dtype)
    model.get_input_embeddings().register_forward_pre_hook(note_generator)
    progress = train(accelerator, model, task, options)
    history = [{key: value for key, value in epoch.items() if key != "train_seconds"} for epoch in progress.history]
    return SimpleNamespace(
        weights=model.state_dict(),
        history=history,
        best_epoch=progress.best_epoch,
        step=progress.step,
        seconds=progress.seconds,
        micro_batches=task.micro_batches(),
        world_size=accelerator.num_processes,
        distributed_type=accelerator.distributed_type.value,
        dtypes=dtypes,
        drawn=drawn,
        hooks=len(model.get_input_embeddings()._forward_hooks),
    )


def compared(folder, name: str) -> SimpleNamespace:
    """One of the RUNS, in double precision.

    Adam normalises gradients: where one is almost zero, its rounding error in fp32 becomes as large as 4e-5.
    """
    torch.set_default_dtype(torch.float64)
    try:
        return trained(folder, max_train_steps=20, **RUNS[name])
    finally:
        torch.set_default_dtype(torch.float32)


def stopped_and_resumed(
    folder, stop_at: int, streamed: bool = False, task: type[SmallTask] = SmallTask, **settings
) -> SimpleNamespace:
    """Like `trained`, but the run ends before a micro-batch, and another resumes from its newest checkpoint."""
    try:
        trained(folder, task(stop_at=stop_at, streamed=streamed), **settings)
    except Stopped:
        return trained(folder, task(streamed=streamed), resume=True, **settings)
    raise AssertionError(f"the run was over before micro-batch {stop_at}")


def gap(a: SimpleNamespace, b: SimpleNamespace) -> float:
    """The largest difference between the weights of two runs."""
    return max((a.weights[name] - b.weights[name]).abs().max().item() for name in a.weights)


def main(folder: Path) -> None:
    """What each of the launched processes does."""
    found = {name: compared(folder / name, name) for name in RUNS}
    found["dropped"] = trained(folder / "dropped", max_train_steps=1, dropout=0.5)
    found["uninterrupted"] = trained(folder / "uninterrupted", **SETTINGS)
    found["resumed"] = stopped_and_resumed(folder / "resumed", stop_at=STEPS_PER_EPOCH + 4, **SETTINGS)
    found["streamed"] = trained(folder / "streamed", SmallTask(streamed=True), **SETTINGS)
    found["streamed, resumed"] = stopped_and_resumed(
        folder / "streamed, resumed", stop_at=STEPS_PER_EPOCH + 4, streamed=True, **SETTINGS
    )
    found["streamed, some"] = trained(folder / "some", SmallTask(streamed=True), max_train_steps=4)
    found["unlabelled"] = trained(folder / "unlabelled", texts=True, **OBJECTIVES, **SETTINGS)
    found["unlabelled, resumed"] = stopped_and_resumed(
        folder / "unlabelled, resumed", stop_at=STEPS_PER_EPOCH + 4, task=SmallTexts, **OBJECTIVES, **SETTINGS
    )
    rank = torch.distributed.get_rank()
    torch.save({name: vars(run) for name, run in found.items()}, folder / f"process-{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
