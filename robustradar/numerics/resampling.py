"""Draws of means over seeds and samples, block by block, and percentiles of drawn ranks. NumPy only.

Samples are drawn with replacement, the same for all candidates. Seeds are too few for that: their part is drawn from Student's t, for each
candidate by itself, since one network's training tells nothing of another's. What seed and sample do together is in both parts.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Numbers that one block of work may hold at once, chosen here: 16 MB of float64.
_BLOCK = 1 << 21


def block_sizes(draws: int, width: int) -> list[int]:
    """Split draws into blocks of which each holds at most 2 ** 21 numbers at the given width.

    >>> block_sizes(5, 1 << 20)
    [2, 2, 1]
    """
    size = max(1, _BLOCK // width)
    return [min(size, draws - start) for start in range(0, draws, size)]


def counts(lengths: set[int], sizes: Sequence[int], seed: int) -> Iterator[dict[int, Floats]]:
    """Yield for every block how often each of n samples is drawn, {n: [size, n]}, the same for all candidates.

    Every length has a stream of its own, so no column changes what another sees, nor does the size of a block.
    """
    streams = {n: np.random.default_rng([seed, 0, n]) for n in lengths}
    for size in sizes:
        yield {n: _resample(rng, n, size) for n, rng in streams.items()}


def shifts(columns: Sequence[Values], sizes: Sequence[int], seed: int) -> Iterator[list[Floats]]:
    """Yield for every block what training's chance adds to the sums of each column [C, S, n]: [size, C], nothing where S = 1.

    Each is Student's t on S - 1 degrees of freedom times the standard error. A candidate has draws of its own, the same in all columns
    of as many seeds, since they are of the same networks. Its values seed them, so that neither its place nor who else is there counts.
    """
    totals = [v.sum(axis=2, dtype=np.float64) + 0.0 for v in columns]  # + 0.0, since -0.0 has other bits
    streams = {}
    for S in {of.shape[1] for of in totals} - {1}:
        rows = np.hstack([of for of in totals if of.shape[1] == S])
        streams[S] = [np.random.default_rng([seed, 1, *row.view(np.uint32)]) for row in rows]
    for size in sizes:
        drawn = {S: [_student(rng, S, size) for rng in rngs] for S, rngs in streams.items()}
        yield [
            np.stack([weights @ own for weights, own in zip(drawn[S], of, strict=True)], axis=1) if S > 1 else np.zeros((size, len(of)))
            for S, of in ((of.shape[1], of) for of in totals)
        ]


def sums(v: Values, samples: Floats) -> Floats:
    """Return sums [B, C] over seeds and samples of v [C, S, n] under the counts samples [B, n], a few candidates at a time."""
    C, S, n = v.shape
    # Whole numbers below 2 ** 24 are exact in float32, at twice the speed; other sums need float64, or ties would break by rounding.
    largest = 1 if v.dtype == np.bool_ else np.iinfo(v.dtype).max + 1 if v.dtype.kind in "iu" else math.inf
    dtype: npt.DTypeLike = np.float32 if largest * S * n < 1 << 24 else np.float64
    weights = samples.T.astype(dtype)
    out = np.empty((len(samples), C))
    rows = max(1, _BLOCK // (S * n))
    for i in range(0, C, rows):
        out[:, i : i + rows] = (v[i : i + rows].sum(axis=1, dtype=dtype) @ weights).T
    return out


def outward(best: npt.NDArray[np.int32], worst: npt.NDArray[np.int32], level: float = 0.95) -> tuple[Ints, Ints]:
    """Return the low percentiles of the best and the high ones of the worst ranks, level between them, rounded outwards to drawn ranks.

    Args:
        best: [draws, C]; its columns are reordered in place, or a large table would be held twice.
        worst: Likewise; the very same array, if ranks are no worse than that.
        level: coverage, 0 < level < 1; 0.95 by convention.

    Returns:
        (low [C], high [C]).

    Example:
        >>> ranks = np.arange(100, dtype=np.int32)[:, None]
        >>> outward(ranks, ranks)
        (array([2]), array([97]))
    """
    below, above = (1 - level) / 2, (1 + level) / 2
    low = np.quantile(best, below, axis=0, method="lower", overwrite_input=True)
    high = np.quantile(worst, above, axis=0, method="higher", overwrite_input=True)
    return low.astype(np.int64), high.astype(np.int64)


def _resample(rng: np.random.Generator, n: int, size: int) -> Floats:
    """Return the counts [size, n] of size resamples of n items, drawn with replacement."""
    picks = rng.integers(n, size=(size, n))
    picks += np.arange(size)[:, None] * n
    return np.bincount(picks.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def _student(rng: np.random.Generator, S: int, size: int) -> Floats:
    """Return weights [size, S] whose sum with any S values is t * sqrt(S) * their standard deviation, t on S - 1 degrees of freedom.

    With u normal, sum((u - mean(u)) * v) is normal of variance (S - 1) * s**2; times the root of S / chi2 it is t * sqrt(S) * s.
    """
    normal = rng.standard_normal((size, 2 * S - 1))
    u, chi2 = normal[:, :S], (normal[:, S:] ** 2).sum(axis=1, keepdims=True)
    weights: Floats = (u - u.mean(axis=1, keepdims=True)) * np.sqrt(S / chi2)
    return weights
