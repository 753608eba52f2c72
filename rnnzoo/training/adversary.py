"""Adversarial training: each batch is read twice, the second time with word vectors moved to where the loss grows."""

import torch
from torch import Tensor, nn

from rnnzoo.data.errors import RecipeError


ONCE = (
    "adversarial_epsilon needs a model that looks up its word vectors once in a forward pass, as [rows, words, "
    "features]; this one does not. Leave it at 0."
)


class Adversary:
    """Moves the word vectors x of each row by r = ε ‖x‖ g / ‖g‖, g the loss's gradient by x.

    Miyato, Dai & Goodfellow 2017, https://arxiv.org/abs/1605.07725. They normalise the vectors, lest a network
    outgrow ε; here ε is a share of the length of the row's vectors, which comes to the same for any pretrained model.

    Args:
        model: any model with `get_input_embeddings`; only in training mode are its vectors touched.
        epsilon: how far, as a share of ‖x‖; both norms are over the words of a row that its
            loss depends on.
    """

    def __init__(self, model: nn.Module, epsilon: float):
        self.epsilon = epsilon
        self.vectors: Tensor | None = None
        self.push: Tensor | None = None
        self._hook = model.get_input_embeddings().register_forward_hook(self._on_vectors)

    def _on_vectors(self, embeddings: nn.Module, inputs: tuple, x: Tensor) -> Tensor:
        if not embeddings.training:
            return x
        if self.push is not None:
            return x + self.push
        if self.vectors is not None or x.ndim != 3:
            raise RecipeError(ONCE)
        self.vectors = x if x.requires_grad else x.detach().requires_grad_()  # frozen ones have no gradient
        self.vectors.retain_grad()
        return self.vectors

    def attack(self) -> None:
        """After a backward pass: the next forward pass, on the same rows, reads moved vectors."""
        if self.vectors is None:
            raise RecipeError(ONCE)
        x, g = self.vectors.detach(), self.vectors.grad
        # Padding has no slope; some models give it a vector, which must not count.
        x = x * g.any(-1, keepdim=True)
        # A row that the model is sure of has a slope whose squares would vanish; one whose labels do not count has
        # none, and stays where it is.
        g = g / g.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(g.dtype).tiny)
        lengths, steepness = (part.flatten(1).norm(dim=1)[:, None, None] for part in (x, g))
        self.push = self.epsilon * lengths * g / steepness.clamp(min=1)  # 1 is its largest value, unless all are 0
        self.vectors = None

    def rest(self) -> None:
        """The next forward pass reads the vectors as they are."""
        self.push = None

    def leave(self) -> None:
        """The model is as it was."""
        self._hook.remove()
