"""Standard output, which holds a command's answer and nothing else."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from robustradar import guard
from robustradar.errors import RobustRadarError, StoreError


class Unread(RobustRadarError):
    """Whoever read the answer, such as ``head``, has gone. That is no fault and told by the exit code alone (141, as of a broken pipe)."""

    exit_code = 141


class Answer:
    """Standard output while a command runs: what a plugin prints goes to standard error instead, and what cannot be written is told.

    Args:
        stream: Standard output.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._failure: RobustRadarError | None = None

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a part of the answer, or what a plugin prints.

        Raises:
            StoreError: It cannot be written.
            Unread: Nobody reads it.
        """
        if guard.asked():
            return sys.stderr.write(text)
        with self._told():
            return self._stream.write(text)

    def flush(self) -> None:
        """Writes what is not written yet.

        Raises:
            StoreError: It cannot be written.
            Unread: Nobody reads it.
        """
        with self._told():
            self._stream.flush()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """An error as one that a user is told of, in the end at the latest: Typer tries streams and drops what they raise."""
        if self._failure is not None:
            raise self._failure
        try:
            yield
        except OSError as error:
            # What is left in the buffer goes nowhere, or Python would fail at it again when it ends.
            with contextlib.suppress(OSError), open(os.devnull, "w", encoding="utf-8") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
            self._failure = Unread() if isinstance(error, BrokenPipeError) else _unwritten(error)
            raise self._failure from None


def _unwritten(error: OSError) -> StoreError:
    """The message."""
    told = f"standard output: it cannot be written ({error.strerror or error}), and the answer is not complete."
    return StoreError(f"{told} Finished work is kept: make room, or send the answer elsewhere, and run the same command again.")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Keeps standard output for the answer, and sees to it that all of that is written in the end.

    Raises:
        StoreError: It cannot be written.
        Unread: Nobody reads it.
    """
    if sys.stdout is None:  # whoever started the command has closed it
        with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
        return
    answer = Answer(sys.stdout)
    with contextlib.redirect_stdout(cast(TextIO, answer)):
        try:
            yield
        finally:
            answer.flush()
