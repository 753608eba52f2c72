"""A vector from the characters of a word: by a convolution or an LSTM, and by its n-grams of characters.

Shapes: N words, K characters of a word, F features (`character_size`).
"""

import torch
from torch import Tensor, nn

from .configuration_rnnzoo import RecurrentConfig
from .recurrence_rnnzoo import LSTM, PackedRows, RecurrentLayer


# A polynomial hash: h = n, then h = (FACTOR h + c) mod PRIME for each character c of an n-gram; in the end h mod size.
# Nothing overflows int64, so that every machine finds the same buckets.
FACTOR, PRIME = 1_566_083_941, 2**31 - 1
SHORTEST, LONGEST = 3, 5


class CharacterEncoder(nn.Module):
    """The features that characters add to a word's vector; zero for a word without characters."""

    def __init__(self, config: RecurrentConfig):
        super().__init__()
        self.encoder = config.character_encoder
        E, F = config.character_embedding_size, config.character_size
        self.embed_characters = nn.Embedding(config.character_vocab_size, E, padding_idx=0)
        if self.encoder == "cnn":
            self.convolution = nn.Conv1d(E, F, kernel_size=3, padding=1)
        else:
            self.recurrence = RecurrentLayer(LSTM, E, F // 2, bidirectional=True, dropout=0.0)
        self.ngrams = NGrams(config.character_ngrams, F, config.ngram_dropout) if config.character_ngrams else None

    def forward(self, character_ids: Tensor) -> Tensor:
        """[B, T, K], 0 after a word's last character -> [B, T, F]."""
        B, T, K = character_ids.shape
        characters = character_ids.reshape(B * T, K)
        if characters.device.type != "cpu" or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return self.read(characters).view(B, T, -1)
        # What has no characters, padding above all, is left out where that takes no synchronisation with a device.
        present = characters.any(1)
        y = self.read(characters[present])
        return y.new_zeros(B * T, y.shape[1]).index_put((present,), y).view(B, T, y.shape[1])

    def read(self, characters: Tensor) -> Tensor:
        """[N, K] -> [N, F]."""
        y = getattr(self, self.encoder)(characters)
        return y if self.ngrams is None else y + self.ngrams(characters)

    def cnn(self, characters: Tensor) -> Tensor:
        """A convolution of width 3, then the largest value over the characters (Ma & Hovy 2016): [N, K] -> [N, F].

        At a character it is the sum of a row for the character before, one for itself and one for the next, from
        tables that hold the convolution of every character: a lookup, several times as fast as the convolution.
        """
        V, F = len(self.embed_characters.weight), len(self.convolution.bias)
        before, here, after = torch.einsum("ve,fej->jvf", self.embed_characters.weight[1:], self.convolution.weight)
        # Sums are taken in fp32 at least: of a character's gradients there are thousands.
        none = here.new_zeros(1, F, dtype=torch.promote_types(here.dtype, torch.float32))
        # Padding, of which the id is 0, gets the lowest value, so that it never is the maximum.
        low = none + torch.finfo(none.dtype).min
        tables = torch.cat(
            [none, before.to(none), none, after.to(none), low, here.to(none)]
        )  # an id too large is none
        offsets = torch.tensor([0, 2 * V, V], device=characters.device)
        triples = nn.functional.pad(characters, (1, 1)).unfold(1, 3, 1) + offsets
        y = nn.functional.embedding_bag(triples.reshape(-1, 3), tables, mode="sum").view(*characters.shape, F).amax(1)
        return (y + self.convolution.bias).masked_fill((characters == 0).all(1, keepdim=True), 0)

    def lstm(self, characters: Tensor) -> Tensor:
        """The last state of each direction of an LSTM (Lample et al. 2016): [N, K] -> [N, F]."""
        rows = PackedRows((characters != 0).sum(1, keepdim=True), characters.shape[1])
        x = rows.pack(self.embed_characters(characters))
        zero = x.new_zeros(len(x), 2, self.recurrence.forward_direction.weight_hh.shape[1])
        _, h, _ = self.recurrence(x, rows, zero, zero)
        return h.flatten(1)


class NGrams(nn.Module):
    """The mean of the vectors of a word's n-grams of characters, hashed into buckets: [N, K] -> [N, F].

    As in fastText (Bojanowski et al. 2017, https://arxiv.org/abs/1607.04606) n is 3 to 5 and a mark stands before the
    first and after the last character. Here the two are one character, the padding.

    The mean tells one word of train from another, as a word vector does. With `dropout` it is in training that of some
    of the n-grams, drawn anew for each token, so that each n-gram must tell what it can by itself.
    """

    def __init__(self, size: int, features: int, dropout: float):
        super().__init__()
        self.size, self.dropout = size, dropout
        self.embed_ngrams = nn.Embedding(size + 1, features, padding_idx=size)

    def forward(self, characters: Tensor) -> Tensor:
        weight, buckets = self.embed_ngrams.weight, self.buckets(characters)
        if self.training and self.dropout:
            left_out = torch.rand(buckets.shape, device=buckets.device) < self.dropout
            buckets = buckets.masked_fill(left_out, self.size)
        return nn.functional.embedding_bag(buckets, weight, mode="mean", padding_idx=self.size)

    def buckets(self, characters: Tensor) -> Tensor:
        """[N, K] -> the buckets of the n-grams from 0 to `size` - 1, and `size` where there is none: [N, ·]."""
        length = (characters != 0).sum(1, keepdim=True)
        marked = nn.functional.pad(characters.long(), (1, LONGEST))  # long enough for an n-gram to start anywhere
        starts = characters.shape[1]
        found = []
        for n in range(SHORTEST, LONGEST + 1):
            bucket = torch.full_like(marked[:, :starts], n)
            for i in range(n):
                bucket = (bucket * FACTOR + marked[:, i : i + starts]) % PRIME
            last = torch.arange(n - 1, n - 1 + starts, device=characters.device)
            found.append((bucket % self.size).masked_fill(last > length + 1, self.size))
        return torch.cat(found, dim=1)
