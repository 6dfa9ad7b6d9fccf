"""critical_strength against exact arithmetic, libraries and [P]'s tables, then what may not change it, then what it refuses."""

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator
from sklearn.isotonic import IsotonicRegression

from robustradar_transition import CriticalStrength, Replicates, critical_strength
from robustradar_transition.strength import FitName

Points = list[tuple[float, float]]
FITS: tuple[FitName, ...] = get_args(FitName)
LINKED: tuple[FitName, ...] = ("interpolate", "isotonic", "spline")

# Sixteenths, so that ties with the threshold are common and sums exact.
LOSSES = st.lists(st.integers(0, 32).map(lambda k: k / 16), min_size=2, max_size=7)
STEPS = st.lists(st.integers(1, 12).map(lambda k: k / 4), min_size=7, max_size=7)
THRESHOLDS = st.integers(0, 36).map(lambda k: k / 16)
RISES = st.lists(st.floats(0.05, 2), min_size=7, max_size=7)


def spaced(losses: Sequence[float], steps: Sequence[float]) -> Points:
    return list(zip(np.concatenate([[0.0], np.cumsum(steps)])[: len(losses)].tolist(), losses, strict=True))


CURVES = st.builds(spaced, LOSSES, STEPS)
RISING = st.builds(
    lambda start, rises, steps, n: spaced([start, *(start + np.cumsum(rises)).tolist()][:n], steps),
    st.floats(0, 1),
    RISES,
    STEPS,
    st.integers(2, 7),
)


def supremum(points: Points, threshold: float) -> float:
    """The definition for straight links, in exact arithmetic: the largest strength of each link at or below the threshold."""
    T, found = Fraction(threshold), [-math.inf]
    for (a, left), (b, right) in zip(points, points[1:], strict=False):
        e, f, x, y = map(Fraction, (a, b, left, right))
        if y <= T:
            found.append(float(f))
        elif x <= T:
            found.append(float(e + (T - x) / (y - x) * (f - e)))
    return -math.inf if points[0][1] > threshold else math.inf if points[-1][1] <= threshold else max(found)


def extended(result: CriticalStrength) -> float:
    """The crossing with infinities where there is none."""
    return result.value if result.value is not None else -math.inf if result.status == "below-zero" else math.inf


# The paper's numbers

N10 = [(0, 0.0403), (1, 0.1586), (2, 0.2199), (8, 1.2186)]
N50 = [(0, 0.0761), (0.5, 0.1802), (1, 0.2148), (2, 0.3411), (4, 0.6082), (8, 1.1102)]
TUNED = [(0, 0.0403), (0.25, 0.0426), (0.5, 0.0829), (1, 0.2008)]


@pytest.mark.parametrize(
    ("points", "threshold", "fit", "value", "status"),
    [
        (N10, 0.441, "interpolate", 3.33, "measured"),
        (N10, 0.441, "isotonic", 3.33, "measured"),
        (N50, 0.1837, "interpolate", 0.55, "measured"),
        (N50[:3], 0.1837, "interpolate", 0.55, "measured"),
        (TUNED, 0.441, "line", 2.50, "extrapolated"),
        ([TUNED[0], TUNED[2]], 0.441, "line", 4.70, "extrapolated"),
    ],
)
def test_the_papers_strengths(points: Points, threshold: float, fit: FitName, value: float, status: str) -> None:
    """[P, tables 1, 2, 4 and B.2], in 1/255."""
    found = critical_strength(points, threshold, fit)
    assert (round(found.value or 0, 2), found.status) == (value, status)


@pytest.mark.parametrize("fit", ["interpolate", "isotonic", "spline", "line"])
def test_the_papers_losses_under_mart_have_no_strength(fit: FitName) -> None:
    """The clean network's training loss is above its evaluation loss already, though the paper gives 0.8."""
    found = critical_strength([(0, 0.4320), (1, 0.5989), (2, 0.8447)], 0.3411, fit)
    assert (found.value, found.low, found.high, found.status) == (None, None, 0.0, "below-zero")


# Oracles


@given(CURVES, THRESHOLDS)
def test_links_have_the_supremum_of_the_definition(points: Points, threshold: float) -> None:
    found = critical_strength(points, threshold)
    assert extended(found) == pytest.approx(supremum(points, threshold), rel=1e-14, abs=1e-14)
    inside = [loss <= threshold for _, loss in points]
    assert (found.status == "not-monotone") == (inside[0] and inside != sorted(inside, reverse=True))
    assert found.fitted == tuple(loss for _, loss in points)


@given(CURVES, THRESHOLDS)
def test_isotonic_is_the_link_of_the_library_s_regression(points: Points, threshold: float) -> None:
    eps, losses = zip(*points, strict=True)
    pooled = IsotonicRegression().fit_transform(eps, losses).tolist()
    found = critical_strength(points, threshold, "isotonic")
    assert found.fitted == pytest.approx(pooled, rel=1e-14)
    assert found.status != "not-monotone"
    assume(all(abs(loss - threshold) > 1e-9 for loss in pooled))
    expected = supremum(list(zip(eps, pooled, strict=True)), threshold) if losses[0] <= threshold else -math.inf
    assert extended(found) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(RISING, st.floats(0.01, 0.99))
def test_a_spline_s_crossing_is_its_root(points: Points, share: float) -> None:
    eps, losses = np.array(points).T
    threshold = float(losses[0] + share * (losses[-1] - losses[0]))
    (root,) = PchipInterpolator(eps, losses).solve(threshold, extrapolate=False)
    assert critical_strength(points, threshold, "spline").value == pytest.approx(root, rel=1e-9, abs=1e-9)


@given(CURVES, THRESHOLDS, st.floats(0, 1))
def test_a_line_is_that_of_least_squares(points: Points, threshold: float, first: float) -> None:
    moved = [(eps + first, loss) for eps, loss in points]
    slope, intercept = np.polyfit(*np.array(moved).T, 1)
    assume(abs(slope) > 1e-6 and abs(intercept - threshold) > 1e-6)
    found = critical_strength(moved, threshold, "line")
    assert found.coefficients == pytest.approx((intercept, slope), rel=1e-6, abs=1e-9)
    assert found.fitted == pytest.approx([intercept + slope * eps for eps, _ in moved], rel=1e-6, abs=1e-9)
    if intercept > threshold or (first == 0 and points[0][1] > threshold):
        assert found.status == "below-zero"
    elif slope < 0:
        assert (found.status, found.value) == ("not-monotone", None)
    else:
        assert found.value == pytest.approx((threshold - intercept) / slope, rel=1e-6, abs=1e-9)
        within = moved[0][0] <= (found.value or 0) <= moved[-1][0]
        assert found.status == ("measured" if within else "extrapolated")


@given(st.floats(0, 1), st.floats(0, 2), st.floats(-0.5, 2), st.floats(0.1, 3), st.floats(0, 6))
def test_a_parabola_is_found_from_its_slope_and_one_point(R: float, slope: float, half: float, eps: float, at: float) -> None:
    def loss(e: float) -> float:
        return R + slope * e + half * e**2

    turn = -slope / (2 * half) if half < 0 else math.inf
    assume(abs(at - eps) > 1e-6 and turn > max(eps, at) + 1e-3 and loss(eps) - R + loss(at) - R > 1e-3)
    found = critical_strength([(0, R), (eps, loss(eps))], loss(at), "hermite", slope)
    # Where the parabola is nearly level, rounding of the threshold moves the crossing by its square root.
    assert loss(found.value or 0) == pytest.approx(loss(at), rel=1e-9)
    assert found.value == pytest.approx(at, rel=1e-4, abs=1e-4)
    assert found.status == ("measured" if at < eps else "extrapolated")
    assert found.coefficients == pytest.approx((R, slope, half), rel=1e-9, abs=1e-9)


def test_a_parabola_that_falls_short_has_a_lower_bound() -> None:
    """0.2 + ε − ε²/4 rises to 1.2 at ε = 2."""
    assert critical_strength([(0, 0.2), (1, 0.95)], 1.1875, "hermite", 1.0).value == pytest.approx(1.776, abs=1e-3)
    short = critical_strength([(0, 0.2), (1, 0.95)], 1.21, "hermite", 1.0)
    assert (short.value, short.low, short.high, short.status) == (None, 1.0, None, "beyond-grid")
    fallen = critical_strength([(0, 0.2), (3, 0.95)], 1.21, "hermite", 1.0)
    assert (fallen.value, fallen.low, fallen.high, fallen.status) == (None, 3.0, None, "not-monotone")
    # The same parabola has passed 0.96 on its way up, but is below it at the last point.
    assert critical_strength([(0, 0.2), (3, 0.95)], 0.96, "hermite", 1.0).status == "not-monotone"
    assert critical_strength([(0, 0.2), (3, 0.95)], 0.9, "hermite", 1.0).value == pytest.approx(2 - math.sqrt(1.2))


# Statuses


@pytest.mark.parametrize("fit", LINKED)
def test_a_loss_that_stays_below_has_a_lower_bound(fit: FitName) -> None:
    found = critical_strength([(0, 0.1), (1, 0.2), (3, 0.4)], 0.4, fit)
    assert (found.value, found.low, found.high, found.status) == (None, 3.0, None, "beyond-grid")


@pytest.mark.parametrize("fit", LINKED)
def test_a_threshold_at_the_first_loss_is_strength_zero(fit: FitName) -> None:
    found = critical_strength([(0, 0.1), (1, 0.2), (3, 0.4)], 0.1, fit)
    assert (found.value, found.low, found.high, found.status) == (pytest.approx(0, abs=1e-15), None, None, "measured")


def test_noise_that_crosses_twice_is_named_and_the_last_crossing_is_given() -> None:
    points = [(0.0, 0.1), (1.0, 0.5), (2.0, 0.3), (3.0, 0.5)]
    found = critical_strength(points, 0.4)
    assert (found.value, found.status) == (pytest.approx(2.5), "not-monotone")
    assert critical_strength(points, 0.4, "spline").status == "not-monotone"
    pooled = critical_strength(points, 0.45, "isotonic")
    assert (pooled.value, pooled.status, pooled.fitted) == (pytest.approx(2.5), "measured", pytest.approx((0.1, 0.4, 0.4, 0.5)))
    # Below the threshold at the end, above it before: the last crossing is not on the grid.
    ended = critical_strength(points[:3], 0.4)
    assert (ended.value, ended.low, ended.high, ended.status) == (None, 2.0, None, "not-monotone")
    # Noise away from the threshold does no harm.
    assert critical_strength([*points, (4.0, 0.9)], 0.7).status == "measured"


def test_a_line_that_does_not_rise_is_no_strength() -> None:
    for points in ([(0, 0.2), (1, 0.1)], [(0, 0.2), (1, 0.2)]):
        found = critical_strength(points, 0.3, "line")
        assert (found.value, found.low, found.high, found.status) == (None, 1.0, None, "not-monotone")


def test_the_clean_network_s_own_loss_decides_what_is_below_zero() -> None:
    """The line through convex losses starts below them."""
    convex = [(0.0, 0.2), (1.0, 0.2), (2.0, 0.8)]
    assert critical_strength(convex, 0.15, "line").status == "below-zero"
    assert critical_strength(convex, 0.21, "line").status == "measured"


def test_a_line_without_a_point_at_zero_says_on_which_side_it_went() -> None:
    points = [(1.0, 0.2), (2.0, 0.3)]
    statuses = [critical_strength(points, threshold, "line").status for threshold in (0.05, 0.15, 0.25, 0.35)]
    assert statuses == ["below-zero", "extrapolated", "measured", "extrapolated"]


def test_a_result_says_how_it_came_about() -> None:
    assert critical_strength([(0, 0), (1, 0.5)], 1, "line") == CriticalStrength(
        value=2.0,
        low=None,
        high=None,
        status="extrapolated",
        fit="line",
        threshold=1.0,
        points=((0.0, 0.0), (1.0, 0.5)),
        fitted=(0.0, 0.5),
        coefficients=(0.0, 0.5),
    )


# Properties


@given(RISING, st.floats(0.01, 0.99), st.sampled_from([0.01, 8 / 255, 3.0, 255.0]), st.sampled_from([0.1, 2.5]), st.floats(-1, 1))
def test_units_do_not_matter(points: Points, share: float, unit: float, scale: float, shift: float) -> None:
    threshold = points[0][1] + share * (points[-1][1] - points[0][1])
    changed = [(eps * unit, loss * scale + shift) for eps, loss in points]
    for fit in FITS:
        n, slope = (2, 0.1) if fit == "hermite" else (7, None)
        found = critical_strength(points[:n], threshold, fit, slope)
        again = critical_strength(changed[:n], threshold * scale + shift, fit, None if slope is None else slope * scale / unit)
        assert extended(again) == pytest.approx(extended(found) * unit, rel=1e-6, abs=1e-9)


@given(CURVES, THRESHOLDS, THRESHOLDS)
def test_a_higher_threshold_is_never_reached_earlier(points: Points, one: float, other: float) -> None:
    for fit in FITS:
        n, slope = (2, 0.25) if fit == "hermite" else (7, None)
        low, high = (extended(critical_strength(points[:n], threshold, fit, slope)) for threshold in sorted((one, other)))
        assert low <= high + 1e-12


@given(RISING, st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(0, 5))
def test_a_point_on_the_link_changes_nothing(points: Points, share: float, between: float, k: int) -> None:
    k = min(k, len(points) - 2)
    threshold = points[0][1] + share * (points[-1][1] - points[0][1])
    (a, x), (b, y) = points[k], points[k + 1]
    more = [*points[: k + 1], (a + between * (b - a), x + between * (y - x)), *points[k + 1 :]]
    for fit in ("interpolate", "isotonic"):
        assert critical_strength(more, threshold, fit).value == pytest.approx(critical_strength(points, threshold, fit).value, rel=1e-9)
    line = critical_strength(points, threshold, "line")
    middle = a + between * (b - a)
    added = sorted([*points, (middle, line.coefficients[0] + line.coefficients[1] * middle)])
    assume(abs(line.coefficients[0] - threshold) > 1e-9)
    assert extended(critical_strength(added, threshold, "line")) == pytest.approx(extended(line), rel=1e-9, abs=1e-9)


@given(RISING, THRESHOLDS)
def test_isotonic_of_what_rises_is_the_link(points: Points, threshold: float) -> None:
    straight, pooled = critical_strength(points, threshold), critical_strength(points, threshold, "isotonic")
    assert dataclasses.replace(pooled, fit="interpolate") == straight


@given(STEPS, st.integers(2, 7), st.floats(0, 1), st.floats(0.01, 3), st.floats(0.01, 0.99))
def test_all_fits_agree_on_a_straight_line(steps: list[float], n: int, start: float, slope: float, share: float) -> None:
    points = [(eps, start + slope * eps) for eps, _ in spaced([0.0] * n, steps)]
    at = share * points[-1][0]
    for fit in FITS:
        shown, given_slope = ([points[0], points[-1]], slope) if fit == "hermite" else (points, None)
        found = critical_strength(shown, start + slope * at, fit, given_slope)
        assert found.value == pytest.approx(at, rel=1e-7, abs=1e-9)
        assert found.status == "measured"
    beyond = start + slope * 2 * points[-1][0]
    assert critical_strength(points, beyond, "line").value == pytest.approx(2 * points[-1][0])
    assert critical_strength([points[0], points[-1]], beyond, "hermite", slope).value == pytest.approx(2 * points[-1][0])


# Replicates


@pytest.mark.parametrize("fit", FITS)
def test_draws_are_what_they_would_be_one_by_one(fit: FitName) -> None:
    rng = np.random.default_rng(0)
    P = 2 if fit == "hermite" else 5
    eps = np.arange(P) / 2
    losses = 0.1 + 0.2 * eps + 0.1 * rng.standard_normal((101, P))
    thresholds = 0.2 + 0.05 * rng.standard_normal(101)
    slopes = rng.random(101) if fit == "hermite" else None
    points = list(zip(eps.tolist(), (0.1 + 0.2 * eps).tolist(), strict=True))
    found = critical_strength(points, 0.2, fit, None if slopes is None else 0.2, Replicates(losses, thresholds, slopes), level=0.3)
    each = []
    for b in range(101):
        drawn = list(zip(eps.tolist(), losses[b].tolist(), strict=True))
        each.append(extended(critical_strength(drawn, float(thresholds[b]), fit, None if slopes is None else float(slopes[b]))))
    low, high = sorted(each)[35], sorted(each)[65]
    assert (-math.inf < low, high < math.inf) == (True, True)
    assert (found.low, found.high) == (low, high)


def shifted(below: int, beyond: int, value: float = 1.0) -> Replicates:
    """100 draws with crossings at the given value, below 0 and beyond 2, of losses ε."""
    thresholds = np.full(100, value)
    thresholds[:below] = -1.0
    thresholds[100 - beyond :] = 5.0
    return Replicates(np.tile([0.0, 1.0, 2.0], (100, 1)), thresholds)


@pytest.mark.parametrize(
    ("below", "beyond", "low", "high"),
    [
        (0, 0, 1.0, 1.0),
        (2, 2, 1.0, 1.0),  # no more than a tail's 2.5 %
        (3, 0, None, 1.0),
        (0, 3, 1.0, None),
        (3, 3, None, None),
        (98, 2, None, 0.0),  # all but a tail below 0
        (2, 98, 2.0, None),  # all but a tail beyond the last strength
    ],
)
def test_draws_without_a_crossing_open_an_end(below: int, beyond: int, low: float | None, high: float | None) -> None:
    points = [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]
    found = critical_strength(points, 1.0, replicates=shifted(below, beyond))
    assert (found.value, found.low, found.high, found.status) == (1.0, low, high, "measured")


def test_a_strength_out_of_sight_may_have_draws_in_sight() -> None:
    points = [(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]
    beyond = critical_strength(points, 2.5, replicates=shifted(0, 60, 1.75))
    assert (beyond.value, beyond.low, beyond.high, beyond.status) == (None, 1.75, None, "beyond-grid")
    below = critical_strength(points, -0.5, replicates=shifted(60, 0, 0.25))
    assert (below.value, below.low, below.high, below.status) == (None, None, 0.25, "below-zero")


@pytest.mark.parametrize("fit", ["interpolate", "line"])
def test_the_interval_covers_the_truth(fit: FitName) -> None:
    """Losses 0.1 + 0.3·ε of 200 samples with noise that all strengths share in part; a strength of 1.2, at 95 %."""
    rng, eps, hits, trials = np.random.default_rng(1), np.array([0.0, 1.0, 2.0]), 0, 200
    for _ in range(trials):
        samples = 0.1 + 0.3 * eps + 0.3 * rng.standard_normal((200, 1)) + 0.2 * rng.standard_normal((200, 3))
        clean = 0.46 + 0.3 * rng.standard_normal(200)
        counts = rng.multinomial(200, np.full(200, 1 / 200), size=400) / 200
        others = rng.multinomial(200, np.full(200, 1 / 200), size=400) / 200
        points = list(zip(eps.tolist(), samples.mean(0).tolist(), strict=True))
        found = critical_strength(points, float(clean.mean()), fit, replicates=Replicates(counts @ samples, others @ clean))
        hits += (found.low is None or found.low <= 1.2) and (found.high is None or found.high >= 1.2)
    # Three standard errors of a share of 0.95.
    assert abs(hits / trials - 0.95) < 3 * math.sqrt(0.95 * 0.05 / trials)
