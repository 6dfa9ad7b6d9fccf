"""Figures of critical attack strengths: on one scale, and how each is found where losses cross their threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustradar.report.cell import short
from robustradar.report.chart import Axis, Curve, Point, Row, curves, ranges
from robustradar.report.document import Document, by_seed
from robustradar.report.grid import Cell, Grid, Head
from robustradar.report.panel import Figure, Panel, file_name, first, is_real, item, of
from robustradar.report.view import measured_cell
from robustradar.values import Column, Measured, number_text

_KINDS = {"eps_star": "ε*", "eps_star_bound": "its lower bound, by the clean network"}
# The table of crossings: headings, and whether they stand above words.
_HEADS = {"candidate": True, "seed": False, "loss by strength": True, "threshold": False, "ε*": False, "lower bound": False}
_HEADS |= {"found by": True}
_LOSS, _THRESHOLD, _CROSSING, _BOUND, _FIT = range(5)
# Enough links for a parabola to look smooth.
_LINKS = 24


def strengths(document: Document) -> Figure | None:
    """Critical strengths on one scale, with the study's own; a panel for every metric that yields them."""
    eps = document.json["study"]["threat"]["eps"]
    panels: list[Panel] = []
    tables: list[Grid] = []
    for metric, column in _columns(document):
        unit = document.unit(column)
        found = {name: [document.measured(name, metric, kind) for kind in _KINDS] for _, name in first(document)}
        found = {name: own for name, own in found.items() if any(own)}
        if not found:
            continue
        rows = [Row(name, tuple(item(k, f, unit.scale) for k, f in enumerate(own) if f)) for name, own in found.items()]
        drawing = ranges(rows, tuple(_KINDS.values()), Axis(f"strength{unit.title}", rule=(eps * unit.scale, "study's ε")))
        told = "; ".join(f"{r.name}: {short(i.value)}" for r in rows for i in r.items if i.kind == 0 and i.value is not None)
        told = f"The study's ε is {short(eps * unit.scale)}{unit.title}. {told or 'No ε* was found'}."
        panels.append(Panel(f"strength-{len(panels) + 1}-{file_name(metric)}", f"Critical strength by {metric}", told, drawing))
        heads = (Head("candidate", words=True), *(Head(f"{words}{unit.title}") for words in _KINDS.values()))
        cells = [(Cell(name), *(measured_cell(f, document, column) if f else Cell("–") for f in own)) for name, own in found.items()]
        tables.append(Grid(f"By {metric}", heads, tuple(cells)))
    if not panels:
        return None
    caption = (
        "ε* is where the adversarial training loss reaches the clean evaluation loss of clean training, with its 95 % interval. "
        f"The study's ε is {number_text(eps)}.{of(document)}"
    )
    key = "The dashed line is the study's ε. Bars are 95 % intervals; an arrow is an open end."
    return Figure("Critical attack strength", caption, key, tuple(panels), tuple(tables))


def crossings(document: Document) -> Figure | None:
    """The losses behind every critical strength that was found between some: a panel a candidate, a curve a seed."""
    panels: list[Panel] = []
    rows: list[tuple[Cell, ...]] = []
    for metric, column in _columns(document):
        unit = document.unit(column)
        for _, candidate in first(document):
            found = document.measured(candidate, metric, column.name)
            courses = [(seed, own) for seed, own in by_seed(found) if _is_course(own.details)] if found else []
            if courses:
                drawn = [curve for _, own in courses for curve in _curves(own, unit.scale)]
                drawing = curves(sorted(drawn, key=lambda curve: curve.series), Axis(f"strength{unit.title}"), Axis("loss"))
                told = " ".join(_told(own, unit.scale) for _, own in courses)
                name = f"crossing-{len(panels) + 1}-{file_name(candidate)}"
                panels.append(Panel(name, f"{candidate}{_of_several(document, metric)}", told, drawing))
                rows += [_row(document, column, candidate, seed, own) for seed, own in courses]
    if not panels:
        return None
    caption = (
        "The adversarial training loss by the strength trained at, and the threshold that it crosses at ε*: the clean evaluation loss of "
        f"clean training. Over several seeds each has its own.{of(document)}"
    )
    key = (
        "The bar is the 95 % interval of ε*; an arrow is an open end. A hollow ε* is a bound alone. A fit is drawn where the crossing is "
        "not that of the links."
    )
    heads = tuple(Head(name, words=words) for name, words in _HEADS.items())
    return Figure("Where the losses cross", caption, key, tuple(panels), (Grid("Losses and crossings", heads, tuple(rows)),))


def _columns(document: Document) -> list[tuple[str, Column]]:
    """The columns that hold critical strengths."""
    return [(metric, column) for metric, column in document.columns if column.name == "eps_star"]


def _of_several(document: Document, metric: str) -> str:
    """The metric, where more than one finds critical strengths."""
    return f" ({metric.partition(':')[2] or metric})" if len(_columns(document)) > 1 else ""


def _is_course(details: Mapping[str, Any]) -> bool:
    """Whether details tell how a strength was found: losses at two strengths or more, and their threshold."""
    points = details.get("points")
    pairs = isinstance(points, list) and all(isinstance(p, list) and len(p) == 2 and all(map(is_real, p)) for p in points)
    return pairs and len(details["points"]) > 1 and is_real(details.get("threshold"))


def _curves(found: Measured, scale: int) -> list[Curve]:
    """One seed's losses, threshold, crossing, bound and fit."""
    threshold, bound = float(found.details["threshold"]), _bound(found.details)
    losses = [(float(eps), float(loss)) for eps, loss in found.details["points"]]
    crossing = Point(found.value * scale, threshold, _scaled(found, scale), hollow=found.bound is not None)
    ends = [0.0, max(losses[-1][0], found.value, bound.value if bound else 0.0)]
    drawn = [
        Curve("adversarial training loss", _LOSS, tuple(Point(eps * scale, loss) for eps, loss in losses)),
        Curve("threshold", _THRESHOLD, tuple(Point(eps * scale, threshold, marked=False) for eps in ends), light=True),
        Curve("ε*", _CROSSING, (crossing,)),
    ]
    if bound:
        lowest = Point(bound.value * scale, threshold)
        drawn.append(Curve(_KINDS["eps_star_bound"], _BOUND, (lowest,)))
    if fitted := _fit(found, losses, ends[1]):
        words = f"fit: {found.details.get('fit', 'given')}"
        drawn.append(Curve(words, _FIT, tuple(Point(eps * scale, loss, marked=False) for eps, loss in fitted)))
    return drawn


def _bound(details: Mapping[str, Any]) -> Measured | None:
    """The clean network's own crossing, where it has one."""
    value, low, high = (details.get(name) if is_real(details.get(name)) else None for name in ("bound", "bound_low", "bound_high"))
    return None if value is None else Measured(value, low, high)


def _scaled(found: Measured, scale: int) -> tuple[float | None, float | None] | None:
    """An interval in the drawing's unit; none where both ends are open or unknown."""
    low, high = (None if end is None else end * scale for end in (found.low, found.high))
    return None if low is None and high is None else (low, high)


def _fit(found: Measured, losses: list[tuple[float, float]], far: float) -> list[tuple[float, float]]:
    """What the crossing was read off, where that is not the links between the losses."""
    coefficients, fitted = found.details.get("coefficients"), found.details.get("fitted")
    if isinstance(coefficients, list) and coefficients and all(map(is_real, coefficients)):
        places = [far * step / _LINKS for step in range(_LINKS + 1)]
        return [(eps, sum(c * eps**power for power, c in enumerate(coefficients))) for eps in places]
    if isinstance(fitted, list) and len(fitted) == len(losses) and all(map(is_real, fitted)):
        same = all(abs(own - loss) <= 1e-9 * abs(loss) for own, (_, loss) in zip(fitted, losses, strict=True))
        return [] if same else [(eps, own) for (eps, _), own in zip(losses, fitted, strict=True)]
    return []


def _told(found: Measured, scale: int) -> str:
    """A seed's crossing in a sentence."""
    losses = ", ".join(f"{short(loss)} at {short(eps * scale)}" for eps, loss in found.details["points"])
    return f"Losses {losses}; threshold {short(found.details['threshold'])}; ε* {short(found.value * scale)}."


def _row(document: Document, column: Column, candidate: str, seed: str, found: Measured) -> tuple[Cell, ...]:
    """A seed's losses, threshold and crossing as cells."""
    scale = document.unit(column).scale
    losses = ", ".join(f"{short(eps * scale)}: {short(loss)}" for eps, loss in found.details["points"])
    bound = _bound(found.details)
    how = [str(found.details[name]) for name in ("method", "fit", "status") if isinstance(found.details.get(name), str)]
    cells = (Cell(candidate), Cell(seed), Cell(losses), Cell(short(found.details["threshold"])), measured_cell(found, document, column))
    return (*cells, measured_cell(bound, document, column) if bound else Cell("–"), Cell(", ".join(how)))
