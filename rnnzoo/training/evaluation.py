"""The score of a model on a split: every example evaluated once, by one of the processes."""

from base64 import b64encode

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, send_to_device
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from rnnzoo.training.batches import batches, count_labels, split
from rnnzoo.training.options import Options
from rnnzoo.training.task import Task


def quiet(accelerator: Accelerator) -> bool | None:
    """`disable` for tqdm: bars on the main process only, and only on a terminal, which is what None asks for."""
    return None if accelerator.is_main_process else True


@torch.no_grad()
def evaluate(
    accelerator: Accelerator, model: PreTrainedModel, task: Task, part: str, options: Options
) -> tuple[dict[str, float], list]:
    """Metrics and loss on a split, and the prediction for each of its examples.

    `model` is unsharded and not wrapped for distributed training: processes may have different numbers of batches.

    Raises:
        RuntimeError: an example was evaluated twice or not at all.
    """
    rows, world, rank = task.rows[part], accelerator.num_processes, accelerator.process_index
    model.eval()
    found, loss_sum, labels = [], 0.0, 0
    order = batches(list(rows["length"]), options.eval_batch_size, seed=None)
    for batch in tqdm(order, desc=part, disable=quiet(accelerator), leave=False):
        for indices in split(batch, rank, world):
            columns = rows[indices]
            inputs = task.collate(columns)
            count = count_labels(inputs)
            loss, predictions = task.predict(model, send_to_device(inputs, accelerator.device), columns)
            if count:
                loss_sum, labels = loss_sum + loss.item() * count, labels + count
            found += zip(indices, predictions, strict=True)
    found = sorted(gather_object(found), key=lambda pair: pair[0])
    totals = gather_object([(loss_sum, labels)])
    if [index for index, _ in found] != list(range(len(rows))):
        raise RuntimeError(
            f"{part}: {len(found)} predictions came back from {world} processes, for {len({i for i, _ in found})} "
            f"different examples, where the split has {len(rows)}. The score would be wrong; nothing is written."
        )
    predictions = [prediction for _, prediction in found]
    examples = task.corpus.splits[part]
    metrics = task.metrics(predictions, task.references(examples)) | task.breakdown(predictions, examples)
    return {**metrics, "loss": sum(loss for loss, _ in totals) / sum(count for _, count in totals)}, predictions


def packed(correct: list[bool]) -> str:
    """One bit for each example, in order, the first in the highest bit of the first byte; in base64, for JSON."""
    return b64encode(np.packbits(np.array(correct, bool)).tobytes()).decode()
