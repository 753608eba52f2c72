"""The objective of pretraining: from each state of a network, the words that its direction reads next."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from rnnzoo.data.errors import RecipeError


# Tokens whose scores are held at once, so that they stay in a processor's cache.
BLOCK = 512


class WordsToCome(nn.Module):
    """A backbone with an output matrix W that predicts, from the state h_t at word t, which words are the next K.

    The loss is the mean over tokens and directions of - 1/K Σ_{k ≤ K} a(w_{t+k}) log p(w_{t+k} | h_t), where
    p = softmax(W h_t); the backward direction predicts the K words before t, with the same W. K = 1 is a language
    model (Mikolov et al. 2010), K = 5 the target of Johnson & Zhang 2016 (https://arxiv.org/abs/1602.02373), who leave
    function words out. Here a frequent word counts for less: a(w) = min(1, √(s / f(w))) at a frequency of f(w), as
    word2vec subsamples it (Mikolov et al. 2013, https://arxiv.org/abs/1310.4546).

    The softmax is over the words of the batch, with their scores corrected for the probability that a word occurs in a
    batch of so many (Bengio & Senécal 2008). So the loss is an estimate, which depends on how a batch is split among
    processes and micro-batches.

    Args:
        backbone: a network of the zoo; one without layers predicts the words on both sides, as skip-gram does.
        counts: [V], how often each word occurs in the training texts.
        words_ahead: K.
        subsample: s; 0: every word counts fully.
        left_out: ids that are not predicted, such as those of unknown words.

    Raises:
        RecipeError: the backbone is a stack of bidirectional layers.
    """

    def __init__(
        self, backbone: PreTrainedModel, counts: Tensor, words_ahead: int, subsample: float, left_out: list[int]
    ):
        super().__init__()
        config = backbone.config
        if config.bidirectional and config.num_hidden_layers > 1:
            raise RecipeError(
                f"model.num_hidden_layers is {config.num_hidden_layers} and model.bidirectional is true: through the "
                "other direction, the second layer would see the words that it is to predict. Pretrain one layer, or "
                "one direction."
            )
        self.backbone, self.config, self.words_ahead = backbone, config, words_ahead
        width = config.hidden_size if config.num_hidden_layers else config.input_size
        self.output = nn.Parameter(torch.empty(config.vocab_size, width).normal_(std=0.02))
        frequency = counts / counts.sum()
        weight = torch.ones_like(frequency)
        if subsample:
            weight = (subsample / frequency.clamp(min=1e-12)).sqrt().clamp(max=1)
        weight[left_out] = 0
        self.register_buffer("frequency", frequency, persistent=False)
        self.register_buffer("weight", weight, persistent=False)

    def get_input_embeddings(self) -> nn.Embedding:
        """The backbone's."""
        return self.backbone.get_input_embeddings()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> ModelOutput:
        """input_ids and attention_mask [B, T], padding on the right -> `loss`, and the states as `logits`.

        The words themselves are the labels; `labels` is for the loop, which counts them.
        """
        y = self.backbone(input_ids, attention_mask).last_hidden_state  # [B, T, D·H]
        real = attention_mask.bool()
        candidates = input_ids[real].unique()  # [C]
        words = torch.searchsorted(candidates, input_ids).clamp(max=len(candidates) - 1)  # [B, T], any in the padding
        absent = (1 - self.frequency[candidates]).log() * real.sum()
        correction = (-absent.expm1()).clamp(min=1e-9).log()  # log of the probability to be in a batch of so many
        matrix, weights = self.output[candidates], self.weight[input_ids] * real

        ahead, behind = (self._targets(words, weights, step) for step in (1, -1))
        if self.config.num_hidden_layers == 0:
            sides = [(y, ahead), (y, behind)]
        else:
            sides = list(zip(y.split(self.config.hidden_size, dim=2), (ahead, behind), strict=False))
        losses = [
            CandidateLoss.apply(states[real], matrix, correction, targets[real], target_weights[real])
            for states, (targets, target_weights) in sides
        ]
        return ModelOutput(loss=sum(losses) / (len(sides) * self.words_ahead * real.sum()), logits=y)

    def _targets(self, words: Tensor, weights: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """For each token the K words after it (step 1) or before it (-1), and their weights: [B, T, K] each.

        Beyond the end of a text the weights are zero.
        """
        T, found = words.shape[1], [part.new_zeros(*part.shape, self.words_ahead) for part in (words, weights)]
        for k in range(1, min(self.words_ahead, T - 1) + 1):
            here, there = (slice(0, T - k), slice(k, T))[::step]
            for part, source in zip(found, (words, weights), strict=True):
                part[:, here, k - 1] = source[:, there]
        return found[0], found[1]


class CandidateLoss(torch.autograd.Function):
    """- Σ_n Σ_k a_nk log softmax(W h_n - q)[w_nk], its gradients computed in the forward pass, block by block.

    The scores of all tokens, [N, C], do not fit in a processor's cache, and passes over them took most of the time.
    Shapes: states [N, H], output W [C, H], correction q [C], targets w and weights a [N, K].
    """

    @staticmethod
    def forward(ctx, states: Tensor, output: Tensor, correction: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        matrix, total = output.to(states.dtype), correction.new_zeros(())
        of_states, of_output = torch.empty_like(states), torch.zeros_like(output)
        for start in range(0, len(states), BLOCK):
            h, t, a = (part[start : start + BLOCK] for part in (states, targets, weights))
            p = torch.softmax((h @ matrix.T).to(correction.dtype).sub_(correction), 1)
            total -= (a * p.gather(1, t).clamp(min=1e-30).log()).sum()
            of_scores = p.mul_(a.sum(1, keepdim=True)).scatter_add_(1, t, -a).to(states.dtype)
            of_states[start : start + BLOCK] = of_scores @ matrix
            of_output += of_scores.T @ h
        ctx.save_for_backward(of_states, of_output)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor):
        of_states, of_output = ctx.saved_tensors
        return of_states * gradient.to(of_states.dtype), of_output * gradient, None, None, None
