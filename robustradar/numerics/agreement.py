"""How sure a number, a correlation or a rank is: intervals for accuracies and means, Kendall's tau, bootstrapped ranks.

NumPy and SciPy only, so that stored results can be compared without torch. Draws come from a generator made from the given
seed: equal arguments give equal intervals.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from robustradar.numerics.resampling import block_sizes, counts, outward, shifts, sums

Values = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Relative distance within which two scores are one and the same, chosen here: far above rounding, far below any difference of interest.
_NOISE = 1e-12


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval for a proportion, such as an accuracy (Wilson 1927).

    With f = successes / n and z the normal quantile of (1 + level) / 2:
    (f + z**2 / (2 n) -+ z * sqrt(f (1 - f) / n + z**2 / (4 n**2))) / (1 + z**2 / n).

    Args:
        successes: 0 <= successes <= n.
        n: trials, at least 1.
        level: coverage, 0 < level < 1; 0.95 by convention.

    Returns:
        (low, high) with 0 <= low <= successes / n <= high <= 1.

    Raises:
        ValueError: if successes, n or level is out of range.

    Example:
        >>> low, high = wilson(50, 100)
        >>> round(low, 4), round(high, 4)
        (0.4038, 0.5962)
    """
    _check_level(level)
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"wilson: got {successes} successes of {n}, expected 0 <= successes <= n and n >= 1. Pass counts, not rates.")
    z = float(ndtri((1 + level) / 2))
    f = successes / n
    middle = f + z * z / (2 * n)
    reach = z * math.sqrt(f * (1 - f) / n + (z / (2 * n)) ** 2)
    scale = 1 + z * z / n
    # At the ends the two terms are equal, and rounding must not push the interval off the proportion itself.
    low = 0.0 if successes == 0 else (middle - reach) / scale
    high = 1.0 if successes == n else (middle + reach) / scale
    return low, high


def bootstrap_mean(values: Values, *, level: float = 0.95, draws: int = 1000, seed: int) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean over seeds and samples.

    Each draw resamples the n samples, the same ones for all seeds, and moves the mean over seeds by Student's t times its standard
    error, since a resample of S values has only (S - 1) / S of their variance. With S = 1 only samples vary, with n = 1 only seeds.

    Args:
        values: [S, n], bool or real: one row a training seed, one column an evaluation sample.
        level: coverage, 0 < level < 1; 0.95 by convention.
        draws: resamples; chosen here, see test_bootstrap_mean_covers_the_truth.
        seed: of the resampling.

    Returns:
        (low, high) in the values' units.

    Raises:
        ValueError: if values is not a finite matrix with entries, or level or draws is out of range.

    Example:
        >>> bootstrap_mean(np.ones((2, 5)), seed=0)
        (1.0, 1.0)
    """
    _check_level(level, draws)
    v = _finite("bootstrap_mean", values, 2)
    S, n = v.shape
    sizes = block_sizes(draws, max(n, S))
    drawn = zip(counts({n}, sizes, seed), shifts([v[None]], sizes, seed), strict=True)
    means = np.concatenate([sums(v[None], samples[n]) + shift for samples, (shift,) in drawn]) / v.size
    low, high = np.quantile(means, _tails(level))
    return float(low), float(high)


def kendall(a: Values, b: Values) -> float:
    """Return Kendall's tau-b between two scorings of the same candidates, by SciPy.

    tau = (concordant - discordant) / sqrt((pairs - ties in a) * (pairs - ties in b)).

    Args:
        a: [C], finite.
        b: [C], finite.

    Returns:
        tau in [-1, 1], 1 for the same order and -1 for the reverse; nan where a or b is constant, since it then has no order.

    Raises:
        ValueError: if a and b are not finite vectors of one length.

    Example:
        >>> round(kendall(np.array([1, 2, 3]), np.array([1, 3, 2])), 4)
        0.3333
    """
    from scipy.stats import kendalltau  # takes a second to import, which most commands need not pay

    a, b = _finite("kendall", a, 1), _finite("kendall", b, 1)
    if a.shape != b.shape:
        raise ValueError(f"kendall: got {len(a)} and {len(b)} values, expected as many of each. Pass one pair a candidate.")
    return float(kendalltau(a, b).statistic)


def kendall_interval(a: Values, b: Values, *, level: float = 0.95, draws: int = 1000, seed: int) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of Kendall's tau-b, over resampled candidates.

    Draws in which a or b is constant have no tau and are left out. With few candidates the interval is rough, and at tau = 1 it is [1, 1].

    Args:
        a: [C], finite.
        b: [C], finite.
        level: coverage, 0 < level < 1; 0.95 by convention.
        draws: resamples; chosen here, see test_kendall_interval_covers_the_truth.
        seed: of the resampling.

    Returns:
        (low, high) in [-1, 1], or None where tau itself is undefined.

    Raises:
        ValueError: if a and b are not finite vectors of one length, or level or draws is out of range.

    Example:
        >>> kendall_interval(np.arange(5), np.arange(5), seed=0)
        (1.0, 1.0)
    """
    _check_level(level, draws)
    if math.isnan(kendall(a, b)):
        return None
    rng = np.random.default_rng(seed)
    picks = (rng.integers(len(a), size=len(a)) for _ in range(draws))
    taus = np.array([kendall(np.asarray(a)[i], np.asarray(b)[i]) for i in picks])
    low, high = np.quantile(taus[~np.isnan(taus)], _tails(level))
    return float(low), float(high)


def competition_ranks(score: Values, *, higher: bool) -> Ints:
    """Return ranks 1, 2, 2, 4: candidates with equal scores share the smallest rank of their group.

    Neighbours in sorted order are equal if they differ by at most 1e-12 of the smaller magnitude.

    Args:
        score: [C], no nan.
        higher: whether a higher score is better.

    Returns:
        [C], int, from 1 (best).

    Raises:
        ValueError: if score is not a vector or holds a nan.

    Example:
        >>> competition_ranks(np.array([0.3, 0.5, 0.3, 0.1]), higher=True)
        array([2, 1, 2, 4])
    """
    first, _ = _tie_groups(_scores("competition_ranks", score, 1)[None], higher)
    return first.ravel() + 1


def rank_mean(columns: Values, higher: Sequence[bool]) -> Floats:
    """Return the mean over columns of a candidate's average rank, the Borda count up to a line.

    Args:
        columns: [C, K], one column a metric, no nan.
        higher: K flags: whether higher is better in that column.

    Returns:
        [C], from 1 (first in every column) to C; lower is better. Tied candidates get the average of the ranks that they take up.

    Raises:
        ValueError: if columns is not a matrix, holds a nan, or has not one flag a column.

    Example:
        >>> rank_mean(np.array([[0.9, 1.0], [0.8, 2.0], [0.8, 3.0]]), [True, False])
        array([1.  , 2.25, 2.75])
    """
    scores = _scores("rank_mean", columns, 2)
    _check_flags("rank_mean", scores.shape[1], higher)
    mean: Floats = np.mean([_average_ranks(scores[None, :, k], up)[0] for k, up in enumerate(higher)], axis=0)
    return mean


def rank_intervals(
    columns: Sequence[Values],
    higher: Sequence[bool],
    *,
    bounds: Sequence[Ints] | None = None,
    level: float = 0.95,
    draws: int = 1000,
    seed: int,
) -> tuple[Ints, Ints]:
    """Return percentile intervals of the final rank, competition_ranks(rank_mean(column means)).

    Each draw resamples the evaluation samples, the same for every candidate and for every column of as many, so differences between
    candidates are paired, and moves each candidate's means over training seeds by Student's t times their standard error, the same t for
    all columns of as many seeds; then all ranks are computed anew. Rounded outwards to whole ranks, and widened to hold the rank on the
    full data.
    Where means are but bounds, each candidate is ranked twice in each draw: at its best and all others at their worst, an open end being
    beyond everybody, and the other way round. The interval reaches over both; in a single column no rank that bounds allow is left out.
    Work grows as draws * C * (n + S + K * log C), and as draws * C * K for every candidate with a bound; memory as draws * C integers.

    Args:
        columns: K arrays [C, S, n] of per-sample values, bool or real; [C, S, 1] where only one value a seed exists.
        higher: K flags: whether higher is better in that column.
        bounds: K arrays [C]: 1 where a mean is a lower bound, the value being there or above, -1 where an upper one, 0 elsewhere.
        level: coverage, 0 < level < 1, of each interval by itself; 0.95 by convention.
        draws: resamples; chosen here, see test_rank_intervals_cover_the_true_rank.
        seed: of the resampling.

    Returns:
        (low [C], high [C]), int, 1 <= low <= rank <= high <= C.

    Raises:
        ValueError: if columns are not finite arrays of three axes with one C, have not one flag each, or level or draws is out of range.

    Example:
        >>> good, bad = [[1, 1, 1, 1]], [[0, 1, 0, 0]]
        >>> rank_intervals([np.array([good, bad, bad])], [True], seed=0)
        (array([1, 2, 2]), array([1, 2, 2]))
        >>> rank_intervals([np.array([good, bad, bad])], [True], bounds=[np.array([0, 1, 0])], seed=0)
        (array([1, 1, 2]), array([2, 2, 3]))
    """
    _check_level(level, draws)
    stack = [_finite("rank_intervals", column, 3) for column in columns]
    _check_flags("rank_intervals", len(stack), higher)
    C = len(stack[0])
    if len({len(v) for v in stack}) != 1:
        raise ValueError(f"rank_intervals: got columns of {[len(v) for v in stack]} candidates, expected one C. Drop who lacks a cell.")
    ups = [np.where(up, open_, -open_) for up, open_ in zip(higher, bounds or [np.zeros(C, dtype=np.int64)] * len(stack), strict=True)]
    lengths = {v.shape[2] for v in stack}
    sizes = block_sizes(draws, max(C * max(v.shape[1] for v in stack), *lengths))
    best = np.empty((draws, C), dtype=np.int32)
    worst = np.empty_like(best) if any(up.any() for up in ups) else best
    start = 0
    for samples, moves in zip(counts(lengths, sizes, seed), shifts(stack, sizes, seed), strict=True):
        scores = [sums(v, samples[v.shape[2]]) + move for v, move in zip(stack, moves, strict=True)]
        block = slice(start, start := start + len(scores[0]))
        if worst is best:
            best[block] = _ranks(scores, higher)
        else:
            best[block], worst[block] = _extreme_ranks(scores, higher, ups)
    point = _ranks([v.sum(axis=(1, 2), dtype=np.float64)[None] for v in stack], higher)[0]
    low, high = outward(best, worst, level)
    return np.minimum(low, point), np.maximum(high, point)


def _check_level(level: float, draws: int = 1) -> None:
    """Refuse a level or a number of draws that makes no interval."""
    if not 0 < level < 1:
        raise ValueError(f"agreement: got level = {level}, expected 0 < level < 1. Give the coverage, such as 0.95.")
    if draws < 1:
        raise ValueError(f"agreement: got draws = {draws}, expected at least 1. Ask for some hundred resamples.")


def _check_flags(where: str, width: int, higher: Sequence[bool]) -> None:
    """Refuse a list of directions that does not match the columns."""
    if len(higher) != width or width < 1:
        raise ValueError(f"{where}: got {width} columns and {len(higher)} directions, expected one each, at least one. Name them all.")


def _scores(where: str, values: Values, ndim: int) -> Floats:
    """Return values as float64; infinite scores have a rank, missing ones have none."""
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != ndim or np.isnan(v).any():
        raise ValueError(
            f"{where}: got shape {v.shape} with {int(np.isnan(v).sum())} nan, expected {ndim} axes and none. Drop who lacks a cell first."
        )
    return v


def _finite(where: str, values: Values, ndim: int) -> Values:
    """Return values as an array of the given number of axes, with entries, all of them finite."""
    v = np.asarray(values)
    if v.ndim != ndim or not v.size or v.dtype.kind not in "biuf":
        raise ValueError(f"{where}: got shape {v.shape} of {v.dtype}, expected {ndim} axes of bool or real numbers, none empty.")
    if v.dtype.kind == "f" and not np.isfinite(v).all():
        raise ValueError(f"{where}: got values that are not finite, expected numbers only. Drop failed cells first.")
    return v


def _tails(level: float) -> tuple[float, float]:
    """Return the two probabilities that leave level between them."""
    return (1 - level) / 2, (1 + level) / 2


def _extreme_ranks(scores: Sequence[Floats], higher: Sequence[bool], ups: Sequence[Values]) -> tuple[Ints, Ints]:
    """Return the best and the worst final ranks [B, C] that bounds allow, by K scores [B, C]; ups [C]: 1: better is open, -1: worse is."""
    signed = [-score if up else score for score, up in zip(scores, higher, strict=True)]
    ahead = [np.where(open_ > 0, -np.inf, score) for score, open_ in zip(signed, ups, strict=True)]
    behind = [np.where(open_ < 0, np.inf, score) for score, open_ in zip(signed, ups, strict=True)]
    found = []
    for own, others in ((ahead, behind), (behind, ahead)):
        places = [_average_ranks(score, False) for score in others]
        ranks = _final_ranks(places)
        # The ranks of those without bounds are right; the others' own open ends are still where everybody's are.
        for c in map(int, np.flatnonzero(np.any(ups, axis=0))):
            moved = [_moved(p, o, s[:, c], c) if open_[c] else p for p, o, s, open_ in zip(places, others, own, ups, strict=True)]
            total = np.sum(moved, axis=0)
            ranks[:, c] = 1 + (total < total[:, [c]]).sum(axis=1)
        found.append(ranks)
    return np.minimum(*found), np.maximum(*found)  # moves of others are not all to a candidate's harm where columns are averaged


def _moved(places: Floats, scores: Floats, own: Floats, c: int) -> Floats:
    """Return average ranks [B, C], lower scores [B, C] being better, once candidate c has its own score [B] in place of that."""
    gap = own[:, None] - scores
    side = np.where(np.isfinite(gap) & (np.abs(gap) <= _NOISE * np.abs(own)[:, None]), 0, np.sign(gap))
    after = (1 - side) / 2
    moved: Floats = places - (1 + np.sign(places - places[:, [c]])) / 2 + after
    moved[:, c] = scores.shape[1] - after.sum(axis=1) + after[:, c]
    return moved


def _ranks(scores: Sequence[Floats], higher: Sequence[bool]) -> Ints:
    """Return the final ranks [B, C] from K arrays [B, C] of scores."""
    return _final_ranks([_average_ranks(score, up) for score, up in zip(scores, higher, strict=True)])


def _final_ranks(places: Sequence[Floats]) -> Ints:
    """Return the final ranks [B, C] from K arrays [B, C] of average ranks."""
    first, _ = _tie_groups(np.sum(places, axis=0), False)
    return first + 1


def _average_ranks(scores: Floats, higher: bool) -> Floats:
    """Return ranks [B, C] along the last axis, tied ones averaged."""
    first, last = _tie_groups(scores, higher)
    return (first + last) / 2 + 1


def _tie_groups(scores: Floats, higher: bool) -> tuple[Ints, Ints]:
    """Return for every entry of scores [B, C] the first and the last place, from 0, of its group of equals in its row."""
    signed = -scores if higher else scores
    order = signed.argsort(axis=1, kind="stable")
    s = np.take_along_axis(signed, order, axis=1)
    before, after = s[:, :-1], s[:, 1:]
    with np.errstate(invalid="ignore"):  # inf - inf, which the equality settles
        gap = after - before
        same = (before == after) | ((gap <= _NOISE * np.minimum(np.abs(before), np.abs(after))) & (gap < math.inf))
    places = np.arange(s.shape[1])
    edge = np.ones((len(s), 1), dtype=np.bool_)
    starts = np.where(np.concatenate([edge, ~same], axis=1), places, 0)
    ends = np.where(np.concatenate([~same, edge], axis=1), places, s.shape[1] - 1)
    first, last = np.empty_like(order), np.empty_like(order)
    np.put_along_axis(first, order, np.maximum.accumulate(starts, axis=1), axis=1)
    np.put_along_axis(last, order, np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1], axis=1)
    return first, last
