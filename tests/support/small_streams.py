"""Language models on streams of texts: the runs that one process and several must agree on.

Run by a launcher as `-m tests.support.small_streams FOLDER NAME …`, it does the runs of these names in FOLDER.
"""

import os
import signal
import sys
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from safetensors.torch import save_file

from rnnzoo.tasks import language_model
from rnnzoo.tasks.language_model import LanguageModel
from rnnzoo.training.saver import Saver
from tests.support.recipes import run


# Seven streams: the processes and their micro-batches have unequal numbers of them.
OPTIONS = {
    "model": {"model_type": "rnnzoo-lstm", "embedding_size": 12, "hidden_size": 14},
    "tokenizer": {"unit": "character"},
    "batch_size": 7,
    "gradient_accumulation_steps": 2,
    "chunk_length": 10,
    "num_train_epochs": 2,
    "learning_rate": 2e-3,
    "num_threads": 1,
    "validation_only": True,
}
# Dropout is drawn by each process for itself; texts that are read lazily are several streams, one after the other.
RESUMED = {"model": OPTIONS["model"] | {"embedding_dropout": 0.2}, "streaming": True, "checkpointing_steps": 4}
RUNS = {
    "plain": {},
    "uninterrupted": RESUMED,
    "killed": RESUMED,
    "resumed": RESUMED | {"resume": True},
}
FOLDERS = {"resumed": "killed"}
KILLED_AFTER = 21  # steps, one after a checkpoint


def write_texts(folder: Path) -> Path:
    """A data set of short texts."""
    folder.mkdir()
    for split, numbers in {"train": range(60), "validation": range(100, 113), "test": range(200, 205)}.items():
        texts = [f"text {n}: {'la ' * (n % 7)}{'do ' * (n % 3)}end" for n in numbers]
        (folder / f"{split}.txt").write_text("\n".join(texts), encoding="utf-8")
    return folder


class Streams(LanguageModel):
    """Writes the states of this process's own streams beside the run's folder, as the last step left them."""

    def after_forward(self, outputs, batch):
        super().after_forward(outputs, batch)
        if "stream" in batch:
            save_file(self.carried(), f"{self.folder}-{PartialState().process_index}.safetensors")


class Killed(Saver):
    """The second process is killed by the system."""

    def after_step(self):
        super().after_step()
        if self.progress.step == KILLED_AFTER and PartialState().process_index == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def trained(folder: Path, data: Path, name: str) -> dict:
    """One of the RUNS: what is in its results.json."""
    language_model.BLOCK = 20
    Streams.folder = folder / name
    return run(Streams, folder / FOLDERS.get(name, name), data, **OPTIONS | RUNS[name])


def main(folder: Path, names: list[str]) -> None:
    """What each of the launched processes does."""
    Accelerator.end_training = lambda self: None  # which ends the group of processes; there are more runs
    for name in names:
        if name == "killed":
            sys.modules["rnnzoo.training.loop"].Saver = Killed
        trained(folder, folder / "texts", name)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
