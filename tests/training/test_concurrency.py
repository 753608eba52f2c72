"""Many threads may call one pipeline at once: each gets the answers it would get alone, and memory stays flat."""

import random
import threading
import time
from pathlib import Path

import psutil
import pytest
from transformers import pipeline

from rnnzoo.data.synthetic.reviews import make_reviews
from tests.support.reliability import note


CARDS = Path(__file__).parents[2] / "model_cards"
PIPES = {
    "lstm-imdb": ("text-classification", {"top_k": None}),
    "lstm-glove-conll2003": ("token-classification", {"aggregation_strategy": "simple"}),
}
THREADS = 6


@pytest.fixture(scope="module", params=PIPES)
def served(request):
    """A pipeline, and its answers to some texts, each asked alone."""
    task, options = PIPES[request.param]
    pipe = pipeline(task, model=str(CARDS / request.param), device="cpu", **options)
    texts = [text * (1 + i % 5) for i, text in enumerate(make_reviews()["test"]["text"][:40])] + [
        "",
        "Ada, in Ulm \U0001f600",
    ]
    return request.param, pipe, {text: pipe([text])[0] for text in texts}


def differs(found, expected):
    if len(found) != len(expected):
        return True
    pairs = zip(found, expected, strict=True)
    return any(
        abs(a["score"] - b["score"]) > 1e-5 or any(a[key] != b[key] for key in a.keys() - {"score"}) for a, b in pairs
    )


class Asker(threading.Thread):
    """Asks about a few texts at a time, in batches of random size, until `enough`."""

    def __init__(self, pipe, expected, seed, enough):
        super().__init__()
        self.pipe, self.expected, self.rng, self.enough = pipe, expected, random.Random(seed), enough
        self.asked, self.wrong = 0, []

    def run(self):
        texts = list(self.expected)
        while not self.enough(self):
            some = self.rng.sample(texts, self.rng.choice([1, 2, 5]))
            try:
                found = self.pipe(some, batch_size=self.rng.choice([1, 3]))
                self.wrong += [
                    text for text, answer in zip(some, found, strict=True) if differs(answer, self.expected[text])
                ]
            except Exception as error:  # the test names it, whatever it is
                self.wrong.append(repr(error))
            self.asked += len(some)


def ask(served, enough):
    _, pipe, expected = served
    askers = [Asker(pipe, expected, seed, enough) for seed in range(THREADS)]
    for asker in askers:
        asker.start()
    return askers


def asked_by(askers):
    """The number of their answers, all of them right."""
    for asker in askers:
        asker.join()
        assert not asker.wrong, asker.wrong[:3]
    return sum(asker.asked for asker in askers)


def test_concurrent_calls_give_the_answers_of_calls_alone(served):
    assert asked_by(ask(served, lambda asker: asker.asked >= 30)) >= 30 * THREADS


@pytest.mark.slow
def test_a_soak_of_ten_minutes_in_all(served):
    started, memory = time.monotonic(), psutil.Process().memory_info
    askers = ask(served, lambda asker: time.monotonic() - started > 300)
    peaks = {}
    while any(asker.is_alive() for asker in askers):
        askers[0].join(1)
        minute = int((time.monotonic() - started) // 60)
        peaks[minute] = max(peaks.get(minute, 0), memory().rss / 2**20)
    asked = asked_by(askers)
    second, last = peaks[1], peaks[4]
    assert last < 1.03 * second
    note(
        f"soak, {served[0]}",
        f"{THREADS} threads, 5 minutes, {asked:,} texts: answers equal to sequential ones; resident memory "
        f"{second:.0f} MiB at most in the second minute, {last:.0f} MiB in the last",
    )
