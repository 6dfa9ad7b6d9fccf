"""How many to keep: exact cases, the simulation, and that more of anything never means less."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustradar.numerics.selection import kept, kept_chance


def places_of_the_best(n: int, tau: float, draws: int, seed: int) -> np.ndarray:
    """Where the best by truth stands by score, from 0."""
    rng = np.random.default_rng(seed)
    rho = math.sin(math.pi * tau / 2)
    truth = rng.standard_normal((draws, n))
    score = rho * truth + math.sqrt(1 - rho * rho) * rng.standard_normal((draws, n))
    best = truth.argmax(1)
    return (score > score[np.arange(draws), best][:, None]).sum(1)


@pytest.mark.parametrize("tau", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_of_two_the_first_is_the_better_as_often_as_they_are_concordant(tau: float) -> None:
    assert kept_chance(1, 2, tau) == pytest.approx((1 + tau) / 2, abs=1e-5)


@pytest.mark.parametrize(("n", "tau"), [(4, 0.3), (64, 0.65), (64, 0.85), (200, 0.05), (1000, 0.8), (64, 0.97)])
def test_the_quadrature_is_the_simulation(n: int, tau: float) -> None:
    draws = 2_000_000 // n
    places = places_of_the_best(n, tau, draws, 1)
    for k in {1, 2, max(1, n // 10), n // 2}:
        chance = kept_chance(k, n, tau)
        assert (places < k).mean() == pytest.approx(chance, abs=4 * math.sqrt(max(chance * (1 - chance), 1e-5) / draws))


def test_without_a_relation_it_takes_the_share_that_is_asked_for() -> None:
    assert [kept(n, 0.0, 0.95) for n in (1, 10, 20, 64, 100)] == [1, 10, 19, 61, 95]
    assert kept(100, 0.0, 0.07) == 7
    assert kept(64, 1e-6, 0.95) == 61


def test_with_a_perfect_score_one_is_enough_and_certainty_takes_all() -> None:
    assert [kept(n, 1.0, 0.999) for n in (1, 2, 64)] == [1, 1, 1]
    assert [kept(n, 0.9, 1.0) for n in (1, 2, 64)] == [1, 2, 64]
    assert kept(1, 0.3, 0.99) == 1


SIZE, TAU, CHANCE = st.integers(1, 300), st.floats(0, 1), st.floats(0.01, 0.999)


@settings(max_examples=40)
@given(SIZE, TAU, CHANCE)
def test_it_is_the_fewest_that_do(n: int, tau: float, probability: float) -> None:
    k = kept(n, tau, probability)
    assert 1 <= k <= n
    assert kept_chance(k, n, tau) >= probability - 1e-9
    if k > 1:
        assert kept_chance(k - 1, n, tau) < probability


@settings(max_examples=30)
@given(SIZE, TAU, CHANCE, st.integers(0, 100), st.floats(0, 1), st.floats(0, 0.9))
def test_more_candidates_less_tau_and_more_certainty_never_keep_fewer(
    n: int, tau: float, probability: float, more: int, share: float, up: float
) -> None:
    k = kept(n, tau, probability)
    assert kept(n + more, tau, probability) >= k
    assert kept(n, tau * share, probability) >= k
    assert kept(n, tau, probability + up * (1 - probability)) >= k


def test_whatever_stands_for_the_normals_tau_is_what_was_given() -> None:
    from robustradar.numerics.agreement import kendall

    rng = np.random.default_rng(0)
    rho = math.sin(math.pi * 0.65 / 2)
    truth = rng.standard_normal(4000)
    score = rho * truth + math.sqrt(1 - rho * rho) * rng.standard_normal(4000)
    assert kendall(np.exp(score), truth**3) == pytest.approx(0.65, abs=0.02)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kept(0, 0.5, 0.9), "selection: got n = 0, expected at least 1. Count the candidates."),
        (lambda: kept(3, -0.1, 0.9), "selection: got tau = -0.1, expected 0 <= tau <= 1. Turn a score that ranks the wrong way round."),
        (lambda: kept(3, 0.5, 0.0), "kept: got probability = 0.0, expected 0 < probability <= 1. Give such as 0.95."),
        (lambda: kept_chance(0, 3, 0.5), "kept_chance: got k = 0, expected at least 1. Keep one."),
    ],
)
def test_what_makes_no_sense_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError) as error:
        call()  # type: ignore[operator]
    assert str(error.value) == message
