"""Checkpoints that somebody tampers with: files with code in them, and sizes that hide it."""

import io
from pathlib import Path
from typing import Any

import torch

from rnnzoo.training import resume


# The files that a resumed run reads, and those that accelerate would look for: with FSDP and without, and in place of
# model.safetensors.
READ = [*resume.FILES]
NOT_READ = [
    *("pytorch_model.bin", "pytorch_model_fsdp.bin", "optimizer.bin", "scheduler.bin", "sampler.bin", "scaler.pt"),
    *("dl_state_dict.bin", "random_states_0.pkl", "random_states_1.pkl", "custom_checkpoint_0.pkl"),
]


class Code:
    """Runs when it is unpickled: creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def torch_saved(content: Any) -> bytes:
    """The bytes that `torch.save` writes; `pickle.dumps` is the other way to hide code."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def truncate(path: Path) -> None:
    """Removes the second half of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def seal_again(folder: Path) -> None:
    """Records the sizes of the files as they are now, as somebody who hides code in them can."""
    (folder / resume.SIZES).unlink()
    resume._seal(folder)


def steps(folder: Path) -> list[int]:
    """The steps of a run's checkpoints, the newest first."""
    return [int(path.name[5:]) for path in resume.found(folder)]
