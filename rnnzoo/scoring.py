"""How probable a language model finds texts: log probabilities of their tokens, as perplexity is made of."""

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase


# Logits that are in memory at a time.
MOST_LOGITS = 2**26


class TextScore(NamedTuple):
    """The negative log probability of a text, in nats, and the tokens that it is the sum of, `</s>` included."""

    nats: float
    tokens: int

    @property
    def perplexity(self) -> float:
        """exp(nats / tokens)."""
        return math.exp(self.nats / self.tokens)


@torch.no_grad()
def score_texts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], batch_size: int = 32
) -> Iterator[TextScore]:
    """Scores texts, each by itself from its beginning: -log p(text) = -Σ_t log p(w_t | <s> w_1 … w_{t-1}).

    Args:
        model: a language model of the zoo, in eval mode.
        tokenizer: its own, which begins a text with `<s>`.
        texts: may be a generator; `batch_size` of them are read at once.

    Raises:
        TypeError: `texts` is one str, whose characters would be texts.
        ValueError: `batch_size` is below 1.
    """
    if isinstance(texts, str):
        raise TypeError(f"texts is one str, {texts!r:.60}: give a list of texts, [text] for one.")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r} must be at least 1.")
    texts = iter(texts)
    while batch := list(islice(texts, batch_size)):
        rows = [[*row, tokenizer.eos_token_id] for row in tokenizer(batch)["input_ids"]]
        lengths = torch.tensor(list(map(len, rows)))
        ids = nn.utils.rnn.pad_sequence(list(map(torch.tensor, rows)), batch_first=True)
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        labels = nn.functional.pad(ids.masked_fill(~mask, -100)[:, 1:], (0, 1), value=-100)
        nats = token_nats(model, *(x.to(model.device) for x in (ids, mask, labels)))
        for total, count in zip(nats.double().sum(1).tolist(), (lengths - 1).tolist(), strict=True):
            yield TextScore(total, count)


@torch.no_grad()
def token_nats(model: PreTrainedModel, input_ids: Tensor, mask: Tensor | None, labels: Tensor) -> Tensor:
    """The negative log probability of each label, zero where it is -100: [B, T] each -> [B, T] in fp32.

    `labels` are the tokens that follow. Long rows are read part by part, each from the state after the one before.
    """
    B, T = input_ids.shape
    state, found, width = None, [], max(1, MOST_LOGITS // (B * model.config.vocab_size))
    for start in range(0, T, width):
        part = slice(start, start + width)
        real = None if mask is None else mask[:, part]
        out = model(input_ids[:, part], attention_mask=real, initial_state=state)
        logits, state = out.logits.float(), out.final_state
        losses = nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, part].flatten(), reduction="none")
        found.append(losses.view(B, -1))
    return torch.cat(found, dim=1)
