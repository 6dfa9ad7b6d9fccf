"""What a figure consists of: drawings, and the same numbers as tables; and how candidates are chosen and read for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from robustradar.report.chart import Drawing, Item
from robustradar.report.document import Document
from robustradar.report.grid import Grid
from robustradar.report.svg import COLOURS, element, fitting, group, text
from robustradar.values import Measured

SHOWN = len(COLOURS)
_HEAD = 22.0
_BOLD = 0.75  # of the room for plain words is left for bold ones in a wide font


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
        seen = text(self.drawing.width / 2, 14, fitting(self.title, _BOLD * self.drawing.width), text_anchor="middle", font_weight="bold")
        body = group(self.drawing.body, transform=f"translate(0 {_HEAD})")
        look = {"viewBox": size, "role": "img", "aria_labelledby": f"{ids}-title {ids}-desc"}
        return element("svg", *heads, *ground, seen, body, **look, **attributes)


@dataclass(frozen=True)
class Figure:
    """Drawings with a heading and a caption in common.

    Attributes:
        title: The heading.
        caption: What is shown, whether drawn or as a table.
        key: How to read the drawings.
        panels: The drawings.
        tables: Their numbers, for where nothing can be drawn.
    """

    title: str
    caption: str
    key: str
    panels: tuple[Panel, ...]
    tables: tuple[Grid, ...]


def first(document: Document) -> list[tuple[int, str]]:
    """The candidates that figures show, with their colours."""
    return list(enumerate(document.order[:SHOWN]))


def of(document: Document) -> str:
    """What a caption says of those that are not shown."""
    count = len(document.order)
    return f" The first {SHOWN} of {count} candidates are shown." if count > SHOWN else ""


def file_name(words: str) -> str:
    """A name that any file system takes.

    >>> file_name("papers/cnn:width=4")
    'papers-cnn-width-4'
    """
    return "-".join(filter(None, "".join(c if c.isascii() and c.isalnum() else "-" for c in words).split("-")))[:60]


def item(kind: int, found: Measured, scale: int = 1) -> Item:
    """A number with its interval on a scale."""
    low, high = (None if end is None else end * scale for end in (found.low, found.high))
    return Item(kind, found.value * scale, low, high)


def anywhere(document: Document, candidate: str, column: str) -> Measured | None:
    """The first metric's number in a column of this name."""
    found = (document.measured(candidate, metric, c.name) for metric, c in document.columns if c.name == column)
    return next((f for f in found if f is not None), None)


def is_real(value: object) -> bool:
    """Whether a value of a stranger's details is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
