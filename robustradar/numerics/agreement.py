"""How sure a number, a correlation or a rank is: intervals for accuracies and means, Kendall's tau, bootstrapped ranks.

NumPy and SciPy only, so that stored results can be compared without torch. Draws come from a generator made from the given
seed: equal arguments give equal intervals.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

Values = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Relative distance within which two scores are one and the same, chosen here: far above rounding, far below any difference of interest.
_NOISE = 1e-12
# Numbers that one block of work may hold at once, chosen here: 16 MB of float64.
_BLOCK = 1 << 21


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


def seed_interval(values: Values, level: float = 0.95) -> tuple[float, float] | None:
    """Return Student's t interval for the mean over training seeds: mean -+ t * s / sqrt(S), t on S - 1 degrees of freedom.

    Args:
        values: [S], one value a seed.
        level: coverage, 0 < level < 1; 0.95 by convention.

    Returns:
        (low, high), or None for fewer than two seeds, which say nothing about spread.

    Raises:
        ValueError: if values is not a finite vector or level is out of range.

    Example:
        >>> low, high = seed_interval(np.array([1.0, 2.0, 3.0]))
        >>> round(low, 3), round(high, 3)
        (-0.484, 4.484)
    """
    _check_level(level)
    v = _finite("seed_interval", values, 1).astype(np.float64)
    if len(v) < 2:
        return None
    reach = float(stdtrit(len(v) - 1, (1 + level) / 2) * v.std(ddof=1) / math.sqrt(len(v)))
    mean = float(v.mean())
    return mean - reach, mean + reach


def bootstrap_mean(values: Values, *, level: float = 0.95, draws: int = 1000, seed: int) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean over seeds and samples.

    Each draw resamples the n samples, the same ones for all seeds, and the S seeds, and takes the mean. With S = 1 only samples
    vary, with n = 1 only seeds. Few seeds give too narrow an interval: a resample of S values has only (S - 1) / S of their variance.

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
    sizes = _block_sizes(draws, n)
    samples, seeds = _counts({n}, 0, sizes, seed), _counts({S}, 1, sizes, seed)
    means = np.concatenate([_sums(v[None], w[n], u[S]) for w, u in zip(samples, seeds, strict=True)]) / v.size
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
    columns: Sequence[Values], higher: Sequence[bool], *, level: float = 0.95, draws: int = 1000, seed: int
) -> tuple[Ints, Ints]:
    """Return percentile bootstrap intervals of the final rank, competition_ranks(rank_mean(column means)).

    Each draw resamples evaluation samples and training seeds, the same for every candidate and for every column of as many samples
    or seeds, so differences between candidates are paired; then all means and ranks are computed anew. Rounded outwards to whole
    ranks, and widened to hold the rank on the full data. Work grows as draws * C * (S * n + K * log C), memory as draws * C integers.

    Args:
        columns: K arrays [C, S, n] of per-sample values, bool or real; [C, S, 1] where only one value a seed exists.
        higher: K flags: whether higher is better in that column.
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
    """
    _check_level(level, draws)
    stack = [_finite("rank_intervals", column, 3) for column in columns]
    _check_flags("rank_intervals", len(stack), higher)
    if len({len(v) for v in stack}) != 1:
        raise ValueError(f"rank_intervals: got columns of {[len(v) for v in stack]} candidates, expected one C. Drop who lacks a cell.")
    lengths, runs = {v.shape[2] for v in stack}, {v.shape[1] for v in stack}
    sizes = _block_sizes(draws, max(len(stack[0]), *lengths))
    blocks = []
    for samples, seeds in zip(_counts(lengths, 0, sizes, seed), _counts(runs, 1, sizes, seed), strict=True):
        blocks.append(_ranks([_sums(v, samples[v.shape[2]], seeds[v.shape[1]]) for v in stack], higher).astype(np.int32))
    point = _ranks([_sums(v, np.ones((1, v.shape[2])), np.ones((1, v.shape[1]))) for v in stack], higher)[0]
    below, above = _tails(level)
    low = np.quantile(np.concatenate(blocks), below, axis=0, method="lower")
    high = np.quantile(np.concatenate(blocks), above, axis=0, method="higher")
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


def _block_sizes(draws: int, width: int) -> list[int]:
    """Split draws into blocks of which each holds at most _BLOCK numbers at the given width."""
    size = max(1, _BLOCK // width)
    return [min(size, draws - start) for start in range(0, draws, size)]


def _counts(lengths: set[int], axis: int, sizes: Sequence[int], seed: int) -> Iterator[dict[int, Floats]]:
    """Yield for every block how often each of n items is drawn, {n: [size, n]}.

    Every length has a stream of its own, so no column changes what another sees, nor does the size of a block.
    """
    streams = {n: np.random.default_rng([seed, axis, n]) for n in lengths}
    for size in sizes:
        yield {n: _resample(rng, n, size) for n, rng in streams.items()}


def _resample(rng: np.random.Generator, n: int, size: int) -> Floats:
    """Return the counts [size, n] of size resamples of n items, drawn with replacement."""
    picks = rng.integers(n, size=(size, n))
    picks += np.arange(size)[:, None] * n
    return np.bincount(picks.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _sums(v: Values, samples: Floats, seeds: Floats) -> Floats:
    """Return sums [B, C] of v [C, S, n] under the counts samples [B, n] and seeds [B, S], a few candidates at a time."""
    C, S, n = v.shape
    # Whole numbers below 2 ** 24 are exact in float32, at twice the speed; other sums need float64, or ties would break by rounding.
    largest = 1 if v.dtype == np.bool_ else np.iinfo(v.dtype).max + 1 if v.dtype.kind in "iu" else math.inf
    dtype: npt.DTypeLike = np.float32 if largest * n < 1 << 24 else np.float64
    weights = samples.T.astype(dtype)
    out = np.empty((len(samples), C))
    rows = max(1, _BLOCK // (S * n))
    for i in range(0, C, rows):
        part = v[i : i + rows].astype(dtype).reshape(-1, n) @ weights
        out[:, i : i + rows] = np.einsum("csb,bs->bc", part.reshape(-1, S, len(samples)), seeds)
    return out


def _ranks(scores: Sequence[Floats], higher: Sequence[bool]) -> Ints:
    """Return the final ranks [B, C] from K arrays [B, C] of scores."""
    total = sum((_average_ranks(score, up) for score, up in zip(scores, higher, strict=True)), start=np.zeros_like(scores[0]))
    first, _ = _tie_groups(total, False)
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
        same = (before == after) | (after - before <= _NOISE * np.minimum(np.abs(before), np.abs(after)))
    places = np.arange(s.shape[1])
    edge = np.ones((len(s), 1), dtype=np.bool_)
    starts = np.where(np.concatenate([edge, ~same], axis=1), places, 0)
    ends = np.where(np.concatenate([~same, edge], axis=1), places, s.shape[1] - 1)
    first, last = np.empty_like(order), np.empty_like(order)
    np.put_along_axis(first, order, np.maximum.accumulate(starts, axis=1), axis=1)
    np.put_along_axis(last, order, np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1], axis=1)
    return first, last
