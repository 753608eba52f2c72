"""Linear-chain conditional random field: exact likelihood, best paths and marginals, vectorised over the batch.

A path y of tags over T tokens has the score start[y_1] + Σ_t emission_t[y_t] + Σ_t transition[y_t, y_t+1] + end[y_T]
and the probability exp(score) / Z (Lafferty et al. 2001; Collobert et al. 2011 for the form used here).

Sums over paths run over probabilities instead of logarithms, each step rescaled (Rabiner 1989, section V.A), in double
precision where the device has it: a step is a product of small matrices, and one loop does both directions. Scores
further than `FLOOR` below the best of their token count as that far below, so that nothing overflows or vanishes.

Letters: B rows, T tokens, C tags, N paths.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .recurrence_rnnzoo import RaggedRows, Rows


FLOOR = -80.0  # in nats; exp(4 · FLOOR), the smallest product below, is still a number in double precision


def forbidden_in_iob2(labels: list[str]) -> list[list[bool]]:
    """Which tag must not follow which: [C + 1][C], the last row for the beginning of a text.

    In IOB2 an I-X goes on with an entity that a B-X began. A type that has no B-X is left free.
    """
    types = {label[2:] for label in labels if label.startswith("B-")}

    def wrong(before: str | None, label: str) -> bool:
        inside = label.startswith("I-") and label[2:] in types
        return inside and before not in (f"B-{label[2:]}", label)

    return [[wrong(before, label) for label in labels] for before in [*labels, None]]


class LinearChainCRF(nn.Module):
    """Scores of tags that know their neighbours.

    The likelihood is over all paths, so that no data can have an infinite loss; paths and marginals are over those
    that `forbidden` leaves.

    Args:
        num_tags: C.
        forbidden: [C + 1][C], see `forbidden_in_iob2`.
    """

    def __init__(self, num_tags: int, forbidden: list[list[bool]]):
        super().__init__()
        self.forbidden = forbidden
        self.transitions = nn.Parameter(torch.zeros(num_tags, num_tags))  # [from, to]
        self.start = nn.Parameter(torch.zeros(num_tags))
        self.end = nn.Parameter(torch.zeros(num_tags))

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logarithm of the probability of each row's tags: [B, T, C], [B, T] -> [B]; 0 for a row without a token.

        mask: [B, T] of bool, true where a token counts; None: everywhere.
        """
        rows = Rows() if mask is None else RaggedRows(mask)
        scores, real = self._scores(emissions, rows), _real(emissions, rows)
        tags = rows.pack(tags[..., None])[..., 0]
        of_tags = (scores.gather(2, tags[..., None])[..., 0] * real).sum(1)
        of_steps = (self.transitions[tags[:, :-1], tags[:, 1:]] * real[:, 1:]).sum(1)
        return of_tags + of_steps - _LogPartition.apply(scores, self.transitions.to(scores.dtype), rows)

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor | None = None, n: int = 1) -> tuple[Tensor, Tensor]:
        """The `n` best paths of each row, best first (Viterbi 1967): tags [B, N, T], 0 in the padding; scores [B, N].

        Where a row has fewer paths than n, the scores of the rest are -inf.
        """
        rows = Rows() if mask is None else RaggedRows(mask)
        scores, transitions = self._allowed(self._scores(emissions, rows))
        B, T, C = scores.shape
        # The batch comes last, so that a step is a few long vectors: [T, C, B].
        steps, transitions = scores.permute(1, 2, 0).contiguous().unbind(0), transitions[:, :, None]
        best = scores.new_full((n, C, B), -torch.inf)
        best[0] = steps[0]
        history, pointers = [best], []
        for step in steps[1:]:
            candidates = (best[:, :, None] + transitions).view(n * C, C, B)
            values, pointer = candidates.max(0, keepdim=True) if n == 1 else candidates.topk(n, 0)
            best = values + step
            history.append(best)
            pointers.append(pointer.view(n * C, B))
        if rows.padding is not None:
            # Each row ends at its own token; from there to the end of the batch it stands still.
            still = torch.arange(n * C, device=scores.device)[:, None]
            padding = rows.padding[:, 1:, 0].T
            pointers = [torch.where(pad, still, pointer) for pad, pointer in zip(padding, pointers, strict=True)]
            ends = torch.stack(history).flatten(1, 2).permute(2, 0, 1)  # [B, T, N·C]
            empty = torch.full_like(best, -torch.inf).view(n * C, B)
            empty[0] = 0  # a row without a token has one path
            best = rows.last(ends, otherwise=empty.T).T
        score, state = best.reshape(n * C, B).topk(n, 0)
        path = [state]
        for pointer in reversed(pointers):
            path.append(state := pointer.gather(0, state))
        tags = torch.stack(path[::-1]).remainder(C).permute(2, 1, 0)  # [B, N, T]
        tags = rows.unpack(tags.transpose(1, 2)).transpose(1, 2)
        return tags, score.T

    @torch.no_grad()
    def marginals(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """The probability of each tag of each token, over all allowed paths: [B, T, C], zero in the padding."""
        rows = Rows() if mask is None else RaggedRows(mask)
        scores, transitions = self._allowed(self._scores(emissions, rows))
        return rows.unpack(_Lattice(scores, transitions, rows).marginals.to(scores.dtype))

    def _scores(self, emissions: Tensor, rows: Rows) -> Tensor:
        """Emissions, packed, with the scores of beginning and ending so: [B, T, C] of at least fp32."""
        scores = rows.pack(emissions.to(torch.promote_types(emissions.dtype, torch.float32)))
        real = _real(scores, rows)
        following = torch.cat([real[:, 1:], torch.zeros_like(real[:, :1])], 1)
        last = (real * (1 - following))[..., None]
        first = nn.functional.one_hot(torch.zeros((), dtype=torch.long, device=scores.device), scores.shape[1])
        return scores + last * self.end + first[:, None] * self.start

    def _allowed(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and transitions with -inf for what is forbidden."""
        forbidden = torch.tensor(self.forbidden, device=scores.device)
        first = scores[:, :1].masked_fill(forbidden[-1], -torch.inf)
        transitions = self.transitions.to(scores.dtype).masked_fill(forbidden[:-1], -torch.inf)
        return torch.cat([first, scores[:, 1:]], 1), transitions


def _real(x: Tensor, rows: Rows) -> Tensor:
    """[B, T], 1 where a token of packed rows counts and else 0."""
    return x.new_ones(x.shape[:2]) if rows.padding is None else (~rows.padding[..., 0]).to(x.dtype)


def _exp(x: Tensor, largest: Tensor, dtype: torch.dtype) -> Tensor:
    """exp(x - largest), at least exp(FLOOR), but 0 for -inf."""
    return (x - largest).clamp(min=FLOOR).exp().masked_fill(x == -torch.inf, 0).to(dtype)


class _Lattice:
    """Sums over all paths of packed rows: scores [B, T, C], transitions [C, C].

    `alpha` [T, B, C] has the weight of all paths up to a token, the token's own score included, and `beta` that of
    all paths from it on; both add up to 1 at each token, `log_partition` [B] has what they were divided by.
    """

    def __init__(self, scores: Tensor, transitions: Tensor, rows: Rows):
        dtype = torch.float32 if scores.device.type == "mps" else torch.float64
        largest = scores.amax(2, keepdim=True)
        step = transitions.max()
        weights = _exp(scores, largest, dtype)
        self.steps = _exp(transitions, step, dtype)
        both = torch.stack([weights, rows.flip(weights)]).transpose(1, 2).transpose(0, 1)  # [T, 2, B, C]
        matrices = torch.stack([self.steps, self.steps.T])
        states, sums = [], []
        for t, weight in enumerate(both.contiguous().unbind(0)):
            state = torch.bmm(states[-1], matrices).mul_(weight) if t else weight
            sums.append(state.sum(-1, keepdim=True))
            states.append(state / sums[-1])
        states = torch.stack(states)
        self.alpha = states[:, 0]
        self.beta = rows.flip(states[:, 1].transpose(0, 1)).transpose(0, 1)
        real = _real(scores, rows)
        moves = (real.sum(1) - 1).clamp(min=0)
        logs = torch.stack(sums)[:, 0, :, 0].log().T.to(scores.dtype) + largest[..., 0]
        self.log_partition = (logs * real).sum(1) + moves * step
        before = torch.cat([torch.ones_like(self.alpha[:1]), self.alpha[:-1] @ self.steps])
        self.joint = before * self.beta
        self.norm = self.joint.sum(-1, keepdim=True)
        self.real = real

    @property
    def marginals(self) -> Tensor:
        """[B, T, C]."""
        return (self.joint / self.norm).transpose(0, 1) * self.real[..., None]

    def expected_steps(self, weight: Tensor) -> Tensor:
        """How often each transition is expected, summed over the rows with a weight each: [B] -> [C, C]."""
        share = (weight[:, None] * self.real).T[1:, :, None] / self.norm[1:]
        return self.steps * ((self.alpha[:-1] * share).flatten(0, 1).T @ self.beta[1:].flatten(0, 1))


class _LogPartition(torch.autograd.Function):
    """log Z of each row, [B]; its gradient by a score is a marginal, and by a transition how often it is expected."""

    @staticmethod
    def forward(ctx, scores, transitions, rows):
        ctx.lattice = _Lattice(scores, transitions, rows)
        return ctx.lattice.log_partition

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        by_score = ctx.lattice.marginals.to(gradient.dtype) * gradient[:, None, None]
        return by_score, ctx.lattice.expected_steps(gradient).to(gradient.dtype), None
