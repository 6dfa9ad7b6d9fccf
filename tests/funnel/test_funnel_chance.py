"""The best is kept as often as stated, whatever the stages' errors have to do with each other, and what comes of a wrong assumption."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from robustradar.funnel import firsts

Draw = Callable[[np.random.Generator, int, int], tuple[np.ndarray, np.ndarray, np.ndarray]]
CHEAP, DEAR = 0.65, 0.84
DRAWS, N = 6000, 64


def noisy(truth: np.ndarray, tau: float, noise: np.ndarray) -> np.ndarray:
    rho = math.sin(math.pi * tau / 2)
    return rho * truth + math.sqrt(1 - rho * rho) * noise


def apart(rng: np.random.Generator, m: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors of their own."""
    truth = rng.standard_normal((m, n))
    return truth, noisy(truth, CHEAP, rng.standard_normal((m, n))), noisy(truth, DEAR, rng.standard_normal((m, n)))


def same(rng: np.random.Generator, m: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One error for both stages."""
    truth, noise = rng.standard_normal((m, n)), rng.standard_normal((m, n))
    return truth, noisy(truth, CHEAP, noise), noisy(truth, DEAR, noise)


def opposite(rng: np.random.Generator, m: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What one stage takes for better, the other takes for worse."""
    truth, noise = rng.standard_normal((m, n)), rng.standard_normal((m, n))
    return truth, noisy(truth, CHEAP, noise), noisy(truth, DEAR, -noise)


def optimistic(rng: np.random.Generator, m: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Both taus stated too high by .1."""
    truth = rng.standard_normal((m, n))
    return truth, noisy(truth, CHEAP - 0.1, rng.standard_normal((m, n))), noisy(truth, DEAR - 0.1, rng.standard_normal((m, n)))


def heavy(rng: np.random.Generator, m: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Student's copula with three degrees of freedom: extremes come together."""
    truth, cheap, dear = apart(rng, m, n)
    scale = np.sqrt(3 / rng.chisquare(3, (m, n)))
    return truth * scale, cheap * scale, dear * scale


def blunt(rng: np.random.Generator, m: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The overall tau is right, but scores tell good candidates apart less well than bad ones: twice the noise in the upper half."""
    truth = rng.standard_normal((m, n))
    spread = np.where(truth > 0, 2.0, 0.8)
    # With this much noise the taus are those that are stated.
    return truth, truth + 0.42 * spread * rng.standard_normal((m, n)), truth + 0.17 * spread * rng.standard_normal((m, n))


def best_kept(draw: Draw, keep_best: float = 0.95) -> float:
    """How often the best is among those who are left after two cuts."""
    truth, cheap, dear = draw(np.random.default_rng(0), DRAWS, N)
    (first, _), (second, _) = firsts(N, (CHEAP, DEAR), keep_best)
    rows = np.arange(DRAWS)
    left = (-cheap).argsort(1).argsort(1) < first
    later = np.where(left, dear, -np.inf)
    left &= (-later).argsort(1).argsort(1) < second
    return float(left[rows, truth.argmax(1)].mean())


@pytest.mark.parametrize("draw", [apart, same, opposite], ids=lambda draw: draw.__name__)
@pytest.mark.parametrize("keep_best", [0.8, 0.95])
def test_the_best_is_kept_as_often_as_stated(draw: Draw, keep_best: float) -> None:
    assert best_kept(draw, keep_best) >= keep_best - 3 * math.sqrt(keep_best * (1 - keep_best) / DRAWS)


@pytest.mark.parametrize(
    ("draw", "least"), [(optimistic, 0.87), (heavy, 0.93), (blunt, 0.9)], ids=lambda value: getattr(value, "__name__", "")
)
def test_where_the_assumption_does_not_hold_it_is_kept_less_often(draw: Draw, least: float) -> None:
    assert best_kept(draw) >= least


def test_one_candidate_is_always_kept() -> None:
    assert firsts(1, (0.5, 0.1), 0.95) == ((1, 1.0), (1, 1.0))
