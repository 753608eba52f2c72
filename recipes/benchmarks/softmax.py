"""A training step of a language model by the size of its vocabulary: complete, sampled and adaptive softmax.

python -m recipes.benchmark_softmax     writes recipes/results/softmax.json

Forward and backward pass of a batch whose words are drawn by Zipf's law, one thread. The adaptive softmax (Grave et
al. 2017, https://arxiv.org/abs/1609.04309) is torch's, in the place of the output layer.
"""

import json
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from recipes.benchmarks.timing import interleaved
from rnnzoo import FAMILIES
from rnnzoo.training.provenance import device_name, git_commit, versions


RESULTS = Path(__file__).parents[1] / "results"
VOCABULARIES = (5_000, 20_000, 80_000)
B, T = 64, 64
SIZES = {"embedding_size": 128, "hidden_size": 256}


def contenders(vocabulary: int) -> dict[str, Callable[[Tensor], None]]:
    """A training step for each softmax, from ids [B, T]."""
    family = FAMILIES["LSTM"]
    model = family.models[AutoModelForCausalLM](family.config(vocab_size=vocabulary, **SIZES))
    cutoffs = [vocabulary // 10, vocabulary // 2]
    adaptive = nn.AdaptiveLogSoftmaxWithLoss(SIZES["hidden_size"], vocabulary, cutoffs)
    shares = frequencies(vocabulary)

    def step(loss: Callable[[Tensor], Tensor]) -> Callable[[Tensor], None]:
        def run(ids: Tensor) -> None:
            for module in (model, adaptive):
                module.zero_grad()
            loss(ids).backward()

        return run

    def by_torch(ids: Tensor) -> Tensor:
        y = model.base_model(ids).last_hidden_state
        return adaptive(y[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).loss

    return {
        "complete": step(lambda ids: model(ids, labels=ids).loss),
        "sampled": step(lambda ids: model(ids, labels=ids, token_frequencies=shares).loss),
        "adaptive": step(by_torch),
    }


def frequencies(vocabulary: int) -> Tensor:
    """The share of each word by Zipf's law, the most frequent one first."""
    found = 1 / torch.arange(1, vocabulary + 1)
    return found / found.sum()


def main(folder: Path = RESULTS, vocabularies: tuple[int, ...] = VOCABULARIES, rounds: int = 10) -> None:
    """Measures, and writes the file."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for vocabulary in vocabularies:
        batches = [torch.multinomial(frequencies(vocabulary), B * T, True).view(B, T) for _ in range(rounds + 1)]
        times = interleaved(contenders(vocabulary), batches)
        found = {name: round(statistics.median(each[1:]), 1) for name, each in times.items()}  # not the first
        rows.append({"vocabulary": vocabulary, **found})
        print(rows[-1], flush=True)
    result = {
        "task": "softmax",
        "batch": {"rows": B, "tokens": T, **SIZES},
        "rows": rows,
        "device": device_name(torch.device("cpu")),
        "num_threads": 1,
        "versions": versions(),
        "git_commit": git_commit(),
    }
    (folder / "softmax.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
