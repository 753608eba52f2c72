"""The one training loop, on accelerate, for every task and for any model with a Hugging Face forward, BERT included.

A batch is a batch of the whole run: `batch_size` rows are shared out among the processes and, within each, among
`gradient_accumulation_steps` passes. So a configuration trains the same model on one process and on many, with whole
copies of it (DDP) or with a part each (FSDP2), up to rounding and the draws of dropout.
"""

import copy
import dataclasses
import json
import math
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin, PartialState
from accelerate.utils import (
    DistributedType,
    InitProcessGroupKwargs,
    compare_versions,
    disable_fsdp_ram_efficient_loading,
    gather_object,
    send_to_device,
    set_seed,
)
from datasets import Dataset
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase, get_scheduler

from rnnzoo.data.errors import RecipeError
from rnnzoo.data.streams import Stream
from rnnzoo.training import hub as sharing
from rnnzoo.training import resume as checkpoints
from rnnzoo.training.adversary import Adversary
from rnnzoo.training.card import card
from rnnzoo.training.command_line import option
from rnnzoo.training.probes import Probe
from rnnzoo.training.resume import Progress, Stopped, Termination


# Steps between two looks at the loss: on a GPU each look waits for all that is under way.
LOOK_EVERY = 10
# Steps in a row that fp16 may skip. Each halves the factor by which the loss is scaled, 65,536 at first: after so many
# it can no longer be too large.
MOST_SKIPPED = 32
# What FSDP2 was tried with. With torch 2.8 gradients are cut by a wrong norm; an older accelerate was not tried since
# checkpoints are not its own.
FSDP_NEEDS = {"torch": "2.13", "accelerate": "1.15"}


@dataclass
class TrainingOptions:
    """What every recipe can be told; a recipe adds its own fields, a YAML states only what differs."""

    task: ClassVar[str]

    output_dir: str | None = option(None, "where everything is written (default: runs/TASK)")
    dataset: str = option("auto", "auto, made, a folder, or the id of a data set on the Hub; see recipes/data.py")
    validation_fraction: float | None = option(
        None, "share of train and validation together to choose by (default: their own split, or 0.2 of train)"
    )
    seed: int = option(0, "of weights, dropout, order and the cut of the validation split")
    model_name_or_path: str | None = option(None, "go on from this checkpoint, instead of making a new model")
    model: dict = option({}, "a field of the model's configuration; a new model needs model_type")
    tokenizer: dict = option({}, "an argument of what trains a new model's tokenizer, see rnnzoo")
    word_vectors: str | None = option(
        None, "what a new model's begin with: a file, a name, or word2vec of the training texts"
    )
    freeze_word_vectors: bool = option(False, "leave word vectors as they are at the beginning")
    max_length: int | None = option(None, "cut texts to so many tokens; for transformers, which must")

    batch_size: int = option(64, "rows in a step, over all processes and passes together")
    eval_batch_size: int = option(256, "rows read at a time in evaluation, over all processes")
    gradient_accumulation_steps: int = option(1, "passes in which a process reads its share of a batch")
    num_train_epochs: int = option(5, "epochs, at the most")
    max_train_steps: int | None = option(None, "steps, at the most")
    learning_rate: float = option(1e-3, "of Adam, at its highest")
    weight_decay: float = option(0.0, "decoupled, as in AdamW")
    lr_scheduler_type: str = option("constant", "constant, linear or cosine, after the warm-up")
    warmup_ratio: float = option(0.0, "share of the steps in which the learning rate rises")
    max_grad_norm: float | None = option(1.0, "longer gradients are cut to this norm; null for none")
    adversarial_epsilon: float = option(0.0, "share of its length by which a row of word vectors is moved uphill")
    patience: int | None = option(None, "stop after so many epochs without a better validation score")

    half_precision: bool = option(False, "store the weights in half precision; they compute in fp32 all the same")
    verify_rows: int = option(200, "test rows for which pipeline() must answer as was measured")
    mixed_precision: str | None = option(None, "of training: no, bf16, fp16 (default: as accelerate is told)")
    num_threads: int | None = option(None, "CPU threads of a process (default: the cores, shared out)")
    report_to: str = option("none", "a tracker of accelerate: tensorboard, wandb, ...")
    checkpointing_steps: int | None = option(None, "checkpoint every so many steps, besides every epoch")
    checkpointing_minutes: float | None = option(None, "the same, by the clock")
    keep: int = option(1, "so many checkpoints, the newest; when the run is done, none")
    resume: bool = option(False, "go on from the newest checkpoint in output_dir")

    push_to_hub: bool = option(False, "push what is written to the Hub, with the token of `hf auth login` or HF_TOKEN")
    hub_model_id: str | None = option(
        None, "its repository, you/name, which the card names (default: output_dir's name, in your namespace)"
    )
    hub_private: bool = option(False, "make the repository a private one")

    def __post_init__(self):
        """Refuses values out of range, whatever task they are for."""
        sizes = ("batch_size", "eval_batch_size", "gradient_accumulation_steps", "num_train_epochs", "verify_rows")
        for name in (
            *sizes,
            "keep",
            "max_train_steps",
            "patience",
            "num_threads",
            "checkpointing_steps",
            "max_length",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RecipeError(f"{name} is {value}: it must be at least 1.")
        highest_of = {"learning_rate": 1000, "weight_decay": 1000, "seed": 2**32 - 1}
        highest_of |= {"warmup_ratio": 1, "adversarial_epsilon": 1}
        highest_of |= {"checkpointing_minutes": 60 * 24} if self.checkpointing_minutes is not None else {}
        for name, highest in highest_of.items():
            if not 0 <= getattr(self, name) <= highest:
                raise RecipeError(f"{name} is {getattr(self, name)}: it must lie between 0 and {highest}.")
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise RecipeError(f"max_grad_norm is {self.max_grad_norm}: it must be above 0, or null for no clipping.")
        if self.mixed_precision not in (None, "no", "bf16", "fp16"):
            raise RecipeError(f"mixed_precision is {self.mixed_precision!r}: choose no, bf16 or fp16.")
        if self.lr_scheduler_type not in ("constant", "linear", "cosine"):
            raise RecipeError(f"lr_scheduler_type is {self.lr_scheduler_type!r}: choose constant, linear or cosine.")
        if self.model_name_or_path and (self.tokenizer or self.word_vectors or "model_type" in self.model):
            raise RecipeError(
                "model_name_or_path takes a model as it was saved, with its tokenizer: leave out model.model_type, "
                "word_vectors and the options under tokenizer, or leave out model_name_or_path to make a new model "
                "from them."
            )
        if self.output_dir is None:
            self.output_dir = f"runs/{self.task}"
        if self.push_to_hub or self.hub_model_id:
            sharing.check_id(self.hub_model_id or Path(self.output_dir).resolve().name)
        if self.hub_private and not self.push_to_hub:
            raise RecipeError("hub_private is true: without push_to_hub it does nothing. Add it, or leave this out.")


@dataclass
class Task:
    """What the loop must know of a task.

    Attributes:
        name: the task's name in results.json.
        dataset: its name, source and the sizes of its splits, for results.json.
        rows: train, validation and test, each with columns `input_ids`, `length` and whatever `collate` needs; train
            may be a `Stream`.
        collate: columns of some rows -> a batch for the model, `labels` included, on the CPU.
        read: a model's outputs and the columns of the rows -> for each row what is predicted and what is right, for
            `metrics`.
        metrics: all predictions, all right answers -> named numbers.
        best: the metric on validation by which the best epoch is chosen, the larger the better.
        serve: a saved folder and the predictions for the test split -> proof for results.json that the pipeline
            gives the same in a fresh process; raises where it does not.
        probe: a saved folder -> what it does with texts unlike those of the data set, for results.json and the card.
        seconds_before: what learning before the loop took (word vectors, say); training's seconds go on from there.
    """

    name: str
    dataset: dict[str, Any]
    rows: dict[str, Dataset | Stream]
    collate: Callable[[dict[str, list]], dict[str, torch.Tensor]]
    read: Callable[[Any, dict[str, list]], list[tuple[Any, Any]]]
    metrics: Callable[[list, list], dict[str, float]]
    best: str
    serve: Callable[[Path, list], dict[str, Any]]
    probe: Callable[[Path], list[Probe]]
    seconds_before: float = 0.0


def start(options: TrainingOptions) -> Accelerator:
    """The accelerator, with the processes that were asked for, seeded; the places for the results are ready.

    Raises:
        RecipeError: fewer processes than were asked for, a precision that the device lacks, FSDP in a form that the
            loop does not know, a folder or a repository that cannot be written, or one where a run waits to go on.
    """
    check_writable(Path(options.output_dir))
    waiting = checkpoints.usable(options.output_dir)
    if waiting and not options.resume:
        raise RecipeError(
            f"output_dir {options.output_dir} has the checkpoints of a run that did not end, up to {waiting[0].name}: "
            f"go on with --resume, or remove {waiting[0].parent}, or choose another --output_dir."
        )
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    # accelerate's plain launcher sets the meeting point of several processes, and then starts one.
    alone = "MASTER_ADDR" in os.environ and "WORLD_SIZE" not in os.environ
    trackers = None if options.report_to == "none" else options.report_to
    try:
        accelerator = Accelerator(
            mixed_precision=options.mixed_precision,
            log_with=trackers,
            project_dir=options.output_dir,
            # The others wait while the main process shows what is served.
            kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=2))],
        )
    except ValueError as error:
        raise RecipeError(f"accelerate refuses to start: {' '.join(str(error).split())}") from error
    if trackers and not accelerator.log_with:
        raise RecipeError(
            f"report_to is {trackers!r}, whose package is not installed: nothing would be recorded. pip install it."
        )
    if alone or accelerator.num_processes != launched:
        raise RecipeError(
            f"Several processes were asked for, and {accelerator.num_processes} runs: on CPU, "
            "`accelerate launch --cpu --num_processes N` starts only one. Use `ACCELERATE_USE_CPU=true accelerate "
            "launch --multi_gpu --num_processes N -m recipes…` (the flag means several processes, GPU or not)."
        )
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise RecipeError("mixed_precision is fp16 on a CPU, where it is about ten times slower: use bf16 or no.")
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true":
        share_out_weights(accelerator)
    if accelerator.device.type == "cpu":
        # accelerate launch sets one thread a process unless told otherwise.
        processes_here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(options.num_threads or max(1, cores() // processes_here))
    # cuDNN would read fp32 with ten bits of each number, and what a row answers would depend on its batch.
    torch.backends.cudnn.allow_tf32 = False
    if options.push_to_hub and accelerator.is_main_process:
        name = Path(options.output_dir).resolve().name
        options.hub_model_id = sharing.claim(options.hub_model_id or name, options.hub_private)
    set_seed(options.seed)
    return accelerator


def share_out_weights(accelerator: Accelerator) -> None:
    """FSDP2, which was asked for, on whatever device.

    Raises:
        RecipeError: it is FSDP of version 1, there is only one process, or a package is too old.
    """
    for package, oldest in FSDP_NEEDS.items():
        if compare_versions(package, "<", oldest):
            raise RecipeError(
                f"FSDP was asked for, and the {package} that is installed is older than {oldest}: update it."
            )
    if accelerator.device.type == "cpu" and accelerator.use_distributed:
        # accelerate (1.15, `AcceleratorState`) knows FSDP on accelerators only, and would train CPU processes with DDP
        # without a word. This is what it does there; to be removed when it does so here.
        accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()
        if accelerator.mixed_precision != "no":
            accelerator.state.fsdp_plugin.set_mixed_precision(accelerator.mixed_precision)
        accelerator.state.distributed_type = PartialState().distributed_type = DistributedType.FSDP
    if not accelerator.is_fsdp2:
        raise RecipeError(
            "FSDP was asked for, and not as version 2 with several processes: use --config_file "
            "recipes/configs/accelerate/fsdp2.yaml, or add --fsdp_version 2 and --num_processes N."
        )
    plugin = accelerator.state.fsdp_plugin
    # Every process makes or loads the whole model by itself: it is checked, and served, as a whole.
    disable_fsdp_ram_efficient_loading()
    plugin.cpu_ram_efficient_loading = False


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_writable(folder: Path) -> None:
    """Makes the folder, and shows that files can be made in it, before any work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RecipeError(
            f"output_dir {folder} cannot be written ({error.strerror}). Choose another with --output_dir."
        ) from None


def batches(lengths: list[int], batch_size: int, seed: int | None, epoch: int = 0) -> list[list[int]]:
    """Row numbers in batches of rows of like length: every row once, batches as equal in size as can be.

    With a seed, rows are shuffled first, sorted by length within pools of 50 batches, and the batches shuffled: a
    function of seed and epoch alone. Without, rows are in order of length. As sizes differ by one at the most, no
    batch is too short to be shared out among processes.
    """
    n = len(lengths)
    lengths = torch.as_tensor(lengths)
    count = math.ceil(n / batch_size)
    if seed is None:
        return [part.tolist() for part in lengths.argsort(stable=True).tensor_split(count)]
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    order = torch.randperm(n, generator=generator)
    pools = [pool[lengths[pool].argsort(stable=True)] for pool in order.split(50 * batch_size)]
    parts = torch.cat(pools).tensor_split(count)
    return [parts[i].tolist() for i in torch.randperm(count, generator=generator)]


def share(batch: list[int], rank: int, world: int, passes: int = 1) -> list[list[int]]:
    """What one process has of a batch, in `passes` parts; rows are dealt like cards, so lengths stay alike."""
    mine = batch[rank::world]
    return [mine[i::passes] for i in range(passes) if mine[i::passes]]


def quiet(accelerator: Accelerator) -> bool | None:
    """For tqdm: bars on the main process only, and there only on a terminal, which is what None asks for."""
    return None if accelerator.is_main_process else True


def count_labels(batch: dict[str, torch.Tensor]) -> int:
    """Over how many labels a model's mean loss is taken: -100 marks those that do not count."""
    return int((batch["labels"] != -100).sum())


def agreed(accelerator: Accelerator, *wishes: bool) -> list[bool]:
    """Whether any of the processes wishes each of these things; all of them get the same answer."""
    if accelerator.num_processes == 1:
        return list(wishes)
    return (
        accelerator.reduce(torch.tensor(wishes, dtype=torch.float, device=accelerator.device), "sum").bool().tolist()
    )


def train(accelerator: Accelerator, model, task: Task, options: TrainingOptions) -> Progress:
    """Trains, and leaves the model with the weights of the epoch that was best on validation.

    Raises:
        SystemExit: with the code `checkpoints.STOPPED`: told to stop by a SIGTERM, it has saved, and can be resumed.
    """
    with Termination() as termination:
        return _train(accelerator, model, task, options, termination)


def _train(
    accelerator: Accelerator, model, task: Task, options: TrainingOptions, termination: Termination
) -> Progress:
    """The loop.

    The loss of a step is the mean over all its labels, whatever process and pass they fell to: each pass weighs its
    own mean by its share.
    """
    rows, world, rank = task.rows["train"], accelerator.num_processes, accelerator.process_index
    steps_per_epoch = math.ceil(len(rows) / options.batch_size)
    smallest = len(rows) // steps_per_epoch  # they are as equal as can be
    if smallest < world * options.gradient_accumulation_steps:
        raise RecipeError(
            f"A batch of {smallest} rows cannot be shared out among {world} processes with "
            f"{options.gradient_accumulation_steps} passes each: raise batch_size."
        )
    total_steps = min(options.num_train_epochs * steps_per_epoch, options.max_train_steps or math.inf)

    if options.freeze_word_vectors:
        model.get_input_embeddings().requires_grad_(False)
    whole = model
    if accelerator.is_fsdp2:
        # A copy is shared out. The model itself gets its weights at the end of each epoch: processes read different
        # numbers of batches in evaluation, and one alone saves, while each pass through a shared one takes them all.
        model = copy.deepcopy(whole.to(accelerator.device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    warmup = round(options.warmup_ratio * total_steps)
    name = "constant_with_warmup" if options.lr_scheduler_type == "constant" else options.lr_scheduler_type
    # Not prepared: accelerate would step it once for every process, while a step here is a step of the whole run.
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=total_steps)
    # With an adversary the loss is the mean of two: of the rows as they are, and as it makes them.
    adversary = Adversary(model, options.adversarial_epsilon) if options.adversarial_epsilon else None
    looks = 2 if adversary else 1
    model, optimizer = accelerator.prepare(model, optimizer)
    progress = Progress(
        checkpoints.settings(options, len(rows)),
        accelerator.unwrap_model(model),
        scheduler,
        accelerator.scaler,
        task.seconds_before,
    )
    if rank:
        # Weights are the same everywhere; dropout must not be.
        set_seed((options.seed + rank) % 2**32)
    if options.resume:
        checkpoints.resume(accelerator, progress, options.output_dir)
    elif accelerator.is_main_process:
        checkpoints.discard(options.output_dir)  # of a run that cannot go on: none is whole

    saved, skipped = time.monotonic(), 0
    bar = tqdm(total=total_steps, initial=progress.step, desc="training", disable=quiet(accelerator), leave=False)
    while (
        progress.epoch < options.num_train_epochs and progress.step < total_steps and not exhausted(progress, options)
    ):
        if isinstance(rows, Stream):
            order = rows.batches(options.batch_size, options.seed, progress.epoch)
        else:
            order = batches(list(rows["length"]), options.batch_size, options.seed, progress.epoch)
        model.train()
        started = time.perf_counter()
        epoch_loss = torch.tensor(progress.loss_sum, device=accelerator.device)
        for batch in islice(order, progress.step_in_epoch, None):
            parts = share(batch, rank, world, options.gradient_accumulation_steps)
            passes = [task.collate(rows[part]) for part in parts]
            labels = [count_labels(inputs) for inputs in passes]
            all_labels = accelerator.reduce(torch.tensor(sum(labels), device=accelerator.device), "sum")
            step_loss = torch.zeros((), device=accelerator.device)
            for number, (inputs, count) in enumerate(zip(passes, labels, strict=True), start=1):
                inputs = send_to_device(inputs, accelerator.device)
                for look in range(looks):
                    last_look = look == looks - 1
                    synchronise = number == len(passes) and last_look
                    with nullcontext() if synchronise else accelerator.no_sync(model):
                        outputs = model(**inputs)
                        # A mean over no labels is no number; such a pass still takes part in everybody's backward.
                        loss = outputs.loss * (count / all_labels) if count else outputs.logits.sum() * 0
                        # Gradients are averaged over processes; times `world` makes that the sum that is wanted.
                        accelerator.backward(loss * world / looks)
                    if look == 0:
                        step_loss += loss.detach()
                    if adversary and last_look:
                        adversary.rest()
                    elif adversary:
                        adversary.attack()
            if options.max_grad_norm is not None:
                accelerator.clip_grad_norm_(model.parameters(), options.max_grad_norm)
            optimizer.step()
            skipped = skipped + 1 if accelerator.optimizer_step_was_skipped else 0
            if skipped == MOST_SKIPPED:
                raise RecipeError(
                    f"The training stands still at step {progress.step + 1}, in epoch {progress.epoch + 1}: in fp16 "
                    f"the gradients of {skipped} steps in a row were no numbers, and all were skipped. Choose "
                    "mixed_precision bf16 or no. No results are written."
                )
            if not skipped:
                scheduler.step()
            optimizer.zero_grad()

            step_loss = accelerator.reduce(step_loss, "sum")
            epoch_loss += step_loss
            progress.step += 1
            progress.step_in_epoch += 1
            bar.update()
            if accelerator.trackers:
                rate = scheduler.get_last_lr()[0]
                accelerator.log({"train_loss": step_loss.item(), "learning_rate": rate}, progress.step)
            if progress.step % LOOK_EVERY == 0:
                check_finite(epoch_loss.item(), progress)
            if progress.step == total_steps:
                break
            minutes = (time.monotonic() - saved) / 60
            late = options.checkpointing_minutes is not None and minutes >= options.checkpointing_minutes
            late, stop = agreed(accelerator, late, termination.asked)
            due = options.checkpointing_steps and progress.step % options.checkpointing_steps == 0
            # The end of an epoch has one in any case.
            if (due or late or stop) and progress.step_in_epoch < steps_per_epoch:
                progress.loss_sum = epoch_loss.item()
                check_finite(progress.loss_sum, progress)
                progress.seconds += time.perf_counter() - started
                checkpoints.save(accelerator, progress, options.output_dir, options.keep)
                if stop:
                    raise Stopped(accelerator, progress.step)
                started, saved = time.perf_counter(), time.monotonic()
        progress.loss_sum = epoch_loss.item()
        progress.seconds += time.perf_counter() - started
        if accelerator.is_fsdp2:
            whole.load_state_dict(get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)))
        end_epoch(accelerator, whole, task, options, progress)
        checkpoints.save(accelerator, progress, options.output_dir, options.keep)
        if any(agreed(accelerator, termination.asked)):
            raise Stopped(accelerator, progress.step)
        saved = time.monotonic()
    bar.close()
    if adversary:
        adversary.leave()
    whole.load_state_dict(progress.best_weights)
    return progress


def check_finite(loss: float, progress: Progress) -> None:
    """Refuses to go on from a loss that is no number; where gradients are none, the next loss is none.

    Raises:
        RecipeError: where that was, and what to do.
    """
    if not math.isfinite(loss):
        raise RecipeError(
            f"The training diverged by step {progress.step}, in epoch {progress.epoch + 1}: the loss is {loss}, "
            "by itself or by a gradient that was no number. Lower learning_rate or max_grad_norm. No results are "
            "written."
        )


def end_epoch(accelerator, model, task: Task, options: TrainingOptions, progress: Progress) -> None:
    """Validation; keeps the weights if they are the best so far. `model` is whole, as for `evaluate`."""
    validation, _ = evaluate(accelerator, model, task, "validation", options)
    record = {
        "epoch": progress.epoch + 1,
        "step": progress.step,
        "train_loss": progress.loss_sum / max(progress.step_in_epoch, 1),
        "validation": validation,
        "train_seconds": round(progress.seconds, 2),
    }
    check_finite(record["train_loss"] + validation["loss"], progress)
    progress.history.append(record)
    if progress.best_epoch is None or validation[task.best] > best(progress, task):
        progress.best_epoch = progress.epoch + 1
        progress.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    accelerator.log({f"validation_{name}": value for name, value in validation.items()}, progress.step)
    numbers = ", ".join(f"{name} {value:.4f}" for name, value in validation.items() if isinstance(value, float))
    accelerator.print(f"epoch {record['epoch']}: train loss {record['train_loss']:.4f}, validation {numbers}")
    progress.epoch += 1
    progress.step_in_epoch, progress.loss_sum = 0, 0.0


def best(progress: Progress, task: Task) -> float:
    """The best value on validation so far."""
    return progress.history[progress.best_epoch - 1]["validation"][task.best]


def exhausted(progress: Progress, options: TrainingOptions) -> bool:
    """Whether validation has not improved for `patience` epochs."""
    return (
        options.patience is not None
        and progress.best_epoch is not None
        and progress.epoch - progress.best_epoch >= options.patience
    )


@torch.no_grad()
def evaluate(
    accelerator: Accelerator, model: PreTrainedModel, task: Task, split: str, options: TrainingOptions
) -> tuple[dict[str, float], list]:
    """Metrics and loss on a split, and the prediction for each row, read once by one of the processes.

    `model` is not the distributed wrapper: processes may have different numbers of batches here.

    Raises:
        RuntimeError: a row was counted twice or not at all.
    """
    rows, world, rank = task.rows[split], accelerator.num_processes, accelerator.process_index
    model.eval()
    found, loss_sum, labels = [], 0.0, 0
    order = batches(list(rows["length"]), options.eval_batch_size, seed=None)
    for batch in tqdm(order, desc=split, disable=quiet(accelerator), leave=False):
        for part in share(batch, rank, world):
            columns = rows[part]
            inputs = task.collate(columns)
            count = count_labels(inputs)
            outputs = model(**send_to_device(inputs, accelerator.device))
            if count:
                loss_sum, labels = loss_sum + outputs.loss.item() * count, labels + count
            found += zip(part, task.read(outputs, columns), strict=True)
    found = sorted(gather_object(found), key=lambda row: row[0])
    totals = gather_object([(loss_sum, labels)])
    if [index for index, _ in found] != list(range(len(rows))):
        raise RuntimeError(
            f"{split}: {len(found)} rows came back from {world} processes, {len({i for i, _ in found})} of them "
            f"different, where the split has {len(rows)}. The score would be wrong; nothing is written."
        )
    predictions, references = (list(column) for column in zip(*(pair for _, pair in found), strict=True))
    metrics = task.metrics(predictions, references)
    return {**metrics, "loss": sum(loss for loss, _ in totals) / sum(count for _, count in totals)}, predictions


def run(
    accelerator: Accelerator,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    options: TrainingOptions,
) -> dict[str, Any]:
    """Trains, reads the test split once, writes the folder, pushes it, and returns what is in its results.json."""
    if options.report_to != "none":
        flat = {key: value for key, value in dataclasses.asdict(options).items() if not isinstance(value, dict)}
        accelerator.init_trackers(f"rnnzoo-{task.name}", config={k: str(v) for k, v in flat.items()})
    started_from = {"versions": versions(), "git_commit": git_commit()}
    progress = train(accelerator, model, task, options)
    # In fp32 whatever the training was in: that is how pipeline() will load it.
    model = accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    validation = progress.history[progress.best_epoch - 1]["validation"]
    if options.half_precision:
        # What is measured from here on is what is stored.
        model.load_state_dict(halved(model))
        validation, _ = evaluate(accelerator, model, task, "validation", options)
    test, predictions = evaluate(accelerator, model, task, "test", options)
    results = {
        "task": task.name,
        "model": Path(options.output_dir).resolve().name,
        "model_type": model.config.model_type,
        "model_config": model.config.to_diff_dict(),
        "dataset": task.dataset,
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "seed": options.seed,
        "metrics": {"validation": validation, "test": test},
        "best_epoch": progress.best_epoch,
        "history": progress.history,
        "train_seconds": round(progress.seconds, 1),
        "world_size": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
        "device": device_name(accelerator.device),
        "num_threads": torch.get_num_threads(),
        **started_from,
        "config": dataclasses.asdict(options),
    }
    if accelerator.is_main_process:
        folder = Path(options.output_dir)
        names = write(folder, model, tokenizer, results, task, predictions)
        for probe in results["probes"]:
            print("{tried}: {measure} {value:.2f}".format(**probe))
        print(f"test {results['metrics']['test']}; written to {options.output_dir}")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    if options.push_to_hub and accelerator.is_main_process:
        message = f"{results['model']}: recipes.{task.name}, seed {options.seed}"
        print(f"pushed: {sharing.push(folder, names, options.hub_model_id, message)}")
    return results


def halved(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights in half precision.

    Raises:
        RecipeError: one of them is beyond its range.
    """
    weights = {
        name: weight.half() if weight.is_floating_point() else weight for name, weight in model.state_dict().items()
    }
    beyond = [name for name, weight in weights.items() if not weight.isfinite().all()]
    if beyond:
        raise RecipeError(
            f"half_precision: a weight of {beyond[0]} is beyond 65,504, its largest number. Leave it out."
        )
    return weights


def write(folder: Path, model, tokenizer, results: dict, task: Task, predictions: list) -> list[str]:
    """Model, tokenizer, card, plot, and last of all results.json: where that is, the folder is whole.

    Everything is written beside the folder's old content first, and moved when the pipeline on the new files has
    given what was measured on test, `predictions`. Gives their names.
    """
    unfinished = folder / ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        # The configuration says float32 all the same, so that they are loaded as that.
        weights = halved(model) if results["config"]["half_precision"] else None
        model.save_pretrained(unfinished, state_dict=weights)
        tokenizer.save_pretrained(unfinished)
        results["weights_bytes"] = (unfinished / "model.safetensors").stat().st_size
        results["served"] = task.serve(unfinished, predictions)
        results["probes"] = [probe._asdict() for probe in task.probe(unfinished)]
        (unfinished / "README.md").write_text(card(results), encoding="utf-8")
        plot(results, unfinished / "history.png")
        (unfinished / "results.json").write_text(
            json.dumps(results, indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
        (folder / "results.json").unlink(missing_ok=True)
        names = sorted((path.name for path in unfinished.iterdir()), key=lambda name: name == "results.json")
        for name in names:
            (unfinished / name).replace(folder / name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    checkpoints.discard(folder)
    return names


def plot(results: dict, path: Path) -> None:
    """Learning curves: loss on train and validation, and the metric that chose the epoch."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    history = results["history"]
    epochs = [record["epoch"] for record in history]
    names = [name for name in history[0]["validation"] if name != "loss"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    left.plot(epochs, [record["train_loss"] for record in history], marker="o", label="train")
    left.plot(epochs, [record["validation"]["loss"] for record in history], marker="o", label="validation")
    left.set(xlabel="epoch", title="loss")
    left.legend()
    right.plot(epochs, [record["validation"][names[0]] for record in history], marker="o", label="validation")
    right.axvline(results["best_epoch"], color="grey", linestyle=":", label="kept")
    right.set(xlabel="epoch", title=names[0])
    right.legend()
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(f"{results['model']} on {results['dataset']['name']}, seed {results['seed']}")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def versions(*more: str) -> dict[str, str]:
    """Of Python and of the packages that a result depends on."""
    from importlib.metadata import version

    packages = ("transformers", "tokenizers", "datasets", "accelerate", "evaluate", *more)
    # torch names its build too: what pip knows of it may lack that.
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name: version(name) for name in packages},
    }


def git_commit() -> str | None:
    """The commit that runs, with "-dirty" where files differ from it; None outside a repository."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def device_name(device: torch.device) -> str:
    """The accelerator's name, or the processor's with its number of cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = re.findall(r"model name\s*: (.+)", info) or [platform.processor() or platform.machine()]
    return f"{names[0]}, {cores()} cores"
