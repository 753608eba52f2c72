"""What a generated token costs at each position: with the carried state, without it, and with a transformer's cache.

python -m recipes.benchmark_generation     writes recipes/results/generation.json

Characters, greedily, one text, one thread. Each contender is one call of generate() in a process of its own, whose
streamer notes the time and the memory. generate() appends each token to the ids and to the mask, and so copies both;
what the model alone costs is measured in a loop by hand, which keeps the state and the last token only.
"""

import gc
import json
import multiprocessing
import statistics
import time
from array import array
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from rnnzoo import FAMILIES
from rnnzoo.training.provenance import device_name, git_commit, versions


RESULTS = Path(__file__).parents[1] / "results"
POSITIONS = (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
SECONDS = 60  # for contenders that get slower: they stop wherever they are then
SIZES = {"vocab_size": 256, "embedding_size": 128, "hidden_size": 512, "num_hidden_layers": 1}

STATE, NO_STATE, BY_HAND, CACHE = (
    "generate(), state",
    "generate(), no state",
    "loop by hand, state",
    "generate(), cache",
)
LLAMA = "Llama"


def network(name: str, sizes: dict[str, int]) -> PreTrainedModel:
    """A language model with random weights: of a family, or a Llama with about as many parameters as the LSTM."""
    torch.manual_seed(0)
    if name != LLAMA:
        family = FAMILIES[name]
        return family.models[AutoModelForCausalLM](family.config(**sizes)).eval()

    def llama(layers):
        width = sizes["embedding_size"]
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=sizes["vocab_size"],
                hidden_size=width,
                intermediate_size=3 * width,
                num_hidden_layers=layers,
                num_attention_heads=4,
                max_position_embeddings=2**17,
                pad_token_id=0,
                eos_token_id=None,
            )
        ).eval()

    one, two, wanted = (model.num_parameters() for model in (llama(1), llama(2), network("LSTM", sizes)))
    return llama(max(1, round((wanted - one) / (two - one)) + 1))


class Clock:
    """A streamer that notes when each token comes, and the memory of the process at some positions."""

    def __init__(self, positions: tuple[int, ...]):
        self.times, self.read = array("d", [0.0]) * (max(positions) + 1), 0  # all of it now: it must not grow
        self.bytes: dict[int, int] = dict.fromkeys(positions, 0)
        self.process = psutil.Process()

    def put(self, tokens: torch.Tensor) -> None:
        """As generate() calls it: with the prompt of one token, and with each token that follows."""
        self.times[self.read] = time.perf_counter()
        self.read += 1
        if self.read in self.bytes:
            self.bytes[self.read] = self.process.memory_info().rss

    def end(self) -> None:
        """Nothing is left to do."""

    def milliseconds(self, position: int) -> float:
        """Of the tokens that end at a position, the median: of a tenth of those before it, five to a hundred."""
        times = self.times[position - min(100, max(5, position // 10)) - 1 : position]
        return 1000 * statistics.median(b - a for a, b in zip(times, times[1:], strict=False))


@torch.inference_mode()
def measure(name: str, way: str, sizes: dict[str, int], positions: tuple[int, ...], seconds: float) -> dict[str, Any]:
    """A row: milliseconds of a token, and megabytes of the process more than at the first position."""
    torch.set_num_threads(1)
    model, clock, start = network(name, sizes), Clock(positions), torch.ones(1, 1, dtype=torch.long)
    new_tokens = max(positions) - 1
    model.generate(start, max_new_tokens=5, do_sample=False, pad_token_id=0)  # what is done once only
    gc.collect()
    if way == BY_HAND:
        ids, state = start, None
        clock.put(ids)
        for _ in range(new_tokens):
            out = model(ids, initial_state=state)
            ids, state = out.logits[:, -1:].argmax(-1), out.final_state
            clock.put(ids)
    else:
        options = {"max_new_tokens": new_tokens, "do_sample": False, "pad_token_id": 0, "use_cache": way != NO_STATE}
        model.generate(start, streamer=clock, **options, **({} if way == STATE else {"max_time": seconds}))
    reached = [position for position in positions if position <= clock.read]
    return {
        "model": name,
        "way": way,
        "parameters": model.num_parameters(),
        "tokens": clock.read,
        "milliseconds": {str(position): round(clock.milliseconds(position), 3) for position in reached},
        "megabytes": {str(p): round((clock.bytes[p] - clock.bytes[reached[0]]) / 2**20, 1) for p in reached},
    }


def apart(function: Callable, *arguments: Any) -> Any:
    """Calls a function in a new process, whose memory is that of the call."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main(
    folder: Path = RESULTS,
    sizes: dict[str, int] = SIZES,
    positions: tuple[int, ...] = POSITIONS,
    seconds: float = SECONDS,
    call: Callable = apart,
) -> None:
    """Measures, and writes the file."""
    families = [name for name, family in FAMILIES.items() if AutoModelForCausalLM in family.models]
    contenders = [(name, way) for name in families for way in (STATE, BY_HAND, NO_STATE)]
    rows = []
    for name, way in (*contenders, (LLAMA, CACHE)):
        rows.append(call(measure, name, way, sizes, positions, seconds))
        print(rows[-1], flush=True)
    result = {
        "task": "generation",
        "sizes": sizes,
        "positions": positions,
        "seconds": seconds,
        "rows": rows,
        "device": device_name(torch.device("cpu")),
        "num_threads": 1,
        "versions": versions("psutil"),
        "git_commit": git_commit(),
    }
    (folder / "generation.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
