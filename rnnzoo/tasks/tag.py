"""A label for every word (many-to-many): named entities, by any model of the zoo or of transformers."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import evaluate
import numpy as np
import torch
from datasets import Dataset
from seqeval.metrics.sequence_labeling import get_entities
from torch import Tensor, nn
from transformers import PreTrainedModel

import rnnzoo
from rnnzoo.data import sentences
from rnnzoo.data.corpus import Corpus
from rnnzoo.data.errors import RecipeError
from rnnzoo.embeddings import WordVectors
from rnnzoo.tasks import outside_score
from rnnzoo.tasks.context import ContextModel
from rnnzoo.tokenization_rnnzoo import CHARACTER_PAD, LINE_BREAK
from rnnzoo.training import probes
from rnnzoo.training.options import WORD2VEC, Options, option
from rnnzoo.training.task import Description, Task


OUTSIDE = "O"
UNLABELLED = -100  # no loss is taken there
NOWHERE = -1  # the position of a word that is truncated, or that a foreign tokenizer drops


@dataclass
class TagOptions(Options):
    """Options of a tagger."""

    context_model: str | None = option(
        None,
        "a folder of recipes.pretrain_characters: the states of this character language model at each word are read "
        "beside the word's vector (contextual string embeddings). It is not trained further, and the checkpoint has a "
        "copy of it",
        group="Model",
    )
    word_dropout: float = option(
        0.0,
        "fraction of the words that training reads as unknown ones, so that their characters and neighbours must tell "
        "what they are",
    )
    rare_word_dropout: float = option(
        0.0,
        "the same for rare words: with the value a, the fraction a / (a + n) of the words that occur n times in train "
        "(0: off; 0.25 is usual)",
    )

    adversarial_character_epsilon: float = option(
        0.0,
        "adversarial perturbation of the features that characters add to the word vectors, relative to their norm "
        "(0: off)",
    )
    tune_outside_score: bool = option(
        False,
        "after training, shift the score of O to where F1 on validation is best: this usually finds more entities, at "
        "lower precision. It has no effect on data without O",
    )
    sentences_per_text: int = option(
        1,
        "join this many consecutive sentences into one text, one per line. The network runs over each sentence "
        "separately, but the tag of a word also depends on its other occurrences in the text. The sentences should be "
        "in the order of their documents; batch_size and train_examples count texts",
        group="Data",
    )

    def __post_init__(self):
        super().__post_init__()
        if self.sentences_per_text < 1:
            raise RecipeError(f"sentences_per_text is {self.sentences_per_text}: it must be at least 1.")
        if self.sentences_per_text > 1 and self.streaming:
            raise RecipeError(
                f"sentences_per_text is {self.sentences_per_text} and streaming is true: the sentences of a stream "
                "are shuffled. Leave out one of them."
            )
        if not 0 <= self.adversarial_character_epsilon <= 1:
            raise RecipeError(
                f"adversarial_character_epsilon is {self.adversarial_character_epsilon}: it must lie between 0 and 1."
            )
        if not 0 <= self.word_dropout < 1:
            raise RecipeError(f"word_dropout is {self.word_dropout}: it must be at least 0 and below 1.")
        if not 0 <= self.rare_word_dropout < math.inf:
            raise RecipeError(f"rare_word_dropout is {self.rare_word_dropout}: it must be at least 0.")
        if self.rare_word_dropout and self.streaming:
            raise RecipeError(
                f"rare_word_dropout is {self.rare_word_dropout} and streaming is true: the words of a stream are not "
                "counted. Choose word_dropout instead, or leave out one of them."
            )


class Tag(Task):
    """Named entity recognition, scored on words. A prediction is for each word a tag and its probability."""

    name = "tag"
    kind = "token-classification"
    description = Description(
        pipeline="token-classification",
        pipeline_options={"aggregation_strategy": "simple"},
        auto_class="AutoModelForTokenClassification",
        model="tagger",
        verb="tag",
        example="Ada Lovelace lived in London.",
        metric="f1",
        metric_meaning="of complete entities, correct if type, first and last word are, as conlleval counts",
        scores=("f1", "precision", "recall"),
        unit="sentence",
        answer="entities",
        rate="words",
        timed_examples=512,  # reviews are ten times as long as sentences; a dozen taggers take two minutes
        traits=("trained on", "sentences per text", "characters", "CRF", "word vectors"),
    )
    Options = TagOptions
    column = "tokens"
    corpora = sentences
    train_tokenizer = staticmethod(rnnzoo.train_tagger_tokenizer)
    _dropped: Tensor | None = None
    defaults: ClassVar = {
        "model": {
            "model_type": "rnnzoo-lstm",
            "embedding_size": 100,
            "hidden_size": 200,
            "bidirectional": True,
            "embedding_dropout": 0.5,
            "classifier_dropout": 0.5,
            "character_size": 100,
            "character_ngrams": 16_384,
            "ngram_dropout": 0.5,
            "use_crf": True,
            "iobes": True,
        },
        "tokenizer": {"vocab_size": 30_000},
        "batch_size": 16,
        "learning_rate": 2e-3,
        "num_train_epochs": 20,
        "patience": 3,
        "adversarial_epsilon": 0.1,
        "rare_word_dropout": 0.5,
        "tune_outside_score": True,
    }
    smallest_input: ClassVar = ["word"]
    parity_options: ClassVar = {"ignore_labels": []}

    @classmethod
    def usual(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Without the n-grams of a model that reads no characters, or rare words hidden where words are not counted.

        Those of a stream are not, nor those of a checkpoint, which may be sub-words.
        """
        model, others = dict(cls.defaults["model"]), {k: v for k, v in cls.defaults.items() if k != "model"}
        chosen = given.get("model", {})
        if chosen.get("character_size") == 0:
            del model["character_ngrams"]
        if 0 in (chosen.get("character_size"), chosen.get("character_ngrams")):
            del model["ngram_dropout"]
        if given.get("streaming") or given.get("model_name_or_path"):
            del others["rare_word_dropout"]
        return {"model": model, **others}

    @classmethod
    def check(cls, options: Options) -> None:
        """Refuses characters that the model does not read, the lack of those that it does, and an unfit context."""
        given, size = options.tokenizer.get("word_length"), options.model.get("character_size", 0)
        if options.context_model and options.model_name_or_path:
            raise RecipeError(
                f"context_model is {options.context_model} and model_name_or_path {options.model_name_or_path}: a "
                "checkpoint keeps the context that it was trained with, if any. Leave out one of them."
            )
        if options.context_model:
            ContextModel.at(options.context_model)
        epsilon = options.adversarial_character_epsilon
        if epsilon and not size and not options.model_name_or_path:
            raise RecipeError(
                f"adversarial_character_epsilon is {epsilon}, but the model reads no characters: set "
                "model.character_size, or leave it out."
            )
        if given is not None and bool(given) != bool(size or options.context_model):
            raise RecipeError(
                f"tokenizer.word_length is {given}, model.character_size {size} and context_model "
                f"{options.context_model}: the tokenizer must give characters if, and only if, the model reads them. "
                "Leave word_length out, or set it and one of the others."
            )

    @classmethod
    def tokenizer_options(cls, options: Options, vectors: WordVectors | str | None) -> dict[str, Any]:
        """Words that have a vector are known; without a character encoder, characters are left out."""
        words = {"also": () if vectors in (None, WORD2VEC) else vectors.words}
        if options.sentences_per_text > 1:
            words["line_breaks"] = True
        if options.context_model:
            return {**words, "letters": ContextModel.at(options.context_model).letters}
        return words if options.model.get("character_size") else {**words, "word_length": 0}

    @classmethod
    def model_options(cls, options: TagOptions) -> dict[str, Any]:
        """The sizes of the character language model."""
        return ContextModel.at(options.context_model).fields if options.context_model else {}

    @classmethod
    def load_options(cls, options: TagOptions) -> dict[str, Any]:
        """How many sentences a text has, where it is not one."""
        found, number = super().load_options(options), options.sentences_per_text
        return found if number == 1 else {**found, "sentences_per_text": number}

    def __init__(self, corpus: Corpus, *args, **kwargs):
        super().__init__(corpus, *args, **kwargs)
        if corpus.scheme is None:  # parts of speech and the like: every word has a class
            self.description = replace(
                self.description,
                answer="tags",
                metric="accuracy",
                metric_meaning="share of the words with the right tag",
                selects="accuracy",
                scores=("accuracy", "macro_f1"),
            )

    def begin(self, options: TagOptions) -> None:
        """Finds the probability with which training reads a word as an unknown one, for each id: [V].

        It is 1 - (1 - p) n / (n + a) for a word that occurs n times: p is `word_dropout`, and a `rare_word_dropout`
        (Kiperwasser & Goldberg 2016, https://arxiv.org/abs/1603.04351).

        Raises:
            RecipeError: the model has sub-words, so that it knows all words; it reads spaces; or it cannot tell the
                sentences of a text apart.
        """
        if self.tokenizer("a a")["input_ids"] != self.tokenizer(["a", "a"], is_split_into_words=True)["input_ids"]:
            raise RecipeError(
                f"The tokenizer of {options.model_name_or_path} has tokens for the spaces of a text, and a tagger "
                "reads words without them: start from a checkpoint that reads words, such as a language model trained "
                "with tokenizer.unit word."
            )
        if options.sentences_per_text > 1 and getattr(self.config, "sentence_token_id", None) is None:
            raise RecipeError(
                f"sentences_per_text is {options.sentences_per_text}, but the tokenizer of "
                f"{options.model_name_or_path} has no token for the end of a sentence: leave it out."
            )
        p, a = options.word_dropout, options.rare_word_dropout
        if not p and not a:
            return
        if not self.labels_all:
            raise RecipeError(
                f"word_dropout is {p} and rare_word_dropout {a}, but {options.model_name_or_path} reads sub-words, "
                "none of which are unknown: leave both out."
            )
        counts = torch.ones(len(self.tokenizer))  # of streams too, whose words are not counted
        if a:
            ids = torch.tensor([i for row in self.rows["train"]["input_ids"] for i in row])
            counts = ids.bincount(minlength=len(counts)).clamp(min=1)
        self._dropped = 1 - (1 - p) * counts / (counts + a)
        self._dropped[self.tokenizer.all_special_ids] = 0
        if (mark := getattr(self.config, "sentence_token_id", None)) is not None:
            self._dropped[mark] = 0

    def fit(self, model: PreTrainedModel, options: TagOptions) -> None:
        """Fills in the character language model, and refuses to tune a score that it does not find.

        Raises:
            RecipeError: the model's head is not a dense layer of the usual name.
        """
        super().fit(model, options)
        if options.context_model:
            ContextModel.at(options.context_model).fill(model)
        tunes = options.tune_outside_score and self.corpus.scheme is not None
        if tunes and getattr(_head(model), "bias", None) is None:
            raise RecipeError(
                f"tune_outside_score is true, but {options.model_name_or_path} has no dense layer with biases called "
                "classifier or score: set tune_outside_score to false."
            )

    def finish(
        self, model: PreTrainedModel, options: TagOptions, validate: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Tunes the score of O, if data have it, and says by how much; and what the context comes from."""
        found = super().finish(model, options, validate)
        if options.context_model:
            found = {**found, "context_model": ContextModel.at(options.context_model).record()}
        if not options.tune_outside_score or self.corpus.scheme is None:
            return found
        moved = outside_score.tune(_head(model), self._numbers[OUTSIDE], lambda: validate()["f1"])
        return {**found, "outside_score": moved}

    def attacked(self, model: PreTrainedModel, options: TagOptions) -> list[tuple[nn.Module, float]]:
        """The features of characters too.

        Raises:
            RecipeError: they are to be perturbed, and a checkpoint reads no characters.
        """
        found, epsilon = super().attacked(model, options), options.adversarial_character_epsilon
        if not epsilon:
            return found
        if getattr(model.base_model, "character_encoder", None) is None:
            raise RecipeError(
                f"adversarial_character_epsilon is {epsilon}, but {options.model_name_or_path} reads no characters: "
                "leave it out."
            )
        return [*found, (model.base_model.character_encoder, epsilon)]

    def augment(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Some words become unknown ones; their characters stay."""
        if self._dropped is None:
            return batch
        ids = batch["input_ids"]
        dropped = torch.rand(ids.shape) < self._dropped[ids]
        return {**batch, "input_ids": ids.masked_fill(dropped, self.tokenizer.unk_token_id)}

    def encode(self, columns: dict[str, list]) -> dict[str, list]:
        """Words as sub-tokens, each with a label.

        Columns: `labels` of the sub-tokens, and `words`, the numbers of their words (`NOWHERE`: a special token); for
        all words `starts`, the positions of their first sub-tokens, and `tags`. For a model of the zoo every sub-token
        has a label, I-X after the first, which a CRF needs; for others only the first one has, as is usual for
        transformers. Sentences without tags have no labels.
        """
        truncation = {"truncation": True, "max_length": self.max_length} if self.max_length else {}
        encoded = self.tokenizer(
            columns["tokens"], is_split_into_words=True, return_attention_mask=False, **truncation
        )
        tags = columns.get("tags") or [[None] * len(words) for words in columns["tokens"]]
        number, inside = self._numbers | {None: UNLABELLED}, self.inside | {UNLABELLED: UNLABELLED}
        found = {name: encoded[name] for name in ("input_ids", "character_ids") if name in encoded}
        found |= {"length": list(map(len, encoded["input_ids"])), "labels": [], "words": [], "starts": [], "tags": []}
        for encoding, row in zip(encoded.encodings, tags, strict=True):
            of_words = [number[tag] for tag in row]
            labels, starts, before = [], [NOWHERE] * len(row), None
            for position, word in enumerate(encoding.word_ids):
                if word is None:  # a special token
                    labels.append(UNLABELLED)
                elif word != before:
                    starts[word] = position
                    labels.append(of_words[word])
                else:
                    labels.append(inside[of_words[word]] if self.labels_all else UNLABELLED)
                before = word
            found["labels"].append(labels)
            found["words"].append([NOWHERE if word is None else word for word in encoding.word_ids])
            found["starts"].append(starts)
            found["tags"].append(of_words)
        return found

    def collate(self, columns: dict[str, list]) -> dict[str, torch.Tensor]:
        names = [name for name in ("input_ids", "character_ids") if name in columns]
        # On the right, whatever side the tokenizer pads: `starts` are counted from the left.
        rows = {name: columns[name] for name in names}
        batch = self.tokenizer.pad(rows, return_tensors="pt", padding_side="right")
        if "character_ids" in batch:  # as long as the longest word of the batch
            used = (batch["character_ids"] != CHARACTER_PAD).flatten(0, 1).any(0).sum()
            batch["character_ids"] = batch["character_ids"][:, :, : max(1, int(used))]
        labels = torch.full(batch["input_ids"].shape, UNLABELLED)
        labels[batch["attention_mask"].bool()] = torch.tensor([label for row in columns["labels"] for label in row])
        return {**batch, "labels": labels}

    def predict(self, model, batch, columns):
        """A word has the tag of its first sub-token; one that is not read is outside of all entities."""
        outputs = model(**batch)
        probabilities, tags = (part.tolist() for part in outputs.logits.float().softmax(-1).max(-1))
        return outputs.loss, [
            [(self._unread, 1.0) if start == NOWHERE else (row[start], scores[start]) for start in starts]
            for row, scores, starts in zip(tags, probabilities, columns["starts"], strict=True)
        ]

    def references(self, examples: Dataset) -> list[list[int]]:
        return [[self._numbers[tag] for tag in row] for row in examples["tags"]]

    def metrics(self, predictions: list[list[tuple[int, float]]], references: list[list[int]]) -> dict[str, Any]:
        if self.corpus.scheme is None:
            found = self._accuracy.compute(
                predictions=[tag for row in predictions for tag, _ in row],
                references=[tag for row in references for tag in row],
            )
            return found | {"per_class": {self.labels[n]: scores for n, scores in found["per_class"].items()}}
        found = self._entities.compute(
            predictions=[[self._names[tag] for tag, _ in row] for row in predictions],
            references=[[self._names[tag] for tag in row] for row in references],
        )
        return {name: found[name] for name in ("f1", "precision", "recall", "per_type")}

    def breakdown(self, predictions: list[list[tuple[int, float]]], examples: Dataset) -> dict[str, Any]:
        """The scores of names whose words are all in train, and of those with a word, in lower case, that is not.

        Those of a training split that is read lazily are not known, and there are no such scores.
        """
        if "train" not in self.corpus.splits or self.corpus.scheme is None:
            return {}
        counts = {"seen": Counter(), "unseen": Counter()}
        for row, example in zip(predictions, examples, strict=True):
            unseen = [word.lower() not in self._words_of_train for word in example["tokens"]]
            right = set(get_entities([self._names[self._numbers[tag]] for tag in example["tags"]]))
            found = set(get_entities([self._names[tag] for tag, _ in row]))
            for which, entities in (("number", right), ("found", found), ("both", right & found)):
                for _, first, last in entities:
                    counts["unseen" if any(unseen[first : last + 1]) else "seen"][which] += 1
        return {
            "by_words_of_train": {
                name: {
                    "precision": each["both"] / max(1, each["found"]),
                    "recall": each["both"] / max(1, each["number"]),
                    "f1": 2 * each["both"] / max(1, each["found"] + each["number"]),
                    "number": each["number"],
                }
                for name, each in counts.items()
            }
        }

    @cached_property
    def _entities(self) -> evaluate.Metric:
        return evaluate.load(str(Path(__file__).parent / "metrics" / "entities.py"))

    @cached_property
    def _accuracy(self) -> evaluate.Metric:
        return evaluate.load(str(Path(__file__).parent / "metrics" / "accuracy.py"))

    def size(self, split: str) -> int:
        """In sentences, of which a text may have several."""
        mark, rows = getattr(self.config, "sentence_token_id", None), self.rows[split]
        if mark is None or not isinstance(rows, Dataset):
            return len(rows)
        return sum(1 + ids.count(mark) for ids in rows["input_ids"])

    def remarks(self) -> dict[str, dict[str, int]]:
        """Words that the model does not read; those of a stream are not known in advance."""
        return {
            "words_unread": {
                name: sum(row.count(NOWHERE) for row in rows["starts"])
                for name, rows in self.rows.items()
                if isinstance(rows, Dataset)
            }
        }

    def baselines(self) -> dict[str, dict[str, Any]]:
        """For plain tags, the majority tag of the training split (of validation, where that is read lazily)."""
        if self.corpus.scheme is not None:
            return {}  # without a model there is no entity, and F1 is 0
        splits = self.corpus.splits
        rows = self.references(splits["train" if "train" in splits else "validation"])
        majority = Counter(tag for row in rows for tag in row).most_common(1)[0][0]
        references = self.references(splits["test"])
        found = self.metrics([[(majority, 1.0)] * len(row) for row in references], references)
        return {"majority tag": {name: value for name, value in found.items() if not isinstance(value, dict)}}

    def table(self, examples: Dataset, predictions: list[list[tuple[int, float]]]) -> Iterator[dict[str, Any]]:
        number = -1
        for example, row in zip(examples, predictions, strict=True):
            number += 1
            for word, tag, (found, probability) in zip(example["tokens"], example["tags"], row, strict=True):
                if word == LINE_BREAK:
                    number += 1
                    continue
                yield {
                    "sentence": number,
                    "text": word,
                    "label": tag,
                    "prediction": self.labels[found],
                    "probability": round(probability, 6),
                }

    def text(self, example: dict[str, Any]) -> str:
        return " ".join(example["tokens"])

    def counts(self, example: dict[str, Any]) -> dict[str, int]:
        return {"texts": 1, "words": sum(word != LINE_BREAK for word in example["tokens"])}

    def read_answer(self, answer: list[dict[str, Any]], example: dict[str, Any]) -> list[tuple[int, float]]:
        """The pipeline's sub-tokens as words: by the characters at which these begin."""
        at, start, words = {part["start"]: part for part in answer}, 0, []
        for word in example["tokens"]:
            # The pipeline says nothing about what it truncates, and the evaluation counts that as outside.
            part = at.get(start)
            words.append((self._numbers[part["entity"]], part["score"]) if part else (self._unread, 1.0))
            start += len(word) + 1
        return words

    def gap(self, served: list[tuple[int, float]], measured: list[tuple[int, float]]) -> float:
        """The largest distance between two probabilities; infinite where the tags differ."""
        gaps = [abs(p - q) if a == b else float("inf") for (a, p), (b, q) in zip(served, measured, strict=True)]
        return float(np.max(gaps))  # NaN where one is

    def probe(self, folder: Path) -> list[probes.Probe]:
        return probes.names(folder)

    @property
    def labels_all(self) -> bool:
        """Whether every sub-token of a word has a label: for models of the zoo."""
        return hasattr(self.config, "use_crf")

    @cached_property
    def inside(self) -> dict[int, int]:
        """The label of the further sub-tokens of a word, by that of its first one: I-X after B-X."""
        return {
            i: self._numbers.get(f"I-{name[2:]}", i) if name[:2] == "B-" else i for i, name in enumerate(self.labels)
        }

    @cached_property
    def _words_of_train(self) -> set[str]:
        return {word.lower() for words in self.corpus.splits["train"]["tokens"] for word in words}

    @cached_property
    def _names(self) -> list[str]:
        """The labels as entities are read from them: where tags have no prefix, neighbours of one type are one."""
        return [f"I-{name}" if self.corpus.scheme == "IO" and name != OUTSIDE else name for name in self.labels]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.labels)}

    @property
    def _unread(self) -> int:
        """The tag of a word that the model does not read: outside of all entities, where there is that."""
        return self._numbers.get(OUTSIDE, 0)


def _head(model: PreTrainedModel) -> nn.Linear | None:
    """The layer that gives the scores of labels, by the names that it has in transformers."""
    named = (getattr(model, name, None) for name in ("classifier", "score"))
    return next((head for head in named if isinstance(head, nn.Linear)), None)
