"""Ranks candidates by the mean of their ranks in chosen columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from robustradar import Measured, Ranker, Ranking, RankingRow, Score, ScoreTable, UsageError, fixed, headlines
from robustradar.errors import unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MADE_UP = 256
_UNDIRECTED = "no metric yields a number of which more or less is better"


@dataclass(frozen=True)
class RankMean(Ranker):
    """Mean of the ranks in the chosen columns, each column ranked by its direction; Borda's rule.

    A rank's interval comes from draws of the evaluation samples and seeds, the same for every candidate. A column without per-sample values
    is drawn from its own intervals, as normal and independent of all others; where a cell has none, it counts as exact. A bound is open:
    ranks reach from those with each value at its bound to those with it beyond all others, and so do the ranks of whom it may pass.
    """

    name: str = fixed("rank-mean")
    columns: Annotated[tuple[str, ...], Field(description="columns to rank by, joined by +; none: each metric's first that applies")] = ()
    draws: Annotated[int, Field(ge=100, description="bootstrap draws")] = 1000

    def rank(self, table: ScoreTable) -> Ranking:
        """Candidates with a number in every chosen column, best first; the others are unranked, with the reason."""
        from robustradar.numerics import agreement

        found = choice(table, self.columns, self.name)
        placed = found.placed
        if not placed:
            return Ranking((), found.names, found.unranked)
        values = [_values(table, found.cells, placed, key) for key in found.keys]
        bounds = [_bounds([found.cells[candidate, *key] for candidate in placed]) for key in found.keys]
        score = agreement.rank_mean(found.points(), found.higher)
        ranks = agreement.competition_ranks(score, higher=False)
        low, high = agreement.rank_intervals(values, found.higher, bounds=bounds, draws=self.draws, seed=0)
        rows = [
            RankingRow(int(ranks[i]), int(min(low[i], ranks[i])), int(max(high[i], ranks[i])), name, float(score[i]))
            for i, name in enumerate(placed)
        ]
        return Ranking(tuple(sorted(rows, key=lambda row: (row.rank, row.candidate))), found.names, found.unranked)


@dataclass(frozen=True, eq=False)
class Choice:
    """The columns that are ranked by, and who has a number in all of them.

    Attributes:
        keys: (metric, column) of each.
        cells: All cells by candidate, metric and column.
        placed: Who is ranked.
        unranked: Who is not, and why.
    """

    keys: tuple[tuple[str, str], ...]
    cells: Mapping[tuple[str, str, str], Score]
    placed: tuple[str, ...]
    unranked: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(name for _, name in self.keys)

    @property
    def higher(self) -> list[bool]:
        """Whether higher is better, by column; only where somebody is ranked."""
        return [self.cells[self.placed[0], *key].column.direction == "higher" for key in self.keys]

    def points(self) -> NDArray[np.float64]:
        """The values [candidates, columns]."""
        import numpy as np

        return np.array([[_value(self.cells[candidate, *key]) for key in self.keys] for candidate in self.placed])


def choice(table: ScoreTable, columns: Sequence[str], ranker: str) -> Choice:
    """What a table is ranked by.

    Args:
        table: All cells.
        columns: Their names; none: each metric's first that applies.
        ranker: Who asks, for messages.

    Raises:
        UsageError: A column is not in the table, or has no direction.
    """
    directed = dict.fromkeys((s.metric, s.column.name) for s in table.scores if s.column.direction != "none")
    known = {name for _, name in directed}
    if wrong := [name for name in columns if name not in known]:
        raise UsageError(unknown(f"ranker {ranker}: columns", wrong[0], known))
    first = headlines(table.scores)
    keys = tuple(key for key in directed if (key[1] in columns if columns else first[key[0]].name == key[1]))
    cells = {(s.candidate, s.metric, s.column.name): s for s in table.scores}
    candidates = list(dict.fromkeys(s.candidate for s in table.scores))
    missing = {c: gap for c in candidates if (gap := _gap([cells[c, *key] for key in keys]) if keys else _UNDIRECTED)}
    return Choice(keys, cells, tuple(c for c in candidates if c not in missing), tuple(sorted(missing.items())))


def _gap(scores: Sequence[Score]) -> str | None:
    """Why a candidate cannot be placed."""
    for score in scores:
        if not isinstance(score.outcome, Measured):
            return f"{score.column.name} {type(score.outcome).__name__.lower()}: {score.outcome.reason}"
    return None


def _values(
    table: ScoreTable, cells: Mapping[tuple[str, str, str], Score], placed: Sequence[str], key: tuple[str, str]
) -> NDArray[np.generic]:
    """One column's per-sample values [candidates, seeds, samples]; where there are none, made-up ones of the same mean and error."""
    import numpy as np

    found = [table.samples.get((candidate, *key)) for candidate in placed]
    if any(values is None for values in found) or len({values.shape for values in found if values is not None}) != 1:
        return np.stack([_made_up(cells[candidate, *key])[None] for candidate in placed])
    return np.stack([values for values in found if values is not None])


def _made_up(score: Score) -> NDArray[np.float64]:
    """Values [_MADE_UP] with the score's mean, whose resamples' means lie in its interval as often as they should."""
    import numpy as np

    value, half = _value(score), _half(score)
    # By name, so that no other candidate or column decides what is drawn here, and each has draws of its own.
    name = "\n".join((score.candidate, score.metric, score.column.name))
    drawn = np.random.default_rng(list(name.encode())).standard_normal(_MADE_UP)
    deviations = (drawn - drawn.mean()) / drawn.std()
    made: NDArray[np.float64] = value + half / 1.96 * np.sqrt(_MADE_UP) * deviations
    return made


def _bounds(scores: Sequence[Score]) -> NDArray[np.int64]:
    """Where values are but bounds: 1 of those at or above, -1 of those at or below, 0 elsewhere."""
    import numpy as np

    sides = {"low": 1, "high": -1, None: 0}
    return np.array([sides[s.outcome.bound] if isinstance(s.outcome, Measured) else 0 for s in scores])


def _half(score: Score) -> float:
    """Half the width of a cell's 95 % interval; of a one-sided one that side, and 0 where there is none or the value is a bound."""
    if not isinstance(score.outcome, Measured):
        return 0.0
    ends = [abs(end - score.outcome.value) for end in (score.outcome.low, score.outcome.high) if end is not None]
    return sum(ends) / len(ends) if ends else 0.0


def _value(score: Score) -> float:
    """A measured cell's number."""
    if not isinstance(score.outcome, Measured):
        raise TypeError(f"{score.candidate}, {score.column.name}: no number")
    return score.outcome.value
