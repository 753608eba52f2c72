"""Language models: the next token from the state. Where generate() expects a cache, there is a state of one size.

Shapes: B rows, T tokens, E features of a word vector, H features of a state, V tokens of the vocabulary.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers import GenerationMixin
from transformers.utils import ModelOutput, can_return_tuple

from .candidates_rnnzoo import CandidateLoss
from .configuration_rnnzoo import GRUConfig, LSTMConfig, RecurrentConfig, RNNConfig
from .modeling_rnnzoo import (
    Batch,
    GRUModel,
    LSTMModel,
    RecurrentModel,
    RecurrentPreTrainedModel,
    RecurrentState,
    RNNModel,
    locked_dropout,
)


class RecurrentCache:
    """A state where generate() expects a cache. A model that continues from it returns another one.

    Args:
        state: after the last token that was read.
        seen: tokens read, with padding. Of a text that begins with these, generate() reads only what follows.
    """

    is_compileable = is_croppable = False

    def __init__(self, state: RecurrentState, seen: int):
        self.state, self.seen = state, seen

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens read."""
        return self.seen

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keeps the rows of these beams, in this order."""
        self.state = RecurrentState(*(part.index_select(0, beam_idx) for part in self.state.to_tuple()))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats each row, to write several samples, or search with several beams, from a text that was read once."""
        rows = torch.arange(len(self.state[0]), device=self.state[0].device)
        self.reorder_cache(rows.repeat_interleave(repeats))


@dataclass
class RecurrentCausalLMOutput(ModelOutput):
    """What a language model returns.

    Args:
        loss: mean negative log probability of the labels, in nats.
        logits: [B, T, V], of the token that follows each one; [B, N, V] with `logits_to_keep=N`.
        past_key_values: with `use_cache`, the state after the last token, as generate() continues from it.
        hidden_states: on request, the word vectors and the output of every layer.
        final_state: the same state, as other heads return it.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    past_key_values: RecurrentCache | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    final_state: RecurrentState | None = None


# What a model that reads from left to right, one token after another, cannot have, and why.
_REFUSED = {
    "bidirectional": "its backward direction would read the token that it is to predict: use bidirectional=False",
    "character_size": "generate() makes ids of tokens, and no characters of words: use character_size=0, and tokens "
    "that are characters or sub-words",
    "context_size": "the context of a word also comes from the words after it: use context_size=0",
}


class RecurrentForCausalLM(RecurrentPreTrainedModel, GenerationMixin):
    """The next token at every token (one-to-many): states, dropout, a dense layer on the vocabulary.

    With `tie_word_embeddings` the dense layer has the word vectors as its weights (Press & Wolf 2017,
    https://arxiv.org/abs/1608.05859), after a projection where the state has another width.
    """

    backbone_class: ClassVar[type[RecurrentModel]]
    reads = frozenset({"classifier_dropout", "tie_word_embeddings"})
    _tied_weights_keys = {"lm_head.weight": "backbone.embed_tokens.weight"}
    _is_stateful = True  # a state cannot forget its last tokens, so generate() refuses to have tokens drafted

    def __init__(self, config: RecurrentConfig):
        for field, why in _REFUSED.items():
            if value := getattr(config, field):
                raise ValueError(f"A language model cannot have {field}={value!r}: {why}.")
        super().__init__(config)
        self.backbone = self.backbone_class(config, add_pooling_layer=False)
        width, self.projection = config.output_size, None
        if config.tie_word_embeddings and width != config.embedding_size:
            self.projection = nn.Linear(width, config.embedding_size, bias=False)
            width = config.embedding_size
        self.lm_head = nn.Linear(width, config.vocab_size)
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # generate() would make a cache of keys and values

    def get_output_embeddings(self) -> nn.Linear:
        """As in transformers."""
        return self.lm_head

    def set_output_embeddings(self, layer: nn.Linear) -> None:
        """As in transformers."""
        self.lm_head = layer

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        past_key_values: RecurrentCache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        output_hidden_states: bool | None = None,
        initial_state: RecurrentState | None = None,
        shift_labels: torch.LongTensor | None = None,
        token_frequencies: torch.FloatTensor | None = None,
        **kwargs,
    ) -> RecurrentCausalLMOutput:
        """Predicts the token after each one; arguments as for the backbone, and:

        Args:
            attention_mask: [B, T], or as in generate() [B, S + T], of which the last T are those of these tokens.
            labels: [B, T], usually `input_ids`: each is predicted from the tokens before it. Padding, and tokens that
                follow padding, do not count, nor do labels of -100.
            past_key_values: what this model returned for the tokens before these; or `initial_state`, its
                `final_state`.
            use_cache: also return `past_key_values`.
            logits_to_keep: compute logits for the last so many tokens only, or for those with these numbers; 0: all.
            shift_labels: [B, T], in place of `labels`: the token that follows each one, -100 where none counts. The
                last one of a chunk of a longer text has one too.
            token_frequencies: [V], with labels, for training with a large vocabulary: the share of each token in the
                training texts. The loss is then an estimate, with a softmax over the tokens that are labels, see
                `CandidateLoss`; logits are not computed: [B, 0, V].

        Raises:
            ValueError: as the backbone does; both `past_key_values` and `initial_state`; `past_key_values` is a cache
                of another kind; or `token_frequencies` without labels.
        """
        cache = past_key_values
        if cache is not None:
            if initial_state is not None:
                raise ValueError("Give either past_key_values or initial_state, not both: each is a state.")
            if not hasattr(cache, "state"):
                raise ValueError(
                    f"past_key_values is a {type(cache).__name__}, and this model continues from the one that it has "
                    "returned itself, with use_cache=True; at the beginning, leave it out."
                )
            initial_state = cache.state
        T = (input_ids if inputs_embeds is None else inputs_embeds).shape[1]
        if attention_mask is not None:
            attention_mask = attention_mask[:, attention_mask.shape[1] - T :]
        batch = Batch.checked(self.config, input_ids, inputs_embeds, attention_mask, None)
        out = self.backbone.read(batch, nn.Identity(), initial_state, output_hidden_states)
        y = locked_dropout(out.last_hidden_state, self.config.classifier_dropout, self.training)
        if labels is not None and shift_labels is None:
            real = batch.rows.real
            if real is not None:
                labels = labels.masked_fill(~(real & nn.functional.pad(real[:, :-1], (1, 0))), -100)
            shift_labels = nn.functional.pad(labels[:, 1:], (0, 1), value=-100)
        loss = None
        if token_frequencies is not None:
            if shift_labels is None:
                raise ValueError("token_frequencies are for a loss, and there are no labels: give both or neither.")
            loss = self.estimated_loss(y, shift_labels, token_frequencies, **kwargs)
            logits = self.logits(y[:, :0])
        else:
            kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            logits = self.logits(y[:, kept])
            if shift_labels is not None:
                labels = shift_labels.contiguous()
                loss = self.loss_function(logits, None, self.config.vocab_size, shift_labels=labels, **kwargs)
        seen = T if cache is None else cache.seen + T
        return RecurrentCausalLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=RecurrentCache(out.final_state, seen) if use_cache else None,
            hidden_states=out.hidden_states,
            final_state=out.final_state,
        )

    def logits(self, y: Tensor) -> Tensor:
        """[B, T, H] -> [B, T, V]."""
        return self.lm_head(y if self.projection is None else self.projection(y))

    def estimated_loss(self, y: Tensor, shift_labels: Tensor, token_frequencies: Tensor, **kwargs) -> Tensor:
        """The mean over the labels, or their sum over the `num_items_in_batch` that a trainer counted."""
        labels = shift_labels.flatten()
        counted = labels != -100
        y, labels = y.flatten(0, 1)[counted], labels[counted, None]
        y = y if self.projection is None else self.projection(y)
        weights = token_frequencies.new_ones(labels.shape)
        total = CandidateLoss.apply(y, self.lm_head.weight, self.lm_head.bias, token_frequencies, labels, weights)
        count = kwargs.get("num_items_in_batch")
        return total / (len(labels) if count is None else count)


class RNNForCausalLM(RecurrentForCausalLM):
    """Elman network, the next token."""

    config: RNNConfig
    backbone_class = RNNModel


class LSTMForCausalLM(RecurrentForCausalLM):
    """LSTM, the next token."""

    config: LSTMConfig
    backbone_class = LSTMModel


class GRUForCausalLM(RecurrentForCausalLM):
    """GRU, the next token."""

    config: GRUConfig
    backbone_class = GRUModel


__all__ = ["GRUForCausalLM", "LSTMForCausalLM", "RNNForCausalLM", "RecurrentCache"]
