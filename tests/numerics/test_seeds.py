"""Intervals over few seeds hold the truth as often as they say; SciPy and simulations are the oracles."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import t

from robustradar.numerics.seeds import components, seed_interval, student


def test_without_samples_the_interval_is_scipy_s_and_one_seed_has_none() -> None:
    values = np.array([0.71, 0.74, 0.69, 0.70])
    expected = t.interval(0.9, 3, values.mean(), values.std(ddof=1) / 2)
    assert seed_interval(values, level=0.9) == pytest.approx(expected)
    assert seed_interval(values[:1]) is None
    assert seed_interval(values[:1], np.ones((1, 9))) is None


def test_components_are_those_of_an_analysis_of_variance() -> None:
    """On average over draws: variance of seeds over S, and of samples over n; what both do together is in the former, once."""
    rng, S, n = np.random.default_rng(0), 4, 30
    found = []
    for _ in range(4000):
        values = rng.normal(0, 0.3, (S, 1)) + rng.normal(0, 2, (1, n)) + rng.normal(0, 1, (S, n))
        found.append([part for part, _ in components(values.mean(axis=1)[None], [values])])
    seeds, samples = np.mean(found, axis=0)
    assert seeds == pytest.approx(0.3**2 / S + 1 / (S * n), rel=0.05)
    assert samples == pytest.approx(2**2 / n, rel=0.05)


def test_components_of_two_runs_are_of_their_difference_and_pool_the_spread() -> None:
    values = np.array([[[1.0, 2.0], [3.0, 6.0]], [[0.0, 5.0], [1.0, 2.0]]])
    (seeds, freedom), (samples, others) = components(values.mean(axis=2), list(values))
    assert (seeds, freedom) == (2 * (4.5 + 0.5) / 2 / 2, 2)
    by_seeds = (((2 + 8) / 2) + ((0.5 + 4.5) / 2)) / 2
    assert (samples, others) == (max(0.0, np.var([-1.5, -0.5], ddof=1) - by_seeds) / 2, 1)


def coverage(S: int, n: int, spread: float, hard: bool) -> float:
    """How often the interval of an accuracy of 1 / 2 holds it; networks' accuracies spread, samples are of equal or uneven difficulty."""
    rng, hits = np.random.default_rng([S, n]), []
    for _ in range(400):
        ease = rng.beta(1.4, 1.4, n) if hard else np.full(n, 0.5)
        right = rng.random((S, n)) < np.clip(ease + rng.normal(0, spread, (S, 1)), 0, 1)
        low, high = seed_interval(right.mean(axis=1), right) or (1.0, 0.0)
        hits.append(low <= 0.5 <= high)
    return float(np.mean(hits))


@pytest.mark.parametrize("S", [2, 3, 5, 10])
@pytest.mark.parametrize(("n", "spread", "hard"), [(64, 0.0, False), (1000, 0.01, True), (4000, 0.03, True)])
def test_the_interval_holds_the_truth_as_often_as_it_says(S: int, n: int, spread: float, hard: bool) -> None:
    assert coverage(S, n, spread, hard) >= 0.945


@pytest.mark.parametrize("S", [2, 3, 5, 10])
def test_where_all_chance_is_the_seeds_the_coverage_is_just_that(S: int) -> None:
    rng = np.random.default_rng(S)
    hits = []
    for _ in range(3000):
        values = rng.normal(0, 1, S)
        low, high = seed_interval(values, values[:, None] + rng.normal(0, 1e-3, 9)) or (1.0, 0.0)
        hits.append(low <= 0 <= high)
    assert np.mean(hits) == pytest.approx(0.95, abs=0.012)


def test_seeds_that_agree_by_chance_are_no_certainty() -> None:
    """Two networks as often right, each where the other is wrong in half of the cases: what is left is the chance of the samples."""
    right = np.array([[1, 1, 0, 0], [1, 0, 1, 0]] * 1, dtype=bool).repeat(25, axis=1)
    low, high = seed_interval(right.mean(axis=1), right) or (0.0, 0.0)
    alone = right.mean(axis=0).std(ddof=1) / 10
    assert (high - low) / 2 == pytest.approx(student(0.5, [(alone**2, 99)])[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: seed_interval(np.array([1.0, np.nan])),
            "seed_interval: got shape (2,) of float64, expected finite numbers, one a seed. Drop failed cells first.",
        ),
        (
            lambda: seed_interval(np.ones(2), level=95),
            "seed_interval: got level = 95, expected 0 < level < 1. Give the coverage, such as 0.95.",
        ),
    ],
)
def test_refusals_say_what_was_got_and_what_to_do(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message
