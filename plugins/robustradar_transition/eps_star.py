"""The critical attack strength of an architecture as a metric [P, section 4, algorithm A.1], by four methods."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from robustradar import CLEAN, AttackNeed, Bench, Column, FitNeed, Measured, Metric, Needs, Objective, Outcome, Skipped, Task, Threat, fixed
from robustradar.analysis import ByCurvature
from robustradar_transition.strength import FitName
from robustradar_transition.training import TRIALS

if TYPE_CHECKING:
    from robustradar_transition.course import Clean, Found

# Chosen here, on digits. A longer fine-tuning gets nearer to training from scratch; what hermite draws through one that is nearer, and so
# lower, is less curved than the losses are.
_SHARE, _HERMITE_SHARE = 0.4, 0.3
# Chosen here: where the order of the candidates is mostly that of their clean evaluation losses, it says little beyond them.
_TAU = 0.7
_COLUMNS = (
    Column("eps_star", "higher", "strength"),
    Column("eps_star_bound", "none", "strength"),
    Column("clean_evaluation_loss", "none", "loss"),
    Column("clean_evaluation_accuracy", "none", "fraction"),
    Column("generalisation_gap", "none", "loss"),
)
_EVIDENCE = (
    "over 20 small networks on digits τ is .65 [.37, .85] from scratch, where clean accuracy has .65 [.41, .85], and .52 "
    "[.14, .80] by expansion and .45 [.10, .71] by fast, where parameters have .53 [.19, .87]; over 19 on CIFAR-10 .32 "
    "[.05, .58] to .37 [.10, .61], mostly the order of size."
)


@dataclass(frozen=True)
class EpsStar(ByCurvature, Metric):
    """The strength at which the adversarial training loss reaches the clean evaluation loss of clean training.

    `scratch` trains a network at every strength that its search asks for. `fast` fine-tunes the clean network instead, `hermite` once, and
    adds the loss's exact slope at 0; `expansion` trains nothing but the clean network. `eps_star_bound` is where the clean network
    itself reaches the threshold under attack: eps_star is not below it. The other columns are confounders: a network that generalises
    worse has a higher threshold, and so a larger eps_star.
    """

    name: str = fixed("eps-star")
    columns: tuple[Column, ...] = fixed(_COLUMNS)
    evidence: str = fixed(_EVIDENCE)
    method: Annotated[Literal["scratch", "fast", "hermite", "expansion"], Field(description="how networks are had at other strengths")] = (
        "fast"
    )
    objective: Annotated[Literal["ce", "trades", "mart"], Field(description="what is trained and compared")] = "ce"
    beta: Annotated[float, Field(ge=0, description="weight of the divergence in trades and mart")] = 6.0
    attack: Annotated[Literal["pgd", "fgm"], Field(description="of fine-tuning: one step, or several")] = "pgd"
    inner: Annotated[str | None, Field(description="attack to train with; none: the study's, and PGD of three steps to fine-tune")] = None
    points: Annotated[int, Field(ge=1, le=10, description="strengths to fine-tune at, for fast")] = 3
    trainings: Annotated[int, Field(ge=1, le=50, description="most strengths to train at from scratch")] = 5
    resolution: Annotated[float, Field(gt=0, description="the search ends where it knows eps_star to this share")] = 0.1
    warm: Annotated[bool, Field(description="start the trainings of scratch from the clean network")] = False
    share: Annotated[
        float | None, Field(gt=0, le=1, description="epochs of a fine-tuning over those of the recipe; none: 0.4, and 0.3 for hermite")
    ] = None
    lr: Annotated[float | Literal["auto"], Field(description="highest rate of fine-tuning; auto: by a range test")] = "auto"
    fit: Annotated[
        FitName | Literal["auto"],
        Field(description="through the losses; auto: isotonic where they reach the threshold, else line; hermite for hermite"),
    ] = "auto"

    def __post_init__(self) -> None:
        """Raises ValueError for parameters that contradict each other."""
        super().__post_init__()
        if self.lr != "auto" and not self.lr > 0:
            raise ValueError(f"lr: got {self.lr:g}, expected auto or a number above 0")
        if self.method == "expansion" and self.fit != "auto":
            raise ValueError(f"fit: got {self.fit} with method=expansion, expected auto, as nothing is fitted")
        if (self.fit == "hermite") != (self.method == "hermite") and self.fit != "auto":
            raise ValueError(f"fit: got {self.fit} with method={self.method}, expected hermite with hermite alone")

    @property
    def trained_on(self) -> Objective:
        """What networks are trained on at a strength."""
        return Objective(1.0) if self.objective == "ce" else Objective(1.0, self.objective, self.beta)

    @property
    def tuned(self) -> float:
        """Epochs of a fine-tuning over those of the recipe."""
        return self.share or (_HERMITE_SHARE if self.method == "hermite" else _SHARE)

    def clean(self, threat: Threat) -> FitNeed:
        """The network at strength 0. There cross-entropy and TRADES are clean training, and MART is a loss of its own."""
        return FitNeed(self.trained_on, threat.at(0.0)) if self.objective == "mart" else FitNeed(CLEAN)

    def needs(self, task: Task, threat: Threat) -> Needs:
        """The clean fit; further ones as the search goes."""
        if self.objective != "ce" and task.classes is None:
            return Needs()
        tried = TRIALS if self.lr == "auto" else 0
        further = {"scratch": self.trainings, "fast": self.points + tried, "hermite": 1 + tried, "expansion": 0}[self.method]
        return Needs(fits={"clean": self.clean(threat)}, attacks={"attack": AttackNeed()}, further=further)

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Intervals are bootstraps over training and evaluation samples; beyond the strengths, the last of them with an open end."""
        from robustradar.numerics.problem import UnavailableError
        from robustradar_transition import course

        if self.objective != "ce" and bench.task.classes is None:
            return {column.name: Skipped(f"{self.objective} needs classes, and the data are regression") for column in self.columns}
        start = course.clean(self, bench)
        lower = course.bound(self, bench, start)
        found = _confounders(start, bench) | {"eps_star_bound": _outcome(course.Found.of(lower))}
        if reason := self._obstacle(bench):
            return found | {"eps_star": Skipped(reason)}
        try:
            way = course.expansion(self, bench, start) if self.method == "expansion" else course.trained(self, bench, start, lower)
        except UnavailableError as error:
            return found | {"eps_star": Skipped(str(error))}
        bounds = {"bound": lower.value, "bound_low": lower.low, "bound_high": lower.high}
        return found | {"eps_star": _outcome(replace(way, details={"method": self.method, **way.details, **bounds}))}

    def _obstacle(self, bench: Bench) -> str:
        """Why the method cannot be taken; empty where it can."""
        if self.method != "expansion" and bench.fits["clean"].record.spec["weights"]:
            return f"the weights were given, and method={self.method} needs networks at other strengths. Use method=expansion"
        if self.method == "expansion" and self.objective != "ce":
            return f"method=expansion holds for cross-entropy alone, got objective={self.objective}"
        if self.method == "hermite" and self.objective == "mart":
            return "method=hermite needs the loss's slope at strength 0, which is not known for mart"
        return ""

    def review(self, outcomes: Mapping[str, Mapping[str, Outcome]]) -> Mapping[str, Mapping[str, Outcome]]:
        """Flags an order of candidates that is mostly the order of their clean evaluation losses."""
        import numpy as np

        from robustradar.numerics.agreement import kendall

        pairs = [(c["eps_star"], c["clean_evaluation_loss"]) for c in outcomes.values()]
        both = [(e.value, loss.value) for e, loss in pairs if isinstance(e, Measured) and isinstance(loss, Measured)]
        tau = kendall(*np.array(both).T) if len(both) > 2 else math.nan
        if not tau >= _TAU:
            return outcomes
        flag = f"confounded:{tau:.2f}"
        return {
            name: {**columns, "eps_star": replace(e, flags=(*e.flags, flag)) if isinstance(e := columns["eps_star"], Measured) else e}
            for name, columns in outcomes.items()
        }


def _confounders(start: Clean, bench: Bench) -> dict[str, Outcome]:
    """What a larger critical strength may come from, other than robustness."""
    from robustradar.numerics.agreement import bootstrap_mean

    def mean(samples: Any) -> Measured:
        low, high = bootstrap_mean(samples[None], seed=0)
        return Measured(float(samples.mean()), low, high, samples=samples)

    gap = float(start.evaluation.mean() - start.train.mean())
    regression = Skipped("an accuracy needs classes, and the data are regression")
    return {
        "clean_evaluation_loss": mean(start.evaluation),
        "clean_evaluation_accuracy": regression if bench.task.classes is None else mean(start.correct),
        "generalisation_gap": Measured(gap),
    }


def _outcome(found: Found) -> Outcome:
    """A number with what it is worth; where the strengths end before it, the last of them; else the reason."""
    status, details = found.status, found.details
    if found.value is not None:
        flags = () if status == "measured" or details.get("fit") == "expansion" else (status,)
        # Quantiles of draws that lie to one side may leave the value out.
        low = None if found.low is None else min(found.low, found.value)
        high = None if found.high is None else max(found.high, found.value)
        return Measured(found.value, low, high, (*found.flags, *flags), details)
    if status == "beyond-grid" and details["points"]:
        last, _ = details["points"][-1]
        return Measured(last, last, None, (*found.flags, status), details)
    reasons = {
        "below-zero": "the training loss at strength 0 is above the clean evaluation loss, {threshold:.4g}, already",
        "beyond-grid": "the parabola turns before it reaches the clean evaluation loss, {threshold:.4g}",
        "not-monotone": "the fit falls, or turns before it reaches the clean evaluation loss, {threshold:.4g}",
    }
    return Skipped(f"{status}: {reasons[status].format(threshold=details['threshold'])}")
