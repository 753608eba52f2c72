"""The wide part of a sequence classifier: a linear model on words and pairs of neighbouring words, in hashed buckets.

Wide & Deep, Cheng et al. 2016, https://arxiv.org/abs/1606.07792: its logits are added to those of the network. Shapes:
B rows, T tokens, C classes.
"""

import torch
from torch import Tensor, nn


# h(a, b) = (FIRST a + SECOND b mod PRIME) mod size, a universal hash (Carter & Wegman 1979). For ids below 2³¹ nothing
# overflows int64, so that every machine finds the same buckets.
FIRST, SECOND, PRIME = 1_566_083_941, 1_812_433_253, 2**31 - 1


def distinct_buckets(ids: Tensor, real: Tensor | None, size: int) -> tuple[Tensor, Tensor]:
    """The buckets of a row's words and pairs of neighbouring words, and which of them are counted.

    Special tokens within a row, such as that of unknown words, are words like others.

    Args:
        ids: [B, T], padding at the end of each row.
        real: [B, T] of bool, true where a token is real; None: every token is.
        size: the number of buckets.

    Returns:
        [B, 2·T], ascending, from 0 to `size` - 1; and [B, 2·T] of bool, true for the first of equal ones and nowhere
        in the padding.
    """
    ids = ids.long() + 1
    # The word before each. Before the first there is none: that pair is the word alone, and not counted twice.
    before = nn.functional.pad(ids, (1, 0))[:, :-1]
    buckets = torch.cat([SECOND * ids, FIRST * before + SECOND * ids], dim=1) % PRIME % size
    if real is not None:
        buckets = buckets.masked_fill(~torch.cat([real, real], dim=1), size)
    buckets = buckets.sort(dim=1).values
    first = (buckets != nn.functional.pad(buckets, (1, 0), value=-1)[:, :-1]) & (buckets < size)
    return buckets.clamp(max=size - 1), first


class Wide(nn.Module):
    """Logits s Σ_b W_b / √n over the n distinct buckets b of a row; zero for a row without a word.

    W is [size, C], and for two classes [size, 1]: the margin m between them, whose logits are -m / 2 and m / 2. The
    weights W start at zero and the scale s at 1; both can be fitted beforehand (`rnnzoo.training.wide`), or be
    trained with the network.

    In training they are zero for a share `dropout` of the rows, at random: a network that always hears the wide part
    learns to correct it, and little that would stand beside it. They are not scaled up for the others: both answer
    every row later.
    """

    def __init__(self, size: int, num_labels: int, dropout: float = 0.0):
        super().__init__()
        self.size, self.num_labels, self.dropout = size, num_labels, dropout
        self.weight = nn.Parameter(torch.zeros(size, 1 if num_labels == 2 else num_labels))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, ids: Tensor, real: Tensor | None, logits: Tensor | None = None) -> Tensor:
        """`ids` and `real` as for `distinct_buckets` -> [B, C]; `logits`: the sum over the buckets, where known."""
        if logits is None:
            buckets, first = distinct_buckets(ids, real, self.size)
            found = nn.functional.embedding(buckets, self.weight)
            # In fp32 at least: there are thousands of them in a long row.
            found = found.to(torch.promote_types(found.dtype, torch.float32)) * first[..., None]
            logits = found.sum(1) / first.sum(1, keepdim=True).clamp(min=1).sqrt()
            if self.num_labels == 2:
                logits = torch.cat([-logits, logits], dim=1) / 2
        logits = self.scale * logits.to(self.scale.dtype)
        if self.training and self.dropout:
            logits = logits * (torch.rand(len(logits), 1, device=logits.device) >= self.dropout)
        return logits
