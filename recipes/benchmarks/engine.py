"""Speed: the engine beside torch's own layers on packed sequences, and a classifier on one text at a time.

python -m recipes.benchmark          takes a minute on two cores; writes recipes/results/speed.json
python -m recipes.benchmark cuda     the same on a GPU, into speed-cuda.json
"""

import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoModel, AutoModelForSequenceClassification

from rnnzoo import FAMILIES
from rnnzoo.training.loop import device_name, git_commit, versions


B, T, SIZE, REPEATS = 64, 256, 128, 7
SHORTEST = {"32 to 256": 32, "224 to 256": 224}  # rows as they come, and rows of like length as the recipes batch them
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


def measure(words: str, device: str) -> list[dict]:
    """Milliseconds a batch, medians; the two take turns, so that a drift of the machine meets both.

    On a GPU a batch ends when all that it asked for is done.
    """
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
            times = {contender: [] for contender in both}
            for _ in range(REPEATS + 1):
                for contender, (module, run) in both.items():
                    module.train(kind == "train")
                    started = time.perf_counter()
                    with torch.set_grad_enabled(kind == "train"):
                        y = run(x, lengths, mask)
                    if kind == "train":
                        y.sum().backward()
                    wait()
                    times[contender].append(time.perf_counter() - started)
            medians = {c: round(1000 * statistics.median(t[1:]), 1) for c, t in times.items()}
            ratio = statistics.median(p / e for p, e in zip(*(t[1:] for t in times.values()), strict=True))
            rows.append({"words": words, "family": name, "kind": kind, **medians, "ratio": round(ratio, 1)})
            print(rows[-1], flush=True)
    return rows


def latency(device: str) -> dict[str, float]:
    """Milliseconds for one text of 100 words through a classifier of the book's size, median, on one thread."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ids = torch.randint(3, 2503, (1, 100), device=device)
    found = {}
    for name, family in FAMILIES.items():
        config = family.config(vocab_size=2503, embedding_size=128, hidden_size=64)
        model = family.models[AutoModelForSequenceClassification](config).eval().to(device)
        times = []
        with torch.inference_mode():
            for _ in range(220):
                started = time.perf_counter()
                model(ids, attention_mask=torch.ones_like(ids))
                wait()
                times.append(time.perf_counter() - started)
        found[name] = round(1000 * statistics.median(times[20:]), 2)
    torch.set_num_threads(threads)
    return found


def main(device: str = "cpu") -> None:
    """Measures, and writes the file."""
    rows = [row for words in SHORTEST for row in measure(words, device)]
    result = {
        "task": "speed",
        "batch": {"rows": B, "tokens": T, "sizes": SIZE, "directions": 2, "precision": "fp32", "unit": "ms"},
        "rows": rows,
        "latency": latency(device),
        "device": device_name(torch.device(device)),
        "num_threads": torch.get_num_threads(),
        "versions": versions(),
        "git_commit": git_commit(),
    }
    path = Path(__file__).parent / "results" / ("speed.json" if device == "cpu" else f"speed-{device}.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
