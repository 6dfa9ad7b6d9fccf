"""The search for a crossing: on laws, with noise, on losses that know no order; and the bootstrap."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from robustradar_transition import sampled
from robustradar_transition.sampled import DRAWS, resampled
from robustradar_transition.search import Search, proposed, searched
from robustradar_transition.strength import CriticalStrength

Loss = Callable[[float], float]


def walked(
    loss: Loss, threshold: float, first: float, most: float = math.inf, resolution: float = 0.1, steps: int = 60
) -> dict[float, float]:
    """Strengths that the search looks at, in its order, until it ends or so many are looked at."""
    losses = {0.0: loss(0.0)}
    while len(losses) <= steps:
        eps = proposed(losses, threshold, first, most, resolution)
        if eps is None:
            break
        assert 0 < eps <= most and math.isfinite(eps)
        assert eps not in losses
        losses[eps] = loss(eps)
    return losses


def bracket(losses: dict[float, float], threshold: float) -> tuple[float, float]:
    """The last strength that is inside, and the one after it."""
    low = max(eps for eps, loss in losses.items() if loss <= threshold)
    return low, min((eps for eps in losses if eps > low), default=math.inf)


# Where to look next


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({0.0: 0.1}, 2.0),
        ({0.0: 0.1, 2.0: 0.3}, 2.2),  # the threshold itself is inside; one resolution further
        ({0.0: 0.1, 2.0: 0.125}, 6.0),  # the guess is 8, and the stride 3
        ({0.0: 0.1, 2.0: 0.05}, 6.0),  # a loss that falls says nothing
        ({0.0: 0.1, 1.0: 0.15, 2.0: 0.2}, 4 * 1.05),  # two strengths give the power, 1
        ({0.0: 0.1, 1.0: 0.1, 2.0: 0.2}, 2 ** (5 / 3) * 1.05),  # one does not, and it is 3/2
        ({0.0: 0.1, 2.0: 0.9}, 2 * 4 ** (-2 / 3)),
        ({0.0: 0.1, 2.0: 1.7}, 2 / 3),  # the guess is 1/2, and the stride 3
        ({0.0: 0.1, 2.0: 0.301}, 2 / 1.025),  # a quarter of a resolution away at least
        ({0.0: 0.1, 1.0: 0.2, 3.9: 0.49}, 2 / 1.05),  # in the middle of the bracket on a log scale, 1.97, the sides change
        ({0.0: 0.1, 1.0: 0.2, 4.1: 0.51}, 2 * 1.05),
        ({0.0: 0.1, 1.0: 0.299, 4.0: 3.0}, 1.05 * (200 / 199) ** (math.log(4) / math.log(2.9 / 0.199))),
        ({0.0: 0.1, 1.0: 0.29, 1.1: 0.31}, None),
        ({0.0: 0.1, 9.5: 0.2}, 10.0),
        ({0.0: 0.1, 10.0: 0.2}, None),
    ],
)
def test_proposals(losses: dict[float, float], expected: float | None) -> None:
    found = proposed(losses, 0.3, first=2.0, most=10.0, resolution=0.1)
    assert found == (None if expected is None else pytest.approx(expected, rel=5e-4))


LAWS = {
    "k": st.floats(0.7, 3),
    "a": st.sampled_from([0.0, 0.1, 1.0, 5.0]),
    "scale": st.floats(-3, 3).map(lambda t: 10**t),
    "crossing": st.floats(-3, 1).map(lambda t: 10**t),
}
SHORT, FAR = st.floats(-2, 0).map(lambda t: 10**t), st.floats(0, 1).map(lambda t: 10**t)


def test_proposals_have_four_digits_and_none_is_made_twice() -> None:
    assert proposed({0.0: 0.0}, 1.0, 0.123456, 1.0, 0.1) == 0.1235
    assert proposed({0.0: 0.0}, 1.0, 3.0, 0.123456, 0.1) == 0.123456
    assert proposed({0.0: 0.0, 1.0: 0.9, 1.001: 1.1}, 1.0, 1.0, 9.0, 1e-5) is None, "nothing lies between them"


def law(k: float, a: float, scale: float, crossing: float) -> tuple[Loss, float]:
    """A loss that rises by the scale up to the crossing, and the threshold there."""
    return (lambda eps: a + scale * (eps / crossing) ** k), a + scale


@given(**LAWS, off=SHORT)
@example(k=2.4, a=1.0, scale=1.0, crossing=1.0, off=0.011)
def test_a_crossing_is_bracketed_from_below_in_eight_steps(k: float, a: float, scale: float, crossing: float, off: float) -> None:
    loss, threshold = law(k, a, scale, crossing)
    losses = walked(loss, threshold, off * crossing)
    low, high = bracket(losses, threshold)
    assert low <= crossing * (1 + 1e-6) and crossing * (1 - 1e-6) <= high <= 1.1 * low
    assert len(losses) - 1 <= 8


@given(**LAWS, off=FAR)
@example(k=0.7, a=1.0, scale=1.0, crossing=1.0, off=9.073)
def test_and_from_above_in_ten(k: float, a: float, scale: float, crossing: float, off: float) -> None:
    loss, threshold = law(k, a, scale, crossing)
    losses = walked(loss, threshold, off * crossing)
    low, high = bracket(losses, threshold)
    assert low <= crossing * (1 + 1e-6) and crossing * (1 - 1e-6) <= high <= 1.1 * low
    assert len(losses) - 1 <= 10


def test_a_good_start_takes_four_steps_on_average() -> None:
    """First strengths between two thirds and one and a half of the crossing, as 1.5 times the bound is."""
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(2000):
        loss, threshold = law(rng.uniform(0.7, 3), 0.1, 1.0, 1.0)
        counts.append(len(walked(loss, threshold, 1.5 ** rng.uniform(-1, 1))) - 1)
    assert np.mean(counts) == pytest.approx(4, abs=0.1)
    shares = [float(np.mean(np.array(counts) <= steps)) for steps in (3, 5, 7)]
    assert shares == pytest.approx([0.35, 0.98, 1], abs=0.02)


@given(**LAWS, off=st.one_of(SHORT, FAR), noise=st.sampled_from([0.01, 0.05]), seed=st.integers(0, 2**32 - 1))
def test_noise_costs_some_steps(k: float, a: float, scale: float, crossing: float, off: float, noise: float, seed: int) -> None:
    exact, threshold = law(k, a, scale, crossing)
    rng = np.random.default_rng(seed)
    losses = walked(lambda eps: exact(eps) + (eps > 0) * noise * scale * rng.standard_normal(), threshold, off * crossing)
    low, high = bracket(losses, threshold)
    assert 0 < low < high <= 1.1 * low
    assert len(losses) - 1 <= 13
    # It ends where the noise has its say: four deviations over the slope from the crossing.
    assert abs(math.log(low / crossing)) < 0.1 + 6 * noise / k


@given(first=st.floats(1e-3, 20), most=st.floats(0.01, 10), resolution=st.floats(0.01, 20), losses=st.lists(st.floats(0, 2, width=32)))
def test_any_losses_are_looked_at_within_the_range_once_and_make_one_crossing(
    first: float, most: float, resolution: float, losses: list[float]
) -> None:
    coming, unbounded = iter([0.5, *losses]), iter([0.5, *losses])
    for found in (
        walked(lambda _: next(coming, 0.0), 1.0, first, most, resolution),
        walked(lambda _: next(unbounded, 3.0), 1.0, first, math.inf, resolution, steps=30),
    ):
        low, _ = bracket(found, 1.0)
        assert all(loss > 1 for eps, loss in found.items() if eps > low) and all(loss <= 1 for eps, loss in found.items() if eps <= low)


@given(st.floats(0.001, 50), st.floats(0.1, 10))
def test_the_largest_strength_is_looked_at_last(first: float, most: float) -> None:
    losses = walked(lambda _: 0.2, 1.0, first, most)
    assert list(losses)[-1] == most
    assert len(losses) - 1 <= 1 + math.ceil(math.log(max(most / first, 1), 3) + 1e-9)


def test_a_loss_that_falls_again_does_not_trap_it() -> None:
    """Of a bump between 1 and 2 it comes back out, and ends at the crossing at 5 or at the bump's start, whichever it meets."""

    def loss(eps: float) -> float:
        return 0.0 if eps == 0 else 2.0 if 1 < eps < 2 else eps / 5

    for first in (0.1, 0.9, 1.5, 1.9, 2.5, 4.0, 9.0):
        losses = walked(loss, 1.0, first)
        low, high = bracket(losses, 1.0)
        assert high <= 1.1 * low
        assert len(losses) - 1 <= 8
        assert low <= 1 < high or low <= 5 < high
        # What is known to be inside again is beyond every bump.
        assert low > 2 or not any(2 < eps <= 5 for eps in losses)


# The search as a whole


def samples(mean: float, n: int, spread: float, seed: int) -> "np.typing.NDArray[np.float64]":
    """Losses of exactly this mean and deviation."""
    draws = np.random.default_rng(seed).standard_normal(n)
    return mean + spread * (draws - draws.mean()) / draws.std()


def looked(loss: Loss, *, steps: int = 5, threshold: float = 1.0, n: int = 400, **changes: object) -> tuple[CriticalStrength, list[float]]:
    """The outcome for a loss whose samples have the deviation 0.5, those of the threshold 0.7; and the strengths that were looked at."""
    strengths: list[float] = []

    def look(eps: float) -> "np.typing.NDArray[np.float64]":
        strengths.append(eps)
        return samples(loss(eps), n, 0.5, 1)

    given = {"first": 1.0, "most": math.inf, "resolution": 0.1, "steps": steps, "fit": None, "seed": 0, **changes}
    slopes = given.pop("slopes", None)
    search = Search(**given)  # type: ignore[arg-type]
    found = searched(search, samples(loss(0.0), n, 0.5, 1), samples(threshold, 300, 0.7, 2), look, slopes)  # type: ignore[arg-type]
    return found, strengths


def test_it_looks_as_often_as_it_may_and_links_what_it_saw() -> None:
    found, strengths = looked(lambda eps: eps**2, threshold=2.0, steps=3)
    assert len(strengths) == 3
    assert [eps for eps, _ in found.points] == [0.0, *sorted(strengths)]
    assert [loss for _, loss in found.points] == pytest.approx([eps**2 for eps, _ in found.points])
    assert (found.status, found.fit, found.threshold) == ("measured", "isotonic", pytest.approx(2))
    assert found.value == pytest.approx(math.sqrt(2), rel=0.02)
    again, _ = looked(lambda eps: eps**2, threshold=2.0, steps=3)
    assert again == found
    other, _ = looked(lambda eps: eps**2, threshold=2.0, steps=3, seed=1)
    assert (other.value, other.low) == (found.value, pytest.approx(found.low, rel=0.1))
    assert other.low != found.low


def test_what_does_not_reach_the_threshold_is_extended_by_a_line() -> None:
    found, strengths = looked(lambda eps: eps / 1000, steps=2)
    assert strengths == [1.0, 3.0]
    assert (found.status, found.fit, found.value) == ("extrapolated", "line", pytest.approx(1000, rel=1e-6))
    censored, strengths = looked(lambda eps: eps / 1000, most=2.0, fit="isotonic")
    assert strengths == [1.0, 2.0]
    assert (censored.status, censored.value, censored.low, censored.high) == ("beyond-grid", None, 2.0, None)


def test_a_fit_that_crosses_beyond_the_range_is_beyond_the_grid() -> None:
    within, _ = looked(lambda eps: eps / 10, steps=1, first=4.0, most=12.0)
    beyond, _ = looked(lambda eps: eps / 10, steps=1, first=4.0, most=8.0)
    assert (within.value, within.status) == (pytest.approx(10), "extrapolated")
    assert (beyond.value, beyond.low, beyond.high, beyond.status) == (None, 4.0, None, "beyond-grid")


def test_nothing_is_trained_where_the_loss_is_above_the_threshold_already() -> None:
    slopes = samples(1.0, 400, 0.1, 3)
    for changes in ({}, {"fit": "line"}, {"fit": "spline"}, {"fit": "interpolate"}, {"fit": "hermite", "slopes": slopes}):
        found, strengths = looked(lambda eps: 2 + eps, **changes)  # type: ignore[arg-type]
        assert strengths == []
        assert (found.status, found.value, found.low) == ("below-zero", None, None)


def test_hermite_has_its_slope() -> None:
    found, strengths = looked(lambda eps: eps + eps**2, steps=1, fit="hermite", slopes=samples(1.0, 400, 0.1, 3), threshold=6.0)
    assert strengths == [1.0]
    assert found.coefficients == pytest.approx((0, 1, 1))
    assert (found.value, found.status) == (pytest.approx(2), "extrapolated")


def test_a_slope_that_is_steeper_than_the_rise_is_not_used() -> None:
    start, evaluation = samples(0.0, 50, 0.1, 0), samples(2.0, 60, 0.1, 1)
    search = Search(1.5, math.inf, 0.1, 1, "hermite", 0)
    found = searched(search, start, evaluation, lambda eps: start + eps, np.full(50, 1.1))
    assert (found.fit, found.status, found.coefficients) == ("line", "extrapolated", pytest.approx((0, 1), abs=1e-9))
    assert searched(search, start, evaluation, lambda eps: start + eps, np.full(50, 0.9)).fit == "hermite"


def test_the_interval_is_that_of_both_splits() -> None:
    """A line of slope 1 whose samples move together: the crossing has the variance of the threshold's mean and of the loss's."""
    found, _ = looked(lambda eps: eps, threshold=10.0, steps=12, resolution=3.0, first=8.0)
    assert max(eps for eps, _ in found.points) > 10.5
    deviation = math.sqrt(0.5**2 / 400 + 0.7**2 / 300)
    assert found.low is not None and found.high is not None
    assert [found.low, found.high] == pytest.approx([10 - 1.96 * deviation, 10 + 1.96 * deviation], abs=0.015)


def test_an_interval_that_reaches_beyond_the_last_strength_goes_on_along_the_chord() -> None:
    """The search ends just above the threshold; the chord of a line is the line, and of a convex rise it is flatter."""
    line, _ = looked(lambda eps: eps, threshold=10.0, steps=12, resolution=0.001, first=9.99)
    bent, _ = looked(lambda eps: eps**2 / 10, threshold=10.0, steps=12, resolution=0.001, first=9.99)
    deviation = math.sqrt(0.5**2 / 400 + 0.7**2 / 300)
    assert max(eps for eps, _ in line.points) < 10 + deviation
    assert line.high == pytest.approx(10 + 1.96 * deviation, abs=0.015)
    assert bent.high is not None and bent.high == pytest.approx(10 + 1.96 * deviation, abs=0.015)  # the curve's own is half as far


# Resampling


def test_resampled_means_have_the_mean_and_variance_of_means() -> None:
    x = samples(3.0, 200, 2.0, 0)
    drawn = resampled(np.stack([x, x**2], 1), np.random.default_rng(0))
    assert drawn.shape == (DRAWS, 2)
    assert drawn[:, 0].mean() == pytest.approx(3, abs=4 * 2 / math.sqrt(200 * DRAWS))
    assert drawn[:, 0].var() == pytest.approx(2**2 / 200, rel=4 * math.sqrt(2 / DRAWS))
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(np.corrcoef(x, x**2)[0, 1], abs=0.03)


def test_the_columns_of_a_draw_are_of_the_same_samples() -> None:
    x = np.random.default_rng(0).standard_normal(50)
    drawn = resampled(np.stack([x, 2 * x + 1, -x], 1), np.random.default_rng(1))
    np.testing.assert_allclose(drawn[:, 1], 2 * drawn[:, 0] + 1, atol=1e-12)
    np.testing.assert_allclose(drawn[:, 2], -drawn[:, 0], atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 70, 7 * 300, 7 * DRAWS])
def test_chunks_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = np.random.default_rng(0).standard_normal((7, 2))
    whole = resampled(columns, np.random.default_rng(5))
    monkeypatch.setattr(sampled, "_CHUNK", chunk)
    np.testing.assert_array_equal(resampled(columns, np.random.default_rng(5)), whole)
