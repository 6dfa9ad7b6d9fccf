"""What training minimises and adversaries increase, per sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy in nats of logits z [N, K] and classes y [N], per sample [N], in float32 at least.

    >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2])).exp().round().item()
    4.0
    """
    return functional.cross_entropy(widened(z), y, reduction="none")


def squared(z: Tensor, y: Tensor) -> Tensor:
    """Squared error of predictions z [N, T] and targets y [N, T], summed over targets, per sample [N].

    >>> squared(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]])).item()
    5.0
    """
    return (z - y.reshape(z.shape)).square().flatten(1).sum(1)


def of(classes: int | None) -> Callable[[Tensor, Tensor], Tensor]:
    """A task's own loss: cross-entropy for so many classes, the squared error for regression, which has none.

    >>> of(10) is cross_entropy, of(None) is squared
    (True, True)
    """
    return squared if classes is None else cross_entropy


def widened(z: Tensor) -> Tensor:
    """The same numbers in float32 at least."""
    return z.to(torch.promote_types(z.dtype, torch.float32))


def correct(z: Tensor, y: Tensor, classes: int | None) -> Tensor:
    """Whether the largest logit is the true class [N]; all false for regression, where it has no meaning."""
    if classes is None:
        return torch.zeros(len(z), dtype=torch.bool, device=z.device)
    return z.argmax(1) == y
