"""What an interrupt comes to, in every command that can be continued."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def resumable() -> Iterator[None]:
    """An interrupt ends the command and says that nothing is lost.

    Raises:
        Exit: There was one; exit code 130.
    """
    try:
        yield
    except KeyboardInterrupt:
        print("\nInterrupted. What was finished is kept: the same command continues.", file=sys.stderr)
        raise typer.Exit(130) from None
