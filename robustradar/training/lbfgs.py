"""L-BFGS for functions that are smooth, or convex with kinks, such as a worst case over perturbations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

# Chosen here, see tests/tradeoff/test_linear_theory.py: with a memory of 100 pairs, adversarial linear regressions of 50 weights end up to
# 6e-4 of the minimum above it, with the whole matrix 1e-12. Smooth functions of many parameters are brought down faster by pairs.
_DENSE, _MEMORY = 200, 100
_FALL, _BEND = 1e-4, 0.9  # the usual constants of Wolfe's conditions
_TRIALS = 60


class LBFGS(torch.optim.Optimizer):
    """BFGS with a bisecting line search for Wolfe's weak conditions (Lewis and Overton 2013), of limited memory for many parameters.

    The weak conditions hold on an interval even where the function has kinks, so the search ends there too; torch's own search for the
    strong ones need not. A sum's rounding is forgiven, so that gradients keep falling where values no longer can. With few
    parameters the whole inverse Hessian is kept, which learns at which kinks the minimum lies; pairs forget.

    Args:
        params: All parameters, on one device.
    """

    def __init__(self, params: Iterable[nn.Parameter]) -> None:
        super().__init__(params, {"lr": 1.0})  # a scheduler wants one
        (group,) = self.param_groups
        self._params: list[nn.Parameter] = group["params"]

    @property
    def value(self) -> float:
        """The function at the parameters, as far as `step` has seen it; infinite before."""
        return float(self.state[self._params[0]].get("value", math.inf))

    @property
    def gradient_norm(self) -> float:
        """Its gradient's Euclidean norm there; infinite before the first step."""
        gradient = self.state[self._params[0]].get("gradient")
        return math.inf if gradient is None else float(torch.linalg.vector_norm(gradient))

    @torch.no_grad()
    def step(self, closure: Callable[[], float]) -> bool:  # type: ignore[override]
        """One step downhill.

        Args:
            closure: The value at the parameters; it also leaves the gradient in them.

        Returns:
            Whether a step was found. Where none was, the next one tries the gradient's own direction; if that fails too, all will.
        """
        state = self.state[self._params[0]]
        if not state:
            state["value"], state["gradient"] = self._at(closure)
            state["memory"] = []
        theta = torch.cat([p.flatten() for p in self._params])
        value, gradient, memory = state["value"], state["gradient"], state["memory"]
        along = _direction(gradient, memory)
        slope = float(gradient @ along)
        low, high = 0.0, math.inf
        length = 1.0 if memory else min(1.0, 1 / max(float(gradient.abs().sum()), 1e-300))
        for _ in range(_TRIALS):
            self._move(theta + length * along)
            there, steepness = self._at(closure)
            if not there <= value + _FALL * length * slope + 4 * math.ulp(abs(value)):
                high = length
            elif float(steepness @ along) < _BEND * slope:
                low = length
            else:
                moved, bent = length * along, steepness - gradient
                curved = float(moved @ bent) > 0
                state.update(value=there, gradient=steepness, memory=_remembered(memory, moved, bent) if curved else memory)
                return True
            length = (low + high) / 2 if math.isfinite(high) else 2 * low
        self._move(theta)
        state["memory"] = []
        return False

    def _at(self, closure: Callable[[], float]) -> tuple[float, Tensor]:
        """Value and gradient at the parameters."""
        with torch.enable_grad():
            value = closure()
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._params]
        return value, torch.cat([g.flatten() for g in gradients])

    def _move(self, theta: Tensor) -> None:
        """Puts the parameters there."""
        for parameter, part in zip(self._params, theta.split([p.numel() for p in self._params]), strict=True):
            parameter.copy_(part.view_as(parameter))


def _remembered(memory: list[list[Tensor]], moved: Tensor, bent: Tensor) -> list[list[Tensor]]:
    """The memory after a move: pairs of moves and gradients' changes, or, of few parameters, the inverse Hessian that they make."""
    if len(moved) > _DENSE:
        return [*memory, [moved, bent]][-_MEMORY:]
    curvature = moved @ bent
    inverse = memory[0][0] if memory else torch.eye(len(moved)).to(moved) * (curvature / (bent @ bent))
    turned = inverse @ bent
    across = torch.outer(moved, turned)
    return [[inverse + (1 + bent @ turned / curvature) * torch.outer(moved, moved) / curvature - (across + across.T) / curvature]]


def _direction(gradient: Tensor, memory: list[list[Tensor]]) -> Tensor:
    """Minus the inverse Hessian, as the memory tells it, times the gradient; of pairs in two loops (Nocedal 1980)."""
    if memory and len(gradient) <= _DENSE:
        return -(memory[0][0] @ gradient)
    along, shares = -gradient, []
    for moved, bent in reversed(memory):
        shares.append(moved @ along / (moved @ bent))
        along = along - shares[-1] * bent
    if memory:
        moved, bent = memory[-1]
        along = along * (moved @ bent / (bent @ bent))
    for (moved, bent), share in zip(memory, reversed(shares), strict=True):
        along = along + (share - bent @ along / (moved @ bent)) * moved
    return along
