"""Losses and right answers, summed on the device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustradar.training import loss as losses
from robustradar.training.objective import Passes

KINDS = ("clean", "adversarial", "objective")


class Tally:
    """Sums of losses and right answers by kind; one transfer when their means are read.

    Args:
        classes: Number of classes; None for regression with squared loss.
    """

    def __init__(self, classes: int | None) -> None:
        self._classes = classes
        self._loss = losses.squared if classes is None else losses.cross_entropy
        self._totals: dict[str, Tensor] = {}

    def passes(self, found: Passes, y: Tensor, objective: Tensor) -> None:
        """Adds one batch: its outputs [N, K], as far as there are any, and the objective's losses [N]."""
        for kind, z in (("clean", found.clean), ("adversarial", found.adversarial)):
            if z is not None:
                self.add(kind, self._loss(z, y), losses.correct(z, y, self._classes))
        self.add("objective", objective, torch.zeros_like(objective))

    def add(self, kind: str, loss: Tensor, right: Tensor) -> None:
        """Adds one batch's losses [N] and right answers [N]."""
        total = loss.sum()
        self._add(kind, torch.stack([total, right.sum().to(total.dtype), torch.full_like(total, len(loss))]))

    def merge(self, other: Tally) -> None:
        """Adds all that another has."""
        for kind, sums in other._totals.items():
            self._add(kind, sums)

    def mean(self, kind: str) -> float:
        """The mean loss of a kind that was added."""
        loss, _, count = self._totals[kind].tolist()
        return float(loss / count)

    def means(self, split: str) -> dict[str, float | None]:
        """Mean losses and accuracies by name: ``train_clean_loss`` and so on; None for what was not added or is not finite."""
        named: dict[str, float | None] = {}
        for kind in KINDS:
            loss, right, count = self._totals[kind].tolist() if kind in self._totals else (math.nan, math.nan, 1)
            named[f"{split}_{kind}_loss"] = loss / count if math.isfinite(loss) else None
            if kind != "objective":
                counted = math.isfinite(right) and self._classes is not None
                named[f"{split}_{kind}_accuracy"] = right / count if counted else None
        return named

    def _add(self, kind: str, sums: Tensor) -> None:
        self._totals[kind] = self._totals[kind] + sums if kind in self._totals else sums
