"""Catastrophic overfitting [P, section 5.2]: the strength from which on training with one-step attacks resists only these."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field

from robustradar import ADVERSARIAL, AttackNeed, Bench, Column, FitNeed, Measured, Metric, Needs, Outcome, Skipped, Task, Threat, fixed
from robustradar_transition.eps_star import EpsStar

GIVEN = "the weights were given, and each strength needs a training"
NO_CLASSES = "an accuracy needs classes, and the data are regression"
NO_STRENGTH = (
    "got multiples of the study's strength, {eps:g}, that are 0 or whose ball holds the data's whole range, expected one between. "
    "Use another strength, or other multiples"
)
# [P, table 2] has unstable strengths of 8/255 and 12/255: for a study at 8/255, the second and the third of these.
_STRENGTHS = (0.5, 1.0, 1.5, 2.0)
_COLUMNS = (Column("unstable_eps", "higher", "strength"), Column("eps_star_share", "none", "1"))


@dataclass(frozen=True)
class Catastrophic(Metric):
    """The unstable strength: the smallest at which training with one-step attacks collapses; ε* is found to be below it [P, section 5.2].

    At every strength a network is trained with the attack `inner`, and its last weights are kept, as those of an earlier epoch would hide a
    collapse that comes later. It has collapsed where its evaluation accuracy under the study's attack, which must be one of many steps, is
    at most `collapse`, while under `inner` it is more than a constant answer's beyond chance (Wilson, 95 %): what has learnt nothing has
    not collapsed.

    `unstable_eps` is the first such strength, with an interval from the strength before it on the grid, or from 0. If there is none it is
    the last strength, without an upper end and flagged ``beyond-grid``; if a larger strength has not collapsed, it is flagged
    ``not-monotone``; if the study's attack is at no strength the stronger one, ``one-step-is-as-good``. Strengths whose ball holds the
    data's whole range are left out. Details: accuracies at every strength.

    `eps_star_share` is ε*, by one of the methods of `transition/eps-star`, over the unstable strength: [P] has it below 1.
    """

    name: str = fixed("catastrophic")
    columns: tuple[Column, ...] = fixed(_COLUMNS)
    strengths: Annotated[tuple[float, ...], Field(description="rising multiples of the study's strength, joined by +")] = _STRENGTHS
    collapse: Annotated[float, Field(ge=0, lt=1, description="accuracy under the study's attack that counts as about zero")] = 0.05
    inner: Annotated[str, Field(description="one-step attack to train with, e.g. native/n-fgsm")] = "native/fgm"
    eps_star: Annotated[
        Literal["none", "scratch", "fast", "hermite", "expansion"],
        Field(description="method of the ε* that is compared"),
    ] = "fast"

    def __post_init__(self) -> None:
        """Raises ValueError where the strengths do not rise from above 0."""
        rising = all(a < b < math.inf for a, b in zip((0.0, *self.strengths), self.strengths, strict=False))
        if not self.strengths or not rising:
            got = "+".join(f"{s:g}" for s in self.strengths) or "none"
            raise ValueError(f"strengths: got {got}, expected multiples of the study's strength that rise from above 0, such as 0.5+1+2")

    def needs(self, task: Task, threat: Threat) -> Needs:
        """A fit for every strength, and the study's attack at it; what ε* takes beside them."""
        grid = [threat.at(eps) for eps in self._grid(task, threat)] if task.classes is not None else []
        star = self._star()
        beside = star.needs(task, threat) if star and grid else Needs()
        return Needs(
            fits={**beside.fits, **{str(at.eps): FitNeed(ADVERSARIAL, at, self.inner, recipe={"select": "last"}) for at in grid}},
            attacks={**beside.attacks, **{str(at.eps): AttackNeed(threat=at, loss=False) for at in grid}},
            further=beside.further,
        )

    def _star(self) -> EpsStar | None:
        """The metric that finds ε*."""
        return None if self.eps_star == "none" else EpsStar(method=self.eps_star)

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Finds the first collapse."""
        grid = self._grid(bench.task, bench.threat)
        reason = NO_STRENGTH.format(eps=bench.threat.eps) if not grid else None
        if bench.task.classes is None:
            reason = NO_CLASSES
        elif any(fit.record.spec["weights"] for fit in bench.fits.values()):
            reason = GIVEN
        if reason is not None:
            return {column.name: Skipped(reason) for column in self.columns}
        chance = _constant(bench)
        points = [_point(bench, eps) for eps in grid]
        for point in points:
            point["collapsed"] = point["accuracy"] <= self.collapse and point["inner_accuracy_low"] > chance
        details = {
            "points": points,
            "constant_answer": chance,
            "left_out": [_times(bench.threat.eps, s) for s in self.strengths[len(grid) :]],
        }
        unstable, star = _first(points, details), self._star()
        if star is None:
            return {"unstable_eps": unstable, "eps_star_share": Skipped("eps_star=none: ε* was not asked for")}
        return {"unstable_eps": unstable, "eps_star_share": _share(star.measure(bench)["eps_star"], unstable)}

    def _grid(self, task: Task, threat: Threat) -> tuple[float, ...]:
        """The strengths above 0 whose ball leaves out some of the data's range."""
        low, high = threat.bounds or (-math.inf, math.inf)
        size = (high - low) * math.prod(task.shape) ** (1 / threat.p)
        return tuple(eps for s in self.strengths if 0 < (eps := _times(threat.eps, s)) < size)


def _times(eps: float, factor: float) -> float:
    """The product of two numbers as they were typed: other metrics' fits at the same strength are then the same fits.

    >>> _times(8 / 255, 1.5) == 12 / 255, _times(0.3, 1.5), 0.3 * 1.5
    (True, 0.45, 0.44999999999999996)
    """
    typed = Fraction(eps).limit_denominator(10**6)
    return float((typed if float(typed) == eps else Fraction(eps)) * Fraction(str(factor)))


def _first(points: list[dict[str, Any]], details: dict[str, Any]) -> Measured:
    """The first strength that collapsed, between the one before and itself."""
    collapsed = [point["collapsed"] for point in points]
    # Then the study's attack is itself of one step, or the networks are linear in x: no collapse could be seen.
    flags = ("one-step-is-as-good",) if all(point["accuracy"] >= point["inner_accuracy"] for point in points) else ()
    if True not in collapsed:
        last = points[-1]["eps"]
        return Measured(last, last, None, ("beyond-grid", *flags), details)
    first = collapsed.index(True)
    if not all(collapsed[first:]):
        flags = ("not-monotone", *flags)
    return Measured(points[first]["eps"], points[first - 1]["eps"] if first else 0.0, points[first]["eps"], flags, details)


def _share(star: Outcome, unstable: Measured) -> Outcome:
    """ε* over the unstable strength; its interval is that of the least and the largest ratio within both."""
    if not isinstance(star, Measured):
        return Skipped(f"there is no ε*: {star.reason}")
    low = None if star.low is None or unstable.high is None else star.low / unstable.high
    high = None if star.high is None or not unstable.low else star.high / unstable.low
    details = {"eps_star": star.value, "unstable_eps": unstable.value, "method": star.details["method"]}
    return Measured(star.value / unstable.value, low, high, (*star.flags, *unstable.flags), details)


def _point(bench: Bench, eps: float) -> dict[str, Any]:
    """What a network that was trained at a strength withstands of the study's attack and, by its record, of the one it was trained with."""
    import torch

    from robustradar.numerics.agreement import wilson

    fit, attack, n = bench.fits[str(eps)], bench.attacks[str(eps)], len(bench.splits["evaluation"])
    correct = torch.cat([attack(fit.model, x, y).correct for x, y in bench.splits["evaluation"]])
    last = fit.record.epochs[-1]
    shares = {"accuracy": float(correct.double().mean()), "inner_accuracy": float(last["evaluation_adversarial_accuracy"])}
    point: dict[str, Any] = {"eps": eps, "n": n}
    for name, share in shares.items():
        low, high = wilson(round(share * n), n)
        point |= {name: share, f"{name}_low": low, f"{name}_high": high}
    return point


def _constant(bench: Bench) -> float:
    """The accuracy of the best constant answer on the evaluation split."""
    import torch

    y = torch.cat([y for _, y in bench.splits["evaluation"]])
    return float(torch.bincount(y).max()) / len(y)
