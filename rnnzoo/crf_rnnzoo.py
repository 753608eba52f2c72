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

from .recurrence_rnnzoo import RaggedRows


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
        emissions, mask, rows = self._prepare(emissions, mask)
        transitions, start, end = (part.to(emissions.dtype) for part in (self.transitions, self.start, self.end))
        log_partition = _LogPartition.apply(emissions, transitions, start, end, rows)
        chosen = emissions.gather(2, tags.masked_fill(~mask, 0)[..., None])[..., 0].masked_fill(~mask, 0)
        tags = rows.pack(tags[..., None])[..., 0]
        padding = rows.padding[..., 0]
        steps = tags[:, :-1] * len(start) + tags[:, 1:]
        moves = transitions.flatten().index_select(0, steps.flatten()).view_as(steps)
        ends = start[tags[:, 0]] + end[rows.last(tags[..., None], otherwise=tags[:, :1])[:, 0]]
        score = chosen.sum(1) + moves.masked_fill(padding[:, 1:], 0).sum(1) + ends
        return (score - log_partition).masked_fill(padding[:, 0], 0)

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor | None = None, n: int = 1) -> tuple[Tensor, Tensor]:
        """The `n` best paths of each row, best first (Viterbi 1967): tags [B, N, T], 0 in the padding; scores [B, N].

        Where a row has fewer paths than n, the scores of the rest are -inf.
        """
        ragged = mask is not None
        emissions, _, rows = self._prepare(emissions, mask)
        B, T, C = emissions.shape
        transitions, start, end = self._allowed(emissions.dtype)
        # The batch comes last, so that a step is a few long vectors: [T, C, B].
        steps = rows.pack(emissions).permute(1, 2, 0).contiguous().unbind(0)
        transitions = transitions[:, :, None]
        best = emissions.new_full((n, C, B), -torch.inf)
        best[0] = steps[0] + start[:, None]
        history, pointers = [best], []
        for step in steps[1:]:
            candidates = (best[:, :, None] + transitions).view(n * C, C, B)
            values, pointer = candidates.max(0, keepdim=True) if n == 1 else candidates.topk(n, 0)
            best = values + step
            history.append(best)
            pointers.append(pointer.view(n * C, B))
        if ragged:
            # Each row ends at its own token; from there to the end of the batch it stands still.
            still = torch.arange(n * C, device=emissions.device)[:, None]
            padding = rows.padding[:, 1:, 0].T[:, None]
            pointers = torch.where(padding, still, torch.stack(pointers)).unbind(0) if pointers else []
            ends = torch.stack(history).permute(3, 0, 1, 2)  # [B, T, N, C]
            ends = (ends + end).flatten(2)
            empty = torch.full_like(ends[:, 0], -torch.inf)
            empty[:, 0] = 0  # a row without a token has one path
            best = rows.last(ends, otherwise=empty).T
        else:
            best = (best + end[:, None]).view(n * C, B)
        score, state = best.topk(n, 0)
        path = [state]
        for pointer in reversed(pointers):
            path.append(state := pointer.gather(0, state))
        tags = torch.stack(path[::-1]).remainder(C).permute(2, 1, 0)  # [B, N, T]
        return rows.unpack(tags.transpose(1, 2)).transpose(1, 2), score.T

    @torch.no_grad()
    def marginals(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """The probability of each tag of each token, over all allowed paths: [B, T, C], zero in the padding."""
        emissions, _, rows = self._prepare(emissions, mask)
        lattice = _Lattice(emissions, *self._allowed(emissions.dtype), rows)
        return rows.unpack(lattice.marginals.transpose(0, 1).to(emissions.dtype))

    def _allowed(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Transitions, start and end, with -inf for what is forbidden."""
        forbidden = torch.tensor(self.forbidden, device=self.start.device)
        transitions = self.transitions.to(dtype).masked_fill(forbidden[:-1], -torch.inf)
        return transitions, self.start.to(dtype).masked_fill(forbidden[-1], -torch.inf), self.end.to(dtype)

    def _prepare(self, emissions: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, RaggedRows]:
        """Emissions as exact as the weights and at least fp32, the mask, and the rows that it makes."""
        mask = emissions.new_ones(emissions.shape[:2], dtype=torch.bool) if mask is None else mask
        dtype = torch.promote_types(torch.promote_types(emissions.dtype, self.start.dtype), torch.float32)
        return emissions.to(dtype), mask, RaggedRows(mask)


def _weights(scores: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """exp(score - largest), at least exp(FLOOR), but 0 for -inf; and the largest."""
    largest = scores.max()
    return (scores - largest).clamp(min=FLOOR).exp().masked_fill(scores == -torch.inf, 0).to(dtype), largest


class _Lattice:
    """Sums over all paths: emissions [B, T, C], in the rows' own order; everything below is packed, [T, B, C].

    `alpha` has the weight of all paths up to a token, the token's own score included, and `beta` that of all paths
    from it on; both add up to 1 at each token. `log_partition` [B] is log Z.
    """

    def __init__(self, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor, rows: RaggedRows):
        B, T, C = emissions.shape
        dtype = torch.float32 if emissions.device.type == "mps" else torch.float64
        (self.steps, step), (start, first), (end, last) = (_weights(x, dtype) for x in (transitions, start, end))

        def take(x: Tensor, places: Tensor) -> Tensor:
            return x.reshape(-1, C).index_select(0, places.flatten()).view(*places.shape, C)

        packed = take(emissions, rows.source)
        largest = packed.amax(2)
        weights = (packed - largest[..., None]).clamp_(min=FLOOR).exp_().masked_fill_(rows.padding, 1).to(dtype)
        forwards = torch.arange(B * T, device=emissions.device).view(B, T)
        both = take(weights, torch.stack([forwards, rows.mirror]).permute(2, 0, 1))  # [T, 2, B, C]
        both[0] *= torch.stack([start, end])[:, None]
        matrices = torch.stack([self.steps, self.steps.T])
        states, sums = torch.empty_like(both), both.new_empty(T, 2, B, 1)
        before = both.new_ones(0)
        for t, (weight, state, total) in enumerate(zip(both.unbind(0), states.unbind(0), sums.unbind(0), strict=True)):
            if t:
                torch.bmm(before, matrices, out=state).mul_(weight)
            else:
                state.copy_(weight)
            torch.sum(state, -1, keepdim=True, out=total)
            before = state.div_(total)

        opposite = (rows.mirror - forwards[:, :1]).T
        self.alpha = states[:, 0]
        self.beta = take(states, (2 * opposite + 1) * B + torch.arange(B, device=emissions.device))
        self.joint = torch.empty_like(self.beta)
        self.joint[0] = start
        torch.matmul(self.alpha[:-1], self.steps, out=self.joint[1:])
        self.joint *= self.beta
        self.norm = self.joint.sum(-1, keepdim=True)
        self.padding = rows.padding.transpose(0, 1)  # [T, B, 1]
        logs = sums[:, 1].log_().masked_fill_(self.padding, 0).sum(0)[:, 0] + self.norm[0, :, 0].log()
        scores = largest.masked_fill(rows.padding[..., 0], 0).sum(1) + first + last
        moves = (~rows.padding[:, 1:, 0]).sum(1)
        self.log_partition = (logs + scores + moves * step).to(emissions.dtype)

    @property
    def marginals(self) -> Tensor:
        """[T, B, C], zero in the padding."""
        return (self.joint / self.norm).masked_fill_(self.padding, 0)

    def expected_steps(self, weight: Tensor) -> Tensor:
        """How often each transition is expected, summed over the rows with a weight each: [B] -> [C, C]."""
        share = (weight[:, None] / self.norm[1:]).masked_fill_(self.padding[1:], 0)
        return self.steps * ((self.alpha[:-1] * share).flatten(0, 1).T @ self.beta[1:].flatten(0, 1))


class _LogPartition(torch.autograd.Function):
    """log Z of each row, [B]; its gradient by a score is a marginal, and by a transition how often it is expected."""

    @staticmethod
    def forward(ctx, emissions, transitions, start, end, rows):
        ctx.lattice, ctx.rows = _Lattice(emissions, transitions, start, end, rows), rows
        ctx.dtype = emissions.dtype
        return ctx.lattice.log_partition

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        rows, gradient = ctx.rows, gradient.to(ctx.lattice.steps.dtype)
        by_score = (ctx.lattice.marginals * gradient[:, None]).transpose(0, 1)  # [B, T, C]
        by_start = by_score[:, 0].sum(0)
        by_end = rows.last(by_score, otherwise=torch.zeros_like(by_score[:, 0])).sum(0)
        by_transition = ctx.lattice.expected_steps(gradient)
        parameters = (part.to(ctx.dtype) for part in (by_transition, by_start, by_end))
        return rows.unpack(by_score.to(ctx.dtype)), *parameters, None
