"""Figures of curvature: the ends and the density of the Hessians' spectra, and the price of robustness that they predict."""

from __future__ import annotations

import math
from typing import Any

from robustradar.report.cell import short
from robustradar.report.chart import Axis, Curve, Item, Point, Row, curves, ranges
from robustradar.report.document import Document, by_seed
from robustradar.report.grid import Cell, Grid, Head
from robustradar.report.panel import Figure, Panel, anywhere, file_name, first, is_real, item, of
from robustradar.report.svg import Scale
from robustradar.report.view import measured_cell
from robustradar.values import Column, Measured

_SPLITS = ("training loss", "evaluation loss")
_PRICES = ("bound by the spectra", "predicted by influence", "exact, by training")
_BARS = 40
# Chosen here: closer to 0 than this share of the largest, the quadrature does not tell signs.
_NEAR = 0.01
_DENSITY, _ENDS = 0, 3


def spectra(document: Document) -> Figure | None:
    """Both ends of the Hessians' spectra."""
    rows, told, cells = [], [], []
    for _, candidate in first(document):
        items, shown = [], ["–", "–"]
        for kind, split in enumerate(("train", "eval")):
            low, high = (anywhere(document, candidate, f"lambda_{end}_{split}") for end in ("min", "max"))
            if low and high:
                items.append(Item(kind, None, low.value, high.value))
                shown[kind] = f"{short(low.value)} to {short(high.value)}"
                told.append(f"{candidate}, {_SPLITS[kind]}: {shown[kind]}")
        if items:
            rows.append(Row(candidate, tuple(items)))
            cells.append((Cell(candidate), *map(Cell, shown)))
    if not rows:
        return None
    drawing = ranges(rows, _SPLITS, Axis("eigenvalues, logarithmic away from 0", bent=True))
    caption = f"From the smallest to the largest eigenvalue of the cleanly trained network's Hessian.{of(document)}"
    panel = Panel("spectrum", "Ends of the spectrum", f"{'; '.join(told)}.", drawing)
    heads = (Head("candidate", words=True), *(Head(split) for split in _SPLITS))
    return Figure("Ends of the Hessian's spectrum", caption, "", (panel,), (Grid("Eigenvalues", heads, tuple(cells)),))


def densities(document: Document) -> Figure | None:
    """How the training Hessian's eigenvalues are spread, where a column's details hold their density: a panel a candidate."""
    panels, rows = [], []
    for place, candidate in first(document):
        pairs = _density(document, candidate)
        if not pairs:
            continue
        ends = [(name, anywhere(document, candidate, f"lambda_{name}_train")) for name in ("min", "max")]
        known = [(name, end) for name, end in ends if end]
        edge = _NEAR * max(abs(value) for value, _ in pairs)
        near = math.fsum(weight for value, weight in pairs if abs(value) < edge)
        negative = math.fsum(weight for value, weight in pairs if value <= -edge)
        mean = math.fsum(value * weight for value, weight in pairs)
        drawn = [Curve("share of the eigenvalues", _DENSITY, tuple(_outline(pairs, [end.value for _, end in known])))]
        drawn += [Curve("ends of the spectrum", _ENDS, (Point(end.value, 0.0, _interval(end), label=f"λ {name}"),)) for name, end in known]
        axes = Axis("eigenvalue, logarithmic away from 0", bent=True), Axis("share, logarithmic away from 0", bent=True)
        told = f"{100 * near:.1f} % of the eigenvalues are near 0 and {100 * negative:.1f} % below; their mean is {short(mean)}."
        panels.append(Panel(f"density-{place + 1}-{file_name(candidate)}", candidate, told, curves(drawn, *axes)))
        shown = [short(end.value) if end else "–" for _, end in ends]
        rows.append((Cell(candidate), Cell(f"{100 * near:.1f}"), Cell(f"{100 * negative:.1f}"), Cell(short(mean)), *map(Cell, shown)))
    if not panels:
        return None
    caption = (
        "How the eigenvalues of the cleanly trained network's Hessian are spread (training loss, weight decay included), by Lanczos "
        f"quadrature from random starts; over several seeds the mean. Near 0 is within a hundredth of the largest.{of(document)}"
    )
    key = f"The share of the eigenvalues in each of {_BARS} steps; λ min and λ max are the spectrum's ends, with their error."
    heads = (Head("candidate", words=True), *map(Head, ("near 0 (%)", "below (%)", "mean", "λ min", "λ max")))
    return Figure("Density of the Hessian's spectrum", caption, key, tuple(panels), (Grid("Eigenvalues' spread", heads, tuple(rows)),))


def _density(document: Document, candidate: str) -> list[tuple[float, float]]:
    """The first density among a candidate's details, as (eigenvalue, weight), over seeds; none where a seed has none."""
    for metric, column in document.columns:
        found = document.measured(candidate, metric, column.name)
        seeds = [_pairs(own.details.get("density")) for _, own in by_seed(found)] if found else []
        if seeds and all(seeds):
            return [(value, weight / len(seeds)) for pairs in seeds for value, weight in pairs]
    return []


def _pairs(given: Any) -> list[tuple[float, float]]:
    """Values and weights together; none where they are no density."""
    values, weights = (given.get(name) for name in ("values", "weights")) if isinstance(given, dict) else (None, None)
    if not isinstance(values, list) or not isinstance(weights, list) or len(values) != len(weights):
        return []
    sound = all(map(is_real, values)) and all(is_real(weight) and weight >= 0 for weight in weights)
    return list(zip(values, weights, strict=True)) if sound else []


def _outline(pairs: list[tuple[float, float]], others: list[float]) -> list[Point]:
    """The tops of bars of equal width on the bent axis."""
    scale = Scale.over([*(value for value, _ in pairs), *others], 0, _BARS, bent=True)
    shares = [0.0] * _BARS
    for value, weight in pairs:
        shares[min(int(scale.at(value)), _BARS - 1)] += weight
    return [Point(scale.back(bar + side), share, marked=False) for bar, share in enumerate(shares) for side in (0, 1)]


def _interval(found: Measured) -> tuple[float, float] | None:
    return None if found.low is None or found.high is None else (found.low, found.high)


def prices(document: Document) -> Figure | None:
    """The price of robustness that clean training predicts, within its bound, beside the exact one."""
    rows, cells = [], []
    for _, candidate in first(document):
        low, high = (anywhere(document, candidate, f"bound_{end}") for end in ("low", "high"))
        found = [anywhere(document, candidate, name) for name in ("delta_influence", "delta_exact")]
        items = [Item(0, None, low.value, high.value)] if low and high else []
        items += [item(kind, f) for kind, f in enumerate(found, 1) if f]
        if any(i.kind < 2 for i in items):
            rows.append(Row(candidate, tuple(items)))
            bound = Cell(f"{short(low.value)} to {short(high.value)}") if low and high else Cell("–")
            loss = Column("", "none", "loss")
            cells.append((Cell(candidate), bound, *(measured_cell(f, document, loss) if f else Cell("–") for f in found)))
    if not rows:
        return None
    told = "; ".join(f"{r.name}: {_PRICES[i.kind]} {short(i.value)}" for r in rows for i in r.items if i.value is not None)
    drawing = ranges(rows, _PRICES, Axis("clean loss, logarithmic away from 0", bent=True))
    caption = f"What adversarial training at the study's strength adds to the clean loss, with 95 % intervals.{of(document)}"
    panel = Panel("price", "The predicted price and its bound", f"{told or 'Bounds alone'}.", drawing)
    heads = (Head("candidate", words=True), *map(Head, _PRICES))
    key = "Bars at marks are 95 % intervals."
    return Figure("The predicted price", caption, key, (panel,), (Grid("Added clean loss", heads, tuple(cells)),))
