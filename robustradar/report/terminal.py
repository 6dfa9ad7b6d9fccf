"""What a terminal is shown: text that cannot steer it, and tables no wider than it is."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from tabulate import tabulate

# Chosen here: words in a column narrower than the first read badly; rather, columns go on below. No name is broken up to the second.
_NARROW, _NAME = 20, 36
_GAP = 2  # between columns, and after a heading


def width() -> int | None:
    """How wide the terminal is; None where standard output is a file or a pipe, whose lines may be as long as they are."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def plain(words: str) -> str:
    r"""Text in one line, without what steers a terminal or turns the direction of writing: names come from strangers.

    >>> plain("a\x1b[31m\n b")
    'a�[31m b'
    """
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(words.split()))


def table(
    rows: Sequence[Sequence[object]], head: Sequence[str], most: int | None = None, *, numbers: Sequence[int] = (), kept: int = 1
) -> str:
    """A table that fits: words wrap within their column, numbers never, and columns for which there is no room go on below.

    Args:
        rows: Their cells; None is an empty one.
        head: The headings.
        most: How many characters wide; None: any.
        numbers: Places of the columns that are numbers: on the right.
        kept: How many columns stand in front again where others go on below.
    """
    cells = [tuple(plain("" if row[place] is None else str(row[place])) for row in rows) for place in range(len(head))]
    columns = [_Column(plain(name), cells[place], place in numbers) for place, name in enumerate(head)]
    natural = [column.natural for column in columns]
    if most is None:
        return _drawn(columns, natural)
    for cap in range(max(natural, default=0), 0, -1):
        widths = [min(column.natural, max(column.least, cap)) for column in columns]
        if _span(widths) <= most:
            return _drawn(columns, widths)
    front, rest, parts = columns[:kept], columns[kept:], []
    while rest:
        spans = accumulate((column.least + _GAP for column in rest), initial=_span([column.least for column in front]))
        fitting = sum(span <= most for span in list(spans)[1:]) or 1
        shown = [*front, *rest[:fitting]]
        parts.append(_drawn(shown, [column.least for column in shown]))
        rest = rest[fitting:]
    return "\n\n".join(parts)


@dataclass(frozen=True)
class _Column:
    """A heading, what stands below it, and whether that is numbers."""

    head: str
    cells: tuple[str, ...]
    number: bool

    @property
    def natural(self) -> int:
        """As wide as it likes to be."""
        return max([len(self.head) + _GAP, *map(len, self.cells)])

    @property
    def least(self) -> int:
        """As narrow as it may be."""
        if self.number:
            return max([*(len(word) + _GAP for word in self.head.split()), *map(len, self.cells)])
        longest = max((len(part) for cell in self.cells for part in re.split(r"\s|(?<=[,:|])", cell)), default=0)
        return min(self.natural, max(_NARROW, min(longest, _NAME)))

    def wrapped(self, most: int) -> list[str]:
        """The heading and the cells, no line of them wider than that."""
        return [_wrapped(self.head, most - _GAP), *(_wrapped(cell, most) for cell in self.cells)]


def _span(widths: Sequence[int]) -> int:
    """How wide a table is whose columns are so wide."""
    return sum(widths) + _GAP * (len(widths) - 1)


def _drawn(columns: Sequence[_Column], widths: Sequence[int]) -> str:
    """The table, with columns so wide."""
    lines = [column.wrapped(most) for column, most in zip(columns, widths, strict=True)]
    head, *rows = [list(row) for row in zip(*lines, strict=True)]
    sides = ["right" if column.number else "left" for column in columns]
    return tabulate(rows, head, tablefmt="simple", disable_numparse=True, colalign=sides if rows else None)


def _wrapped(words: str, most: int) -> str:
    """Text in lines: between words, or in longer ones, such as candidates' names, after a mark."""
    if len(words) <= most:
        return words
    part = re.compile(rf".{{1,{most}}}$|.{{1,{most}}}(?<=[,:/|+])|.{{{most}}}")
    pieces = [piece for word in words.split() for piece in (part.findall(word) if len(word) > most else [word])]
    return "\n".join(textwrap.wrap(" ".join(pieces), most, break_long_words=False, break_on_hyphens=False))
