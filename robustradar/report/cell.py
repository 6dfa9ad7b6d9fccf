"""A cell's number as people read it: its unit, its decimals, and the short form of exact ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from robustradar.values import Column

# What stands before a value, by the end of what is known that it is.
BOUNDS = {None: "", "low": "≥ ", "high": "≤ "}


@dataclass(frozen=True)
class Unit:
    """How a column's values are shown.

    Attributes:
        scale: What they are multiplied by.
        title: What a heading ends with; empty for bare numbers.
        digits: Decimals of a value with an interval, at most.
    """

    scale: int
    title: str
    digits: int

    def decimals(self, width: float) -> int:
        """How many decimals a number takes whose interval is so wide: two figures of half of it, in per cent and 1/255 always all.

        >>> Unit(1, "", 3).decimals(16.0), Unit(1, "", 3).decimals(0.04), Unit(100, " %", 1).decimals(30.0)
        (1, 3, 1)
        """
        if self.scale != 1 or not width > 0:
            return self.digits
        return min(self.digits, max(0, 1 - math.floor(math.log10(width / 2))))


def unit(column: Column, shape: Sequence[int], bounds: Sequence[float] | None) -> Unit:
    """Fractions in per cent, strengths on images in 1/255, other units as they are named.

    Args:
        column: Whose values.
        shape: Of one input, without the batch.
        bounds: The inputs' range, or None.

    >>> unit(Column("a", "higher", "strength"), (3, 32, 32), (0, 1)).title
    ' (1/255)'
    """
    if column.unit == "fraction":
        return Unit(100, " %", 1)
    if column.unit == "strength" and len(shape) == 3 and bounds is not None and tuple(bounds) == (0, 1):
        return Unit(255, " (1/255)", 2)
    return Unit(1, "" if column.unit in ("1", "loss", "strength") else f" ({column.unit})", 3)


def title(column: Column) -> str:
    """A column's name in words."""
    return column.name.replace("_", " ")


def short(value: float) -> str:
    """An exact number, short.

    >>> short(1234567), short(12.5), short(850)
    ('1.23M', '12.5', '850')
    """
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.4g}"
