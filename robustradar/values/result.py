"""What a run found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robustradar.values.fit import Cost, FitRecord
from robustradar.values.outcome import Failed, Score
from robustradar.values.study import Study
from robustradar.values.text import JSON

SCHEMA = "robustradar/1"


@dataclass(frozen=True)
class RankingRow:
    """One candidate's place: 1 is best; equal scores share a rank; low and high are the rank's 95 % interval."""

    rank: int
    rank_low: int
    rank_high: int
    candidate: str
    score: float


@dataclass(frozen=True)
class Ranking:
    """Candidates in order, with the columns that decided, and those that could not be placed.

    Attributes:
        rows: By rank, then by name.
        columns: The names of the columns that were ranked on.
        unranked: Candidate and reason.
        notes: What is to be known before the order is trusted, a sentence each.
        details: JSON values that explain it.
        score: What tables call the rows' score; empty: it means nothing by itself, and they do not show it.
    """

    rows: tuple[RankingRow, ...]
    columns: tuple[str, ...]
    unranked: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict, hash=False)
    score: str = ""


@dataclass(frozen=True)
class FitUse:
    """A fit as a result shows it."""

    record: FitRecord
    cached: bool
    weights: str


@dataclass(frozen=True)
class MeasurementUse:
    """A finished measurement as a result shows it.

    Attributes:
        candidate: The candidate's label.
        metric: The metric's label.
        seed: None where no fit and no chance is involved.
        cached: Whether it was taken from the store.
        cost: What measuring cost when it was done, without the fits.
        fits: Keys of the fits that it rests on.
        key: Its own, under which the store keeps its outcomes and their per-sample values.
    """

    candidate: str
    metric: str
    seed: int | None
    cached: bool
    cost: Cost
    fits: tuple[str, ...] = ()
    key: str = ""


@dataclass(frozen=True)
class Result:
    """All that a run found. Its JSON is the truth; every other form is a rendering of it.

    Attributes:
        evidence: What is known of each metric as a forecast of robustness, by the metric's label, where anything is.
    """

    study: Study
    scores: tuple[Score, ...]
    ranking: Ranking
    fits: tuple[FitUse, ...]
    provenance: Mapping[str, Any]
    measurements: tuple[MeasurementUse, ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def failed(self) -> tuple[Score, ...]:
        """The cells that broke."""
        return tuple(score for score in self.scores if isinstance(score.outcome, Failed))

    def json(self) -> JSON:
        """The document of schema ``robustradar/1``."""
        return {
            "schema": SCHEMA,
            "study": self.study.json(),
            "scores": [score.json() for score in self.scores],
            "ranking": [
                {"rank": r.rank, "rank_low": r.rank_low, "rank_high": r.rank_high, "candidate": r.candidate, "score": r.score}
                for r in self.ranking.rows
            ],
            "ranked_by": list(self.ranking.columns),
            "unranked": [{"candidate": candidate, "reason": reason} for candidate, reason in self.ranking.unranked],
            **({"ranking_notes": list(self.ranking.notes)} if self.ranking.notes else {}),
            **({"ranking_score": self.ranking.score} if self.ranking.score else {}),
            **({"ranking_details": dict(self.ranking.details)} if self.ranking.details else {}),
            **({"evidence": dict(self.evidence)} if self.evidence else {}),
            "fits": [
                {
                    "key": fit.record.key,
                    "spec": dict(fit.record.spec),
                    "cached": fit.cached,
                    "seconds": fit.record.cost.seconds,
                    "epochs": [dict(epoch) for epoch in fit.record.epochs],
                    "selected_epoch": fit.record.selected_epoch,
                    "weights": fit.weights,
                    "cost": _spent(fit.record.cost),
                    "flags": list(fit.record.flags),
                }
                for fit in self.fits
            ],
            "measurements": [
                {
                    "candidate": use.candidate,
                    "metric": use.metric,
                    "seed": use.seed,
                    "cached": use.cached,
                    "seconds": use.cost.seconds,
                    "cost": _spent(use.cost),
                    "fits": list(use.fits),
                    "key": use.key,
                }
                for use in self.measurements
            ],
            "provenance": dict(self.provenance),
        }


def _spent(cost: Cost) -> JSON:
    """A cost without its seconds, which stand beside it."""
    return {name: value for name, value in vars(cost).items() if name != "seconds"}
