"""The objective of pretraining: from each state of a network, the words that its direction reads next."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from rnnzoo.data.errors import RecipeError


# Tokens that share one softmax, over the words that they predict; and tokens whose scores are held at once, few enough
# to stay in a processor's cache.
GROUP, BLOCK = 1024, 256


class WordsToCome(nn.Module):
    """A backbone with an output layer W, b that predicts, from the state h_t at word t, which words are the next K.

    The loss is the mean over tokens and directions of - 1/K Σ_{k ≤ K} a(w_{t+k}) log p(w_{t+k} | h_t), where
    p = softmax(W h_t + b); the backward direction predicts the K words before t, with the same layer. K = 1 is a
    language model (Mikolov et al. 2010), K = 5 the target of Johnson & Zhang 2016
    (https://arxiv.org/abs/1602.02373), who leave function words out. Here a frequent word counts for less:
    a(w) = min(1, √(s / f(w))) at a frequency of f(w), as word2vec subsamples it (Mikolov et al. 2013,
    https://arxiv.org/abs/1310.4546).

    b starts as log a(w) f(w), the best prediction without context. Without b the states have to encode the
    frequencies: many units saturate at a constant value, and carry nothing that a classifier could use.

    The softmax is an estimate, over the words that some thousand tokens together predict: see `CandidateLoss`. It
    depends on how a batch is split among processes and micro-batches.

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
        frequency = counts.clamp(min=1) / counts.clamp(min=1).sum()  # validation may have words that train lacks
        weight = torch.ones_like(frequency)
        if subsample:
            weight = (subsample / frequency.clamp(min=1e-12)).sqrt().clamp(max=1)
        weight[left_out] = 0
        self.bias = nn.Parameter((frequency * weight).clamp(min=1e-9).log())
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
        weights = self.weight[input_ids] * real
        ahead, behind = (self._targets(input_ids, weights, step) for step in (1, -1))
        if self.config.num_hidden_layers == 0:
            sides = [(y, *ahead), (y, *behind)]
        else:
            states = y.split(self.config.hidden_size, dim=2)
            sides = [(part, *target) for part, target in zip(states, (ahead, behind), strict=False)]
        states, targets, weights = (torch.cat([part[real] for part in parts]) for parts in zip(*sides, strict=True))
        loss = CandidateLoss.apply(states, self.output, self.bias, self.frequency, targets, weights)
        return ModelOutput(loss=loss / (len(states) * self.words_ahead), logits=y)

    def _targets(self, words: Tensor, weights: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """For each token the K words after it (step 1) or before it (-1), and their weights: [B, T, K] each.

        Beyond the end of a text the word is the token itself, with a weight of zero.
        """
        T, K = words.shape[1], self.words_ahead
        targets, target_weights = words[..., None].repeat(1, 1, K), weights.new_zeros(*weights.shape, K)
        for k in range(1, min(K, T - 1) + 1):
            here, there = (slice(0, T - k), slice(k, T))[::step]
            real = weights[:, there] > 0
            targets[:, here, k - 1] = torch.where(real, words[:, there], words[:, here])
            target_weights[:, here, k - 1] = weights[:, there]
        return targets, target_weights


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
            of_bias.index_add_(0, candidates, of_shift)
        ctx.save_for_backward(of_states, of_output, of_bias)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor):
        of_states, of_output, of_bias = ctx.saved_tensors
        return of_states * gradient.to(of_states.dtype), of_output * gradient, of_bias * gradient, None, None, None
