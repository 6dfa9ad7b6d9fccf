"""Calibration by labels: twins in other coordinates, leaving out by hand, and how often the intervals hold the truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, t

from robustradar.numerics import agreement
from robustradar.numerics.calibration import PENALTIES, calibration, obstacle, predicted, rank_intervals, standings


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


def simulated(L: int, seed: int, runs: int = 150) -> tuple[float, float]:
    """How often predictions and ranks of 64 candidates that are not labelled lie in their 95 % intervals."""
    rng = np.random.default_rng(seed)
    values, ranks = [], []
    for _ in range(runs):
        skill = rng.standard_normal(64)
        columns = skill[:, None] * [1.0, 0.7, 0.3] + rng.standard_normal((64, 3))
        truth = 45 + 2 * skill + 0.3 * rng.standard_normal(64)
        features = standings(columns, [True] * 3)
        labelled = np.arange(64) < L
        found = calibration(features[labelled], truth[labelled])
        point, sd = predicted(found, features)
        values.append((np.abs(truth - point) <= t.ppf(0.975, found.freedom) * sd)[~labelled].mean())
        low, high = rank_intervals(found, features, np.where(labelled, truth, np.nan), np.zeros(64), draws=300, seed=0)
        places = agreement.competition_ranks(truth, higher=True)
        ranks.append(((low <= places) & (places <= high))[~labelled].mean())
    return float(np.mean(values)), float(np.mean(ranks))


@pytest.mark.parametrize("L", [8, 16, 32])
def test_predictions_lie_in_their_intervals_as_often_as_stated(L: int) -> None:
    values, _ = simulated(L, L)
    assert 0.92 <= values <= 0.98


@pytest.mark.parametrize("L", [8, 16, 32])
def test_rank_intervals_hold_the_true_rank(L: int) -> None:
    _, ranks = simulated(L, L + 1)
    assert ranks >= 0.93


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
