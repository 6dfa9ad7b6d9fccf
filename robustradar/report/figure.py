"""The figures of a report: from a run's document to drawings. Each is there where the run has its data, and shows the first candidates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from robustradar.report.cell import number
from robustradar.report.chart import Axis, Curve, Drawing, Item, Point, Row, curves, radar, ranges
from robustradar.report.document import Document, details, objective
from robustradar.report.svg import COLOURS, element, fitting, group, text
from robustradar.values import Column, Measured, number_text

SHOWN = len(COLOURS)
_LEAST_AXES, _MOST_AXES = 3, 8
_HEAD = 22.0


@dataclass(frozen=True)
class Panel:
    """One drawing.

    Attributes:
        name: Of its file, unique in the run.
        title: What a screen reader names it.
        told: What it shows, in a sentence or two.
        drawing: The elements.
    """

    name: str
    title: str
    told: str
    drawing: Drawing

    @property
    def height(self) -> float:
        """Of drawing and title."""
        return self.drawing.height + _HEAD

    def inline(self, prefix: str) -> Markup:
        """For a page, whose colours it takes.

        Args:
            prefix: Makes its ids unique on the page.
        """
        ids = f"{prefix}-{self.name}"
        return self._root(ids, class_="figure")

    def file(self) -> str:
        """For a file of its own: dark on white."""
        alone = {"xmlns": "http://www.w3.org/2000/svg", "width": self.drawing.width, "height": self.height}
        alone |= {"color": "#1b1b1b", "fill": "currentColor"}
        ground = element("rect", width="100%", height="100%", fill="#ffffff")
        return f"{self._root('figure', ground, **alone, font_family='sans-serif', font_size=12)}\n"

    def _root(self, ids: str, *ground: Markup, **attributes: object) -> Markup:
        """The element, with the title above the drawing."""
        size = f"0 0 {self.drawing.width:g} {self.height:g}"
        heads = (element("title", self.title, id=f"{ids}-title"), element("desc", self.told, id=f"{ids}-desc"))
        seen = text(self.drawing.width / 2, 14, fitting(self.title, self.drawing.width), text_anchor="middle", font_weight="bold")
        body = group(self.drawing.body, transform=f"translate(0 {_HEAD})")
        look = {"viewBox": size, "role": "img", "aria_labelledby": f"{ids}-title {ids}-desc"}
        return element("svg", *heads, *ground, seen, body, **look, **attributes)


@dataclass(frozen=True)
class Figure:
    """Drawings with a heading and a caption in common."""

    title: str
    caption: str
    panels: tuple[Panel, ...]


def figures(document: Document) -> list[Figure]:
    """All figures that the run has the data of, in the order of a report."""
    makers: tuple[Callable[[Document], Figure | None], ...] = (_radars, _tradeoff, _strengths, _spectra, _prices, _training)
    return [figure for maker in makers if (figure := maker(document)) is not None]


def _first(document: Document) -> list[tuple[int, str]]:
    """The candidates that figures show, with their colours."""
    return list(enumerate(document.order[:SHOWN]))


def _of(document: Document) -> str:
    """What a caption says of those that are not shown."""
    count = len(document.order)
    return f" The first {SHOWN} of {count} candidates are shown." if count > SHOWN else ""


def _file(words: str) -> str:
    """A name that any file system takes.

    >>> _file("papers/cnn:width=4")
    'papers-cnn-width-4'
    """
    return "-".join(filter(None, "".join(c if c.isascii() and c.isalnum() else "-" for c in words).split("-")))[:60]


def _radars(document: Document) -> Figure | None:
    """A radar for each candidate, over the directed columns."""
    directed = [(m, c) for m, c in document.headlines if c.direction != "none"]
    if len(directed) < _LEAST_AXES:
        directed = [(m, c) for m, c in document.columns if c.direction != "none"]
    axes = [(key, ends) for key in directed if (ends := _ends(document, *key)) is not None][:_MOST_AXES]
    if len(axes) < _LEAST_AXES:
        return None
    names = [document.heading(*key) for key, _ in axes]
    panels = []
    for series, candidate in _first(document):
        found = [document.measured(candidate, metric, column.name) for (metric, column), _ in axes]
        values = [None if f is None else _normal(f.value, ends) for f, (_, ends) in zip(found, axes, strict=True)]
        spans = [_span(f, ends) for f, (_, ends) in zip(found, axes, strict=True)]
        if any(value is not None for value in values):
            told = "; ".join(f"{name} {'none' if v is None else f'{v:.2f}'}" for name, v in zip(names, values, strict=True))
            drawing = radar(names, values, spans, series)
            panels.append(Panel(f"radar-{series + 1}-{_file(candidate)}", candidate, f"{told}; 1 is the best of all.", drawing))
    caption = (
        f"Every axis runs from the worst of {len(document.order)} candidates (middle) to the best (rim). "
        f"Thick bars are 95 % intervals, cut at the ends.{_of(document)}"
    )
    return Figure("Strengths and weaknesses", caption, tuple(panels)) if panels else None


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


_SPLITS = ("training loss", "evaluation loss")
_SIDES = {"loss": ("clean loss", "adversarial loss"), "accuracy": ("clean accuracy", "adversarial accuracy")}


def _tradeoff(document: Document) -> Figure | None:
    """The curves of whatever column explains itself with one."""
    panels: list[Panel] = []
    for metric, column in document.columns:
        for kind, (across, up) in _SIDES.items():
            drawn = []
            for series, candidate in _first(document):
                found = document.measured(candidate, metric, column.name)
                points = _mean_points([seed.get("curve") for seed in details(found)], kind) if found else []
                drawn += [Curve(candidate, series, tuple(points))] if points else []
            if drawn:
                ends = [f"{c.name}: P1 {number(c.points[0].x)}, {number(c.points[0].y)}; P2 " for c in drawn]
                ends = [f"{end}{number(c.points[-1].x)}, {number(c.points[-1].y)}." for end, c in zip(ends, drawn, strict=True)]
                drawing = curves(drawn, Axis(across), Axis(up))
                words = f"{up} against {across}" + (f" ({metric})" if len(panels) > 1 else "")
                panels.append(Panel(f"tradeoff-{len(panels) + 1}-{kind}", words.capitalize(), " ".join(ends), drawing))
    caption = (
        "A network for every weight of the adversarial loss, from P1 (next to none) to P2 (next to all). Better is towards the "
        "lower left in losses and the upper right in accuracies. Thin lines are 95 % intervals; over several seeds points are "
        f"means, and intervals span the seeds' own. Hollow points are dominated by another.{_of(document)}"
    )
    return Figure("What robustness costs", caption, tuple(panels)) if panels else None


def _mean_points(by_seed: Sequence[Any], kind: str) -> list[Point]:
    """A curve's points over seeds; none where a seed has no such curve."""
    names = [f"{side}_{kind}" for side in ("clean", "adversarial")]
    wanted = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    curves_ = [c for c in by_seed if isinstance(c, list) and all(isinstance(p, dict) and all(_real(p.get(w)) for w in wanted) for p in c)]
    if not curves_ or len(curves_) < len(by_seed) or {len(c) for c in curves_} != {len(curves_[0])} or len(curves_[0]) < 2:
        return []
    points = []
    for place, same in enumerate(zip(*curves_, strict=True)):
        x, y = (sum(p[name] for p in same) / len(same) for name in names)
        across, up = ((min(p[f"{name}_low"] for p in same), max(p[f"{name}_high"] for p in same)) for name in names)
        beaten = any(p.get("dominated" if kind == "loss" else "dominated_accuracy") for p in same)
        label = {0: "P1", len(curves_[0]) - 1: "P2"}.get(place, "")
        points.append(Point(x, y, across, up, label, hollow=beaten))
    return points


def _real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _strengths(document: Document) -> Figure | None:
    """Critical strengths on one scale, with the study's own; a panel for every metric that yields them."""
    study, kinds = document.json["study"], ("eps_star", "eps_star_bound")
    units = [document.unit(c) for _, c in document.columns if c.name == "eps_star"]
    eps = study["threat"]["eps"]
    panels: list[Panel] = []
    for metric in dict.fromkeys(metric for metric, column in document.columns if column.name == "eps_star"):
        scale, words = units[0].scale, units[0].title
        rows = _rows(document, [(kind, metric, name, scale) for kind, name in enumerate(kinds)])
        if rows:
            axis = Axis(f"strength{words}", rule=(eps * scale, "study's ε"))
            drawing = ranges(rows, ("ε*", "its lower bound, by the clean network"), axis)
            told = "; ".join(f"{r.name}: {number(i.value)}" for r in rows for i in r.items if i.kind == 0 and i.value is not None)
            told = f"The study's ε is {number(eps * scale)}{words}. {told or 'No ε* was found'}."
            panels.append(Panel(f"strength-{len(panels) + 1}-{_file(metric)}", f"Critical strength by {metric}", told, drawing))
    caption = (
        f"ε* is where the adversarial training loss reaches the clean evaluation loss of clean training; the dashed line is the study's ε, "
        f"{number_text(eps)}. Bars are 95 % intervals; an arrow is an open end.{_of(document)}"
    )
    return Figure("Critical attack strength", caption, tuple(panels)) if panels else None


def _spectra(document: Document) -> Figure | None:
    """Both ends of the Hessians' spectra."""
    rows, told = [], []
    for _, candidate in _first(document):
        items = []
        for kind, split in enumerate(("train", "eval")):
            low, high = (_any(document, candidate, f"lambda_{end}_{split}") for end in ("min", "max"))
            if low and high:
                items.append(Item(kind, None, low.value, high.value))
                told.append(f"{candidate}, {_SPLITS[kind]}: {number(low.value)} to {number(high.value)}")
        rows += [Row(candidate, tuple(items))] if items else []
    if not rows:
        return None
    drawing = ranges(rows, _SPLITS, Axis("eigenvalues, logarithmic away from 0", bent=True))
    caption = f"From the smallest to the largest eigenvalue of the cleanly trained network's Hessian.{_of(document)}"
    panel = Panel("spectrum", "Ends of the spectrum", f"{'; '.join(told)}.", drawing)
    return Figure("Ends of the Hessian's spectrum", caption, (panel,))


def _prices(document: Document) -> Figure | None:
    """The price of robustness that clean training foretells, within its bound, beside the exact one."""
    kinds = ("bound by the spectra", "foretold by influence", "exact, by training")
    rows = []
    for _, candidate in _first(document):
        low, high = (_any(document, candidate, f"bound_{end}") for end in ("low", "high"))
        items = [Item(0, None, low.value, high.value)] if low and high else []
        for kind, name in enumerate(("delta_influence", "delta_exact"), 1):
            found = _any(document, candidate, name)
            items += [_item(kind, found)] if found else []
        rows += [Row(candidate, tuple(items))] if items and any(item.kind < 2 for item in items) else []
    if not rows:
        return None
    told = "; ".join(f"{r.name}: {kinds[i.kind]} {number(i.value)}" for r in rows for i in r.items if i.value is not None)
    drawing = ranges(rows, kinds, Axis("clean loss, logarithmic away from 0", bent=True))
    caption = f"What adversarial training at the study's strength adds to the clean loss. Bars at marks are 95 % intervals.{_of(document)}"
    return Figure(
        "The foretold price", caption, (Panel("price", "The foretold price and its bound", f"{told or 'Bounds alone'}.", drawing),)
    )


def _rows(document: Document, wanted: Sequence[tuple[int, str, str, int]]) -> list[Row]:
    """The first candidates' items of (kind, metric, column, scale)."""
    rows = []
    for _, candidate in _first(document):
        found = [(kind, scale, document.measured(candidate, metric, column)) for kind, metric, column, scale in wanted]
        items = tuple(_item(kind, f, scale) for kind, scale, f in found if f is not None)
        rows += [Row(candidate, items)] if items else []
    return rows


def _item(kind: int, found: Measured, scale: int = 1) -> Item:
    low, high = (None if end is None else end * scale for end in (found.low, found.high))
    return Item(kind, found.value * scale, low, high)


def _any(document: Document, candidate: str, column: str) -> Measured | None:
    """The first metric's number in a column of this name."""
    found = (document.measured(candidate, metric, c.name) for metric, c in document.columns if c.name == column)
    return next((f for f in found if f is not None), None)


def _training(document: Document) -> Figure | None:
    """What training minimises, on the evaluation split after every epoch: a panel an objective, a curve a seed."""
    series = {candidate: place for place, candidate in _first(document)}
    drawn: dict[str, list[Curve]] = {}
    left = 0
    for fit in document.json["fits"]:
        candidate = document.owners.get(fit["key"])
        points = tuple(_epochs(fit))
        if candidate not in series or len(points) < 2:
            continue
        if _usual(fit["spec"], document):
            drawn.setdefault(objective(fit["spec"]["objective"]), []).append(Curve(candidate, series[candidate], points))
        else:
            left += 1
    panels: list[Panel] = []
    for name, unordered in drawn.items():
        found = sorted(unordered, key=lambda curve: curve.series)
        losses = [point.y for curve in found for point in curve.points]
        far = 0 < 10 * min(losses) < max(losses)
        told = "; ".join(f"{c.name}: {number(c.points[0].y)} at first, {number(c.points[-1].y)} at last" for c in found)
        drawing = curves(found, Axis("epoch", whole=True), Axis(f"evaluation loss{', logarithmic' if far else ''}", bent=far))
        panels.append(Panel(f"training-{len(panels) + 1}-{_file(name)}", f"Training: {name}", f"{told}.", drawing))
    others = f" {left} networks at other strengths or with other recipes are not drawn." if left else ""
    caption = (
        "Each panel is an objective, each curve a seed: the loss that is minimised, on the evaluation split after every epoch; "
        f"the mark is the epoch that was kept.{others}{_of(document)}"
    )
    return Figure("Training", caption, tuple(panels)) if panels else None


def _epochs(fit: Mapping[str, Any]) -> Iterator[Point]:
    """A fit's curve."""
    for epoch in fit["epochs"]:
        loss = epoch["evaluation_objective_loss"]
        if loss is not None:
            yield Point(epoch["epoch"], loss, marked=epoch["epoch"] == fit["selected_epoch"])


def _usual(spec: Mapping[str, Any], document: Document) -> bool:
    """Whether a network was trained afresh at the study's strength, with its recipe."""
    study = document.json["study"]
    at = spec["threat"]["eps"] if spec["threat"] else study["threat"]["eps"]
    recipe = study["recipe"]["parameters"]
    return spec["start"] is None and at == study["threat"]["eps"] and dict(spec["recipe"]["parameters"]) == recipe
