"""The divergence of a CRF from distributions of tags equals a sum over all paths, gradients too."""

import pytest
import torch

from rnnzoo.crf_rnnzoo import LinearChainCRF, forbidden_in_iob2
from rnnzoo.training.crf_divergence import divergence
from tests.support.crf_paths import divergence_by_paths


LABELS = ["O", "B-X", "I-X"]


def crf_and_rows(seed=0):
    """A CRF, and rows whose tokens count: all of them, padding after them, before them, a gap, one, none."""
    torch.manual_seed(seed)
    crf = LinearChainCRF(3, forbidden_in_iob2(LABELS)).double()
    for weights in crf.parameters():
        torch.nn.init.normal_(weights)
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 1, 1], [1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]]).bool()
    emissions = torch.randn(*mask.shape, 3, dtype=torch.double, requires_grad=True)
    targets = (2 * torch.randn(*mask.shape, 3, dtype=torch.double)).softmax(-1)
    targets[0, 1] = torch.tensor([0.0, 1.0, 0.0])  # a label: other tags have no probability
    return crf, emissions, targets, mask


@pytest.mark.parametrize("temperature", [1.0, 3.0, 0.5])
def test_it_is_that_of_all_paths(temperature):
    crf, *row = crf_and_rows()
    targets = [row[0], *crf.parameters()]
    found, expected = divergence(crf, *row, temperature), divergence_by_paths(crf, *row, temperature)
    torch.testing.assert_close(found, expected)
    weights = torch.arange(1.0, 7.0, dtype=torch.double)  # rows count differently
    gradients = (torch.autograd.grad((values * weights).sum(), targets) for values in (found, expected))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_certain_path_has_its_negative_log_likelihood():
    crf, emissions, targets, mask = crf_and_rows()
    tags = targets.argmax(-1)
    certain = torch.nn.functional.one_hot(tags, 3).double()
    torch.testing.assert_close(divergence(crf, emissions, certain, mask), -crf(emissions, tags, mask))


def test_what_does_not_count_changes_nothing():
    crf, emissions, targets, mask = crf_and_rows()
    found = divergence(crf, emissions, targets, mask)
    targets[~mask] = float("nan")
    torch.testing.assert_close(divergence(crf, emissions, targets, mask), found)
