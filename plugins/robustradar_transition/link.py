"""Where a fit to adversarial training losses passes a threshold for the last time, for many draws of losses at once.

A fit is a function L of the strength, and the crossing sup{eps >= 0 : L(eps) <= threshold}: minus infinity where the set is empty,
infinity where L does not exceed the threshold for good. All fits are exact in their own terms; none searches a grid.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

# Halvings of an interval after which float64 has nothing left to halve.
_HALVINGS = 60


class Crossing(NamedTuple):
    """The crossings of B draws.

    Attributes:
        eps: [B], the crossing; not negative where finite.
        broken: [B], whether L crosses more than once or does not rise, so that the crossing is as the supremum has it and no more.
        fitted: [B, P], L at the given strengths.
        coefficients: [B, k], of L as a polynomial, the constant first; k = 0 for a fit by pieces.
    """

    eps: Floats
    broken: Bools
    fitted: Floats
    coefficients: Floats


def crossing(fit: str, eps: Floats, losses: Floats, thresholds: Floats, slopes: Floats | None) -> Crossing:
    """Return where the fit passes the threshold in each draw.

    A loss at strength 0 that is above the threshold already makes the set empty, whatever the fit says.

    Args:
        fit: interpolate, line, isotonic, spline or hermite.
        eps: [P], rising, the first not negative; from 0 on for every fit but the line.
        losses: [B, P].
        thresholds: [B].
        slopes: [B], of the loss at 0, not negative; for hermite alone, with P = 2.

    Returns:
        The crossings, one a draw.
    """
    if fit == "hermite" and slopes is not None:
        found = _hermite(eps, losses, thresholds, slopes)
    elif fit == "line":
        found = _line(eps, losses, thresholds)
    elif fit == "spline":
        found = _spline(eps, losses, thresholds)
    else:
        found = _linked(eps, _isotonic(losses) if fit == "isotonic" else losses, thresholds)
    empty = (losses[:, 0] > thresholds) & (eps[0] == 0)
    return found._replace(eps=np.where(empty, -np.inf, found.eps))


def _line(eps: Floats, losses: Floats, thresholds: Floats) -> Crossing:
    """Cross the least-squares line with intercept."""
    middle, means = eps.mean(), losses.mean(1)
    rise = (losses - means[:, None]) @ (eps - middle) / ((eps - middle) ** 2).sum()
    intercept = means - rise * middle
    with np.errstate(all="ignore"):  # a slope of next to nothing sends the crossing to infinity, which is what it means
        found = np.where(rise > 0, np.maximum(middle + (thresholds - means) / rise, 0), np.inf)
    fitted = intercept[:, None] + rise[:, None] * eps
    return Crossing(np.where(intercept > thresholds, -np.inf, found), rise <= 0, fitted, np.stack([intercept, rise], 1))


def _hermite(eps: Floats, losses: Floats, thresholds: Floats, slopes: Floats) -> Crossing:
    """Cross the parabola through both points that has the given slope at 0, on its rising branch."""
    # In units of the second strength: L = R + S t + A t**2.
    R, S = losses[:, 0], slopes * eps[1]
    A = losses[:, 1] - R - S
    t = parabola(np.stack([R, S, A], 1), thresholds)
    # A parabola that has turned before the second point and is not above the threshold there says nothing of what comes after.
    turned = (losses[:, 1] <= thresholds) & (S + 2 * A <= 0)
    return Crossing(np.where(turned, np.inf, t * eps[1]), turned, losses, np.stack([R, slopes, A / eps[1] ** 2], 1))


def parabola(coefficients: Floats, thresholds: Floats) -> Floats:
    """Return where R + S t + A t**2 rises through the threshold for the first time after 0.

    Args:
        coefficients: [B, 3]: R, S and A.
        thresholds: [B].

    Returns:
        [B]: minus infinity where R is above the threshold, infinity where the parabola turns before it gets there, or only falls.
    """
    R, S, A = coefficients.T
    gap = np.maximum(thresholds - R, 0)
    root = S**2 + 4 * A * gap
    with np.errstate(all="ignore"):
        size = np.sqrt(np.maximum(root, 0)) + np.abs(S)  # nothing cancels
        # 0 / 0 is a level start at the threshold itself.
        t = np.where(S < 0, size / (2 * A), np.where(gap == 0, 0.0, 2 * gap / size))
    missed = (root < 0) | ((S < 0) & (A <= 0))
    return np.where(thresholds < R, -np.inf, np.where(missed, np.inf, t))


def _linked(eps: Floats, losses: Floats, thresholds: Floats) -> Crossing:
    """Cross the straight links between neighbouring points."""
    k, missed, broken = _last_inside(losses, thresholds)
    rows = np.arange(len(losses))
    left, right = losses[rows, k], losses[rows, k + 1]
    with np.errstate(all="ignore"):  # where there is no crossing, the division means nothing and is dropped
        found = eps[k] + (thresholds - left) / (right - left) * (eps[k + 1] - eps[k])
    return Crossing(np.where(missed, np.inf, found), broken, losses, np.empty((len(losses), 0)))


def _spline(eps: Floats, losses: Floats, thresholds: Floats) -> Crossing:
    """Cross the cubic through the points that is monotone wherever they are."""
    k, missed, broken = _last_inside(losses, thresholds)
    a, b, c, d = PchipInterpolator(eps, losses.T).c[:, k, np.arange(len(losses))]
    low, step = np.zeros(len(losses)), eps[k + 1] - eps[k]
    for _ in range(_HALVINGS):
        step = step / 2
        middle = low + step
        low = np.where(((a * middle + b) * middle + c) * middle + d <= thresholds, middle, low)
    return Crossing(np.where(missed, np.inf, eps[k] + low), broken, losses, np.empty((len(losses), 0)))


def _isotonic(losses: Floats) -> Floats:
    """Return the nearest losses that nowhere fall, by pooling adjacent violators."""
    pooled = losses.copy()
    for row in np.flatnonzero((np.diff(losses, axis=1) < 0).any(1)):
        pooled[row] = isotonic_regression(losses[row]).x
    return pooled


def _last_inside(losses: Floats, thresholds: Floats) -> tuple[Ints, Bools, Bools]:
    """Return the left end of the last piece that leaves the threshold, where there is none, and where there are more crossings."""
    inside = losses <= thresholds[:, None]
    last: Any = losses.shape[1] - 1 - inside[:, ::-1].argmax(1)
    broken: Bools = np.any(~inside[:, :-1] & inside[:, 1:], axis=1)
    return np.minimum(last, losses.shape[1] - 2), inside[:, -1], broken
