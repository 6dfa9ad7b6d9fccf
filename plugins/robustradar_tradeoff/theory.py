"""Trained linear models against the bounds of [T, section 3.2]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import lars_path
from torch import Tensor, nn

from robustradar import Bench, Threat
from robustradar.numerics import linear

Floats = NDArray[np.float64]

# Both relative and chosen here: far above what float32 and a fit by L-BFGS leave, far below noise or an intercept that anyone would add.
_AFFINE, _RESIDUAL = 1e-5, 1e-5
# An entry of theta that counts; chosen here.
_NONZERO = 1e-6
NO_EIGENVALUE = "got fewer samples than inputs, where the least eigenvalue is 0 and the bound of the error is void"


@dataclass(frozen=True)
class Point:
    """θ_ξ against its bounds.

    Attributes:
        xi: ξ.
        residual: b, the root of the mean squared residual on the training split.
        residual_bound: √ξ·ε·‖θ*‖_q [T, Theorem 3].
        error: ‖θ_ξ − θ*‖₂.
        error_bound: residual_bound/√τ [T, Corollary 1]; None where τ is 0.
        theta: θ_ξ [m].
    """

    xi: float
    residual: float
    residual_bound: float
    error: float
    error_bound: float | None
    theta: Tensor


def points(bench: Bench, xi: Sequence[float]) -> tuple[Point, ...] | str:
    """The bench's fits of every ξ against its clean one, or why the theory does not apply to them."""
    if not bench.fits:
        return f"the theory is of regression with one target and no box, got {_kind(bench)}"
    if len({fit.record.key for fit in bench.fits.values()}) < len(bench.fits):
        return "the weights were given, and the theory is about those of every ξ"
    x, y = _arrays(bench)
    thetas = {label: _theta(fit.model, x, bench.task.shape) for label, fit in bench.fits.items()}
    star = thetas.pop("clean")
    if star is None or any(theta is None for theta in thetas.values()):
        return "the theory is of linear models without an intercept, and this network is none. Use papers/linear:bias=false"
    size = float(y.square().mean().sqrt())
    left = float(linear.residual(star, x, y))
    if left > _RESIDUAL * size:
        return (
            f"the theory is of data without noise, got a clean fit with a residual of {left / size:.2g} of the targets. "
            "Use noise=0, and a recipe with optimizer=lbfgs,weight_decay=0"
        )
    if size == 0 or bench.threat.eps == 0:
        return "all targets or ε are 0, and so are the bounds"
    tau = float(linear.restricted_eigenvalue(x))
    return tuple(_point(w, theta, star, (x, y), tau, bench.threat) for w in xi if (theta := thetas[str(w)]) is not None)


def _point(xi: float, theta: Tensor, star: Tensor, data: tuple[Tensor, Tensor], tau: float, threat: Threat) -> Point:
    bound = float(linear.residual_bound(star, xi, threat.eps, threat.p))
    error = float((theta - star).norm())
    return Point(xi, float(linear.residual(theta, *data)), bound, error, bound / math.sqrt(tau) if tau > 0 else None, theta)


def shown(point: Point, bench: Bench) -> dict[str, Any]:
    """All that is known of a point, as JSON."""
    x, y = (part.cpu().numpy() for part in _arrays(bench))
    theta = point.theta.cpu().numpy()
    facts = {name: value for name, value in vars(point).items() if name != "theta"}
    facts["nonzero"] = int((np.abs(theta) > _NONZERO).sum())
    facts |= {"norm_1": float(np.linalg.norm(theta, 1)), "norm_2": float(np.linalg.norm(theta))}
    near = {math.inf: ("lasso_distance", _to_lasso), 2.0: ("ridge_distance", _to_ridge)}
    if bench.threat.p in near:
        name, distance = near[bench.threat.p]
        facts[name] = distance(theta, x, y)
    return facts


def _to_lasso(theta: Floats, x: Floats, y: Floats) -> float:
    """How far theta is from the nearest LASSO solution of any penalty, over the length of the largest: the path is made of segments."""
    _, _, corners = lars_path(x, y, method="lasso")
    start, along = corners[:, :-1], np.diff(corners)
    share = np.clip(((theta[:, None] - start) * along).sum(0) / np.maximum((along**2).sum(0), 1e-300), 0, 1)
    return float(np.linalg.norm(theta[:, None] - start - share * along, axis=0).min() / np.linalg.norm(corners[:, -1]))


def _to_ridge(theta: Floats, x: Floats, y: Floats) -> float:
    """How far theta is from the nearest ridge solution of any penalty, over the length of the largest, to about a thousandth."""
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    penalty = np.geomspace(1e-9, 1e6, 10_001)[:, None] * s.max() ** 2
    path = (s * (u.T @ y) / (s**2 + penalty)) @ vt
    return float(np.linalg.norm(theta - path, axis=1).min() / np.linalg.norm(path[0]))


def _arrays(bench: Bench) -> tuple[Tensor, Tensor]:
    """The training split [n, m] and [n] in float64."""
    batches = list(bench.splits["train"])
    x, y = (torch.cat([batch[i] for batch in batches]).double() for i in (0, 1))
    return x.flatten(1), y.flatten()


def _theta(model: nn.Module, x: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """The model's weights [m] in float64; None if it is not x theta on the training split."""
    dtype = next(model.parameters(), x).dtype

    def outputs(rows: Tensor) -> Tensor:
        with torch.no_grad():
            return model(rows.to(dtype).unflatten(1, shape)).double().flatten()  # type: ignore[no-any-return]

    theta = outputs(torch.eye(x.shape[1]).to(x))
    off = (outputs(x) - x @ theta).abs().max()
    return theta if bool(off <= _AFFINE * (x.abs() @ theta.abs()).max()) else None


def _kind(bench: Bench) -> str:
    """The task in words."""
    if bench.task.classes is not None:
        return f"{bench.task.classes} classes"
    return f"{bench.task.outputs} targets" if bench.task.outputs > 1 else f"inputs within {list(bench.task.bounds or ())}"
