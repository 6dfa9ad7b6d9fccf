"""Two-layer networks whose second layer is fixed: those that the papers' theory is about."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from robustradar_papers.plain import activation


class TwoLayer(nn.Module):
    """f_k(x, W) = Σ_j a_kj σ(w_jᵀx) with a fixed at random signs over √width.

    Args:
        shape: One input's shape; it is flattened.
        outputs: Number K of outputs.
        width: Number of hidden units j.
        nonlinearity: σ: ``square``, or an activation's name.
        scale: W is drawn from N(0, scale²/features).

    Attributes:
        weight: W [width, features], all that is trained.
        a: The second layer [outputs, width], a buffer.
    """

    a: Tensor

    def __init__(self, shape: tuple[int, ...], outputs: int, width: int, nonlinearity: str, scale: float) -> None:
        super().__init__()
        features = math.prod(shape)
        self.weight = nn.Parameter(torch.randn(width, features) * (scale / math.sqrt(features)))
        self.nonlinearity = None if nonlinearity == "square" else activation(nonlinearity)
        signs = torch.randint(2, (outputs, width)) * 2 - 1
        self.register_buffer("a", signs / math.sqrt(width))

    def forward(self, x: Tensor) -> Tensor:
        """[N, *shape] to [N, outputs]."""
        z = x.flatten(1) @ self.weight.T
        return (z.square() if self.nonlinearity is None else self.nonlinearity(z)) @ self.a.T
