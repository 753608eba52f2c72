"""One step of training: forward and backward passes over the micro-batches of all processes, then the optimizer."""

from contextlib import nullcontext

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.optim import Optimizer

from rnnzoo.data.errors import RecipeError
from rnnzoo.training.adversary import Adversary
from rnnzoo.training.batches import split
from rnnzoo.training.options import Options
from rnnzoo.training.resume import Progress
from rnnzoo.training.task import Task
from rnnzoo.training.unlabelled import Unlabelled


# Steps in a row that fp16 may skip. Each halves the scale of the loss, 65,536 at first: after so many it can no longer
# be too large.
MOST_SKIPPED = 32


class Step:
    """A step on a batch of the whole run.

    The loss is the mean over all labels of the batch, whatever process and micro-batch they fell to: each micro-batch
    weighs its own mean by its share of the labels. With adversaries it is the mean of two losses, of the examples as
    they are and as all adversaries together perturb them. The objectives on unlabelled texts, if there are any, come
    after.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: Optimizer,
        progress: Progress,
        task: Task,
        options: Options,
        adversaries: list[Adversary],
        unlabelled: Unlabelled | None,
    ):
        self.accelerator, self.model, self.task, self.options = accelerator, model, task, options
        self.optimizer, self.progress, self.adversaries, self.unlabelled = optimizer, progress, adversaries, unlabelled
        self.skipped = 0

    def __call__(self, batch: list) -> None:
        """Trains on the batch, and notes its loss.

        Raises:
            RecipeError: in fp16 the gradients of many steps in a row were not finite.
        """
        accelerator, rows = self.accelerator, self.task.rows["train"]
        parts = split(
            batch, accelerator.process_index, accelerator.num_processes, self.options.gradient_accumulation_steps
        )
        micro_batches = [self.task.augment(self.task.collate(rows[part])) for part in parts]
        labels = [self.task.label_weight(inputs) for inputs in micro_batches]
        all_labels = accelerator.reduce(torch.tensor(sum(labels), device=accelerator.device), "sum")
        loss = torch.zeros((), device=accelerator.device)
        for number, (inputs, count) in enumerate(zip(micro_batches, labels, strict=True), start=1):
            inputs = send_to_device(inputs, accelerator.device)
            last = number == len(micro_batches) and self.unlabelled is None
            for adversary in self.adversaries:
                adversary.watch()
            loss += self._backward(inputs, count, all_labels, synchronise=last and not self.adversaries)
            if self.adversaries:
                for adversary in self.adversaries:
                    adversary.attack()
                self._backward(inputs, count, all_labels, synchronise=last)
                for adversary in self.adversaries:
                    adversary.rest()
        more = self.unlabelled() if self.unlabelled else {}
        if self.options.max_grad_norm is not None:
            accelerator.clip_grad_norm_(self.model.parameters(), self.options.max_grad_norm)
        self._update()
        self.progress.add(accelerator.reduce(loss, "sum"), more)

    def _backward(self, inputs: dict[str, Tensor], count: int, all_labels: Tensor, *, synchronise: bool) -> Tensor:
        """One forward and backward pass; gradients are averaged over the processes in the last one only."""
        losses = 2 if self.adversaries else 1
        with nullcontext() if synchronise else self.accelerator.no_sync(self.model):
            outputs = self.model(**self.task.inputs(inputs))
            self.task.after_forward(outputs, inputs)
            # The mean over no labels is NaN; such a micro-batch still takes part in the collective backward pass.
            loss = self.task.loss(outputs, inputs) * (count / all_labels) if count else outputs.logits.sum() * 0
            # Gradients are averaged over processes; times their number, that is the sum that is wanted.
            self.accelerator.backward(loss * self.accelerator.num_processes / losses)
        return loss.detach()

    def _update(self) -> None:
        self.optimizer.step()
        self.skipped = self.skipped + 1 if self.accelerator.optimizer_step_was_skipped else 0
        if self.skipped == MOST_SKIPPED:
            raise RecipeError(
                f"Training is stuck at step {self.progress.step + 1}, in epoch {self.progress.epoch + 1}: in fp16 the "
                f"gradients of {self.skipped} steps in a row were not finite, and all of these steps were skipped. "
                "Choose mixed_precision bf16 or no. No results are written."
            )
        if not self.skipped:
            self.progress.scheduler.step()
            if self.progress.average:
                self.progress.average.update()
        self.optimizer.zero_grad()
