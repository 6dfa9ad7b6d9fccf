"""How often chance alone would bring a change as large: statistics of one cell in two runs. NumPy and SciPy only.

Chance comes from two sides. The evaluation samples are a draw from all that there might be, and both runs saw the same ones, so
differences are taken sample by sample. Training is a draw, too: another seed, or a rounding that differs, gives another network, and
samples tell nothing of that. So samples alone decide only where the networks were given or are the very same; networks trained anew are
compared over seeds as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from robustradar.gate.snapshot import Cell, Samples
from robustradar.numerics.seeds import components, student

Test = Literal["identical", "exact", "McNemar", "paired t", "seeds", "none"]
Floats = NDArray[np.float64]

# A change of just the tolerance is tolerated, and 0.87 − 0.86, in floating point more than 0.01, is no more than that.
SLACK = 1 + 1e-9
# With fewer, the spread between seeds is itself too much by chance (see test_few_seeds_raise_no_more_alarms).
FEWEST_SEEDS = 3


@dataclass(frozen=True)
class Difference:
    """A change with its chance, before other cells are looked at.

    Attributes:
        change: now − before.
        p: Two-sided; None where nothing is known of chance.
        test: What it comes from.
        reach: Half of the 95 % interval of the change.
        beyond: p of a change of just the tolerance: how often chance alone would bring one that is not tolerated.
        partly: Whether training's chance is not in p.
    """

    change: float
    p: float | None
    test: Test
    reach: float | None = None
    beyond: float = 1.0
    partly: bool = False

    @property
    def by_chance(self) -> bool:
        """Whether there is a test behind p: neither the same to the bit, nor exact, nor unknown."""
        return self.test not in ("identical", "exact", "none")


def difference(before: Cell, now: Cell, given: bool, tolerance: float) -> Difference:
    """What changed in a cell that is measured in both runs, and by which chance.

    Args:
        before: The baseline's.
        now: This run's.
        given: Whether the networks were given, so that samples are all the chance there is.
        tolerance: In the column's unit.
    """
    pair = _pair(before.samples, now.samples)
    change = (now.value or 0.0) - (before.value or 0.0)
    if before.values == now.values and (pair is None or np.array_equal(*pair)):
        return Difference(0.0, 1.0, "identical", 0.0)
    if not before.chance and not now.chance:
        return Difference(change, 0.0, "exact", 0.0)
    if before.bound or now.bound:
        return Difference(change, None, "none")
    fixed = given or (before.fits == now.fits and any(before.fits))
    if pair is not None and fixed:
        return _over_samples(*pair, change, tolerance)
    if len(before.values) == len(now.values) >= FEWEST_SEEDS:
        return _over_seeds(np.array([before.values, now.values]), pair, change, tolerance)
    if pair is not None:
        return replace(_over_samples(*pair, change, tolerance), partly=True)
    return Difference(change, None, "none")


def mcnemar(lost: int, gained: int) -> float:
    """McNemar's exact test (1947): how often a fair coin for each of the samples that changed would split them at least as unevenly.

    p = min(1, 2 · P(X ≤ min(lost, gained))) with X binomial of lost + gained trials at 1/2. Samples that did not change say nothing.

    Args:
        lost: Samples right before and wrong now.
        gained: Samples wrong before and right now.

    >>> mcnemar(0, 0), mcnemar(5, 0), mcnemar(7, 7)
    (1.0, 0.0625, 1.0)
    """
    return min(1.0, 2 * float(bdtr(min(lost, gained), lost + gained, 0.5)))


def within(change: float, tolerance: float) -> bool:
    """Whether a change is no larger than its tolerance.

    >>> within(0.86 - 0.87, 0.01), within(0.85 - 0.87, 0.01)
    (True, False)
    """
    return abs(change) <= tolerance * SLACK


def corrected(ps: Sequence[float], beyond: Sequence[float], sides: Sequence[int]) -> list[float]:
    """Each p for the whole family: Σⱼ min(p, beyondⱼ), over all cells that are not found already on its side.

    Those at most alpha are found. With probability 1 − alpha no cell is found that did not change: a cell j without change is found at a
    level p only where its own p is as small and its change is beyond its tolerance, of which each alone bounds the probability. So a wide
    tolerance leaves its share to the other cells, as Tarone (1990) does for tests that cannot reach a level. Where nothing is tolerated,
    this is Holm's step-down correction (1979).

    Args:
        ps: How often chance alone would bring each cell's change.
        beyond: How often it would bring a change that is beyond the cell's tolerance.
        sides: 1 or −1 for a change beyond its tolerance, by its direction; 0 for one that is tolerated, which is never found.

    >>> corrected([0.01, 0.04, 0.03], [1.0, 1.0, 1.0], [1, 1, 1])
    [0.03, 0.06, 0.06]
    >>> corrected([0.01, 0.04, 0.03], [1.0, 0.002, 1.0], [1, 0, 1])
    [0.022, 0.082, 0.032]
    """
    found, p = np.ones(len(ps)), np.asarray(ps)
    for side in (-1, 0, 1):
        left, highest = np.array(beyond), 0.0
        for i in np.argsort(p, kind="stable"):
            if sides[i] != side:
                continue
            highest = max(highest, p[i], min(1.0, float(np.minimum(p[i], left).sum())))
            found[i] = highest
            if side:
                left[i] = 0.0
    return [float(value) for value in found]


def _pair(before: Samples | None, now: Samples | None) -> tuple[Samples, Samples] | None:
    """Per-sample values of both, where they are of the same samples."""
    return (before, now) if before is not None and now is not None and before.shape == now.shape else None


def _differences(before: Samples, now: Samples) -> Floats:
    """Per-sample differences, averaged over seeds [n]."""
    means: Floats = (now.astype(np.float64) - before.astype(np.float64)).mean(axis=0)
    return means


def _over_samples(before: Samples, now: Samples, change: float, tolerance: float) -> Difference:
    """A change of fixed networks: McNemar's test where a sample is right or wrong, else a paired t over samples."""
    differences = _differences(before, now)
    n = len(differences)
    if n < 2:
        return Difference(change, None, "none")
    parts = [(float(differences.var(ddof=1)) / n, n - 1)]
    p, reach = student(float(differences.mean()), parts)
    if before.dtype == now.dtype == np.bool_ and len(before) == 1:
        lost, gained = int((differences < 0).sum()), int((differences > 0).sum())
        # The most even split of as many samples that is not tolerated.
        fewer = math.ceil((lost + gained - n * tolerance * SLACK) / 2) - 1
        beyond = mcnemar(fewer, lost + gained - fewer) if fewer >= 0 else 0.0
        return Difference(change, mcnemar(lost, gained), "McNemar", reach, beyond)
    return Difference(change, p, "paired t", reach, student(tolerance, parts)[0])


def _over_seeds(by_seed: Floats, pair: tuple[Samples, Samples] | None, change: float, tolerance: float) -> Difference:
    """A change of networks trained anew, by seed [2, S], with the chance of the samples, which all seeds share, added."""
    parts = components(by_seed, pair or ())
    p, reach = student(float(by_seed[1].mean() - by_seed[0].mean()), parts)
    return Difference(change, p, "seeds", reach, student(tolerance, parts)[0])
