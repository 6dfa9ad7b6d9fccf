"""A small writer of SVG: elements, scales with their ticks, and marks that colour is not needed for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

# Okabe and Ito's colours without yellow, which is hard to see on white, and with the text's own for black.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "currentColor")
_DASHES = ("none", "7 3", "2 3", "9 3 2 3", "4 4", "12 3", "1 4")
_SHAPES: tuple[str, ...] = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
    "M-4,-4H4V4H-4z",
    "M0,-5L5,4H-5z",
    "M0,-5.5L5.5,0L0,5.5L-5.5,0z",
    "M0,5L5,-4H-5z",
    "M-5,-2H-2V-5H2V-2H5V2H2V5H-2V2H-5z",
    "M0,-6L1.5,-2L6,-2L2.5,1L4,6L0,3L-4,6L-2.5,1L-6,-2L-1.5,-2z",
)
# What XML cannot hold, escaped or not.
_FORBIDDEN = dict.fromkeys([*(c for c in range(32) if c not in (9, 10, 13)), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF], "\ufffd")
_CHARACTER = 6.2  # width of a character of 12 px, on average


def printable(text: str) -> str:
    r"""Text without what neither XML nor UTF-8 can hold.

    >>> printable("a\x00b")
    'a�b'
    """
    return text.translate(_FORBIDDEN)


def element(name: str, *children: str, **attributes: object) -> Markup:
    """An element; whatever is not markup already is escaped.

    Args:
        name: The element's.
        children: Texts and elements.
        attributes: ``stroke_width`` is written ``stroke-width``, ``class_`` is ``class``; None leaves one out.

    >>> print(element("text", "<b>", x=1.50001, font_size=12))
    <text x="1.5" font-size="12">&lt;b&gt;</text>
    """
    given = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _text(value)) for key, value in attributes.items() if value is not None
    )
    inner = Markup("").join(child if isinstance(child, Markup) else escape(printable(child)) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), given, inner) if inner else Markup("<{}{}/>").format(Markup(name), given)


def group(*children: Markup, **attributes: object) -> Markup:
    """Elements together."""
    return element("g", *children, **attributes)


def text(x: float, y: float, words: str, **attributes: object) -> Markup:
    """A line of text; white space in it is kept to single spaces."""
    return element("text", " ".join(words.split()), x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> Markup:
    """A straight line in the text's colour, unless told otherwise."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **({"stroke": "currentColor"} | attributes))


def polyline(points: Sequence[tuple[float, float]], series: int, **attributes: object) -> Markup:
    """A series' line, with its own colour and dashes."""
    path = " ".join(f"{_text(x)},{_text(y)}" for x, y in points)
    look = {"fill": "none", "stroke": colour(series), "stroke_width": 2, "stroke_dasharray": _DASHES[series % len(_DASHES)]}
    return element("polyline", points=path, **(look | attributes))


def mark(x: float, y: float, series: int, told: str = "", *, hollow: bool = False) -> Markup:
    """A series' mark, with its own colour and shape, and what a pointer that rests on it is told."""
    look = {"fill": "none" if hollow else colour(series), "stroke": colour(series) if hollow else "currentColor"}
    children = [element("title", told)] if told else []
    return element("path", *children, d=_SHAPES[series % len(_SHAPES)], transform=f"translate({_text(x)} {_text(y)})", **look)


def colour(series: int) -> str:
    """A series' colour."""
    return COLOURS[series % len(COLOURS)]


def fitting(words: str, width: float) -> str:
    """Text cut to a width in pixels, with an ellipsis.

    >>> fitting("papers/cnn", 40)
    'paper…'
    """
    most = max(int(width / _CHARACTER), 2)
    return words if len(words) <= most else f"{words[: most - 1]}…"


@dataclass(frozen=True)
class Scale:
    """From numbers to pixels, linear, or linear up to a number and logarithmic beyond it, on both sides of 0.

    Attributes:
        low: The number at the start.
        high: The number at the end, above it.
        start: In pixels.
        end: In pixels; below the start on an axis that points up.
        bend: Where it turns logarithmic; 0: nowhere.
    """

    low: float
    high: float
    start: float
    end: float
    bend: float = 0.0

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, *, bent: bool = False) -> Scale:
        """A scale that holds all values, with a margin."""
        low, high = min(values), max(values)
        sizes = [abs(v) for v in values if v]
        # Four decades below the largest: what is smaller is as good as 0 beside it.
        bend = max(min(sizes), max(sizes) / 1e4) if bent and sizes else 0.0
        plain = cls(low, high, 0.0, 1.0, bend)
        bottom, top = plain._bent(low), plain._bent(high)
        margin = 0.05 * (top - bottom) or 0.05 * abs(top) or 1.0
        return cls(plain._straight(bottom - margin), plain._straight(top + margin), start, end, bend)

    def at(self, value: float) -> float:
        """A number's place.

        >>> Scale(0, 2, 100, 0).at(0.5)
        75.0
        """
        low, high = self._bent(self.low), self._bent(self.high)
        return self.start + (self._bent(value) - low) / (high - low) * (self.end - self.start)

    def back(self, place: float) -> float:
        """The number at a place.

        >>> Scale(0, 2, 100, 0).back(75)
        0.5
        """
        low, high = self._bent(self.low), self._bent(self.high)
        return self._straight(low + (place - self.start) / (self.end - self.start) * (high - low))

    def ticks(self) -> list[float]:
        """Round numbers within the scale, a handful.

        >>> Scale(0, 1, 0, 100).ticks()
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        >>> Scale(-5, 2000, 0, 100, bend=1).ticks()
        [-1.0, 0.0, 1.0, 10.0, 100.0, 1000.0]
        """
        if self.bend:
            least = math.log10(self.bend)  # ticks below it would crowd around 0
            powers = range(
                math.floor(least) if self.low > 0 else math.ceil(least), math.floor(math.log10(max(abs(self.low), abs(self.high)))) + 1
            )
            step = 1 + len(powers) // 5
            parts = (1, 2, 5) if len(powers) < 3 else (1,)
            sizes = [part * 10.0**power for power in powers[::step] for part in parts]
            found = [*(-size for size in reversed(sizes)), 0.0, *sizes]
        else:
            rough = (self.high - self.low) / 5
            unit = 10.0 ** math.floor(math.log10(rough))
            step_size = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
            first, last = math.ceil(self.low / step_size - 1e-9), math.floor(self.high / step_size + 1e-9)
            found = [float(f"{i * step_size:.12g}") for i in range(first, last + 1)]
        return [tick for tick in found if self.low <= tick <= self.high]

    def _bent(self, value: float) -> float:
        return math.asinh(value / self.bend) if self.bend else value

    def _straight(self, value: float) -> float:
        return math.sinh(value) * self.bend if self.bend else value


def _text(value: object) -> str:
    """An attribute's text: pixels to a tenth, shares to a hundredth."""
    if isinstance(value, float):
        return f"{value:.2g}" if abs(value) < 1 else f"{value:.1f}".removesuffix(".0")
    return printable(str(value))
