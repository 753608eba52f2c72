"""What a run needs to go on after it was stopped: its state, written whole or not at all, and an ear for SIGTERM."""

import dataclasses
import json
import os
import random
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from rnnzoo.data.errors import RecipeError


INCIDENTAL = (
    *("output_dir", "resume", "verify_rows", "eval_batch_size", "num_threads", "report_to", "half_precision"),
    *("checkpointing_steps", "checkpointing_minutes", "keep", "push_to_hub", "hub_model_id", "hub_private"),
)


# What a run ends with that was told to stop, and has saved: EX_TEMPFAIL of sysexits.h, "try again later".
STOPPED = 75
# A checkpoint's files: JSON and safetensors, which cannot carry code. accelerate would write, and read, pickles.
WEIGHTS, OPTIMIZER, BEST = "model.safetensors", "optimizer.safetensors", "best.safetensors"
PROGRESS, RANDOM, SIZES = "progress.json", "random.json", "sizes.json"
FILES = (WEIGHTS, OPTIMIZER, BEST, PROGRESS, RANDOM)


class Progress:
    """Where a run stands: saved with every checkpoint, so that a resumed run goes on as if it had not stopped."""

    NUMBERS = ("settings", "epoch", "step", "step_in_epoch", "loss_sum", "seconds", "history", "best_epoch")

    def __init__(
        self,
        settings: dict[str, Any],
        model: nn.Module,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        scaler: torch.amp.GradScaler | None = None,
        seconds: float = 0.0,
    ):
        self.settings, self.model, self.scheduler, self.scaler = settings, model, scheduler, scaler
        self.optimizer = scheduler.optimizer
        self.epoch, self.step, self.step_in_epoch = 0, 0, 0
        self.loss_sum, self.seconds = 0.0, seconds
        self.history: list[dict] = []
        self.best_epoch: int | None = None
        self.best_weights: dict[str, Tensor] = {}

    def tensors(self, kept: bool) -> dict[str, dict[str, Tensor]]:
        """By file and name. Every process takes part; those to which `kept` is False get none."""
        moments = {
            f"{number}.{name}": tensor
            for number, state in self.optimizer.state_dict()["state"].items()
            for name, tensor in state.items()
        }
        found = {WEIGHTS: self.model.state_dict(), OPTIMIZER: moments, BEST: self.best_weights}
        return {file: _gathered(tensors, kept) for file, tensors in found.items()}

    def numbers(self) -> dict[str, Any]:
        """What is not a tensor."""
        return {name: getattr(self, name) for name in self.NUMBERS} | {
            "optimizer": self.optimizer.state_dict()["param_groups"],
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler and self.scaler.state_dict(),
        }

    def load(self, tensors: dict[str, dict[str, Tensor]], numbers: dict[str, Any]) -> None:
        """The opposite; where weights are shared out, each process takes its part."""
        own = self.model.state_dict()
        self.model.load_state_dict({name: _part(t, own.get(name)) for name, t in tensors[WEIGHTS].items()})
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for place, tensor in tensors[OPTIMIZER].items():
            number, name = place.split(".")
            parameter = parameters[int(number)]
            if name != "step" and tensor.shape != parameter.shape:
                raise ValueError(f"{place} of the optimizer is {list(tensor.shape)}, not {list(parameter.shape)}")
            state.setdefault(int(number), {})[name] = tensor if name == "step" else _part(tensor, parameter)
        self.optimizer.load_state_dict({"state": state, "param_groups": numbers["optimizer"]})
        self.scheduler.load_state_dict(numbers["scheduler"])
        if self.scaler:
            self.scaler.load_state_dict(numbers["scaler"])
        for name in self.NUMBERS:
            setattr(self, name, numbers[name])
        self.best_weights = tensors[BEST]


def _gathered(tensors: dict[str, Tensor], kept: bool) -> dict[str, Tensor]:
    """Copies in memory of their own, put together where each process has a part (FSDP2)."""
    found = {}
    for name, tensor in tensors.items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if kept:
            found[name] = whole.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    return found


def _part(tensor: Tensor, own: Tensor | None) -> Tensor:
    """What a process has of it, if it has a part of its own one."""
    if not isinstance(own, DTensor):
        return tensor
    return distribute_tensor(tensor, own.device_mesh, own.placements, src_data_rank=None)  # all have read the same


def _generators(device: torch.device) -> dict[str, Any]:
    return {"cpu": torch} | ({} if device.type == "cpu" else {device.type: torch.get_device_module(device)})


def _random_state(device: torch.device) -> dict[str, Any]:
    """Of every generator that a model may draw from in this process."""
    name, key, *rest = np.random.get_state()
    drawn = {kind: module.get_rng_state().tolist() for kind, module in _generators(device).items()}
    return {"python": random.getstate(), "numpy": [name, key.tolist(), *rest], "torch": drawn}


def _set_random_state(state: dict[str, Any], device: torch.device) -> None:
    version, key, spare = state["python"]
    random.setstate((version, tuple(key), spare))
    np.random.set_state(state["numpy"])
    for kind, module in _generators(device).items():
        if kind in state["torch"]:  # it may go on on another device
            module.set_rng_state(torch.tensor(state["torch"][kind], dtype=torch.uint8))


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
    there = [path for path in Path(output_dir, "checkpoints").glob("step-*") if path.name[5:].isdecimal()]
    return sorted(there, key=lambda path: -int(path.name[5:]))


def usable(output_dir: str) -> list[Path]:
    """Those that are whole."""
    return [path for path in found(output_dir) if _whole(path)]


def discard(output_dir: str | Path) -> None:
    """Removes those of a run that has ended, or cannot go on."""
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
    try:
        tensors = progress.tensors(kept=accelerator.is_main_process)
        drawn = gather_object([_random_state(accelerator.device)])
        if accelerator.is_main_process:
            unfinished.mkdir(parents=True)
            for name, content in tensors.items():
                save_file(content, unfinished / name)
            for name, content in {PROGRESS: progress.numbers(), RANDOM: drawn}.items():
                (unfinished / name).write_text(json.dumps(content), encoding="utf-8")
            _seal(unfinished)
            shutil.rmtree(finished, ignore_errors=True)  # an earlier one, not whole
            unfinished.rename(finished)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        older = usable(output_dir)
        way = (
            f"{older[0].name} is whole: make room, and go on with --resume" if older else "Make room, and start again"
        )
        raise RecipeError(
            f"The checkpoint of step {progress.step} cannot be written to {folder} "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). {way}."
        ) from error
    if accelerator.is_main_process:
        there = found(output_dir)
        this = there.index(finished)  # newer ones are not whole: the run went back before them
        for path in there[:this] + there[this + keep :]:
            shutil.rmtree(path)


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
    except (OSError, ValueError, AttributeError):  # the last where it is JSON of another kind
        return False


def _read(path: Path) -> Any:
    """The content of a file."""
    try:
        if path.suffix != ".safetensors":
            return json.loads(path.read_text(encoding="utf-8"))
        # Copies: load_file's tensors are the file itself, mapped into memory, and it will be removed.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except Exception as error:  # each kind of file has its own
        raise RecipeError(
            f"resume: {path} cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]}): it is not "
            f"what the run wrote. Remove {path.parent}, and an older one is taken, or choose another --output_dir."
        ) from error


def resume(accelerator: Accelerator, progress: Progress, output_dir: str) -> None:
    """Goes on from the newest whole checkpoint.

    Raises:
        RecipeError: there is none, it cannot be read, or it belongs to a run with other options.
    """
    now, there = progress.settings, found(output_dir)
    folder = next(iter(usable(output_dir)), None)
    for path in there[: there.index(folder)] if folder else there:
        accelerator.print(f"resume: {path} is not whole, and left out.")
    if not folder:
        raise RecipeError(f"resume: there is no whole checkpoint in {output_dir}/checkpoints. Start without it.")
    absent = [name for name in FILES if not (folder / name).exists()]
    if absent:  # and it is whole
        raise RecipeError(
            f"resume: {folder} has no {absent[0]}: another version of the recipes wrote it. Go on with that one, or "
            f"remove {folder.parent} and start without --resume."
        )
    # All is read by every process, before any of it is used: what stops one of them stops them all.
    numbers, drawn = (_read(folder / name) for name in (PROGRESS, RANDOM))
    tensors = {name: _read(folder / name) for name in (WEIGHTS, OPTIMIZER, BEST)}
    try:
        changed = [
            f"{name} was {old!r} and is {now.get(name)!r}"
            for name, old in numbers["settings"].items()
            if old != now.get(name)
        ]
        if not changed:
            progress.load(tensors, numbers)
            if accelerator.process_index < len(drawn):  # there may have been fewer processes
                _set_random_state(drawn[accelerator.process_index], accelerator.device)
    except Exception as error:  # whatever a damaged file, or one of another model, leads to
        raise RecipeError(
            f"resume: the checkpoint {folder} cannot be loaded into this model "
            f"({' '.join(str(error).split())[:300]}). Give the options of the run that wrote it, or choose another "
            "--output_dir."
        ) from error
    if changed:
        raise RecipeError(
            f"resume: the checkpoint {folder} belongs to a run with other options: {'; '.join(changed)}. Give the "
            "same ones, or choose another --output_dir."
        )
    accelerator.print(f"resuming from {folder}")
