"""Statistics of fidelity against SciPy, against sums written out, and against numbers that are known in closed form."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from robustradar.fidelity import statistic
from robustradar.fidelity.statistic import Choice, Slice, ceiling, choice, chosen, interval, pooled, pools, resamples, slices, spearman, tau


def everyone(n: int, sizes: np.ndarray | None = None) -> Slice:
    return Slice("all", np.arange(n), sizes)


def tied(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Two correlated scorings with ties."""
    rng = np.random.default_rng(seed)
    score = rng.integers(8, size=n).astype(float)
    return score, score + rng.integers(6, size=n)


def written_out(score: np.ndarray, truth: np.ndarray, sizes: np.ndarray, counts: Sequence[float]) -> float:
    """Tau over pairs of like size, pair by pair."""
    sums = np.zeros(3)
    for i, j in itertools.combinations(range(len(score)), 2):
        if max(sizes[i], sizes[j]) <= 1.15 * min(sizes[i], sizes[j]):
            one, two = np.sign(score[i] - score[j]), np.sign(truth[i] - truth[j])
            sums += counts[i] * counts[j] * np.array([one * two, abs(one), abs(two)])
    return float(sums[0] / math.sqrt(sums[1] * sums[2]))


@pytest.mark.parametrize("seed", range(5))
def test_tau_over_all_pairs_is_scipys(seed: int) -> None:
    score, truth = tied(seed)
    assert tau(score, truth, everyone(40))[0] == pytest.approx(kendalltau(score, truth).statistic, abs=1e-12)


def test_every_draw_is_tau_of_the_resampled_candidates() -> None:
    score, truth = tied(0)
    counts = resamples(40, 50, seed=3)
    assert (counts.sum(axis=1) == 40).all()
    _, draws = tau(score, truth, everyone(40), counts)
    for drawn, count in zip(draws, counts, strict=True):
        places = np.repeat(np.arange(40), count.astype(int))
        assert drawn == pytest.approx(kendalltau(score[places], truth[places]).statistic, abs=1e-12)


def test_tau_over_pairs_of_like_size_is_the_sum_over_these_pairs() -> None:
    score, truth = tied(1)
    sizes = np.exp(np.random.default_rng(1).normal(size=40) / 3)
    part = everyone(40, sizes)
    counts = resamples(40, 5, seed=0)
    found, draws = tau(score, truth, part, counts)
    assert found == pytest.approx(written_out(score, truth, sizes, [1.0] * 40), abs=1e-12)
    for drawn, count in zip(draws, counts, strict=True):
        assert drawn == pytest.approx(written_out(score, truth, sizes, list(count)), abs=1e-12)


def test_like_sizes_differ_by_at_most_fifteen_per_cent_of_the_smaller() -> None:
    part = everyone(4, np.array([100.0, 115.0, 132.0, 1000.0]))
    assert part.pairs == 2
    assert part.alike(np.arange(4)).tolist() == [
        [False, True, False, False],
        [True, False, True, False],
        [False, True, False, False],
        [False, False, False, False],
    ]
    assert tau(np.array([1.0, 2, 3, 0]), np.array([1.0, 2, 1.5, 9]), part)[0] == 0


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    score, truth = tied(2)
    part, counts = everyone(40, np.arange(40.0) + 50), resamples(40, 20, seed=0)
    whole = tau(score, truth, part, counts)
    monkeypatch.setattr(statistic, "_BLOCK", 120)
    found = tau(score, truth, part, counts)
    assert found[0] == whole[0]
    assert found[1] == pytest.approx(whole[1], abs=1e-12)


@pytest.mark.parametrize("sized", [False, True])
def test_the_fast_bootstrap_is_the_whole_one(monkeypatch: pytest.MonkeyPatch, sized: bool) -> None:
    """With some hundred candidates the projection's interval already has the whole one's ends to a tenth of its width."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=400)
    score = truth + rng.normal(size=400)
    part, counts = everyone(400, np.exp(rng.normal(size=400) / 3) if sized else None), resamples(400, 1000, seed=0)
    whole = interval(tau(score, truth, part, counts)[1])
    monkeypatch.setattr(statistic, "WHOLE", 100)
    fast = interval(tau(score, truth, part, counts)[1])
    assert whole and fast
    assert fast == pytest.approx(whole, abs=0.1 * (whole[1] - whole[0]))


def test_the_interval_covers_the_truth() -> None:
    """Kendall's tau of normal pairs of correlation r is 2/pi asin r (Kruskal 1958); percentile intervals are a little narrow at n = 40."""
    r, hits = 0.6, 0
    rng = np.random.default_rng(0)
    for seed in range(200):
        one, noise = rng.normal(size=(2, 40))
        _, draws = tau(one, r * one + math.sqrt(1 - r * r) * noise, everyone(40), resamples(40, 200, seed))
        ends = interval(draws)
        assert ends
        hits += ends[0] <= 2 / math.pi * math.asin(r) <= ends[1]
    assert 0.90 <= hits / 200 <= 0.98


def test_a_constant_score_has_no_tau() -> None:
    found, draws = tau(np.ones(6), np.arange(6.0), everyone(6), resamples(6, 10, seed=0))
    assert math.isnan(found)
    assert np.isnan(draws).all()
    assert interval(draws) is None
    assert math.isnan(spearman(np.ones(6), np.arange(6.0)))


@pytest.mark.parametrize("seed", range(3))
def test_spearman_is_scipys(seed: int) -> None:
    assert spearman(*tied(seed)) == pytest.approx(spearmanr(*tied(seed)).statistic, abs=1e-12)


def test_slices_are_by_the_truth_and_by_known_sizes() -> None:
    truth = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    found = {s.name: s.members.tolist() for s in slices(truth, np.array([1.0, math.nan, 3, 4, 5]))}
    assert found == {"all": [0, 1, 2, 3, 4], "top half": [2, 3, 4], "top quarter": [3, 4], "size-matched": [0, 2, 3, 4]}
    assert [s.name for s in slices(truth, None)] == ["all", "top half", "top quarter"]


def test_ties_share_the_last_places() -> None:
    found = chosen(np.array([[5.0, 3, 3, 3, 1], [2.0, 2, 2, 2, 2]]), np.array([2, 1]))
    assert found == pytest.approx(np.array([[1, 1 / 3, 1 / 3, 1 / 3, 0], [0.2] * 5]))


def test_regret_is_what_the_first_choice_loses() -> None:
    truth = np.array([0.5, 0.4, 0.3, 0.2])
    assert choice(np.array([4.0, 3, 2, 1]), truth, 2) == Choice(0.0, 1.0)
    assert choice(np.array([1.0, 2, 3, 4]), truth, 2) == Choice(pytest.approx(0.3), 0.0)
    # Two firsts lose 0 and 0.2; of the truth's first two, one is certainly among the score's, and no other.
    assert choice(np.array([9.0, 1, 9, 1]), truth, 2) == Choice(pytest.approx(0.1), 0.5)


def test_pools_hold_a_candidate_and_its_pairs() -> None:
    sizes = np.array([100.0] * 30 + [200.0] * 8 + [900.0])
    drawn = pools(Slice("some", np.arange(39), sizes), seed=0)
    assert {len(pool) for pool in drawn} == {20, 8}
    assert all(len(set(pool)) == len(pool) and len(set(sizes[pool])) == 1 for pool in drawn)
    assert 350 <= len(drawn) < 400  # the one that is alone makes no pool
    again = pools(Slice("some", np.arange(39), sizes), seed=0)
    assert all((one == two).all() for one, two in zip(drawn, again, strict=True))


def test_choosing_in_pools_is_the_mean_over_pools() -> None:
    score, truth = tied(4)
    drawn = [np.arange(0, 20), np.arange(10, 30), np.arange(3)]
    each = [choice(score[pool], truth[pool], 5 if len(pool) > 5 else 1) for pool in drawn]
    found = pooled(score, truth, drawn)
    assert found.regret == pytest.approx(np.mean([c.regret for c in each]))
    assert found.recall == pytest.approx(np.mean([c.recall for c in each[:2]]))
    assert pooled(score, truth, drawn[2:]).recall is None
    assert pooled(score, truth, []) == Choice(None, None)


def test_the_ceiling_is_kendalls_tau_of_normal_pairs() -> None:
    """Truth and truth + noise of the same spread correlate by 1 / sqrt 2, and so agree by tau = 1/2."""
    truth = np.random.default_rng(0).normal(size=1500)
    assert ceiling(truth, np.full(1500, truth.std()), everyone(1500), seed=0) == pytest.approx(0.5, abs=0.02)
    assert ceiling(truth, np.zeros(1500), everyone(1500), seed=0) == 1.0
    some = Slice("sized", np.arange(200), np.linspace(100, 140, 1500))
    assert ceiling(truth, np.full(1500, truth.std()), some, seed=0) == pytest.approx(0.5, abs=0.1)


def test_the_partial_tau_is_the_correlation_of_what_the_third_leaves() -> None:
    one, two, three = (np.random.default_rng(seed).normal(size=60) for seed in range(3))
    score, truth, given = one + three, one + 2 * three, three
    signs = [np.array([np.sign(v[i] - v[j]) for i, j in itertools.combinations(range(60), 2)]) for v in (score, truth, given)]
    left = [s - signs[2] * (s @ signs[2]) / (signs[2] @ signs[2]) for s in signs[:2]]
    expected = left[0] @ left[1] / math.sqrt((left[0] @ left[0]) * (left[1] @ left[1]))
    assert given_third(score, truth, given) == pytest.approx(expected, abs=1e-12)
    assert abs(given_third(two, truth, given)) < 0.2
    assert math.isnan(float(statistic.partial(np.asarray(0.4), np.asarray(0.4), np.asarray(1.0))))


def given_third(score: np.ndarray, truth: np.ndarray, third: np.ndarray) -> float:
    taus = (tau(a, b, everyone(60))[0] for a, b in ((score, truth), (third, truth), (score, third)))
    return float(statistic.partial(*map(np.asarray, taus)))
