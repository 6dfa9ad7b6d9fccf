"""The extension point for rankers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustradar.contract.declaration import Declaration
from robustradar.values import Ranking, Score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ScoreTable:
    """Every cell, and the per-sample values behind them.

    Attributes:
        scores: All cells, candidates in the order asked for.
        samples: (candidate, metric, column) to per-sample values [seeds, samples]; the same samples in the same order for every
            candidate, so that comparisons can be paired. Missing where a metric keeps none.
    """

    scores: tuple[Score, ...]
    samples: Mapping[tuple[str, str, str], NDArray[np.generic]]


@dataclass(frozen=True)
class Ranker(Declaration, ABC):
    """A way to put candidates in order."""

    @abstractmethod
    def rank(self, table: ScoreTable) -> Ranking:
        """The order of the candidates. Must not depend on the order of the rows; ties are ties.

        Raises:
            UsageError: A column that was asked for is not in the table.
        """
