"""Random models and batches, each of whose rows must answer as it does alone, in chunks of any length."""

import random
from typing import get_args

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoModelForTokenClassification

from rnnzoo import context_rnnzoo, modeling_rnnzoo
from rnnzoo.configuration_rnnzoo import RecurrentConfig
from rnnzoo.recurrence_rnnzoo import RecurrentDirection
from tests.conftest import HEADS, SMALL


POOLINGS = get_args(RecurrentConfig.__annotations__["pooling"])

# How far a number may be from what it is alone, relative to 1 + its size. fp32: as promised. bf16: it rounds by up to
# 1/256, how often depends on the kernel for a batch of this size, and the state accumulates it.
WITHIN = {torch.float32: 1e-5, torch.bfloat16: 0.1}


def some_model(rng, heads):
    """One of `heads` with a random configuration, every weight random."""
    head = rng.choice(heads)
    chosen = {
        "num_hidden_layers": rng.randint(1, 3),
        "hidden_size": rng.choice([1, 3, 8, 16, 33]),
        "character_size": 0 if head.auto is AutoModelForCausalLM else rng.choice([0, 4]),
        "context_size": 0 if head.auto is AutoModelForCausalLM else rng.choice([0, 0, 5]),
        "character_vocab_size": 9,
    }
    if chosen["character_size"]:
        chosen |= {"character_encoder": rng.choice(["cnn", "lstm"]), "character_ngrams": rng.choice([0, 50])}
    if head.auto is AutoModelForTokenClassification:
        chosen |= {"use_crf": rng.random() < 0.5, "pool_repeated_words": rng.random() < 0.5}
        chosen |= {"sentence_token_id": rng.choice([None, 4]), "id2label": {0: "O", 1: "B-X", 2: "I-X"}}
    else:
        chosen["pooling"] = rng.choice(POOLINGS)
    if head.auto is AutoModelForSequenceClassification:
        chosen["window"] = rng.choice([None, 1, rng.randint(2, 40)])
    model = head.model(**chosen)
    for module in model.modules():
        if isinstance(module, RecurrentDirection):
            # Larger ones make a plain RNN amplify rounding at every step.
            for weight in module.parameters():
                if weight.ndim == 2:
                    weight.normal_(std=weight.shape[1] ** -0.5)
    return model, f"{head.name} {head.auto.__name__} {chosen}"


def some_rows(rng, model):
    """1 to 12 rows of 0 to 60 words, with characters for a model that reads them."""
    longest, characters = rng.choice([1, 5, 20, 60]), rng.randint(1, 6)
    rows = []
    for _ in range(rng.randint(1, 12)):
        length = rng.randint(0, longest)
        rows.append({"input_ids": torch.randint(3, SMALL["vocab_size"], (length,))})
        if model.config.reads_characters:
            rows[-1]["character_ids"] = torch.randint(9, (length, characters))
    return rows


def lay_out(rng, rows, side):
    """The rows as one batch, with ids in the padding that must not be read."""
    lengths = [len(row["input_ids"]) for row in rows]
    width = max(lengths) + rng.choice([0, 0, 1, 5])
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    batch = {
        name: torch.tensor([-100, 10**9, 0, 7])[torch.randint(4, (len(rows), width, *part.shape[1:]))]
        for name, part in rows[0].items()
    }
    for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        start = {"left": width - length, "right": 0, "mixed": rng.randint(0, width - length)}[side]
        mask[number, start : start + length] = 1
        for name, part in row.items():
            batch[name][number, start : start + length] = part
    return batch, mask


def of_row(out, row, words, exact):
    """What an output says of a row, and where there is a time axis of its `words`."""
    # A model that reads each sentence of a row by itself has no state at its end.
    found = {name: part[row] for name, part in (out.final_state or {}).items()}
    if "last_hidden_state" in out:
        return found | {"last_hidden_state": out.last_hidden_state[row, words], "pooled": out.pooler_output[row]}
    if out.logits.ndim == 2:
        return found | {"logits": out.logits[row]}
    if "tags" not in out:
        return found | {"logits": out.logits[row, words]}
    at_words = {"emissions": out.emissions, "marginals": out.marginals}
    if exact:  # with rounded scores another path may be as good
        at_words |= {"tags": out.tags, "probabilities": out.logits.softmax(-1)}
    return found | {name: part[row, words] for name, part in at_words.items()}


@torch.no_grad()
def check(number, dtype, heads):
    """One random batch, and each of its rows alone: the number of rows, and the largest deviation of a number."""
    rng = random.Random(number)
    torch.manual_seed(number)
    model, description = some_model(rng, heads)
    model.to(dtype)
    rows, side, exact = some_rows(rng, model), rng.choice(["left", "right", "mixed"]), dtype is torch.float32
    batch, mask = lay_out(rng, rows, side)
    with pytest.MonkeyPatch.context() as patch:
        chunk = rng.choice([modeling_rnnzoo.CHUNK, 1, 2, 3, 20])
        patch.setattr(modeling_rnnzoo, "CHUNK", chunk)
        patch.setattr(context_rnnzoo, "CHUNK", rng.choice([context_rnnzoo.CHUNK, 1, 7, 50]))
        together, largest = model(**batch, attention_mask=mask), 0.0
    for place, row in enumerate(rows):
        alone = model(**{name: part[None] for name, part in row.items()})
        expected = of_row(alone, 0, torch.arange(len(row["input_ids"])), exact)
        for name, found in of_row(together, place, mask[place].nonzero()[:, 0], exact).items():
            apart = (found.double() - expected[name]).abs() / (1 + expected[name].abs())
            where = f"case {number}, {dtype}, {name} of row {place} of {len(rows)}, {side}, in {chunk}s: {description}"
            assert (apart <= WITHIN[dtype]).all(), f"{where} is {apart.max()} apart"  # NaN is not
            largest = max([largest, *apart.flatten().tolist()])
    return len(rows), largest


def check_many(dtype, numbers, heads=HEADS):
    """Random batches by number: how many rows they have, and the largest deviation."""
    rows, deviations = zip(*(check(number, dtype, heads) for number in numbers), strict=True)
    return sum(rows), max(deviations)
