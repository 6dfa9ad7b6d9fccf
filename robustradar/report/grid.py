"""Tables as a page shows them: headings, cells, and what they are sorted by. They know nothing of HTML."""

from __future__ import annotations

from dataclasses import dataclass

_FIRST = {"higher": "descending", "lower": "ascending", "none": "ascending"}
_BETTER = {"higher": "higher is better", "lower": "lower is better", "none": ""}


@dataclass(frozen=True)
class Head:
    """A column's heading.

    Attributes:
        title: Its words.
        direction: ``higher``, ``lower`` or ``none``.
        ranked: Whether the ranking was made of it.
        words: Whether its cells are words, not numbers.
    """

    title: str
    direction: str = "none"
    ranked: bool = False
    words: bool = False

    @property
    def first(self) -> str:
        """The order that a first click asks for: best first."""
        return _FIRST[self.direction]

    @property
    def better(self) -> str:
        """The direction in words."""
        return _BETTER[self.direction]


@dataclass(frozen=True)
class Cell:
    """What a cell shows.

    Attributes:
        text: The words or the number.
        sort: What it is sorted by; None: the words.
        interval: Beside the number.
        flags: Letters of footnotes.
        reason: Why there is no number.
        span: Start, mark and end of a bar, as shares of its width.
    """

    text: str
    sort: float | None = None
    interval: str = ""
    flags: tuple[str, ...] = ()
    reason: str = ""
    span: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Grid:
    """A table's content.

    Attributes:
        caption: What it holds.
        heads: One a column.
        rows: Cells, as many as heads.
        named: The column whose cells head the rows.
        marked: Which rows stand out.
    """

    caption: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    named: int = 0
    marked: frozenset[int] = frozenset()
