"""What measuring yields: numbers with their uncertainty, or a reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from robustradar.values.text import JSON

Direction = Literal["higher", "lower", "none"]


@dataclass(frozen=True)
class Measured:
    """A number with its uncertainty.

    Attributes:
        value: Finite, and within its own interval.
        low: Lower end of the 95 % interval or bound; None where the value is exact or no interval is known.
        high: Upper end. A value that equals its only end is a `bound` itself: it lies there or beyond.
        flags: What is to be known before the value is trusted; they stay with it wherever it is shown.
        details: JSON values that explain it.
        samples: Per-sample values [n] whose mean is `value`, or None. Kept beside the JSON, for paired comparisons.
    """

    value: float
    low: float | None = None
    high: float | None = None
    flags: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    samples: Any = field(default=None, compare=False, repr=False)

    @property
    def bound(self) -> Literal["low", "high"] | None:
        """Which end of what is known the value itself is, where it is but a bound: ``low`` means there or above, ``high`` there or below.

        >>> Measured(0.1, low=0.1).bound, Measured(0.1, high=0.1).bound, Measured(0.1, low=0.05).bound, Measured(0.1).bound
        ('low', 'high', None, None)
        """
        if None not in (self.low, self.high):
            return None
        return "low" if self.value == self.low else "high" if self.value == self.high else None


@dataclass(frozen=True)
class Skipped:
    """The metric does not apply here, and says why."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """Something broke. Never a number."""

    reason: str
    culprit: str = ""

    def __str__(self) -> str:
        """Why, with whose fault it is at the head."""
        return f"{self.culprit}: {self.reason}" if self.culprit else self.reason


Outcome = Measured | Skipped | Failed


def stated(found: Outcome) -> JSON:
    """An outcome with its state, less its samples: what `outcome_of` reads back.

    >>> stated(Skipped("no classes"))
    {'state': 'skipped', 'reason': 'no classes'}
    """
    match found:
        case Measured():
            kept = {name: getattr(found, name) for name in ("value", "low", "high")}
            return {"state": "measured", **kept, "flags": list(found.flags), "details": dict(found.details)}
        case Skipped():
            return {"state": "skipped", "reason": found.reason}
        case Failed():
            return {"state": "failed", "reason": found.reason, "culprit": found.culprit}


def outcome_of(row: Mapping[str, Any], samples: Any = None) -> Outcome:
    """The outcome of a row: what `stated` made, or `Score.json`, which tells a failure's culprit in its reason; with its samples."""
    match row["state"]:
        case "measured":
            return Measured(row["value"], row["low"], row["high"], tuple(row["flags"]), row["details"], samples)
        case "skipped":
            return Skipped(row["reason"])
    return Failed(row["reason"], row.get("culprit", ""))


@dataclass(frozen=True)
class Column:
    """One number that a metric yields.

    Attributes:
        name: As rankers and tables name it: lower-case words joined by underscores.
        direction: Whether higher or lower is better, or neither.
        unit: ``fraction``, ``loss``, ``1``, ``strength`` (of an attack, in the data's own units; tables show images' in 1/255) or the like.
    """

    name: str
    direction: Direction
    unit: str


@dataclass(frozen=True)
class Score:
    """One cell of the result: a metric's column for a candidate, over all seeds."""

    candidate: str
    metric: str
    column: Column
    outcome: Outcome

    def json(self) -> JSON:
        """The flat row of the published schema."""
        row: dict[str, Any] = {
            "candidate": self.candidate,
            "metric": self.metric,
            "column": self.column.name,
            "state": "",
            "value": None,
            "low": None,
            "high": None,
            "unit": self.column.unit,
            "direction": self.column.direction,
            "flags": [],
            "reason": None,
            "details": {},
        }
        row |= {name: value for name, value in stated(self.outcome).items() if name in row}
        if isinstance(self.outcome, Failed):
            row["reason"] = str(self.outcome)
        return row

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Score:
        """The cell whose row this is; a failure's culprit stays at the head of its reason."""
        return cls(row["candidate"], row["metric"], Column(row["column"], row["direction"], row["unit"]), outcome_of(row))


def headlines(scores: Sequence[Score]) -> dict[str, Column]:
    """Every metric's headline, by which it is ranked and shown unless another column is asked for.

    It is the first column that is not skipped for all candidates; the first of all where there is none.

    >>> size, error = Column("size", "none", "1"), Column("error", "lower", "1")
    >>> headlines([Score("a", "m", size, Skipped("none")), Score("a", "m", error, Measured(0.5))])["m"].name
    'error'
    """
    applying = {(s.metric, s.column.name) for s in scores if not isinstance(s.outcome, Skipped)}
    found: dict[str, Column] = {}
    for metric, column in dict.fromkeys((s.metric, s.column) for s in scores):
        if metric not in found or ((metric, found[metric].name) not in applying and (metric, column.name) in applying):
            found[metric] = column
    return found
