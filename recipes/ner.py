"""Named entities (many-to-many: a tag for every word), by any model of the zoo or of transformers.

accelerate launch -m recipes.ner --config recipes/configs/ner/lstm.yaml
accelerate launch -m recipes.ner --config recipes/configs/ner/lstm.yaml --dataset made --output_dir runs/try
"""

from dataclasses import replace

from rnnzoo.tasks.tag import Tag
from rnnzoo.training.run import main


class Ner(Tag):
    """Named entity recognition, by default of CoNLL-2003."""

    name = "ner"
    default_dataset = "conll2003"
    description = replace(
        Tag.description,
        remark=(
            "Published, not run here: spaCy's en_core_web_lg does 10,014 words/s on a CPU of theirs, on 10,000 "
            "comments of Reddit, tagging and parsing included (https://spacy.io/usage/facts-figures)."
        ),
    )


TASK = Ner

if __name__ == "__main__":
    main(TASK)
