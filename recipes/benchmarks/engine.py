"""Speed: the engine beside torch's own layers on packed sequences, and a classifier on one text at a time.

python -m recipes.benchmark          takes a minute on two cores; writes recipes/results/speed.json
python -m recipes.benchmark cuda     the same on a GPU, into speed-cuda.json
"""

import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoModel, AutoModelForSequenceClassification

from recipes.benchmarks.timing import interleaved
from rnnzoo import FAMILIES
from rnnzoo.training.provenance import device_name, git_commit, versions


RESULTS = Path(__file__).parents[1] / "results"
B, T, SIZE = 64, 256, 128
SHORTEST = {"32 to 256": 32, "224 to 256": 224}  # random lengths, and like lengths, as the recipes batch them
TORCH = {"BiRNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}


def contenders(name: str, device: str):
    """Two functions of (vectors, lengths, mask) for a family with two directions: packed torch, and the engine."""
    packed = TORCH[name](SIZE, SIZE, batch_first=True, bidirectional=True).to(device)
    config = FAMILIES[name].config(vocab_size=8, embedding_size=SIZE, hidden_size=SIZE, bidirectional=True)
    engine = FAMILIES[name].models[AutoModel](config, add_pooling_layer=False).to(device)

    def run_packed(x, lengths, mask):
        y, _ = packed(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        return pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])[0]

    def run_engine(x, lengths, mask):
        return engine(inputs_embeds=x, attention_mask=mask).last_hidden_state

    return {"packed": (packed, run_packed), "engine": (engine, run_engine)}


def batch(kind: str, module: nn.Module, run: Callable, lengths: Tensor, mask: Tensor, x: Tensor) -> None:
    """A batch forward, and in training backward."""
    module.train(kind == "train")
    with torch.set_grad_enabled(kind == "train"):
        y = run(x, lengths, mask)
    if kind == "train":
        y.sum().backward()


def measure(words: str, device: str, repeats: int) -> list[dict]:
    """Milliseconds per batch, medians, interleaved."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    torch.manual_seed(0)
    lengths = torch.randint(SHORTEST[words], T + 1, (B,))
    lengths[0] = T
    mask = (torch.arange(T) < lengths[:, None]).long().to(device)  # the lengths stay: packing wants them on the CPU
    x = torch.randn(B, T, SIZE).to(device).requires_grad_()
    rows = []
    for name in TORCH:
        for kind in ("train", "infer"):
            both = contenders(name, device)
            runs = {contender: partial(batch, kind, *each, lengths, mask) for contender, each in both.items()}
            times = interleaved(runs, [x] * (repeats + 1), wait=wait)
            medians = {contender: round(statistics.median(t[1:]), 1) for contender, t in times.items()}
            ratio = statistics.median(p / e for p, e in zip(*(t[1:] for t in times.values()), strict=True))
            rows.append({"words": words, "family": name, "kind": kind, **medians, "ratio": round(ratio, 1)})
            print(rows[-1], flush=True)
    return rows


def latency(device: str, calls: int) -> dict[str, float]:
    """Milliseconds for one text of 100 words through a classifier of the book's size, median, on one thread."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ids = torch.randint(3, 2503, (1, 100), device=device)
    found = {}
    for name, family in FAMILIES.items():
        config = family.config(vocab_size=2503, embedding_size=128, hidden_size=64)
        model = family.models[AutoModelForSequenceClassification](config).eval().to(device)
        run = partial(model, attention_mask=torch.ones_like(ids))
        with torch.inference_mode():
            times = interleaved({name: run}, [ids] * (calls + calls // 10), wait=wait)[name]
        found[name] = round(statistics.median(times[calls // 10 :]), 2)
    torch.set_num_threads(threads)
    return found


def main(device: str = "cpu", folder: Path = RESULTS, repeats: int = 7, calls: int = 200) -> None:
    """Measures, and writes the file."""
    rows = [row for words in SHORTEST for row in measure(words, device, repeats)]
    result = {
        "task": "speed",
        "batch": {"rows": B, "tokens": T, "sizes": SIZE, "directions": 2, "precision": "fp32", "unit": "ms"},
        "rows": rows,
        "latency": latency(device, calls),
        "device": device_name(torch.device(device)),
        "num_threads": torch.get_num_threads(),
        "versions": versions(),
        "git_commit": git_commit(),
    }
    path = folder / ("speed.json" if device == "cpu" else f"speed-{device}.json")
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
