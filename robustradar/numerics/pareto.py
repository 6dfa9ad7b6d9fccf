"""Trade-offs of two quantities that are both to be small: which points are dominated, and what a front encloses.

NumPy only, so that stored results can be read without torch. Every function takes one set of points [N, 2] or many at once [..., N, 2],
such as bootstrap draws, each set by itself; the order of the points does not matter. To maximise a quantity, give its negative.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def dominated(points: Values) -> Bools:
    """Return which points another one beats: at most as large in both coordinates, and smaller in one.

    Equal points do not beat each other. One sort: O(N log N).

    Args:
        points: [..., N, 2], finite.

    Returns:
        [..., N].

    Raises:
        ValueError: if points are not pairs of finite numbers, at least one of them.

    Example:
        >>> dominated(np.array([[1, 3], [2, 2], [3, 1], [3, 2]]))
        array([False, False, False,  True])
    """
    _, order, beaten = _sorted(_pairs("dominated", points))
    found = np.empty_like(beaten)
    np.put_along_axis(found, order, beaten, axis=-1)
    return found


def hypervolume(points: Values, reference: tuple[float, float]) -> Floats:
    """Return the area that the points dominate, as far as the reference point (Zitzler and Thiele 1998). Higher is better.

    The union over points (a, b) of the rectangles [a, A] x [b, B] for the reference (A, B). A point that is not below it in both
    coordinates adds nothing, nor does a dominated one.

    Args:
        points: [..., N, 2], finite.
        reference: (A, B), finite.

    Returns:
        [...], >= 0, in the product of the coordinates' units.

    Raises:
        ValueError: if points or reference are not pairs of finite numbers.

    Example:
        >>> float(hypervolume(np.array([[1, 2], [2, 1]]), (3, 3)))
        3.0
    """
    v = _pairs("hypervolume", points)
    A, B = _pairs("hypervolume", np.array([reference], dtype=np.float64))[0]
    ordered, _, _ = _sorted(v)
    a = np.minimum(ordered[..., 0], A)
    b = np.minimum(np.minimum.accumulate(ordered[..., 1], axis=-1), B)
    # Between one point and the next, what is dominated reaches down to the lowest point so far.
    widths = np.diff(a, axis=-1, append=A)
    return np.asarray((widths * (B - b)).sum(-1))


def area(points: Values) -> Floats:
    """Return the area under the piecewise-linear front, as plotted: from its left end to its right one, down to second coordinate 0.

    The front is the points that are not dominated, in order of the first coordinate, linked by straight lines. Neither direction is
    better: a low front has a small area, and a short one, too.

    Args:
        points: [..., N, 2], finite.

    Returns:
        [...], in the product of the coordinates' units; 0.0 where only one point, or copies of one, is not dominated.

    Raises:
        ValueError: if points are not pairs of finite numbers, at least one of them.

    Example:
        >>> float(area(np.array([[1, 3], [2, 1], [4, 0], [4, 4]])))
        3.0
    """
    ordered, _, beaten = _sorted(_pairs("area", points))
    # A dominated point steps aside for the last one on the front, and so adds no width. The first is always on the front.
    front = np.take_along_axis(ordered, _last(~beaten)[..., None], axis=-2)
    a, b = front[..., 0], front[..., 1]
    return np.asarray((np.diff(a, axis=-1) * (b[..., 1:] + b[..., :-1]) / 2).sum(-1))


def _pairs(where: str, points: Values) -> Floats:
    """Return points as float64; a missing or infinite coordinate has no place on a front."""
    v = np.asarray(points)
    if v.ndim < 2 or v.shape[-1] != 2 or v.shape[-2] < 1 or v.dtype.kind not in "biuf":
        raise ValueError(f"{where}: got shape {v.shape} of {v.dtype}, expected [..., N, 2] real numbers, N >= 1. Give one pair a point.")
    if not np.isfinite(v).all():
        raise ValueError(f"{where}: got coordinates that are not finite, expected numbers only. Drop failed points first.")
    return v.astype(np.float64)


def _sorted(v: Floats) -> tuple[Floats, Ints, Bools]:
    """Return the points [..., N, 2] by first, then second coordinate, the order [..., N] that does it, and the dominated ones there."""
    order = np.lexsort((v[..., 1], v[..., 0]), axis=-1)
    s = np.take_along_axis(v, order[..., None], axis=-2)
    # Whatever beats a point stands before it; whatever stands before it, is not its equal and has no larger second coordinate, beats it.
    new = np.ones(order.shape, dtype=np.bool_)
    new[..., 1:] = (s[..., 1:, :] != s[..., :-1, :]).any(-1)
    beaten = np.zeros(order.shape, dtype=np.bool_)
    beaten[..., 1:] = np.minimum.accumulate(s[..., :-1, 1], axis=-1) <= s[..., 1:, 1]
    return s, order, np.take_along_axis(beaten, _last(new), axis=-1)


def _last(marks: Bools) -> Ints:
    """Return for every place along the last axis the last marked one up to it; the first must be marked."""
    return np.maximum.accumulate(np.where(marks, np.arange(marks.shape[-1]), 0), axis=-1)
