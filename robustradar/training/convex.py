"""Fits of convex and small models to the minimum: the whole training split at once, in float64, by L-BFGS."""

from __future__ import annotations

import dataclasses
from functools import partial

import torch
from torch import Tensor, nn

from robustradar.contract.recipe import Recipe
from robustradar.judge import Guarded
from robustradar.training.device import DeviceData
from robustradar.training.lbfgs import LBFGS
from robustradar.training.loop import Loop
from robustradar.training.network import doubled
from robustradar.training.tally import Tally
from robustradar.values import FitSpec

# Steps of L-BFGS between two evaluations, and how little the value may fall in as many before it counts as standing still.
_STEPS = 20
_STILL = 1e-14


class Convex(Loop):
    """A fit that minimises mean objective + weight_decay/2·‖θ‖² over the whole training split.

    The network stays in evaluation mode, and the inner attack runs again at every value, with the same chance, so that the objective is a
    function of the weights alone. By Danskin's theorem its gradient at the worst inputs is that of the worst case, where the attack is
    exact. Batches bound the memory and do not matter otherwise.
    """

    optimizer: LBFGS
    passes = _STEPS + _STEPS // 10 + 1

    def __init__(self, spec: FitSpec, network: nn.Module, recipe: Recipe, data: DeviceData, attack: Guarded | None, culprit: str) -> None:
        super().__init__(spec, doubled(network), dataclasses.replace(recipe, select="last", patience=0), data, attack, culprit)

    @property
    def facts(self) -> dict[str, float]:
        """The gradient's norm, the penalty's part included."""
        return {"gradient_norm": self.optimizer.gradient_norm}

    @property
    def flags(self) -> tuple[str, ...]:
        """Says so where the minimum was not reached; where it lies on a kink it never is, as the gradient does not vanish there."""
        norm = self.optimizer.gradient_norm
        return (*super().flags, *(() if norm <= self.recipe.tolerance else (f"not-converged:gradient_norm={norm:.2g}",)))

    def epoch(self) -> Tally:
        """Some steps; losses are those at their end."""
        self.running.eval()
        before = self.optimizer.value, self.optimizer.gradient_norm
        stuck = 0
        for _ in range(_STEPS):
            stuck = 0 if self.optimizer.step(lambda: self._value(Tally(self.data.task.classes))) else stuck + 1
            if stuck == 2 or self.optimizer.gradient_norm <= self.recipe.tolerance:
                break
        value, norm = self.optimizer.value, self.optimizer.gradient_norm
        still = value >= before[0] - _STILL * abs(value) and norm >= before[1] / 2
        self.finished = stuck == 2 or still or norm <= self.recipe.tolerance
        tally = Tally(self.data.task.classes)
        self._value(tally)
        self.optimizer.zero_grad(set_to_none=True)
        return tally

    def step(self, x: Tensor, y: Tensor, tally: Tally) -> None:
        """The gradients of one batch, to see what they take; the weights stay."""
        tally.merge(self.in_memory(partial(self.descend, x, y, len(y)), len(y)))
        self.optimizer.zero_grad(set_to_none=True)

    def _value(self, tally: Tally) -> float:
        """The objective at the weights; its gradient is left in them."""
        part = self.in_memory(self._descend_all, self.micro)
        self.begun(part)
        tally.merge(part)
        penalty = torch.zeros((), dtype=torch.float64, device=self.data.where)
        for p in self.optimizer.param_groups[0]["params"]:
            penalty += p.detach().square().sum() * (self.recipe.weight_decay / 2)
            if self.recipe.weight_decay:
                p.grad = p.detach() * self.recipe.weight_decay + (0 if p.grad is None else p.grad)
        return float(part.mean("objective") + penalty)

    def _descend_all(self, tally: Tally) -> None:
        """Gradients of the mean objective over the split."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.attack is not None:
            self.attack.reseed()
        for x, y in self.data.splits["train"]:
            self.descend(x, y, len(self.data.splits["train"]), tally)
