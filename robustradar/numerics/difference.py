"""Finite differences of first derivatives, in float64 and at two step sizes that must agree: the last rung of the ladder."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from robustradar.numerics import vector
from robustradar.numerics.problem import Problem, UnavailableError

# Of unit directions: larger steps cross the kinks of ReLU, at smaller ones rounding shows (chosen here).
STEPS = (1e-5, 1e-6)
AGREEMENT = 1e-3
# Relative rounding of a gradient in float64, a hundred operations deep (chosen here).
_ROUNDING = 1e-14


def doubled(problem: Problem) -> Problem:
    """The same problem with a copy of its network in float64.

    Raises:
        UnavailableError: The device has no float64.
    """
    if problem.parameters[0].device.type == "mps":
        raise UnavailableError("finite differences need float64, which this device lacks")
    twin = copy.deepcopy(problem.model).double()
    return Problem(twin, problem.loss, problem.batches, problem.ridge)


def agreed(difference: Callable[[float], Tensor], noise: float = 0.0) -> Tensor:
    """A difference quotient that two step sizes agree on to `AGREEMENT`; the smaller one's.

    Args:
        difference: Step size to quotient [d].
        noise: Norm of the terms of the difference over the length of their move: their rounding is no disagreement.

    Raises:
        UnavailableError: They do not agree.

    Example:
        >>> agreed(lambda h: torch.tensor([((1 + h) ** 2 - (1 - h) ** 2) / (2 * h)]))
        tensor([2.0000])
    """
    coarse, fine = map(difference, STEPS)
    gap, size = float(vector.length(coarse - fine)), float(vector.length(fine))
    rounding = _ROUNDING * noise / STEPS[1]
    if not gap <= AGREEMENT * size + rounding:
        steps = " and ".join(f"{h:g}" for h in STEPS)
        raise UnavailableError(f"finite differences at steps {steps} differ by {gap / size:.1e} of their length, more than {AGREEMENT:g}")
    return fine


def hessian_product(twin: Problem, theta: Tensor, v: Tensor) -> Tensor:
    """H v [d] of the mean loss at theta [d], ridge left out, by central differences along v.

    Args:
        twin: A problem in float64, whose network's parameters are overwritten.
        theta: Where, in float64.
        v: Along what, in float64.

    Raises:
        UnavailableError: Two step sizes disagree.
    """
    size = float(vector.length(v))
    if not size > 0:
        return torch.zeros_like(v)

    def gradient(step: float) -> Tensor:
        with torch.no_grad():
            for p, moved in zip(twin.parameters, vector.like(theta + (step / size) * v, twin.parameters), strict=True):
                p.copy_(moved)
        return mean_gradient(twin)

    noise = size * float(vector.length(gradient(0.0)))
    return agreed(lambda h: (gradient(h) - gradient(-h)) * (size / (2 * h)), noise)


def mean_gradient(problem: Problem) -> Tensor:
    """The gradient [d] of the mean loss, ridge left out."""
    total, count = torch.zeros_like(vector.flat(problem.parameters).detach()), 0
    for x, y in problem.inputs():
        total += vector.flat(torch.autograd.grad(problem.losses(x, y).sum(), problem.parameters, materialize_grads=True))
        count += len(y)
    return total / count
