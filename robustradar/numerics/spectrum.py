"""The spectrum of a large symmetric matrix as a whole, by random vectors: its mean and its density."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from robustradar.numerics import vector
from robustradar.numerics.krylov import Krylov, Operator


@dataclass(frozen=True)
class Density:
    """A distribution over eigenvalues that shares its low moments with the spectrum.

    Attributes:
        values: Where its mass is, rising.
        weights: How much; they sum to 1.
    """

    values: tuple[float, ...]
    weights: tuple[float, ...]

    @property
    def mean(self) -> float:
        """An estimate of trace(H)/d."""
        return math.fsum(v * w for v, w in zip(self.values, self.weights, strict=True))


def mean_eigenvalue(H: Operator, like: Tensor, *, probes: int, seed: int) -> tuple[float, float]:
    """trace(H)/d and its standard error, by random signs z: the mean of zᵀ H z / d (Hutchinson 1990).

    Args:
        H: A symmetric operator [d, d].
        like: Any vector [d] of its dtype and device.
        probes: Number of random vectors, at least 2.
        seed: Of their signs.

    Example:
        >>> mean_eigenvalue(torch.diag(torch.tensor([1.0, 3.0])), torch.zeros(2), probes=2, seed=0)  # signs see a diagonal exactly
        (2.0, 0.0)
    """
    values = torch.stack([vector.dot(z, H @ z) / len(z) for z in _signs(like, probes, seed)])
    return float(values.mean()), float(values.std() / math.sqrt(probes))


def density(H: Operator, like: Tensor, *, probes: int, steps: int, seed: int) -> Density:
    """The spectral density, by stochastic Lanczos quadrature (Lin, Saad and Yang 2016).

    Ritz values and their weights from random starts, averaged. The number of steps limits how finely it is resolved, the number of probes
    how exact its mass is. Its ends are estimates from inside.

    Args:
        H: A symmetric operator [d, d].
        like: Any vector [d] of its dtype and device.
        probes: Number of random starts.
        steps: Products for each.
        seed: Of the starts.

    Example:
        >>> found = density(torch.diag(torch.tensor([1.0, 3.0])), torch.zeros(2), probes=1, steps=2, seed=0)
        >>> [round(v, 4) for v in found.values], [round(w, 4) for w in found.weights]
        ([1.0, 3.0], [0.5, 0.5])
    """
    pairs: list[tuple[float, float]] = []
    for z in _signs(like, probes, seed):
        space = Krylov(H, z)
        space.grow(steps=steps)
        pairs += [(v, w / probes) for v, w in zip(space.T.ritz.tolist(), space.T.weights.tolist(), strict=True)]
    values, weights = zip(*sorted(pairs), strict=True)
    return Density(values, weights)


def _signs(like: Tensor, probes: int, seed: int) -> Iterator[Tensor]:
    """Vectors of random signs, drawn on the vector's device."""
    generator = torch.Generator(like.device).manual_seed(seed)
    for _ in range(probes):
        yield torch.randint(2, like.shape, generator=generator, device=like.device, dtype=torch.int8).to(like.dtype).mul_(2).sub_(1)
