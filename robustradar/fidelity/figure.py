"""Kendall's tau over cost: a mark with its interval for every score whose cost is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from robustradar.fidelity.form import cost
from robustradar.fidelity.judgement import Fidelity, Judgement
from robustradar.report.cell import short
from robustradar.report.chart import Drawing
from robustradar.report.panel import Panel
from robustradar.report.svg import COLOURS, Scale, colour, fitting, group, line, mark, text

NAME = "tau-over-cost"
SHOWN = 30
_WIDTH, _BOTTOM, _TOP, _LEFT, _RIGHT = 640.0, 340.0, 12.0, 52.0, 440.0
_LINE, _LETTER = 13.0, 6.2
_FAINT = {"stroke_opacity": 0.18}
_TRIVIAL = len(COLOURS) - 1


@dataclass(frozen=True)
class _Point:
    """A score in the figure."""

    judgement: Judgement
    x: float
    y: float
    low: float
    high: float

    @property
    def series(self) -> int:
        """Trivial scores have the text's colour, others the first."""
        return _TRIVIAL if self.judgement.trivial else 0


def panel(found: Fidelity) -> Panel | None:
    """The figure; None where no score has both a tau and a cost."""
    points, shares = _points(found)
    if not points:
        return None
    x = Scale.over([0.0, *(p.x for p in points)], _LEFT, _RIGHT, bent=True)
    ceiling = found.ceiling.get("all")
    heights = [v for p in points for v in (p.low, p.high)] + ([ceiling] if ceiling is not None else [])
    y = Scale.over(heights, _BOTTOM, _TOP)
    title = "cost, % of the truth's training (logarithmic away from 0)" if shares else "passes a candidate (logarithmic away from 0)"
    parts = [*_frame(x, y, title), *_ceiling(ceiling, y)]
    for p in points:
        parts.append(line(x.at(p.x), y.at(p.low), x.at(p.x), y.at(p.high), stroke=colour(p.series), stroke_opacity=0.5))
    parts += [mark(x.at(p.x), y.at(p.y), p.series, _told(p), hollow=bool(p.judgement.trivial)) for p in points]
    parts += _labels([(x.at(p.x), y.at(p.y), p.judgement.name) for p in points])
    told = "; ".join(_told(p) for p in points)
    return Panel(
        NAME,
        "Agreement with the truth over cost",
        f"Kendall's τ over all candidates. {told}.",
        Drawing(_BOTTOM + 42, group(*parts), _WIDTH),
    )


def caption(found: Fidelity) -> str:
    """What the figure shows and what it leaves out."""
    points, _ = _points(found)
    count = sum(j.slices["all"].tau is not None for j in found.judgements)
    left = f" {count - len(points)} of {count} scores, whose cost is not known or that come after the first {SHOWN}, are not shown."
    return f"Hollow marks are trivial scores; lines are 95 % intervals.{left if len(points) < count else ''}"


def _points(found: Fidelity) -> tuple[list[_Point], bool]:
    """The scores that can be drawn, and whether their costs are shares of the truth's: all are where any is."""
    shares = any(j.price and j.price.share is not None for j in found.judgements)
    points = []
    for judgement in found.judgements:
        on, price = judgement.slices["all"], judgement.price
        if price is None or on.tau is None or on.low is None or on.high is None:
            continue
        if price.share is not None:
            across = 100 * price.share
        elif not shares or price.passes == 0:
            across = price.passes
        else:
            continue
        points.append(_Point(judgement, across, on.tau, on.low, on.high))
    return points[:SHOWN], shares


def _told(point: _Point) -> str:
    """A point in words."""
    return f"{point.judgement.name}: τ {point.y:.2f} [{point.low:.2f}, {point.high:.2f}] at cost {cost(point.judgement.price)}"


def _frame(x: Scale, y: Scale, title: str) -> list[Markup]:
    """Axes with their ticks and titles."""
    across = [tick for tick in x.ticks() if tick >= 0]
    parts = [line(x.at(tick), _TOP, x.at(tick), _BOTTOM, **_FAINT) for tick in across]
    parts += [text(x.at(tick), _BOTTOM + 15, short(tick), text_anchor="middle") for tick in across]
    parts += [line(_LEFT, y.at(tick), _RIGHT, y.at(tick), **_FAINT) for tick in y.ticks()]
    parts += [text(_LEFT - 6, y.at(tick) + 4, short(tick), text_anchor="end") for tick in y.ticks()]
    parts.append(text((_LEFT + _RIGHT) / 2, _BOTTOM + 33, title, text_anchor="middle"))
    turned = f"translate(12 {(_BOTTOM + _TOP) / 2}) rotate(-90)"
    return [*parts, text(0, 0, "Kendall's τ with the truth", text_anchor="middle", transform=turned)]


def _ceiling(ceiling: float | None, y: Scale) -> list[Markup]:
    """What the truth's own noise allows, where it is known."""
    if ceiling is None:
        return []
    at = y.at(ceiling)
    return [line(_LEFT, at, _RIGHT, at, stroke_dasharray="5 3"), text(_RIGHT + 6, at + 4, "noise ceiling", font_size=11)]


def _labels(marks: Sequence[tuple[float, float, str]]) -> list[Markup]:
    """A name beside every mark, moved down to where it covers neither another name nor a mark, with a thin line where it was moved far."""
    parts: list[Markup] = []
    taken = [(x - 6, x + 6, y - _LINE / 2) for x, y, _ in marks]
    for x, y, name in sorted(marks, key=lambda m: (m[1], m[0])):
        words = fitting(name, _WIDTH - x - 14)
        start, end, at = x + 9, x + 9 + _LETTER * len(words), y - _LINE / 2
        while any(
            start < right and left < end and abs(at - top) < _LINE - 1
            for left, right, top in taken
            if (left, right, top) != (x - 6, x + 6, y - _LINE / 2)
        ):
            at += 3
        taken.append((start, end, at))
        if abs(at + _LINE / 2 - y) > _LINE / 2:
            parts.append(line(x, y, start - 1, at + _LINE / 2, stroke_width=0.5, stroke_opacity=0.6))
        parts.append(text(start, at + _LINE / 2 + 4, words, font_size=11))
    return parts
