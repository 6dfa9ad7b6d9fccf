"""How many of the first by a score to keep, so that the truly best is among them: a Gaussian copula with a given Kendall's tau.

NumPy and SciPy only. Score and truth of each of n candidates are independent draws of two variables whose ranks are those of a
bivariate normal distribution with correlation rho = sin(pi * tau / 2), which has just that tau (Greiner's relation). Whatever
increasing transformations turn these normals into scores and truths change nothing.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, ndtr, ndtri, owens_t

Floats = npt.NDArray[np.float64]

# Gauss-Legendre nodes for the best one's truth and for its score; chosen here, see test_the_quadrature_is_the_simulation.
_NODES = 96
# Closer to 1 than this, tau is 1: the ranks differ less often than any quadrature could tell.
_PERFECT = 1e-9


def kept_chance(k: int, n: int, tau: float) -> float:
    """Return the chance that the best of n candidates by truth is among the first k by score.

    Given the best one's truth t and score s, each other's score is above s with the chance q = P(S > s | T < t), independently, so that the
    best one's place is binomial. With t the largest of n normals and s = rho * t + sqrt(1 - rho**2) * z:
    integral over t and z of P(Binomial(n - 1, q) < k).

    Args:
        k: how many are kept, at least 1.
        n: candidates, at least 1.
        tau: Kendall's tau of score and truth over candidates like these, 0 <= tau <= 1.

    Returns:
        The chance, in [0, 1]; k / n at tau = 0, and 1 at tau = 1 or k >= n.

    Raises:
        ValueError: if k, n or tau is out of range.

    Example:
        >>> round(kept_chance(1, 2, 0.5), 6), round(kept_chance(3, 4, 0.0), 6), kept_chance(1, 9, 1.0)
        (0.75, 0.75, 1.0)
    """
    _check(n, tau)
    if k < 1:
        raise ValueError(f"kept_chance: got k = {k}, expected at least 1. Keep one.")
    if k >= n or tau > 1 - _PERFECT:
        return 1.0
    if tau == 0:
        return k / n
    q, weight = _outranked(n, tau)
    return float(np.clip((weight * bdtr(k - 1, n - 1, q)).sum(), 0, 1))


def kept(n: int, tau: float, probability: float) -> int:
    """Return how many of the first of n by score hold the best by truth with at least the given probability: the fewest that do.

    Args:
        n: candidates, at least 1.
        tau: Kendall's tau of score and truth over candidates like these, 0 <= tau <= 1.
        probability: 0 < probability <= 1.

    Returns:
        k from 1 to n with kept_chance(k, n, tau) >= probability > kept_chance(k - 1, n, tau).

    Raises:
        ValueError: if n, tau or probability is out of range.

    Example:
        How many of 64 hold the best with 95 %; without any relation of score and truth it takes 95 % of them.

        >>> [kept(64, tau, 0.95) for tau in (0, 0.25, 0.45, 0.65, 0.75, 0.85, 0.95, 1)]
        [61, 48, 28, 11, 6, 3, 2, 1]
    """
    _check(n, tau)
    if not 0 < probability <= 1:
        raise ValueError(f"kept: got probability = {probability}, expected 0 < probability <= 1. Give such as 0.95.")
    if tau > 1 - _PERFECT:
        return 1
    if tau == 0 or probability == 1:
        return max(1, math.ceil(probability * n - 1e-9))
    low, high = 1, n
    while low < high:
        middle = (low + high) // 2
        if kept_chance(middle, n, tau) >= probability:
            high = middle
        else:
            low = middle + 1
    return low


def _outranked(n: int, tau: float) -> tuple[Floats, Floats]:
    """Return the chance q that another candidate outscores the best one, at nodes of the best one's truth and score, and their weights."""
    rho, spread = math.sin(math.pi * tau / 2), math.cos(math.pi * tau / 2)
    nodes, w = np.polynomial.legendre.leggauss(_NODES)
    u, w = (nodes + 1) / 2, w / 2
    t = ndtri(u ** (1 / n))[:, None]
    s = rho * t + spread * ndtri(u)[None]
    q = np.clip(1 - _both_below(s, t, rho, spread) / ndtr(t), 0, 1)
    return q, w[:, None] * w[None]


def _both_below(h: Floats, k: Floats, rho: float, spread: float) -> Floats:
    """Return P(S < h, T < k) of standard normals with correlation rho, by Owen's T (Owen 1956); spread = sqrt(1 - rho**2)."""
    h, k = np.broadcast_arrays(h, k)
    one = owens_t(h, (k - rho * h) / (h * spread))
    two = owens_t(k, (h - rho * k) / (k * spread))
    apart = (h * k < 0) | ((h * k == 0) & (h + k < 0))
    found: Floats = (ndtr(h) + ndtr(k)) / 2 - one - two - np.where(apart, 0.5, 0.0)
    return found


def _check(n: int, tau: float) -> None:
    """Refuse what is no number of candidates or no correlation that helps."""
    if n < 1:
        raise ValueError(f"selection: got n = {n}, expected at least 1. Count the candidates.")
    if not 0 <= tau <= 1:
        raise ValueError(f"selection: got tau = {tau}, expected 0 <= tau <= 1. Turn a score that ranks the wrong way round.")
