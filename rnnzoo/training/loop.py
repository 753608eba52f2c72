"""The one training loop, on accelerate, for every task and for any model with a Hugging Face forward, BERT included.

A batch is a batch of the whole run: `batch_size` examples are split among the processes and, within each, among
`gradient_accumulation_steps` micro-batches. So a configuration trains the same model on one process and on many, with
a replica each (DDP) or a shard each (FSDP2), up to rounding and the random draws of dropout.
"""

from contextlib import nullcontext
from itertools import islice

from accelerate import Accelerator
from accelerate.utils import set_seed
from tqdm.auto import tqdm

from rnnzoo.training import resume
from rnnzoo.training.adversary import Adversary
from rnnzoo.training.average import Average
from rnnzoo.training.batches import epoch_batches
from rnnzoo.training.evaluation import evaluate, quiet
from rnnzoo.training.optimizer import Plan, adamw, trained_copy, unshard
from rnnzoo.training.options import Options
from rnnzoo.training.resume import Progress
from rnnzoo.training.saver import Saver
from rnnzoo.training.step import Step
from rnnzoo.training.task import Task
from rnnzoo.training.unlabelled import Unlabelled, UnlabelledOptions


# Steps between two looks at the loss: on a GPU, each look waits for all that is under way.
LOOK_EVERY = 10


def train(accelerator: Accelerator, model, task: Task, options: Options) -> Progress:
    """Trains, and leaves the model with the weights of the epoch that was best on validation.

    With `ema`, those are the averages of the weights at the end of the epoch.

    Raises:
        SystemExit: with the code `saver.STOPPED`: told to stop by SIGTERM, it has saved, and can be resumed.
        RecipeError: a batch cannot be split, a checkpoint cannot be resumed or written, training diverged.
    """
    rows = task.rows["train"]
    plan = Plan.of(len(rows), options, accelerator.num_processes)
    if options.freeze_word_vectors:
        model.get_input_embeddings().requires_grad_(False)
    trained = trained_copy(accelerator, model)
    # Not where a loss is scaled: accelerate would not notice that a fused step was skipped.
    fused = accelerator.device.type == "cpu" and not accelerator.is_fsdp2 and accelerator.scaler is None
    optimizer, scheduler = adamw(trained, plan, options, fused=fused)
    adversaries = [Adversary(module, epsilon) for module, epsilon in task.attacked(trained, options)]
    trained, optimizer = accelerator.prepare(trained, optimizer)
    unwrapped = accelerator.unwrap_model(trained)
    average = Average(unwrapped, options.ema) if options.ema else None
    progress = Progress(
        resume.settings(options, len(rows)),
        unwrapped,
        scheduler,
        accelerator.scaler,
        task.seconds_before,
        average,
        task,
    )
    unlabelled = None
    if isinstance(options, UnlabelledOptions) and options.objectives:
        unlabelled = Unlabelled(accelerator, trained, progress, task, options, ramp=plan.steps_per_epoch)
    step = Step(accelerator, trained, optimizer, progress, task, options, adversaries, unlabelled)
    if accelerator.process_index:
        # Weights are the same everywhere; dropout must not be.
        set_seed((options.seed + accelerator.process_index) % 2**32)
    bar = tqdm(total=plan.total_steps, desc="training", disable=quiet(accelerator), leave=False)
    with bar, Saver(accelerator, progress, options) as saver:
        saver.begin()
        bar.update(progress.step)
        while progress.step < plan.total_steps and not exhausted(progress, options):
            trained.train()
            progress.start_clock()
            batches = epoch_batches(rows, options.batch_size, options.seed, progress.epoch)
            for batch in islice(batches, progress.step_in_epoch, None):
                step(batch)
                bar.update()
                log_step(accelerator, progress)
                if progress.step % LOOK_EVERY == 0:
                    progress.check_finite()
                if progress.step == plan.total_steps:
                    break
                if progress.step_in_epoch < plan.steps_per_epoch:  # the end of an epoch is saved anyway
                    saver.after_step()
            progress.stop_clock()
            with average.in_model() if average else nullcontext():
                unshard(accelerator, trained, model)
                end_epoch(accelerator, model, task, options, progress)
            saver.after_epoch()
    for guest in (*adversaries, unlabelled):
        if guest:
            guest.leave()
    model.load_state_dict(progress.best_weights)
    return progress


def log_step(accelerator: Accelerator, progress: Progress) -> None:
    """Tells the trackers, if there are any, about the step just taken."""
    if accelerator.trackers:
        rate = progress.scheduler.get_last_lr()[0]
        accelerator.log({"train_loss": progress.last_loss.item(), "learning_rate": rate}, progress.step)


def end_epoch(accelerator: Accelerator, model, task: Task, options: Options, progress: Progress) -> None:
    """Validates, and keeps the weights if they are the best so far; `model` as for `evaluate`."""
    validation, _ = evaluate(accelerator, model, task, "validation", options)
    progress.check_finite(validation["loss"])
    record = progress.end_epoch(validation, model.state_dict(), selects(task, options))
    numbers = {f"validation_{name}": value for name, value in validation.items() if isinstance(value, float)}
    accelerator.log(numbers, progress.step)
    accelerator.print(
        f"epoch {record['epoch']}: train loss {record['train_loss']:.4f}, validation {brief(validation)}"
    )


def brief(scores: dict) -> str:
    """Scores in one line, without details such as those of each class."""
    return ", ".join(f"{name} {value:.4f}" for name, value in scores.items() if isinstance(value, float))


def selects(task: Task, options: Options) -> str:
    """The metric on validation that selects the best epoch."""
    return options.metric_for_best_model or task.description.selects


def exhausted(progress: Progress, options: Options) -> bool:
    """Whether validation has not improved for `patience` epochs."""
    return (
        options.patience is not None
        and progress.best_epoch is not None
        and progress.epoch - progress.best_epoch >= options.patience
    )
