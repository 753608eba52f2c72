"""A tagger that learns from labels and from the answers of teachers, word by word, with or without a CRF."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.nn.functional import one_hot
from transformers import PreTrainedModel

from rnnzoo.crf_rnnzoo import LinearChainCRF
from rnnzoo.data.errors import RecipeError
from rnnzoo.tasks.tag import NOWHERE, UNLABELLED, Tag, TagOptions
from rnnzoo.tasks.taught import Taught, TaughtOptions, answered
from rnnzoo.training.crf_divergence import divergence
from rnnzoo.training.options import option
from rnnzoo.training.teachers import WordNetwork


@dataclass
class DistilTagsOptions(TaughtOptions, TagOptions):
    """Options of a tagger with teachers."""

    unlabelled: str | None = option(
        None,
        "further sentences for the teachers to answer: a split of the data set, a file whose tags are not read, a "
        ".txt file with a sentence per line, or a folder of .txt files, split at spaces",
        group="Data",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.sentences_per_text > 1:
            raise RecipeError(
                f"sentences_per_text is {self.sentences_per_text}, but teachers answer a sentence at a time: leave it "
                "out."
            )


class DistilTags(Taught, Tag):
    """Tagging with teachers, which answer for words; the loss of a batch is a mean over tokens, see `loss`."""

    name = "distil_ner"
    Options = DistilTagsOptions
    network = WordNetwork
    crf: LinearChainCRF | None = None  # of the student, if it has one

    def predictions(self, answers: list[Tensor]) -> list[list[tuple[int, float]]]:
        found = []
        for answer in answers:
            scores, tags = answer.softmax(-1).max(-1)
            words = zip(answered(answer).tolist(), tags.tolist(), scores.tolist(), strict=True)
            found.append([(tag, score) if read else (self._unread, 1.0) for read, tag, score in words])
        return found

    def begin(self, options: DistilTagsOptions) -> None:
        """Asks the teachers.

        Raises:
            RecipeError: besides, the student has a CRF, and FSDP2 would train a sharded copy of it, or it has tags
                of its own.
        """
        if getattr(self.config, "use_crf", False) and self.config.iobes:
            raise RecipeError(
                "The student's CRF has IOBES tags, for which teachers have no answers: set model.iobes to false, or "
                "start from a checkpoint without them."
            )
        if getattr(self.config, "use_crf", False) and AcceleratorState().is_fsdp2:
            raise RecipeError(
                "A student with a CRF cannot be trained with FSDP2, which shards the CRF's transitions. Use several "
                "processes without it (recipes/configs/accelerate/multi-gpu.yaml), or set model.use_crf to false."
            )
        super().begin(options)

    def fit(self, model: PreTrainedModel, options: DistilTagsOptions) -> None:
        """Keeps the student's CRF, whose transitions the loss reads."""
        super().fit(model, options)
        self.crf = getattr(model, "crf", None)

    def collate(self, columns: dict[str, list]) -> dict[str, Tensor]:
        """With `teacher`, the teachers' p_T for each token, [B, T, C]; NaN where there is none.

        Where every sub-token has a label, the further ones of a word have the probability of B-X moved to I-X.
        """
        batch = super().collate(columns)
        if "teacher" not in columns:
            return batch
        found = []
        for words, logits in zip(map(torch.tensor, columns["words"]), columns["teacher"], strict=True):
            row = (torch.tensor(logits) / self.temperature).softmax(-1)[words]  # [T, C]
            further = torch.zeros_like(words, dtype=torch.bool)
            further[1:] = words[1:] == words[:-1]
            row[further] = row[further] @ self._moved if self.labels_all else torch.nan
            row[words == NOWHERE] = torch.nan
            found.append(row)
        teacher = torch.full((*batch["labels"].shape, len(self.labels)), torch.nan)
        teacher[batch["attention_mask"].bool()] = torch.cat(found)
        return batch | {"teacher": teacher}

    @cached_property
    def _moved(self) -> Tensor:
        """[C, C], from the label of a word's first sub-token to that of the further ones."""
        return one_hot(torch.tensor(list(self.inside.values())), len(self.labels)).float()

    def inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """With the labels only if there is a CRF: without them it refuses to be trained. Its own loss is not used."""
        left_out = ("teacher",) if self.crf is not None else ("teacher", "labels")
        return {name: tensor for name, tensor in batch.items() if name not in left_out}

    def loss(self, outputs: Any, batch: dict[str, Tensor]) -> Tensor:
        """The mean over the tokens with a label or an answer.

        Without a CRF, a token's loss is that of `Taught.token_losses`. With one, a sentence's loss is

            (1 - soft_weight) NLL(labels) + soft_weight T² KL(p_T ‖ q_T)

        where q_T is the CRF's distribution over paths at temperature T, and p_T that of paths whose tags are drawn
        independently, each from the teachers' distribution for its token or, where they give none, its label. As in
        `Taught.token_losses`, one of both terms has all the weight where the other one has no target.
        """
        logits, labels, taught = outputs.logits.float(), batch["labels"], batch["teacher"]
        counts = _counts(batch)
        if self.crf is None:
            return self.token_losses(logits[counts], labels[counts], taught[counts]).mean()
        labelled, is_answered = labels != UNLABELLED, answered(taught)
        tags = labels.clamp(min=0)
        targets = taught.where(is_answered[..., None], one_hot(tags, logits.shape[-1]).to(taught))
        hard = -self.crf(logits, tags, labelled)
        soft = self.temperature**2 * divergence(self.crf, logits, targets, counts, self.temperature)
        return self.blend(hard, soft, labelled.any(1), is_answered.any(1)).sum() / counts.sum()

    def label_weight(self, batch: dict[str, Tensor]) -> int:
        return int(_counts(batch).sum())


def _counts(batch: dict[str, Tensor]) -> Tensor:
    """Which tokens have a label or an answer, [B, T]."""
    return (batch["labels"] != UNLABELLED) | answered(batch["teacher"])
