"""From a clean network to its critical attack strength: the threshold, the lower bound, and each method's way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from robustradar import AttackNeed, Bench, Fit, Task, Threat
from robustradar.analysis import asked, ridge
from robustradar.numerics.problem import UnavailableError
from robustradar_transition.expansion import expanded, rise
from robustradar_transition.link import Floats
from robustradar_transition.sampled import losses
from robustradar_transition.search import Search, searched
from robustradar_transition.strength import CriticalStrength
from robustradar_transition.training import Trainer, fine_tuner, range_test

if TYPE_CHECKING:
    from robustradar_transition.eps_star import EpsStar

# Chosen here: the bound's curve needs no more samples than this, nor to be known closely.
_SAMPLES, _RESOLUTION, _STEPS = 512, 0.25, 4
# Chosen here: a convex rise reaches the threshold before its tangent does.
_BEFORE_TANGENT = 0.7
# Training against the attack moves the crossing beyond the bound: to about twice it in trials on digits.
_BEYOND_BOUND = 2.0
# Chosen here: a network whose loss under iterated attacks is so many times that under one step has learnt the one step.
_FOOLED = 2.0


@dataclass(frozen=True, eq=False)
class Clean:
    """The network at strength 0, seen from both splits.

    Attributes:
        fit: The network.
        train: Its training losses, [n].
        evaluation: Its evaluation losses, [m]; their mean is the threshold.
        correct: Whether its answers on the evaluation split are right, [m].
    """

    fit: Fit
    train: Floats
    evaluation: Floats
    correct: Floats


@dataclass(frozen=True)
class Found:
    """What a method came to: value, interval, status, and what is to be known of them.

    Attributes:
        value: None where there is none.
        low: Lower end of the interval, or None where it is open.
        high: Upper end, likewise.
        status: As `CriticalStrength` has it.
        flags: Before the value is trusted.
        details: How it came about, as JSON.
    """

    value: float | None
    low: float | None
    high: float | None
    status: str
    flags: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, strength: CriticalStrength, **details: Any) -> Found:
        """A critical strength with details beside its own."""
        own = {"points": [list(point) for point in strength.points], **{n: getattr(strength, n) for n in ("threshold", "status", "fit")}}
        own |= {"fitted": list(strength.fitted), "coefficients": list(strength.coefficients)}
        return cls(strength.value, strength.low, strength.high, strength.status, (), own | details)


def clean(metric: EpsStar, bench: Bench) -> Clean:
    """The clean network, looked at."""
    fit, rest = bench.fits["clean"], bench.threat.at(0.0)
    look = bench.attack(AttackNeed(threat=rest))
    correct = [look(fit.model, x, y).clean_correct.cpu().numpy() for x, y in bench.splits["evaluation"]]
    train, evaluation = (losses(bench, fit, split, metric.trained_on, rest) for split in ("train", "evaluation"))
    return Clean(fit, train, evaluation, np.concatenate(correct).astype(np.float64))


def bound(metric: EpsStar, bench: Bench, start: Clean) -> CriticalStrength:
    """Where the clean network itself reaches the threshold under the study's attack: training against it does not reach it before.

    Measured on a part of the training split, whose rise is added to the loss of the whole. As far as the attack finds the worst case and
    the rise is convex, links between strengths lie above it, and their crossing is on the safe side.
    """

    def under(threat: Threat) -> Floats:
        return losses(bench, start.fit, "train", metric.trained_on, threat, _SAMPLES)

    rest, most = under(bench.threat.at(0.0)), _most(bench.task, bench.threat)
    shift = start.train.mean() - rest.mean()
    search = Search(min(_tangent(bench, start), most), most, _RESOLUTION, _STEPS, "isotonic", bench.seed)
    return searched(search, shift + rest, start.evaluation, lambda eps: shift + under(bench.threat.at(eps)))


def trained(metric: EpsStar, bench: Bench, start: Clean, lower: CriticalStrength) -> Found:
    """By networks at other strengths: from scratch, or fine-tuned.

    Raises:
        UnavailableError: The slope of hermite cannot be had, or fine-tuning diverges.
    """
    most = _most(bench.task, bench.threat)
    first = _BEYOND_BOUND * (lower.value or lower.low or 0.0) or bench.threat.eps or min(most, 1.0)
    first = min(float(f"{first:.4g}"), most)  # as the search rounds it
    trainer, tried = _trainer(metric, bench, start, bench.threat.at(first))
    fits: dict[float, Fit] = {}

    def look(eps: float) -> Floats:
        threat = bench.threat.at(eps)
        fits[eps] = bench.train(trainer.need(threat))
        return losses(bench, fits[eps], "train", metric.trained_on, threat)

    slopes, fit = None, None if metric.fit == "auto" else metric.fit
    flat: tuple[str, ...] = ()
    if metric.method == "hermite":
        begun, fit = rise(bench, start.fit, bench.task.bounds), "hermite"
        # The divergence of TRADES has no slope at 0.
        slopes, flat = (begun.slopes, begun.flags) if metric.objective == "ce" else (np.zeros_like(begun.slopes), ())
    steps = {"scratch": metric.trainings, "fast": metric.points}.get(metric.method, 1)
    search = Search(first, most, metric.resolution, steps, fit, bench.seed)
    strength = searched(search, start.train, start.evaluation, look, slopes)
    histories = [_history(eps, fits[eps]) for eps in sorted(fits)]
    found = Found.of(strength, recipe=dict(trainer.recipe), range_test=tried, fits=histories)
    decayed = () if slopes is None else ("unused-slope",) if strength.fit == "line" else ("decayed-slope",) if ridge(start.fit) else ()
    fooled = _fooled(histories, strength) if metric.attack == "fgm" or metric.inner else ()
    return replace(found, flags=(*flat, *decayed, *_contradictions(strength, lower), *fooled))


def _trainer(metric: EpsStar, bench: Bench, start: Clean, threat: Threat) -> tuple[Trainer, dict[str, float]]:
    """How the method trains, and what the range test at a threat came to where there was one."""
    need = metric.clean(bench.threat)
    if metric.method == "scratch":
        return Trainer(metric.trained_on, need if metric.warm else None, metric.inner), {}
    trainer = fine_tuner(metric, start.fit, need)
    tuned = metric.lr == "auto" and "lr" in trainer.recipe and start.train.mean() <= start.evaluation.mean()
    return range_test(bench, trainer, threat) if tuned else (trainer, {})


def expansion(metric: EpsStar, bench: Bench, start: Clean) -> Found:
    """By the clean network's own derivatives.

    Raises:
        UnavailableError: They cannot be had, or cannot be trusted.
    """
    found = expanded(bench, start.fit, asked(metric, bench), start.evaluation)
    details = {n: value for n, value in vars(found).items() if n not in ("value", "low", "high", "flags")}
    return Found(found.value, found.low, found.high, found.status, found.flags, details | {"fit": "expansion", "points": []})


def _tangent(bench: Bench, start: Clean) -> float:
    """A first guess of where the clean network reaches the threshold: before the tangent at strength 0 does."""
    try:
        slope = float(rise(bench, start.fit, bench.task.bounds, _SAMPLES).slopes.mean())
    except UnavailableError:
        slope = 0.0
    reach = _BEFORE_TANGENT * max(float(start.evaluation.mean() - start.train.mean()), 0.0)
    return reach / slope if slope > 0 and reach > 0 else bench.threat.eps or _most(bench.task, bench.threat)


def _most(task: Task, threat: Threat) -> float:
    """The strength that reaches the middle of the box from everywhere, beyond which there is nothing to learn; inf without a box."""
    if task.bounds is None:
        return math.inf
    low, high = task.bounds
    return (high - low) / 2 * (1 if math.isinf(threat.p) else math.prod(task.shape) ** (1 / threat.p))


def _history(eps: float, fit: Fit) -> dict[str, Any]:
    """What is known of a fit, beside its loss."""
    record = fit.record
    seen = record.epochs[record.selected_epoch - 1]["train_objective_loss"]
    return {"eps": eps, "key": record.key, "epochs": len(record.epochs), "selected_epoch": record.selected_epoch, "while_training": seen}


def _contradictions(strength: CriticalStrength, lower: CriticalStrength) -> tuple[str, ...]:
    """Flags what minima cannot do: lose less under attack than the clean network does without, or cross the threshold below the bound."""
    flags = ("clean-unfinished",) if min(loss for _, loss in strength.points) < strength.points[0][1] else ()
    below = strength.value is not None and lower.value is not None and strength.value < lower.value
    return (*flags, *(("below-bound",) if below else ()))


def _fooled(histories: Sequence[Mapping[str, Any]], strength: CriticalStrength) -> tuple[str, ...]:
    """Flags the strengths at which one-step training was fooled, by the loss that it saw itself."""
    seen = {history["eps"]: history["while_training"] for history in histories}
    found = [f"{eps:.3g}" for eps, loss in strength.points if eps in seen and loss > _FOOLED * seen[eps]]
    return (f"one-step-fooled:{', '.join(found)}",) if found else ()
