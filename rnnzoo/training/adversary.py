"""Adversarial training: a second pass over each batch, with its word vectors perturbed so that the loss grows."""

import torch
from torch import Tensor, nn

from rnnzoo.data.errors import RecipeError


ONCE = (
    "adversarial_epsilon needs a model that looks up its word vectors exactly once per forward pass, as a tensor of "
    "shape [B, T, E]; this one does not. Leave it at 0."
)


class Adversary:
    """Perturbs the word vectors x of each example by r = ε ‖x‖ g / ‖g‖, where g is the gradient of the loss in x.

    Miyato, Dai & Goodfellow 2017, https://arxiv.org/abs/1605.07725. They normalise the vectors, so that a network
    cannot outgrow ε; here ε is relative to the norm of the example's vectors, which has the same effect for any model.

    Args:
        model: any model with `get_input_embeddings`; only in training mode are its vectors touched.
        epsilon: the size of the perturbation relative to ‖x‖; both norms are over the words of an example that the
            loss depends on.
    """

    def __init__(self, model: nn.Module, epsilon: float):
        self.epsilon = epsilon
        self.vectors: Tensor | None = None
        self.perturbation: Tensor | None = None
        self._hook = model.get_input_embeddings().register_forward_hook(self._on_vectors)

    def _on_vectors(self, embeddings: nn.Module, inputs: tuple, x: Tensor) -> Tensor:
        if not embeddings.training:
            return x
        if self.perturbation is not None:
            return x + self.perturbation
        if self.vectors is not None or x.ndim != 3:
            raise RecipeError(ONCE)
        self.vectors = x if x.requires_grad else x.detach().requires_grad_()  # frozen ones have no gradient
        self.vectors.retain_grad()
        return self.vectors

    def attack(self) -> None:
        """Call after a backward pass: the next forward pass, on the same examples, reads perturbed vectors."""
        if self.vectors is None:
            raise RecipeError(ONCE)
        x, g = self.vectors.detach(), self.vectors.grad
        # Padding has no gradient; some models give it a vector, which must not count.
        x = x * g.any(-1, keepdim=True)
        # The gradient of an example that the model is sure of is so small that its squares would underflow; that of an
        # example without labels is zero, and its vectors stay unperturbed.
        g = g / g.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(g.dtype).tiny)
        norms, steepness = (part.flatten(1).norm(dim=1)[:, None, None] for part in (x, g))
        self.perturbation = self.epsilon * norms * g / steepness.clamp(min=1)  # its largest value is 1, or 0
        self.vectors = None

    def rest(self) -> None:
        """The next forward pass reads unperturbed vectors."""
        self.perturbation = None

    def leave(self) -> None:
        """Removes the hook: the model is as it was before."""
        self._hook.remove()
