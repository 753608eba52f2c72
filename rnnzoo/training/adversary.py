"""An adversary: it perturbs the vectors of words in the direction in which a loss grows most."""

import torch
from torch import Tensor, nn

from rnnzoo.data.errors import RecipeError


ONCE = (
    "Adversarial training needs a model that looks up its word vectors exactly once per forward pass, as a tensor of "
    "shape [B, T, E]; this one does not. Leave adversarial_epsilon, adversarial_character_epsilon and "
    "virtual_adversarial_weight at 0."
)


class Adversary:
    """Perturbs the word vectors x of each example by r = ε ‖x‖ g / ‖g‖, where g is the gradient of a loss in x.

    `watch`, a forward and a backward pass, `attack`, a forward and a backward pass on the same examples, `rest`.

    Miyato, Dai & Goodfellow 2017, https://arxiv.org/abs/1605.07725. They normalise the vectors, so that a network
    cannot outgrow ε; here ε is relative to the norm of the example's vectors, which has the same effect for any model.

    Args:
        vectors_of: the module that makes them, [B, T, E], once per forward pass: the word embeddings of a model, say.
            Only in training mode are its vectors touched.
        epsilon: the size of the perturbation relative to ‖x‖; both norms are over the words of an example that the
            loss depends on.
    """

    def __init__(self, vectors_of: nn.Module, epsilon: float):
        self.epsilon = epsilon
        self._hook = vectors_of.register_forward_hook(self._on_vectors)
        self.rest()

    def _on_vectors(self, embeddings: nn.Module, inputs: tuple, x: Tensor) -> Tensor:
        if not embeddings.training:
            return x
        if self.perturbation is not None:
            return x + self.perturbation
        if not self._watches:
            return x
        if self.vectors is not None or x.ndim != 3:
            raise RecipeError(ONCE)
        self._clean = x.detach()
        if self._seeds is not None:
            # Here, as a model may move padding before it looks words up; None: no id is padding.
            padding = -1 if embeddings.padding_idx is None else embeddings.padding_idx
            words = inputs[0] != padding
            x = self._clean + towards(random_directions(words, x, self._seeds), self._clean, self.epsilon)
        self.vectors = x if x.requires_grad else x.detach().requires_grad_()  # frozen ones have no gradient
        self.vectors.retain_grad()
        return self.vectors

    def watch(self, seeds: list[int] | None = None) -> None:
        """Call before the forward pass whose loss shall grow; `vectors` are then those that it has read.

        Args:
            seeds: one for each example: move its vectors by ε ‖x‖ in a random direction first. A loss that is least
                where nothing is moved has no gradient there.
        """
        self.rest()
        self._watches, self._seeds = True, seeds

    def attack(self) -> None:
        """Call after a backward pass: the next forward pass, on the same examples, reads perturbed vectors."""
        if self.vectors is None:
            raise RecipeError(ONCE)
        self.perturbation = towards(self.vectors.grad, self._clean, self.epsilon)
        self.vectors = self._clean = self._seeds = None

    def rest(self) -> None:
        """The next forward passes read unperturbed vectors, and are not watched."""
        self._watches = False
        self.perturbation = self.vectors = self._clean = self._seeds = None

    def leave(self) -> None:
        """Removes the hook: the model is as it was before."""
        self._hook.remove()


def towards(g: Tensor, x: Tensor, epsilon: float) -> Tensor:
    """ε ‖x‖ g / ‖g‖ for each example of [B, T, E]; both norms are over the words where g is not zero."""
    # Padding has no gradient; some models give it a vector, which must not count.
    x = x * g.any(-1, keepdim=True)
    # The gradient of an example that the model is sure of is so small that its squares would underflow; that of an
    # example without labels is zero, and its vectors stay unperturbed.
    g = g / g.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(g.dtype).tiny)
    norms, steepness = (part.flatten(1).norm(dim=1)[:, None, None] for part in (x, g))
    return epsilon * norms * g / steepness.clamp(min=1)  # its largest value is 1, or 0


def random_directions(words: Tensor, x: Tensor, seeds: list[int]) -> Tensor:
    """[B, T, E] as x: independent normal numbers for the words of a mask [B, T], zero elsewhere.

    Those of an example follow from its seed alone, whatever its neighbours, its padding and the process are.
    """
    generator, directions = torch.Generator(x.device), torch.zeros_like(x)
    drawn = [
        torch.randn(length, x.shape[2], dtype=x.dtype, device=x.device, generator=generator.manual_seed(seed))
        for seed, length in zip(seeds, words.sum(1).tolist(), strict=True)
    ]
    directions[words] = torch.cat(drawn)
    return directions
