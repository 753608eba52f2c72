"""Any tagged sentences (many-to-many: a tag for every word), by any model of the zoo or of transformers.

accelerate launch -m recipes.tag --config FILE --dataset DATA --output_dir OUT
"""

from rnnzoo.tasks.tag import Tag
from rnnzoo.training.run import main


TASK = Tag

if __name__ == "__main__":
    main(TASK)
