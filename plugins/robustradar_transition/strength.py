"""Critical attack strength from losses at a few strengths: a number, or a named reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from robustradar.errors import unknown

if TYPE_CHECKING:
    import numpy.typing as npt

    Values = npt.NDArray[Any]

FitName = Literal["interpolate", "line", "isotonic", "spline", "hermite"]
Status = Literal["measured", "extrapolated", "below-zero", "beyond-grid", "not-monotone"]


@dataclass(frozen=True, eq=False)
class Replicates:
    """The losses again, in B draws: bootstrap resamples, or other training seeds. A draw keeps together what was drawn together.

    Attributes:
        losses: [B, P], adversarial training loss at each of the P points.
        thresholds: [B].
        slopes: [B], for hermite alone.
    """

    losses: Values
    thresholds: Values
    slopes: Values | None = None


@dataclass(frozen=True)
class CriticalStrength:
    """What the losses say of the critical attack strength.

    Attributes:
        value: In the units of the strengths, not negative; None where there is none.
        low: Lower end of the replicates' interval. Without replicates the last strength where the value lies beyond it, else None.
        high: Upper end of the replicates' interval. Without replicates 0 where the value lies below it, else None.
        status: ``measured``: within the strengths given. ``extrapolated``: outside them, on the word of the fit. ``below-zero``: the
            loss at 0, as given or as fitted, is above the threshold. ``beyond-grid``: the fit does not get above the threshold.
            ``not-monotone``: the fit crosses it more than once, and the value is the last crossing; or the fit falls, or ends below
            the threshold after it had been above, and there is no value.
        fit: Which fit.
        threshold: The clean evaluation loss.
        points: (strength, adversarial training loss), as given.
        fitted: The fit's loss at each of these strengths: pooled by isotonic, on the line for line, else as given.
        coefficients: Of the fit as a polynomial in the strength: (intercept, slope) for line, (loss, slope, half the second derivative)
            at 0 for hermite, else none.
    """

    value: float | None
    low: float | None
    high: float | None
    status: Status
    fit: FitName
    threshold: float
    points: tuple[tuple[float, float], ...]
    fitted: tuple[float, ...]
    coefficients: tuple[float, ...]


def critical_strength(
    points: Sequence[tuple[float, float]],
    threshold: float,
    fit: FitName = "interpolate",
    slope: float | None = None,
    replicates: Replicates | None = None,
    level: float = 0.95,
) -> CriticalStrength:
    """Return the strength at which adversarial training loss reaches the evaluation loss of clean training [P, section 4].

    eps_star = sup{eps >= 0 : L(eps) <= threshold}, L a fit to the points:

    - interpolate: straight links, as [P] draws them; the last crossing where noise makes several.
    - isotonic: the same after pooling neighbours until no loss falls.
    - spline: a monotone cubic through the points (Fritsch and Butland 1984, SciPy's PCHIP).
    - line: least squares with intercept. It reaches beyond the points; with two of them it is [P]'s one-point extrapolation.
    - hermite: the parabola through the point at 0, with the given slope there, and one more point. RobustRadar's own, not [P]'s.

    With replicates, low and high are quantiles of the crossings of all draws, rounded outwards to whole draws. A draw below zero is
    smaller, and one beyond the last strength larger, than any crossing; so where such draws are more than a tail's share, that end is
    open: None. Where they are so many that the other end falls among them, too, it is 0 or the last strength, which bounds it. What the
    draws do not vary, such as the training's seed, is not in the interval.

    Args:
        points: (strength, adversarial training loss of the network trained at that strength), strengths rising from 0, at least two;
            only the line does without a point at 0.
        threshold: clean evaluation loss of the network trained at 0.
        fit: interpolate, line, isotonic, spline or hermite.
        slope: of the adversarial training loss at 0, at least 0; for hermite alone.
        replicates: for an interval.
        level: coverage of the interval, 0 < level < 1; 0.95 by convention.

    Returns:
        Value, interval and status; never a number that hides how it came about.

    Raises:
        ValueError: if points, threshold, fit, slope, replicates or level are not as said.

    Example:
        >>> critical_strength([(0, 0.0), (1, 0.2), (2, 0.6)], 0.3).value
        1.25
        >>> critical_strength([(0, 0.0), (1, 0.2), (2, 0.6)], 0.7).status
        'beyond-grid'
    """
    _check_points(points, threshold, fit)
    _check_slope(fit, len(points), slope)
    import numpy as np  # keeps the package quick to import

    from robustradar_transition.link import crossing

    pairs = np.asarray(points, dtype=np.float64)
    eps, losses, slopes = pairs[:, 0], pairs[None, :, 1], None if slope is None else np.array([slope], dtype=np.float64)
    found = crossing(fit, eps, losses, np.array([threshold], dtype=np.float64), slopes)
    best, last = float(found.eps[0]), float(eps[-1])
    draws = [best] if math.isinf(best) else [-math.inf, math.inf]  # no replicates, no interval: a number alone may lie anywhere
    if replicates is not None:
        draws = crossing(fit, eps, *_drawn(replicates, len(points), fit, level)).eps.tolist()
    low, high = interval(draws, level, last)
    return CriticalStrength(
        value=best if math.isfinite(best) else None,
        low=low,
        high=high,
        status=_status(best, bool(found.broken[0]), float(eps[0]), last),
        fit=fit,
        threshold=float(threshold),
        points=tuple((float(e), float(loss)) for e, loss in points),
        fitted=tuple(found.fitted[0].tolist()),
        coefficients=tuple(found.coefficients[0].tolist()),
    )


def _status(best: float, broken: bool, first: float, last: float) -> Status:
    """Name what a crossing is worth."""
    if best == -math.inf:
        return "below-zero"
    if broken:
        return "not-monotone"
    if best == math.inf:
        return "beyond-grid"
    return "measured" if first <= best <= last else "extrapolated"


def interval(draws: list[float], level: float, last: float | None) -> tuple[float | None, float | None]:
    """Return the ends between which the level's share of draws lies, censored ones as what is known of them.

    Args:
        draws: crossings; minus infinity below zero, infinity beyond the last strength.
        level: coverage, 0 < level < 1.
        last: the last strength; None where there is none.
    """
    ordered, tail = sorted(draws), (1 - level) / 2 * (len(draws) - 1)
    low, high = ordered[math.floor(tail)], ordered[-1 - math.floor(tail)]
    return None if low == -math.inf else last if low == math.inf else low, None if high == math.inf else max(high, 0.0)


def _check_points(points: Sequence[tuple[float, float]], threshold: float, fit: str) -> None:
    """Refuse points that no curve goes through, and a fit or threshold that there is not."""
    if fit not in get_args(FitName):
        raise ValueError(unknown("critical_strength", fit, get_args(FitName)))
    if len(points) < 2:
        raise ValueError(f"critical_strength: got {len(points)} points, expected at least 2. Train at one strength more.")
    if {len(point) for point in points} != {2} or not all(math.isfinite(number) for point in points for number in point):
        raise ValueError(
            f"critical_strength: got {list(points)}, expected pairs of finite numbers, strength and loss. Drop failed trainings first."
        )
    eps = [float(e) for e, _ in points]
    if eps[0] < 0 or any(b <= a for a, b in zip(eps, eps[1:], strict=False)):
        raise ValueError(f"critical_strength: got strengths {eps}, expected rising ones, none negative. Sort them, and give each once.")
    if eps[0] > 0 and fit != "line":
        raise ValueError(
            f"critical_strength: got no point at strength 0, expected one with fit='{fit}'. Add the clean network's, or use fit='line'."
        )
    if not math.isfinite(threshold):
        raise ValueError(f"critical_strength: got threshold={threshold}, expected a finite number. Give the clean evaluation loss.")


def _check_slope(fit: str, count: int, slope: float | None) -> None:
    """Refuse a slope that is missing, out of range, or of no use."""
    if fit != "hermite":
        if slope is not None:
            raise ValueError(f"critical_strength: got slope={slope}, expected none with fit='{fit}'. Only fit='hermite' uses it.")
        return
    if slope is None or not (math.isfinite(slope) and slope >= 0):
        raise ValueError(
            f"critical_strength: got slope={slope}, expected a finite number, at least 0, with fit='hermite'. Give the loss's slope at 0."
        )
    if count != 2:
        raise ValueError(f"critical_strength: got {count} points, expected 2 with fit='hermite', at 0 and one more. Choose one.")


def _drawn(replicates: Replicates, count: int, fit: str, level: float) -> tuple[Values, Values, Values | None]:
    """Return the replicates as float64 arrays that fit together."""
    import numpy as np

    if not 0 < level < 1:
        raise ValueError(f"critical_strength: got level={level}, expected 0 < level < 1. Give the coverage, such as 0.95.")
    given = [replicates.losses, replicates.thresholds, *([] if replicates.slopes is None else [replicates.slopes])]
    arrays = [np.asarray(values, dtype=np.float64) for values in given]
    shapes = [array.shape for array in arrays]
    B = len(arrays[1]) if arrays[1].ndim else 0
    expected: list[tuple[int, ...]] = [(B, count), (B,), *([(B,)] if fit == "hermite" else [])]
    if B < 1 or shapes != expected:
        wanted = f"[B, {count}] losses, [B] thresholds and {'[B] slopes' if fit == 'hermite' else 'no slopes'}, B >= 1"
        raise ValueError(
            f"critical_strength: got replicates of shapes {shapes}, expected {wanted}, with fit='{fit}'. Draw all of them in every draw."
        )
    if not all(np.isfinite(array).all() for array in arrays) or (len(arrays) > 2 and (arrays[2] < 0).any()):
        raise ValueError(
            "critical_strength: got replicates out of range, expected finite numbers, and slopes of at least 0. Drop failed draws first."
        )
    return arrays[0], arrays[1], arrays[2] if len(arrays) > 2 else None
