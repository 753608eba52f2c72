"""The optimizer of a run and the schedule of its learning rate."""

import copy
import math
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from rnnzoo.data.errors import RecipeError
from rnnzoo.training.options import Options


@dataclass(frozen=True)
class Plan:
    """How many steps a run takes."""

    steps_per_epoch: int
    total_steps: int

    @classmethod
    def of(cls, examples: int, options: Options, processes: int) -> "Plan":
        """The plan for a number of training examples.

        Raises:
            RecipeError: a batch is too small to be split among processes and micro-batches.
        """
        check_batch("batch_size", examples, options.batch_size, options, processes)
        steps = math.ceil(examples / options.batch_size)
        return cls(
            steps, min(options.num_train_epochs * steps, options.max_train_steps or options.num_train_epochs * steps)
        )


def check_batch(name: str, examples: int, size: int, options: Options, processes: int) -> None:
    """Refuses a batch, of the size that the option `name` says, that is too small for processes and micro-batches."""
    smallest = examples // math.ceil(examples / size)  # they are as equal as can be
    if smallest < processes * options.gradient_accumulation_steps:
        raise RecipeError(
            f"A batch of {smallest} examples cannot be split among {processes} processes with "
            f"{options.gradient_accumulation_steps} micro-batches each: raise {name}."
        )


def adamw(
    model: nn.Module, plan: Plan, options: Options, *, fused: bool = False
) -> tuple[torch.optim.AdamW, LRScheduler]:
    """AdamW (Loshchilov & Hutter 2019) with a warm-up and the schedule that the options name.

    `fused`: in one pass over the parameters, which for an embedding of 30,000 words takes a sixth of the time on a
    CPU.

    The scheduler is not for `accelerator.prepare`: accelerate would step it once per process, while a step here is
    one of the whole run.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=fused or None
    )
    warmup = round(options.warmup_ratio * plan.total_steps)
    name = "constant_with_warmup" if options.lr_scheduler_type == "constant" else options.lr_scheduler_type
    return optimizer, get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=plan.total_steps)


def trained_copy(accelerator: Accelerator, model: nn.Module) -> nn.Module:
    """The model to train: itself, or with FSDP2 a copy whose parameters are sharded.

    The unsharded model receives the weights at the end of each epoch (`unshard`). Evaluation and saving need it:
    processes evaluate different numbers of batches and only one saves, while every forward pass through a sharded
    model is a collective operation of all of them.
    """
    return copy.deepcopy(model.to(accelerator.device)) if accelerator.is_fsdp2 else model


def unshard(accelerator: Accelerator, trained: nn.Module, model: nn.Module) -> None:
    """Copies the trained weights into the unsharded model, where these are two."""
    if accelerator.is_fsdp2:
        model.load_state_dict(get_model_state_dict(trained, options=StateDictOptions(full_state_dict=True)))
