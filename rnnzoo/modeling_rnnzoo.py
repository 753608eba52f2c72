"""The models: a recurrent backbone, classifiers of rows and of words, and the four families as rows of data.

Letters: B rows, T tokens, K letters of a word, E width of a word vector, H width of a state, L layers, D directions,
C classes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput, can_return_tuple

from .configuration_rnnzoo import BiRNNConfig, GRUConfig, LSTMConfig, RecurrentConfig, RNNConfig
from .crf_rnnzoo import LinearChainCRF, forbidden_in_iob2
from .recurrence_rnnzoo import (
    GRU,
    LSTM,
    TANH,
    Cell,
    RaggedRows,
    RecurrentDirection,
    RecurrentLayer,
    Rows,
    is_exporting,
)


# Tokens of a row that are read at once where nothing is learned: longer rows are read in pieces.
PIECE = 8192


@dataclass
class RecurrentState(ModelOutput):
    """Where a network stands between two words: pass a `final_state` back as `initial_state` to read on.

    That is for one direction. The backward one starts from the end of what it is given: with two, a part of a text
    needs the forward states of the part before it and the backward states of the part behind it.

    Args:
        h: [B, L·D, H], layer by layer, in a layer forward before backward (torch's order, batch first).
        c: the same for the memory of an LSTM; None for the other families.
    """

    h: torch.FloatTensor | None = None
    c: torch.FloatTensor | None = None


@dataclass
class RecurrentModelOutput(ModelOutput):
    """What the backbone returns.

    Args:
        last_hidden_state: [B, T, D·H], zero where there is padding.
        pooler_output: one vector a row, made as `config.pooling` says: [B, D·H], or [B, 3·D·H] for `concat`.
        final_state: the state after each row's last real token (backward direction: after its first).
        hidden_states: on request, the word vectors and the output of every layer, L + 1 tensors [B, T, ·].
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    final_state: RecurrentState | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class RecurrentClassifierOutput(ModelOutput):
    """What a sequence classifier returns: `logits` [B, C], `loss` with `labels`, and the backbone's state."""

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    final_state: RecurrentState | None = None


@dataclass
class RecurrentTokenClassifierOutput(ModelOutput):
    """What the token classifier returns; the last three only from a CRF, and only in evaluation.

    Args:
        loss: mean over the labels that count (not -100).
        logits: [B, T, C]. From a CRF in evaluation: the logarithms of probabilities whose largest belongs to the tag
            of the best path, see `logits_of_path`.
        final_state: the backbone's.
        emissions: [B, T, C], the scores of single tags that the CRF starts from.
        tags: [B, T], the best path, 0 in the padding.
        marginals: [B, T, C], the probability of each tag given the whole text, zero in the padding.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    final_state: RecurrentState | None = None
    emissions: torch.FloatTensor | None = None
    tags: torch.LongTensor | None = None
    marginals: torch.FloatTensor | None = None


def locked_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Drops whole features of each row, [B, T, E] -> [B, T, E]: one mask for all its words (Gal & Ghahramani 2016)."""
    if not (p and training):
        return x
    return x * nn.functional.dropout(x.new_ones(x.shape[0], 1, x.shape[2]), p)


class CharacterEncoder(nn.Module):
    """What the letters of a word add to its vector: a convolution over three of them, its maximum (Ma & Hovy 2016)."""

    def __init__(self, config: RecurrentConfig):
        super().__init__()
        self.embed_characters = nn.Embedding(
            config.character_vocab_size, config.character_embedding_size, padding_idx=0
        )
        self.convolution = nn.Conv1d(config.character_embedding_size, config.character_size, kernel_size=3, padding=1)

    def forward(self, character_ids: Tensor) -> Tensor:
        """[B, T, K], 0 after a word's last letter -> [B, T, character_size], zero for a word without letters."""
        B, T, K = character_ids.shape
        letters = character_ids.reshape(B * T, K)
        y = self.convolution(self.embed_characters(letters).transpose(1, 2))  # [B·T, ·, K]
        padding = letters == 0
        y = y.masked_fill(padding[:, None], torch.finfo(y.dtype).min).amax(2)
        return y.masked_fill(padding.all(1, keepdim=True), 0).view(B, T, y.shape[1])


class Pooler(nn.Module):
    """One vector a row, from its real tokens only; zero for a row that has none."""

    def __init__(self, config: RecurrentConfig):
        super().__init__()
        self.pooling = config.pooling
        self.num_directions = config.num_directions
        self.output_size = config.output_size * (3 if config.pooling == "concat" else 1)
        if config.pooling == "attention":
            # Yang et al. 2016: a_t = softmax_t(v · tanh(W y_t + b))
            self.projection = nn.Linear(config.output_size, config.output_size)
            self.score = nn.Linear(config.output_size, 1, bias=False)

    def forward(self, y: Tensor, h: Tensor, mask: Tensor | None) -> Tensor:
        """y [B, T, D·H], zero in the padding; h [B, L·D, H]; mask [B, T] of bool, or None -> [B, width]."""
        return getattr(self, self.pooling)(y, h, mask)

    def last(self, y, h, mask):
        """The top layer's states, each at its own end of the row."""
        return h[:, -self.num_directions :].flatten(1)

    def mean(self, y, h, mask):
        """The mean over real tokens."""
        if mask is None:
            return y.mean(1)
        return y.sum(1) / mask.sum(1, keepdim=True).clamp(min=1).to(y.dtype)

    def max(self, y, h, mask):
        """The largest value of each feature over real tokens."""
        if mask is None:
            return y.amax(1)
        padding = ~mask[..., None]
        return y.masked_fill(padding, torch.finfo(y.dtype).min).amax(1).masked_fill(padding.all(1), 0)

    def concat(self, y, h, mask):
        """`last`, `mean` and `max` side by side (Howard & Ruder 2018)."""
        return torch.cat([self.last(y, h, mask), self.mean(y, h, mask), self.max(y, h, mask)], dim=-1)

    def attention(self, y, h, mask):
        """A weighted mean over real tokens, the weights learned."""
        scores = self.score(torch.tanh(self.projection(y)))  # [B, T, 1]
        if mask is not None:
            scores = scores.masked_fill(~mask[..., None], torch.finfo(scores.dtype).min)
        return (scores.softmax(1) * y).sum(1)

    def weight(self, y: Tensor, mask: Tensor | None) -> Tensor:
        """What a piece of a row counts in a mean over its pieces, as a logarithm: [B]; -inf without a real token."""
        attends = self.pooling == "attention"
        scores = self.score(torch.tanh(self.projection(y)))[..., 0] if attends else y.new_zeros(y.shape[:2])
        scores = scores.to(torch.promote_types(y.dtype, torch.float32))
        return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).logsumexp(1)

    def join(self, pieces: Tensor, weights: Tensor, h: Tensor) -> Tensor:
        """What `forward` gives for rows, from what it gives for their pieces [B, N, width], and weights [B, N]."""
        last, largest = self.last(pieces, h, None), self.max(pieces, h, weights > -torch.inf)
        mean = (weights.softmax(1).nan_to_num()[..., None] * pieces).sum(1).to(pieces.dtype)
        if self.pooling == "concat":
            W = last.shape[1]
            return torch.cat([last, mean[:, W : 2 * W], largest[:, 2 * W :]], dim=-1)
        return {"last": last, "max": largest}.get(self.pooling, mean)


class RecurrentPreTrainedModel(PreTrainedModel):
    """Initialisation, loading and saving, the same for every class of the zoo."""

    config: RecurrentConfig
    base_model_prefix = "backbone"
    supports_gradient_checkpointing = True
    _no_split_modules = ["RecurrentLayer"]

    #: Configuration fields that this head reads beyond those of the backbone: a task offers no other head's.
    reads: ClassVar[frozenset[str]] = frozenset()

    #: Auto class -> "file.Class" for every head of the family, written into each checkpoint; see `rnnzoo.FAMILIES`.
    auto_map: ClassVar[dict[str, str]] = {}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """What each weight starts from, on construction and where a checkpoint lacks it.

        | weight                        | start                                                    |
        |-------------------------------|----------------------------------------------------------|
        | word vectors                  | normal, standard deviation 0.05; zero for padding        |
        | recurrent matrices and biases | see `RecurrentDirection.reset_parameters`                |
        | dense layers                  | Xavier uniform; zero biases                              |
        | convolution over letters      | Xavier uniform; zero biases                              |
        | transitions of a CRF          | zero                                                     |
        """
        if isinstance(module, RecurrentDirection):
            module.reset_parameters()
        elif isinstance(module, nn.Linear | nn.Conv1d):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            table = torch.empty(module.weight.shape).normal_(std=0.05)
            if module.padding_idx is not None:
                table[module.padding_idx] = 0
            init.copy_(module.weight, table.to(module.weight))
        elif isinstance(module, LinearChainCRF):
            for parameter in (module.transitions, module.start, module.end):
                init.zeros_(parameter)
        else:
            super()._init_weights(module)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path,
        *args,
        use_safetensors: bool | None = None,
        weights_only: bool = True,
        **kwargs,
    ):
        """As in transformers, but from safetensors only: a pickle may carry code.

        Raises:
            ValueError: an argument asks for pickles.
            OSError: the weights are damaged, of another kind, or not there.
        """
        if use_safetensors is False or not weights_only:
            raise ValueError(
                f"use_safetensors={use_safetensors}, weights_only={weights_only}: rnnzoo loads weights from "
                "safetensors files only, since a pickle may carry code. Leave both out."
            )
        try:
            return super().from_pretrained(pretrained_model_name_or_path, *args, use_safetensors=True, **kwargs)
        except SafetensorError as error:
            raise OSError(
                f"The weights of {pretrained_model_name_or_path} are damaged ({error}): load with "
                "force_download=True, or from a whole copy."
            ) from error

    @classmethod
    def _load_pretrained_model(cls, model, state_dict, checkpoint_files, *args, **kwargs):
        # An index of safetensors may name pickles, and so may who loads.
        for file in checkpoint_files or ():
            if not str(file).endswith(".safetensors"):
                raise OSError(f"{file} is not a safetensors file, and rnnzoo loads no other: a pickle may carry code.")
        loaded = super()._load_pretrained_model(model, state_dict, checkpoint_files, *args, **kwargs)
        for name, weight in model.named_parameters():
            if not weight.is_meta and not weight.isfinite().all():
                raise SafetensorError(f"{name} has numbers that are not finite")
        return loaded

    def save_pretrained(self, *args, **kwargs):
        """As in transformers, with an `auto_map` that names every head of the family, not only the one saved."""
        if self.auto_map:
            self.config.auto_map = dict(self.auto_map)
        return super().save_pretrained(*args, **kwargs)


class RecurrentModel(RecurrentPreTrainedModel):
    """Word vectors and recurrent layers; what `AutoModel` returns.

    Args:
        config: the family's configuration.
        add_pooling_layer: False for heads that read every word; `pooler_output` is then None.
    """

    cell: ClassVar[Cell]

    def __init__(self, config: RecurrentConfig, add_pooling_layer: bool = True):
        super().__init__(config)
        # Read once: before torch 2.12, strict torch.export does not see through a property of the cell.
        self.num_states = self.cell.num_states
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.character_encoder = CharacterEncoder(config) if config.character_size else None
        L = config.num_hidden_layers
        widths = ([config.input_size] + [config.output_size] * L)[:L]
        self.layers = nn.ModuleList(
            RecurrentLayer(self.cell, width, config.hidden_size, config.bidirectional, config.recurrent_dropout)
            for width in widths
        )
        self.pooler = Pooler(config) if add_pooling_layer else None
        self.gradient_checkpointing = False
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        initial_state: RecurrentState | None = None,
        output_hidden_states: bool | None = None,
        character_ids: torch.LongTensor | None = None,
        **kwargs,
    ) -> RecurrentModelOutput:
        """Reads rows of words.

        Args:
            input_ids: [B, T]. Or `inputs_embeds`: [B, T, E], for instance one-hot rows.
            attention_mask: [B, T], nonzero where a token is real; None: every token is.
            initial_state: where each direction starts from, see `RecurrentState`; None: zero.
            output_hidden_states: also return the word vectors and the output of every layer.
            character_ids: [B, T, K], the letters of each word, for a model that reads them.

        Raises:
            ValueError: both or neither of `input_ids` and `inputs_embeds`, no letters for a model that reads them, or
                shapes that do not fit each other.
        """
        check_inputs(self.config, input_ids, inputs_embeds, attention_mask, character_ids)
        input_ids, inputs_embeds, attention_mask, character_ids = at_least_one_token(
            input_ids, inputs_embeds, attention_mask, character_ids
        )
        real = None if attention_mask is None else attention_mask.bool()  # [B, T]
        rows = Rows() if real is None else RaggedRows(real)
        if inputs_embeds is None:
            x = self.embed_tokens(rows.pack(input_ids[..., None])[..., 0])  # [B, T, E]
        else:
            x = rows.pack(inputs_embeds.to(self.dtype))
        if self.character_encoder is not None:
            x = torch.cat([x, self.character_encoder(rows.pack(character_ids)).to(x.dtype)], dim=2)
        x = locked_dropout(x, self.config.embedding_dropout, self.training)

        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        hidden_states, finals = [], []
        for states, layer in zip(self._states_by_layer(initial_state, x), self.layers, strict=True):
            if output_hidden_states:
                # The layer reads what is returned, so that gradients reach it.
                hidden_states.append(rows.unpack(x))
                x = rows.pack(hidden_states[-1])
            x = locked_dropout(x, self.config.hidden_dropout, self.training) if finals else x
            x, *final = layer(x, rows, *states)
            finals.append(final)

        finals = finals or [(x.new_zeros(x.shape[0], 0, self.config.hidden_size),) * self.num_states]
        final_state = RecurrentState(*(torch.cat(parts, dim=1) for parts in zip(*finals, strict=True)))
        y = rows.unpack(x)
        return RecurrentModelOutput(
            last_hidden_state=y,
            pooler_output=None if self.pooler is None else self.pooler(y, final_state.h, real),
            final_state=final_state,
            hidden_states=(*hidden_states, y) if output_hidden_states else None,
        )

    def read(
        self,
        of_words: Callable[[Tensor], Tensor] | None,
        output_hidden_states: bool | None,
        initial_state: RecurrentState | None,
        **inputs: Tensor | None,
    ) -> RecurrentModelOutput:
        """`forward` for a head, which of `last_hidden_state` wants what `of_words` makes of it, or nothing.

        Where nothing is learned, and no hidden states are asked for, long rows take memory for a piece of them only.
        """
        given = {name: part for name, part in inputs.items() if part is not None}
        # In this order, since a compiler must not look at the length.
        whole = torch.compiler.is_compiling() or torch.is_grad_enabled() or self.training
        whole = whole or output_hidden_states or self.config.output_hidden_states
        if whole or next(iter(given.values())).shape[1] <= PIECE:
            given["output_hidden_states"] = output_hidden_states
            out = self(**given, initial_state=initial_state, return_dict=True)
            if of_words is not None:
                out.last_hidden_state = of_words(out.last_hidden_state)
            return out

        words, pooled, weights = [], [], []
        for mask, out in self._pieces(initial_state, given):
            if of_words is not None:
                words.append(of_words(out.last_hidden_state))
            if self.pooler is not None:
                pooled.append(out.pooler_output)
                weights.append(self.pooler.weight(out.last_hidden_state, mask))
        if self.pooler is not None:
            pooled = self.pooler.join(torch.stack(pooled, 1), torch.stack(weights, 1), out.final_state.h)
        return RecurrentModelOutput(
            last_hidden_state=torch.cat(words, dim=1) if words else None,
            pooler_output=None if self.pooler is None else pooled,
            final_state=out.final_state,
        )

    def _pieces(
        self, initial_state: RecurrentState | None, given: dict[str, Tensor]
    ) -> Iterator[tuple[Tensor | None, RecurrentModelOutput]]:
        """The mask and the output of each piece, first to last, as within its row; the final state is that so far.

        A piece starts from the forward states of the piece before it and the backward states of that behind it. A
        walk over the pieces hands on those of one direction, right in a layer if the layers below it are. So with two
        directions the walks go to and fro, one more of them than there are layers; the last gives the outputs.
        """
        parts = (tensor.split(PIECE, dim=1) for tensor in given.values())
        pieces = [dict(zip(given, part, strict=True)) for part in zip(*parts, strict=True)]
        L, D, H = self.config.num_hidden_layers, self.config.num_directions, self.config.hidden_size
        if initial_state is None:
            zero = self.embed_tokens.weight.new_zeros(len(next(iter(given.values()))), L * D, H)
            initial_state = RecurrentState(*(zero,) * self.num_states)

        def ends(forward: RecurrentState, backward: RecurrentState) -> RecurrentState:
            """The forward states of the one, the backward states of the other."""
            if D == 1:
                return forward
            pairs = zip(forward.to_tuple(), backward.to_tuple(), strict=True)
            return RecurrentState(*(torch.stack([f[:, ::2], b[:, 1::2]], dim=2).flatten(1, 2) for f, b in pairs))

        starts = [initial_state] * len(pieces)
        for left in reversed(range(L + 1 if D == 2 else 1)):
            forwards, handed = left % 2 == 0, initial_state
            for number in range(len(pieces))[:: 1 if forwards else -1]:
                start = ends(handed, starts[number]) if forwards else ends(starts[number], handed)
                out = self(**pieces[number], initial_state=start, return_dict=True)
                starts[number], handed = start, out.final_state
                if number == 0:
                    first = handed
                if left == 0:
                    out.final_state = ends(handed, first)
                    mask = pieces[number].get("attention_mask")
                    yield None if mask is None else mask.bool(), out

    def _states_by_layer(self, state: RecurrentState | None, x: Tensor) -> list[tuple[Tensor, ...]]:
        """For each layer, one [B, D, H] per tensor of its state."""
        L, D, H = self.config.num_hidden_layers, self.config.num_directions, self.config.hidden_size
        if state is None:
            return [(x.new_zeros(x.shape[0], D, H),) * self.num_states] * L
        parts = state.to_tuple()
        expected = (x.shape[0], L * D, H)
        if len(parts) != self.num_states or any(part.shape != expected for part in parts):
            raise ValueError(
                f"initial_state has tensors of shapes {[tuple(part.shape) for part in parts]}; this model needs "
                f"{self.num_states} of shape {expected} (rows, layers times directions, hidden_size): pass the "
                "final_state of a model with the same configuration and the same number of rows."
            )
        return list(zip(*(part.to(x.dtype).split(D, dim=1) for part in parts), strict=True))[:L]


def check_inputs(config: RecurrentConfig, input_ids, inputs_embeds, attention_mask, character_ids=None):
    """Refuses what does not fit together, before any work; [B, T] ids or [B, T, E] vectors, and a [B, T] mask.

    Raises:
        ValueError: saying which argument, its shape, and what it should be.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise ValueError("Give either input_ids or inputs_embeds, and not both.")
    x, ndim = (input_ids, 2) if inputs_embeds is None else (inputs_embeds, 3)
    if x.ndim != ndim or (ndim == 3 and x.shape[2] != config.embedding_size):
        wanted = "(rows, tokens)" if ndim == 2 else f"(rows, tokens, embedding_size={config.embedding_size})"
        name = "input_ids" if ndim == 2 else "inputs_embeds"
        raise ValueError(f"{name} has shape {tuple(x.shape)}; expected {wanted}.")
    if attention_mask is not None and attention_mask.shape != x.shape[:2]:
        raise ValueError(f"attention_mask has shape {tuple(attention_mask.shape)}, the words {tuple(x.shape[:2])}.")
    if not config.character_size:
        return
    if character_ids is None:
        raise ValueError(
            "This model reads the letters of each word, and character_ids are missing. They come from its own "
            "tokenizer: load that with AutoTokenizer.from_pretrained(folder) after `import rnnzoo`, or with "
            "trust_remote_code=True; any other class leaves them out."
        )
    if character_ids.shape[:2] != x.shape[:2] or (x.shape[1] and character_ids.ndim != 3):
        raise ValueError(
            f"character_ids have shape {tuple(character_ids.shape)}; expected (rows, tokens, letters), with "
            f"{tuple(x.shape[:2])} rows and tokens."
        )


# Why an answer may hang on more than a state and the words that follow it.
_WHOLE = {
    "bidirectional": "its backward direction starts from the end of the text",
    "window": "it reads the last words of the text and no others",
    "pooling": "its answer is made from the outputs at all words of the text",
    "use_crf": "its tags are the best path through the whole text",
}


def check_reads_on(config: RecurrentConfig, initial_state: RecurrentState | None, **needed):
    """Refuses an `initial_state` where with it the answer would not be that to the whole text.

    Args:
        needed: fields, and the value of each that lets a model read on.

    Raises:
        ValueError: naming the field, its value, and the way out.
    """
    for field, value in needed.items():
        if initial_state is not None and (found := getattr(config, field)) != value:
            raise ValueError(
                f"A model with {field}={found!r} cannot read on from an initial_state: {_WHOLE[field]}. Give it the "
                "whole text in one call (in eval mode and under torch.no_grad() even a long one takes little memory), "
                f"or take a model with {field}={value!r}."
            )


def at_least_one_token(input_ids, inputs_embeds, attention_mask, character_ids):
    """A row without a token, which is what `pipeline("")` sends, becomes a row of padding."""
    x = input_ids if inputs_embeds is None else inputs_embeds
    if x.shape[1] > 0:
        return input_ids, inputs_embeds, attention_mask, character_ids
    if inputs_embeds is None:
        input_ids = x.new_zeros(x.shape[0], 1, dtype=torch.long)  # an empty list of ids arrives as floats
    else:
        inputs_embeds = x.new_zeros(x.shape[0], 1, x.shape[2])
    if character_ids is not None:
        character_ids = x.new_zeros(x.shape[0], 1, 1, dtype=torch.long)
    return input_ids, inputs_embeds, x.new_zeros(x.shape[0], 1, dtype=torch.long), character_ids


def keep_last(window: int, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The last `window` real tokens of each row, packed: [B, T, ·], [B, T] -> [B, min(T, window), ·] and its mask."""
    if is_exporting():
        # Which of T and window is smaller would be settled by the example; padding in front settles it for every T.
        mask = x.new_ones(x.shape[:2], dtype=torch.long) if mask is None else mask
        x, mask = (torch.cat([part.new_zeros(part.shape[0], window, *part.shape[2:]), part], 1) for part in (x, mask))
    if mask is None:
        return x[:, -window:], None
    rank_from_end = mask.bool().flip(1).cumsum(1).flip(1)
    rows = RaggedRows(mask.bool() & (rank_from_end <= window))
    return rows.pack(x)[:, :window], (~rows.padding[..., 0]).long()[:, :window]


class RecurrentForSequenceClassification(RecurrentPreTrainedModel):
    """A label for a whole row (many-to-one): pooled states, dropout, one dense layer."""

    backbone_class: ClassVar[type[RecurrentModel]]
    reads = frozenset({"classifier_dropout", "pooling", "window"})

    # Not every loss of transformers divides by the number of items that Trainer counts; Trainer itself does it right.
    accepts_loss_kwargs = False

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        self.backbone = self.backbone_class(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(self.backbone.pooler.output_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        character_ids: torch.LongTensor | None = None,
        initial_state: RecurrentState | None = None,
        **kwargs,
    ) -> RecurrentClassifierOutput:
        """Classifies rows of words; arguments as for the backbone.

        With `config.window` only the last real tokens of each row are read, and `hidden_states` are those of these
        tokens, at the front of each row. `labels` are what `config.problem_type` says: [B] integers (single label),
        [B, C] floats (several labels at once), [B] or [B, C] floats (regression); where it is None, a model of one
        label is a regression, and else the labels' type decides.

        A model with one direction, no window and `pooling="last"` also takes a text in parts, each with the
        `final_state` of the part before it as `initial_state`: its answer is that to all of the text so far.

        Raises:
            ValueError: as the backbone does; or an `initial_state` for a model that needs the whole text.
        """
        check_reads_on(self.config, initial_state, bidirectional=False, window=None, pooling="last")
        check_inputs(self.config, input_ids, inputs_embeds, attention_mask, character_ids)
        input_ids, inputs_embeds, attention_mask, character_ids = at_least_one_token(
            input_ids, inputs_embeds, attention_mask, character_ids
        )
        if (window := self.config.window) is not None:
            mask = attention_mask
            if inputs_embeds is None:
                ids, attention_mask = keep_last(window, input_ids[..., None], mask)
                input_ids = ids[..., 0]
            else:
                inputs_embeds, attention_mask = keep_last(window, inputs_embeds, mask)
            if character_ids is not None:
                character_ids, _ = keep_last(window, character_ids, mask)

        out = self.backbone.read(
            None,
            output_hidden_states,
            initial_state,
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            character_ids=character_ids,
        )
        logits = self.classifier(self.dropout(out.pooler_output))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config, **kwargs)
        return RecurrentClassifierOutput(
            loss=loss, logits=logits, hidden_states=out.hidden_states, final_state=out.final_state
        )


class RecurrentForTokenClassification(RecurrentPreTrainedModel):
    """A label for every word (many-to-many): states, dropout, one dense layer, with `use_crf` a CRF on top."""

    backbone_class: ClassVar[type[RecurrentModel]]
    reads = frozenset({"classifier_dropout", "use_crf"})

    accepts_loss_kwargs = False  # as above

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        self.backbone = self.backbone_class(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.output_size, config.num_labels)
        self.crf = None
        if config.use_crf:
            labels = [config.id2label[i] for i in range(config.num_labels)]
            self.crf = LinearChainCRF(config.num_labels, forbidden_in_iob2(labels))
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        output_hidden_states: bool | None = None,
        character_ids: torch.LongTensor | None = None,
        initial_state: RecurrentState | None = None,
        **kwargs,
    ) -> RecurrentTokenClassifierOutput:
        """Classifies the words of rows; arguments as for the backbone.

        labels: [B, T], -100 where there is none. A CRF reads the labels that there are as neighbours: give every
        piece of a word one (B-X, I-X, …), as `recipes.ner` does.

        A model with one direction and no CRF also takes a text in parts, as the sequence classifier does.

        Raises:
            ValueError: as the backbone does; or an `initial_state` for a model that needs the whole text.
        """
        check_reads_on(self.config, initial_state, bidirectional=False, use_crf=False)
        check_inputs(self.config, input_ids, inputs_embeds, attention_mask, character_ids)
        T = (input_ids if inputs_embeds is None else inputs_embeds).shape[1]
        input_ids, inputs_embeds, attention_mask, character_ids = at_least_one_token(
            input_ids, inputs_embeds, attention_mask, character_ids
        )
        out = self.backbone.read(
            lambda y: self.classifier(self.dropout(y)),
            output_hidden_states,
            initial_state,
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            character_ids=character_ids,
        )
        emissions = out.last_hidden_state
        result = RecurrentTokenClassifierOutput(
            logits=emissions[:, :T], hidden_states=out.hidden_states, final_state=out.final_state
        )
        if labels is not None and self.crf is None:
            result.loss = self.loss_function(labels=labels, logits=emissions, config=self.config, **kwargs)
        elif labels is not None:
            labels = labels if T else labels.new_full(emissions.shape[:2], -100)  # as long as the row of padding
            labelled = labels != -100
            log_likelihood = self.crf(emissions, labels.masked_fill(~labelled, 0), labelled)
            result.loss = -log_likelihood.sum() / labelled.sum()
        if self.crf is not None and not self.training:
            real = None if attention_mask is None else attention_mask.bool()
            tags, marginals = self.crf.decode(emissions, real)[0][:, 0], self.crf.marginals(emissions, real)
            logits = logits_of_path(tags, marginals)
            result.logits, result.emissions = logits[:, :T], emissions[:, :T]
            result.tags, result.marginals = tags[:, :T], marginals[:, :T]
        return result


def logits_of_path(tags: Tensor, marginals: Tensor) -> Tensor:
    """Logarithms of probabilities whose largest is that of the best path's tag: [B, T], [B, T, C] -> [B, T, C].

    Whoever takes softmax and argmax of them, as pipelines do, gets the path, and for its tags their marginals. The
    best path may pass through a tag that is not the likeliest of its word: the others are then cut off just below it,
    and what was cut goes to those that have room. (Where the tag's marginal is below 1/C there is not room enough,
    and its probability becomes about 1/C.)
    """
    chosen = nn.functional.one_hot(tags, marginals.shape[2]).bool()
    tiny = torch.finfo(marginals.dtype).tiny
    of_path = marginals.gather(2, tags[..., None]).clamp(min=2 * tiny)  # there is something below it
    cap = of_path * 0.999
    others = torch.minimum(marginals, cap).masked_fill(chosen, 0)
    room = (cap - others).masked_fill(chosen, 0)
    missing = (1 - of_path - others.sum(2, keepdim=True)).clamp(min=0)
    others = others + room * (missing / room.sum(2, keepdim=True).clamp(min=tiny)).clamp(max=1)
    return torch.where(chosen, of_path, others).clamp(min=tiny).log()


# The families. Auto classes compare configurations by name, so each family has classes of its own.


class RNNModel(RecurrentModel):
    """Elman network, the backbone."""

    config: RNNConfig
    cell = TANH


class RNNForSequenceClassification(RecurrentForSequenceClassification):
    """Elman network, a label a row."""

    config: RNNConfig
    backbone_class = RNNModel


class RNNForTokenClassification(RecurrentForTokenClassification):
    """Elman network, a label a word."""

    config: RNNConfig
    backbone_class = RNNModel


class BiRNNModel(RecurrentModel):
    """Elman network in both directions, the backbone."""

    config: BiRNNConfig
    cell = TANH


class BiRNNForSequenceClassification(RecurrentForSequenceClassification):
    """Elman network in both directions, a label a row."""

    config: BiRNNConfig
    backbone_class = BiRNNModel


class BiRNNForTokenClassification(RecurrentForTokenClassification):
    """Elman network in both directions, a label a word."""

    config: BiRNNConfig
    backbone_class = BiRNNModel


class LSTMModel(RecurrentModel):
    """LSTM or BiLSTM, the backbone."""

    config: LSTMConfig
    cell = LSTM


class LSTMForSequenceClassification(RecurrentForSequenceClassification):
    """LSTM or BiLSTM, a label a row."""

    config: LSTMConfig
    backbone_class = LSTMModel


class LSTMForTokenClassification(RecurrentForTokenClassification):
    """LSTM or BiLSTM, a label a word."""

    config: LSTMConfig
    backbone_class = LSTMModel


class GRUModel(RecurrentModel):
    """GRU or BiGRU, the backbone."""

    config: GRUConfig
    cell = GRU


class GRUForSequenceClassification(RecurrentForSequenceClassification):
    """GRU or BiGRU, a label a row."""

    config: GRUConfig
    backbone_class = GRUModel


class GRUForTokenClassification(RecurrentForTokenClassification):
    """GRU or BiGRU, a label a word."""

    config: GRUConfig
    backbone_class = GRUModel


__all__ = [
    "BiRNNForSequenceClassification",
    "BiRNNForTokenClassification",
    "BiRNNModel",
    "GRUForSequenceClassification",
    "GRUForTokenClassification",
    "GRUModel",
    "LSTMForSequenceClassification",
    "LSTMForTokenClassification",
    "LSTMModel",
    "RNNForSequenceClassification",
    "RNNForTokenClassification",
    "RNNModel",
    "RecurrentState",
]
