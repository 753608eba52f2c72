"""Answers of a model to texts, computed once: a folder of shards, each written completely or not at all.

A text is a string, whose answer is a row of logits, or the words of a sentence, whose answer is a row for each word.

A shard has the logits of some texts, the hash of each text and, for sentences, how many rows each has. So what was
answered before is never asked again, whatever the order of the texts: an interrupted run continues, and runs on other
splits of the same data share answers.
"""

import json
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

Text = str | tuple[str, ...]


def rows_of(text: Text) -> int:
    """How many rows of logits the answer to a text has."""
    return 1 if isinstance(text, str) else len(text)


def by_text(logits: Tensor, texts: list[Text]) -> list[Tensor]:
    """All rows, [R, C] -> those of each text: [C] for a string, [W, C] for a sentence of W words."""
    parts = logits.split(list(map(rows_of, texts)))
    return [part[0] if isinstance(text, str) else part for part, text in zip(parts, texts, strict=True)]


def answers(folder: Path, ask: Callable[[list[Text]], Tensor], texts: list[Text]) -> Tensor:
    """The logits of all texts, [R, C] in fp32: those in `folder`, and what `ask` gives for the others, written there.

    The missing texts are dealt to the processes in shards, so that one process and several write the same files.

    Args:
        folder: of this model alone; all processes see it, and other runs may read and write it at the same time.
        ask: texts -> logits of all of them, [R, C], where a row of NaN stands for a word that the model does not read.

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
        read = logits if isinstance(shard[0], str) else logits[~logits.isnan().all(1)]
        if not read.isfinite().all():
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
    return torch.cat([known[_key(text)] for text in texts])


def _key(text: Text) -> bytes:
    """A hash; of a sentence as JSON, which tells every word from the next, whatever characters they have."""
    written = text if isinstance(text, str) else json.dumps(text)
    return blake2b(written.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _read(folder: Path) -> dict[bytes, Tensor]:
    """All answers in a folder, [rows of the text, C], by the hash of their text."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            shard = load_file(path)
            keys = list(map(bytes, shard["texts"].numpy()))
            sizes = shard["rows"].tolist() if "rows" in shard else [1] * len(keys)
            found |= dict(zip(keys, shard["logits"].split(sizes), strict=True))
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise RecipeError(
                f"{path} cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]}): it is not "
                "what was written. Remove it, and its texts are answered again."
            ) from error
    return found


def _write(folder: Path, texts: list[Text], logits: Tensor) -> None:
    """A shard, under a name that follows from its texts."""
    keys = [_key(text) for text in texts]
    path = folder / f"{blake2b(b''.join(keys), digest_size=8).hexdigest()}.safetensors"
    unfinished = path.with_suffix(f".{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {"texts": torch.tensor([list(key) for key in keys], dtype=torch.uint8)}
        if not isinstance(texts[0], str):
            tensors["rows"] = torch.tensor(list(map(rows_of, texts)), dtype=torch.int32)
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
