"""McNemar's test of two models on the same test examples, from what results.json says of each answer."""

from base64 import b64decode
from typing import NamedTuple

import numpy as np


def correct(run: dict) -> np.ndarray:
    """[N] whether the run was right on each test example, in the order of the split; see `Task.correct`.

    Raises:
        ValueError: there is not one bit for each example.
    """
    packed, rows = b64decode(run["test_correct"]), run["dataset"]["splits"]["test"]
    if len(packed) != -(-rows // 8):
        raise ValueError(
            f"test_correct of {run['model']} has {len(packed)} bytes, where {rows:,} test examples take "
            f"{-(-rows // 8)}: copy its results.json anew."
        )
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=rows).astype(bool)


class Discordant(NamedTuple):
    """On how many examples only the first of two models is right, and on how many only the second."""

    first: int
    second: int

    @classmethod
    def of(cls, first: dict, second: dict) -> "Discordant":
        """The counts of two runs on the same test split."""
        a, b = correct(first), correct(second)
        return cls(int((a & ~b).sum()), int((b & ~a).sum()))

    @property
    def p(self) -> float:
        """The two-sided p-value of McNemar's test (1947, https://doi.org/10.1007/BF02295996), exact for all counts.

        If both models are right equally often, the first count is binomial with probability 1/2 of their sum.
        """
        from scipy.stats import binomtest

        total = self.first + self.second
        return float(binomtest(self.first, total).pvalue) if total else 1.0
