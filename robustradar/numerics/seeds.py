"""What training's chance adds to that of the samples: variance components over seeds, and Student's t. NumPy and SciPy only.

Another seed gives another network, and the evaluation samples are a draw that all seeds share. A mean over few seeds is told by so few
values that a normal or a bootstrap interval is far too narrow; Student's t makes up for it.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

Values = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Parts = list[tuple[float, int]]


def components(by_seed: Floats, samples: Sequence[Values] = ()) -> Parts:
    """Return variance and degrees of freedom of what makes the mean over seeds vary: seeds first, then samples, if they are given.

    Two runs stand for the difference of their means, not paired by seed: what a seed gives hardly outlasts a change, and without change
    both spread alike, so that the spread within each, pooled, has twice the degrees of freedom, of which few seeds are short. A sample
    varies by its own and by what the seeds make of it; the latter is in the spread over seeds already and so is taken off, as in an
    analysis of variance with seeds and samples drawn at random.

    Args:
        by_seed: [runs, S], one run or two, at least two seeds.
        samples: per-sample values [S, n] of each run, n alike; none, or a single sample, adds no part.

    Example:
        >>> components(np.array([[1.0, 3.0]]))
        [(1.0, 1)]
    """
    runs, seeds = by_seed.shape
    parts = [(runs * float(by_seed.var(axis=1, ddof=1).mean()) / seeds, runs * (seeds - 1))]
    if samples and (n := samples[0].shape[1]) > 1:
        means = [run.mean(axis=0, dtype=np.float64) for run in samples]
        own = float((means[0] if runs == 1 else means[1] - means[0]).var(ddof=1))
        by_seeds = sum(float(run.var(axis=0, ddof=1, dtype=np.float64).mean()) for run in samples) / seeds
        parts.append((max(0.0, own - by_seeds) / n, n - 1))
    return parts


def student(mean: float, parts: Sequence[tuple[float, int]], level: float = 0.95) -> tuple[float, float]:
    """Return a mean's two-sided p against 0 by Student's t, and half of its interval.

    The squared standard error is the sum of the parts' variances; its degrees of freedom are the smallest of those parts that hold at
    least a twentieth of it, chosen here: Welch and Satterthwaite's average lets a spread of few seeds that is small by chance count as
    certainty (see test_few_seeds_raise_no_more_alarms).

    Args:
        mean: what was found.
        parts: variance of the mean and degrees of freedom of each source of chance.
        level: coverage of the interval, 0 < level < 1; 0.95 by convention.

    Example:
        >>> student(1.0, [(0.0, 5)])
        (0.0, 0.0)
        >>> p, half = student(1.0, [(0.25, 10)])
        >>> round(p, 4), round(half, 4)
        (0.0734, 1.1141)
    """
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return float(mean == 0), 0.0
    freedom = min(degrees for part, degrees in parts if part >= variance / 20)
    error = math.sqrt(variance)
    return min(1.0, 2 * float(stdtr(freedom, -abs(mean) / error))), float(stdtrit(freedom, (1 + level) / 2)) * error


def seed_interval(values: Values, samples: Values | None = None, level: float = 0.95) -> tuple[float, float] | None:
    """Return Student's t interval for the mean over training seeds, with the chance of the samples added where they are given.

    Without samples this is mean -+ t * s / sqrt(S), t on S - 1 degrees of freedom; with them see `components`. It is never narrower than
    by the samples alone, or seeds that agree by chance would pass for certainty.

    Args:
        values: [S], one value a seed.
        samples: [S, n], the per-sample values behind them.
        level: coverage, 0 < level < 1; 0.95 by convention.

    Returns:
        (low, high), or None for fewer than two seeds, which say nothing about spread.

    Raises:
        ValueError: if values is not a finite vector, or level is out of range.

    Example:
        >>> low, high = seed_interval(np.array([1.0, 2.0, 3.0]))
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
    """
    v = np.asarray(values)
    if v.ndim != 1 or not v.size or v.dtype.kind not in "biuf" or not np.isfinite(v).all():
        raise ValueError(f"seed_interval: got shape {v.shape} of {v.dtype}, expected finite numbers, one a seed. Drop failed cells first.")
    if not 0 < level < 1:
        raise ValueError(f"seed_interval: got level = {level}, expected 0 < level < 1. Give the coverage, such as 0.95.")
    if len(v) < 2:
        return None
    v = v.astype(np.float64)
    mean = float(v.mean())
    _, reach = student(mean, components(v[None], () if samples is None else (samples,)), level)
    if samples is not None and (n := samples.shape[1]) > 1:
        alone = float(samples.mean(axis=0, dtype=np.float64).var(ddof=1)) / n
        reach = max(reach, student(mean, [(alone, n - 1)], level)[1])
    return mean - reach, mean + reach
