"""A row answers alone as it does in any batch, and in chunks of any length: random models, lengths, paddings and
dtypes, counted.
"""

import pytest
import torch

from tests.support.invariance import WITHIN, check_many
from tests.support.reliability import note


@pytest.mark.parametrize("dtype", WITHIN, ids=str)
def test_a_row_answers_alone_as_in_any_batch(dtype):
    check_many(dtype, range(100))


@pytest.mark.slow
def test_many_rows_answer_alone_as_in_any_batch():
    figures = []
    for dtype, cases in {torch.float32: 3000, torch.bfloat16: 1000}.items():
        rows, deviation = check_many(dtype, range(cases))
        assert deviation > 0, "alone and in a batch the kernels differ"
        kind = str(dtype).removeprefix("torch.")
        figures.append(f"{kind}: {cases} batches, {rows} rows, largest deviation {deviation:.1e} (of {WITHIN[dtype]})")
    note("a row alone and in a batch", "; ".join(figures))
