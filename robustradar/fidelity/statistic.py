"""How well a score predicts a truth: Kendall's tau over sets of pairs, one bootstrap for all scores, what choosing loses, and ceilings.

NumPy and SciPy only. All arrays have one entry a candidate, and of scores and truths alike more is better. Draws come from generators made
from the given seed: equal arguments give equal numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from robustradar.numerics import agreement

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]

# Parameter counts that differ by no more than this are of one size; chosen here: wide enough for some hundred pairs among forty networks.
ALIKE = 1.15
DRAWS = 1000
# Random pools that a score chooses from, and their size: those of the published comparisons of cheap scores on NAS-RobBench-201.
POOLS, POOL, FIRST = 400, 20, 5
# With fewer candidates, or fewer pairs than five candidates have, nothing is judged; chosen here.
FEWEST, FEWEST_PAIRS = 5, 10
# Up to here every draw of the bootstrap is computed whole; chosen here for memory, see test_the_fast_bootstrap_is_the_whole_one.
WHOLE = 1000
_BLOCK = 1 << 21


@dataclass(frozen=True, eq=False)
class Slice:
    """Candidates, and which of their pairs count.

    Attributes:
        name: As tables name it.
        members: Places of its candidates in the table.
        sizes: Parameter counts of all candidates of the table, where only pairs of like size count; None: all pairs do.
    """

    name: str
    members: Places
    sizes: Floats | None = None

    def among(self, known: Flags) -> Slice:
        """The same slice of those candidates that have a number."""
        return replace(self, members=self.members[known[self.members]])

    def alike(self, some: Places) -> Flags:
        """Which pairs [len(some), members] count; `some` are places among the members."""
        pairs: Flags = some[:, None] != np.arange(len(self.members))[None]
        if self.sizes is not None:
            sizes = self.sizes[self.members]
            one, two = sizes[some][:, None], sizes[None]
            reach = ALIKE * (1 + 1e-12)  # 1.15 * 100 rounds to less than 115
            pairs &= (one <= reach * two) & (two <= reach * one)
        return pairs

    @cached_property
    def pairs(self) -> int:
        """How many pairs count."""
        if self.sizes is None:
            return math.comb(len(self.members), 2)
        return sum(int(self.alike(rows).sum()) for rows in _rows(len(self.members))) // 2


def slices(truth: Floats, sizes: Floats | None) -> tuple[Slice, ...]:
    """All candidates; those at or above the truth's median and its upper quartile; and pairs of like size, where sizes are known.

    Slices by the truth are for diagnosis: nobody can choose by what is not known yet.
    """
    found = [Slice("all", np.arange(len(truth)))]
    for name, share in (("top half", 0.5), ("top quarter", 0.75)):
        found.append(Slice(name, np.flatnonzero(truth >= np.quantile(truth, share))))
    if sizes is not None:
        found.append(Slice("size-matched", np.flatnonzero(np.isfinite(sizes)), sizes))
    return tuple(found)


def resamples(n: int, draws: int, seed: int) -> Floats:
    """How often each of n candidates is drawn in each resample of n [draws, n]; with the same for all scores, differences are paired."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(n, size=(draws, n)) + np.arange(draws)[:, None] * n
    counts: Floats = np.bincount(picks.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)
    return counts


def tau(score: Floats, truth: Floats, part: Slice, counts: Floats | None = None) -> tuple[float, Floats]:
    """Kendall's tau-b over a slice's pairs, and over every resample of the candidates.

    tau = sum of sign(score_i - score_j) * sign(truth_i - truth_j) / sqrt(pairs untied in the score * pairs untied in the truth), sums over
    the pairs of the slice, each weighted in a resample by the product of its candidates' counts. With more than `WHOLE` members a
    resample's sums are linear in the counts (Hoeffding's projection), which leaves out a part of their spread of order 1 / members.

    Args:
        score: [C], finite on the slice's members.
        truth: [C], the same.
        part: The slice.
        counts: [draws, C] from `resamples`; None: no draws.

    Returns:
        tau, and tau of each resample [draws]; nan where score or truth is constant over the pairs.

    Example:
        >>> everyone = Slice("all", np.arange(3))
        >>> round(tau(np.array([1.0, 2, 3]), np.array([1.0, 3, 2]), everyone)[0], 4)
        0.3333
    """
    a, b, n = score[part.members], truth[part.members], len(part.members)
    w = np.zeros((0, n)) if counts is None else counts[:, part.members]
    whole = n <= WHOLE
    total, drawn, linear = np.zeros(3), np.zeros((3, len(w))), np.zeros((3, n))
    for rows in _rows(n):
        pairs = part.alike(rows)
        one, two = (np.sign(v[rows][:, None] - v[None]) * pairs for v in (a, b))
        for place, signs in enumerate((one * two, np.abs(one), np.abs(two))):
            sums = signs.sum(axis=1)
            total[place] += sums.sum()
            linear[place, rows] = sums
            if whole and len(w):
                drawn[place] += np.einsum("bk,bk->b", w[:, rows], w @ signs.T)
    if not whole:
        drawn = 2 * linear @ w.T - total[:, None]
    return float(_ratio(total)), _ratio(drawn)


def _ratio(sums: Floats) -> Floats:
    """Tau from its three sums [3, ...]; nan where there is no order."""
    untied = sums[1] * sums[2]
    found = np.divide(sums[0], np.sqrt(np.maximum(untied, 0)), out=np.full(np.shape(untied), np.nan), where=untied > 0)
    tau: Floats = np.clip(found, -1, 1)
    return tau


def _rows(n: int) -> Iterator[Places]:
    """Places 0 to n - 1, as many at a time as blocks of n numbers a row allow."""
    size = max(1, _BLOCK // max(n, 1))
    return (np.arange(start, min(start + size, n)) for start in range(0, n, size))


def partial(score: Floats, given: Floats, both: Floats) -> Floats:
    """Kendall's partial tau of score and truth, given a third order: what the score knows of the truth that the third does not.

    (tau_st - tau_sg * tau_gt) / sqrt((1 - tau_sg**2) * (1 - tau_gt**2)), Kendall (1942); nan where the third is one of both.

    Args:
        score: tau of score and truth [...].
        given: tau of the third and the truth [...].
        both: tau of score and third [...].

    Example:
        >>> round(float(partial(np.array(0.5), np.array(0.5), np.array(0.0))), 4)
        0.5774
    """
    rest = (1 - both**2) * (1 - given**2)
    found: Floats = np.divide(score - both * given, np.sqrt(rest), out=np.full(np.shape(rest), np.nan), where=rest > 1e-12)
    return found


def interval(draws: Floats) -> tuple[float, float] | None:
    """The percentile interval of 95 % of the draws that have a value; None where none has."""
    known = draws[~np.isnan(draws)]
    if not len(known):
        return None
    low, high = np.quantile(known, (0.025, 0.975))
    return float(low), float(high)


def spearman(score: Floats, truth: Floats) -> float:
    """Spearman's rho: the correlation of average ranks; nan where one of both is constant.

    >>> spearman(np.array([1.0, 2, 3]), np.array([1.0, 3, 2]))
    0.5
    """
    from scipy.stats import rankdata

    one, two = rankdata(score), rankdata(truth)
    one, two = one - one.mean(), two - two.mean()
    scale = math.sqrt(float(one @ one) * float(two @ two))
    return float(one @ two) / scale if scale else math.nan


def chosen(values: Floats, k: Places) -> Floats:
    """How surely each entry is among the first k of its row [..., n]: candidates that tie for the last places share them.

    >>> chosen(np.array([[3.0, 1, 1, 0]]), np.array([2]))
    array([[1. , 0.5, 0.5, 0. ]])
    """
    last = np.take_along_axis(-np.sort(-values, axis=-1), k[..., None] - 1, axis=-1)
    above, level = values > last, values == last
    shared: Floats = (k[..., None] - above.sum(-1, keepdims=True)) / level.sum(-1, keepdims=True)
    found: Floats = above + level * shared
    return found


@dataclass(frozen=True)
class Choice:
    """What comes of choosing by a score.

    Attributes:
        regret: Truth lost on average by taking the score's first; where several are first, the mean over them.
        recall: Share of the truth's first k that are among the score's first k.
    """

    regret: float | None
    recall: float | None


def choice(score: Floats, truth: Floats, k: int) -> Choice:
    """Choosing from all candidates.

    >>> choice(np.array([3.0, 2, 1]), np.array([0.4, 0.5, 0.1]), 2)
    Choice(regret=0.1, recall=1.0)
    """
    one, two = score[None], truth[None]
    first = chosen(one, np.array([1]))
    both = chosen(one, np.array([k])) * chosen(two, np.array([k]))
    return Choice(float(truth.max() - (first * two).sum()), float(both.sum()) / k)


def pools(part: Slice, seed: int) -> list[Places]:
    """Random pools of a slice, by place in the table: a candidate and up to 19 others that form pairs with it; none is of one alone."""
    rng = np.random.default_rng(seed)
    members = part.members
    found = []
    if len(members):
        for first in rng.integers(len(members), size=POOLS):
            others = np.flatnonzero(part.alike(np.array([first]))[0])
            others = rng.choice(others, min(POOL - 1, len(others)), replace=False)
            found.append(members[np.append(others, first)])
    return [pool for pool in found if len(pool) > 1]


def pooled(score: Floats, truth: Floats, drawn: list[Places]) -> Choice:
    """Choosing from each pool, on average; recall, of the first five, over the pools of more than five candidates."""
    regrets, recalls = [], []
    for size in sorted({len(pool) for pool in drawn}):
        places = np.stack([pool for pool in drawn if len(pool) == size])
        one, two = score[places], truth[places]
        regrets.append(two.max(1) - (chosen(one, np.ones(len(places), dtype=np.intp)) * two).sum(1))
        if size > FIRST:
            k = np.full(len(places), FIRST)
            recalls.append((chosen(one, k) * chosen(two, k)).sum(1) / FIRST)
    return Choice(*(float(np.concatenate(found).mean()) if found else None for found in (regrets, recalls)))


def ceiling(truth: Floats, sd: Floats, part: Slice, seed: int) -> float:
    """The tau that is to be expected between the truth and another measurement of it.

    The truth as it stands is taken as exact, and tau computed with truth + noise, normal with the given standard deviation, on average
    over 200 draws (fewer for more than 1,000 candidates, whose taus hardly differ). No score can be expected to agree better.

    Args:
        truth: [C].
        sd: [C], each truth's own standard deviation.
        part: The slice; it stays that of the truth.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    n = len(part.members)
    draws = int(np.clip(2e8 / max(n, 1) ** 2, 10, 200))

    def agreeing(noisy: Floats) -> float:
        return agreement.kendall(noisy[part.members], truth[part.members]) if part.sizes is None else tau(noisy, truth, part)[0]

    return float(np.mean([agreeing(truth + sd * rng.standard_normal(len(truth))) for _ in range(draws)]))
