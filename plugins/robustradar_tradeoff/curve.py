"""Networks of rising ξ, measured on the same samples: the points of a trade-off curve, and what is read off them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from robustradar.numerics import agreement, pareto

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robustradar import Bench

    Floats = NDArray[np.float64]

# What is known of a network on a sample, in the order of every array's last axis.
_NUMBERS = ("clean_loss", "adversarial_loss", "clean_accuracy", "adversarial_accuracy")
_DRAWS, _TAILS = 1000, (0.025, 0.975)
# Counts that one block of draws may hold at once, chosen here: 16 MB.
_BLOCK = 1 << 21


@dataclass(frozen=True, eq=False)
class Curve:
    """What was measured on one split.

    Attributes:
        xi: Of every point.
        values: Every sample's numbers at every point [n, points, 4]; for regression all accuracies are 0.
        corner: Both coordinates of the reference point for losses, ≥ 0.
        classes: Whether there are classes, and so accuracies.
    """

    xi: tuple[float, ...]
    values: Floats
    corner: float
    classes: bool

    @cached_property
    def scalars(self) -> dict[str, tuple[float, float, float]]:
        """Value and interval of every column that applies."""
        values, draws = self._read(self._means), self._read(self._draws)
        # A resampled front is a little better than the sample's, so that its interval may have to be widened to hold the value.
        ends = {name: np.quantile(drawn, _TAILS) for name, drawn in draws.items()}
        return {name: (float(v), float(min(v, ends[name][0])), float(max(v, ends[name][1]))) for name, v in values.items()}

    @cached_property
    def samples(self) -> dict[str, Floats]:
        """The columns that are means of values of samples [n]."""
        return _ends(self.values)

    def shown(self, name: str) -> dict[str, Any]:
        """A column as JSON; the headline with all points."""
        value, low, high = self.scalars[name]
        found: dict[str, Any] = {"value": value, "low": low, "high": high, "n": len(self.values)}
        if name == "toc_hypervolume":
            points = self._points()
            found |= {"reference": [self.corner, self.corner], "curve": points, "p1": points[0], "p2": points[-1]}
        return found

    def flags(self, name: str) -> tuple[str, ...]:
        """What speaks against a column's curve, that of the losses or that of the accuracies."""
        suffix = "_accuracy" if name.endswith("_accuracy") else ""
        count, changes = int(self._dominated[suffix].sum()), _ends(self._means)
        inverted = changes[f"price{suffix}"] < 0 or changes[f"gain{suffix}"] < 0
        return (*([f"dominated-points:{count}"] if count else []), *(["inverted-ends"] if inverted else []))

    @cached_property
    def _means(self) -> Floats:
        """[points, 4]."""
        means: Floats = self.values.mean(0)
        return means

    @cached_property
    def _draws(self) -> Floats:
        """The same over samples drawn with replacement, the same ones at every point [draws, points, 4]; in blocks, to bound the memory."""
        n, flat = len(self.values), self.values.reshape(len(self.values), -1)
        generator, size = np.random.default_rng(0), max(1, _BLOCK // n)
        sizes = [min(size, _DRAWS - start) for start in range(0, _DRAWS, size)]
        means = [generator.multinomial(n, np.full(n, 1 / n), some) @ flat / n for some in sizes]
        return np.concatenate(means).reshape(_DRAWS, *self.values.shape[1:])

    @cached_property
    def _dominated(self) -> dict[str, NDArray[np.bool_]]:
        """Dominated points, by the suffix of the curve's columns."""
        return {"": pareto.dominated(self._means[:, :2]), "_accuracy": pareto.dominated(-self._means[:, 2:])}

    def _read(self, m: Floats) -> dict[str, Floats]:
        """The columns [...] of means [..., points, 4]."""
        found = {"toc_area": pareto.area(m[..., :2]), **_ends(m)}
        if self.corner > 0:
            found["toc_hypervolume"] = pareto.hypervolume(m[..., :2], (self.corner, self.corner)) / self.corner**2
        found["toc_hypervolume_accuracy"] = pareto.hypervolume(-m[..., 2:], (0.0, 0.0))
        return {name: value for name, value in found.items() if self.classes or not name.endswith("_accuracy")}

    def _points(self) -> list[dict[str, Any]]:
        """Every point with its intervals, bootstrapped for losses and Wilson's for accuracies, and whether another dominates it."""
        n, ends = len(self.values), np.quantile(self._draws, _TAILS, axis=0)
        found: list[dict[str, Any]] = []
        for i, xi in enumerate(self.xi):
            point: dict[str, Any] = {"xi": xi}
            for k, name in enumerate(_NUMBERS if self.classes else _NUMBERS[:2]):
                mean = float(self._means[i, k])
                low, high = agreement.wilson(round(mean * n), n) if name.endswith("accuracy") else map(float, ends[:, i, k])
                point |= {name: mean, f"{name}_low": low, f"{name}_high": high}
            dominated = {f"dominated{suffix}": bool(marks[i]) for suffix, marks in self._dominated.items() if self.classes or not suffix}
            found.append(point | dominated)
        return found


def measured(bench: Bench, split: str, xi: tuple[float, ...], corner: float) -> Curve:
    """The curve on a split of the bench's fits, whose labels are the texts of ξ. Nothing leaves the device before the end."""
    import torch

    attack, networks = bench.attacks["attack"], []
    for fit in (bench.fits[str(weight)] for weight in xi):
        batches = []
        for x, y in bench.splits[split]:
            found = attack(fit.model, x, y)
            right = [correct.to(found.loss) for correct in (found.clean_correct, found.correct)]
            batches.append(torch.stack([found.clean_loss, found.loss, *right], 1))
        networks.append(torch.cat(batches))
    return Curve(xi, torch.stack(networks, 1).cpu().double().numpy(), corner, bench.task.classes is not None)


def _ends(m: Floats) -> dict[str, Floats]:
    """What robustness costs and what it brings, from P1 to P2 [...], in means or in samples [..., points, 4]."""
    clean_loss, loss, clean_accuracy, accuracy = np.moveaxis(m[..., -1, :] - m[..., 0, :], -1, 0)
    return {"price": clean_loss, "gain": -loss, "price_accuracy": -clean_accuracy, "gain_accuracy": accuracy}
