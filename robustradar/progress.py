"""What a run tells while it goes on."""

from __future__ import annotations

from typing import Protocol

from robustradar.values import FitSpec, Measurement, Outcome


class Progress(Protocol):
    """Listens to a run; the command line draws it."""

    def planned(self, epochs: int, measurements: int) -> None:
        """The run starts: so many epochs are to be trained and so many measurements made."""

    def added(self, epochs: int) -> None:
        """A metric has asked for another fit: so many epochs more."""

    def epoch(self, spec: FitSpec, epoch: int, epochs: int) -> None:
        """An epoch of a fit has ended."""

    def fitted(self, spec: FitSpec, reason: str | None) -> None:
        """A fit has ended, or failed for a reason."""

    def measured(self, measurement: Measurement, outcomes: dict[str, Outcome]) -> None:
        """A measurement has ended."""

    def note(self, text: str) -> None:
        """Something to be told at once."""


class Silent:
    """Tells nothing."""

    def planned(self, epochs: int, measurements: int) -> None:
        """Nothing."""

    def added(self, epochs: int) -> None:
        """Nothing."""

    def epoch(self, spec: FitSpec, epoch: int, epochs: int) -> None:
        """Nothing."""

    def fitted(self, spec: FitSpec, reason: str | None) -> None:
        """Nothing."""

    def measured(self, measurement: Measurement, outcomes: dict[str, Outcome]) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""
