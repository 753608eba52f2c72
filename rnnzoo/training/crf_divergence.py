"""The KL divergence of a linear-chain CRF from distributions over the tags of each token, as teachers give them."""

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import one_hot

from rnnzoo.crf_rnnzoo import LinearChainCRF


def divergence(
    crf: LinearChainCRF, emissions: Tensor, targets: Tensor, mask: Tensor, temperature: float = 1.0
) -> Tensor:
    """KL(Π_t p_t ‖ q), [B]: p_t are the targets, each token's tag drawn independently, and q the CRF's paths.

    With the score s(y) of a path, see `rnnzoo.crf_rnnzoo`, and q(y) = exp(s(y) / T) / Z it is

        log Z - E s(y) / T - Σ_t H(p_t)

        E s(y) = start·p_1 + Σ_t emission_t·p_t + Σ_t p_tᵀ transitions p_t+1 + end·p_n

    (Wang et al. 2021, https://arxiv.org/abs/2010.05010, for a teacher that predicts each tag independently).

    Args:
        emissions: [B, T, C].
        targets: [B, T, C], probabilities.
        mask: [B, T] of bool, true where a token counts; its neighbours are the next ones that do.
        temperature: T, divides the scores of tags and of transitions.
    """
    targets = targets.masked_fill(~mask[..., None], 0)
    scores = {name: weights / temperature for name, weights in crf.named_parameters()}
    emissions = emissions / temperature
    # The log-likelihood of any path tells log Z; that of a likely one without a difference of large numbers.
    tags = targets.argmax(-1)
    path = one_hot(tags, targets.shape[-1]).to(targets)
    log_partition = _expected_score(scores, emissions, path, mask) - functional_call(
        crf, scores, (emissions, tags, mask)
    )
    negative_entropy = torch.xlogy(targets, targets).sum((1, 2))
    return log_partition - _expected_score(scores, emissions, targets, mask) + negative_entropy


def _expected_score(scores: dict[str, Tensor], emissions: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """E s(y), [B]."""
    places = torch.arange(mask.shape[1], device=mask.device).where(mask, -1)  # [B, T]
    before = places.cummax(1).values.roll(1, 1)  # of each token, the last one before it that counts
    before[:, 0] = -1
    first, last = before < 0, mask.flip(1).cumsum(1).flip(1) == 1
    left = targets.gather(1, before.clamp(min=0)[..., None].expand_as(targets)).masked_fill(first[..., None], 0)
    terms = (targets * emissions).sum(-1) + ((left @ scores["transitions"]) * targets).sum(-1)
    terms = terms + (targets @ scores["start"]) * first + (targets @ scores["end"]) * last
    return terms.masked_fill(~mask, 0).sum(1)
