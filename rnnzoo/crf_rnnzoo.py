"""Linear-chain conditional random field: exact likelihood, best paths and marginals, vectorised over the batch.

A path y of tags over T tokens has the score start[y_1] + Σ_t emission_t[y_t] + Σ_t transition[y_t, y_t+1] + end[y_T]
and the probability exp(score) / Z (Lafferty et al. 2001; Collobert et al. 2011 for the form used here).

Internally there is one more tag, OUTSIDE, which every path has before its text, after it and in the padding: `start`
and `end` are the transitions from it and to it, so that rows of all lengths, empty ones too, are one case.

Sums over paths are sums of probabilities instead of logarithms, rescaled on the way (Rabiner 1989, section V.A), in
double precision where the device has it: a step is a product of small matrices, and one loop does both directions.
Best paths are searched from both ends at once until these meet in the middle, in half as many steps.

Shapes: B rows, T tokens, P positions (tokens and those outside, an odd number), C tags, N paths.
"""

import math

import torch
from torch import Tensor, nn

from .recurrence_rnnzoo import is_exporting


OUTSIDE = 0  # the tags of a text have the numbers after it
OUTSIDE_TEXT = ""  # its name, which is no tag's

# In sums over paths, a score counts as at most so many nats below the best of its kind (a token's emissions, start,
# transitions, end), so that no sum overflows or underflows.
FLOOR = -80.0


def forbidden_in_iob2(labels: list[str]) -> list[list[bool]]:
    """Which tag must not follow which: [C + 1][C + 1], from and to; the last ones are the beginning and the end.

    In IOB2 an I-X continues an entity that a B-X began. A type without a B-X is not restricted.
    """
    types = {label[2:] for label in labels if label.startswith("B-")}

    def wrong(before: str, label: str) -> bool:
        inside = label.startswith("I-") and label[2:] in types
        return inside and before not in (f"B-{label[2:]}", label)

    return [[wrong(before, label) for label in [*labels, OUTSIDE_TEXT]] for before in [*labels, OUTSIDE_TEXT]]


class LinearChainCRF(nn.Module):
    """Scores sequences of tags by emissions and by transitions between neighbours.

    The likelihood is normalised over all paths, so that no data can have an infinite loss; best paths and marginals
    are over those that `forbidden` allows. In sums over paths a score counts as at most 80 nats below the best of its
    kind.

    Args:
        num_tags: C.
        forbidden: [C + 1][C + 1], see `forbidden_in_iob2`.
    """

    def __init__(self, num_tags: int, forbidden: list[list[bool]]):
        super().__init__()
        # Not a buffer: from_pretrained() builds models on the device "meta", where its values would be lost.
        self.forbidden = torch.tensor(forbidden, device="cpu")
        self.transitions = nn.Parameter(torch.zeros(num_tags, num_tags))  # [from, to]
        self.start = nn.Parameter(torch.zeros(num_tags))
        self.end = nn.Parameter(torch.zeros(num_tags))

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log-probability of each row's tags: [B, T, C], [B, T] -> [B]; 0 for a row without a token.

        mask: [B, T] of bool, true where a token counts; None: everywhere.
        """
        emissions, mask = self._prepare(emissions, mask)
        weights = (part.to(emissions.dtype) for part in (self.transitions, self.start, self.end))
        return _log_likelihood(emissions, *weights, tags, mask)

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor | None = None, n: int = 1) -> tuple[Tensor, Tensor]:
        """The `n` best paths of each row, best first (Viterbi 1967): tags [B, N, T], 0 in the padding; scores [B, N].

        Where a row has fewer than n paths, the scores of the others are -inf and their tags arbitrary.
        """
        emissions, mask = self._prepare(emissions, mask)
        find = torch.ops.rnnzoo.best_paths if is_exporting() else best_paths
        return find(emissions, mask, self._allowed(emissions.dtype), n)

    @torch.no_grad()
    def marginals(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """The probability of each tag of each token, over all allowed paths: [B, T, C], zero in the padding."""
        emissions, mask = self._prepare(emissions, mask)
        find = torch.ops.rnnzoo.marginals if is_exporting() else marginals
        return find(emissions, mask, self._allowed(emissions.dtype))

    def _prepare(self, emissions: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Emissions in the precision of the weights, but at least fp32, and a mask."""
        dtype = torch.promote_types(torch.promote_types(emissions.dtype, self.start.dtype), torch.float32)
        mask = emissions.new_ones(emissions.shape[:2], dtype=torch.bool) if mask is None else mask
        return emissions.to(dtype), mask

    def _allowed(self, dtype: torch.dtype) -> Tensor:
        """Scores of all steps, -inf where forbidden: [C + 1, C + 1]."""
        steps = _steps(*(part.to(dtype) for part in (self.transitions, self.start, self.end)))
        return steps.masked_fill_(self.forbidden.roll((1, 1), (0, 1)).to(steps.device), -torch.inf)


class EntityCRF(LinearChainCRF):
    """A CRF whose own tags, S of them, are IOBES: they also tell where an entity ends (Ratinov & Roth 2009).

    It takes and returns labels in IOB2. Among its own tags, B-X and I-X mean that the entity goes on; S-X is the B-X
    of an entity of one token, and E-X the I-X of the last one. Where a type lacks a B-X or an I-X, its labels are its
    own tags. Valid sequences of labels and allowed paths are one to one, so that best paths and marginals are those of
    the labels.

    Args:
        labels: the C labels.
    """

    def __init__(self, labels: list[str]):
        types = [label[2:] for label in labels if label.startswith("B-") and f"I-{label[2:]}" in labels]
        types = [kind for kind in types if not {f"S-{kind}", f"E-{kind}"} & set(labels)]
        own = [*labels, *(f"{prefix}-{kind}" for kind in types for prefix in "SE")]
        numbers = {tag: i for i, tag in enumerate(own)}

        def wrong(before: str, tag: str) -> bool:
            goes_on = before[:2] in ("B-", "I-") and before[2:] in types
            continues = tag[:2] in ("I-", "E-") and tag[2:] in types
            return goes_on != continues or goes_on and before[2:] != tag[2:]

        everywhere = [*own, OUTSIDE_TEXT]
        super().__init__(len(own), [[wrong(before, tag) for tag in everywhere] for before in everywhere])
        # Of each own tag the label, of each label the own tag of an entity's last token, and the label that continues
        # it; not buffers, as above.
        of = [*range(len(labels)), *(numbers[f"{prefix}-{kind}"] for kind in types for prefix in "BI")]
        ends, next_ = list(range(len(labels))), [-1] * len(labels)
        for kind in types:
            for label, end in (("B", "S"), ("I", "E")):
                i = numbers[f"{label}-{kind}"]
                ends[i], next_[i] = numbers[f"{end}-{kind}"], numbers[f"I-{kind}"]
        self.labels, self.ends, self.next = (torch.tensor(x, device="cpu") for x in (of, ends, next_))
        self.num_labels = len(labels)

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log-probability of each row's labels: [B, T, S], [B, T] -> [B]; see `LinearChainCRF.forward`."""
        emissions, mask = self._prepare(emissions, mask)
        return super().forward(emissions, self.own_tags(tags, mask), mask)

    def own_tags(self, labels: Tensor, mask: Tensor) -> Tensor:
        """The IOBES tag of each token: [B, T] -> [B, T]; a token's neighbours are the next ones that count."""
        T, labels = labels.shape[1], labels.masked_fill(~mask, 0)
        places = torch.arange(T, device=labels.device).where(mask, T).flip(1)
        after = nn.functional.pad(places.cummin(1).values.flip(1)[:, 1:], (0, min(1, T)), value=T)
        following = nn.functional.pad(labels, (0, 1), value=-2).gather(1, after)
        ends, next_ = self.ends.to(labels.device), self.next.to(labels.device)
        return torch.where(following == next_[labels], labels, ends[labels])

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor | None = None, n: int = 1) -> tuple[Tensor, Tensor]:
        """The `n` best paths of each row, as labels [B, N, T], and scores; see `LinearChainCRF.decode`."""
        tags, scores = super().decode(emissions, mask, n)
        return self.labels.to(tags.device)[tags], scores

    @torch.no_grad()
    def marginals(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """The probability of each label of each token, over all allowed paths: [B, T, C], zero in the padding."""
        of_tags = super().marginals(emissions, mask)
        # A matrix product would be rounded under autocast, and logits that are nearly equal then be equal.
        found = of_tags.new_zeros(*of_tags.shape[:2], self.num_labels)
        return found.index_add(2, self.labels.to(of_tags.device), of_tags)


def _steps(transitions: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Scores of all transitions, those of OUTSIDE included: [C + 1, C + 1], [from, to]; to stay OUTSIDE scores 0."""
    steps = transitions.new_zeros(len(start) + 1, len(start) + 1)
    steps[1:, 1:], steps[OUTSIDE, 1:], steps[1:, OUTSIDE] = transitions, start, end
    return steps


class _Positions:
    """Where the tokens of a batch are when each row starts at position 1, without gaps, with OUTSIDE around it.

    Args:
        real: [B, T] of bool, true where a token is real.

    Attributes:
        real, padding: [B, T], and its negation.
        source: [P, B], the index of each position's token in the flattened batch; for OUTSIDE one past its end.
        target: [B, T], the index of each token among the flattened positions from 1 on; for padding the last one.
    """

    def __init__(self, real: Tensor):
        B, T = real.shape
        P = (T + 2) // 2 * 2 + 1
        self.real, self.padding = real, ~real
        places, rows = torch.arange(B * T, device=real.device), torch.arange(B, device=real.device)[:, None]
        self.target = real.cumsum(1).sub_(1).masked_fill_(self.padding, P - 2).mul_(B).add_(rows)
        self.source = places.new_full((P, B), B * T)
        self.source[1:].view(-1).scatter_(0, self.target.view(-1), places)
        self.source[-1] = B * T


# torch.compile would unroll the loops over positions; disabled here, it compiles what is around them.
@torch.compiler.disable
def _log_likelihood(emissions, transitions, start, end, tags, mask):
    return _LogLikelihood.apply(emissions, transitions, start, end, tags, _Positions(mask))


@torch.compiler.disable
def marginals(emissions: Tensor, mask: Tensor, steps: Tensor) -> Tensor:
    """See `LinearChainCRF.marginals`; steps as from `_steps`."""
    lattice = _Lattice(emissions, steps, _Positions(mask))
    weights, sums = lattice.through()
    return lattice.of_tokens(weights.div_(sums))  # in the padding OUTSIDE has probability 1


@torch.compiler.disable
def best_paths(emissions: Tensor, mask: Tensor, steps: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """See `LinearChainCRF.decode`; steps as from `_steps`."""
    positions = _Positions(mask)
    B, T, C = emissions.shape
    table = emissions.new_full((C + 1, B * T + 1), -torch.inf)
    table[1:, :-1] = emissions.flatten(0, 1).T
    table[OUTSIDE, -1] = 0
    # Both halves in one tensor, [C + 1, P / 2, 2B]; the score of the position where they meet counts once.
    middle = len(positions.source) // 2
    halves = torch.stack([positions.source[: middle + 1], positions.source[middle:].flip(0)], dim=1)
    scores = table.index_select(1, halves.flatten()).view(C + 1, middle + 1, 2 * B)
    scores[:, middle, B:] = 0
    steps = torch.stack([steps, steps.T], dim=2).repeat_interleave(B, dim=2)  # [C + 1, C + 1, 2B]
    states, pointers = _best_of_each_tag(scores, steps) if n == 1 else _n_best_of_each_tag(scores, steps, n)

    forwards, backwards = states.view(n, C + 1, 2, B).unbind(2)
    score, place = (forwards[:, None] + backwards).flatten(0, 2).topk(n, 0)
    # From (rank forwards · N + rank backwards) · (C + 1) + tag to rank · (C + 1) + tag of each half.
    back = place % (n * (C + 1))
    state = torch.cat([(place - back) // n + back % (C + 1), back], dim=1)  # [N, 2B]
    path = [state]
    for pointer in reversed(pointers):
        path.append(state := pointer.gather(0, state))
    path = torch.cat(path[::-1]).view(middle + 1, n, 2, B)  # from each end to the middle
    path = torch.cat([path[1:, :, 0], path[:-1, :, 1].flip(0)])  # [P - 1, N, B]
    if n > 1:
        path.remainder_(C + 1)
    # A path that does not exist, or has NaN as its score, may contain OUTSIDE.
    path = path.sub_(1).clamp_(min=0).transpose(1, 2).flatten(0, 1)
    tags = path.index_select(0, positions.target.flatten()).view(B, T, n).transpose(1, 2)
    return tags.masked_fill_(positions.padding[:, None], 0), score.T


def _best_of_each_tag(scores: Tensor, steps: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Scores [C, P, B] and steps [C, C, B] -> the score of the best path to each tag of the last position, [1, C, B],
    and backpointers for each position but the first, P - 1 times [C, B].
    """
    C, P, B = scores.shape
    scores, steps = scores.transpose(0, 1), steps.transpose(0, 1)
    pointers = torch.empty(P - 1, C, B, dtype=torch.long, device=steps.device)
    # On a CPU max() with indices takes several times as long as without. So the indices are found afterwards from the
    # candidates, for as many positions at once as fit in a core's cache. The scores of tags are added to all
    # candidates of these positions at once too, which leaves two operations per position.
    parts = pointers.chunk(1 + (P - 1) * steps.numel() // (1 << 17))
    candidates = steps.new_empty(len(parts[0]), C, C, B)  # [position, to, from, row]
    best = steps.new_empty(len(candidates), C, B)
    number = torch.arange(C, device=steps.device, dtype=steps.dtype)[:, None]
    places = list(zip(candidates.unbind(0), best.unbind(0), strict=True))
    largest = steps.new_zeros(C, B)
    for part, score in zip(parts, scores[:-1, None].split(len(candidates)), strict=True):
        some = len(part)
        torch.add(steps, score, out=candidates[:some])
        for candidate, place in places[:some]:
            largest = torch.amax(candidate.add_(largest), 1, out=place)
        # The best candidate becomes its index, all others 0; NaN is never the best.
        part.copy_(candidates[:some].eq_(best[:some, :, None]).mul_(number).amax(2))
    return (largest + scores[-1])[None], pointers.unbind(0)


def _n_best_of_each_tag(scores: Tensor, steps: Tensor, n: int) -> tuple[Tensor, list[Tensor]]:
    """The same for the N best paths: [N, C, B]; backpointers [N·C, B] are rank · C + tag."""
    first, *others = scores.unbind(1)
    states = first.new_full((n, *first.shape), -torch.inf)
    states[0] = first
    pointers = []
    for score in others:
        best, pointer = (states[:, :, None] + steps).flatten(0, 1).topk(n, 0)
        states = best + score
        pointers.append(pointer.flatten(0, 1))
    return states, pointers


class _Lattice:
    """Sums over all paths, [P - 1, C + 1, B], with the tag's own weight, up to a factor per position and row.

    Attributes:
        before: forward sums, of all paths up to each tag, for all positions but the last.
        after: backward sums, of all paths from each tag on, for all positions but the first.
        log_partition: [B], log Z.
    """

    def __init__(self, emissions: Tensor, steps: Tensor, positions: _Positions):
        B, T, C = emissions.shape
        P = len(positions.source)
        self.positions, self.dtype = positions, emissions.dtype
        dtype = torch.float32 if emissions.device.type == "mps" else torch.float64

        table = emissions.new_zeros(C + 1, B * T + 1)
        weights = table[1:, :-1]
        weights.copy_(emissions.flatten(0, 1).T)
        largest = weights.amax(0)
        weights.sub_(largest).clamp_(min=FLOOR)
        lowest = weights.amin() if weights.numel() else weights.sum()
        weights.exp_()
        table[OUTSIDE, -1] = 1
        weights = table.index_select(1, positions.source.flatten()).view(C + 1, P, B).transpose(0, 1)
        states = torch.empty(P, 2, C + 1, B, dtype=dtype, device=emissions.device)
        states[:, 0], states[:, 1] = weights, weights.flip(0)

        # Start, transitions and end are each relative to their own best.
        self.steps, best = steps.clone(), []
        for kind in (self.steps[OUTSIDE, 1:], self.steps[1:, 1:], self.steps[1:, OUTSIDE]):
            best.append(kind.max())
            kind.sub_(best[-1])
        lowest = lowest + self.steps.clamp_(min=FLOOR).amin()
        self.steps = self.steps.exp_().masked_fill_(steps == -torch.inf, 0).to(dtype)
        first, between, last = best
        lengths = positions.real.sum(1)
        scales = largest.view(B, T).masked_fill(positions.padding, 0).sum(1)
        scales += (first + last) * (lengths > 0) + between * (lengths - 1).clamp(min=0)

        # `most` is what a step can change at most, in nats. Sums are rescaled every so many steps that forward times
        # backward sums stay in the range of the dtype, even where these two favour different tags.
        most = max(1.0, math.log(C + 1), -lowest.item())
        every = max(1, int((-math.log(torch.finfo(dtype).tiny) - most) / (2 * most)))
        matrices = torch.stack([self.steps.T, self.steps])
        each, ways = states.unbind(0), torch.empty_like(states[0])
        for p, (before, state) in enumerate(zip(each, each[1:], strict=False)):
            if p and p % every == 0:
                sums = before.sum(1, keepdim=True)
                before.div_(sums)
                scales = scales + sums[0, 0].log()
            state.mul_(torch.bmm(matrices, before, out=ways))
        self.log_partition = (scales + states[-1, 0].sum(0).log()).to(self.dtype)
        self.before, self.after = states[:-1, 0], states[:-1, 1].flip(0)

    def through(self) -> tuple[Tensor, Tensor]:
        """For positions from 1 on: the weight of all paths through each tag, [P - 1, C + 1, B], and their sum."""
        weights = torch.bmm(self.steps.T.expand(len(self.before), -1, -1), self.before).mul_(self.after)
        return weights, weights.sum(1, keepdim=True)

    def of_tokens(self, tags: Tensor) -> Tensor:
        """From values per tag and position from 1 on, [P - 1, C + 1, B], to values per token: [B, T, C]."""
        target = self.positions.target
        tags = tags[:, 1:].transpose(1, 2).to(self.dtype, memory_format=torch.contiguous_format)
        return tags.flatten(0, 1).index_select(0, target.flatten()).view(*target.shape, tags.shape[2])

    def steps_taken(self, shares: Tensor) -> Tensor:
        """The expected count of each transition in the batch, [C + 1, C + 1].

        shares: [P - 1, 1, B], the weight of each row, divided by the sum of `through`.
        """
        return torch.bmm(self.before, (self.after * shares).transpose(1, 2)).sum(0).mul_(self.steps).to(self.dtype)


class _LogLikelihood(torch.autograd.Function):
    """log p of each row's tags, [B]; its gradient is observed minus expected counts, of tags and of transitions."""

    @staticmethod
    def forward(ctx, emissions, transitions, start, end, tags, positions):
        real, steps = positions.real, _steps(transitions, start, end)
        tags = tags.masked_fill(positions.padding, 0)
        path = torch.full_like(positions.source, OUTSIDE)
        path[1:].view(-1).scatter_(0, positions.target.view(-1), (tags + 1).mul_(real).view(-1))
        moves = path[:-1] * len(steps) + path[1:]
        chosen = emissions.gather(2, tags[..., None])[..., 0].masked_fill(positions.padding, 0)
        score = chosen.sum(1) + steps.flatten().index_select(0, moves.flatten()).view_as(moves).sum(0)
        with torch.inference_mode():  # less overhead for many small operations
            lattice = _Lattice(emissions, steps, positions)
        ctx.lattice, ctx.tags, ctx.moves = lattice, tags, moves
        return score - lattice.log_partition

    @staticmethod
    def backward(ctx, gradient):
        # `once_differentiable` would not raise where the incoming gradient is a constant, as that of a sum is.
        if torch.is_grad_enabled():
            raise RuntimeError("The CRF's likelihood has no second derivative: leave out create_graph=True.")
        lattice, moves = ctx.lattice, ctx.moves
        weights, sums = lattice.through()
        shares = -gradient / sums
        by_score, by_step = lattice.of_tokens(weights.mul_(shares)), lattice.steps_taken(shares)
        taken = gradient[:, None] * lattice.positions.real
        by_score.scatter_add_(2, ctx.tags[..., None], taken[..., None])
        by_step.view(-1).index_add_(0, moves.flatten(), gradient.expand_as(moves).flatten())
        return by_score, by_step[1:, 1:], by_step[OUTSIDE, 1:], by_step[1:, OUTSIDE], None, None


# torch.export would fix the length of a loop: as custom operators these keep batch and length dynamic. An operator's
# results must not share memory, and must have the layout declared; see also `rnnzoo::recurrence`.
@torch.library.custom_op("rnnzoo::best_paths", mutates_args=())
def _best_paths(emissions: Tensor, mask: Tensor, steps: Tensor, n: int) -> tuple[Tensor, Tensor]:
    tags, scores = best_paths(emissions, mask, steps, n)
    return tags.contiguous(), scores.contiguous()


@_best_paths.register_fake
def _(emissions: Tensor, mask: Tensor, steps: Tensor, n: int) -> tuple[Tensor, Tensor]:
    B, T, _ = emissions.shape
    return mask.new_empty(B, n, T, dtype=torch.long), emissions.new_empty(B, n)


@torch.library.custom_op("rnnzoo::marginals", mutates_args=())
def _marginals(emissions: Tensor, mask: Tensor, steps: Tensor) -> Tensor:
    return marginals(emissions, mask, steps)


@_marginals.register_fake
def _(emissions: Tensor, mask: Tensor, steps: Tensor) -> Tensor:
    return torch.empty_like(emissions, memory_format=torch.contiguous_format)
