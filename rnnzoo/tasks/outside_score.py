"""Tunes the bias of O on validation F1: a tagger trained by likelihood finds too few entities."""

from collections.abc import Callable

from torch import nn


STEP = 0.5  # nats
MOST_STEPS = 8


def tune(head: nn.Linear, outside: int, f1: Callable[[], float]) -> float:
    """Moves the bias of the score of O to where F1 is highest, and returns by how much, in nats.

    Likelihood is highest when probabilities are right, F1 when about as many entities are found as there are: the
    score of O trades recall for precision (Minkov et al. 2006, HLT-NAACL, on CRFs). It is lowered in steps of 0.5
    until F1 falls, by 4 at most; if that does not help, it is raised in the same way.

    Args:
        head: gives the scores, one of its rows each.
        outside: the row of O.
        f1: evaluates the tagger as it is.
    """
    before = head.bias.detach().clone()

    def at(steps: int) -> float:
        head.bias.data[outside] = before[outside] + STEP * steps
        return f1()

    best, chosen = at(0), 0
    for direction in (-1, 1):
        if chosen:
            break
        for steps in range(direction, direction * (MOST_STEPS + 1), direction):
            found = at(steps)
            if found < best:
                break
            if found > best:
                best, chosen = found, steps
    head.bias.data[outside] = before[outside] + STEP * chosen
    return STEP * chosen
