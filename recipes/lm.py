"""Language models, by default of IMDB's reviews; see rnnzoo/tasks/language_model.py.

accelerate launch -m recipes.lm --config recipes/configs/lm/lstm.yaml --dataset made --output_dir runs/try
"""

from rnnzoo.tasks.language_model import LanguageModel
from rnnzoo.training.run import main


TASK = LanguageModel

if __name__ == "__main__":
    main(TASK)
