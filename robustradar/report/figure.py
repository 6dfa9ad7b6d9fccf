"""The figures of a report: from a run's document to drawings and tables. Each is there where the run has its data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from robustradar.report.cell import short
from robustradar.report.chart import Axis, Curve, Point, curves, radar
from robustradar.report.curvature import densities, prices, spectra
from robustradar.report.document import Document, by_seed
from robustradar.report.grid import Cell, Grid, Head
from robustradar.report.learning import training
from robustradar.report.panel import Figure, Panel, file_name, first, is_real, of
from robustradar.report.strength import crossings, strengths
from robustradar.values import Column, Measured

_LEAST_AXES, _MOST_AXES = 3, 8


def figures(document: Document) -> list[Figure]:
    """All figures that the run has the data of, in the order of a report."""
    makers: tuple[Callable[[Document], Figure | None], ...] = (
        *(_radars, _tradeoff, strengths, crossings),
        *(spectra, densities, prices, training),
    )
    return [figure for maker in makers if (figure := maker(document)) is not None]


def _radars(document: Document) -> Figure | None:
    """A radar for each candidate, over the directed columns."""
    directed = [(m, c) for m, c in document.headlines if c.direction != "none"]
    if len(directed) < _LEAST_AXES:
        directed = [(m, c) for m, c in document.columns if c.direction != "none"]
    axes = [(key, ends) for key in directed if (ends := _ends(document, *key)) is not None][:_MOST_AXES]
    if len(axes) < _LEAST_AXES:
        return None
    names = [document.heading(*key) for key, _ in axes]
    panels, rows = [], []
    for series, candidate in first(document):
        found = [document.measured(candidate, metric, column.name) for (metric, column), _ in axes]
        values = [None if f is None else _normal(f.value, ends) for f, (_, ends) in zip(found, axes, strict=True)]
        spans = [_span(f, ends) for f, (_, ends) in zip(found, axes, strict=True)]
        if any(value is not None for value in values):
            shown = ["none" if v is None else f"{v:z.2f}" for v in values]
            rows.append((Cell(candidate), *map(Cell, shown)))
            told = "; ".join(f"{name} {v}" for name, v in zip(names, shown, strict=True))
            drawing = radar(names, values, spans, series)
            panels.append(Panel(f"radar-{series + 1}-{file_name(candidate)}", candidate, f"{told}; 1 is the best of all.", drawing))
    if not panels:
        return None
    caption = f"Every number from the worst of {len(document.order)} candidates (0) to the best (1).{of(document)}"
    key = "In a radar 0 is the middle and 1 the rim. Thick bars are 95 % intervals, cut at the ends."
    heads = (Head("candidate", words=True), *(Head(f"{name}, 0 to 1") for name in names))
    return Figure("Strengths and weaknesses", caption, key, tuple(panels), (Grid("Between worst and best", heads, tuple(rows)),))


def _ends(document: Document, metric: str, column: Column) -> tuple[float, float] | None:
    """A column's worst and best number; None where there are none, or all are alike."""
    found = [f.value for name in document.order if (f := document.measured(name, metric, column.name)) is not None]
    if not found or min(found) == max(found):
        return None
    return (min(found), max(found)) if column.direction == "higher" else (max(found), min(found))


def _normal(value: float, ends: tuple[float, float]) -> float:
    """0 at the worst, 1 at the best, and nothing beyond."""
    worst, best = ends
    return min(max((value - worst) / (best - worst), 0.0), 1.0)


def _span(found: Measured | None, ends: tuple[float, float]) -> tuple[float, float] | None:
    """An interval on the same scale."""
    if found is None or found.low is None or found.high is None:
        return None
    return _normal(found.low, ends), _normal(found.high, ends)


_SIDES = {"loss": ("clean loss", "adversarial loss"), "accuracy": ("clean accuracy", "adversarial accuracy")}


def _tradeoff(document: Document) -> Figure | None:
    """The curves of whatever column explains itself with one."""
    panels: list[Panel] = []
    tables: list[Grid] = []
    for metric, column in document.columns:
        for kind, (across, up) in _SIDES.items():
            drawn = []
            for series, candidate in first(document):
                found = document.measured(candidate, metric, column.name)
                points = _mean_points([own.details.get("curve") for _, own in by_seed(found)], kind) if found else []
                drawn += [Curve(candidate, series, tuple(points))] if points else []
            if drawn:
                ends = [f"{c.name}: P1 {short(c.points[0].x)}, {short(c.points[0].y)}; P2 " for c in drawn]
                ends = [f"{end}{short(c.points[-1].x)}, {short(c.points[-1].y)}." for end, c in zip(ends, drawn, strict=True)]
                drawing = curves(drawn, Axis(across), Axis(up))
                words = f"{up} against {across}" + (f" ({metric})" if len(panels) > 1 else "")
                panels.append(Panel(f"tradeoff-{len(panels) + 1}-{kind}", words.capitalize(), " ".join(ends), drawing))
                tables.append(_points(words.capitalize(), drawn, (across, up)))
    if not panels:
        return None
    caption = (
        "A network for every weight of the adversarial loss, from P1 (next to none) to P2 (next to all), with 95 % intervals. "
        f"Over several seeds points are means, and intervals span the seeds' own.{of(document)}"
    )
    key = (
        "Better is towards the lower left in losses and the upper right in accuracies. Thin lines are the intervals. "
        "Hollow points are dominated by another."
    )
    return Figure("What robustness costs", caption, key, tuple(panels), tuple(tables))


def _points(caption: str, drawn: Sequence[Curve], names: Sequence[str]) -> Grid:
    """The same points as a table."""
    rows = [
        (Cell(curve.name), Cell(f"{p.label or place}{', dominated' * p.hollow}"), _between(p.x, p.across), _between(p.y, p.up))
        for curve in drawn
        for place, p in enumerate(curve.points, 1)
    ]
    return Grid(caption, (Head("candidate", words=True), Head("point", words=True), *map(Head, names)), tuple(rows))


def _between(value: float, ends: Sequence[float | None] | None) -> Cell:
    """A number with its interval."""
    return Cell(short(value), value, f"[{', '.join(short(end) for end in ends if end is not None)}]" if ends else "")


def _mean_points(found: Sequence[Any], kind: str) -> list[Point]:
    """A curve's points over seeds; none where a seed has no such curve."""
    names = [f"{side}_{kind}" for side in ("clean", "adversarial")]
    wanted = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    curves_ = [c for c in found if isinstance(c, list) and all(isinstance(p, dict) and all(is_real(p.get(w)) for w in wanted) for p in c)]
    if not curves_ or len(curves_) < len(found) or {len(c) for c in curves_} != {len(curves_[0])} or len(curves_[0]) < 2:
        return []
    points = []
    for place, same in enumerate(zip(*curves_, strict=True)):
        x, y = (sum(p[name] for p in same) / len(same) for name in names)
        across, up = ((min(p[f"{name}_low"] for p in same), max(p[f"{name}_high"] for p in same)) for name in names)
        beaten = any(p.get("dominated" if kind == "loss" else "dominated_accuracy") for p in same)
        label = {0: "P1", len(curves_[0]) - 1: "P2"}.get(place, "")
        points.append(Point(x, y, across, up, label, hollow=beaten))
    return points
