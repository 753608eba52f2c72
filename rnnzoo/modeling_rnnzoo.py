"""The models: a recurrent backbone, sequence and token classifiers, and the four families as rows of data.

Shapes: B rows, T tokens, K characters of a word, E features of a word vector, H features of a state, L layers,
D directions, C classes.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput, can_return_tuple

from .characters_rnnzoo import CharacterEncoder
from .configuration_rnnzoo import BiRNNConfig, GRUConfig, LSTMConfig, RecurrentConfig, RNNConfig
from .context_rnnzoo import ContextEncoder
from .crf_rnnzoo import EntityCRF, LinearChainCRF, forbidden_in_iob2
from .documents_rnnzoo import NO_WORD, Sentences, mean_elsewhere, word_keys
from .recurrence_rnnzoo import (
    GRU,
    LSTM,
    TANH,
    Cell,
    PackedRows,
    RaggedRows,
    RecurrentDirection,
    RecurrentLayer,
    Rows,
    is_exporting,
)
from .wide_rnnzoo import Wide


# Tokens of a row that are read at once in inference; longer rows are read in chunks of so many.
CHUNK = 8192


@dataclass
class RecurrentState(ModelOutput):
    """The state of a network between two words: pass a `final_state` as `initial_state` to continue from it.

    That is for one direction. The backward direction starts at the end of its input: with two directions, a part of a
    text needs the forward states of the part before it and the backward states of the part after it.

    Args:
        h: [B, L·D, H], layer by layer, and in each layer forward before backward (torch's order, batch first).
        c: the same for the memory of an LSTM; None for the other families.
    """

    h: torch.FloatTensor | None = None
    c: torch.FloatTensor | None = None


@dataclass
class RecurrentModelOutput(ModelOutput):
    """What the backbone returns.

    Args:
        last_hidden_state: [B, T, D·H], zero where there is padding.
        pooler_output: one vector per row, by `config.pooling`: [B, D·H], or [B, 3·D·H] for `concat`.
        final_state: the state after each row's last real token (backward direction: after its first).
        hidden_states: on request, the word vectors and the output of every layer, L + 1 tensors [B, T, ·].
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    final_state: RecurrentState | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class RecurrentClassifierOutput(ModelOutput):
    """What a sequence classifier returns: `logits` [B, C], `loss` if there are `labels`, the backbone's states."""

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    final_state: RecurrentState | None = None


@dataclass
class RecurrentTokenClassifierOutput(ModelOutput):
    """What a token classifier returns; `emissions`, `tags` and `marginals` only with a CRF, in evaluation.

    Args:
        loss: mean over all labels but -100.
        logits: [B, T, C]. With a CRF, in evaluation: log-probabilities whose argmax is the tag of the best path, see
            `logits_of_path`; in training: the scores that it gets, as `emissions`.
        final_state: the backbone's; None for a model with `sentence_token_id`, which has one for each sentence.
        emissions: [B, T, C], the scores that the CRF gets; with `iobes` [B, T, S], of its own tags.
        tags: [B, T], the best path, 0 in the padding.
        marginals: [B, T, C], the probability of each tag given the complete text, zero in the padding.
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    final_state: RecurrentState | None = None
    emissions: torch.FloatTensor | None = None
    tags: torch.LongTensor | None = None
    marginals: torch.FloatTensor | None = None


def locked_dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Drops features of each row, [B, T, E] -> [B, T, E]: one mask for all its words (Gal & Ghahramani 2016)."""
    if not (p and training):
        return x
    return x * nn.functional.dropout(x.new_ones(x.shape[0], 1, x.shape[2]), p)


class Pooler(nn.Module):
    """One vector per row, from its real tokens only; zero for a row that has none."""

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
        """The top layer's final states: forward at the row's last token, backward at its first."""
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
        """`last`, `mean` and `max`, concatenated (Howard & Ruder 2018)."""
        return torch.cat([self.last(y, h, mask), self.mean(y, h, mask), self.max(y, h, mask)], dim=-1)

    def attention(self, y, h, mask):
        """A weighted mean over real tokens, with learned weights."""
        scores = self.score(torch.tanh(self.projection(y)))  # [B, T, 1]
        if mask is not None:
            scores = scores.masked_fill(~mask[..., None], torch.finfo(scores.dtype).min)
        return (scores.softmax(1) * y).sum(1)

    def weight(self, y: Tensor, mask: Tensor | None) -> Tensor:
        """The weight of a chunk in a mean over the chunks of a row, as a logarithm: [B]; -inf without real tokens."""
        attends = self.pooling == "attention"
        scores = self.score(torch.tanh(self.projection(y)))[..., 0] if attends else y.new_zeros(y.shape[:2])
        scores = scores.to(torch.promote_types(y.dtype, torch.float32))
        return (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).logsumexp(1)

    def join(self, chunks: Tensor, weights: Tensor, h: Tensor) -> Tensor:
        """What `forward` gives for rows, from its results for their chunks, [B, N, width], and `weight`s [B, N]."""
        last, largest = self.last(chunks, h, None), self.max(chunks, h, weights > -torch.inf)
        mean = (weights.softmax(1).nan_to_num()[..., None] * chunks).sum(1).to(chunks.dtype)
        if self.pooling == "concat":
            W = last.shape[1]
            return torch.cat([last, mean[:, W : 2 * W], largest[:, 2 * W :]], dim=-1)
        return {"last": last, "max": largest}.get(self.pooling, mean)


_NEEDS_IDS = (
    "This model has {}, and word vectors alone do not tell which word stands where: give input_ids in place of "
    "inputs_embeds."
)


class Batch(NamedTuple):
    """Rows of words as the backbone reads them: checked, and of one token at least.

    Attributes:
        words: [B, T] ids, or [B, T, E] vectors.
        characters: [B, T, K] ids of each word's characters, or None.
        rows: which tokens are real.
        context: [B, T, 2·H], the context of each word; None: the backbone finds it from the characters.
    """

    words: Tensor
    characters: Tensor | None
    rows: Rows
    context: Tensor | None = None

    @classmethod
    def checked(
        cls,
        config: RecurrentConfig,
        input_ids: Tensor | None,
        inputs_embeds: Tensor | None,
        attention_mask: Tensor | None,
        character_ids: Tensor | None,
        window: int | None = None,
    ) -> "Batch":
        """From a model's arguments; with a window, the last `window` real tokens of each row, [B, min(T, window)].

        Raises:
            ValueError: saying which argument does not fit, its shape, and what it should be.
        """
        check_inputs(config, input_ids, inputs_embeds, attention_mask, character_ids)
        words = input_ids if inputs_embeds is None else inputs_embeds
        real = None if attention_mask is None else attention_mask.bool()
        B, T, *E = words.shape
        if T == 0:
            # A row without a token, which is what `pipeline("")` sends, becomes a row of padding. Its empty list of
            # ids arrives as floats.
            words = words.new_zeros(B, 1, *E, dtype=torch.long if inputs_embeds is None else words.dtype)
            real = words.new_zeros(B, 1, dtype=torch.bool)
            character_ids = None if character_ids is None else words.new_zeros(B, 1, 1, dtype=torch.long)
        batch = cls(words, character_ids, Rows())
        if window is not None:
            return batch._last(window, real)
        return batch if real is None else batch._replace(rows=RaggedRows(real))

    def _last(self, window: int, real: Tensor | None) -> "Batch":
        """The last `window` real tokens of each row, packed."""
        if is_exporting():
            # The example would decide which of T and window is smaller; with padding in front it is always window.
            real = self.words.new_ones(self.words.shape[:2], dtype=torch.bool) if real is None else real
            real = torch.cat([real.new_zeros(real.shape[0], window), real], dim=1)
            self = self._each(lambda x: torch.cat([x.new_zeros(x.shape[0], window, *x.shape[2:]), x], dim=1))
        if real is None:
            return self._each(lambda x: x[:, -window:])
        rank_from_end = real.flip(1).cumsum(1).flip(1)
        rows = RaggedRows(real & (rank_from_end <= window))
        last = self._each(lambda x: rows.pack(x)[:, :window])
        return last._replace(rows=PackedRows(rows.lengths, last.words.shape[1]))

    def sentences(self, mark: int) -> Sentences:
        """Where its sentences are; `of_sentences` then makes each of them a row.

        Raises:
            ValueError: there are no ids, but word vectors alone; or torch.export is tracing.
        """
        if self.words.ndim == 3:
            raise ValueError(_NEEDS_IDS.format(f"sentence_token_id={mark}"))
        if is_exporting():
            raise ValueError(
                f"A model with sentence_token_id={mark} cannot be exported, as the number of sentences depends on the "
                "text: export one that reads a sentence at a time."
            )
        return Sentences(self.words, self.rows.real, mark)

    def of_sentences(self, sentences: Sentences) -> "Batch":
        """The same words, with a row for each sentence."""
        return self._each(sentences.split)._replace(rows=PackedRows(sentences.lengths, sentences.width))

    def keys(self, unknown: int | None) -> Tensor:
        """See `word_keys`.

        Raises:
            ValueError: there are neither ids nor characters, but word vectors alone.
        """
        if self.words.ndim == 3 and self.characters is None:
            raise ValueError(_NEEDS_IDS.format("pool_repeated_words=True"))
        ids = self.words if self.words.ndim == 2 else None
        return word_keys(ids, self.characters, self.rows.real, unknown)

    def packed(self) -> tuple[Tensor, Tensor | None]:
        """The words with the padding of each row at its end, and [B, T] of bool, true where they are real, or None."""
        padding = self.rows.padding
        return self.rows.pack(self.words), None if padding is None else ~padding[..., 0]

    def split(self, size: int) -> Iterator["Batch"]:
        """Chunks of `size` tokens, the last one shorter."""
        for start in range(0, self.words.shape[1], size):
            chunk = self._each(lambda x: x[:, start : start + size])  # noqa: B023, called at once
            real = self.rows.real
            yield chunk if real is None else chunk._replace(rows=RaggedRows(real[:, start : start + size]))

    def _each(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The same function of words, characters and context."""
        characters, context = (None if x is None else function(x) for x in (self.characters, self.context))
        return self._replace(words=function(self.words), characters=characters, context=context)


class RecurrentPreTrainedModel(PreTrainedModel):
    """Initialisation, loading and saving, the same for every class of the zoo."""

    config: RecurrentConfig
    base_model_prefix = "backbone"
    supports_gradient_checkpointing = True
    _no_split_modules = ["RecurrentLayer"]

    #: Configuration fields that this head reads beyond those of every backbone. A task refuses those of other heads.
    reads: ClassVar[frozenset[str]] = frozenset()

    #: Auto class -> "file.Class" for every head of the family, written into each checkpoint; see `rnnzoo.register`.
    auto_map: ClassVar[dict[str, str]] = {}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """Initialises a module's weights, on construction and where a checkpoint lacks them.

        | weight                        | initial value                                            |
        |-------------------------------|----------------------------------------------------------|
        | word and character vectors    | normal, standard deviation 0.05; zero for padding        |
        | recurrent matrices and biases | see `reset_parameters` of the cell's direction           |
        | dense layers                  | Xavier uniform; zero biases                              |
        | convolution over characters   | Xavier uniform; zero biases                              |
        | scores of a CRF               | zero                                                     |
        | wide part                     | zero; scale 1                                            |
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
        elif isinstance(module, Wide):
            init.zeros_(module.weight)
            init.ones_(module.scale)
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
        """As in transformers, but from safetensors files only: a pickle may carry code.

        A checkpoint of another head, say a tagger's as a sequence classifier, is loaded with a UserWarning: its
        backbone is worth training further, but its answers mean nothing until then.

        Raises:
            ValueError: an argument asks for pickles.
            OSError: the weights are damaged, in another format, or missing.
        """
        if use_safetensors is False or not weights_only:
            raise ValueError(
                f"use_safetensors={use_safetensors}, weights_only={weights_only}: rnnzoo loads weights from "
                "safetensors files only, since a pickle may carry code. Leave both out."
            )
        try:
            loaded = super().from_pretrained(pretrained_model_name_or_path, *args, use_safetensors=True, **kwargs)
        except SafetensorError as error:
            raise OSError(
                f"The weights of {pretrained_model_name_or_path} are damaged ({error}): load with "
                "force_download=True, or from a complete copy."
            ) from error
        config = (loaded[0] if kwargs.get("output_loading_info") else loaded).config
        # By its name and not by missing weights, since heads of the same sizes have weights of the same names.
        saved = (config.architectures or [""])[0]
        (family, _, task), (other_family, _, other_task) = cls.__name__.partition("For"), saved.partition("For")
        if family == other_family and task != other_task:
            warnings.warn(
                f"{pretrained_model_name_or_path} was saved by {saved} and is loaded as {cls.__name__}, whose head "
                "does another task: its answers mean nothing until it is trained. For those of the checkpoint, load "
                f"it with AutoModelFor{other_task} or in a pipeline of that task.",
                stacklevel=2,
            )
        return loaded

    @classmethod
    def _load_pretrained_model(cls, model, state_dict, checkpoint_files, *args, **kwargs):
        # An index of safetensors shards may name pickles, and so may the caller.
        for file in checkpoint_files or ():
            if not str(file).endswith(".safetensors"):
                raise OSError(f"{file} is not a safetensors file, and rnnzoo loads no other: a pickle may carry code.")
        loaded = super()._load_pretrained_model(model, state_dict, checkpoint_files, *args, **kwargs)
        for name, weight in model.named_parameters():
            if not weight.is_meta and not weight.isfinite().all():
                raise SafetensorError(f"{name} has values that are not finite")
        for module in model.modules():
            if isinstance(module, ContextEncoder):  # transformers makes new parameters of what it loads
                module.requires_grad_(False)
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
        add_pooling_layer: False for heads that use the output of every word; `pooler_output` is then None.
    """

    cell: ClassVar[Cell]
    reads = frozenset({"pooling"})

    def __init__(self, config: RecurrentConfig, add_pooling_layer: bool = True):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.character_encoder = CharacterEncoder(config) if config.character_size else None
        self.context_encoder = ContextEncoder(config) if config.context_size else None
        L = config.num_hidden_layers
        widths = ([config.input_size] + [config.output_size] * L)[:L]
        dropouts = config.recurrent_dropout, config.recurrent_weight_dropout
        self.layers = nn.ModuleList(
            RecurrentLayer(self.cell, width, config.hidden_size, config.bidirectional, *dropouts) for width in widths
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
        batch: Batch | None = None,
        **kwargs,
    ) -> RecurrentModelOutput:
        """Reads rows of words.

        Args:
            input_ids: [B, T]. Or `inputs_embeds`: [B, T, E], for instance one-hot rows.
            attention_mask: [B, T], nonzero where a token is real; None: every token is.
            initial_state: where each direction starts from, see `RecurrentState`; None: zero.
            output_hidden_states: also return the word vectors and the output of every layer.
            character_ids: [B, T, K], the characters of each word, for a model that reads them.
            batch: for heads, which check their inputs themselves: these, in place of the arguments above. (A head
                calls the module, not a method behind it, so that hooks on the module run: those of FSDP, for one.)

        Raises:
            ValueError: both or neither of `input_ids` and `inputs_embeds`, no characters for a model that reads them,
                or shapes that do not fit each other.
        """
        if batch is None:
            batch = Batch.checked(self.config, input_ids, inputs_embeds, attention_mask, character_ids)
        words, characters, rows, context = batch
        x = self.embed_tokens(rows.pack(words)) if words.ndim == 2 else rows.pack(words.to(self.dtype))  # [B, T, E]
        if self.character_encoder is not None:
            x = torch.cat([x, self.character_encoder(rows.pack(characters)).to(x.dtype)], dim=2)
        if self.context_encoder is not None:
            context = self.context_encoder(rows.pack(characters), rows) if context is None else rows.pack(context)
            x = torch.cat([x, context.to(x.dtype)], dim=2)
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

        finals = finals or [(x.new_zeros(x.shape[0], 0, self.config.hidden_size),) * self.cell.num_states]
        final_state = RecurrentState(*(torch.cat(parts, dim=1) for parts in zip(*finals, strict=True)))
        y = rows.unpack(x)
        return RecurrentModelOutput(
            last_hidden_state=y,
            pooler_output=None if self.pooler is None else self.pooler(y, final_state.h, rows.real),
            final_state=final_state,
            hidden_states=(*hidden_states, y) if output_hidden_states else None,
        )

    def read(
        self,
        batch: Batch,
        of_words: Callable[[Tensor], Tensor] | None,
        initial_state: RecurrentState | None,
        output_hidden_states: bool | None,
    ) -> RecurrentModelOutput:
        """Runs the backbone for a head. `of_words` maps `last_hidden_state`; None: the head does not need that.

        In inference, and unless hidden states are asked for, long rows take the memory of one chunk only.
        """
        # In this order, since a compiler must not look at the length.
        at_once = torch.compiler.is_compiling() or torch.is_grad_enabled() or self.training
        at_once = at_once or output_hidden_states or self.config.output_hidden_states
        if at_once or batch.words.shape[1] <= CHUNK:
            options = {"output_hidden_states": output_hidden_states, "return_dict": True}
            out = self(batch=batch, initial_state=initial_state, **options)
            if of_words is not None:
                out.last_hidden_state = of_words(out.last_hidden_state)
            return out

        if self.context_encoder is not None:  # of complete rows, and not of each chunk by itself
            rows = batch.rows
            batch = batch._replace(context=rows.unpack(self.context_encoder(rows.pack(batch.characters), rows)))
        words, pooled, weights = [], [], []
        for real, out in self._chunks(batch, initial_state):
            if of_words is not None:
                words.append(of_words(out.last_hidden_state))
            if self.pooler is not None:
                pooled.append(out.pooler_output)
                weights.append(self.pooler.weight(out.last_hidden_state, real))
        if self.pooler is not None:
            pooled = self.pooler.join(torch.stack(pooled, 1), torch.stack(weights, 1), out.final_state.h)
        return RecurrentModelOutput(
            last_hidden_state=torch.cat(words, dim=1) if words else None,
            pooler_output=None if self.pooler is None else pooled,
            final_state=out.final_state,
        )

    def _chunks(
        self, batch: Batch, initial_state: RecurrentState | None
    ) -> Iterator[tuple[Tensor | None, RecurrentModelOutput]]:
        """The mask and the output of each chunk, first to last, as within its row; the final state is that so far.

        A chunk starts from the forward states of the chunk before it and the backward states of the chunk after it.
        The states of layer l at chunk borders are correct once those of layer l - 1 are, so L + 1 alternating sweeps
        carry forward states right and backward states left; the last one gives the outputs. With one direction a
        single sweep does.
        """
        chunks = list(batch.split(CHUNK))
        L, D, H = self.config.num_hidden_layers, self.config.num_directions, self.config.hidden_size
        if initial_state is None:
            zero = self.embed_tokens.weight.new_zeros(batch.words.shape[0], L * D, H)
            initial_state = RecurrentState(*(zero,) * self.cell.num_states)

        def ends(forward: RecurrentState, backward: RecurrentState) -> RecurrentState:
            """The forward states of one, the backward states of the other."""
            if D == 1:
                return forward
            pairs = zip(forward.to_tuple(), backward.to_tuple(), strict=True)
            return RecurrentState(*(torch.stack([f[:, ::2], b[:, 1::2]], dim=2).flatten(1, 2) for f, b in pairs))

        starts = [initial_state] * len(chunks)
        for left in reversed(range(L + 1 if D == 2 else 1)):
            forwards, handed = left % 2 == 0, initial_state
            for number in range(len(chunks))[:: 1 if forwards else -1]:
                start = ends(handed, starts[number]) if forwards else ends(starts[number], handed)
                out = self(batch=chunks[number], initial_state=start, return_dict=True)
                starts[number], handed = start, out.final_state
                if number == 0:
                    first = handed
                if left == 0:
                    out.final_state = ends(handed, first)
                    yield chunks[number].rows.real, out

    def _states_by_layer(self, state: RecurrentState | None, x: Tensor) -> list[tuple[Tensor, ...]]:
        """For each layer, one [B, D, H] per tensor of its state."""
        L, D, H = self.config.num_hidden_layers, self.config.num_directions, self.config.hidden_size
        if state is None:
            return [(x.new_zeros(x.shape[0], D, H),) * self.cell.num_states] * L
        parts = state.to_tuple()
        expected = (x.shape[0], L * D, H)
        if len(parts) != self.cell.num_states or any(part.shape != expected for part in parts):
            raise ValueError(
                f"initial_state has tensors of shapes {[tuple(part.shape) for part in parts]}; this model needs "
                f"{self.cell.num_states} of shape {expected} (rows, layers times directions, hidden_size): pass the "
                "final_state of a model with the same configuration and the same number of rows."
            )
        return list(zip(*(part.to(x.dtype).split(D, dim=1) for part in parts), strict=True))[:L]


def check_inputs(config: RecurrentConfig, input_ids, inputs_embeds, attention_mask, character_ids=None):
    """Refuses arguments that do not fit each other; see `RecurrentModel.forward` for what they are.

    Raises:
        ValueError: saying which argument, its shape, and what it should be.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise ValueError("Give either input_ids or inputs_embeds, not both.")
    x, ndim = (input_ids, 2) if inputs_embeds is None else (inputs_embeds, 3)
    if x.ndim != ndim or (ndim == 3 and x.shape[2] != config.embedding_size):
        wanted = "(rows, tokens)" if ndim == 2 else f"(rows, tokens, embedding_size={config.embedding_size})"
        name = "input_ids" if ndim == 2 else "inputs_embeds"
        raise ValueError(f"{name} has shape {tuple(x.shape)}; expected {wanted}.")
    if attention_mask is not None and attention_mask.shape != x.shape[:2]:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}; expected {tuple(x.shape[:2])}, as for the words."
        )
    if not config.reads_characters:
        return
    if character_ids is None:
        raise ValueError(
            "This model reads the characters of each word, but character_ids are missing. Its own tokenizer makes "
            "them: load that with AutoTokenizer.from_pretrained(folder) after `import rnnzoo`, or with "
            "trust_remote_code=True; other tokenizer classes leave them out."
        )
    if character_ids.shape[:2] != x.shape[:2] or (x.shape[1] and character_ids.ndim != 3):
        raise ValueError(
            f"character_ids have shape {tuple(character_ids.shape)}; expected (rows, tokens, characters), with "
            f"{tuple(x.shape[:2])} rows and tokens."
        )


# Why an answer may depend on more than a state and the words after it.
_WHY_COMPLETE = {
    "bidirectional": "its backward direction starts at the end of the text",
    "window": "it reads the last words of the text only",
    "pooling": "it pools the outputs at all words of the text",
    "wide_size": "its wide part reads all words of the text",
    "use_crf": "its tags are the best path through the complete text",
    "context_size": "its character language model also reads the text backwards",
    "pool_repeated_words": "it compares each word with all words of the text",
    "sentence_token_id": "it reads each sentence of the text from its beginning",
}


def check_continues(config: RecurrentConfig, initial_state: RecurrentState | None, **needed):
    """Refuses an `initial_state` for a model whose answer would then not be that to the complete text.

    Args:
        needed: the fields that matter, each with the value that lets a model continue from a state.

    Raises:
        ValueError: naming the field, its value, and the way out.
    """
    for field, value in needed.items():
        if initial_state is not None and (found := getattr(config, field)) != value:
            raise ValueError(
                f"A model with {field}={found!r} cannot continue from an initial_state: {_WHY_COMPLETE[field]}. "
                "Give it the complete text in one call (in eval mode and under torch.no_grad() even a long one takes "
                f"little memory), or use a model with {field}={value!r}."
            )


def check_wide(config: RecurrentConfig, batch: Batch, wide_logits: Tensor | None):
    """Refuses `wide_logits` that do not fit, and word vectors alone for a model whose wide part reads ids.

    Raises:
        ValueError: saying what is missing or does not fit.
    """
    if wide_logits is None:
        if config.wide_size and batch.words.ndim != 2:
            raise ValueError(
                f"This model has a wide part (wide_size={config.wide_size}), which reads the ids of words: give "
                "input_ids in place of inputs_embeds, or the logits of the wide part as wide_logits."
            )
        return
    if not config.wide_size:
        raise ValueError("wide_logits are for a model with a wide part, and this one has wide_size=0: leave them out.")
    expected = (batch.words.shape[0], config.num_labels)
    if wide_logits.shape != expected:
        raise ValueError(f"wide_logits have shape {tuple(wide_logits.shape)}; expected {expected}: (rows, labels).")


class RecurrentForSequenceClassification(RecurrentPreTrainedModel):
    """A label for each row (many-to-one): pooled states, dropout, one dense layer; with `wide_size` a wide part."""

    backbone_class: ClassVar[type[RecurrentModel]]
    reads = frozenset({"classifier_dropout", "pooling", "window", "wide_size", "wide_dropout"})

    # Not every loss of transformers divides by the number of items that Trainer counts; without it Trainer is right.
    accepts_loss_kwargs = False

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        self.backbone = self.backbone_class(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(self.backbone.pooler.output_size, config.num_labels)
        self.wide = Wide(config.wide_size, config.num_labels, config.wide_dropout) if config.wide_size else None
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
        wide_logits: torch.FloatTensor | None = None,
        **kwargs,
    ) -> RecurrentClassifierOutput:
        """Classifies rows of words; arguments as for the backbone.

        With `config.window` only the last `window` real tokens of each row are read, and `hidden_states` are those of
        these tokens, at the front of each row. `labels` depend on `config.problem_type`: [B] integers (single label),
        [B, C] floats (multi-label), [B] or [B, C] floats (regression). Where it is None, a model with one label is a
        regression, and otherwise the labels' dtype decides.

        `wide_logits` [B, C] stand in for those that the wide part would find, before its scale; in training they come
        from a wide part that was not fitted on these rows.

        A model with one direction, no window, no wide part and `pooling="last"` also takes a text in parts, each with
        the `final_state` of the part before it as `initial_state`: its answer is that to all of the text so far.

        Raises:
            ValueError: as the backbone does; or an `initial_state` for a model that needs the complete text; or
                `wide_logits` that do not fit, or neither them nor `input_ids` for a model with a wide part.
        """
        needed = {"bidirectional": False, "window": None, "pooling": "last", "wide_size": 0, "context_size": 0}
        check_continues(self.config, initial_state, **needed)
        inputs = input_ids, inputs_embeds, attention_mask, character_ids
        batch = Batch.checked(self.config, *inputs, window=self.config.window)
        check_wide(self.config, batch, wide_logits)
        out = self.backbone.read(batch, None, initial_state, output_hidden_states)
        logits = self.classifier(self.dropout(out.pooler_output))
        if self.wide is not None:
            logits = logits + self.wide(*batch.packed(), wide_logits)
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config, **kwargs)
        return RecurrentClassifierOutput(
            loss=loss, logits=logits, hidden_states=out.hidden_states, final_state=out.final_state
        )


class RecurrentForTokenClassification(RecurrentPreTrainedModel):
    """A label for every word (many-to-many): states, dropout, one dense layer, and with `use_crf` a CRF."""

    backbone_class: ClassVar[type[RecurrentModel]]
    reads = frozenset({"classifier_dropout", "use_crf", "iobes", "pool_repeated_words", "sentence_token_id"})

    accepts_loss_kwargs = False  # as above

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        self.backbone = self.backbone_class(config, add_pooling_layer=False)
        self.dropout = nn.Dropout(config.classifier_dropout)
        width = config.output_size * (2 if config.pool_repeated_words else 1)
        labels = [config.id2label[i] for i in range(config.num_labels)]
        self.crf = None
        if config.use_crf:
            self.crf = EntityCRF(labels) if config.iobes else LinearChainCRF(len(labels), forbidden_in_iob2(labels))
        self.classifier = nn.Linear(width, len(labels) if self.crf is None else len(self.crf.start))
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

        labels: [B, T], -100 where there is none. A CRF takes the labels that there are as neighbours: give every
        sub-token of a word one (B-X, I-X, …), as `rnnzoo.tasks.tag` does. It learns from nothing else: a loss computed
        from the logits would leave its transitions untrained, and its `backward` is refused.

        A model with one direction, no CRF, no context and neither `sentence_token_id` nor `pool_repeated_words` also
        takes a text in parts, as the sequence classifier does.

        Raises:
            ValueError: as the backbone does; or an `initial_state` for a model that needs the complete text; in
                `backward`, a CRF in training mode that got no labels.
        """
        needed = {"bidirectional": False, "use_crf": False, "pool_repeated_words": False, "sentence_token_id": None}
        check_continues(self.config, initial_state, **needed, context_size=0)
        batch = Batch.checked(self.config, input_ids, inputs_embeds, attention_mask, character_ids)
        T = (input_ids if inputs_embeds is None else inputs_embeds).shape[1]  # may be 0, when the batch has 1
        if labels is not None and not T:
            labels = labels.new_full(batch.words.shape[:2], -100)  # as long as the row of padding
        pools, mark = self.config.pool_repeated_words, self.config.sentence_token_id
        keys = batch.keys(self.config.unk_token_id) if pools else None
        sentences = None if mark is None else batch.sentences(mark)
        if sentences is not None:
            batch = batch.of_sentences(sentences)
            labels = None if labels is None else sentences.split(labels, -100)
            keys = None if keys is None else sentences.split(keys, NO_WORD)
        out = self.backbone.read(batch, nn.Identity() if pools else self.emit, initial_state, output_hidden_states)
        emissions = out.last_hidden_state
        if pools:
            emissions = self.emit(torch.cat([emissions, mean_elsewhere(emissions, keys)], dim=2))

        def of_rows(x: Tensor) -> Tensor:
            """Of the rows as they were given."""
            return (x if sentences is None else sentences.join(x))[:, :T]

        result = RecurrentTokenClassifierOutput(logits=of_rows(emissions))
        if sentences is None:
            result.hidden_states, result.final_state = out.hidden_states, out.final_state
        elif out.hidden_states is not None:
            result.hidden_states = tuple(map(sentences.join, out.hidden_states))
        if labels is not None and self.crf is None:
            result.loss = self.loss_function(labels=labels, logits=emissions, config=self.config, **kwargs)
        elif labels is not None:
            labelled = labels != -100
            log_likelihood = self.crf(emissions, labels.masked_fill(~labelled, 0), labelled)
            result.loss = -log_likelihood.sum() / labelled.sum()
        elif self.crf is not None and self.training and result.logits.requires_grad:
            # Refused in `backward` only, so that those who forgot `eval()` have an answer.
            result.logits.register_hook(_refuse_loss_without_crf)
        if self.crf is not None and not self.training:
            real = batch.rows.real
            tags, marginals = self.crf.decode(emissions, real)[0][:, 0], self.crf.marginals(emissions, real)
            result.logits, result.emissions = of_rows(logits_of_path(tags, marginals)), of_rows(emissions)
            result.tags, result.marginals = of_rows(tags), of_rows(marginals)
        return result

    def emit(self, y: Tensor) -> Tensor:
        """The score of each class, or of each tag of the CRF, for each word: [B, T, ·] -> [B, T, C or S]."""
        return self.classifier(self.dropout(y))


def _refuse_loss_without_crf(gradient: Tensor):
    """Raises: in training, the logits of a model with a CRF are what the CRF reads and not what it finds."""
    raise ValueError(
        "The loss was computed from the logits of a model with use_crf=True, which got no labels: its CRF would never "
        "be trained. Pass labels to the model and use its loss. With Trainer, set label_smoothing_factor=0 and leave "
        "out compute_loss_func, which withhold the labels; or train a model with use_crf=False."
    )


def logits_of_path(tags: Tensor, marginals: Tensor) -> Tensor:
    """Log-probabilities whose argmax is the tag of the best path: [B, T], [B, T, C] -> [B, T, C].

    Softmax and argmax, as pipelines apply them, then give the path, and for its tags their marginals. The best path
    may contain a tag that is not the most probable one of its word: the other tags are then clipped just below it,
    and the excess goes to those that have room. (If the tag's marginal is below 1/C there is not enough room, and its
    probability becomes about 1/C.)
    """
    chosen = nn.functional.one_hot(tags, marginals.shape[2]).bool()
    tiny = torch.finfo(marginals.dtype).tiny
    of_path = marginals.gather(2, tags[..., None]).clamp(min=2 * tiny)  # leaves room below it
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
    """Elman network, a label per row."""

    config: RNNConfig
    backbone_class = RNNModel


class RNNForTokenClassification(RecurrentForTokenClassification):
    """Elman network, a label per word."""

    config: RNNConfig
    backbone_class = RNNModel


class BiRNNModel(RecurrentModel):
    """Elman network in both directions, the backbone."""

    config: BiRNNConfig
    cell = TANH


class BiRNNForSequenceClassification(RecurrentForSequenceClassification):
    """Elman network in both directions, a label per row."""

    config: BiRNNConfig
    backbone_class = BiRNNModel


class BiRNNForTokenClassification(RecurrentForTokenClassification):
    """Elman network in both directions, a label per word."""

    config: BiRNNConfig
    backbone_class = BiRNNModel


class LSTMModel(RecurrentModel):
    """LSTM or BiLSTM, the backbone."""

    config: LSTMConfig
    cell = LSTM


class LSTMForSequenceClassification(RecurrentForSequenceClassification):
    """LSTM or BiLSTM, a label per row."""

    config: LSTMConfig
    backbone_class = LSTMModel


class LSTMForTokenClassification(RecurrentForTokenClassification):
    """LSTM or BiLSTM, a label per word."""

    config: LSTMConfig
    backbone_class = LSTMModel


class GRUModel(RecurrentModel):
    """GRU or BiGRU, the backbone."""

    config: GRUConfig
    cell = GRU


class GRUForSequenceClassification(RecurrentForSequenceClassification):
    """GRU or BiGRU, a label per row."""

    config: GRUConfig
    backbone_class = GRUModel


class GRUForTokenClassification(RecurrentForTokenClassification):
    """GRU or BiGRU, a label per word."""

    config: GRUConfig
    backbone_class = GRUModel


def _travels_too():
    """Never called: transformers copies the files that this one imports, and a checkpoint names the heads of all."""
    from .modeling_rnnzoo_lm import RecurrentForCausalLM  # noqa: F401


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
