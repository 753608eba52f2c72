"""What tasks with teachers share: which texts each teacher may answer, the answers, and the rows that they teach.

Distillation, Hinton et al. 2015 (https://arxiv.org/abs/1503.02531). A teacher answers only texts that it was not
trained on: of the others it remembers the labels. So one that was trained on the training split answers unlabelled
texts alone; N of its kind, each trained with `fold: K/N`, answer labelled ones too, each those of its fold.
"""

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate import PartialState
from datasets import Dataset, concatenate_datasets
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from rnnzoo.data.catalog import KNOWN
from rnnzoo.data.errors import RecipeError
from rnnzoo.training import run
from rnnzoo.training.answers import Text, answers, by_text, rows_of
from rnnzoo.training.options import Options, option
from rnnzoo.training.task import Task
from rnnzoo.training.teachers import Loader, Network, Teacher, combine, spread
from rnnzoo.training.unlabelled import OBJECTIVES


# The options that decide which rows of a data set are trained on.
ROWS = ("seed", "validation_fraction", "validation_split", "train_examples", "fold")
UNLABELLED = -100


@dataclass
class TaughtOptions(Options):
    """Options of a task with teachers."""

    teachers: list[str] = option(
        [], "folders that a recipe wrote, or models of the Hub: --teachers runs/a runs/b", group="Teachers"
    )
    teacher_weights: list[float] = option(
        [], "weight of each teacher, N folds of one counting as one (default: equal)", group="Teachers"
    )
    temperature: float = option(1.0, "divides the logits of teachers and student in the soft loss", group="Teachers")
    soft_weight: float = option(
        0.5,
        "weight of the soft loss on rows with a label and an answer; the label has the rest",
        group="Teachers",
    )
    unlabelled_answers: int | None = option(
        None,
        "ask teachers about only so many of the unlabelled texts, the same in every run; from the others, words and "
        "word vectors are learned (default: all)",
        group="Teachers",
    )
    answers: str | None = option(
        None,
        "folder for the answers of the teachers, which other runs can share (default: OUTPUT_DIR/answers)",
        group="Teachers",
        decides=False,
    )
    teacher_batch_size: int = option(32, "texts that a teacher answers at a time", group="Teachers", decides=False)
    teacher_bf16: bool = option(False, "ask teachers with their weights in bf16", group="Teachers")

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.temperature < math.inf:
            raise RecipeError(f"temperature is {self.temperature}: it must be above 0.")
        if not 0 < self.soft_weight <= 1:
            raise RecipeError(
                f"soft_weight is {self.soft_weight}: it must be above 0, where teachers would teach nothing, and 1 at "
                "most."
            )
        if not all(0 < weight < math.inf for weight in self.teacher_weights):
            raise RecipeError(f"teacher_weights are {self.teacher_weights}: each must be above 0.")
        if self.unlabelled_answers is not None and self.unlabelled_answers < 1:
            raise RecipeError(
                f"unlabelled_answers is {self.unlabelled_answers}: it must be at least 1. To learn from labels "
                "alone, leave unlabelled out."
            )
        if self.unlabelled_answers is not None and self.unlabelled is None:
            raise RecipeError(
                f"unlabelled_answers is {self.unlabelled_answers}, but has no effect: name texts with --unlabelled."
            )
        if self.teacher_batch_size < 1:
            raise RecipeError(f"teacher_batch_size is {self.teacher_batch_size}: it must be at least 1.")
        if len(set(self.teachers)) < len(self.teachers):
            raise RecipeError(f"teachers are {', '.join(self.teachers)}: one of them is there twice.")
        if self.streaming:
            raise RecipeError("streaming: the answers of teachers are kept for rows in memory. Leave streaming out.")


class Taught(Task):
    """A task with teachers, to stand before the task itself among the bases of a class. A subclass has the loss.

    The answer to a text is a row of logits, or a row for each word of a sentence. The training rows are the labelled
    and the unlabelled ones together, each with its answer in the column `teacher`, NaN where there is none.

    Attributes:
        loaders: how models that are not transformers' are loaded, by model_type; a recipe fills it.
        network: what all other teachers are.
    """

    loaders: ClassVar[Mapping[str, Loader]] = {}
    network: ClassVar[type[Network]] = Network

    def predictions(self, answers: list[Tensor]) -> list:
        """The answers to texts, at least one row of each of them finite, as `metrics` takes predictions."""
        raise NotImplementedError

    @classmethod
    def check(cls, options: TaughtOptions) -> None:
        super().check(options)
        if not options.teachers:
            raise RecipeError("Which teachers? Name folders that a recipe wrote, or ids on the Hub: --teachers A B.")
        found = grouped([Teacher(path, cls.loaders, cls.network) for path in options.teachers])
        if options.teacher_weights and len(options.teacher_weights) != len(found):
            names = "; ".join(" and ".join(teacher.path for teacher in members) for members in found)
            raise RecipeError(
                f"teacher_weights has {len(options.teacher_weights)} numbers for {len(found)} teachers ({names}): "
                "give one for each, in this order."
            )

    # ---- what the teachers say ----

    def begin(self, options: TaughtOptions) -> None:
        """Asks the teachers, and makes the training rows of labelled and unlabelled texts."""
        super().begin(options)
        self.temperature, self.soft_weight = options.temperature, options.soft_weight
        self.found = {"teachers": [], "remarks": []}
        teachers = [Teacher(path, self.loaders, self.network) for path in options.teachers]
        columns = [teacher.columns(self.labels) for teacher in teachers]  # refused before any of them is asked
        splits, unlabelled = self.corpus.splits, self.corpus.unlabelled
        asked = asked_about(0 if unlabelled is None else len(unlabelled), options.unlabelled_answers)
        texts = {
            "labelled": self.texts(splits["train"]),
            "unlabelled": [] if unlabelled is None else self.texts(unlabelled.select(asked)),
            "validation": self.texts(splits["validation"]),
        }
        logits = {
            teacher.path: self.ask(teacher, places, texts, options)
            for teacher, places in zip(teachers, columns, strict=True)
        }
        groups = grouped(teachers)
        # Of N folds of a teacher: the one that left a text out, or the mean of those that did.
        complete = [torch.stack([logits[teacher.path] for teacher in members]).nanmean(0) for members in groups]
        sizes = [sum(map(rows_of, part)) for part in texts.values()]
        spreads = [spread_of(members, z, sizes) for members, z in zip(groups, complete, strict=True)]
        soft = combine(complete, spreads, options.teacher_weights or [1.0] * len(groups))
        parts = parted(soft, texts)
        self.found |= {"together": {"validation": self.score(parts["validation"])}, "rows": self.join(parts, asked)}
        PartialState().print(*self.found["remarks"], sep="\n")

    def texts(self, rows: Dataset) -> list[Text]:
        """The texts of rows of the corpus: strings, or the words of sentences."""
        return [text if isinstance(text, str) else tuple(text) for text in rows[self.column]]

    def ask(self, teacher: Teacher, columns: list[int], texts: dict[str, list[Text]], options: Options) -> Tensor:
        """A teacher's logits for all texts, NaN for those that it was trained on, [R, C]; notes what it is."""
        seen = self.seen_by(teacher, options)
        flat = list(chain(*texts.values()))
        unseen = [text for text in flat if text not in seen]
        to_ask = torch.tensor([text not in seen for text in flat for _ in range(rows_of(text))])
        logits = torch.full((len(to_ask), len(columns)), math.nan)
        model = teacher.load(options.teacher_batch_size, options.teacher_bf16)
        if unseen:
            place = Path(options.answers or Path(options.output_dir, "answers"))
            folder = place / f"{teacher.name}-{model.fingerprint}"
            logits[to_ask] = answers(folder, model, unseen)[:, columns]
        parts, unit = parted(logits, texts), self.description.unit
        counts = {part: sum(map(has_answer, found)) for part, found in parts.items()}
        if measured := sum(text in seen for text in texts["validation"]):
            self.found["remarks"].append(
                f"Warning: teacher {teacher.name} learned the labels of {measured:,} validation {unit}s, and may pass "
                "them on through its answers to others: validation will flatter the student."
            )
        said = ", ".join(f"{count:,} of {len(texts[part]):,} {part} {unit}s" for part, count in counts.items())
        self.found["remarks"].append(f"Teacher {teacher.name} has not seen, and answers, {said}.")
        self.found["teachers"].append(
            {
                "name": teacher.name,
                "model_type": teacher.results["model_type"] if teacher.results else model.model_type,
                "fold": teacher.fold,
                "validation": self.score(parts["validation"]),
                "test": self.tested(teacher),
                "num_parameters": teacher.results["num_parameters"] if teacher.results else model.num_parameters,
                "weights_bytes": teacher.weights_bytes,
                "answered": counts,
            }
        )
        return logits

    def seen_by(self, teacher: Teacher, options: Options) -> set[Text]:
        """The texts whose labels a teacher learned, as far as its results.json tells; notes where it does not."""
        if teacher.results is None:
            self.found["remarks"].append(
                f"Teacher {teacher.name} has no results.json: it is taken not to have seen the texts."
            )
            return set()
        found, before = self.trained_on(teacher.results, teacher.name, options), teacher.results.get("started_from")
        # The run that wrote the checkpoint it started from, unless that was pretraining, which reads no labels.
        if before and self.description.metric in before["metrics"]["validation"]:
            found |= self.trained_on(before, teacher.name, options)
        return found

    def trained_on(self, results: dict[str, Any], name: str, options: Options) -> set[Text]:
        """The texts that a run was trained on; notes for the teacher of this name where they are not known."""
        note = self.found["remarks"].append
        if known_name(results["dataset"]["name"]) != known_name(self.corpus.name):
            note(f"Teacher {name} was trained on {results['dataset']['name']}, which is taken to have other texts.")
            return set()
        config, known = results["config"], {field.name: field.default for field in fields(options)}
        # What an option was before there was one is its default.
        own = {key: config.get(key, known[key]) for key in ROWS}
        # Loaded for its rows alone: nothing of it learns from unlabelled texts.
        unused = {f"{name}_weight": 0.0 for name in OBJECTIVES}
        unused |= dict.fromkeys(("unlabelled", "unlabelled_batch_size", "unlabelled_answers"))
        own |= {name: value for name, value in unused.items() if name in known}
        with PartialState().main_process_first():
            train = self.texts(run.load(type(self), replace(options, **own)).splits["train"])
        untold = config.get("streaming") or config.get("sentences_per_text", 1) > 1
        if untold or len(train) != results["dataset"]["splits"]["train"]:
            note(
                f"Which rows teacher {name} was trained on cannot be told from its options: it is taken to have seen "
                "all labelled texts."
            )
            train = [text for split in ("train", "validation") for text in self.texts(self.corpus.splits[split])]
        return set(train)

    def score(self, answers: list[Tensor]) -> float | None:
        """The metric on the validation rows that were answered; None where none was."""
        rows = [i for i, answer in enumerate(answers) if has_answer(answer)]
        if not rows:
            return None
        references = self.references(self.corpus.splits["validation"].select(rows))
        return self.metrics(self.predictions([answers[i] for i in rows]), references)[self.description.metric]

    def tested(self, teacher: Teacher) -> float | None:
        """A teacher's score on test, if its own run measured it on the same data: here nobody reads test for it."""
        if teacher.results is None:
            return None
        dataset, test = teacher.results["dataset"], len(self.corpus.splits["test"])
        same = (dataset["name"], dataset["splits"]["test"]) == (self.corpus.name, test)
        return teacher.results["metrics"].get("test", {}).get(self.description.metric) if same else None

    def join(self, soft: dict[str, list[Tensor]], asked: list[int]) -> dict[str, int]:
        """Makes the training rows, each with the logits of its teachers (NaN: none); returns how many there are.

        `asked` are the numbers of the unlabelled rows that `soft` is about; the others stay where they are.
        """
        rows = self.rows["train"].add_column("teacher", [answer.tolist() for answer in soft["labelled"]])
        kept = [i for i, answer in enumerate(soft["unlabelled"]) if has_answer(answer)]
        counts = {"labelled": len(rows), "label alone": len(rows) - sum(map(has_answer, soft["labelled"]))}
        counts |= {"unlabelled": len(kept), "left out": len(asked) - len(kept)}
        if kept:
            unlabelled = self.rows.pop("unlabelled")
            if others := sorted(set(range(len(unlabelled))) - set(asked)):
                self.rows["unlabelled"] = unlabelled.select(others)
            unlabelled = unlabelled.select([asked[i] for i in kept])
            if "labels" not in unlabelled.column_names:  # a sentence has them, one for each token
                unlabelled = unlabelled.add_column("labels", [UNLABELLED] * len(kept))
            unlabelled = unlabelled.add_column("teacher", [soft["unlabelled"][i].tolist() for i in kept])
            rows = concatenate_datasets([rows, unlabelled.select_columns(rows.column_names)])
        unit = self.description.unit
        if counts["label alone"] == counts["labelled"] and not kept:
            raise RecipeError(
                f"The teachers were trained on all of these {unit}s, so that none of their answers would teach "
                f"anything. Add {unit}s with --unlabelled, or name teachers that were trained with --fold K/N."
            )
        self.rows["train"] = rows
        self.found["remarks"].append(
            f"Training rows: {counts['labelled']:,} with labels, of which {counts['label alone']:,} without an answer "
            f"learn from the label alone, and {counts['unlabelled']:,} unlabelled ones ({counts['left out']:,} "
            "without an answer are left out)."
        )
        return {name.replace(" ", "_"): count for name, count in counts.items()}

    # ---- for the loop ----

    def token_losses(self, logits: Tensor, labels: Tensor, taught: Tensor) -> Tensor:
        """The losses of texts, or of tokens, [N]: logits [N, C], labels [N] (-100: none), taught [N, C] (NaN: none).

        With the student's distribution q_T and the teachers' p_T, which is `taught`, both softmax(logits / T), it is

            (1 - soft_weight) CE(label, q_1) + soft_weight T² KL(p_T ‖ q_T)

        where there are a label and an answer, T² KL(p_T ‖ q_T) where there is no label, and CE(label, q_1) where no
        teacher may answer. So each has the same weight. T² keeps the size of the soft gradients whatever T is.
        """
        has_answer, has_label, t = answered(taught), labels != UNLABELLED, self.temperature
        # Both are zero for a row without such a target.
        hard = cross_entropy(logits, labels, reduction="none")
        soft = t**2 * kl_div(log_softmax(logits / t, -1), taught.nan_to_num(), reduction="none").sum(-1)
        return self.blend(hard, soft * has_answer, has_label, has_answer)

    def blend(self, hard: Tensor, soft: Tensor, has_label: Tensor, has_answer: Tensor) -> Tensor:
        """The weighted mean of two losses of each text or token: of its label and of its answer."""
        weight = torch.where(has_label, has_answer * self.soft_weight, 1.0)
        return (1 - weight) * hard + weight * soft

    def more_results(self, results: dict[str, Any]) -> dict[str, Any]:
        """The teachers, what they answered, and what share of each one's score on test the student has."""
        ours = results["metrics"].get("test", {}).get(self.description.metric)  # with validation_only there is none
        teachers = [
            teacher | {"kept": ours / teacher["test"] if ours and teacher["test"] else None}
            for teacher in self.found["teachers"]
        ]
        return super().more_results(results) | {"distillation": self.found | {"teachers": teachers}}


def asked_about(rows: int, most: int | None) -> list[int]:
    """The numbers of the unlabelled rows that teachers are asked about, ascending: the same for every seed.

    Raises:
        RecipeError: there are not so many.
    """
    if most is None:
        return list(range(rows))
    if most > rows:
        raise RecipeError(f"unlabelled_answers is {most}, but there are {rows} unlabelled texts: lower it.")
    return sorted(random.Random(0).sample(range(rows), most))


def known_name(dataset: str) -> str:
    """The name under which the catalog has a data set, if it does, whether that or its id on the Hub is given."""
    return next((name for name, known in KNOWN.items() if dataset == known.hub), dataset)


def answered(logits: Tensor) -> Tensor:
    """Which rows have an answer, [..., C] -> [...]."""
    return logits.isfinite().all(-1)


def has_answer(answer: Tensor) -> bool:
    """Whether a text, or any word of a sentence, has an answer."""
    return bool(answered(answer).any())


def parted(logits: Tensor, texts: dict[str, list[Text]]) -> dict[str, list[Tensor]]:
    """The rows of all texts, [R, C], as those of each text of each part."""
    found = iter(by_text(logits, list(chain(*texts.values()))))
    return {part: list(islice(found, len(members))) for part, members in texts.items()}


def grouped(teachers: list[Teacher]) -> list[list[Teacher]]:
    """Teachers that were trained on folds of one training split, and alike in all else, together; others alone."""
    found: dict[str, list[Teacher]] = {}
    for teacher in teachers:
        key = teacher.path
        if teacher.fold:
            results = teacher.results
            left_out = {*results["incidental_options"], "fold"}
            config = {name: value for name, value in results["config"].items() if name not in left_out}
            folds = teacher.fold.rpartition("/")[2]
            key = json.dumps([results["model_type"], results["dataset"]["name"], folds, config], sort_keys=True)
        found.setdefault(key, []).append(teacher)
    return list(found.values())


def spread_of(members: list[Teacher], logits: Tensor, sizes: list[int]) -> float:
    """The spread of a teacher's logits over the unlabelled texts that it answers, or else over the labelled ones.

    Raises:
        RecipeError: it answers none, or all alike.
    """
    labelled, unlabelled, _ = (part[answered(part)] for part in logits.split(sizes))
    rows = unlabelled if len(unlabelled) else labelled
    found = spread(rows) if len(rows) else 0.0
    if not found:
        names = " and ".join(teacher.name for teacher in members)
        why = "gives all texts the same answer" if len(rows) else "was trained on all of these texts"
        raise RecipeError(
            f"The teacher {names} {why}: it would teach nothing. Leave it out"
            + ("." if len(rows) else ", add texts with --unlabelled, or train it with --fold K/N.")
        )
    return found
