"""What a cell of NAS-Bench-201 is called: the benchmark's strings and its index."""

from __future__ import annotations

import itertools
import random
import re
from functools import cache

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
_COUNT = len(OPERATIONS) ** 6
_CELL = re.compile(r"\|(\w+)~0\|\+\|(\w+)~0\|(\w+)~1\|\+\|(\w+)~0\|(\w+)~1\|(\w+)~2\|")


def operations(cell: str) -> tuple[str, ...]:
    """The six operations of a cell, in the order in which its string names them.

    Args:
        cell: The benchmark's own cell string, or its index, which NATS-Bench's topology space shares.

    Raises:
        ValueError: It is neither.

    Example:
        >>> operations("9")
        ('avg_pool_3x3', 'none', 'none', 'skip_connect', 'none', 'nor_conv_3x3')
        >>> operations("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
        ('nor_conv_3x3', 'none', 'skip_connect', 'none', 'none', 'avg_pool_3x3')
    """
    if cell.isascii() and cell.isdigit() and int(cell) < _COUNT:
        return _listed()[int(cell)]
    found = _CELL.fullmatch(cell)
    if found is None or not set(found.groups()) <= set(OPERATIONS):
        raise ValueError(
            f"cell: got {cell!r}, expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2| with operations among {', '.join(OPERATIONS)}, "
            f"or NAS-Bench-201's index, 0 to {_COUNT - 1}"
        )
    return found.groups()


@cache
def _listed() -> tuple[tuple[str, ...], ...]:
    """All cells in the benchmark's order: lexicographic, then shuffled by Python's generator from the seed that its authors took."""
    cells = list(itertools.product(OPERATIONS, repeat=6))
    random.Random(88).shuffle(cells)
    return tuple(cells)
