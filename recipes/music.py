"""Tunes in ABC notation (one-to-many: a label in, a tune out), by a language model of characters.

accelerate launch -m recipes.music --config recipes/configs/music/lstm.yaml
python -m recipes.tunes runs/music/lstm-0     writes tunes, and counts those whose bars add up
"""

from dataclasses import dataclass, replace
from typing import Any

from rnnzoo.data import tunes
from rnnzoo.data.errors import RecipeError
from rnnzoo.tasks.language_model import LanguageModel, LanguageModelOptions
from rnnzoo.training.options import option
from rnnzoo.training.run import main


@dataclass
class MusicOptions(LanguageModelOptions):
    """Options of language models of tunes."""

    transpositions: int = option(
        0, "train on every tune in so many other keys as well, of two flats to four sharps (6 at most)", group="Data"
    )

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.transpositions <= 6:
            raise RecipeError(f"transpositions is {self.transpositions}: it must lie between 0 and 6.")


class Music(LanguageModel):
    """Tunes, by default those of the Nottingham Music Database. The label is a tune's book, metre and key."""

    name = "music"
    default_dataset = "nottingham"
    Options = MusicOptions
    corpora = tunes
    description = replace(
        LanguageModel.description,
        pipeline_options={"do_sample": True, "top_k": 0, "max_new_tokens": 1500},
        verb="compose",
        example="jigs\nM:6/8\nL:1/8\nK:G\n",
        metric="bits_per_character",
        metric_meaning="mean negative log2 probability of a character, label and end included; lower is better",
        unit="tune",
    )

    @classmethod
    def load_options(cls, options: MusicOptions) -> dict[str, Any]:
        more = {"transpositions": options.transpositions} if options.transpositions else {}
        return super().load_options(options) | more


TASK = Music

if __name__ == "__main__":
    main(TASK)
