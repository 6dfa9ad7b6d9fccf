"""The extension point for reports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from robustradar.contract.declaration import Declaration, fixed
from robustradar.values import Result


@dataclass(frozen=True)
class Reporter(Declaration, ABC):
    """A rendering of a finished result.

    Attributes:
        filename: Where the host writes it, below the output folder.
    """

    filename: str = fixed("")

    @abstractmethod
    def render(self, result: Result) -> str:
        """The file's text. Pure: nothing is printed, read or written."""

    def compare(self, runs: Sequence[tuple[str, Result]]) -> str | None:
        """Several results side by side, each with its label; None: this reporter renders each alone. As pure as `render`."""
        return None
