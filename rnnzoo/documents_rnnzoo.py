"""Rows of several sentences: a network runs over each of them separately, and pools over occurrences of a word.

Shapes: B rows, T tokens, S sentences of the batch, L tokens of the longest, K characters of a word, H features.
"""

import torch
from torch import Tensor

from .characters_rnnzoo import FACTOR, PRIME


NO_WORD = -1
UNKNOWN_CHARACTER = 1  # see RecurrentConfig.character_vocab_size


class Sentences:
    """Where the tokens of a batch are when each sentence is a row of its own.

    Such a batch takes memory for S times L tokens: much, where one sentence of many is very long.

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
        found = torch.stack([sentence, position.masked_fill(~real, 0)]).flatten(1)
        self._number, self.width = (max(1, int(last) + 1) for last in found.amax(1)) if ids.numel() else (1, 1)
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
    """An integer for each word: two words of a row have the same one if they are equal: [B, T]; NO_WORD: not known.

    Words are compared by their characters, in which upper and lower case differ and of which a long word has its first
    and last ones only; by their ids where there are no characters, or one of them is unknown. The id `unknown`, which
    many words have, tells nothing.

    Args:
        ids: [B, T]; not needed where there are characters.
        characters: [B, T, K], 0 after a word's last character; or None.
        real: [B, T] of bool, true where a token is real; None: every token is.
    """
    by_id = None
    if ids is not None:
        by_id = ids.long() + PRIME  # never that of characters
        if unknown is not None:
            by_id = by_id.masked_fill(ids == unknown, NO_WORD)
    if characters is None:
        keys = by_id
    else:
        keys = torch.zeros_like(characters[..., 0], dtype=torch.long)
        for position in range(characters.shape[2]):  # nothing overflows int64
            keys = (keys * FACTOR + characters[..., position]) % PRIME
        otherwise = torch.full_like(keys, NO_WORD) if by_id is None else by_id
        keys = torch.where((characters == UNKNOWN_CHARACTER).any(2), otherwise, keys)
        keys = keys.masked_fill((characters == 0).all(2), NO_WORD)
    known = keys != NO_WORD if real is None else (keys != NO_WORD) & real
    rows = torch.arange(keys.shape[0], device=keys.device)[:, None]
    return (keys + rows * 4 * PRIME).masked_fill(~known, NO_WORD)


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
    others = values.new_zeros(values.shape[0]).index_add(0, group, known.to(values.dtype))[group] - 1
    mean = (sums - values) / others.clamp(min=1)[:, None]
    return mean.masked_fill((~known | (others < 1))[:, None], 0).view(y.shape).to(y.dtype)
