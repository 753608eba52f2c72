"""The character language model whose states a new tagger reads: what it decides, and its weights."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedModel

from rnnzoo.configuration_rnnzoo import LSTMConfig
from rnnzoo.context_rnnzoo import SEPARATOR_ID
from rnnzoo.data.errors import RecipeError
from rnnzoo.lm_tokenizer import SEPARATOR
from rnnzoo.tokenization_rnnzoo import CHARACTER_UNK


class ContextModel(NamedTuple):
    """A character language model, without its weights.

    Attributes:
        path: where it is.
        letters: its characters, those of the tagger's tokenizer.
        rows: of its embedding, those of the tagger's character ids, in their order.
        fields: of the tagger's configuration, those that it decides.
    """

    path: str
    letters: str
    rows: list[int]
    fields: dict[str, int]

    @classmethod
    def at(cls, path: str) -> "ContextModel":
        """The language model in a folder, or on the Hub.

        Raises:
            RecipeError: it cannot be read, or is not what `recipes.pretrain_characters` trains.
        """
        try:
            config, tokenizer = AutoConfig.from_pretrained(path), AutoTokenizer.from_pretrained(path)
        except Exception as error:  # whatever is in a folder that somebody names
            raise RecipeError(
                f"context_model {path} cannot be loaded: {' '.join(str(error).split())[:500]}"
            ) from error
        check_network(path, config)
        ids = tokenizer.get_vocab()
        special = set(tokenizer.all_special_tokens)
        known = sorted(set(ids) - special - {SEPARATOR}, key=ids.get)
        if SEPARATOR not in ids or tokenizer.unk_token is None or any(len(token) != 1 for token in known):
            raise RecipeError(
                f"context_model {path} has no tokenizer of characters with {SEPARATOR} between words: train one with "
                "recipes.pretrain_characters."
            )
        if (highest := max(ids.values())) >= config.vocab_size:
            raise RecipeError(
                f"The tokenizer of context_model {path} has ids up to {highest}, and its embedding "
                f"{config.vocab_size} rows: they come from different checkpoints."
            )
        rows = {SEPARATOR_ID: ids[SEPARATOR], CHARACTER_UNK: tokenizer.unk_token_id}
        rows |= {number: ids[token] for number, token in enumerate(known, start=CHARACTER_UNK + 1)}
        fields = {"context_size": config.hidden_size, "context_embedding_size": config.embedding_size}
        return cls(path, "".join(known), [rows[number] for number in range(len(rows))], fields)

    @torch.no_grad()
    def fill(self, tagger: PreTrainedModel) -> None:
        """Copies its weights into a tagger that was made with its `letters` and `fields`.

        Raises:
            RecipeError: the tagger has another number of characters, or features of another width.
        """
        model, encoder = AutoModel.from_pretrained(self.path, dtype=torch.float32), tagger.base_model.context_encoder
        characters = model.embed_tokens.weight[self.rows]
        sizes = {
            "characters": (len(characters), len(encoder.embed_characters.weight)),
            "features of a character": (characters.shape[1], encoder.embed_characters.weight.shape[1]),
            "features of a state": (model.config.hidden_size, tagger.config.context_size),
        }
        for what, (theirs, ours) in sizes.items():
            if theirs != ours:
                raise RecipeError(f"context_model {self.path} has {theirs} {what}, and the tagger {ours}.")
        encoder.embed_characters.weight.copy_(characters)
        for name in ("forward_direction", "backward_direction"):
            getattr(encoder, name).load_state_dict(getattr(model.layers[0], name).state_dict())

    def record(self) -> dict[str, Any]:
        """What results.json says of it: how it was trained, where its folder tells."""
        file = Path(self.path, "results.json")
        found = {"model": Path(self.path).resolve().name}
        if file.is_file():
            before = json.loads(file.read_text(encoding="utf-8"))
            kept = ("task", "dataset", "metrics", "num_parameters", "train_seconds", "device", "git_commit", "config")
            found |= {name: before[name] for name in kept if name in before}
        return found


def check_network(path: str, config: PreTrainedConfig) -> None:
    """Refuses what is not one layer of an LSTM in both directions.

    Raises:
        RecipeError: naming the field.
    """
    if not isinstance(config, LSTMConfig):
        raise RecipeError(f"context_model {path} is a {config.model_type}: it must be a rnnzoo-lstm.")
    for name, value in {"bidirectional": True, "num_hidden_layers": 1, "character_size": 0, "context_size": 0}.items():
        if (found := getattr(config, name)) != value:
            raise RecipeError(f"context_model {path} has {name}={found!r}: it must be {value!r}.")
