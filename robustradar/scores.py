"""Outcomes over seeds to scores, and the table that rankers get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustradar.catalog import Catalog
from robustradar.contract.metric import Metric
from robustradar.contract.ranker import ScoreTable
from robustradar.numerics.agreement import bootstrap_mean, seed_interval
from robustradar.plan import Plan
from robustradar.values import Failed, Measured, Outcome, Score, Skipped

DRAWS = 1000


def table(plan: Plan, outcomes: Mapping[str, Mapping[str, Outcome]], catalog: Catalog) -> ScoreTable:
    """All cells of a run, with the per-sample values behind them."""
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


def over_seeds(found: Sequence[tuple[int, Outcome]]) -> Outcome:
    """One outcome for several seeds: their mean, with an interval over seeds and, where there are per-sample values, samples.

    A seed that failed makes the whole cell failed: a mean over the lucky seeds would flatter.

    >>> over_seeds([(0, Measured(1.0)), (1, Measured(3.0))]).value
    2.0
    >>> over_seeds([(0, Measured(1.0)), (1, Failed("diverged", "training"))])
    Failed(reason='seed 1: diverged', culprit='training')
    """
    if len(found) == 1:
        return found[0][1]
    for seed, outcome in found:
        if isinstance(outcome, Failed):
            return Failed(f"seed {seed}: {outcome.reason}", outcome.culprit)
    for _, outcome in found:
        if isinstance(outcome, Skipped):
            return outcome
    measured = [(seed, outcome) for seed, outcome in found if isinstance(outcome, Measured)]
    values = np.array([outcome.value for _, outcome in measured])
    samples = _samples([outcome for _, outcome in measured])
    interval = seed_interval(values) if samples is None else bootstrap_mean(samples, draws=DRAWS, seed=0)
    flags = tuple(dict.fromkeys(flag for _, outcome in measured for flag in outcome.flags))
    seeds: list[dict[str, Any]] = [
        {"seed": seed, "value": o.value, "low": o.low, "high": o.high, "details": dict(o.details)} for seed, o in measured
    ]
    low, high = interval or (None, None)
    return Measured(float(values.mean()), low, high, flags, {"seeds": seeds})


def _samples(outcomes: Sequence[Outcome]) -> NDArray[np.generic] | None:
    """Per-sample values [seeds, samples]; None where a seed has none."""
    values = [np.asarray(o.samples) for o in outcomes if isinstance(o, Measured) and o.samples is not None]
    return np.stack(values) if len(values) == len(outcomes) and len({len(v) for v in values}) == 1 else None
