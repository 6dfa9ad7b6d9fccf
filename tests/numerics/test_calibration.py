"""Calibration by labels: twins in other coordinates, leaving out by hand, and how often the intervals hold the truth."""

import itertools
import math
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, t

from robustradar.numerics import agreement, resampling
from robustradar.numerics.calibration import PENALTIES, Calibration, calibration, obstacle, predicted, rank_intervals, standings


def drawn(L: int, K: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.random((L, K))
    return features, 40 + features @ np.arange(1, K + 1) + rng.normal(0, 0.5, L)


def stacked(features: np.ndarray, truth: np.ndarray, pull: float) -> tuple[np.ndarray, np.ndarray]:
    """The same problem as plain least squares in b, c and w, the penalty as K more rows."""
    L, K = features.shape
    data = np.hstack([np.ones((L, 1)), np.zeros((L, 1)), features])
    penalty = math.sqrt(pull) * np.hstack([np.zeros((K, 1)), np.full((K, 1), -1 / K), np.eye(K)])
    return np.vstack([data, penalty]), np.concatenate([truth, np.zeros(K)])


@pytest.mark.parametrize("K", [1, 2, 5])
@pytest.mark.parametrize("lam", [1e-3, 0.1, 10.0])
def test_it_is_least_squares_with_the_penalty_as_rows(K: int, lam: float) -> None:
    features, truth = drawn(20, K, 0)
    found = next(f for f in [calibration(features, truth, [lam])])
    if K == 1:
        assert math.isinf(found.lam)  # nothing to pull
        pull = 1.0
    else:
        found = forced(features, truth, lam)
        pull = lam * len(truth)
    A, y = stacked(features, truth, pull)
    solved = np.linalg.lstsq(A, y, rcond=None)[0]
    assert found.intercept == pytest.approx(solved[0], rel=1e-9)
    assert found.weights == pytest.approx(solved[2:], rel=1e-8)
    inverse = np.linalg.inv(A.T @ A)
    places = [0, *range(2, K + 2)]
    assert found.covariance == pytest.approx(inverse[np.ix_(places, places)], rel=1e-7, abs=1e-12)


def forced(features: np.ndarray, truth: np.ndarray, lam: float) -> object:
    from robustradar.numerics.calibration import _ridge

    return _ridge(features, truth, lam)


@pytest.mark.parametrize("lam", [*PENALTIES[::4], math.inf])
def test_leaving_one_out_is_fitting_without_it(lam: float) -> None:
    features, truth = drawn(12, 3, 1)
    found = forced(features, truth, lam)
    for i in range(len(truth)):
        others = np.arange(len(truth)) != i
        if math.isinf(lam):
            slope, base = np.polyfit(features[others].mean(1), truth[others], 1)
            expected = base + slope * features[i].mean()
        else:
            A, y = stacked(features[others], truth[others], lam * len(truth))
            solved = np.linalg.lstsq(A, y, rcond=None)[0]
            expected = solved[0] + features[i] @ solved[2:]
        assert found.left_out[i] == pytest.approx(expected, rel=1e-8)


def alike(L: int, K: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns that are nearly the same, of which the last ones say less: least squares has weights below zero."""
    rng = np.random.default_rng(seed)
    columns = rng.random((L, 1)) + 0.1 * np.arange(1, K + 1) * rng.standard_normal((L, K))
    features = standings(columns, [True] * K)
    return features, 40 + 10 * features[:, 0] + rng.normal(0, 1, L)


def by_every_support(features: np.ndarray, truth: np.ndarray, pull: float) -> np.ndarray:
    """Intercept and weights, none below 0, by trying every set of columns."""
    K = features.shape[1]
    middle, mean = features.mean(0), truth.mean()
    x, y = features - middle, truth - mean
    H, g = x.T @ x + pull * (np.eye(K) - 1 / K), x.T @ y
    best, least = np.zeros(K), 0.0
    for size in range(1, K + 1):
        for support in itertools.combinations(range(K), size):
            w = np.zeros(K)
            w[list(support)] = np.linalg.solve(H[np.ix_(support, support)], g[list(support)])
            if w.min() >= 0 and w @ H @ w - 2 * g @ w < least:
                best, least = w, w @ H @ w - 2 * g @ w
    return np.array([mean - middle @ best, *best])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_no_weight_is_below_zero_and_leaving_one_out_is_fitting_without_it(scale: float) -> None:
    held = 0
    for seed in range(6):
        features, truth = alike(12, 4, seed)
        truth = truth * scale
        for lam in PENALTIES[::3]:
            found, pull = forced(features, truth, lam), lam * len(truth)
            expected = by_every_support(features, truth, pull)
            assert [found.intercept, *found.weights] == pytest.approx(expected, rel=1e-7, abs=1e-9 * scale)
            held += int((found.weights == 0).any())
            for i in range(len(truth)):
                others = np.arange(len(truth)) != i
                base, *weights = by_every_support(features[others], truth[others], pull)
                assert found.left_out[i] == pytest.approx(base + features[i] @ weights, rel=1e-8)
    assert held >= 8


def test_truths_that_fall_with_every_column_leave_no_weight() -> None:
    features, truth = alike(16, 3, 0)
    for lam in (*PENALTIES, math.inf):
        found = forced(features, -truth, lam)
        assert found.weights.tolist() == [0, 0, 0]
        assert found.intercept == pytest.approx(-truth.mean())
        assert found.left_out == pytest.approx(-(truth.sum() - truth) / 15)


def test_more_columns_than_labels_and_no_noise() -> None:
    rng = np.random.default_rng(9)
    features = rng.random((8, 12))
    truth = features @ np.linspace(0, 5, 12)
    found = forced(features, truth, PENALTIES[0])
    assert found.freedom == 1
    low, high = rank_intervals(found, features, np.full(8, np.nan), np.zeros(8), seed=0)
    assert (low <= high).all()


def test_two_hundred_labels_take_no_time() -> None:
    features, truth = alike(200, 5, 0)
    before = time.process_time()
    calibration(features, truth)
    assert time.process_time() - before < 2


def test_the_penalty_is_the_largest_that_is_within_half_a_standard_error() -> None:
    for seed in range(10):
        features, truth = drawn(16, 4, seed)
        tried = {lam: (truth - forced(features, truth, lam).left_out) ** 2 for lam in (*PENALTIES, math.inf)}
        best = min(tried.values(), key=lambda squares: squares.sum())
        within = [
            lam
            for lam, squares in tried.items()
            if (squares - best).mean() <= 0.5 * (squares - best).std(ddof=1) / math.sqrt(len(truth)) + 1e-12
        ]
        assert calibration(features, truth).lam == max(within)


def test_an_infinite_penalty_has_the_order_of_the_mean_rank() -> None:
    rng = np.random.default_rng(2)
    columns = rng.integers(0, 6, (30, 3)).astype(float)
    higher = [True, False, True]
    features = standings(columns, higher)
    found = forced(features, features.mean(1) * 5 + rng.normal(0, 0.1, 30), math.inf)
    assert len(set(found.weights.round(12))) == 1
    mean = agreement.competition_ranks(agreement.rank_mean(columns, higher), higher=False)
    assert agreement.competition_ranks(predicted(found, features)[0], higher=True).tolist() == mean.tolist()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12))
def test_standings_are_average_ranks_from_last_to_first(rows: list[tuple[int, int]]) -> None:
    columns = np.array(rows, dtype=float)
    found = standings(columns, [True, False])
    expected = [(rankdata(sign * column) - 1) / (len(rows) - 1) for sign, column in zip((1, -1), columns.T, strict=True)]
    assert found == pytest.approx(np.stack(expected, 1))
    assert standings(columns[:1], [True, False]).tolist() == [[0.5, 0.5]]


def test_a_column_of_noise_gets_little_weight() -> None:
    rng = np.random.default_rng(3)
    shares = []
    for _ in range(60):
        features = rng.random((32, 2))
        found = calibration(features, 10 * features[:, 0] + rng.normal(0, 1, 32))
        shares.append(abs(found.weights[1]) / found.weights[0])
    assert np.median(shares) < 0.1
    assert np.quantile(shares, 0.9) < 0.25


def simulated(L: int, seed: int, runs: int = 150, apart: tuple[float, ...] = (1.0, 1 / 0.7, 1 / 0.3)) -> tuple[float, float, float]:
    """How often predictions and ranks of 64 candidates that are not labelled lie in their 95 % intervals, and a weight is held at 0.

    `apart` is each column's noise.
    """
    rng = np.random.default_rng(seed)
    values, ranks, held = [], [], []
    for _ in range(runs):
        skill = rng.standard_normal(64)
        columns = skill[:, None] + rng.standard_normal((64, len(apart))) * apart
        truth = 45 + 2 * skill + 0.3 * rng.standard_normal(64)
        features = standings(columns, [True] * len(apart))
        labelled = np.arange(64) < L
        found = calibration(features[labelled], truth[labelled])
        point, sd = predicted(found, features)
        values.append((np.abs(truth - point) <= t.ppf(0.975, found.freedom) * sd)[~labelled].mean())
        low, high = rank_intervals(found, features, np.where(labelled, truth, np.nan), np.zeros(64), draws=300, seed=0)
        places = agreement.competition_ranks(truth, higher=True)
        ranks.append(((low <= places) & (places <= high))[~labelled].mean())
        held.append((found.weights == 0).any())
    return float(np.mean(values)), float(np.mean(ranks)), float(np.mean(held))


@pytest.mark.parametrize("L", [8, 16, 32])
def test_predictions_lie_in_their_intervals_as_often_as_stated(L: int) -> None:
    values, *_ = simulated(L, L)
    assert 0.92 <= values <= 0.98


@pytest.mark.parametrize("L", [8, 16, 32])
def test_rank_intervals_hold_the_true_rank(L: int) -> None:
    _, ranks, _ = simulated(L, L + 1)
    assert ranks >= 0.93


@pytest.mark.parametrize("L", [8, 16, 32])
def test_intervals_hold_where_weights_are_held_at_zero(L: int) -> None:
    values, ranks, held = simulated(L, L + 1, apart=(0.5, 0.5, 30.0, 30.0, 30.0))
    assert held > 0.6
    assert 0.93 <= values <= 0.985  # wide rather than narrow: the covariance is that without the bound
    assert ranks >= 0.93


def rank_ends_by_group(found: Calibration, features: np.ndarray, known: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """rank_intervals with everything group by group and draw by draw."""
    rng = np.random.default_rng(0)
    C, labelled = len(features), np.isfinite(known)
    rows = np.column_stack([features, np.where(labelled, known, -np.inf), sd])
    _, group = np.unique(rows, axis=0, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    x = np.hstack([np.ones((C, 1)), features])[order]
    value = np.where(labelled, known, predicted(found, features)[0])[order]
    eigenvalues, vectors = np.linalg.eigh(found.covariance)
    spread = found.sd * np.sqrt(found.freedom / rng.chisquare(found.freedom, size=(200, 1)))
    common = (rng.standard_normal((200, x.shape[1])) @ (vectors * np.sqrt(np.maximum(eigenvalues, 0))).T) @ x.T
    own = rng.standard_normal((200, C))
    drawn = value + np.where(labelled[order], own * sd[order], spread * (common + own))
    ranks = np.sort([rankdata(-row, method="min") for row in drawn], axis=0)
    ends = np.empty((2, C), dtype=np.int64)
    here = agreement.competition_ranks(value, higher=True)
    ends[:, order] = np.minimum(ranks[math.floor(0.025 * 199)], here), np.maximum(ranks[math.ceil(0.975 * 199)], here)
    for alike in range(int(group.max()) + 1):
        twins = group.ravel() == alike
        ends[:, twins] = [[ends[0, twins].min()], [ends[1, twins].max()]]
    return ends


@pytest.mark.parametrize("seed", range(4))
def test_rank_intervals_are_those_of_the_slow_way(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, truth = drawn(16, 2, seed)
    found = calibration(features, truth)
    many = standings(rng.integers(0, 6, (80, 2)).astype(float), [True, True])  # most rows are there more than once
    known = np.where(rng.random(80) < 0.3, rng.integers(40, 43, 80), np.nan)
    sd = np.where(rng.random(80) < 0.5, 0.0, 0.5)
    ends = rank_intervals(found, many, known, sd, draws=200, seed=0)
    assert np.array(ends).tolist() == rank_ends_by_group(found, many, known, sd).tolist()


def test_rank_intervals_of_many_take_seconds() -> None:
    features, truth = drawn(16, 2, 5)
    found = calibration(features, truth)
    many = np.random.default_rng(0).random((10_000, 2))
    before = time.process_time()
    rank_intervals(found, many, np.full(10_000, np.nan), np.zeros(10_000), draws=200, seed=0)
    assert time.process_time() - before < 3


def test_rank_intervals_hold_one_block_of_draws_and_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight kilobytes a candidate for 2,000 draws; blocks of whatever size give the same."""
    features, truth = drawn(16, 2, 6)
    found = calibration(features, truth)
    many, known = np.random.default_rng(0).random((1000, 2)), np.full(1000, np.nan)
    whole = rank_intervals(found, many, known, np.zeros(1000), draws=2000, seed=0)
    monkeypatch.setattr(resampling, "_BLOCK", 17_000)
    tracemalloc.start()
    in_blocks = rank_intervals(found, many, known, np.zeros(1000), draws=2000, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array(in_blocks).tolist() == np.array(whole).tolist()
    assert peak < 1.3 * 4 * 2000 * 1000


def test_labelled_ones_are_drawn_about_their_truth_and_hold_their_place() -> None:
    features, truth = drawn(20, 2, 4)
    found = calibration(features, truth)
    exact = rank_intervals(found, features, truth, np.zeros(20), seed=0)
    places = agreement.competition_ranks(truth, higher=True)
    assert exact[0].tolist() == exact[1].tolist() == places.tolist()
    low, high = rank_intervals(found, features, truth, np.full(20, 1.0), seed=0)
    assert (low <= places).all() and (places <= high).all() and (high - low).mean() > 4


def test_intervals_hang_on_no_order_and_equal_rows_have_equal_ones() -> None:
    features, truth = drawn(20, 2, 5)
    found = calibration(features, truth)
    features = np.vstack([features, features[:3]])
    known = np.where(np.arange(23) % 4 == 0, 40.0 + np.arange(23), np.nan)
    known[20:] = known[:3]
    low, high = rank_intervals(found, features, known, np.zeros(23), draws=200, seed=0)
    assert low[20:].tolist() == low[:3].tolist()
    assert high[20:].tolist() == high[:3].tolist()
    order = np.random.default_rng(0).permutation(23)
    again = rank_intervals(found, features[order], known[order], np.zeros(23), draws=200, seed=0)
    assert (again[0].tolist(), again[1].tolist()) == (low[order].tolist(), high[order].tolist())


def test_labels_that_teach_nothing_are_refused_in_words() -> None:
    features, truth = drawn(8, 2, 6)
    assert obstacle(features, truth) == ""
    assert obstacle(features[:1], truth[:1]) == "1 label, and it takes at least 8"
    assert obstacle(features[:7], truth[:7]) == "7 labels, and it takes at least 8"
    assert obstacle(features, np.ones(8)) == "all 8 labels have the same truth"
    flat = np.array([[0.5, 0.5], [0.25, 0.75]] * 2 + [[0.0, 0.0]] * 4)
    assert obstacle(flat, truth) == "the mean ranks of the 8 labelled take 2 values, and it takes at least 3"
    with pytest.raises(ValueError) as error:
        calibration(flat, truth)
    assert str(error.value) == (
        "calibration: got the mean ranks of the 8 labelled take 2 values, and it takes at least 3. Rank by rank_mean."
    )
