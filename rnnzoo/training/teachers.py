"""Models that teach another one: classifiers and taggers of the zoo or of transformers, and what a recipe loads."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BatchEncoding,
)
from transformers.utils import ModelOutput

from rnnzoo.data.errors import RecipeError
from rnnzoo.training.batches import batches
from rnnzoo.training.build import check_pair, label_names


# Loads a folder as a function from texts to the probabilities of all labels, [N, C].
Loader = Callable[[Path], Callable[[list[str]], list[list[float]]]]


class Teacher:
    """What is known of a teacher without loading its weights, and by `load` the model that answers.

    Attributes:
        path: its folder, or its id on the Hub.
        results: its results.json; None where there is none.
        labels: the names of its classes, in the order of its logits.
    """

    def __init__(self, path: str, loaders: Mapping[str, Loader], network: "type[Network] | None" = None):
        """`loaders` are by model_type, for models that are not transformers'; all others are a `network`.

        Raises:
            RecipeError: there is no such model.
        """
        self.path, self.network = path, network or Network
        file = Path(path) / "results.json"
        self.results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        self.loader = loaders.get(self.results["model_type"]) if self.results else None
        try:
            self.labels = self._listed() if self.loader else label_names(AutoConfig.from_pretrained(path))
        except Exception as error:  # whatever is in a folder that somebody names
            raise RecipeError(
                f"The teacher {path} is neither a {self.network.kind} of transformers nor a folder that a recipe "
                f"wrote: {' '.join(str(error).split())[:300]}"
            ) from error

    def _listed(self) -> list[str]:
        """The classes of a model without a configuration: those that its scores are listed by."""
        scores = self.results["metrics"]["validation"].get("per_class")
        if scores is None:
            raise ValueError("its results.json lists no classes: train it again, an older version wrote it")
        return list(scores)

    def columns(self, labels: list[str]) -> list[int]:
        """Its column for each of some labels; classes without names are taken to be in this order.

        Raises:
            RecipeError: its labels are others.
        """
        if self.labels == [f"LABEL_{i}" for i in range(len(labels))]:
            return list(range(len(labels)))
        if set(self.labels) != set(labels):
            raise RecipeError(
                f"The teacher {self.path} has the classes {', '.join(self.labels)}, and the data {', '.join(labels)}: "
                "it cannot teach them. Name a teacher with the same classes."
            )
        return [self.labels.index(label) for label in labels]

    @property
    def fold(self) -> str | None:
        """K/N, where it was trained on all but the K-th of N folds of its training split."""
        return self.results["config"].get("fold") if self.results else None

    @property
    def name(self) -> str:
        """A short name, for the card and for its folder of answers."""
        return Path(self.path).resolve().name if Path(self.path).exists() else self.path.replace("/", "--")

    @property
    def weights_bytes(self) -> int | None:
        """The size of its weights on disk, where they are in its folder."""
        file = Path(self.path) / "model.safetensors"
        return file.stat().st_size if file.is_file() else None

    def load(self, batch_size: int, bf16: bool) -> "Network | Bag":
        """The model."""
        if self.loader:
            return Bag(Path(self.path), self.loader)
        return self.network(self.path, batch_size, bf16)


class Network:
    """A text classifier of the zoo or of transformers, asked in batches of texts of similar length."""

    kind: ClassVar[str] = "text classifier"
    auto_class: ClassVar[type] = AutoModelForSequenceClassification

    def __init__(self, path: str, batch_size: int, bf16: bool):
        """`bf16` asks it with weights of that precision.

        Raises:
            RecipeError: it cannot be loaded.
        """
        self.batch_size, self.device = batch_size, PartialState().device
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(path)
            model = self.auto_class.from_pretrained(path, dtype=torch.bfloat16 if bf16 else torch.float32)
        except Exception as error:  # whatever is in a folder that somebody names
            raise RecipeError(
                f"The teacher {path} cannot be loaded as a {self.kind}: {' '.join(str(error).split())[:500]}"
            ) from error
        check_pair(path, self.tokenizer, model.config)
        self.model = model.to(self.device).eval()
        # A recipe writes the length that it trained at into the tokenizer; a recurrent network has no maximum.
        positions = getattr(model.config, "max_position_embeddings", None)
        self.max_length = positions and min(positions, self.tokenizer.model_max_length)

    @property
    def model_type(self) -> str:
        """The family."""
        return self.model.config.model_type

    @property
    def num_parameters(self) -> int:
        """The number of its weights."""
        return sum(p.numel() for p in self.model.parameters())

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that its answers follow from: weights, configuration, tokenizer, precision."""
        config = self.model.config.to_dict()
        config = {name: config[name] for name in config.keys() - {"_name_or_path", "transformers_version"}}
        known = [sorted(config.items()), *self._reads(), self.max_length, str(self.model.dtype)]
        found = blake2b(repr(known).encode(), digest_size=8)
        for name, tensor in sorted(self.model.state_dict().items()):
            found.update(name.encode())
            found.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return found.hexdigest()

    def _reads(self) -> list[Any]:
        """What its tokenizer knows."""
        tokenizer = self.tokenizer
        return [tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else sorted(tokenizer.get_vocab().items())]

    def __call__(self, texts: list[str]) -> Tensor:
        """Texts -> logits, [N, C] in fp32."""
        ids, window = self._encoded(texts)["input_ids"], getattr(self.model.config, "window", None)
        if window is not None:  # words before it are not read
            ids = [row[-window:] for row in ids]
        found = torch.empty(len(texts), self.model.config.num_labels)
        for batch, outputs in self._outputs({"input_ids": ids}):
            found[batch] = outputs.logits.float().cpu()
        return found

    def _encoded(self, texts: list, **options: Any) -> BatchEncoding:
        truncation = {"truncation": True, "max_length": self.max_length} if self.max_length else {}
        return self.tokenizer(texts, return_attention_mask=False, return_token_type_ids=False, **truncation, **options)

    @torch.no_grad()
    def _outputs(self, columns: dict[str, list]) -> Iterator[tuple[list[int], ModelOutput]]:
        """The numbers of the texts of each batch, and what the model returns for them."""
        for batch in batches(list(map(len, columns["input_ids"])), self.batch_size, seed=None):
            rows = {name: [column[i] for i in batch] for name, column in columns.items()}
            inputs = self.tokenizer.pad(rows, return_tensors="pt").to(self.device)
            yield batch, self.model(**inputs)


class WordNetwork(Network):
    """A tagger of the zoo or of transformers, which answers for each word of a sentence at its first sub-token."""

    kind = "tagger"
    auto_class = AutoModelForTokenClassification

    def __init__(self, path: str, batch_size: int, bf16: bool):
        """As for `Network`.

        Raises:
            RecipeError: it cannot be loaded, or its tokenizer does not tell which word a sub-token belongs to.
        """
        super().__init__(path, batch_size, bf16)
        if not self.tokenizer.is_fast:
            raise RecipeError(
                f"The teacher {path} has a slow tokenizer, which does not tell which word a sub-token belongs to. "
                "Name a teacher with a fast one (tokenizer.json)."
            )
        self.tokenizer.padding_side = "right"  # positions are counted from the left

    def _reads(self) -> list[Any]:
        return [*super()._reads(), *(self.tokenizer.init_kwargs.get(name) for name in ("letters", "word_length"))]

    def __call__(self, sentences: list[tuple[str, ...]]) -> Tensor:
        """Sentences -> logits of all their words, [R, C] in fp32: NaN for a word that is not read.

        That is a word beyond the maximum length, or one that the tokenizer drops. Of a model with a CRF, logits are
        the logarithms of its marginals: its emissions leave out what it knows of neighbouring tags.
        """
        encoded = self._encoded(list(map(list, sentences)), is_split_into_words=True)
        starts = []  # of each sentence the words that are read, and their first sub-tokens
        for encoding in encoded.encodings:
            first: dict[int, int] = {}
            for position, word in enumerate(encoding.word_ids):
                if word is not None:
                    first.setdefault(word, position)
            starts.append(first)
        columns = {name: encoded[name] for name in ("input_ids", "character_ids") if name in encoded}
        found = [torch.full((len(words), self.model.config.num_labels), math.nan) for words in sentences]
        for batch, outputs in self._outputs(columns):
            logits, marginals = outputs.logits, getattr(outputs, "marginals", None)
            if marginals is not None:
                logits = marginals.clamp(min=torch.finfo(marginals.dtype).tiny).log()
            # NaN would say that a word is not read; infinity is refused.
            logits = logits.float().cpu().nan_to_num(nan=math.inf, posinf=math.inf, neginf=-math.inf)
            for i, row in zip(batch, logits, strict=True):
                found[i][list(starts[i])] = row[list(starts[i].values())]
        return torch.cat(found)


class Bag:
    """A model that a recipe loads, of which no more is known than that it answers with probabilities."""

    def __init__(self, folder: Path, loader: Loader):
        self.folder, self.probabilities = folder, loader(folder)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of its files; results.json may change later."""
        found = blake2b(digest_size=8)
        for path in sorted(path for path in self.folder.iterdir() if path.is_file() and path.name != "results.json"):
            found.update(path.name.encode())
            found.update(path.read_bytes())
        return found.hexdigest()

    def __call__(self, texts: list[str]) -> Tensor:
        """Texts -> log-probabilities, [N, C] in fp32."""
        probabilities = np.asarray(self.probabilities(texts), np.float64)
        return torch.from_numpy(np.log(probabilities.clip(np.finfo(np.float32).tiny))).float()


def spread(logits: Tensor) -> float:
    """The standard deviation over rows of a difference of two logits, [N, C], pooled over all pairs of classes.

    For two classes that of z_1 - z_0. In general the mean of var(z_a - z_b) over the C (C - 1) / 2 pairs is
    2 / (C - 1) Σ_c var(z_c - mean_c z), since the rows that are centred sum to zero.
    """
    centred = logits.double() - logits.double().mean(1, keepdim=True)
    return math.sqrt(2 / (logits.shape[1] - 1) * centred.var(0, correction=0).sum().item())


def combine(logits: list[Tensor], spreads: list[float], weights: list[float]) -> Tensor:
    """Σ_k w_k z_k / s_k, over Σ_k w_k, times the mean spread Σ_k w_k s_k / Σ_k w_k; [N, C].

    A network's logits may be ten times as far apart as those of a bag of words: divided by their spreads s_k, each
    teacher counts by its weight alone. The mean spread gives the result a scale as if it came from one of them; of one
    teacher the logits stay as they are. For each row, both sums over z_k and w_k leave out teachers without an answer
    (NaN); a row that none of them answers is NaN.
    """
    scale = sum(w * s for w, s in zip(weights, spreads, strict=True)) / sum(weights)
    total, weight = torch.zeros_like(logits[0]), torch.zeros(len(logits[0]), 1)
    for z, s, w in zip(logits, spreads, weights, strict=True):
        answered = z.isfinite().all(1, keepdim=True)
        total += torch.where(answered, z * (w / s), 0.0)
        weight += answered * w
    return total / weight * scale  # 0 / 0 is NaN
