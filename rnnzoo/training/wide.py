"""The wide part of a classifier, fitted before the loop: logistic regression with naive-Bayes weights.

Wang & Manning 2012, https://aclanthology.org/P12-2018. A row is x, 1 / √n at its n distinct buckets; a class is told
from the others by σ(w · (r ∘ x) + b), where r are the log-count ratios of the buckets, so that W = r ∘ w.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from datasets import Dataset
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rnnzoo.data.folds import fold_rows
from rnnzoo.training.teachers import spread
from rnnzoo.wide_rnnzoo import Wide, distinct_buckets


# The column of encoded rows, and the argument of the model, for what the wide part says of a row.
LOGITS = "wide_logits"
FOLDS = 5
# Rows that are hashed at a time.
AT_ONCE = 256

NO_STREAM = (
    "model.wide_size and streaming: the wide part is fitted on all training rows at once. Leave streaming out, or set "
    "model.wide_size to 0."
)


def start(part: Wide, rows: dict[str, Dataset], num_labels: int, strength: float) -> Tensor:
    """Fits the wide part on the labelled training rows and freezes its weights, all but the scale.

    What it says of a row that it was fitted on is overconfident, and would leave a network beside it nothing to learn.
    So every row that is trained on gets a column `LOGITS`: for a labelled one from a fit on the other folds, of
    `FOLDS`, and for others from the wide part itself. The margin of the former has a standard deviation of 1, and the
    scale starts at what it was before: the wide part is heard at its full strength from the first step, so that the
    network learns what it does not know instead of learning the same words again.

    Args:
        rows: of a task, see `Task.rows`; those of train have `labels`, -100 where there is none.
        num_labels: C.
        strength: of scikit-learn's logistic regression, its C.

    Returns:
        Its logits for the validation rows, [N, C], with an intercept, which the model leaves to its classifier.
    """
    labels = np.array(rows["train"]["labels"])
    labelled = np.flatnonzero(labels != -100)
    x = presence(rows["train"]["input_ids"], part.size)
    fitted = fit(x[labelled], labels[labelled], num_labels, strength)
    held_out = out_of_fold(x[labelled], labels[labelled], num_labels, strength)
    size = spread(torch.from_numpy(held_out)) or 1.0  # zero where no row has a word
    weight, logits = fitted.weight / size, x @ (fitted.weight / size)
    logits[labelled] = held_out / size
    with torch.no_grad():
        part.weight.copy_(torch.from_numpy(weight[:, 1:] - weight[:, :1] if num_labels == 2 else weight))
        part.scale.fill_(size)
    part.weight.requires_grad_(False)
    rows["train"] = rows["train"].add_column(LOGITS, logits.tolist())
    if "unlabelled" in rows:
        found = presence(rows["unlabelled"]["input_ids"], part.size) @ weight
        rows["unlabelled"] = rows["unlabelled"].add_column(LOGITS, found.tolist())
    validation = presence(rows["validation"]["input_ids"], part.size) @ fitted.weight + fitted.intercept
    return torch.from_numpy(validation)


class Fitted(NamedTuple):
    """A linear model: `weight` [size, C] and `intercept` [C]."""

    weight: np.ndarray
    intercept: np.ndarray


def fit(x: csr_matrix, labels: np.ndarray, num_labels: int, strength: float) -> Fitted:
    """Tells each class from the others; of two, both with half of the margin between them. [N, size], [N] -> W, b."""
    margins = [margin(x, labels == label, strength) for label in range(1 if num_labels == 2 else 0, num_labels)]
    weight, intercept = (np.stack(parts, axis=-1) for parts in zip(*margins, strict=True))
    if num_labels == 2:
        weight, intercept = (np.concatenate([-part, part], axis=-1) / 2 for part in (weight, intercept))
    return Fitted(weight, intercept)


def margin(x: csr_matrix, positive: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    """The log-odds of a class by its rows, a mask [N]: r ∘ w, [size], and b."""
    count, n = positive.sum(), len(positive)
    if count in (0, n):  # of a rare class, a fold may have left out all rows
        return np.zeros(x.shape[1]), math.log((count + 0.5) / (n - count + 0.5))
    ratio = log_count_ratio(x, positive)
    found = LogisticRegression(C=strength, max_iter=1000).fit(x.multiply(ratio).tocsr(), positive)
    return ratio * found.coef_[0], found.intercept_[0]


def log_count_ratio(x: csr_matrix, positive: np.ndarray) -> np.ndarray:
    """[size] r = log(p / |p|₁) - log(q / |q|₁), where p and q are 1 + the numbers of rows with x > 0.

    Args:
        positive: [N] of bool: the rows that p counts; q counts the others.
    """
    present = x > 0
    p, q = (1 + np.asarray(present[rows].sum(axis=0)).ravel() for rows in (positive, ~positive))
    return np.log(p / p.sum()) - np.log(q / q.sum())


def out_of_fold(x: csr_matrix, labels: np.ndarray, num_labels: int, strength: float) -> np.ndarray:
    """For each row, the logits of a fit that left out its fold, without the intercept: [N, C]."""
    logits = np.empty((len(labels), num_labels))
    for k in range(FOLDS):
        left_out = fold_rows(labels.tolist(), k, FOLDS)
        others = np.delete(np.arange(len(labels)), left_out)
        logits[left_out] = x[left_out] @ fit(x[others], labels[others], num_labels, strength).weight
    return logits


def presence(rows: list[list[int]], size: int) -> csr_matrix:
    """Rows of ids -> [N, size], 1 / √n at the n distinct buckets of each."""
    counts, places = [], []
    for start in range(0, len(rows), AT_ONCE):
        part = [torch.tensor(row, dtype=torch.long) for row in rows[start : start + AT_ONCE]]
        ids, lengths = pad_sequence(part, batch_first=True), torch.tensor(list(map(len, part)))
        buckets, first = distinct_buckets(ids, torch.arange(ids.shape[1]) < lengths[:, None], size)
        counts.append(first.sum(1).numpy())
        places.append(buckets[first].numpy())
    counts = np.concatenate(counts)
    values = np.repeat(1 / np.sqrt(counts.clip(min=1)), counts)
    return csr_matrix((values, np.concatenate(places), np.cumsum([0, *counts])), (len(rows), size))
