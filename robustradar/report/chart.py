"""The kinds of drawing that figures are made of: curves, ranges on a shared scale, and radars. They know numbers and names only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from robustradar.report.cell import short
from robustradar.report.svg import Scale, colour, element, fitting, group, line, mark, polyline, text

WIDTH = 420.0
_LEFT, _RIGHT, _TOP = 68.0, 14.0, 12.0
_FAINT = {"stroke_opacity": 0.18}


@dataclass(frozen=True)
class Drawing:
    """What an SVG shows, without its root element.

    Attributes:
        height: In pixels; drawings are as wide as `WIDTH`, unless told otherwise.
        body: The elements.
    """

    height: float
    body: Markup
    width: float = WIDTH


@dataclass(frozen=True)
class Point:
    """A point of a curve.

    Attributes:
        x: Across.
        y: Up.
        across: Interval of `x`; an end that is None is open.
        up: Interval of `y`.
        label: Written beside it.
        marked: Whether it has its series' mark.
        hollow: Whether that is not filled.
    """

    x: float
    y: float
    across: tuple[float | None, float | None] | None = None
    up: tuple[float, float] | None = None
    label: str = ""
    marked: bool = True
    hollow: bool = False


@dataclass(frozen=True)
class Curve:
    """Points that are joined.

    Attributes:
        name: The series' name; curves of one name have one line in the legend.
        series: Which colour, mark and dashes.
        points: In the order in which they are joined.
        light: Whether it stands back behind another of its name, without marks.
    """

    name: str
    series: int
    points: tuple[Point, ...]
    light: bool = False


@dataclass(frozen=True)
class Item:
    """A number or a range on a scale.

    Attributes:
        kind: Which of the drawing's kinds it is.
        value: Where the mark stands; None: the range alone.
        low: Start of the bar.
        high: Its end; with one of the two alone the bar is open on the other side.
    """

    kind: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Row:
    """What is shown of one candidate."""

    name: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Axis:
    """A scale's words.

    Attributes:
        title: Under it, or beside it.
        bent: Whether it is logarithmic away from 0.
        whole: Whether only whole numbers have a tick.
        rule: A number that is marked by a line, and what it is.
    """

    title: str
    bent: bool = False
    whole: bool = False
    rule: tuple[float, str] | None = None


def curves(drawn: Sequence[Curve], across: Axis, up: Axis) -> Drawing:
    """Curves in one frame, their legend below."""
    bottom = 270.0
    points = [point for curve in drawn for point in curve.points]
    x = Scale.over([v for p in points for v in (p.x, *(p.across or ())) if v is not None], _LEFT, WIDTH - _RIGHT, bent=across.bent)
    y = Scale.over([v for p in points for v in (p.y, *(p.up or ()))], bottom, _TOP, bent=up.bent)
    steps = [tick for tick in x.ticks() if tick.is_integer() or not across.whole]
    frame = [
        *(line(x.at(tick), _TOP, x.at(tick), bottom, **_FAINT) for tick in steps),
        *(text(x.at(tick), bottom + 15, short(tick), text_anchor="middle") for tick in steps),
        *(line(_LEFT, y.at(tick), WIDTH - _RIGHT, y.at(tick), **_FAINT) for tick in y.ticks()),
        *(text(_LEFT - 6, y.at(tick) + 4, short(tick), text_anchor="end") for tick in y.ticks()),
        text((_LEFT + WIDTH) / 2, bottom + 33, across.title, text_anchor="middle"),
        text(0, 0, up.title, text_anchor="middle", transform=f"translate(11 {(bottom + _TOP) / 2}) rotate(-90)"),
    ]
    marks = [element("g", *_curve(curve, x, y)) for curve in drawn]
    marked = {(c.name, c.series) for c in drawn if not c.light and any(p.marked for p in c.points)}
    names = dict.fromkeys((curve.name, curve.series) for curve in drawn)
    legend, height = _legend([(*name, name in marked) for name in names], bottom + 54)
    return Drawing(height, group(*frame, *marks, *legend))


def _curve(curve: Curve, x: Scale, y: Scale) -> Iterable[Markup]:
    """One curve's line, intervals, marks and labels."""
    thinner = {"stroke_width": 1.2, "stroke_opacity": 0.6} if curve.light else {}
    yield polyline([(x.at(p.x), y.at(p.y)) for p in curve.points], curve.series, **thinner)
    thin = {"stroke": colour(curve.series), "stroke_opacity": 0.6}
    if len(curve.points) == 1:  # nothing is joined: the interval is what there is to see
        thin |= {"stroke_width": 5, "stroke_opacity": 0.45}
    for p in curve.points:
        if p.across:
            yield from _bar(p.across, x, y.at(p.y), 0, thin)
        if p.up:
            yield line(x.at(p.x), y.at(p.up[0]), x.at(p.x), y.at(p.up[1]), **thin)
        if p.marked and not curve.light:
            told = f"{curve.name}{p.label and ', ' + p.label}: {short(p.x)}, {short(p.y)}"
            yield mark(x.at(p.x), y.at(p.y), curve.series, told, hollow=p.hollow)
        if p.label:
            near_end = x.at(p.x) > WIDTH - 50
            place = {"text_anchor": "end"} if near_end else {}
            yield text(x.at(p.x) + (-8 if near_end else 8), y.at(p.y) - 7, p.label, font_size=11, **place)


def ranges(rows: Sequence[Row], kinds: Sequence[str], axis: Axis) -> Drawing:
    """Rows of marks and bars on one scale; a row's name stands above them, so that long ones have room."""
    values = [v for row in rows for i in row.items for v in (i.value, i.low, i.high) if v is not None]
    x = Scale.over([*values, *([axis.rule[0]] if axis.rule else [])], 12.0, WIDTH - 12.0, bent=axis.bent)
    shown = sorted({item.kind for row in rows for item in row.items})
    top, track = (34.0 if axis.rule else 14.0), 13.0
    tall = 24 + track * len(shown)
    bottom = top + tall * len(rows)
    parts = [line(x.at(tick), top, x.at(tick), bottom, **_FAINT) for tick in x.ticks()]
    parts += [text(x.at(tick), bottom + 15, short(tick), text_anchor="middle") for tick in x.ticks()]
    parts.append(text(WIDTH / 2, bottom + 33, axis.title, text_anchor="middle"))
    if axis.rule:
        place, name = axis.rule
        anchor = "end" if x.at(place) > WIDTH - 90 else "start" if x.at(place) < 90 else "middle"
        along = [(top - 14, top)] + [(top + tall * i + 16, top + tall * (i + 1)) for i in range(len(rows))]  # not across the names
        parts += [line(x.at(place), y1, x.at(place), y2, stroke_width=1.5, stroke_dasharray="5 3") for y1, y2 in along]
        parts.append(text(x.at(place), top - 19, name, text_anchor=anchor))
    for place, row in enumerate(rows):
        y = top + tall * place
        parts.append(text(12, y + 12, fitting(row.name, WIDTH - 24)))
        parts += [group(*_item(i, kinds[i.kind], x, y + 13 + track * (shown.index(i.kind) + 0.5))) for i in row.items]
    legend, height = _legend([(kinds[kind], kind, True) for kind in shown], bottom + 54, stroke_dasharray="none")
    return Drawing(height, group(*parts, *legend))


def _item(item: Item, kind: str, x: Scale, y: float) -> Iterable[Markup]:
    """A bar with its ends, or an arrow where it is open, and a mark."""
    look = {"stroke": colour(item.kind), "stroke_width": 2}
    if item.low is not None or item.high is not None:
        yield from _bar((item.low, item.high), x, y, 4, look)
    if item.value is not None:
        yield mark(x.at(item.value), y, item.kind, f"{kind}: {short(item.value)}")


def _bar(ends: tuple[float | None, float | None], x: Scale, y: float, tall: float, look: Mapping[str, object]) -> Iterable[Markup]:
    """An interval's bar, with strokes of twice this height at its ends; an open end is an arrow to the edge."""
    low, high = ends
    start, end = x.at(x.low if low is None else low), x.at(x.high if high is None else high)
    yield line(start, y, end, y, **look)
    for place, given, way in ((start, low, 1), (end, high, -1)):
        if given is None:
            arrow = f"M{place + 5 * way:.1f},{y - 4:.1f}L{place:.1f},{y:.1f}L{place + 5 * way:.1f},{y + 4:.1f}"
            yield element("path", d=arrow, fill="none", **look)
        elif tall:
            yield line(place, y - tall, place, y + tall, **look)


def radar(names: Sequence[str], values: Sequence[float | None], spans: Sequence[tuple[float, float] | None], series: int) -> Drawing:
    """One candidate's numbers in [0, 1], an axis each; where there is none, the outline is open.

    Args:
        names: Of the axes, at least three.
        values: 0 in the middle, 1 at the rim; None: no number.
        spans: Their intervals, drawn along the axis.
        series: The candidate's colour, mark and dashes.
    """
    width, radius = 340.0, 78.0
    middle = (width / 2, 118.0)
    lowest = max(-math.cos(2 * math.pi * axis / len(names)) for axis in range(len(names)))
    height = middle[1] + 1.14 * radius * lowest + 34

    def place(axis: int, distance: float) -> tuple[float, float]:
        angle = 2 * math.pi * axis / len(names)
        return middle[0] + radius * distance * math.sin(angle), middle[1] - radius * distance * math.cos(angle)

    rings = [
        element("polygon", points=_points(place(axis, ring) for axis in range(len(names))), fill="none", stroke="currentColor", **_FAINT)
        for ring in (0.25, 0.5, 0.75, 1.0)
    ]
    spokes = [line(*middle, *place(axis, 1), **_FAINT) for axis in range(len(names))]
    around = [(axis, values[axis % len(names)], values[(axis + 1) % len(names)]) for axis in range(len(names))]
    whole = [place(axis, value) for axis, value in enumerate(values) if value is not None]
    area = [element("polygon", points=_points(whole), fill=colour(series), fill_opacity=0.15)] if len(whole) == len(names) else []
    sides = [polyline([place(axis, a), place(axis + 1, b)], series) for axis, a, b in around if a is not None and b is not None]
    thick = {"stroke_width": 5, "stroke_opacity": 0.45, "stroke_dasharray": "none"}
    bars = [polyline([place(axis, end) for end in span], series, **thick) for axis, span in enumerate(spans) if span]
    marks = [mark(*place(axis, v), series, f"{names[axis]}: {v:.2f}") for axis, v in enumerate(values) if v is not None]
    labels = [_label(name, *place(axis, 1.14), middle[0]) for axis, name in enumerate(names)]
    return Drawing(height, group(*rings, *spokes, *area, *sides, *bars, *marks, *labels), width)


def _label(name: str, x: float, y: float, middle: float) -> Markup:
    """An axis' name, in up to three short lines, on the outer side."""
    anchor = "middle" if abs(x - middle) < 20 else "start" if x > middle else "end"
    lines: list[str] = []
    for word in name.split():
        joins = lines and len(lines[-1]) + len(word) < 11
        lines = [*lines[:-1], f"{lines[-1]} {word}"] if joins else [*lines, word]
    lines = [fitting(part, 92) for part in lines[:3]]
    up = y - (12 * (len(lines) - 1) if y < 60 else 0)
    spans = [element("tspan", part, x=x, dy=12 if i else 0) for i, part in enumerate(lines)]
    return element("text", *spans, x=x, y=up + 4, font_size=11, text_anchor=anchor)


def _points(places: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _legend(names: Iterable[tuple[str, int, bool]], y: float, **look: object) -> tuple[list[Markup], float]:
    """A line for every series, with its mark where it has one, and where the drawing ends below them."""
    parts: list[Markup] = []
    for name, series, marked in names:
        parts += [polyline([(12.0, y), (40.0, y)], series, **look), *([mark(26.0, y, series)] if marked else [])]
        parts.append(text(48, y + 4, fitting(name, WIDTH - 60)))
        y += 18
    return parts, y - 4
