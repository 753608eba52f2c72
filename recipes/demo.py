"""What `make demo` does: trains an LSTM by the recipe, and asks it about two reviews through pipeline()."""

import subprocess
import sys
from pathlib import Path

from transformers import pipeline
from transformers.utils import logging

import rnnzoo  # noqa: F401  registers the families
from rnnzoo.data import places
from rnnzoo.training import resume
from rnnzoo.training.command_line import main


FOLDER = Path("runs/demo")
REVIEWS = {
    "positive": "A wonderful film. The acting is superb, the story is moving, and the music is great.",
    "negative": "A terrible film. The story is predictable, the acting is poor, and the end is boring.",
}


def demo() -> None:
    """Trains on the first data that can be reached: $RNNZOO_DATA, the Hub, else synthetic data."""
    if places.reachable("imdb"):
        options = ["--config", "recipes/configs/imdb/book-lstm.yaml"]
    else:
        print("Neither RNNZOO_DATA nor the Hub has IMDB for this machine; the demo uses synthetic data instead.")
        options = ["--config", "recipes/configs/imdb/made-lstm.yaml"]
    command = ["accelerate", "launch", "-m", "recipes.imdb", *options, "--output_dir", str(FOLDER)]
    print("$", *command, flush=True)
    resume.discard(FOLDER)  # those of an interrupted demo
    launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", *command[1:]]
    if code := subprocess.run(launcher).returncode:
        sys.exit(code)

    logging.disable_progress_bar()
    print(f'\n>>> classify = pipeline("text-classification", model="{FOLDER}")')
    classify = pipeline("text-classification", model=str(FOLDER))
    for expected, review in REVIEWS.items():
        answer = classify(review)[0]
        print(f">>> classify({review!r})\n{answer}  (meant: {expected})")


if __name__ == "__main__":
    main(demo)
