"""Tunes in ABC notation (one-to-many: a label in, a tune out), by a language model of characters.

accelerate launch -m recipes.music --config recipes/configs/music/lstm.yaml
python -m recipes.tunes runs/music/lstm-0     writes tunes, and counts those whose bars add up
"""

from dataclasses import replace

from rnnzoo.data import tunes
from rnnzoo.tasks.language_model import LanguageModel
from rnnzoo.training.run import main


class Music(LanguageModel):
    """Tunes, by default those of the Nottingham Music Database. The label is a tune's book, metre and key."""

    name = "music"
    default_dataset = "nottingham"
    corpora = tunes
    description = replace(
        LanguageModel.description,
        pipeline_options={"do_sample": True, "top_k": 0, "max_new_tokens": 1500},
        verb="compose",
        example="jigs\nM:6/8\nL:1/8\nK:G\n",
        metric="bits_per_character",
        metric_meaning="mean negative log2 probability of a character, label and end included; lower is better",
        lower_is_better=True,
        unit="tune",
    )


TASK = Music

if __name__ == "__main__":
    main(TASK)
