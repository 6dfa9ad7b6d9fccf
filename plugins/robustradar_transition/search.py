"""The search for the strength at which a loss passes a threshold: where to look next, and what the looks say together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from robustradar_transition.link import Floats, crossing
from robustradar_transition.sampled import resampled
from robustradar_transition.strength import CriticalStrength, FitName, Replicates, critical_strength, interval

# Of the law that the loss rises with, (strength)**k, chosen here: where two strengths are known, k is theirs, within these limits. A rise
# that slows down is taken for noise, lest the next strength lie far beyond.
_RISE, _LEAST, _MOST = 1.5, 1.0, 4.0
_STRIDE = 3.0
# Multiple of the last strength up to which draws of the interval are followed.
_FAR = 10.0


@dataclass(frozen=True)
class Search:
    """How strengths are chosen, and what is drawn through the losses.

    Attributes:
        first: The first strength after 0, > 0.
        most: The largest that makes sense; inf for any.
        resolution: Ratio of the ends of a bracket, less 1, at which it is close enough, > 0.
        steps: Most strengths after 0.
        fit: None: isotonic where the losses reach the threshold, else line.
        seed: Of the bootstrap.
    """

    first: float
    most: float
    resolution: float
    steps: int
    fit: FitName | None
    seed: int


def searched(
    search: Search, start: Floats, evaluation: Floats, look: Callable[[float], Floats], slopes: Floats | None = None
) -> CriticalStrength:
    """Return the strength at which the mean of the losses passes that of the evaluation losses, with a bootstrap over both splits.

    What a fit puts beyond the largest strength that makes sense is beyond the grid.

    Args:
        search: How.
        start: Losses at strength 0, [n].
        evaluation: Clean evaluation losses, [m], whose mean is the threshold.
        look: Gives the losses [n] of the same samples at a strength.
        slopes: Of the losses in the strength at 0, [n], for hermite. A slope that is steeper than the line to the last loss is not used,
            and the fit is that line.
    """
    found, threshold = {0.0: start}, float(evaluation.mean())
    while start.mean() <= threshold and len(found) <= search.steps:
        means = {eps: float(values.mean()) for eps, values in found.items()}
        eps = proposed(means, threshold, search.first, search.most, search.resolution)
        if eps is None:
            break
        found[eps] = look(eps)
    strengths = sorted(found)
    columns = np.stack([found[eps] for eps in strengths] + ([] if slopes is None else [slopes]), 1)
    rng = np.random.default_rng(search.seed)
    drawn, thresholds = resampled(columns, rng), resampled(evaluation[:, None], rng)[:, 0]
    points = [(eps, float(found[eps].mean())) for eps in strengths]
    reached = any(loss > threshold for _, loss in points)
    if len(points) == 1:  # below zero, which any second point says as well
        points, drawn = [*points, (search.first, points[0][1])], np.column_stack([drawn[:, :1], drawn])
    fit, P = search.fit or ("isotonic" if reached else "line"), len(points)
    if slopes is not None and points[-1][1] - points[0][1] < float(slopes.mean()) * points[-1][0]:
        fit, slopes = "line", None  # where the loss rises less than at 0, a parabola would turn: the clean network was no minimum
    replicates = Replicates(drawn[:, :P], thresholds, None if slopes is None else drawn[:, P])
    strength = critical_strength(points, threshold, fit, None if slopes is None else float(slopes.mean()), replicates)
    if strength.value is not None and strength.value > search.most:
        return replace(strength, value=None, low=points[-1][0], high=None, status="beyond-grid")
    if strength.value is None or fit in ("line", "hermite"):
        return strength
    low, high = interval(_crossings(fit, np.array([eps for eps, _ in points]), drawn[:, :P], thresholds), 0.95, None)
    return replace(strength, low=low, high=high)


def _crossings(fit: str, eps: Floats, drawn: Floats, thresholds: Floats) -> list[float]:
    """Crossings of draws, those beyond the last strength by the line from the first point through the last.

    The search ends close to the threshold, so that many draws of it lie beyond; a convex rise is steeper there than that line, which
    so puts the end of the interval too far out rather than too near.
    """
    rise = drawn[:, -1] - drawn[:, 0]
    far = drawn[:, -1] + (_FAR - 1) * np.maximum(rise, 0.0)
    found: list[float] = crossing(fit, np.append(eps, _FAR * eps[-1]), np.column_stack([drawn, far]), thresholds, None).eps.tolist()
    return found


def proposed(losses: Mapping[float, float], threshold: float, first: float, most: float, resolution: float) -> float | None:
    """Return the strength to train at next; None where the crossing is known to the resolution, or cannot be reached.

    The crossing is guessed by a law loss(0) + b·(strength)**k through the strengths on both sides of it; the next training goes half a
    resolution beyond the guess, on the side where the bracket is wider, so that a good guess is bracketed closely by one more.

    Args:
        losses: strength to loss; has 0, whose loss is at most the threshold.
        threshold: to be passed.
        first: the first strength after 0, > 0.
        most: the largest that makes sense; inf for any.
        resolution: ratio of the bracket's ends, less 1, at which it is close enough, > 0.

    Example:
        >>> proposed({0.0: 0.1}, 0.3, first=2.0, most=10.0, resolution=0.1)
        2.0
        >>> proposed({0.0: 0.1, 2.0: 0.29, 2.1: 0.31}, 0.3, 2.0, 10.0, 0.1) is None
        True
    """
    wanted = first if len(losses) == 1 else _wanted(losses, threshold, most, resolution)
    # Rounded, so that the same search on another machine asks for the same networks.
    eps = None if wanted is None else min(float(f"{wanted:.4g}"), most)
    return None if eps in losses else eps


def _wanted(losses: Mapping[float, float], threshold: float, most: float, resolution: float) -> float | None:
    """Return the strength after the first that tells most; None where none does."""
    low = max(eps for eps, loss in losses.items() if loss <= threshold)
    high = min((eps for eps in losses if eps > low), default=math.inf)
    if low >= most or (low > 0 and high <= low * (1 + resolution)):
        return None
    half, edge = 1 + resolution / 2, 1 + resolution / 4
    if math.isinf(high):
        before = max(eps for eps in losses if eps < low)
        return min(max(_guess(losses, threshold, before, low) * half, low * (1 + resolution)), _STRIDE * low)
    guess = _guess(losses, threshold, low, high)
    if low == 0:
        return min(max(guess, high / _STRIDE), high / edge)
    aside = guess * half if guess**2 < low * high else guess / half
    return min(max(aside, low * edge), high / edge)


def _guess(losses: Mapping[float, float], threshold: float, low: float, high: float) -> float:
    """Return the crossing of a law through two strengths, the smaller of which may be 0."""
    start = losses[0.0]
    rises = [losses[eps] - start for eps in (low, high)]
    wanted = threshold - start
    if rises[1] <= 0:
        return math.inf
    if low == 0 or rises[0] <= 0:
        return float(high * (wanted / rises[1]) ** (1 / _RISE))
    k = math.log(rises[1] / rises[0]) / math.log(high / low)
    return float(high * (wanted / rises[1]) ** (1 / min(max(k, _LEAST), _MOST)))
