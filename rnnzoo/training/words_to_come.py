"""The objective of pretraining: from each state of a network, the words that its direction reads next."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from rnnzoo.candidates_rnnzoo import CandidateLoss
from rnnzoo.data.errors import RecipeError


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
