"""Configurations of the four recurrent families; does not import torch."""

# No `from __future__ import annotations` here: types that are strings would not be checked.
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


# Upper bounds: anything larger comes from a corrupt file.
_MOST_LAYERS, _MOST_LABELS, _MOST = 1000, 1_000_000, 2**31 - 1

# What torch, Keras and others call a field, or several.
_OTHER_NAMES = {
    "dropout": "embedding_dropout, hidden_dropout, recurrent_dropout or classifier_dropout",
    "hidden_dropout_prob": "hidden_dropout",
    **dict.fromkeys(("num_layers", "n_layers", "n_layer"), "num_hidden_layers"),
    **dict.fromkeys(("units", "hidden_dim", "hidden_units", "d_model"), "hidden_size"),
    **dict.fromkeys(("embedding_dim", "embed_dim", "input_size", "output_dim"), "embedding_size"),
    **dict.fromkeys(("num_embeddings", "input_dim", "num_words"), "vocab_size"),
    **dict.fromkeys(("num_classes", "n_classes"), "num_labels"),
}
# Of the names that are no fields, those that transformers reads itself.
_OF_TRANSFORMERS = {"attn_implementation", "auto_map", "experts_implementation", "per_layer_config", "torch_dtype"}


@strict
class RecurrentConfig(PreTrainedConfig):
    """The fields that all families share. Types are checked on assignment too, ranges on construction and saving.

    Each field has one name, that of transformers: another one, misspelled or of torch or Keras, is refused with the
    name of the field; only a saved configuration, which has a `transformers_version`, may have fields of newer
    versions.

    Args:
        vocab_size: rows of the word embedding, special tokens included.
        embedding_size: features of a word vector.
        hidden_size: features of the state, per direction; with two directions outputs have twice as many.
        num_hidden_layers: stacked recurrent layers; 0 makes a bag of words, the pooled word vectors.
        bidirectional: read each row in both directions.
        embedding_dropout, hidden_dropout: dropout of the word vectors, and of the outputs from layer to layer; one
            mask per row for all its words (Gal & Ghahramani 2016, https://arxiv.org/abs/1512.05287).
        recurrent_dropout: dropout of the state from word to word. There is one mask per batch (it is applied to the
            weights, so that the fused kernels can be used), where Keras draws one per row.
        recurrent_weight_dropout: dropout of the single weights of the recurrent matrices, one mask per batch (weight
            drop, Merity et al. 2018, https://arxiv.org/abs/1708.02182).
        classifier_dropout: dropout before the classifier; of a language model, before its output layer.
        pooling: how a row becomes one vector. `last`: the forward state at the last word and the backward state at
            the first; `mean`, `max`: over the words; `concat`: these three; `attention`: a learned weighted mean.
        use_crf: a token classifier scores sequences of tags, with a conditional random field.
        iobes: with `use_crf`, the CRF's own tags are IOBES, which also tell where an entity ends; labels stay IOB2.
        sentence_token_id: the id of the token that ends a sentence: a token classifier then runs over each sentence of
            a row separately. None: a row is one sentence.
        pool_repeated_words: a token classifier classifies each word by the output there and the mean of the outputs at
            the other occurrences of the word in the row. It is for rows of several sentences.
        character_size: features that the characters of each word add to its vector; 0: they are not read.
        character_encoder: what makes these features: `cnn`, a convolution of width 3 and the maximum over the
            characters (Ma & Hovy 2016), or `lstm`, the last states of an LSTM in both directions (Lample et al. 2016).
        character_ngrams: the mean of vectors of the word's n-grams of 3 to 5 characters, hashed into this many
            buckets, is added to these features (Bojanowski et al. 2017); 0: they are not read.
        ngram_dropout: in training, the share of the n-grams of each word that the mean leaves out.
        context_size: features per direction of the states of a frozen character language model, which are added to a
            word's vector (contextual string embeddings, Akbik et al. 2018); 0: there is none.
        context_embedding_size: features of a character's vector in that language model.
        character_embedding_size: features of a character's vector.
        character_vocab_size: rows of the character embedding, including padding (0) and unknown characters (1).
        window: a sequence classifier reads only the last `window` real tokens of a row; None: all.
        wide_size: a sequence classifier adds the logits of a linear model on words and pairs of neighbouring words,
            hashed into this many buckets (Wide & Deep, Cheng et al. 2016); 0: it has none. Of two labels a bucket has
            one weight, for the margin between them.
        wide_dropout: in training, the share of rows that the network classifies without those logits, so that it
            learns what it can do by itself instead of correcting the wide part alone.
        tie_word_embeddings: a language model's output layer shares the embedding's weights.

    Raises:
        huggingface_hub.errors.StrictDataclassError: a value of the wrong type or out of range.
        ValueError: a name that is no field.
    """

    # Trainer must not gather these: a state is no prediction, and the logits say what a CRF found.
    keys_to_ignore_at_inference = ["final_state", "past_key_values", "emissions", "tags", "marginals"]

    vocab_size: int = 10_000
    embedding_size: int = 128
    hidden_size: int = 128
    num_hidden_layers: int = 1
    bidirectional: bool = False
    embedding_dropout: float | int = 0.0
    hidden_dropout: float | int = 0.0
    recurrent_dropout: float | int = 0.0
    recurrent_weight_dropout: float | int = 0.0
    classifier_dropout: float | int = 0.0
    pooling: Literal["last", "mean", "max", "concat", "attention"] = "last"
    window: int | None = None
    wide_size: int = 0
    wide_dropout: float | int = 0.0
    use_crf: bool = False
    iobes: bool = False
    sentence_token_id: int | None = None
    pool_repeated_words: bool = False
    character_size: int = 0
    character_encoder: Literal["cnn", "lstm"] = "cnn"
    character_ngrams: int = 0
    ngram_dropout: float | int = 0.0
    context_size: int = 0
    context_embedding_size: int = 32
    character_embedding_size: int = 30
    character_vocab_size: int = 100
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | None = None
    unk_token_id: int | None = 2
    tie_word_embeddings: bool = False

    # Fields of transformers, which does not check them; declared here, they are checked.
    architectures: list[str] | None = None
    id2label: dict[int, str] | dict[str, str] | None = None
    label2id: dict[str, int] | dict[str, str] | None = None
    problem_type: Literal["regression", "single_label_classification", "multi_label_classification"] | None = None

    def __post_init__(self, **kwargs: Any):
        """As in transformers, with errors that name the values of these fields, and the names that are no fields."""
        if self.transformers_version is None:
            for name in kwargs:
                known = name.startswith("_") or name in _OF_TRANSFORMERS or hasattr(type(self), name)
                if name in _OTHER_NAMES or not known:
                    raise self._no_field(name)
        number = kwargs.get("num_labels", 1)
        if type(number) is not int or not 1 <= number <= _MOST_LABELS:
            raise ValueError(f"num_labels={number!r} must be an int from 1 to {_MOST_LABELS}.")
        try:
            super().__post_init__(**kwargs)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{type(self).__name__} has a field with a wrong value: {error}") from error

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any):
        """As in transformers, which ignores changes that are no fields, except that those close to one are refused."""
        for name in kwargs:
            if name in _OTHER_NAMES or cls._nearest(name, cutoff=0.9) not in ([], [name]):
                raise cls._no_field(name)
        return super().from_dict(config_dict, **kwargs)

    @classmethod
    def _nearest(cls, name: str, cutoff: float) -> list[str]:
        return get_close_matches(name, ["num_labels", *(field.name for field in fields(cls))], n=1, cutoff=cutoff)

    @classmethod
    def _no_field(cls, name: str) -> ValueError:
        """The error for a name that is no field."""
        if name in _OTHER_NAMES:
            way_out = f"use {_OTHER_NAMES[name]}."
        elif nearest := cls._nearest(name, cutoff=0.6):
            way_out = f"did you mean {nearest[0]}?"
        else:
            own = {field.name for field in fields(cls)} - {field.name for field in fields(PreTrainedConfig)}
            way_out = f"it has {', '.join(sorted(own))}. A note of your own can be set as an attribute afterwards."
        return ValueError(f"{cls.__name__} has no field {name!r}: {way_out}")

    @property
    def num_directions(self) -> int:
        """2 if every row is read in both directions, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """Features of `last_hidden_state`: `hidden_size` times directions, or without layers those of the words."""
        return self.hidden_size * self.num_directions if self.num_hidden_layers else self.input_size

    @property
    def input_size(self) -> int:
        """Features that the first layer reads: a word's vector, those of its characters, and its context."""
        return self.embedding_size + self.character_size + 2 * self.context_size

    @property
    def reads_characters(self) -> bool:
        """Whether a model needs `character_ids`."""
        return bool(self.character_size or self.context_size)

    def validate_sizes(self):
        """Sizes are at least 1, except that there may be no layers, characters, wide part; and none is absurd."""
        sizes = ("vocab_size", "embedding_size", "hidden_size", "num_hidden_layers", "window", "wide_size")
        characters = ("character_size", "character_ngrams", "character_embedding_size", "character_vocab_size")
        context = ("context_size", "context_embedding_size")
        may_be_zero = ("num_hidden_layers", "wide_size", "character_size", "character_ngrams", "context_size")
        for name in (*sizes, *characters, *context):
            value, smallest = getattr(self, name), int(name not in may_be_zero)
            largest = _MOST_LAYERS if name == "num_hidden_layers" else _MOST
            if value is not None and not smallest <= value <= largest:
                raise ValueError(f"{name}={value!r} must be at least {smallest} and at most {largest}.")
        if self.num_hidden_layers == 0 and self.pooling in ("last", "concat"):
            raise ValueError(
                f"pooling={self.pooling!r} needs the last state of a layer, and there is none with "
                "num_hidden_layers=0: choose mean, max or attention."
            )

    def validate_characters(self):
        """An option needs what it is about; an LSTM's two directions make as many features of characters each."""
        reads = ("character_encoder", "cnn", "character_size"), ("character_ngrams", 0, "character_size")
        for name, off, needed in (*reads, ("ngram_dropout", 0, "character_ngrams")):
            value = getattr(self, name)
            if value != off and not getattr(self, needed):
                raise ValueError(f"{name}={value!r} has no effect with {needed}=0: set that, or leave it out.")
        if self.character_encoder == "lstm" and self.character_size % 2:
            raise ValueError(
                f"character_size={self.character_size} must be even with character_encoder='lstm', whose two "
                "directions make half of these features each."
            )

    def validate_dropouts(self):
        """A dropout is a probability, 0 <= p < 1 (at 1 nothing would be left to learn from)."""
        kinds = ("embedding", "hidden", "recurrent", "recurrent_weight", "classifier", "ngram", "wide")
        for name in (f"{kind}_dropout" for kind in kinds):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"{name}={value!r} must be at least 0 and below 1.")

    def validate_labels(self):
        """Classes are numbered from 0 without gaps."""
        if self.id2label is not None and sorted(map(int, self.id2label)) != list(range(max(1, len(self.id2label)))):
            raise ValueError(f"id2label={self.id2label!r:.200} must name the classes 0, 1, 2 and so on.")

    def validate_dtype(self):
        """A dtype; while a configuration is saved, its name."""
        if self.dtype is not None and type(self.dtype).__name__ not in ("dtype", "str"):
            raise ValueError(f"dtype={self.dtype!r:.200} is not a dtype: choose float32, bfloat16 or float16.")

    def validate_token_ids(self):
        """Special tokens have a row in the word embedding."""
        for name in ("pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id", "sentence_token_id"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < self.vocab_size:
                raise ValueError(
                    f"{name}={value!r} has no row in an embedding of vocab_size={self.vocab_size}: "
                    f"choose an id from 0 to {self.vocab_size - 1}, or None."
                )


@strict
class RNNConfig(RecurrentConfig):
    """Elman network (Elman 1990): a recurrent layer with tanh."""

    model_type = "rnnzoo-rnn"


@strict
class BiRNNConfig(RecurrentConfig):
    """Bidirectional Elman network (Schuster & Paliwal 1997); `bidirectional=False` is refused."""

    model_type = "rnnzoo-birnn"

    bidirectional: bool = True

    def validate_direction(self):
        """A BiRNN with one direction is an RNN."""
        if self.bidirectional is not True:
            raise ValueError("bidirectional=False makes a BiRNNConfig an RNN: use RNNConfig instead.")


@strict
class LSTMConfig(RecurrentConfig):
    """Long short-term memory (Hochreiter & Schmidhuber 1997); `bidirectional=True` makes a BiLSTM."""

    model_type = "rnnzoo-lstm"


@strict
class GRUConfig(RecurrentConfig):
    """Gated recurrent unit (Cho et al. 2014); `bidirectional=True` makes a BiGRU."""

    model_type = "rnnzoo-gru"


__all__ = ["BiRNNConfig", "GRUConfig", "LSTMConfig", "RNNConfig", "RecurrentConfig"]
