"""Speed of the CRF: beside pytorch-crf's at batch 64, and beside the BiLSTM under it at batch 1.

pip install -e ".[bench]"
python -m recipes.benchmark_crf          takes two minutes; writes recipes/results/crf.json
python -m recipes.benchmark_crf cuda     the same on a GPU, into crf-cuda.json
"""

import json
import statistics
import sys
from pathlib import Path

import torch
from transformers import AutoModel

from recipes.benchmarks.timing import interleaved
from rnnzoo import FAMILIES
from rnnzoo.crf_rnnzoo import LinearChainCRF, forbidden_in_iob2
from rnnzoo.training.provenance import device_name, git_commit, versions


RESULTS = Path(__file__).parents[1] / "results"
B, T = 64, 100
SHORTEST = {"100": 100, "50 to 100": 50}
LABELS = ["O", *(f"{prefix}-{kind}" for kind in ("LOC", "MISC", "ORG", "PER") for prefix in "BI")]
C = len(LABELS)
SENTENCE, SIZE = 25, 100  # words of one sentence, and the sizes of a usual tagger, for batch 1


def medians(contenders: dict, device: str, calls: int, in_a_row: int = 1) -> dict[str, float]:
    """Milliseconds of a call of each contender, interleaved; the first round does not count."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    runs = {name: lambda _, run=run: run() for name, run in contenders.items()}
    times = interleaved(runs, range(calls // in_a_row + 1), in_a_row=in_a_row, wait=wait)
    return {name: round(statistics.median(found[in_a_row:]), 2) for name, found in times.items()}


def beside_pytorch_crf(words: str, device: str, calls: int) -> list[dict]:
    """Training (likelihood and gradients) and decoding of a batch."""
    from torchcrf import CRF

    torch.manual_seed(0)
    lengths = torch.randint(SHORTEST[words], T + 1, (B,))
    mask = (torch.arange(T) < lengths[:, None]).to(device)
    emissions = torch.randn(B, T, C).to(device).requires_grad_()
    tags = torch.randint(C, (B, T)).to(device)
    theirs, ours = CRF(C, batch_first=True).to(device), LinearChainCRF(C, forbidden_in_iob2(LABELS)).to(device)

    @torch.inference_mode()
    def decode(run):
        return run()

    found = []
    for kind, both in {
        "train": {
            "pytorch-crf": lambda: (-theirs(emissions, tags, mask)).backward(),
            "rnnzoo": lambda: (-ours(emissions, tags, mask).sum()).backward(),
        },
        "decode": {
            "pytorch-crf": lambda: decode(lambda: theirs.decode(emissions, mask)),
            "rnnzoo": lambda: decode(lambda: ours.decode(emissions, mask)),
        },
    }.items():
        for in_a_row in (1, 10):
            times = medians(both, device, calls, in_a_row)
            ratio = round(times["pytorch-crf"] / times["rnnzoo"], 1)
            found.append({"words": words, "kind": kind, "in a row": in_a_row, **times, "ratio": ratio})
            print(found[-1], flush=True)
    return found


def one_sentence(device: str, calls: int) -> dict[str, float]:
    """What a tagger computes for one sentence: a BiLSTM, and with a CRF the best path and the marginals on top."""
    config = FAMILIES["LSTM"].config(vocab_size=8, embedding_size=SIZE, hidden_size=SIZE, bidirectional=True)
    lstm = FAMILIES["LSTM"].models[AutoModel](config, add_pooling_layer=False).eval().to(device)
    crf = LinearChainCRF(C, forbidden_in_iob2(LABELS)).to(device)
    x, mask = torch.randn(1, SENTENCE, SIZE, device=device), torch.ones(1, SENTENCE, dtype=torch.long, device=device)
    emissions = torch.randn(1, SENTENCE, C, device=device)
    with torch.inference_mode():
        return medians(
            {
                "BiLSTM": lambda: lstm(inputs_embeds=x, attention_mask=mask),
                "best path": lambda: crf.decode(emissions, mask.bool()),
                "marginals": lambda: crf.marginals(emissions, mask.bool()),
            },
            device,
            calls,
        )


def main(device: str = "cpu", folder: Path = RESULTS, calls: int | None = None) -> None:
    """Measures, and writes the file."""
    calls = calls or (500 if device == "cpu" else 20)  # on a GPU pytorch-crf takes a tenth of a second
    try:
        rows = [row for words in SHORTEST for row in beside_pytorch_crf(words, device, calls)]
    except ModuleNotFoundError as error:
        sys.exit(f"error: {error}. This benchmark needs it: pip install -e '.[bench]'.")
    result = {
        "task": "crf",
        "batch": {"rows": B, "tokens": T, "tags": C, "precision": "fp32", "unit": "ms"},
        "rows": rows,
        "sentence": {"words": SENTENCE, "sizes": SIZE, **one_sentence(device, calls)},
        "device": device_name(torch.device(device)),
        "num_threads": torch.get_num_threads(),
        "versions": versions("pytorch-crf"),
        "git_commit": git_commit(),
    }
    path = folder / ("crf.json" if device == "cpu" else f"crf-{device}.json")
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
