"""Two runs, cell by cell: what changed, by how much, and whether that is a regression. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from robustradar.errors import UsageError, unknown
from robustradar.gate.chance import FEWEST_SEEDS, Difference, Test, corrected, difference, within
from robustradar.gate.protocol import compare_protocols, surroundings
from robustradar.gate.snapshot import Cell, Snapshot
from robustradar.values import JSON, Column, number

Verdict = Literal["regression", "improvement", "change", "same", "unjudged", "new"]

# One point of an accuracy, a twentieth of anything else: chosen here, below what a choice between architectures would hang on.
POINT, SHARE = 0.01, 0.05
# What the order of additions does to a float32: another machine is no change.
ROUNDING = 1e-6
_ADVICE = f"Run and save the baseline with --seeds {FEWEST_SEEDS} or more, better 5"
FEW_SEEDS = f"more than the samples explain, but {{}} seed(s) say too little of training's own chance. {_ADVICE}"
NO_CHANCE_KNOWN = f"neither per-sample values nor enough seeds: how much is chance is not known. {_ADVICE}"
BOUND = "one of the two values is a bound, which may lie anywhere beyond"


@dataclass(frozen=True)
class Tolerance:
    """How much worse a value may get.

    Attributes:
        size: In the column's unit, or as a share of the baseline's value.
        relative: Whether it is a share.
    """

    size: float
    relative: bool = False

    def of(self, value: float) -> float:
        """The same in the column's unit."""
        return self.size * abs(value) if self.relative else self.size


@dataclass(frozen=True)
class Rule:
    """What counts as a regression.

    Attributes:
        tolerances: Column, or a pattern of columns, to tolerance; the last that fits counts.
        alpha: How often a run without any change may raise an alarm, over all cells together.
        only: Columns, or patterns of columns, to judge; the fewer, the smaller a loss is seen. Empty: all.
    """

    tolerances: tuple[tuple[str, Tolerance], ...] = ()
    alpha: float = 0.05
    only: tuple[str, ...] = ()

    def judges(self, column: Column) -> bool:
        """Whether a column is judged."""
        return not self.only or any(fnmatch.fnmatchcase(column.name, pattern) for pattern in self.only)

    def tolerance(self, column: Column) -> Tolerance:
        """A column's: one that was given, else a point of a fraction, a twentieth of others, rounding where no direction is better."""
        given = [tolerance for pattern, tolerance in self.tolerances if fnmatch.fnmatchcase(column.name, pattern)]
        if given:
            return given[-1]
        if column.direction == "none":
            return Tolerance(ROUNDING, relative=True)
        return Tolerance(POINT) if column.unit == "fraction" else Tolerance(SHARE, relative=True)

    def check(self, before: Snapshot) -> None:
        """Refuses columns that a baseline has not, before anything is scored.

        Raises:
            UsageError: There is one.
        """
        columns = dict.fromkeys(cell.column.name for cell in before.cells)
        named = [("--tolerance", pattern) for pattern, _ in self.tolerances] + [("--only", pattern) for pattern in self.only]
        for option, pattern in named:
            if not fnmatch.filter(columns, pattern):
                raise UsageError(unknown(option, pattern, columns))


@dataclass(frozen=True)
class Row:
    """One cell's comparison.

    Attributes:
        candidate: Its label.
        metric: Its label.
        column: Name, direction and unit.
        verdict: What it comes to.
        before: The baseline's value; None where it has none.
        now: This run's.
        change: now − before.
        low: Lower end of the 95 % interval of the change; None where it is exact or nothing is known.
        high: Upper end.
        p: How often chance alone would bring such a change, corrected for the number of cells; None where it is not known.
        test: What p comes from.
        tolerance: In the column's unit.
        reason: Why it could not be judged.
        flags: Those that the baseline's cell has not.
    """

    candidate: str
    metric: str
    column: Column
    verdict: Verdict
    before: float | None
    now: float | None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    test: Test = "none"
    tolerance: float | None = None
    reason: str | None = None
    flags: tuple[str, ...] = ()

    @property
    def tolerated(self) -> bool:
        """Whether the change is no larger than its tolerance."""
        return self.change is not None and self.tolerance is not None and within(self.change, self.tolerance)

    def json(self) -> JSON:
        """One entry of ``cells``."""
        column = {"column": self.column.name, "direction": self.column.direction, "unit": self.column.unit}
        rest = {name: value for name, value in vars(self).items() if name not in ("candidate", "metric", "column", "flags")}
        return {"candidate": self.candidate, "metric": self.metric, **column, **rest, "new_flags": list(self.flags)}


@dataclass(frozen=True)
class Comparison:
    """A run beside its baseline.

    Attributes:
        rows: In the baseline's order; cells that it has not come last.
        alpha: The rule's.
        surroundings: Versions, device and so on that differ.
    """

    rows: tuple[Row, ...]
    alpha: float
    surroundings: tuple[str, ...] = ()

    def of(self, *verdicts: Verdict) -> tuple[Row, ...]:
        """The rows of some verdicts."""
        return tuple(row for row in self.rows if row.verdict in verdicts)

    @property
    def verdict(self) -> Verdict:
        """Of all rows: ``regression`` before ``unjudged`` before ``same``."""
        return "regression" if self.of("regression") else "unjudged" if self.of("unjudged") else "same"


def compare(before: Snapshot, now: Snapshot, rule: Rule) -> Comparison:
    """Judges every cell of the baseline. A regression is worse by more than the tolerance, and by more than chance explains.

    p is one-sided for columns with a direction. Those are corrected together, so that at most a share alpha of all runs calls a cell a
    regression that did not change; those without direction are corrected apart. Cells that are the same to the bit are no tests.

    Raises:
        UnlikeError: The protocols differ.
        UsageError: The rule names a column that there is not.
    """
    compare_protocols(before.study, now.study)
    rule.check(before)
    there = {cell.place: cell for cell in now.cells if rule.judges(cell.column)}
    given = {name for name in before.study["weights"] if name in now.study["weights"]}
    pairs = [(cell, there.pop(cell.place, None)) for cell in before.cells if rule.judges(cell.column)]
    sizes = [rule.tolerance(cell.column).of(cell.value or 0.0) for cell, _ in pairs]
    differences = [
        difference(cell, other, cell.candidate in given, size) if other and _both(cell, other) else None
        for (cell, other), size in zip(pairs, sizes, strict=True)
    ]
    ps = _corrected([cell for cell, _ in pairs], differences, sizes)
    rows = [_row(*pair, d, p, rule) for pair, d, p in zip(pairs, differences, ps, strict=True)]
    rows += [Row(c.candidate, c.metric, c.column, "new", None, c.value, reason=c.reason) for c in there.values()]
    return Comparison(tuple(rows), rule.alpha, surroundings(before.provenance, now.provenance))


def tolerance(text: str) -> tuple[str, Tolerance]:
    """A tolerance as it is typed.

    Raises:
        UsageError: It is not of the form column=number, or column=number%.

    >>> tolerance("robust_accuracy=0.01"), tolerance("*_loss=5%")
    (('robust_accuracy', Tolerance(size=0.01, relative=False)), ('*_loss', Tolerance(size=0.05, relative=True)))
    """
    column, _, size = text.rpartition("=")
    try:
        value = number(size.strip().removesuffix("%"))
    except (ValueError, ZeroDivisionError):
        value = -1.0
    if not column.strip() or value < 0:
        raise UsageError(f"--tolerance: got {text!r}, expected column=number, such as robust_accuracy=0.01 or clean_loss=5%.")
    relative = size.strip().endswith("%")
    return column.strip(), Tolerance(value / 100 if relative else value, relative)


def _both(before: Cell, now: Cell) -> bool:
    """Whether there are two numbers of one kind to compare."""
    return before.state == now.state == "measured" and before.column == now.column


def _corrected(cells: Sequence[Cell], differences: Sequence[Difference | None], sizes: Sequence[float]) -> list[float | None]:
    """Every difference's p, those that chance may have made corrected for their number."""
    ps = [None if d is None else d.p for d in differences]
    for neutral in (False, True):
        family = [(i, d) for i, d in enumerate(differences) if d and d.by_chance and (cells[i].column.direction == "none") == neutral]
        # Where a direction is better, only the side that was found counts: half of a symmetric test's p.
        half = 1.0 if neutral else 0.5
        sides = [0 if within(d.change, sizes[i]) else 1 if neutral or _worse(cells[i].column, d.change) else -1 for i, d in family]
        found = corrected([(d.p or 0.0) * half for _, d in family], [d.beyond * half for _, d in family], sides)
        for (i, _), p in zip(family, found, strict=True):
            ps[i] = p
    return ps


def _worse(column: Column, change: float) -> bool:
    """Whether a change is for the worse, where a direction is better."""
    return (change > 0) == (column.direction == "lower")


def _row(before: Cell, now: Cell | None, found: Difference | None, p: float | None, rule: Rule) -> Row:
    """A cell's comparison with its verdict."""
    row = Row(before.candidate, before.metric, before.column, "unjudged", before.value, now.value if now else None)
    if found is None or now is None:
        return replace(row, **_stateless(before, now))
    stems = {flag.partition(":")[0] for flag in before.flags}
    size = rule.tolerance(before.column).of(before.value or 0.0)
    ends = (None, None) if found.reach is None or found.test == "exact" else (found.change - found.reach, found.change + found.reach)
    row = replace(
        row,
        change=found.change,
        low=ends[0],
        high=ends[1],
        p=p,
        test=found.test,
        tolerance=size,
        flags=tuple(flag for flag in now.flags if flag.partition(":")[0] not in stems),
    )
    if row.tolerated or (p is not None and p > rule.alpha):
        return replace(row, verdict="same")
    if found.p is None:
        return replace(row, reason=BOUND if before.bound or now.bound else NO_CHANCE_KNOWN)
    if found.partly:
        return replace(row, reason=FEW_SEEDS.format(len(now.values)))
    if before.column.direction == "none":
        return replace(row, verdict="change")
    return replace(row, verdict="regression" if _worse(before.column, found.change) else "improvement")


def _stateless(before: Cell, now: Cell | None) -> dict[str, Any]:
    """Verdict and reason where there are no two numbers to compare."""
    if now is None:
        return {"reason": "this run has no such cell"}
    if before.column != now.column:
        return {"reason": f"the column's direction or unit is now {now.column.direction}, {now.column.unit}"}
    if now.state == "failed":
        return {"reason": now.reason}
    if before.state == now.state == "skipped":
        return {"verdict": "same", "reason": now.reason}
    return {"verdict": "new"} if now.state == "measured" else {"reason": f"now skipped: {now.reason}"}
