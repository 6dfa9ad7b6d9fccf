"""Oracles and properties of intervals, correlations and ranks: published numbers, SciPy, small simulations."""

import itertools
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, kendalltau, kstest, rankdata

from robustradar.numerics import resampling
from robustradar.numerics.agreement import (
    bootstrap_mean,
    competition_ranks,
    kendall,
    kendall_interval,
    rank_intervals,
    rank_mean,
    wilson,
)


def test_module_needs_no_torch() -> None:
    code = "import sys, robustradar.numerics.agreement; assert 'torch' not in sys.modules and 'scipy.stats' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# proportions and means


@pytest.mark.parametrize(("successes", "n", "expected"), [(0, 10, (0, 0.2775)), (50, 100, (0.4038, 0.5962)), (81, 263, (0.2553, 0.3662))])
def test_wilson_agrees_with_published_numbers(successes: int, n: int, expected: tuple[float, float]) -> None:
    assert wilson(successes, n) == pytest.approx(expected, abs=1e-4)  # the last from Newcombe 1998, table I


@given(st.integers(1, 100_000), st.floats(0, 1), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
@settings(max_examples=60)
def test_wilson_agrees_with_scipy_and_holds_the_proportion(n: int, rate: float, level: float) -> None:
    successes = round(rate * n)
    low, high = wilson(successes, n, level)
    expected = binomtest(successes, n).proportion_ci(level, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= successes / n <= high <= 1


@pytest.mark.parametrize("kind", ["accuracy", "loss"])
def test_bootstrap_mean_covers_the_truth(kind: str) -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(300):
        values = rng.random((1, 100)) < 0.7 if kind == "accuracy" else rng.gamma(4.0, 0.175, (1, 100))
        low, high = bootstrap_mean(values, draws=400, seed=trial)
        hits += low <= 0.7 <= high
    assert 0.90 <= hits / 300 <= 0.98


@pytest.mark.parametrize(("S", "widest"), [(2, 0.99), (3, 0.99), (12, 0.98)])
def test_bootstrap_mean_covers_the_truth_over_samples_and_seeds(S: int, widest: float) -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        values = rng.normal(0, 1, (S, 1)) + rng.normal(0, 2, (1, 40)) + rng.normal(0, 1, (S, 40))
        low, high = bootstrap_mean(values, draws=300, seed=trial)
        hits += low <= 0 <= high
    assert 0.92 <= hits / 200 <= widest


def test_bootstrap_mean_resamples_one_axis_where_the_other_is_single() -> None:
    values = np.random.default_rng(2).normal(size=(30, 50))
    over_samples, over_seeds = values.mean(0, keepdims=True), values.mean(1, keepdims=True)
    width = np.ptp(bootstrap_mean(over_samples, draws=4000, seed=0))
    assert width == pytest.approx(2 * 1.96 * over_samples.std() / np.sqrt(50), rel=0.06)
    width = np.ptp(bootstrap_mean(over_seeds, draws=4000, seed=0))
    assert width == pytest.approx(2 * 1.96 * over_seeds.std() / np.sqrt(30), rel=0.06)
    # Copies of one seed add nothing: only samples vary, and all seeds see the same ones.
    assert bootstrap_mean(np.repeat(values[:1], 7, axis=0), seed=3) == pytest.approx(bootstrap_mean(values[:1], seed=3))


def test_equal_seeds_give_equal_intervals_whatever_the_block_and_the_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).random((5, 2, 60)) < np.linspace(0.3, 0.6, 5)[:, None, None]
    flags, columns = [True, False], [values, 1.0 * values[:, :1, :20]]
    means = bootstrap_mean(values[0], draws=70, seed=1)
    ranks = rank_intervals(columns, flags, draws=70, seed=1)
    monkeypatch.setattr(resampling, "_BLOCK", 200)
    assert bootstrap_mean(values[0].astype(float), draws=70, seed=1) == means
    np.testing.assert_array_equal(rank_intervals([columns[0].astype(np.uint8), columns[1]], flags, draws=70, seed=1), ranks)
    assert bootstrap_mean(values[0], draws=70, seed=2) != means


# correlation


def test_kendall_by_hand_and_with_ties() -> None:
    assert kendall(np.array([1, 2, 3, 4]), np.array([1, 2, 4, 3])) == pytest.approx(4 / 6)
    assert kendall(np.array([1, 2, 3]), np.array([3, 2, 1])) == pytest.approx(-1)
    assert kendall(np.array([1, 1, 2]), np.array([1, 2, 3])) == pytest.approx(2 / np.sqrt(2 * 3))
    assert np.isnan(kendall(np.array([1, 1, 1]), np.array([1, 2, 3])))


def test_kendall_interval_covers_the_truth() -> None:
    """For bivariate normal scores of correlation rho, tau = 2 / pi * arcsin(rho)."""
    rng = np.random.default_rng(4)
    truth = 2 / np.pi * np.arcsin(0.6)
    hits = 0
    for trial in range(40):
        a = rng.normal(size=50)
        interval = kendall_interval(a, 0.6 * a + 0.8 * rng.normal(size=50), draws=100, seed=trial)
        assert interval is not None
        hits += interval[0] <= truth <= interval[1]
    assert hits >= 34


def test_kendall_interval_is_reproducible_and_undefined_without_an_order() -> None:
    a, b = np.random.default_rng(5).random((2, 20))
    interval = kendall_interval(a, b, draws=100, seed=0)
    assert interval == kendall_interval(a, b, draws=100, seed=0)
    assert interval is not None and interval[0] < kendalltau(a, b).statistic < interval[1]
    assert kendall_interval(a, np.ones(20), seed=0) is None


# ranks


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.booleans())
@settings(max_examples=60)
def test_ranks_agree_with_scipy(score: list[int], higher: bool) -> None:
    signed = -np.array(score) if higher else np.array(score)
    np.testing.assert_array_equal(competition_ranks(np.array(score), higher=higher), rankdata(signed, method="min"))
    np.testing.assert_allclose(rank_mean(np.array(score)[:, None], [higher]), rankdata(signed, method="average"))


def test_competition_ranks_share_the_smallest_and_ignore_float_noise() -> None:
    assert competition_ranks(np.array([0.3, 0.1 + 0.2, 0.9, 0.1]), higher=True).tolist() == [2, 2, 1, 4]
    assert competition_ranks(np.array([1e-300, 0.0, 1e300, np.inf, np.inf, -np.inf]), higher=False).tolist() == [3, 2, 4, 5, 5, 1]
    assert competition_ranks(np.array([1.0, 1.0 + 1e-9]), higher=False).tolist() == [1, 2]
    assert competition_ranks(np.array([-np.inf, np.inf]), higher=True).tolist() == [2, 1]


def test_rank_mean_averages_over_columns_in_their_directions() -> None:
    columns = np.array([[0.9, 3.0], [0.8, 1.0], [0.8, 2.0]])
    np.testing.assert_allclose(rank_mean(columns, [True, False]), [2.0, 1.75, 2.25])


def zoo(C: int, n: int, seed: int, S: int = 1) -> np.ndarray:
    """Correctness of C candidates of evenly spread accuracy on n samples, with samples of shared difficulty."""
    rng = np.random.default_rng(seed)
    skill = np.linspace(0.4, 0.8, C)[:, None, None] + rng.normal(0, 0.01, (C, S, 1))
    return skill + rng.normal(0, 0.3, n) + rng.normal(0, 0.2, (C, S, n)) > 0.5


@given(st.integers(1, 6), st.integers(1, 3), st.sampled_from([1, 2, 15]), st.integers(0, 10**6), st.booleans())
@settings(max_examples=50)
def test_rank_intervals_hold_the_point_rank(C: int, S: int, n: int, seed: int, higher: bool) -> None:
    columns = [zoo(C, n, seed, S), np.random.default_rng(seed).normal(size=(C, S, 1))]
    low, high = rank_intervals(columns, [higher, True], level=0.5, draws=30, seed=seed)
    means = np.stack([column.mean((1, 2)) for column in columns], axis=1)
    point = competition_ranks(rank_mean(means, [higher, True]), higher=False)
    assert ((1 <= low) & (low <= point) & (point <= high) & (high <= C)).all()
    assert low.dtype.kind == high.dtype.kind == "i"


@pytest.mark.parametrize("kind", [bool, float])
def test_rank_intervals_tie_identical_candidates_and_follow_a_reordering(kind: type) -> None:
    values = zoo(9, 80, 0, 3).astype(kind) * 0.1
    values[4] = values[2]
    low, high = rank_intervals([values, -values[:, :, :33]], [True, False], draws=200, seed=0)
    assert low[4] == low[2] and high[4] == high[2]
    order = np.random.default_rng(0).permutation(9)
    moved = rank_intervals([values[order], -values[order][:, :, :33]], [True, False], draws=200, seed=0)
    np.testing.assert_array_equal(moved, (low[order], high[order]))


def test_rank_intervals_shrink_with_more_samples() -> None:
    widths = []
    for n in (50, 500, 5000):
        low, high = rank_intervals([zoo(20, n, 1)], [True], draws=200, seed=0)
        widths.append((high - low).mean())
    assert widths[0] > 1.5 * widths[1] > 2 * widths[2]


def test_rank_intervals_are_paired_within_and_across_columns() -> None:
    """Two candidates of noisy but constantly different values never change places; nor do two whose columns cancel sample by sample."""
    noise = np.random.default_rng(2).normal(0, 5, (1, 1, 40))
    values = np.concatenate([noise, noise + 0.01])
    assert [ranks.tolist() for ranks in rank_intervals([values], [True], draws=200, seed=0)] == [[2, 1], [2, 1]]
    flip = np.concatenate([values, values[::-1] * 0.5])
    other = -flip
    low, high = rank_intervals([flip, other], [True, True], draws=200, seed=0)
    assert low.tolist() == high.tolist() == [1, 1, 1, 1]


def test_rank_intervals_without_uncertainty_are_the_ranks() -> None:
    low, high = rank_intervals([np.array([3.0, 1.0, 3.0, 0.0]).reshape(4, 1, 1)], [True], seed=0)
    assert low.tolist() == high.tolist() == [1, 3, 1, 4]


def test_rank_intervals_cover_the_true_rank() -> None:
    hits = []
    for trial in range(100):
        low, high = rank_intervals([zoo(6, 200, 100 + trial)], [True], draws=200, seed=trial)
        truth = np.arange(6, 0, -1)
        hits.append((low <= truth) & (truth <= high))
    assert np.mean(hits) >= 0.9


@pytest.mark.parametrize("S", [2, 3, 5, 10])
def test_rank_intervals_cover_the_true_rank_over_few_seeds(S: int) -> None:
    """Six candidates half a seed's standard deviation apart, so many samples that all chance is the seeds'."""
    rng, truth = np.random.default_rng(S), np.arange(6, 0, -1)
    hits = []
    for trial in range(200):
        values = 0.01 * np.arange(6)[:, None, None] + rng.normal(0, 0.02, (6, S, 1)) + rng.normal(0, 0.01, 20)
        low, high = rank_intervals([values], [True], draws=200, seed=trial)
        hits.append((low <= truth) & (truth <= high))
    assert np.mean(hits) >= 0.95


@pytest.mark.parametrize("S", [2, 4])
def test_seeds_move_a_mean_by_t_standard_errors_whoever_else_is_there(S: int) -> None:
    values = np.random.default_rng(0).normal(size=(5, S, 3))
    ((one, other),) = resampling.shifts([values, 2 - 4 * values], [2000], seed=0)
    np.testing.assert_allclose(other, -4 * one, rtol=1e-9, atol=1e-9)  # columns of the same networks move together
    errors = values.mean(axis=2).std(axis=1, ddof=1) / np.sqrt(S)
    for c in range(5):
        assert kstest(one[:, c] / (S * 3) / errors[c], "t", args=(S - 1,)).pvalue > 0.001
    (alone,) = next(resampling.shifts([values[[3, 1, 1]]], [2000], seed=0))
    (all_five,) = next(resampling.shifts([values], [2000], seed=0))
    np.testing.assert_array_equal(alone, all_five[:, [3, 1, 1]])


def extremes(values: np.ndarray, sides: np.ndarray, higher: bool) -> tuple[list[int], list[int]]:
    """The lowest and highest rank of each candidate over all orders of what bounds allow, by trying many."""
    grid = np.concatenate([values, values + 0.25, values - 0.25, [-9.0, -8.0, -7.0, 7.0, 8.0, 9.0]])
    allowed = [[v] if side == 0 else [x for x in grid if (x - v) * side >= 0] for v, side in zip(values, sides, strict=True)]
    found = np.array([competition_ranks(np.array(at), higher=higher) for at in itertools.product(*allowed)])
    return found.min(axis=0).tolist(), found.max(axis=0).tolist()


@given(st.lists(st.tuples(st.integers(-2, 2), st.sampled_from([0, 0, 1, -1])), min_size=1, max_size=5), st.booleans())
@settings(max_examples=40)
def test_bounds_leave_open_every_rank_that_they_allow_and_no_other(cells: list[tuple[int, int]], higher: bool) -> None:
    values, sides = np.array([v for v, _ in cells], dtype=float), np.array([side for _, side in cells])
    sides[np.flatnonzero(sides)[3:]] = 0  # or too many orders to try
    low, high = rank_intervals([values[:, None, None]], [higher], bounds=[sides], draws=1, seed=0)
    assert (low.tolist(), high.tolist()) == extremes(values, sides, higher)


def test_a_bound_in_one_of_two_columns_opens_that_column_s_part() -> None:
    """Ranks of a, b, c in the first column are 2, 1, 3, and a may be first; in the second they are 1, 2, 3."""
    first, second = np.array([0.10, 0.12, 0.08]), np.array([3.0, 2.0, 1.0])
    stack = [column[:, None, None] for column in (first, second)]
    low, high = rank_intervals(stack, [True, True], bounds=[np.array([1, 0, 0]), np.zeros(3)], seed=0)
    assert (low.tolist(), high.tolist()) == ([1, 1, 3], [1, 2, 3])


@given(st.integers(1, 7), st.integers(1, 3), st.integers(0, 10**6))
@settings(max_examples=60)
def test_a_moved_candidate_is_ranked_as_if_all_were_ranked_anew(C: int, K: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    stack = [rng.integers(0, 4, (C, 1, 1)).astype(float) for _ in range(K)]
    sides, flags = [rng.integers(-1, 2, C) for _ in range(K)], [bool(up) for up in rng.integers(0, 2, K)]
    lows, highs = [], []
    for sign in (1, -1):  # every open end beyond all for the one, at the bound or beyond all to its harm for the others
        for c in range(C):
            ends = [
                np.where(
                    (side != 0) & ((side == (1 if up else -1)) == (np.where(np.arange(C) == c, sign, -sign) == 1)),
                    np.copysign(np.inf, side),
                    v[:, 0, 0],
                )
                for v, side, up in zip(stack, sides, flags, strict=True)
            ]
            (lows if sign == 1 else highs).append(competition_ranks(rank_mean(np.stack(ends, axis=1), flags), higher=False)[c])
    point = competition_ranks(rank_mean(np.stack([v[:, 0, 0] for v in stack], axis=1), flags), higher=False)
    low, high = rank_intervals(stack, flags, bounds=sides, draws=1, seed=0)
    assert low.tolist() == np.min([lows, highs, point], axis=0).tolist()
    assert high.tolist() == np.max([lows, highs, point], axis=0).tolist()


def test_rank_intervals_scale_to_many_candidates() -> None:
    """Linear in C: 3000 candidates in a block of memory, where 3000 squared comparisons a draw would take minutes."""
    values = np.random.default_rng(3).integers(0, 2, (3000, 1, 500), dtype=np.uint8)
    low, high = rank_intervals([values], [True], draws=50, seed=0)
    assert low.shape == high.shape == (3000,)


GRID = np.ones((2, 1, 3))
REFUSALS: list[tuple[Callable[[], object], str]] = [
    (lambda: wilson(3, 2), "wilson: got 3 successes of 2, expected 0 <= successes <= n and n >= 1. Pass counts, not rates."),
    (lambda: wilson(0, 0), "wilson: got 0 successes of 0, expected 0 <= successes <= n and n >= 1. Pass counts, not rates."),
    (lambda: wilson(1, 2, 95), "agreement: got level = 95, expected 0 < level < 1. Give the coverage, such as 0.95."),
    (
        lambda: bootstrap_mean(GRID[0], draws=0, seed=0),
        "agreement: got draws = 0, expected at least 1. Ask for some hundred resamples.",
    ),
    (
        lambda: bootstrap_mean(np.ones(3), seed=0),
        "bootstrap_mean: got shape (3,) of float64, expected 2 axes of bool or real numbers, none empty.",
    ),
    (lambda: kendall(np.ones(2), np.ones(3)), "kendall: got 2 and 3 values, expected as many of each. Pass one pair a candidate."),
    (
        lambda: competition_ranks(np.array([1.0, np.nan]), higher=True),
        "competition_ranks: got shape (2,) with 1 nan, expected 1 axes and none. Drop who lacks a cell first.",
    ),
    (
        lambda: rank_mean(np.ones((3, 2)), [True]),
        "rank_mean: got 2 columns and 1 directions, expected one each, at least one. Name them all.",
    ),
    (
        lambda: rank_intervals([], [], seed=0),
        "rank_intervals: got 0 columns and 0 directions, expected one each, at least one. Name them all.",
    ),
    (
        lambda: rank_intervals([GRID, GRID[:1]], [True, True], seed=0),
        "rank_intervals: got columns of [2, 1] candidates, expected one C. Drop who lacks a cell.",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSALS)
def test_refusals_say_what_was_got_and_what_to_do(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message
