"""The expensive part that metrics share: what the Hessian of a cleanly trained network says of its adversarial training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustradar import Bench, Fit
from robustradar.numerics.influence import Influence, Settings, influence
from robustradar.numerics.problem import Problem
from robustradar_tradeoff.parameter import ByCurvature

if TYPE_CHECKING:
    from torch import Tensor

_BATCH = 256


@dataclass(frozen=True)
class Asked:
    """All that decides an analysis beside the fit.

    Attributes:
        settings: What the numerics are to do.
        limit: Samples a split; 0: all.
    """

    settings: Settings
    limit: int


def analysed(bench: Bench, fit: Fit, asked: Asked) -> Influence:
    """The analysis of a fit, made once for all metrics that ask for the same.

    Raises:
        UnavailableError: A derivative cannot be had, or no sample has a gradient.
    """

    def compute() -> Influence:
        train = Problem(fit.model, bench.loss, batches(bench, "train", asked.limit), ridge(fit))
        return influence(train, Problem(fit.model, bench.loss, batches(bench, "evaluation", asked.limit)), asked.settings)

    return fit.analysis(asked, compute)


def asked(metric: ByCurvature, bench: Bench, density: int = 0) -> Asked:
    """The analysis that a metric's parameters come to, with so many random starts for the spectral density."""
    settings = Settings(
        p=bench.threat.p,
        bounds=bench.task.bounds if metric.box else None,
        damping=None if metric.damping == "auto" else metric.damping,
        residual=metric.residual,
        products=metric.products,
        memory=int(metric.memory * 2**30),
        vectors=metric.vectors,
        density=density,
        seed=bench.seed,
    )
    return Asked(settings, metric.limit)


def batches(bench: Bench, split: str, limit: int) -> Iterable[tuple[Tensor, Tensor]]:
    """A split, or so many samples spread evenly over it, as it may be sorted by class."""
    import torch

    whole = bench.splits[split]
    if not 0 < limit < len(whole):
        return whole
    chosen = (torch.arange(limit) * len(whole)) // limit
    start, found = 0, []
    for x, y in whole:
        here = chosen[(chosen >= start) & (chosen < start + len(x))].to(x.device) - start
        found.append((x[here], y[here]))
        start += len(x)
    x, y = (torch.cat(parts) for parts in zip(*found, strict=True))
    return list(zip(x.split(_BATCH), y.split(_BATCH), strict=True))


def ridge(fit: Fit) -> float:
    """λ of the λ/2·‖θ‖² that training minimised; 0 where its decay was none (AdamW's is decoupled from the gradient) or is not known."""
    recipe = _recipe(fit)
    return float(recipe.get("weight_decay", 0.0)) if recipe.get("optimizer") in ("sgd", "lbfgs") else 0.0


def differences(fit: Fit) -> tuple[str, ...]:
    """Flags for what training did beyond minimising the loss that is analysed."""
    recipe = _recipe(fit)
    found = {
        "decoupled-decay": recipe.get("optimizer") == "adamw" and recipe.get("weight_decay", 0) > 0,
        "smoothed-labels": recipe.get("label_smoothing", 0) > 0,
        "augmented": recipe.get("augment", "none") != "none",
    }
    return tuple(name for name, there in found.items() if there)


def _recipe(fit: Fit) -> dict[str, Any]:
    """The recipe's numbers; none for given weights."""
    return {} if fit.record.spec["weights"] else dict(fit.record.spec["recipe"]["parameters"])
