"""Losses and right answers, summed on the device."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustradar.training import loss as losses
from robustradar.training.objective import Passes

KINDS = ("clean", "adversarial", "objective")


class Tally:
    """Sums of losses and right answers by kind, kept on the device batch by batch; one transfer when their means are read.

    Args:
        classes: Number of classes; None for regression with squared loss.
    """

    def __init__(self, classes: int | None) -> None:
        self._classes = classes
        self._loss = losses.of(classes)
        self._sums: dict[str, list[Tensor]] = {}
        self._rights: dict[str, list[Tensor]] = {}
        self._counts: dict[str, int] = {}

    @torch.no_grad()
    def passes(self, found: Passes, y: Tensor, objective: Tensor, *, plain: bool = False) -> None:
        """Adds one batch.

        Args:
            found: Its outputs [N, K], as far as there are any.
            y: Targets.
            objective: The objective's losses [N].
            plain: Whether these are just the only pass's losses, which then need not be computed again.
        """
        for kind, z in (("clean", found.clean), ("adversarial", found.adversarial)):
            if z is not None:
                self.add(kind, objective if plain else self._loss(z, y), losses.correct(z, y, self._classes))
        self.add("objective", objective)

    def add(self, kind: str, loss: Tensor, right: Tensor | None = None) -> None:
        """Adds one batch's losses [N] and, for kinds that have them, right answers [N]."""
        self._sums.setdefault(kind, []).append(loss.detach().sum())
        if right is not None:
            self._rights.setdefault(kind, []).append(right.sum())
        self._counts[kind] = self._counts.get(kind, 0) + len(loss)

    def merge(self, other: Tally) -> None:
        """Adds all that another has."""
        for kind, count in other._counts.items():
            self._sums.setdefault(kind, []).extend(other._sums[kind])
            self._rights.setdefault(kind, []).extend(other._rights.get(kind, []))
            self._counts[kind] = self._counts.get(kind, 0) + count

    def mean(self, kind: str) -> float:
        """The mean loss of a kind; NaN where none was added."""
        return _total(self._sums.get(kind)) / self._counts.get(kind, 1)

    def means(self, split: str) -> dict[str, float | None]:
        """Mean losses and accuracies by name: ``train_clean_loss`` and so on; None for what was not added or is not finite."""
        named: dict[str, float | None] = {}
        for kind in KINDS:
            loss = self.mean(kind)
            named[f"{split}_{kind}_loss"] = loss if math.isfinite(loss) else None
            if kind != "objective":
                right = _total(self._rights.get(kind)) / self._counts.get(kind, 1)
                named[f"{split}_{kind}_accuracy"] = right if math.isfinite(right) and self._classes is not None else None
        return named


def _total(sums: list[Tensor] | None) -> float:
    """The sum of the batches' sums, in float64; NaN where there are none."""
    return float(torch.stack(sums).cpu().double().sum()) if sums else math.nan
