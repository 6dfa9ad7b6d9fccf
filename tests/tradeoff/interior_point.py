"""The minimum of a linear model's mixture of clean and adversarial loss, by a barrier method that shares nothing with the product."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GAP = 1e-11


def mixture(theta: Floats, x: Floats, y: Floats, xi: float, eps: float, q: int) -> float:
    """(1/n) Σ (1−ξ)·r² + ξ·(|r| + ε‖θ‖_q)²."""
    r = np.abs(y - x @ theta)
    return float(np.mean((1 - xi) * r**2 + xi * (r + eps * np.linalg.norm(theta, q)) ** 2))


def minimiser(x: Floats, y: Floats, xi: float, eps: float, q: int) -> Floats:
    """θ whose mixture is at most GAP above the least one, for q = 1 or 2.

    min (1/n) Σ (1−ξ)·u² + ξ·(u + ε·s)² over z = (θ, u, s, a) with u >= ±(y − xθ) and s >= Σ a, a >= ±θ (q = 1) or s >= ‖θ‖₂ (q = 2).
    All but the last are rows of G z + h >= 0. Where t·objective + barrier is least, the objective is at most (constraints)/t too high.
    """
    n, d = x.shape
    extra = d if q == 1 else 0
    eye, none = np.eye(d), np.zeros
    z = np.concatenate([np.linalg.lstsq(x, y, rcond=None)[0], none(n + 1 + extra)])
    z[d : d + n] = np.abs(y - x @ z[:d]) + 0.1
    z[d + n + 1 :] = np.abs(z[:d])[:extra] + 0.1
    z[d + n] = np.linalg.norm(z[:d], q) + 0.1 * extra + 0.1
    G = np.vstack([np.hstack([s * x, np.eye(n), none((n, 1 + extra))]) for s in (1, -1)])
    if q == 1:
        G = np.vstack([G, *(np.hstack([s * eye, none((d, n + 1)), eye]) for s in (1, -1))])
        G = np.vstack([G, np.concatenate([none(d + n), [1], -np.ones(d)])])
    h = np.concatenate([-y, y, none(len(G) - 2 * n)])
    square = none((len(z), len(z)))
    square[d : d + n, d : d + n] = np.eye(n) / n
    square[d : d + n, d + n] = square[d + n, d : d + n] = xi * eps / n
    square[d + n, d + n] = xi * eps**2
    cone = none(len(z)) if q == 1 else np.concatenate([-np.ones(d), none(n), [1]])  # s² − ‖θ‖² = Σ cone·z²
    t = 1.0
    while t < (len(h) + 2) / GAP:
        t *= 20
        z = _centred(z, t * square, G, h, cone)
    return z[:d]


def _centred(z: Floats, square: Floats, G: Floats, h: Floats, cone: Floats) -> Floats:
    """The minimiser of zᵀ square z − Σ log(G z + h) − log(Σ cone·z²), by damped Newton steps."""

    def value(z: Floats) -> float:
        room, bulge = G @ z + h, float(cone @ z**2) if cone.any() else 1.0
        return math.inf if min(room.min(), bulge) <= 0 else float(z @ square @ z - np.log(room).sum() - math.log(bulge))

    for _ in range(60):
        room = G @ z + h
        slope = 2 * square @ z - G.T @ (1 / room)
        H = 2 * square + (G / room[:, None] ** 2).T @ G
        if cone.any():
            bulge, along = float(cone @ z**2), 2 * cone * z
            slope = slope - along / bulge
            H = H + np.outer(along, along) / bulge**2 - np.diag(2 * cone) / bulge
        step = -np.linalg.solve(H, slope)
        fall = -float(slope @ step)
        length, here = 1.0, value(z)
        while length > 1e-12 and not value(z + length * step) <= here - 0.1 * length * fall:
            length /= 2
        if fall < 1e-9 or length <= 1e-12:
            break
        z = z + length * step
    return z
