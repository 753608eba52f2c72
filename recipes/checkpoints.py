"""What a run needs to go on after it was stopped: its state, written whole or not at all, and an ear for SIGTERM."""

import dataclasses
import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from recipes.command_line import RecipeError
from recipes.report import INCIDENTAL


# What a run ends with that was told to stop, and has saved: EX_TEMPFAIL of sysexits.h, "try again later".
STOPPED = 75
SIZES = "sizes.json"
PROGRESS, BEST = "progress.json", "best.safetensors"


class Progress:
    """Where a run stands: saved with every checkpoint, so that a resumed run goes on as if it had not stopped.

    By itself, since accelerate would write it, and the scheduler, as pickles, and run what code it finds in them.
    """

    def __init__(
        self, settings: dict[str, Any], scheduler: torch.optim.lr_scheduler.LRScheduler, seconds: float = 0.0
    ):
        self.settings, self.scheduler = settings, scheduler
        self.epoch, self.step, self.step_in_epoch = 0, 0, 0
        self.loss_sum, self.seconds = 0.0, seconds
        self.history: list[dict] = []
        self.best_epoch: int | None = None
        self.best_weights: dict[str, torch.Tensor] = {}

    def save(self, folder: Path) -> None:
        """Writes everything into a folder: numbers as JSON, weights as safetensors."""
        numbers = vars(self) | {"scheduler": self.scheduler.state_dict()}
        weights = {name: tensor.contiguous() for name, tensor in numbers.pop("best_weights").items()}
        (folder / PROGRESS).write_text(json.dumps(numbers), encoding="utf-8")
        save_file(weights, folder / BEST)

    def load(self, folder: Path) -> None:
        """The opposite."""
        numbers = json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
        self.scheduler.load_state_dict(numbers.pop("scheduler"))
        vars(self).update(numbers, best_weights=load_file(folder / BEST))


class Stopped(SystemExit):
    """The end of a run that was told to stop, and has saved; code `STOPPED`."""

    def __init__(self, accelerator: Accelerator, step: int):
        accelerator.print(f"Stopped by SIGTERM after step {step}, which is saved: go on with --resume.", flush=True)
        super().__init__(STOPPED)


class Termination:
    """Within a `with`, remembers a SIGTERM instead of dying of it, so that the run can save first."""

    def __init__(self):
        self.asked = False

    def __enter__(self):
        # Elsewhere than in the main thread Python hears no signals.
        self.hears = threading.current_thread() is threading.main_thread()
        if self.hears:
            self.before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def __exit__(self, *error):
        if self.hears:
            signal.signal(signal.SIGTERM, self.before)

    def _hear(self, number, frame):
        self.asked = True


def settings(options, rows: int) -> dict[str, Any]:
    """What decides the course of a training, and must not change when it is resumed."""
    deciding = {name: value for name, value in dataclasses.asdict(options).items() if name not in INCIDENTAL}
    return json.loads(json.dumps({**deciding, "rows to train on": rows}))  # as a checkpoint has them


def found(output_dir: str) -> list[Path]:
    """The checkpoints of a run, the newest first."""
    return sorted(Path(output_dir, "checkpoints").glob("step-*"), key=lambda path: -int(path.name[5:]))


def discard(output_dir: str | Path) -> None:
    """Removes those of an older run."""
    shutil.rmtree(Path(output_dir, "checkpoints"), ignore_errors=True)


def save(accelerator: Accelerator, progress: Progress, output_dir: str, keep: int) -> None:
    """Writes the state of the whole run beside the last one, then takes its place: there is always a whole one.

    Raises:
        RecipeError: it could not be written; older ones are as they were.
    """
    folder = Path(output_dir, "checkpoints")
    unfinished, finished = folder / "unfinished", folder / f"step-{progress.step}"
    if accelerator.is_main_process:
        shutil.rmtree(unfinished, ignore_errors=True)
    accelerator.wait_for_everyone()
    try:
        accelerator.save_state(str(unfinished))
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            progress.save(unfinished)
            _seal(unfinished)
            shutil.rmtree(finished, ignore_errors=True)  # an earlier run's
            unfinished.rename(finished)
    except Exception as error:  # each library has its own for a full disk
        shutil.rmtree(unfinished, ignore_errors=True)
        older = found(output_dir)
        way = (
            f"{older[0].name} is whole: make room, and go on with --resume" if older else "Make room, and start again"
        )
        raise RecipeError(
            f"The checkpoint of step {progress.step} cannot be written to {folder} "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). {way}."
        ) from error
    if accelerator.is_main_process:
        for older in found(output_dir)[keep:]:
            shutil.rmtree(older)


def _seal(folder: Path) -> None:
    """Notes the sizes of the files, and sees that they are on the disk: a rename might get there before them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    (folder / SIZES).write_text(json.dumps(sizes), encoding="utf-8")
    for path in [*files, folder / SIZES]:
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _whole(folder: Path) -> bool:
    """Whether all its files are there, as long as they were."""
    try:
        sizes = json.loads((folder / SIZES).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def resume(accelerator: Accelerator, progress: Progress, output_dir: str) -> None:
    """Goes on from the newest whole checkpoint.

    Raises:
        RecipeError: there is none, it cannot be read, or it belongs to a run with other options.
    """
    now, there = progress.settings, found(output_dir)
    whole = [path for path in there if _whole(path)]
    for path in there[: there.index(whole[0])] if whole else there:
        accelerator.print(f"resume: {path} is not whole, and left out.")
    if not whole:
        raise RecipeError(f"resume: there is no whole checkpoint in {output_dir}/checkpoints. Start without it.")
    with_fsdp = any(whole[0].glob("pytorch_model_fsdp*"))  # what accelerate calls the weights then
    if with_fsdp != accelerator.is_fsdp2:
        raise RecipeError(
            f"resume: the checkpoint {whole[0]} belongs to a run {'with' if with_fsdp else 'without'} FSDP. Launch "
            "this one in the same way, or start without it."
        )
    try:
        accelerator.load_state(str(whole[0]))
        progress.load(whole[0])
    except Exception as error:  # whatever a damaged file, or one of another model, leads to
        raise RecipeError(
            f"resume: the checkpoint {whole[0]} cannot be loaded into this model "
            f"({' '.join(str(error).split())[:300]}). Give the options of the run that wrote it, or start without it."
        ) from error
    changed = [
        f"{name} was {old!r} and is {now.get(name)!r}"
        for name, old in progress.settings.items()
        if old != now.get(name)
    ]
    if changed:
        raise RecipeError(
            f"resume: the checkpoint {whole[0]} belongs to a run with other options: {'; '.join(changed)}. Give the "
            "same ones, or start without it."
        )
    accelerator.print(f"resuming from {whole[0]}")
