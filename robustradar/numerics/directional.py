"""Derivatives of every sample's loss along one direction in parameter space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import functional_call, jvp

from robustradar.numerics import vector
from robustradar.numerics.curvature import hessian
from robustradar.numerics.problem import Problem, UnavailableError, derivative, still

# Of the samples' mean absolute second derivative: float32 stays a hundred times below (chosen here).
_AGREEMENT = 1e-3


def directional(problem: Problem, v: Tensor, *, form: float | None = None) -> tuple[Tensor, Tensor]:
    """Every sample's first and second derivative along v: d/dt and d²/dt² of l_i(theta + t v) at t = 0, ridge left out.

    Their means are gradient·v and vᵀHv. Two nested forward derivatives, so no graph is held. As torch has wrong formulas of those for some
    operations, the mean is compared with vᵀHv by double backward.

    Args:
        problem: The loss of N samples.
        v: Direction [d].
        form: vᵀHv without the ridge, where it is known; None: found here, by one product.

    Returns:
        First and second derivatives, [N] each.

    Raises:
        UnavailableError: An operation has no second or no forward derivative, or a wrong one.

    Example:
        >>> net = torch.nn.Linear(1, 1, bias=False)
        >>> torch.nn.init.zeros_(net.weight).sum().item()
        0.0
        >>> data = [(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [0.0]]))]
        >>> directional(Problem(net, lambda z, y: (z - y).square().sum(1), data), torch.tensor([1.0]))
        (tensor([-2.,  0.]), tensor([2., 8.]))
    """
    model, parameters = problem.model, problem.parameters
    named = [name for name, p in model.named_parameters() if p.requires_grad]
    theta = [p.detach() for p in parameters]
    parts = vector.like(v.detach(), parameters)
    first, second = [], []
    zero, unit = theta[0].new_zeros(()), theta[0].new_ones(())

    def derived(f: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
        found: Tensor = jvp(f, (t,), (unit,))[1]
        return found

    with still(model), torch.no_grad():
        for x, y in problem.inputs():

            def along(t: Tensor, x: Tensor = x, y: Tensor = y) -> Tensor:
                moved = {name: at + t * step for name, at, step in zip(named, theta, parts, strict=True)}
                return problem.loss(functional_call(model, moved, (x,)), y)

            def slope(t: Tensor, f: Callable[[Tensor], Tensor] = along) -> Tensor:
                return derived(f, t)

            with derivative("forward derivative"):
                one, two = jvp(slope, (zero,), (unit,))[:2]
            first.append(one)
            second.append(two)
    slopes, bends = torch.cat(first), torch.cat(second)
    if form is None:
        with hessian(replace(problem, ridge=0.0), rung="exact", memory=0) as H:
            form = float(vector.dot(v, H @ v))
    found, scale = float(bends.mean(dtype=vector.wide(bends))), float(bends.abs().mean(dtype=vector.wide(bends)))
    if not abs(found - form) <= _AGREEMENT * scale:
        raise UnavailableError(f"forward derivatives give {found:.6g} for a form that is {form:.6g} by double backward")
    return slopes, bends
