"""What a step learns from texts without labels: virtual adversarial training, entropy, self-training."""

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from datasets import Dataset, concatenate_datasets
from torch import Tensor, nn

from rnnzoo.data.errors import RecipeError
from rnnzoo.training.adversary import Adversary
from rnnzoo.training.batches import batches, split
from rnnzoo.training.optimizer import check_batch
from rnnzoo.training.options import Options, option
from rnnzoo.training.resume import Progress, generators
from rnnzoo.training.task import Task
from rnnzoo.training.wide import LOGITS


OBJECTIVES = ("virtual_adversarial", "entropy", "self_training")
GROUP = "Unlabelled texts"


@dataclass
class UnlabelledOptions(Options):
    """Options of a task with one answer per text, logits [B, C], that can learn from texts without labels."""

    unlabelled_batch_size: int | None = option(
        None, "texts without their labels in a step, over all processes (default: batch_size)", group=GROUP
    )
    virtual_adversarial_weight: float = option(
        0.0, "of the KL divergence between the answers to a text as it is and adversarially perturbed", group=GROUP
    )
    virtual_adversarial_epsilon: float = option(
        0.05, "that perturbation of the word embeddings, relative to their norm", group=GROUP
    )
    entropy_weight: float = option(0.0, "of the entropy of the answers, which is minimised", group=GROUP)
    self_training_weight: float = option(
        0.0,
        "of the cross-entropy to the answers of the averaged weights (ema); it rises over the first epoch",
        group=GROUP,
    )

    def __post_init__(self):
        super().__post_init__()
        size, epsilon = self.unlabelled_batch_size, self.virtual_adversarial_epsilon
        if size is not None and size < 1:
            raise RecipeError(f"unlabelled_batch_size is {size}: it must be at least 1.")
        if not 0 < epsilon <= 1:
            raise RecipeError(f"virtual_adversarial_epsilon is {epsilon}: it must be above 0 and at most 1.")
        for name in OBJECTIVES:
            weight = getattr(self, f"{name}_weight")
            if not 0 <= weight <= 1000:
                raise RecipeError(f"{name}_weight is {weight}: it must lie between 0 and 1000.")
            if weight and not getattr(self, "unlabelled", None):
                raise RecipeError(
                    f"{name}_weight is {weight}, but there are no unlabelled texts: name them with unlabelled, or "
                    "leave it at 0."
                )
        if size is not None and not self.objectives:
            raise RecipeError(
                f"unlabelled_batch_size is {size}, but has no effect: set virtual_adversarial_weight, entropy_weight "
                "or self_training_weight, or leave it out."
            )
        if self.self_training_weight and not self.ema:
            raise RecipeError(
                f"self_training_weight is {self.self_training_weight} and ema is 0: the average of the weights is the "
                "teacher. Set ema, 0.999 for instance."
            )

    @property
    def objectives(self) -> dict[str, float]:
        """The weights of the objectives that are on."""
        weights = {name: getattr(self, f"{name}_weight") for name in OBJECTIVES}
        return {name: weight for name, weight in weights.items() if weight}


class Unlabelled:
    """Adds the gradients of the objectives, each a mean over a batch of texts of the whole run.

    The texts are the unlabelled ones and those of train without their labels, in an endless order that follows from
    seed and step. With p(x) the answers of the model to x:

    - virtual adversarial: KL(p(x) ‖ p(x + r)), r = ε ‖x‖ g / ‖g‖, where g is the gradient of KL(p(x) ‖ p(x + d)) in a
      random direction d with ‖d‖ = ε ‖x‖, one step of the power iteration (Miyato, Dai & Goodfellow 2017,
      https://arxiv.org/abs/1605.07725). Theirs is 50 times smaller, which bf16 rounds away in some texts; a random
      direction of size ε changes logits a hundred times less than the adversarial one, and is small enough. No
      gradient flows through p(x). All passes drop the same units, as in the code of Miyato et al.: a difference is
      that of the perturbation, and not of another dropout.
    - entropy: H(p(x)) (Grandvalet & Bengio 2005).
    - self-training: the cross-entropy of p(x) to the answers of the averaged weights in evaluation mode (mean
      teacher, Tarvainen & Valpola 2017, https://arxiv.org/abs/1703.01780). Its weight rises linearly over the first
      epoch.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        progress: Progress,
        task: Task,
        options: UnlabelledOptions,
        ramp: int,
    ):
        """`ramp`: steps over which the weight of self-training rises."""
        self.accelerator, self.model, self.progress, self.task = accelerator, model, progress, task
        self.options, self.weights, self.ramp = options, options.objectives, ramp
        self.rows, self.size = all_texts(task), options.unlabelled_batch_size or options.batch_size
        check_batch("unlabelled_batch_size", len(self.rows), self.size, options, accelerator.num_processes)
        self.lengths, self.order, self.order_number = list(self.rows["length"]), [], None
        self.adversary = None
        if "virtual_adversarial" in self.weights:
            self.adversary = Adversary(progress.model.get_input_embeddings(), options.virtual_adversarial_epsilon)

    def __call__(self) -> dict[str, Tensor]:
        """Reads the batch of the step; gradients are averaged over the processes in the last backward pass only.

        Returns the losses by name, numbers on the device.
        """
        accelerator, batch = self.accelerator, self._batch()
        parts = split(
            range(len(batch)),
            accelerator.process_index,
            accelerator.num_processes,
            self.options.gradient_accumulation_steps,
        )
        losses = {name: torch.zeros((), device=accelerator.device) for name in self.weights}
        for number, places in enumerate(parts, start=1):
            inputs = self.task.collate(self.rows[[batch[place] for place in places]])
            inputs, last = send_to_device(inputs, accelerator.device), number == len(parts)
            draws = _random_state(accelerator.device)
            found, logits = self._answer(inputs, synchronise=last and not self.adversary)
            if self.adversary:
                found["virtual_adversarial"] = self._defend(inputs, logits, places, draws, synchronise=last)
            for name, loss in found.items():
                losses[name] += loss.detach() / len(batch)
        return {f"{name}_loss": accelerator.reduce(loss, "sum") for name, loss in losses.items()}

    def _batch(self) -> list[int]:
        number, place = divmod(self.progress.step, math.ceil(len(self.lengths) / self.size))
        if number != self.order_number:
            self.order, self.order_number = batches(self.lengths, self.size, self.options.seed, number), number
        return self.order[place]

    def _answer(self, inputs: dict[str, Tensor], *, synchronise: bool) -> tuple[dict[str, Tensor], Tensor]:
        """A pass over the texts as they are: the losses on them, summed, and the logits."""
        taught = self._teach(inputs) if "self_training" in self.weights else None
        learns = bool(self.weights.keys() - {"virtual_adversarial"})
        losses = {}
        with self._averaging(synchronise), torch.set_grad_enabled(learns):
            logits = self.model(**inputs).logits
            if "entropy" in self.weights:
                losses["entropy"] = cross_entropy(logits, logits.softmax(-1))
            if taught is not None:
                losses["self_training"] = cross_entropy(logits, taught)
            if losses:
                self._backward(losses)
        return losses, logits.detach()

    @torch.no_grad()
    def _teach(self, inputs: dict[str, Tensor]) -> Tensor:
        """The answers of the averaged weights."""
        with self.progress.average.in_model():
            self.model.eval()
            answers = self.model(**inputs).logits.softmax(-1)
            self.model.train()
        return answers

    def _defend(
        self, inputs: dict[str, Tensor], logits: Tensor, places: list[int], draws: dict, *, synchronise: bool
    ) -> Tensor:
        """Two passes, one to find the perturbation and one to answer as without it; the divergence, summed."""
        device, seed = self.accelerator.device, self.options.seed * 1_000_003 + self.progress.step
        self.adversary.watch([(seed * 100_003 + place) % 2**63 for place in places])
        _set_random_state(draws, device)
        with self._averaging(False):
            divergence = kl_divergence(logits, self.model(**inputs).logits)
            self.accelerator.backward(divergence, inputs=[self.adversary.vectors])
        self.adversary.attack()
        _set_random_state(draws, device)  # where the generators then end up is where the first pass left them
        with self._averaging(synchronise):
            divergence = kl_divergence(logits, self.model(**inputs).logits)
            self._backward({"virtual_adversarial": divergence})
        self.adversary.rest()
        return divergence

    def _backward(self, losses: dict[str, Tensor]) -> None:
        rising = {"self_training": min(1.0, (self.progress.step + 1) / self.ramp)}
        total = sum(self.weights[name] * rising.get(name, 1.0) * loss for name, loss in losses.items())
        # Gradients are averaged over processes; times their number, that is the sum that is wanted.
        self.accelerator.backward(total * self.accelerator.num_processes / len(self._batch()))

    def _averaging(self, now: bool):
        """Whether gradients are averaged over the processes in a backward pass."""
        return nullcontext() if now else self.accelerator.no_sync(self.model)

    def leave(self) -> None:
        """Leaves the model as it was before."""
        if self.adversary:
            self.adversary.leave()


def all_texts(task: Task) -> Dataset:
    """The unlabelled texts and those of train, without labels; a task may have put the former into train."""
    splits = [task.rows[split] for split in ("unlabelled", "train") if split in task.rows]
    columns = [name for name in ("input_ids", "length", LOGITS) if name in splits[0].column_names]
    return concatenate_datasets([rows.select_columns(columns) for rows in splits])


def cross_entropy(logits: Tensor, answers: Tensor) -> Tensor:
    """-Σ p log q over a batch, for logits of q and probabilities p, both [B, C]."""
    return -(answers * logits.log_softmax(-1)).sum()


def kl_divergence(logits: Tensor, perturbed: Tensor) -> Tensor:
    """KL(p ‖ q), summed over a batch, for logits of p and q, both [B, C]."""
    p, q = logits.log_softmax(-1), perturbed.log_softmax(-1)
    return nn.functional.kl_div(q, p, reduction="sum", log_target=True)


def _random_state(device: torch.device) -> dict[str, Tensor]:
    """Where the generators stand from which dropout is drawn."""
    return {kind: module.get_rng_state() for kind, module in generators(device).items()}


def _set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    for kind, module in generators(device).items():
        module.set_rng_state(state[kind])
