"""The figure of training: what it minimises, epoch by epoch, on both splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from robustradar.report.cell import short
from robustradar.report.chart import Axis, Curve, Point, curves
from robustradar.report.document import Document, objective
from robustradar.report.grid import Cell, Grid, Head
from robustradar.report.panel import Figure, Panel, file_name, first, of
from robustradar.values import counted

_HEADS = ("candidate", "objective", "seed", "epochs", "kept epoch", "training loss there", "evaluation loss there")


def training(document: Document) -> Figure | None:
    """What training minimises, by epoch: a panel an objective, two curves a seed."""
    series = {candidate: place for place, candidate in first(document)}
    drawn: dict[str, list[Curve]] = {}
    rows: list[tuple[int, tuple[Cell, ...]]] = []
    left = 0
    for fit in document.json["fits"]:
        candidate = document.owners.get(fit["key"])
        if candidate not in series or len(fit["epochs"]) < 2:
            continue
        if not _is_usual(fit["spec"], document):
            left += 1
            continue
        name = objective(fit["spec"]["objective"])
        both = [tuple(_points(fit, split)) for split in ("train", "evaluation")]
        made = [Curve(candidate, series[candidate], points, light) for points, light in zip(both, (True, False), strict=True) if points]
        if made:
            drawn.setdefault(name, []).extend(made)
            rows.append((series[candidate], _row(candidate, name, fit)))
    if not drawn:
        return None
    panels = [_panel(place, name, curves_) for place, (name, curves_) in enumerate(drawn.items(), 1)]
    others = (
        f" {counted(left, 'network')} at other strengths or with other recipes {'is' if left == 1 else 'are'} not shown." if left else ""
    )
    caption = f"The loss that is minimised, after every epoch. Training losses are means while training.{others}{of(document)}"
    key = "Each panel is an objective. Thick curves are evaluation losses, thin ones training losses; the mark is the epoch that was kept."
    heads = tuple(Head(head, words=place < 2) for place, head in enumerate(_HEADS))
    cells = tuple(row for _, row in sorted(rows, key=lambda found: found[0]))
    return Figure("Training", caption, key, tuple(panels), (Grid("Losses", heads, cells),))


def _panel(place: int, name: str, found: list[Curve]) -> Panel:
    """One objective's curves, those of training behind."""
    ordered = sorted(found, key=lambda curve: (not curve.light, curve.series))
    losses = [point.y for curve in ordered for point in curve.points]
    far = 0 < 10 * min(losses) < max(losses)
    seen = sorted((c for c in ordered if not c.light), key=lambda curve: curve.series) or ordered
    told = "; ".join(f"{c.name}: {short(c.points[0].y)} at first, {short(c.points[-1].y)} at last" for c in seen)
    drawing = curves(ordered, Axis("epoch", whole=True), Axis(f"loss{', logarithmic' if far else ''}", bent=far))
    return Panel(f"training-{place}-{file_name(name)}", f"Training: {name}", f"{told}.", drawing)


def _points(fit: Mapping[str, Any], split: str) -> Iterator[Point]:
    """A fit's curve on a split, without the epochs at which it was not measured."""
    for epoch in fit["epochs"]:
        loss = epoch[f"{split}_objective_loss"]
        if loss is not None:
            yield Point(epoch["epoch"], loss, marked=epoch["epoch"] == fit["selected_epoch"])


def _row(candidate: str, name: str, fit: Mapping[str, Any]) -> tuple[Cell, ...]:
    """A network's losses at the epoch that was kept."""
    kept: Mapping[str, Any] = next((epoch for epoch in fit["epochs"] if epoch["epoch"] == fit["selected_epoch"]), {})
    losses = [kept.get(f"{split}_objective_loss") for split in ("train", "evaluation")]
    counts = (fit["spec"]["seed"], len(fit["epochs"]), fit["selected_epoch"])
    shown = ["–" if loss is None else short(loss) for loss in losses]
    return (Cell(candidate), Cell(name), *(Cell(str(count)) for count in counts), *map(Cell, shown))


def _is_usual(spec: Mapping[str, Any], document: Document) -> bool:
    """Whether a network was trained afresh at the study's strength, with its recipe."""
    study = document.json["study"]
    at = spec["threat"]["eps"] if spec["threat"] else study["threat"]["eps"]
    recipe = study["recipe"]["parameters"]
    return spec["start"] is None and at == study["threat"]["eps"] and dict(spec["recipe"]["parameters"]) == recipe
