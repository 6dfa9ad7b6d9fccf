"""The trade-off curve of [T, section 2]: a network for every ξ, measured on clean inputs and under attack."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from robustradar import AttackNeed, Bench, Column, FitNeed, Measured, Metric, Needs, Objective, Outcome, Skipped, Task, Threat, fixed

_COLUMNS = (
    Column("toc_hypervolume", "higher", "fraction"),
    Column("toc_hypervolume_accuracy", "higher", "fraction"),
    Column("toc_area", "none", "loss²"),
    Column("price", "lower", "loss"),
    Column("price_accuracy", "lower", "fraction"),
    Column("gain", "higher", "loss"),
    Column("gain_accuracy", "higher", "fraction"),
)
_EVIDENCE = (
    "made of adversarially trained networks, so that it describes them and saves nothing: toc_hypervolume has τ .84 [.71, "
    ".94] over 20 small networks on digits, and with the ends alone .38 [.03, .70] over 19 on CIFAR-10; gain_accuracy −.41 "
    "[−.74, −.03] and .52 [.10, .80]."
)


@dataclass(frozen=True)
class Toc(Metric):
    """What robustness costs: the losses of networks that are trained on (1−ξ)·clean + ξ·adversarial loss, for several ξ.

    P1 and P2 are the networks of the first and the last ξ, α the clean and β the adversarial loss. `price` is α(P2) − α(P1) and `gain`
    β(P1) − β(P2); in accuracies, what is lost and what is won. `toc_hypervolume` is what the points (α, β) dominate, as a share of the
    rectangle from (0, 0) to the reference point; for accuracies, what they dominate of the unit square. `toc_area` is what lies under the
    linked points.

    The reference point goes by the task alone, so that all candidates of a study share it: by the loss of the guess that knows nothing,
    which no attack can raise. That is ln K nats for K classes, and for regression the evaluation loss of the training targets' mean. Twice
    that in both coordinates lets a network that is a little worse than the guess under attack still count, by how much worse it is.
    The guess itself dominates a quarter.
    """

    name: str = fixed("toc")
    columns: tuple[Column, ...] = fixed(_COLUMNS)
    evidence: str = fixed(_EVIDENCE)
    xi: Annotated[tuple[float, ...], Field(description="weights of the adversarial loss, rising within [0, 1], joined by +")] = (
        0.001,
        0.25,
        0.5,
        0.75,
        0.999,
    )
    path: Annotated[bool, Field(description="start every network from that of the ξ before")] = False
    inner: Annotated[str | None, Field(description="attack to train with, e.g. native/n-fgsm; none: the study's")] = None
    reference: Annotated[float, Field(gt=0, description="the reference point's coordinates, in losses of an ignorant guess")] = 2.0

    def __post_init__(self) -> None:
        """Raises ValueError where the weights make no curve."""
        rising = all(a < b for a, b in zip(self.xi, self.xi[1:], strict=False))
        if len(self.xi) < 2 or not rising or self.xi[0] < 0 or self.xi[-1] > 1:
            got = "+".join(f"{xi:g}" for xi in self.xi) or "none"
            raise ValueError(f"xi: got {got}, expected at least two weights that rise within [0, 1], such as 0.001+0.5+0.999")

    def needs(self, task: Task, threat: Threat) -> Needs:
        """A fit for every ξ, and the study's attack."""
        fits: dict[str, FitNeed] = {}
        for xi in self.xi:
            before = list(fits.values())[-1] if fits and self.path else None
            fits[str(xi)] = FitNeed(Objective(xi), attack=self.inner, start=before)
        return Needs(fits=fits, attacks={"attack": AttackNeed()})

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Adversarial losses are lower bounds, adversarial accuracies upper ones: an attack only approximates the worst case."""
        from robustradar_tradeoff.curve import measured

        if any(fit.record.spec["weights"] for fit in bench.fits.values()):
            return {column.name: Skipped("the weights were given, and a curve needs a network for every ξ") for column in self.columns}
        corner = self.reference * _guess(bench)
        curve = measured(bench, "evaluation", self.xi, corner)
        held_out = measured(bench, "final", self.xi, corner) if "final" in bench.splits else None
        found: dict[str, Outcome] = {}
        for name in (column.name for column in self.columns):
            if name in curve.scalars:
                details = curve.shown(name)
                value, low, high = (details.pop(part) for part in ("value", "low", "high"))
                details |= {"held_out": held_out.shown(name)} if held_out else {}
                found[name] = Measured(value, low, high, curve.flags(name), details, curve.samples.get(name))
            elif name == "toc_hypervolume":
                found[name] = Skipped("the training targets' mean is right everywhere, which puts the reference point at (0, 0)")
            else:
                found[name] = Skipped("an accuracy needs classes, and the data are regression")
        return found


def _guess(bench: Bench) -> float:
    """The loss of the guess that knows nothing: equal chances, or the training targets' mean."""
    import torch

    if bench.task.classes is not None:
        return math.log(bench.task.classes)
    train, y = (torch.cat([y for _, y in bench.splits[split]]) for split in ("train", "evaluation"))
    return float(bench.loss(train.mean(0).expand_as(y), y).mean())
