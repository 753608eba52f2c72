"""Checkpoints of a run: its state, written completely or not at all, and read to resume it."""

import dataclasses
import json
import math
import os
import random
import shutil
import time
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
from rnnzoo.training.average import Average
from rnnzoo.training.options import Options, incidental
from rnnzoo.training.task import Task


# A checkpoint's files: JSON and safetensors, which cannot carry code. accelerate would write, and read, pickles.
WEIGHTS, OPTIMIZER, BEST = "model.safetensors", "optimizer.safetensors", "best.safetensors"
PROGRESS, RANDOM, SIZES = "progress.json", "random.json", "sizes.json"
FILES = (WEIGHTS, OPTIMIZER, BEST, PROGRESS, RANDOM)
AVERAGE = "average.safetensors"  # of a run with an average of the weights
CARRIED = "carried.safetensors"  # of a task that carries something from step to step


class Progress:
    """How far a run has come: saved with every checkpoint, so that a resumed run continues as if never stopped."""

    NUMBERS = ("settings", "epoch", "step", "step_in_epoch", "seconds", "history", "best_epoch")

    def __init__(
        self,
        settings: dict[str, Any],
        model: nn.Module,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        scaler: torch.amp.GradScaler | None = None,
        seconds: float = 0.0,
        average: Average | None = None,
        task: Task | None = None,
    ):
        self.task = task
        self.settings, self.model, self.scheduler, self.scaler = settings, model, scheduler, scaler
        self.optimizer, self.average = scheduler.optimizer, average
        self.epoch, self.step, self.step_in_epoch, self.seconds = 0, 0, 0, seconds
        self.last_loss = self.loss_sum = torch.tensor(0.0)
        self.more_sums: dict[str, Tensor] = {}
        self.history: list[dict] = []
        self.best_epoch: int | None = None
        self.best_weights: dict[str, Tensor] = {}

    def start_clock(self) -> None:
        """From here on time is spent on training."""
        self.started = time.perf_counter()

    def stop_clock(self) -> None:
        """Adds the time since `start_clock` to the seconds of training."""
        self.seconds += time.perf_counter() - self.started

    def add(self, loss: Tensor, more: dict[str, Tensor]) -> None:
        """Notes a step, its loss and others by name; they stay on their device."""
        self.last_loss, self.loss_sum = loss, self.loss_sum.to(loss.device) + loss
        for name, value in more.items():
            self.more_sums[name] = value + self.more_sums.get(name, torch.tensor(0.0)).to(value.device)
        self.step += 1
        self.step_in_epoch += 1

    def check_finite(self, *more: float) -> None:
        """Stops a run whose loss is not finite; where a gradient is not, the next loss is not.

        Raises:
            RecipeError: by which step that was, and what to do.
        """
        loss = sum(more, self.loss_sum.item())
        if not math.isfinite(loss):
            raise RecipeError(
                f"Training diverged by step {self.step}, in epoch {self.epoch + 1}: the loss is {loss}, by itself or "
                "through a gradient that was not finite. Lower learning_rate or max_grad_norm. No results are written."
            )

    def end_epoch(self, validation: dict[str, Any], weights: dict[str, Tensor], selects: str) -> dict[str, Any]:
        """Notes an epoch, and keeps its weights if `validation[selects]` is the best so far; returns its record.

        Of two equal scores, that with the lower loss is better.
        """
        steps = max(self.step_in_epoch, 1)
        record = {
            "epoch": self.epoch + 1,
            "step": self.step,
            "train_loss": self.loss_sum.item() / steps,
            **{name: total.item() / steps for name, total in self.more_sums.items()},
            "validation": validation,
            "train_seconds": round(self.seconds, 2),
        }
        self.history.append(record)
        if self.best_epoch is None or rank(validation, selects) > rank(self.best["validation"], selects):
            self.best_epoch = self.epoch + 1
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
        self.epoch += 1
        self.step_in_epoch, self.loss_sum, self.more_sums = 0, torch.tensor(0.0), {}
        return record

    @property
    def best(self) -> dict[str, Any]:
        """The record of the best epoch."""
        return self.history[self.best_epoch - 1]

    def tensors(self, kept: bool) -> dict[str, dict[str, Tensor]]:
        """All tensors, by file and name. Every process takes part; those whose `kept` is False get none."""
        moments = {
            f"{number}.{name}": tensor
            for number, state in self.optimizer.state_dict()["state"].items()
            for name, tensor in state.items()
        }
        found = {WEIGHTS: self.model.state_dict(), OPTIMIZER: moments, BEST: self.best_weights}
        if self.average:
            found[AVERAGE] = self.average.weights
        return {file: _gathered(tensors, kept) for file, tensors in found.items()}

    def numbers(self) -> dict[str, Any]:
        """Everything else, for JSON."""
        return {name: getattr(self, name) for name in self.NUMBERS} | {
            "loss_sum": self.loss_sum.item(),
            "more_sums": {name: total.item() for name, total in self.more_sums.items()},
            "optimizer": self.optimizer.state_dict()["param_groups"],
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler and self.scaler.state_dict(),
            "average_updates": self.average and self.average.updates,
        }

    def load(self, tensors: dict[str, dict[str, Tensor]], numbers: dict[str, Any]) -> None:
        """The inverse of `tensors` and `numbers`; where parameters are sharded, each process takes its shard."""
        own = self.model.state_dict()
        self.model.load_state_dict({name: _shard(t, own.get(name)) for name, t in tensors[WEIGHTS].items()})
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for place, tensor in tensors[OPTIMIZER].items():
            number, name = place.split(".")
            parameter = parameters[int(number)]
            if name != "step" and tensor.shape != parameter.shape:
                raise ValueError(f"{place} of the optimizer is {list(tensor.shape)}, not {list(parameter.shape)}")
            state.setdefault(int(number), {})[name] = tensor if name == "step" else _shard(tensor, parameter)
        # Whether its steps are fused is a matter of the device, which may be another one now.
        groups = zip(numbers["optimizer"], self.optimizer.param_groups, strict=True)
        groups = [saved | {"fused": own["fused"]} for saved, own in groups]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.scheduler.load_state_dict(numbers["scheduler"])
        if self.scaler:
            self.scaler.load_state_dict(numbers["scaler"])
        if self.average:
            self.average.load(
                {name: _shard(t, self.average.weights.get(name)) for name, t in tensors[AVERAGE].items()},
                numbers["average_updates"],
            )
        for name in self.NUMBERS:
            setattr(self, name, numbers[name])
        self.loss_sum = torch.tensor(numbers["loss_sum"])
        more = numbers.get("more_sums", {})  # which older versions did not have
        self.more_sums = {name: torch.tensor(total) for name, total in more.items()}
        self.best_weights = tensors[BEST]


def rank(validation: dict[str, Any], selects: str) -> tuple[float, float]:
    """What epochs are compared by, larger is better."""
    return (0.0 if selects == "loss" else validation[selects], -validation["loss"])


def _gathered(tensors: dict[str, Tensor], kept: bool) -> dict[str, Tensor]:
    """Copies in memory of their own, unsharded where each process has a shard (FSDP2)."""
    found = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if kept:
            found[name] = full.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    return found


def _shard(tensor: Tensor, own: Tensor | None) -> Tensor:
    """This process's shard of a tensor, if its own counterpart is sharded."""
    if not isinstance(own, DTensor):
        return tensor
    return distribute_tensor(
        tensor, own.device_mesh, own.placements, src_data_rank=None
    )  # all processes have read the same


def generators(device: torch.device) -> dict[str, Any]:
    """The modules with `get_rng_state` and `set_rng_state` for every generator that a model draws from."""
    return {"cpu": torch} | ({} if device.type == "cpu" else {device.type: torch.get_device_module(device)})


def _random_state(device: torch.device) -> dict[str, Any]:
    """The state of every generator that a model may draw from in this process."""
    name, key, *rest = np.random.get_state()
    drawn = {kind: module.get_rng_state().tolist() for kind, module in generators(device).items()}
    return {"python": random.getstate(), "numpy": [name, key.tolist(), *rest], "torch": drawn}


def _set_random_state(state: dict[str, Any], device: torch.device) -> None:
    version, key, spare = state["python"]
    random.setstate((version, tuple(key), spare))
    np.random.set_state(state["numpy"])
    for kind, module in generators(device).items():
        if kind in state["torch"]:  # a run may be resumed on another device
            module.set_rng_state(torch.tensor(state["torch"][kind], dtype=torch.uint8))


def settings(options: Options, examples: int) -> dict[str, Any]:
    """What decides the course of a training, and must not change when it is resumed."""
    left_out = incidental(options)
    deciding = {name: value for name, value in dataclasses.asdict(options).items() if name not in left_out}
    return json.loads(json.dumps({**deciding, "training examples": examples}))  # as a checkpoint has them


def found(output_dir: str) -> list[Path]:
    """The checkpoints of a run, the newest first."""
    there = [path for path in Path(output_dir, "checkpoints").glob("step-*") if path.name[5:].isdecimal()]
    return sorted(there, key=lambda path: -int(path.name[5:]))


def usable(output_dir: str) -> list[Path]:
    """Those that are complete."""
    return [path for path in found(output_dir) if _complete(path)]


def discard(output_dir: str | Path) -> None:
    """Removes the checkpoints of a run that has ended, or cannot be resumed."""
    shutil.rmtree(Path(output_dir, "checkpoints"), ignore_errors=True)


def save(accelerator: Accelerator, progress: Progress, output_dir: str, keep: int) -> None:
    """Writes the state of the run beside the last checkpoint, then replaces that: a complete one always exists.

    Raises:
        RecipeError: it could not be written; older ones are unchanged.
    """
    folder = Path(output_dir, "checkpoints")
    unfinished, finished = folder / "unfinished", folder / f"step-{progress.step}"
    if accelerator.is_main_process:
        shutil.rmtree(unfinished, ignore_errors=True)
    try:
        tensors = progress.tensors(kept=accelerator.is_main_process)
        if carried := progress.task.carried() if progress.task else {}:
            sums = {name: accelerator.reduce(tensor, "sum") for name, tensor in carried.items()}
            tensors[CARRIED] = _gathered(sums, accelerator.is_main_process)
        drawn = gather_object([_random_state(accelerator.device)])
        if accelerator.is_main_process:
            unfinished.mkdir(parents=True)
            for name, content in tensors.items():
                save_file(content, unfinished / name)
            for name, content in {PROGRESS: progress.numbers(), RANDOM: drawn}.items():
                (unfinished / name).write_text(json.dumps(content), encoding="utf-8")
            _seal(unfinished)
            shutil.rmtree(finished, ignore_errors=True)  # an earlier, incomplete one
            unfinished.rename(finished)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        older = usable(output_dir)
        way = (
            f"{older[0].name} is complete: make room, then resume with --resume"
            if older
            else "Make room, then start again"
        )
        raise RecipeError(
            f"The checkpoint of step {progress.step} cannot be written to {folder} "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). {way}."
        ) from error
    if accelerator.is_main_process:
        there = found(output_dir)
        this = there.index(finished)  # newer ones are incomplete: the run was resumed from before them
        for path in there[:this] + there[this + keep :]:
            shutil.rmtree(path)


def _seal(folder: Path) -> None:
    """Records the sizes of the files, and flushes them to the disk: the rename might get there before them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    (folder / SIZES).write_text(json.dumps(sizes), encoding="utf-8")
    for path in [*files, folder / SIZES]:
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _complete(folder: Path) -> bool:
    """Whether all its files are there, with the sizes that were recorded."""
    try:
        sizes = json.loads((folder / SIZES).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):  # the last for JSON that is not a mapping
        return False


def _read(path: Path) -> Any:
    """The contents of a file."""
    try:
        if path.suffix != ".safetensors":
            return json.loads(path.read_text(encoding="utf-8"))
        # Copies: the tensors of load_file are memory-mapped, and the file will be removed.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except Exception as error:  # each kind of file has its own
        raise RecipeError(
            f"resume: {path} cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]}): it is not "
            f"what the run wrote. Remove {path.parent} to resume from an older one, or choose another --output_dir."
        ) from error


def resume(accelerator: Accelerator, progress: Progress, output_dir: str) -> None:
    """Resumes from the newest complete checkpoint.

    Raises:
        RecipeError: there is none, it cannot be read, or it belongs to a run with other options.
    """
    now, there = progress.settings, found(output_dir)
    folder = next(iter(usable(output_dir)), None)
    for path in there[: there.index(folder)] if folder else there:
        accelerator.print(f"resume: {path} is incomplete and is ignored.")
    if not folder:
        raise RecipeError(f"resume: {output_dir}/checkpoints has no complete checkpoint. Start without --resume.")
    absent = [name for name in FILES if not (folder / name).exists()]
    if absent:  # although it is complete
        raise RecipeError(
            f"resume: {folder} has no {absent[0]}: another version of rnnzoo wrote it. Resume with that version, "
            f"or remove {folder.parent} and start without --resume."
        )
    # Every process reads everything before it uses anything: what stops one of them stops them all.
    numbers, drawn = (_read(folder / name) for name in (PROGRESS, RANDOM))
    tensors = {name: _read(folder / name) for name in (WEIGHTS, OPTIMIZER, BEST)}
    for name in (AVERAGE, CARRIED):
        if (folder / name).exists():
            tensors[name] = _read(folder / name)
    try:
        before = {"ema": 0.0} | numbers["settings"]  # which older versions did not have
        changed = [
            f"{name} was {old!r} and is {now.get(name)!r}" for name, old in before.items() if old != now.get(name)
        ]
        if not changed:
            progress.load(tensors, numbers)
            if CARRIED in tensors:
                progress.task.carry(tensors[CARRIED])
            if accelerator.process_index < len(drawn):  # the run may have had fewer processes
                _set_random_state(drawn[accelerator.process_index], accelerator.device)
    except Exception as error:  # whatever a damaged file, or one of another model, causes
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
