"""What exit codes mean; `docs/reference/commands.md` says what to do about each."""

from __future__ import annotations

from collections.abc import Mapping

INTERNAL = 70  # as sysexits.h has it

MEANINGS: Mapping[int, str] = {
    0: "complete",
    1: "gate not met",
    2: "wrong usage",
    3: "something failed",
    4: "a needed plugin is broken",
    INTERNAL: "an internal error",
    130: "interrupted",
    141: "nobody read the answer",
}


def told(*codes: int, own: Mapping[int, str] | None = None) -> str:
    """A command's codes in one line for its help; `own` are those that mean something more exact there.

    >>> told(0, 2, own={0: "no regression"})
    'Exit codes: 0 no regression, 2 wrong usage.'
    """
    meanings = {**MEANINGS, **(own or {})}
    return f"Exit codes: {', '.join(f'{code} {meanings[code]}' for code in codes)}."
