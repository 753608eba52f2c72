"""Answers of a model to texts, computed once: a folder of shards, each written completely or not at all.

A shard has the logits of some texts and the hash of each text. So what was answered before is never asked again,
whatever the order of the texts: an interrupted run continues, and runs on other splits of the same data share answers.
"""

import os
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from rnnzoo.data.errors import RecipeError


# Texts of a shard: what an interruption may lose.
SHARD = 2_000


def answers(folder: Path, ask: Callable[[list[str]], Tensor], texts: list[str]) -> Tensor:
    """The logits of each text, [N, C] in fp32: those in `folder`, and for all others what `ask` gives, written there.

    The missing texts are dealt to the processes in shards, so that one process and several write the same files.

    Args:
        folder: of this model alone; all processes see it, and other runs may read and write it at the same time.
        ask: texts -> logits, [N, C].

    Raises:
        RecipeError: the folder cannot be written, or a file in it is not what was written.
    """
    process, unique = PartialState(), list(dict.fromkeys(texts))
    known = _read(folder)
    # One process decides: another might look when the first shard is there already.
    missing = [[i for i, text in enumerate(unique) if _key(text) not in known]]
    (missing,) = broadcast_object_list(missing)
    shards = [[unique[i] for i in missing[start : start + SHARD]] for start in range(0, len(missing), SHARD)]
    quiet = None if process.is_main_process else True
    for shard in tqdm(shards[process.process_index :: process.num_processes], folder.name, disable=quiet, leave=False):
        logits = ask(shard)
        if not logits.isfinite().all():
            raise RecipeError(f"{folder.name} answered a text with logits that are not finite: it cannot teach.")
        _write(folder, shard, logits)
    process.wait_for_everyone()
    if missing:
        known = _read(folder)
    if any(_key(text) not in known for text in unique):
        raise RecipeError(
            f"The answers in {folder} are incomplete: another process wrote its part elsewhere, or files were "
            "removed. Name a folder that all processes see with --answers."
        )
    return torch.stack([known[_key(text)] for text in texts])


def _key(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _read(folder: Path) -> dict[bytes, Tensor]:
    """All answers in a folder, by the hash of their text."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            shard = load_file(path)
            keys = map(bytes, shard["texts"].numpy())
            found |= dict(zip(keys, shard["logits"], strict=True))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise RecipeError(
                f"{path} cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]}): it is not "
                "what was written. Remove it, and its texts are answered again."
            ) from error
    return found


def _write(folder: Path, texts: list[str], logits: Tensor) -> None:
    """A shard, under a name that follows from its texts."""
    keys = [_key(text) for text in texts]
    path = folder / f"{blake2b(b''.join(keys), digest_size=8).hexdigest()}.safetensors"
    unfinished = path.with_suffix(f".{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"texts": torch.tensor([list(key) for key in keys], dtype=torch.uint8)}
        save_file(tensors | {"logits": logits.float().cpu().contiguous()}, unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())  # the rename might get to the disk before the contents
        unfinished.replace(path)
    except (OSError, SafetensorError) as error:
        if unfinished.is_file():
            unfinished.unlink()
        raise RecipeError(
            f"Answers cannot be written to {folder} ({' '.join(str(error).split())[:200]}). Make room, or choose "
            "another folder with --answers; complete shards are kept."
        ) from error
