"""The divergence of a CRF from distributions of tags, summed over all paths, for tests."""

import itertools

import torch


def divergence_by_paths(crf, emissions, targets, mask, temperature):
    """Σ_y p(y) (log p(y) - log q(y)) over all paths y of each row, where q is the CRF with scores divided by T."""
    found = []
    for emission, target, real in zip(emissions, targets, mask, strict=True):
        emission, target = emission[real], target[real]
        scores, probabilities = [], []
        for path in itertools.product(range(target.shape[1]), repeat=len(emission)):
            score, probability = emissions.new_zeros(()), emissions.new_ones(())
            for t, tag in enumerate(path):
                score = score + emission[t, tag] + (crf.transitions[path[t - 1], tag] if t else crf.start[tag])
                probability = probability * target[t, tag]
            scores.append((score + crf.end[path[-1]] if path else score) / temperature)
            probabilities.append(probability)
        log_q, p = torch.stack(scores).log_softmax(0), torch.stack(probabilities)
        found.append((torch.xlogy(p, p) - p * log_q).sum())
    return torch.stack(found)
