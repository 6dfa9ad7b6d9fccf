"""The exact inner maximum for models that are affine in x."""

from __future__ import annotations

import torch
from torch import Tensor

from robustradar import Victim
from robustradar.numerics.balls import steepest
from robustradar_native.gradient import better, losses

# Chosen here: float32 rounding of sums over some thousand inputs stays well below, a bend in the model well above.
_TOLERANCE = 1e-4


def worst(victim: Victim, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The point of largest loss in ball and box, and its loss, for one output, or for two classes.

    The loss must be convex in u = z_0 (one output: the squared error) or u = z_1 - z_0 and not depend on anything else (two classes:
    cross-entropy). u is affine in x, so it fills an interval, whose ends `steepest` gives exactly; a convex function is largest at an end.
    Without a box the squared error is (abs(y - x theta) + eps * norm(theta, q)) ** 2 [T, section 3.2].

    Args:
        victim: Model, loss and threat.
        x: Clean inputs [N, *shape], inside the box.
        y: Targets [N] or [N, 1], or labels [N] of two classes.

    Raises:
        ValueError: The model is not affine, or has more outputs.
    """
    theta = _slope(victim, x, y)
    wide = theta.expand_as(x)
    box = (x, victim.bounds) if victim.bounds else (None, None)
    ends = [x + steepest(direction, victim.p, victim.eps, *box) for direction in (wide, -wide)]
    return better(ends[0], losses(victim, ends[0], y), ends[1], losses(victim, ends[1], y))


def _slope(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    """The gradient [1, *shape] of u, checked to be the same everywhere.

    Raises:
        ValueError: The model is not affine, or has more outputs.
    """
    first = x[:1].detach().requires_grad_()
    outputs = victim.model(first)
    count = outputs.shape[1]
    if count > 2 or (count == 2 and y.is_floating_point()):
        what = "targets" if y.is_floating_point() else "classes"
        raise ValueError(
            f"linear-exact: got {count} {what}, expected one target or two classes: with more, the exact maximum is that of a convex "
            "function over many corners. Use native/pgd instead."
        )
    level = outputs[:, -1] - (outputs[:, 0] if count == 2 else 0)
    (theta,) = torch.autograd.grad(level.sum(), first)
    _check(victim, x, theta, level.detach())
    return theta


def _check(victim: Victim, x: Tensor, theta: Tensor, level: Tensor) -> None:
    """Compares the model with its tangent at the first input: at all inputs, and as far from them as they are from each other and more.

    Raises:
        ValueError: They differ.
    """
    spread = 2 * (x - x[:1]).abs().max() + 10 * victim.eps
    noise = torch.empty_like(x).uniform_(-1, 1, generator=victim.generator)
    for point in (x, x + spread * noise, x - spread * noise):
        with torch.no_grad():
            outputs = victim.model(point)
        found = outputs[:, -1] - (outputs[:, 0] if outputs.shape[1] == 2 else 0)
        move = (point - x[:1]) * theta
        tangent = level + move.flatten(1).sum(1)
        scale = move.abs().flatten(1).sum(1) + level.abs() + outputs.abs().amax(1)
        off = ((found - tangent).abs() / scale.clamp_min(torch.finfo(x.dtype).tiny)).max()
        if not off <= _TOLERANCE:
            raise ValueError(
                f"linear-exact: got a model that is off its tangent by {float(off):.1e} of its scale, expected one that is affine in x. "
                "Use native/pgd instead."
            )
