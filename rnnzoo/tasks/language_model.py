"""Language models: any texts, as one long stream with a carried state or each by itself. For `recipes.lm`.

accelerate launch -m recipes.lm --config recipes/configs/lm/lstm.yaml --dataset path/to/texts --output_dir runs/lm
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel

import rnnzoo
from rnnzoo.data import plain
from rnnzoo.data.errors import RecipeError
from rnnzoo.modeling_rnnzoo import RecurrentState
from rnnzoo.scoring import token_nats
from rnnzoo.tasks.text import TextOptions
from rnnzoo.training.options import WORD2VEC, option
from rnnzoo.training.task import Description, Task
from rnnzoo.training.token_streams import TokenStreams


# Texts that are shuffled and joined at a time where they are read lazily.
BLOCK = 10_000

UNSUPPORTED = ("max_length", "adversarial_epsilon", "fold", "freeze_word_vectors")


@dataclass
class LanguageModelOptions(TextOptions):
    """Options of language models."""

    documents: bool = option(
        False, "read each text by itself from its beginning, instead of all of them as one stream", group="Data"
    )
    chunk_length: int = option(
        64,
        "tokens of a stream that are read in a step; the state is carried from chunk to chunk, gradients are not "
        "(truncated back-propagation through time)",
    )
    sampled_softmax: bool = option(
        False,
        "in training, compute the softmax over the tokens that are labels in a step, corrected for how probable it is "
        "that they are, instead of all tokens: far fewer operations with a large vocabulary. Evaluation is exact",
    )

    @property
    def most_rows(self) -> None:
        """All texts of a stream are read: how many a number of steps takes depends on their lengths."""

    def __post_init__(self):
        super().__post_init__()
        if self.chunk_length < 1:
            raise RecipeError(f"chunk_length is {self.chunk_length}: it must be at least 1.")
        for name in UNSUPPORTED:
            if value := getattr(self, name):
                raise RecipeError(f"{name} is {value!r}, but a language model has no use for it: leave it out.")
        if self.word_vectors == WORD2VEC:
            raise RecipeError("word_vectors is word2vec, but a language model has no use for it: leave it out.")
        if not self.documents and self.gradient_accumulation_steps > self.batch_size:
            raise RecipeError(
                f"batch_size is {self.batch_size}, so many streams, and cannot be split into "
                f"{self.gradient_accumulation_steps} micro-batches: raise batch_size."
            )


class LanguageModel(Task):
    """The next token. It reads texts, never labels; each text begins with `<s>` and ends with `</s>`."""

    name = "lm"
    kind = "text-generation"
    default_dataset = "imdb"
    description = Description(
        pipeline="text-generation",
        pipeline_options={"do_sample": True, "max_new_tokens": 60},
        auto_class="AutoModelForCausalLM",
        model="language model",
        verb="write",
        example="The film",
        metric="perplexity",
        metric_meaning="exp of the mean negative log probability of a token, `</s>` included; lower is better",
        lower_is_better=True,
        selects="loss",
        scores=("loss",),
        answer="continuation",
    )
    Options = LanguageModelOptions
    corpora = plain
    train_tokenizer = staticmethod(rnnzoo.train_lm_tokenizer)

    #: Of how many streams a state is carried, and the states, [streams, L, H] each; none before the first step.
    streams = 0
    #: The share of each token in the training texts, [V], and whether the loss is an estimate that is based on it.
    frequencies: Tensor
    estimated = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.states: dict[str, Tensor] = {}

    @classmethod
    def check(cls, options: LanguageModelOptions) -> None:
        """Refuses two directions: the backward one would read the token that is to be predicted."""
        if options.model.get("bidirectional"):
            raise RecipeError(
                "model.bidirectional is true, but a language model reads from left to right: leave it out. For a "
                "classifier or a tagger to start from, recipes.pretrain --words_ahead 1 trains both directions."
            )

    # ---- examples ----

    def encode(self, columns: dict[str, list]) -> dict[str, list]:
        """Texts as ids, with the `</s>` that ends each."""
        ids = [
            [*row, self.tokenizer.eos_token_id]
            for row in self.tokenizer(columns["text"], return_attention_mask=False)["input_ids"]
        ]
        return {"input_ids": ids, "length": list(map(len, ids))}

    def begin(self, options: LanguageModelOptions) -> None:
        """Counts the tokens of train and of the unlabelled texts, and makes one stream of them unless they are read
        one by one.
        """
        texts, more = self.rows["train"], self.rows.pop("unlabelled", None)
        if more is not None:
            names = ("input_ids", "length")
            texts = Dataset.from_dict({name: texts[name][:] + more[name][:] for name in names})

        def blocks() -> Iterator[list[list[int]]]:
            if isinstance(texts, Dataset):
                yield texts["input_ids"][:]
                return
            read = islice(texts.read(), texts.size)
            while block := [row["text"] for row in islice(read, BLOCK)]:
                yield self.encode({"text": block})["input_ids"]

        start, sizes, counts = self.tokenizer.bos_token_id, [], torch.zeros(len(self.tokenizer), dtype=torch.long)
        for block in blocks():
            tokens = torch.tensor(list(chain.from_iterable(block)), dtype=torch.long)
            sizes.append(len(tokens))
            counts += tokens.bincount(minlength=len(counts))
        counts[start] = 0  # it is given, never predicted
        self.frequencies, self.estimated = counts / counts.sum(), options.sampled_softmax
        self.rows["train"] = texts
        if not options.documents:
            self.streams = options.batch_size
            self.rows["train"] = TokenStreams(blocks, sizes, options.batch_size, options.chunk_length, start)

    def fit(self, model: PreTrainedModel, options: LanguageModelOptions) -> None:
        """Starts the biases of a new model at the logarithms of the frequencies: the prediction without context.

        Where train has words that the vocabulary lacks, the model learns to expect `<unk>`, but is not to write it.
        """
        if options.model_name_or_path is None:
            if self.frequencies[self.tokenizer.unk_token_id] > 0:
                model.generation_config.suppress_tokens = [self.tokenizer.unk_token_id]
            # A token that train does not have, such as padding, is taken to be half as frequent as the rarest one.
            rarest = self.frequencies[self.frequencies > 0].min() / 2
            with torch.no_grad():
                model.lm_head.bias.copy_(self.frequencies.clamp(min=rarest).log())

    def collate(self, columns: dict[str, list]) -> dict[str, Tensor]:
        """Rows, padded on the right, with the token that follows each one as its label."""
        ids = [torch.as_tensor(row) for row in columns["input_ids"]]
        following = columns.get("labels") or [[*row[1:], -100] for row in columns["input_ids"]]
        following = [torch.as_tensor(row) for row in following]
        pad = torch.nn.utils.rnn.pad_sequence
        batch = {
            "input_ids": pad(ids, batch_first=True, padding_value=self.tokenizer.pad_token_id),
            "labels": pad(following, batch_first=True, padding_value=-100),
        }
        if not batch["input_ids"].shape[1]:  # streams that end a token before others: a row of padding each
            fill = {"input_ids": self.tokenizer.pad_token_id, "labels": -100}
            batch = {name: torch.full((len(ids), 1), value) for name, value in fill.items()}
        lengths = torch.tensor(list(map(len, ids)))
        if (lengths < batch["input_ids"].shape[1]).any():
            batch["attention_mask"] = (torch.arange(batch["input_ids"].shape[1]) < lengths[:, None]).long()
        if "stream" in columns:
            batch |= {name: torch.tensor(columns[name]) for name in ("stream", "begins")}
        return batch

    # ---- the state that is carried ----

    def inputs(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
        found["shift_labels"] = batch["labels"]
        if self.estimated:
            found["token_frequencies"] = self.frequencies = self.frequencies.to(batch["labels"].device)
        if "stream" in batch and self.states:
            streams, begins = batch["stream"], batch["begins"][:, None, None]
            state = {name: part.to(streams.device)[streams] for name, part in self.states.items()}
            found["initial_state"] = RecurrentState(**{k: part.masked_fill(begins, 0) for k, part in state.items()})
        return found

    def after_forward(self, outputs: Any, batch: dict[str, Tensor]) -> None:
        if "stream" in batch:
            for name, part in outputs.final_state.items():
                part = part.detach()
                if name not in self.states:
                    self.states[name] = part.new_zeros(self.streams, *part.shape[1:])
                self.states[name] = self.states[name].to(part.device).index_copy(0, batch["stream"], part)

    def carried(self) -> dict[str, Tensor]:
        here = PartialState()
        own = torch.arange(self.streams) % here.num_processes == here.process_index
        return {name: part * own.to(part.device)[:, None, None] for name, part in self.states.items()}

    def carry(self, tensors: dict[str, Tensor]) -> None:
        self.states = tensors

    # ---- scores ----

    def predict(self, model, batch: dict[str, Tensor], columns: dict[str, list]):
        """Each text's negative log probability, in nats, and the number of its tokens."""
        labels = batch["labels"]
        nats = token_nats(model, batch["input_ids"], batch.get("attention_mask"), labels).double().sum(1)
        counts = (labels != -100).sum(1)
        return nats.sum() / counts.sum(), [list(pair) for pair in zip(nats.tolist(), counts.tolist(), strict=True)]

    def references(self, examples: Dataset) -> list:
        """The number of characters of each text."""
        return list(map(len, examples["text"][:]))

    def metrics(self, predictions: list, references: list) -> dict[str, Any]:
        nats, tokens = (sum(each) for each in zip(*predictions, strict=True))
        # Each text ends with a character of its own.
        characters = sum(references) + len(references)
        return {"perplexity": math.exp(nats / tokens), "bits_per_character": nats / math.log(2) / characters}

    def table(self, examples: Dataset, predictions: list) -> Iterator[dict[str, Any]]:
        for example, (nats, tokens) in zip(examples, predictions, strict=True):
            yield {"text": example["text"], "nats": nats, "tokens": tokens}

    # ---- what is served ----

    parity_pipeline = "score"

    def read_answer(self, answer: Any, example: dict[str, Any]) -> list:
        return answer

    def gap(self, served: list, measured: list) -> float:
        """Of the nats a token; infinite where the numbers of tokens differ."""
        (ours, tokens), (theirs, others) = served, measured
        return abs(ours - theirs) / tokens if tokens == others else math.inf
