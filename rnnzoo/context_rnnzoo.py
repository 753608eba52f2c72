"""The context of each word: what a frozen character language model has read before and after it.

Shapes: B rows, T words, K characters of a word, W characters of a row, H features of a state (`context_size`).
"""

import torch
from torch import Tensor, nn

from .configuration_rnnzoo import RecurrentConfig
from .recurrence_rnnzoo import LSTM, PackedRows, RaggedRows, RecurrentDirection, Rows


# Characters of a row that are read at once.
CHUNK = 32_768

# In place of a character: the separator that stands before the first word of a row and after each.
SEPARATOR_ID = 0


class ContextEncoder(nn.Module):
    """Contextual string embeddings (Akbik et al. 2018, https://aclanthology.org/C18-1139): [B, T, K] -> [B, T, 2·H].

    A row is read as one sequence of characters, with separators around its words: ▁U.N.▁official▁. The vector of a
    word is the forward state at the separator after it and the backward state at the separator before it; each has
    read the word and everything on its side. (In the paper it is the states one character earlier, which do not know
    yet that the word has ended; flair, its authors' code, has them here too.)

    The weights are those of a character language model, an LSTM of one layer and two directions, and are not trained.
    The embedding has a row for each character id of the tagger's tokenizer, with the separator's as row 0. Of a long
    word these ids are its first and last characters, and the rest of it is not read.
    """

    def __init__(self, config: RecurrentConfig):
        super().__init__()
        E, H = config.context_embedding_size, config.context_size
        self.embed_characters = nn.Embedding(config.character_vocab_size, E)
        self.forward_direction = LSTM.direction(LSTM, E, H, dropout=0.0)
        self.backward_direction = LSTM.direction(LSTM, E, H, dropout=0.0)
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, characters: Tensor, rows: Rows) -> Tensor:
        """[B, T, K] packed, 0 after a word's last character -> [B, T, 2·H] packed, zero in the padding."""
        real = nn.functional.pad(characters != 0, (0, 1), value=True)
        if rows.padding is not None:
            real = real & ~rows.padding
        # The places of the separators in a row: before the first word, and after each.
        places = nn.functional.pad(real.sum(2).cumsum(1), (1, 0))
        real = nn.functional.pad(real.flatten(1), (1, 0), value=True)
        ids = nn.functional.pad(nn.functional.pad(characters, (0, 1), value=SEPARATOR_ID).flatten(1), (1, 0))
        lengths = real.sum(1, keepdim=True)
        ids = RaggedRows(real).pack(ids)
        if not _traced():
            ids = ids[:, : int(lengths.max())]
        mirrored = PackedRows(lengths, ids.shape[1]).flip(ids)
        before = self.states(self.forward_direction, ids, lengths, places[:, 1:])
        after = self.states(self.backward_direction, mirrored, lengths, lengths - 1 - places[:, :-1])
        y = torch.cat([before, after], dim=2)
        return y if rows.padding is None else y.masked_fill(rows.padding, 0)

    def states(self, direction: RecurrentDirection, ids: Tensor, lengths: Tensor, places: Tensor) -> Tensor:
        """The states of one direction at some places of packed rows: ids [B, W], places [B, T] -> [B, T, H]."""
        (B, T), H = places.shape, direction.weight_hh.shape[1]
        state = (direction.weight_hh.new_zeros(B, H),) * LSTM.num_states
        found, start = None, 0
        for chunk in (ids,) if _traced() else ids.split(CHUNK, dim=1):
            width, here = chunk.shape[1], places - start
            rows = PackedRows((lengths - start).clamp(0, width), width)
            y, state = direction(self.embed_characters(chunk), rows, state)
            index = here.clamp(0, width - 1) + torch.arange(B, device=ids.device)[:, None] * width
            taken = y.flatten(0, 1).index_select(0, index.flatten()).view(B, T, H)
            found = taken if found is None else torch.where((here >= 0)[..., None], taken, found)
            start += width
        return found


def _traced() -> bool:
    """Whether lengths must not be looked at."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()
