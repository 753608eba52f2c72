"""A softmax over a large vocabulary, estimated in training: over the tokens that a batch predicts, not over all."""

import torch
from torch import Tensor


# Tokens that share one softmax, over the tokens that they predict; and tokens whose scores are held at once, few
# enough to stay in a processor's cache.
GROUP, BLOCK = 1024, 256


class CandidateLoss(torch.autograd.Function):
    """- Σ_n Σ_k a_nk log p_n(w_nk), p_n = softmax(W h_n + b - q), its gradients computed in the forward pass.

    The softmax of `GROUP` tokens is over the words that they predict. A frequent word is nearly always among them, a
    rare one hardly ever; q, the logarithm of that probability, corrects for it (Bengio & Senécal 2008). All scores at
    once, [N, C], would not fit in a processor's cache, and passes over them took most of the time.

    Shapes: states h [N, H], output W [V, H], bias b [V], frequency [V], targets w [N, K] as ids, weights a [N, K].
    """

    @staticmethod
    def forward(
        ctx, states: Tensor, output: Tensor, bias: Tensor, frequency: Tensor, targets: Tensor, weights: Tensor
    ) -> Tensor:
        total, of_states = frequency.new_zeros(()), torch.empty_like(states)
        of_output, of_bias = torch.zeros_like(output), torch.zeros_like(bias)
        for group in zip(*(part.split(GROUP) for part in (states, of_states, targets, weights)), strict=True):
            candidates, places = group[2].unique(return_inverse=True)
            absent = torch.log1p(-frequency[candidates]) * len(places)
            shift = bias[candidates] - (-absent.expm1()).clamp(min=1e-9).log()
            matrix, of_matrix = output[candidates].to(states.dtype), output.new_zeros(len(candidates), output.shape[1])
            of_shift = torch.zeros_like(shift)
            blocks = (part.split(BLOCK) for part in (group[0], group[1], places, group[3]))
            for h, of_h, t, a in zip(*blocks, strict=True):
                p = (h @ matrix.T).to(shift.dtype).add_(shift).softmax(1)
                total -= (a * p.gather(1, t).clamp(min=1e-30).log()).sum()
                of_scores = p.mul_(a.sum(1, keepdim=True)).scatter_add_(1, t, -a)
                of_shift += of_scores.sum(0)
                of_scores = of_scores.to(states.dtype)
                torch.mm(of_scores, matrix, out=of_h)
                of_matrix += of_scores.T @ h
            of_output.index_add_(0, candidates, of_matrix)
            of_bias.index_add_(0, candidates, of_shift.to(bias.dtype))
        ctx.save_for_backward(of_states, of_output, of_bias)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor):
        of_states, of_output, of_bias = ctx.saved_tensors
        return of_states * gradient.to(of_states.dtype), of_output * gradient, of_bias * gradient, None, None, None
