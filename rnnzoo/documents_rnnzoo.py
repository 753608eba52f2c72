"""Rows of several sentences: each sentence is read by itself, and words are found again in the others.

Shapes: B rows, T tokens, S sentences of the batch, L tokens of the longest, K characters of a word, H features.
"""

import torch
from torch import Tensor

from .characters_rnnzoo import FACTOR, PRIME


NO_WORD = -1


class Sentences:
    """Where the tokens of a batch are when each sentence is a row of its own.

    Args:
        ids: [B, T].
        real: [B, T] of bool, true where a token is real; None: every token is.
        mark: the id of the token that ends a sentence, and belongs to it. The end of a row ends one too.

    Attributes:
        lengths: [S, 1], tokens of each sentence, the sentences of a row one after the other. If no row has a token, S
            is 1 and that sentence empty.
        width: L, 1 at least.
    """

    def __init__(self, ids: Tensor, real: Tensor | None, mark: int):
        real = torch.ones_like(ids, dtype=torch.bool) if real is None else real
        rank = real.cumsum(1) - 1  # among the real tokens of the row
        marks = torch.where(real & (ids == mark), rank, -1).cummax(1).values
        before = torch.nn.functional.pad(marks, (1, 0), value=-1)[:, :-1]  # the last mark before each token
        position = rank - before - 1  # within the sentence
        sentence = (real & (position == 0)).flatten().cumsum(0).view_as(ids) - 1
        self._number = max(1, int(sentence.max()) + 1)
        self.width = max(1, int(position.masked_fill(~real, 0).max()) + 1)
        # In the flattened sentences; that of padding is one past their end.
        self._places = (sentence * self.width + position).masked_fill(~real, self._number * self.width)
        self.lengths = self.split(real).sum(1, keepdim=True)

    def split(self, x: Tensor, fill: float = 0) -> Tensor:
        """[B, T, ·] -> [S, L, ·], `fill` after the last token of each sentence."""
        tail = x.shape[2:]
        rows = x.new_full((self._number * self.width + 1, *tail), fill)
        return rows.index_copy(0, self._places.flatten(), x.flatten(0, 1))[:-1].view(self._number, self.width, *tail)

    def join(self, x: Tensor) -> Tensor:
        """[S, L, ·] -> [B, T, ·], the inverse of `split`; zero in the padding."""
        tail = x.shape[2:]
        rows = torch.cat([x.flatten(0, 1), x.new_zeros(1, *tail)])
        return rows.index_select(0, self._places.flatten()).view(*self._places.shape, *tail)


def word_keys(ids: Tensor | None, characters: Tensor | None, real: Tensor | None, unknown: int | None) -> Tensor:
    """A number for each word, equal for equal words of one row and no others: [B, T]; NO_WORD where none is known.

    Words are equal if their characters are, upper and lower case being different. Without characters they are if their
    ids are, except for the id `unknown`, which is that of many words.

    Args:
        ids: [B, T]; not needed where there are characters.
        characters: [B, T, K], 0 after a word's last character; or None.
        real: [B, T] of bool, true where a token is real; None: every token is.
    """
    if characters is None:
        keys = ids.long()
        known = torch.ones_like(keys, dtype=torch.bool) if unknown is None else keys != unknown
    else:
        keys = torch.zeros_like(characters[..., 0], dtype=torch.long)
        for position in range(characters.shape[2]):  # nothing overflows int64
            keys = (keys * FACTOR + characters[..., position]) % PRIME
        known = (characters != 0).any(2)
    known = known if real is None else known & real
    rows = torch.arange(len(keys), device=keys.device)[:, None]
    return (keys + rows * PRIME).masked_fill(~known, NO_WORD)


def mean_elsewhere(y: Tensor, keys: Tensor) -> Tensor:
    """The mean of y [·, ·, H] at all other places with the same key [·, ·]; zero where there are none: [·, ·, H].

    A name that is clear in one sentence helps where it is not (Krishnan & Manning 2006,
    https://aclanthology.org/P06-1141; Akbik et al. 2019, https://aclanthology.org/N19-1078).
    """
    known = (keys != NO_WORD).flatten()
    ordered, order = keys.flatten().sort()
    begins = torch.cat([torch.zeros_like(known[:1]), ordered[1:] != ordered[:-1]])
    # The number of each token's group of equal words. Groups are counted as if all were different: no shape depends on
    # what the words are.
    group = torch.empty_like(order).scatter(0, order, begins.cumsum(0))
    values = y.flatten(0, 1).to(torch.promote_types(y.dtype, torch.float32)).masked_fill(~known[:, None], 0)
    sums = torch.zeros_like(values).index_add(0, group, values)[group]
    others = values.new_zeros(len(values)).index_add(0, group, known.to(values.dtype))[group] - 1
    mean = (sums - values) / others.clamp(min=1)[:, None]
    return mean.masked_fill((~known | (others < 1))[:, None], 0).view(y.shape).to(y.dtype)
