"""Oracles and properties of fronts: the definitions by brute force, Monte Carlo, and what may not change them."""

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from robustradar.numerics.pareto import area, dominated, hypervolume

Floats = NDArray[np.float64]

# A coarse grid, so that ties and equal points are common.
GRIDS = st.integers(1, 9).flatmap(lambda n: arrays(np.float64, (n, 2), elements=st.integers(0, 6).map(lambda k: k / 4)))
REFERENCES = st.tuples(st.floats(0, 2), st.floats(0, 2))


def test_module_needs_no_torch() -> None:
    code = "import sys, robustradar.numerics.pareto; assert 'torch' not in sys.modules and 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def beaten(p: Floats, points: Floats) -> bool:
    """The definition."""
    return any((q <= p).all() and (q < p).any() for q in points)


def rectangles(points: Floats, A: float, B: float) -> float:
    """Their union's area, by the cells of the grid that their edges make."""
    inside = points[(points[:, 0] < A) & (points[:, 1] < B)]
    xs, ys = np.unique([*inside[:, 0], A]), np.unique([*inside[:, 1], B])
    total = 0.0
    for x, right in zip(xs[:-1], xs[1:], strict=True):
        for y, top in zip(ys[:-1], ys[1:], strict=True):
            if any(q[0] <= x and q[1] <= y for q in inside):
                total += (right - x) * (top - y)
    return total


def under(points: Floats) -> float:
    """The integral of the linear interpolation between the points that nothing beats."""
    front = np.unique([p for p in points if not beaten(p, points)], axis=0)
    return float(np.trapezoid(front[:, 1], front[:, 0]))


@given(GRIDS)
def test_dominated_is_its_definition(points: Floats) -> None:
    assert dominated(points).tolist() == [beaten(p, points) for p in points]


@given(GRIDS, REFERENCES)
def test_hypervolume_is_the_union_of_rectangles(points: Floats, reference: tuple[float, float]) -> None:
    assert hypervolume(points, reference) == pytest.approx(rectangles(points, *reference), abs=1e-12)


@given(GRIDS)
def test_area_is_the_integral_of_the_front(points: Floats) -> None:
    assert area(points) == pytest.approx(under(points), abs=1e-12)


def test_hypervolume_is_what_random_points_find() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((12, 2))
    shots = rng.random((100_000, 2)) * (0.9, 0.8)
    hit = np.any(np.all(points[None] <= shots[:, None], axis=2), axis=1)
    assert hypervolume(points, (0.9, 0.8)) == pytest.approx(0.72 * hit.mean(), abs=4 * 0.72 / 2 / np.sqrt(len(shots)))


def test_a_convex_curve_is_its_integral() -> None:
    """(t, 1/t) on [1, 4]: ln 4 under it, and (A − 1)·B − ln 4 − (A − 4)/4 above it for A = 5, B = 1."""
    t = np.geomspace(1, 4, 4001)
    points = np.random.default_rng(0).permutation(np.stack([t, 1 / t], 1))
    assert not dominated(points).any()
    assert area(points) == pytest.approx(np.log(4), abs=1e-6)
    assert hypervolume(points, (5, 1)) == pytest.approx(4 - np.log(4) - 0.25, abs=1e-3)


@given(GRIDS, REFERENCES, st.tuples(st.floats(0, 3), st.floats(0, 3)), st.randoms(use_true_random=False))
def test_a_dominated_point_changes_nothing(points: Floats, reference: tuple[float, float], by: tuple[float, float], random: Any) -> None:
    more = np.vstack([points, points[random.randrange(len(points))] + by])
    assert hypervolume(more, reference) == pytest.approx(hypervolume(points, reference), abs=1e-12)
    assert area(more) == pytest.approx(area(points), abs=1e-12)
    assert dominated(more)[:-1].tolist() == dominated(points).tolist()


@given(GRIDS, REFERENCES, st.randoms(use_true_random=False))
def test_the_order_of_the_points_does_not_matter(points: Floats, reference: tuple[float, float], random: Any) -> None:
    order = random.sample(range(len(points)), len(points))
    assert dominated(points[order]).tolist() == dominated(points)[order].tolist()
    assert hypervolume(points[order], reference) == hypervolume(points, reference)
    assert area(points[order]) == area(points)


@given(GRIDS, REFERENCES, st.tuples(st.floats(-1, 3), st.floats(-1, 3)), st.floats(0, 1))
def test_more_points_better_points_and_a_farther_reference_enclose_no_less(
    points: Floats, reference: tuple[float, float], extra: tuple[float, float], step: float
) -> None:
    value = hypervolume(points, reference)
    assert 0 <= value <= reference[0] * reference[1] + 1e-12
    better = points.copy()
    better[0] -= step, step / 2
    for other in (
        hypervolume(np.vstack([points, extra]), reference),
        hypervolume(better, reference),
        hypervolume(points, (reference[0] + step, reference[1])),
    ):
        assert other >= value - 1e-12


@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_many_sets_at_once_are_each_by_itself(n: int, seed: int) -> None:
    sets = np.random.default_rng(seed).integers(0, 4, (2, 3, n, 2)) / 2
    for function in (dominated, lambda p: hypervolume(p, (1.0, 1.5)), area):
        expected = np.array([[function(points) for points in row] for row in sets])
        np.testing.assert_array_equal(function(sets), expected)


def test_one_point_and_its_copies() -> None:
    points = np.full((3, 2), 0.5)
    assert not dominated(points).any()
    assert area(points) == area(points[:1]) == 0.0
    assert hypervolume(points, (1, 1)) == hypervolume(points[:1], (1, 1)) == 0.25


def test_points_beyond_the_reference_add_nothing() -> None:
    points = np.array([[0.0, 2.0], [2.0, 0.0], [1.0, 0.5]])
    assert hypervolume(points, (1.0, 1.0)) == 0.0
    assert hypervolume(np.vstack([points, [0.5, 0.5]]), (1.0, 1.0)) == 0.25


@pytest.mark.parametrize("points", [np.zeros(2), np.zeros((3, 3)), np.zeros((0, 2)), np.array([["a", "b"]])])
def test_what_is_no_pair_is_refused(points: Any) -> None:
    message = f"area: got shape {points.shape} of {points.dtype}, expected [..., N, 2] real numbers, N >= 1. Give one pair a point."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        area(points)


@pytest.mark.parametrize(("points", "reference"), [([[0.0, np.nan]], (1, 1)), ([[0.0, 0.0]], (1, np.inf))])
def test_what_is_not_finite_is_refused(points: Any, reference: tuple[float, float]) -> None:
    message = "hypervolume: got coordinates that are not finite, expected numbers only. Drop failed points first."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        hypervolume(np.array(points), reference)
