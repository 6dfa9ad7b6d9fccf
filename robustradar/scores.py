"""Outcomes to scores: reviewed over candidates, joined over seeds, and the table that rankers get."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustradar import guard
from robustradar.catalog import Catalog
from robustradar.contract.metric import Metric
from robustradar.contract.ranker import ScoreTable
from robustradar.errors import Failure
from robustradar.numerics.agreement import bootstrap_mean, wilson
from robustradar.numerics.seeds import seed_interval
from robustradar.plan import Plan
from robustradar.values import Failed, Measured, Measurement, Outcome, Score, Skipped

DRAWS = 1000


def table(plan: Plan, outcomes: Mapping[str, Mapping[str, Outcome]], catalog: Catalog) -> ScoreTable:
    """All cells of a run, as their metrics leave them, with the per-sample values behind them."""
    outcomes = reviewed(plan, outcomes, catalog)
    cells: dict[tuple[str, str], list[tuple[int, Mapping[str, Outcome]]]] = {}
    for measurement in plan.measurements:
        cell = (measurement.candidate.label, measurement.metric.label)
        cells.setdefault(cell, []).append((measurement.seed or 0, outcomes[measurement.key]))
    columns = {ref.label: catalog.bound("metric", ref, Metric).columns for ref in plan.study.metrics}
    scores: list[Score] = []
    samples: dict[tuple[str, str, str], NDArray[np.generic]] = {}
    for (candidate, metric), by_seed in cells.items():
        for column in columns[metric]:
            found = [(seed, outcome[column.name]) for seed, outcome in by_seed]
            scores.append(Score(candidate, metric, column, over_seeds(found)))
            if (values := _samples([outcome for _, outcome in found])) is not None:
                samples[candidate, metric, column.name] = values
    return ScoreTable(tuple(scores), samples)


def reviewed(plan: Plan, outcomes: Mapping[str, Mapping[str, Outcome]], catalog: Catalog) -> dict[str, Mapping[str, Outcome]]:
    """The outcomes after every metric has seen its own of all candidates, seed by seed."""
    together: dict[tuple[str, int | None], list[Measurement]] = {}
    for measurement in plan.measurements:
        together.setdefault((measurement.metric.label, measurement.seed), []).append(measurement)
    found: dict[str, Mapping[str, Outcome]] = {}
    for measurements in together.values():
        ref = measurements[0].metric
        given = {m.candidate.label: outcomes[m.key] for m in measurements}
        kept = _review(catalog.bound("metric", ref, Metric), catalog.culprit("metric", ref), given)
        found |= {m.key: kept[m.candidate.label] for m in measurements}
    return found


def _review(metric: Metric, culprit: str, given: Mapping[str, Mapping[str, Outcome]]) -> Mapping[str, Mapping[str, Outcome]]:
    """One metric's review at one seed. If it fails, all is failed; what was so before keeps its own reason."""

    def checked() -> dict[str, dict[str, Outcome]]:
        lent = copy.deepcopy(given)  # or a review could write to what was measured
        found = _matching(metric.review(lent), given, "candidates", culprit)
        return {name: _columns(found[name], before, name, culprit) for name, before in given.items()}

    try:
        return guard.call(culprit, checked)
    except Failure as failure:
        failed = Failed(failure.reason, failure.culprit)
        return {name: {c: o if isinstance(o, Failed) else failed for c, o in columns.items()} for name, columns in given.items()}


def _columns(found: object, given: Mapping[str, Outcome], candidate: str, culprit: str) -> dict[str, Outcome]:
    """One candidate's outcomes as a review leaves them."""
    after = _matching(found, given, f"columns of {candidate}", culprit)
    return {column: _checked(after[column], before, f"{column!r} of {candidate}", culprit) for column, before in given.items()}


def _matching(found: object, given: Mapping[str, Any], what: str, culprit: str) -> Mapping[str, Any]:
    """What review() returned, if it is a mapping with the keys that it was given.

    Raises:
        Failure: It is not.
    """
    if not isinstance(found, Mapping):
        got = type(found).__name__
    elif lacking := [name for name in given if name not in found]:
        got = f"a mapping without {lacking[0]!r}"
    elif added := [name for name in found if name not in given]:
        got = f"a mapping with {added[0]!r} added"
    else:
        return found
    raise Failure(culprit, f"review() returned {got}, expected a mapping with the {what} that it was given.")


def _checked(after: object, before: Outcome, where: str, culprit: str) -> Outcome:
    """One outcome as a review leaves it.

    Raises:
        Failure: More has changed than a review may change.
    """
    if isinstance(before, Measured) and isinstance(after, Skipped):
        return Skipped(str(after.reason))
    if isinstance(before, Measured) and isinstance(after, Measured):
        changed = [name for name in ("value", "low", "high", "details") if getattr(after, name) != getattr(before, name)]
        changed += [] if np.array_equal(after.samples, before.samples) else ["samples"]
        changed += [] if _grown(before.flags, after.flags) else ["flags"]
        if not changed:
            return replace(before, flags=tuple(dict.fromkeys((*before.flags, *after.flags))))
        what = ", ".join(changed)
    elif after == before:
        return before
    else:
        what = f"{type(before).__name__} to {'another ' * (type(after) is type(before))}{type(after).__name__}"
    allowed = "expected at most added flags, which are texts, or Skipped(reason) in place of Measured"
    raise Failure(culprit, f"review() changed {what} in {where}, {allowed}.")


def _grown(before: Sequence[str], after: object) -> bool:
    """Whether flags were at most added."""
    return isinstance(after, tuple | list) and all(isinstance(flag, str) for flag in after) and set(before) <= set(after)


def over_seeds(found: Sequence[tuple[int, Outcome]]) -> Outcome:
    """One outcome for several seeds: their mean, with Student's t over seeds and, where there are per-sample values, samples.

    A single seed's outcome is as it is, with an interval by its samples where it came without one.

    Where a seed has a bound only, a value that is the one end of its interval with no other end, the mean is such a bound, too.

    A seed that failed makes the whole cell failed: a mean over the lucky seeds would flatter.

    >>> over_seeds([(0, Measured(1.0)), (1, Measured(3.0))]).value
    2.0
    >>> both = over_seeds([(0, Measured(1.0, 0.9, 1.1)), (1, Measured(3.0, low=3.0))])
    >>> both.value, both.low, both.high
    (2.0, 2.0, None)
    >>> over_seeds([(0, Measured(1.0)), (1, Failed("diverged", "training"))])
    Failed(reason='seed 1: diverged', culprit='training')
    """
    if len(found) == 1:
        return _told(found[0][1])
    for seed, outcome in found:
        if isinstance(outcome, Failed):
            return Failed(f"seed {seed}: {outcome.reason}", outcome.culprit)
    skipped = [(seed, outcome) for seed, outcome in found if isinstance(outcome, Skipped)]
    if skipped:
        seed, first = skipped[0]
        same = len(skipped) == len(found) and all(outcome == first for _, outcome in skipped)
        return first if same else Skipped(f"seed {seed}: {first.reason}")
    measured = [(seed, outcome) for seed, outcome in found if isinstance(outcome, Measured)]
    values = np.array([outcome.value for _, outcome in measured])
    flags = tuple(dict.fromkeys(flag for _, outcome in measured for flag in outcome.flags))
    seeds: list[dict[str, Any]] = [
        {"seed": seed, "value": o.value, "low": o.low, "high": o.high, "details": dict(o.details)} for seed, o in measured
    ]
    low, high = _interval([outcome for _, outcome in measured])
    return Measured(float(values.mean()), low, high, flags, {"seeds": seeds})


def _told(outcome: Outcome) -> Outcome:
    """An outcome with the interval that its samples tell, where it has several and came without one."""
    if (
        not isinstance(outcome, Measured)
        or outcome.samples is None
        or len(outcome.samples) < 2
        or (outcome.low, outcome.high) != (None, None)
    ):
        return outcome
    low, high = _interval([outcome])
    return replace(outcome, low=low, high=high)


def _interval(measured: Sequence[Measured]) -> tuple[float | None, float | None]:
    """The interval of the mean over seeds; none for a single seed, and where values are bounds in both directions."""
    values, samples = np.array([outcome.value for outcome in measured]), _samples(measured)
    if bounds := {o.bound for o in measured} - {None}:
        low, high = (float(values.mean()) if bounds == {end} else None for end in ("low", "high"))
        return low, high
    if samples is not None and samples.dtype == bool and (samples.all() or not samples.any()):
        return wilson(samples.shape[1] if samples.all() else 0, samples.shape[1])  # resamples would all be alike; seeds share the samples
    if samples is not None and len(samples) == 1:
        return bootstrap_mean(samples, draws=DRAWS, seed=0)
    low, high = seed_interval(values, samples) or (None, None)
    if low is not None and high is not None and samples is not None and samples.dtype == bool:
        return max(0.0, low), min(1.0, high)  # a share of right answers
    return low, high


def _samples(outcomes: Sequence[Outcome]) -> NDArray[np.generic] | None:
    """Per-sample values [seeds, samples]; None where a seed has none."""
    values = [np.asarray(o.samples) for o in outcomes if isinstance(o, Measured) and o.samples is not None]
    return np.stack(values) if len(values) == len(outcomes) and len({len(v) for v in values}) == 1 else None
