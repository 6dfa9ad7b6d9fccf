"""Linear regression under an ℓ2 attack, many samples at once: what [P, Theorems 1 and 2, Proposition 1] are about, simulated.

x ~ N(0, I_d), y = x θ0 + noise of variance 1, so losses are in units of σ². The inner maximum is exact, the evaluation risk a closed form.
Symbols as in `robustradar.numerics`; B is the number of repeats: samples drawn anew, all of them worked on together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Floats = NDArray[np.float64]

# Chosen here, see test_the_minimiser_reaches_the_least_loss: relative fall of the loss at which to stop, and most iterations.
_FALL, _ITERATIONS = 1e-7, 500
# Relative size under which residuals and norms count as this, so that a weight stays finite; chosen here, far below the tolerance.
_FLOOR = 1e-9
# Relative accuracy of ε*, chosen here: far below its sampling error.
_CROSSING = 1e-3
# Scale of the network's first weights, chosen here, see test_the_first_weights_vanish.
_VANISHING = 1e-4


@dataclass(frozen=True, eq=False)
class Sample:
    """B training samples of one setting.

    Attributes:
        x: [B, n, k], k = min(d, n + 1).
        y: [B, n].
        noise: y - x theta0 [B, n].
        theta0: [k].
    """

    x: Floats
    y: Floats
    noise: Floats
    theta0: Floats


@dataclass(frozen=True, eq=False)
class Crossing:
    """ε* of one setting.

    Attributes:
        eps: Where E R̂(θ̂(ε), ε) reaches E R(θ̂(0), 0).
        values: ε* as each repeat would move it, to first order [B]; their mean is `eps`, their spread its sampling error.
        train: R̂(θ̂(0), 0), mean over repeats.
        threshold: R(θ̂(0), 0), mean over repeats.
    """

    eps: float
    values: Floats
    train: float
    threshold: float


def drawn(d: int, n: int, signal: float, repeats: int, seed: int) -> Sample:
    """Samples with ‖θ0‖ = signal.

    Rotations of x change neither losses nor descent from 0. So θ0 may lie along the first axis, and where d > n + 1 the other axes may be
    turned until the n inputs lie in n of them, with lower triangular coordinates: normal below the diagonal, the roots of χ² with
    d - 1, d - 2, … degrees of freedom on it (Bartlett 1933). Only these are drawn, which is exact and makes d free of cost.
    """
    rng = np.random.default_rng([seed, d, n])
    noise = rng.standard_normal((repeats, n))
    if d <= n + 1:
        x = rng.standard_normal((repeats, n, d))
    else:
        first, rest = rng.standard_normal((repeats, n, 1)), np.tril(rng.standard_normal((repeats, n, n)), -1)
        i = np.arange(n)
        rest[:, i, i] = np.sqrt(rng.chisquare(d - 1 - i, (repeats, n)))
        x = np.concatenate([first, rest], 2)
    theta0 = signal * np.eye(x.shape[2])[0]
    return Sample(x, x @ theta0 + noise, noise, theta0)


def losses(theta: Floats, sample: Sample, eps: float) -> Floats:
    """R̂(theta, eps), the mean of (abs(y - x theta) + eps * norm(theta, 2))², of every repeat: theta [B, k] to [B]."""
    reach: Floats = np.abs(_residual(theta, sample)) + eps * _norm(theta)
    return np.asarray(np.square(reach).mean(1))


def risk(theta: Floats, theta0: Floats) -> Floats:
    """R(theta, 0) = norm(theta - theta0, 2)² + 1, the clean loss expected of new data: theta [B, k] to [B]."""
    return np.asarray(np.square(theta - theta0).sum(1) + 1)


def clean(sample: Sample) -> Floats:
    """θ̂(0) [B, k]: least squares, the solution of least norm where there are many, to which descent from 0 leads."""
    solved: Floats = np.linalg.pinv(sample.x) @ sample.y[:, :, None]
    return solved[:, :, 0]


def minimiser(sample: Sample, eps: float) -> Floats:
    """θ̂(eps) [B, k], where `losses` is least, for eps > 0; convex, with kinks.

    (a + b)² is the least of a²/t + b²/(1 - t) over 0 < t < 1, at t = a/(a + b). With a = abs(y_i - x_i theta), b = eps * norm(theta, 2) and
    t held, theta solves a ridge regression with weights 1/t. Taken in turns, the loss never rises. A residual of 0 would keep its
    infinite weight: the start, a plain ridge regression, has none.
    """
    x, y = sample.x, sample.y[:, :, None]
    xt, eye = np.ascontiguousarray(x.transpose(0, 2, 1)), np.eye(x.shape[2])
    floor = _FLOOR * np.sqrt(np.square(sample.y).mean(1, keepdims=True))
    weight, ridge = np.ones_like(sample.y), np.full(len(y), eps**2 * y.shape[1])
    last = np.full(len(y), math.inf)
    for _ in range(_ITERATIONS):
        weighted = xt * weight[:, None, :]
        theta = np.asarray(np.linalg.solve(weighted @ x + ridge[:, None, None] * eye, weighted @ y)[:, :, 0], dtype=np.float64)
        a = np.maximum(np.abs(_residual(theta, sample)), floor)
        b = np.maximum(eps * _norm(theta), floor)
        now = np.square(a + b).mean(1)
        if np.all(last - now <= _FALL * now):
            break
        last, weight, ridge = now, 1 + b / a, eps**2 * (1 + a / b).sum(1)
    return theta


def crossing(sample: Sample) -> Crossing | None:
    """ε* = sup{ε: E R̂(θ̂(ε), ε) <= E R(θ̂(0), 0)}; None where no strength gets there, since θ̂(ε) ends at 0, with the mean of y² as its loss.

    The means over repeats are adjusted by those of noise² and y², whose expectations are known (control variates by least squares).
    """
    first = clean(sample)
    aim = risk(first, sample.theta0)
    power = np.square(sample.y).mean(1)
    controls = np.column_stack([np.square(sample.noise).mean(1) - 1, power - 1 - np.square(sample.theta0).sum()])

    def gap(eps: float) -> Floats:
        reached = losses(minimiser(sample, eps) if eps > 0 else first, sample, eps)
        return _adjusted(aim - reached, controls)

    if _adjusted(aim - power, controls).mean() >= 0:
        return None
    pull = np.linalg.norm(np.einsum("bnk,bn->bk", sample.x, sample.y), axis=1)
    top = float((pull / np.abs(sample.y).sum(1)).max())  # from here on every θ̂(ε) is 0
    eps = float(brentq(lambda e: gap(e).mean(), 0.0, top, xtol=_CROSSING * top / 1e3, rtol=_CROSSING))
    theta = minimiser(sample, eps)
    norm = np.linalg.norm(theta, axis=1)
    slope = (2 * norm * (np.abs(_residual(theta, sample)).mean(1) + eps * norm)).mean()  # dR̂/dε; θ̂ moves it in second order
    left = gap(eps)
    return Crossing(eps, eps + (left - left.mean()) / slope, float(losses(first, sample, 0.0).mean()), float(aim.mean()))


def gradient(theta: Floats, sample: Sample, eps: float) -> Floats:
    """The gradient of `losses` in theta [B, k]; at theta = 0, where there is none, that of the clean loss.

    2/n xᵀ(r + eps norm(theta) sgn(r)) + 2 eps mean(abs(r)) theta/norm(theta) + 2 eps² theta with r = x theta - y. [P, Theorem 1] prints
    the last term over n.
    """
    r = -_residual(theta, sample)
    norm = _norm(theta)
    unit = theta / np.where(norm > 0, norm, 1)
    inner: Floats = np.einsum("bnk,bn->bk", sample.x, r + eps * norm * np.sign(r)) * (2 / r.shape[1])
    return np.asarray(inner + 2 * eps * np.abs(r).mean(1, keepdims=True) * unit + 2 * eps**2 * theta)


def rate(sample: Sample, eps: float, share: float = 0.1) -> float:
    """A step for gradient descent: so large a share of the inverse of the greatest eigenvalue of xᵀx/n over repeats plus eps²."""
    return float(share / (np.linalg.norm(sample.x, 2, axis=(1, 2)).max() ** 2 / sample.x.shape[1] + eps**2))


def descent(start: Floats, slope: Callable[[Floats], Floats], lr: float, steps: int) -> Floats:
    """Gradient descent: the parameters after 1, 2, … steps [steps, *start.shape]."""
    path = np.empty((steps, *start.shape))
    now = start
    for t in range(steps):
        path[t] = now = now - lr * slope(now)
    return path


def trajectory(sample: Sample, eps: float, steps: int) -> Floats:
    """norm(θ^(t)(eps) - θ^(t)(0)) / norm(θ^(t)(0)) after t = 1, 2, … steps from 0, both at one rate [steps, B] [P, figure 2]."""
    start, lr = np.zeros_like(sample.x[:, 0]), rate(sample, eps)
    attacked, plain = (descent(start, partial(gradient, sample=sample, eps=e), lr, steps) for e in (eps, 0.0))
    return _ratio(attacked, plain)


def p_values(values: Floats, null: Floats) -> Floats:
    """The share of the null's values [N] that are at least as large, each value itself counted among them: [...] to [...]."""
    ordered = np.sort(null)
    at_least = len(null) - np.searchsorted(ordered, values, side="left")
    return np.asarray((1 + at_least) / (1 + len(null)), dtype=np.float64)


def network_gradient(weight: Floats, sample: Sample, eps: float) -> Floats:
    """The gradient in W [B, h, k] of the adversarial loss of f(x) = Σ_j a_j tanh(w_j x), a_j = ±1/√h in turns.

    The attack is one gradient step of length eps. For weights near 0 f is linear, the step the worst of the ball, and Wᵀa moves as θ
    does under `gradient`.
    """
    a = second_layer(weight.shape[1])
    out = np.tanh(sample.x @ weight.transpose(0, 2, 1))
    slope = ((1 - out**2) * a) @ weight  # of f in x
    length = np.linalg.norm(slope, axis=2, keepdims=True)
    sign = np.sign(out @ a - sample.y)[:, :, None]
    moved = sample.x + eps * sign * slope / np.where(length > 0, length, 1)
    out = np.tanh(moved @ weight.transpose(0, 2, 1))
    back = (out @ a - sample.y)[:, :, None] * (1 - out**2) * a
    return np.asarray(2 / sample.x.shape[1] * (back.transpose(0, 2, 1) @ moved))


def second_layer(width: int) -> Floats:
    """The fixed weights a [h], of length 1."""
    return np.where(np.arange(width) % 2 == 0, 1.0, -1.0) / math.sqrt(width)


def network_ratio(sample: Sample, eps: float, width: int, steps: int, seed: int) -> tuple[Floats, Floats]:
    """A two-layer network and the linear model, both from one vanishing θ = Wᵀa, at one rate [P, Proposition 1].

    Returns:
        The network's ratio of `trajectory`, in θ = Wᵀa, over the linear model's [B]; and the distance of the network's θ(eps) from the
        linear model's, over that one's norm [B]. Both after the last step.
    """
    b, _, k = sample.x.shape
    start = np.random.default_rng([seed, width]).standard_normal((b, width, k)) * _VANISHING
    a, lr = second_layer(width), rate(sample, eps)
    found = []
    for e in (eps, 0.0):
        weight = start
        for _ in range(steps):
            weight = weight - lr * network_gradient(weight, sample, e)
        line = descent(a @ start, partial(gradient, sample=sample, eps=e), lr, steps)[-1]
        found.append((a @ weight, line))
    (attacked, line), (plain, plain_line) = found
    return _ratio(attacked, plain) / _ratio(line, plain_line), _ratio(attacked, line)


def _ratio(a: Floats, b: Floats) -> Floats:
    """How far a is from b, over the norm of b, along the last axis."""
    return np.asarray(np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1))


def _norm(theta: Floats) -> Floats:
    """The ℓ2 norm [B, 1]."""
    return np.asarray(np.linalg.norm(theta, axis=1, keepdims=True))


def _residual(theta: Floats, sample: Sample) -> Floats:
    """Returns y - x theta [B, n]."""
    return sample.y - (sample.x @ theta[:, :, None])[:, :, 0]


def _adjusted(values: Floats, controls: Floats) -> Floats:
    """Values [B] without what controls [B, K] of mean 0 explain of them."""
    design = np.column_stack([np.ones(len(values)), controls])
    weights = np.linalg.lstsq(design, values, rcond=None)[0]
    return values - controls @ weights[1:]
