"""Any labelled texts (many-to-one), by any model of the zoo or of transformers.

accelerate launch -m recipes.classify --config FILE --dataset DATA --output_dir OUT
"""

from rnnzoo.tasks.classify import Classify
from rnnzoo.training.run import main


TASK = Classify

if __name__ == "__main__":
    main(TASK)
