"""Pretraining of a character language model, whose states taggers read as the context of each word.

accelerate launch -m recipes.pretrain_characters --config recipes/configs/pretrain_characters/lstm.yaml
accelerate launch -m recipes.ner --config recipes/configs/ner/lstm.yaml --context_model runs/characters
"""

from dataclasses import dataclass, replace
from typing import Any

from rnnzoo.data import sentences
from rnnzoo.data.corpus import Corpus
from rnnzoo.data.errors import RecipeError
from rnnzoo.lm_tokenizer import train_context_tokenizer
from rnnzoo.tasks.pretrain import Pretrain, PretrainOptions
from rnnzoo.training.options import option


@dataclass
class PretrainCharactersOptions(PretrainOptions):
    """Options of a character language model; characters are its tokens."""

    words_ahead: int = option(1, "how many of the next characters each state predicts; 1: a language model")
    subsample: float = option(0.0, "characters more frequent than this count for less; 0: every one counts fully")
    unlabelled: str | None = option(
        None,
        "further texts to learn from: a split of the data set, a file with a column of texts or of words, a .txt file "
        "with a text per line, or a folder of .txt files",
        group="Data",
    )
    unlabelled_examples: int | None = option(
        None, "use only so many of the further texts, drawn by the seed", group="Data"
    )

    def __post_init__(self):
        super().__post_init__()
        most = self.unlabelled_examples
        if most is not None and (most < 1 or not self.unlabelled):
            raise RecipeError(
                f"unlabelled_examples is {most}: it must be at least 1, and is for the texts that unlabelled names."
            )


class PretrainCharacters(Pretrain):
    """A language model of the characters of sentences in both directions; see `train_context_tokenizer`.

    It reads the words of train and of unlabelled texts, never tags or test.
    """

    name = "pretrain_characters"
    default_dataset = "conll2003"
    description = replace(
        Pretrain.description,
        example="Ada Lovelace lived in London.",
        metric_meaning="mean negative log probability of the next character, and of the one before",
    )
    Options = PretrainCharactersOptions
    corpora = sentences
    column = "tokens"
    train_tokenizer = staticmethod(train_context_tokenizer)
    smallest_input = ("word",)

    @classmethod
    def load_options(cls, options: PretrainCharactersOptions) -> dict[str, Any]:
        """How many of the unlabelled texts are read, too."""
        return {**super().load_options(options), "unlabelled_examples": options.unlabelled_examples}

    @classmethod
    def load(cls, dataset: str, *, seed: int, unlabelled_examples: int | None = None, **chosen: Any) -> Corpus:
        """The corpus, with so many of its unlabelled texts."""
        corpus = super().load(dataset, seed=seed, **chosen)
        if unlabelled_examples is None:
            return corpus
        drawn = corpus.unlabelled.shuffle(seed=seed)
        return replace(corpus, unlabelled=drawn.select(range(min(unlabelled_examples, len(drawn)))))

    def as_texts(self, columns: dict[str, list]) -> list[str]:
        """Words joined by spaces."""
        return [" ".join(words) for words in columns["tokens"]]
