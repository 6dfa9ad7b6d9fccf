"""What `Metric.measure` returned, held to the contract."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustradar import guard
from robustradar.contract.metric import Metric
from robustradar.errors import Failure
from robustradar.values import Failed, Measured, Outcome, Skipped, canonical

# An interval may miss its value by this share of the largest of the numbers, which are rounded, perhaps in float32. Chosen here.
_ROUNDING = 1e-6


def checked(found: object, metric: Metric, culprit: str) -> dict[str, Outcome]:
    """What measure() returned, if it keeps the contract.

    Raises:
        Failure: It does not.
    """
    names = [column.name for column in metric.columns]
    if not isinstance(found, Mapping) or set(found) != set(names):
        got = f"columns {sorted(map(str, found))}" if isinstance(found, Mapping) else type(found).__name__
        raise Failure(culprit, f"measure() returned {got}, expected a mapping with the columns {names}.")
    return {name: _checked_outcome(found[name], name, culprit) for name in names}


def _checked_outcome(outcome: object, name: str, culprit: str) -> Outcome:
    """One column's outcome."""
    if isinstance(outcome, Skipped | Failed):
        return replace(outcome, reason=str(outcome.reason))
    if not isinstance(outcome, Measured):
        raise Failure(culprit, f"measure() returned {type(outcome).__name__} for {name!r}, expected Measured, Skipped or Failed.")
    numbers = [outcome.value, *(end for end in (outcome.low, outcome.high) if end is not None)]
    if any(isinstance(value, bool) for value in numbers):
        raise Failure(culprit, f"measured {numbers} for {name!r}, expected numbers, no truth values. Return 1.0 or 0.0 if that is meant.")
    if not all(isinstance(value, Real) and math.isfinite(value) for value in numbers):
        raise Failure(culprit, f"measured {numbers} for {name!r}, expected finite numbers. Return Skipped(reason) instead.")
    try:
        canonical([list(outcome.flags), dict(outcome.details)])
    except (TypeError, ValueError) as error:
        raise Failure(culprit, f"the flags or details of {name!r} are no JSON: {error}.") from None
    low, high = _checked_ends(outcome, name, culprit)
    samples = None if outcome.samples is None else _checked_samples(outcome.samples, name, culprit)
    return replace(outcome, value=float(outcome.value), low=low, high=high, flags=tuple(map(str, outcome.flags)), samples=samples)


def _checked_ends(outcome: Measured, name: str, culprit: str) -> tuple[float | None, float | None]:
    """One column's interval, which holds the value; one that misses it by rounding alone is widened."""
    value = float(outcome.value)
    low, high = (None if end is None else float(end) for end in (outcome.low, outcome.high))
    slack = _ROUNDING * max(abs(number) for number in (value, low, high) if number is not None)
    if (low is not None and low > value + slack) or (high is not None and high < value - slack):
        got = f"{value:g} with low={low if low is None else f'{low:g}'} and high={high if high is None else f'{high:g}'}"
        raise Failure(culprit, f"measured {got} for {name!r}, expected low <= value <= high.")
    return None if low is None else min(low, value), None if high is None else max(high, value)


def _checked_samples(samples: Any, name: str, culprit: str) -> NDArray[np.generic]:
    """One column's per-sample values [n]."""
    values: NDArray[np.generic] = guard.call(culprit, lambda: np.asarray(samples))
    if values.ndim != 1 or values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        got = f"{values.dtype} {list(values.shape)}"
        raise Failure(culprit, f"the samples of {name!r} are {got}, expected finite numbers, one a sample.")
    return values
