"""A small tagger that one or several teachers teach, on labelled sentences.

accelerate launch -m recipes.distil_ner --config recipes/configs/distil_ner/distil-ner.yaml \\
    --teachers runs/bert-fold-0 runs/bert-fold-1 --output_dir runs/distil-ner-0

Teachers are folders that recipes.ner or recipes.tag wrote, or token classifiers of the Hub with a fast tokenizer.
"""

from recipes.ner import Ner
from rnnzoo.tasks.distil_tags import DistilTags
from rnnzoo.training.run import main


class DistilNer(DistilTags):
    """Distillation of taggers, by default on CoNLL-2003."""

    default_dataset = Ner.default_dataset
    description = Ner.description


TASK = DistilNer

if __name__ == "__main__":
    main(TASK)
