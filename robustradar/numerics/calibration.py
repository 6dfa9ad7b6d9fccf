"""From places in several columns to a truth of which some values are known: ridge regression around equal weights, none below zero.

NumPy and SciPy only. Features are standings, places in a column as numbers from 0 (last) to 1 (first), so that the equal weights of the
mean rank are the natural centre: without penalty's pull the weights are least squares', with an infinite one the order is the mean
rank's. A column is turned so that higher is better: a weight below zero would be against its own direction, and among columns that are
nearly the same least squares is full of them. L candidates of C have a label, their truth; more is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robustradar.numerics import agreement, resampling

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Penalties per label that are tried, besides the infinite one; chosen here: a standing's variance is 1 / 12, so that the first one all but
# frees the weights and the last one all but fixes their ratios.
PENALTIES = tuple(10 ** (k / 2) for k in range(-8, 3))
# Fewer labels do not calibrate; chosen here: two numbers and a penalty are fitted at least, and the spread about them is read off the rest.
FEWEST = 8
# How far, in standard errors of the paired difference, a larger penalty may be from the best one; chosen here: with few labels the best one
# is chance, and equal weights are the safer choice.
_WITHIN = 0.5
# Different mean standings among the labelled that it takes to leave one out.
FEWEST_PLACES = 3


@dataclass(frozen=True, eq=False)
class Calibration:
    """A fitted prediction of the truth, intercept + weights · standings.

    Attributes:
        intercept: In the truth's units.
        weights: [K], each at least 0: what the truth gains from the last to the first place in a column.
        lam: The penalty per label on weights that are not equal; inf: equal weights.
        left_out: [L], each label's prediction without it.
        sd: Standard deviation of a truth about its prediction.
        freedom: Degrees of freedom of sd: labels less the numbers that were in effect fitted, at least 1.
        covariance: [1 + K, 1 + K], of intercept and weights as if these could be below 0, in units of sd ** 2.
    """

    intercept: float
    weights: Floats
    lam: float
    left_out: Floats
    sd: float
    freedom: float
    covariance: Floats


def standings(columns: Floats, higher: Sequence[bool]) -> Floats:
    """Return each candidate's places as numbers from 0, last, to 1, first; ties have the average of theirs, and a lone candidate has 1 / 2.

    Args:
        columns: [C, K], no nan.
        higher: K flags: whether higher is better.

    Returns:
        [C, K].

    Example:
        >>> standings(np.array([[0.9, 1.0], [0.8, 2.0], [0.8, 3.0]]), [True, False])
        array([[1.  , 1.  ],
               [0.25, 0.5 ],
               [0.25, 0.  ]])
    """
    C = len(columns)
    if C == 1:
        return np.full(columns.shape, 0.5)
    ranks = [agreement.rank_mean(columns[:, [k]], [up]) for k, up in enumerate(higher)]
    return np.stack([(C - rank) / (C - 1) for rank in ranks], axis=1)


def obstacle(features: Floats, truth: Floats) -> str:
    """Return why these labels cannot calibrate, in words; empty where they can.

    >>> obstacle(np.zeros((3, 2)), np.zeros(3))
    '3 labels, and it takes at least 8'
    """
    places = len(np.unique(features.mean(axis=1).round(12)))
    if len(truth) < FEWEST:
        return f"{len(truth)} label{'' if len(truth) == 1 else 's'}, and it takes at least {FEWEST}"
    if len(np.unique(truth)) == 1:
        return f"all {len(truth)} labels have the same truth"
    if places < FEWEST_PLACES:
        return f"the mean ranks of the {len(truth)} labelled take {places} values, and it takes at least {FEWEST_PLACES}"
    return ""


def calibration(features: Floats, truth: Floats, penalties: Sequence[float] = PENALTIES) -> Calibration:
    """Return the ridge regression of truth on standings around equal weights, its penalty chosen by leaving one label out.

    argmin over b, c and w >= 0 of sum((truth - b - features w)**2) + lam * L * |w - c / K|**2: intercept b and common slope c are not
    penalised. Of the penalties and infinity the largest one is taken whose mean square of errors at a label that is left out is within
    half a standard error of the least.
    Where no weight is held at 0 this is a linear smoother with hat matrix h, and the error at a label that is left out is (truth - fit) /
    (1 - h_ii). With w - c / K a priori normal of variance sd**2 / (lam * L), these errors have variance sd**2 / (1 - h_ii), so that sd**2
    is the sum of (truth - fit) times the left-out error over L - 1, the penalty counting as one number that was fitted; `covariance` is
    the posterior one. Where weights are held at 0 sd is taken in the same way, and covariance and freedom stay those without the bound:
    it can only bring the weights nearer to true ones that keep it, in the norm that the covariance measures.

    Args:
        features: [L, K], the standings of the labelled.
        truth: [L].
        penalties: per label, each above 0 and finite; infinity is always tried.

    Raises:
        ValueError: if `obstacle` has something to say.

    Example:
        >>> places = np.linspace(0, 1, 9)
        >>> found = calibration(np.stack([places, places**2], axis=1), 40 + 10 * places)
        >>> round(found.intercept, 2), found.weights.round(2), found.lam < 1
        (40.02, array([9.88, 0.12]), True)
    """
    if reason := obstacle(features, truth):
        raise ValueError(f"calibration: got {reason}. Rank by rank_mean.")
    tried = [_ridge(features, truth, lam) for lam in (math.inf, *sorted(penalties, reverse=True))]
    squares = np.array([(truth - found.left_out) ** 2 for found in tried])
    more = squares - squares[squares.sum(axis=1).argmin()]
    within = more.mean(axis=1) <= _WITHIN * more.std(axis=1, ddof=1) / math.sqrt(len(truth)) + 1e-12 * squares.mean(axis=1)
    return tried[int(within.argmax())]


def _ridge(features: Floats, truth: Floats, lam: float) -> Calibration:
    """Return the fit with one penalty."""
    L, K = features.shape
    equal = math.isinf(lam)
    basis = np.full((K, 1), 1 / K) if equal else np.eye(K)
    pull = np.zeros((1, 1)) if equal else lam * L * (np.eye(K) - 1 / K)
    middle, mean = features.mean(axis=0), truth.mean()
    x, y = (features - middle) @ basis, truth - mean
    H, g = x.T @ x + pull, x.T @ y
    fitted = _nonnegative(H[None], g[None])[0]
    # What is left of H and g without one label, its mean taken off anew.
    more = L / (L - 1)
    without = _nonnegative(H - more * x[:, :, None] * x[:, None, :], g - more * x * y[:, None])
    left_out = mean - y / (L - 1) + more * (x * without).sum(axis=1)
    inverse = np.linalg.inv(H)
    spread = basis @ inverse @ basis.T
    covariance = np.empty((1 + K, 1 + K))
    covariance[0, 0], covariance[1:, 1:] = 1 / L + middle @ spread @ middle, spread
    covariance[0, 1:] = covariance[1:, 0] = -spread @ middle
    weights = basis @ fitted
    return Calibration(
        intercept=float(mean - middle @ weights),
        weights=weights,
        lam=lam,
        left_out=left_out,
        sd=math.sqrt(max(0.0, float((y - x @ fitted) @ (truth - left_out)) / (L - 1))),
        freedom=max(1.0, L - 2 - float(np.trace(inverse @ x.T @ x))),
        covariance=covariance,
    )


def _nonnegative(H: Floats, g: Floats) -> Floats:
    """Return the w >= 0 [N, K] that minimise w.T H w - 2 g.T w, for N positive definite H [N, K, K] and g [N, K]."""
    from scipy.optimize import nnls  # takes a while to import

    w: Floats = np.linalg.solve(H, g[..., None])[..., 0].astype(np.float64)
    for i in np.flatnonzero((w < 0).any(axis=1)):
        root = np.linalg.cholesky(H[i])
        w[i], _ = nnls(root.T, np.linalg.solve(root, g[i]))
    return w


def predicted(found: Calibration, features: Floats) -> tuple[Floats, Floats]:
    """Return the predicted truth [C] of candidates with standings features [C, K], and its sd [C], their own spread included.

    sd of the prediction = sd * sqrt(1 + x.T covariance x) with x = (1, features).
    """
    x = np.hstack([np.ones((len(features), 1)), features])
    spread = found.sd * np.sqrt(1 + np.einsum("ij,jk,ik->i", x, found.covariance, x))
    return found.intercept + features @ found.weights, spread


def rank_intervals(
    found: Calibration, features: Floats, known: Floats, known_sd: Floats, *, draws: int = 1000, seed: int
) -> tuple[Ints, Ints]:
    """Return 95 % intervals of the rank by truth: percentiles of the ranks of truths that are drawn from what is known of them.

    Each draw has one sd (scaled inverse chi-square with `freedom` degrees), one intercept and set of weights for all candidates, and every
    candidate's own deviation; labelled ones are drawn about their truth. Candidates with equal rows have equal intervals.

    Args:
        found: The calibration.
        features: [C, K], standings.
        known: [C], the truth of labelled candidates, nan of the others.
        known_sd: [C], its standard deviation; 0: exact.
        draws: chosen here, see test_rank_intervals_hold_the_true_rank.
        seed: of the draws.

    Returns:
        (low [C], high [C]), ranks from 1; they hold the rank by prediction and label.
    """
    rng = np.random.default_rng(seed)
    C, labelled = len(features), np.isfinite(known)
    # Sorted by what is known of them, so that neither names nor places in the table decide what is drawn for whom.
    rows = np.column_stack([features, np.where(labelled, known, -np.inf), known_sd])
    _, group = np.unique(rows, axis=0, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    x = np.hstack([np.ones((C, 1)), features])[order]
    point, _ = predicted(found, features)
    value = np.where(labelled, known, point)[order]
    eigenvalues, vectors = np.linalg.eigh(found.covariance)
    root = vectors * np.sqrt(np.maximum(eigenvalues, 0))
    sd = found.sd * np.sqrt(found.freedom / rng.chisquare(found.freedom, size=(draws, 1)))
    common = rng.standard_normal((draws, x.shape[1])) @ root.T
    ranks, start = np.empty((draws, C), dtype=np.int32), 0
    for size in resampling.block_sizes(draws, C):  # or a large table would be held several times over
        block = slice(start, start := start + size)
        own = rng.standard_normal((size, C))
        drawn = value + np.where(labelled[order], own * known_sd[order], sd[block] * (common[block] @ x.T + own))
        for row, places in zip(-drawn, ranks[block], strict=True):
            down = np.argsort(row)
            places[down] = np.searchsorted(row[down], row[down]) + 1
    low, high = resampling.outward(ranks, ranks)
    here = agreement.competition_ranks(value, higher=True)
    ends = np.empty((2, C), dtype=np.int64)
    ends[:, order] = np.minimum(low, here), np.maximum(high, here)
    widest = np.array([np.full(C, C), np.zeros(C)], dtype=np.int64)
    np.minimum.at(widest[0], group.ravel(), ends[0])
    np.maximum.at(widest[1], group.ravel(), ends[1])
    return widest[0, group.ravel()], widest[1, group.ravel()]
