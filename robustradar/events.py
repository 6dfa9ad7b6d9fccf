"""The event log of ``--events``: one JSON object a line, by the hooks that any plugin may implement."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from robustradar import Failed, FitRecord, FitSpec, Measured, Measurement, Outcome, Study, UsageError, hookimpl

SCHEMA = "robustradar-events/1"


class EventLog:
    """Appends to a file, a line an event, each in one write: what was told before a kill is there, and several runs may share a file.

    Args:
        file: Made when absent. A last line that a kill cut short is ended, so that it spoils no other.

    Raises:
        UsageError: The file cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._run = file, uuid.uuid4().hex[:12]
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("ab+") as stream:
                if stream.seekable() and stream.tell():
                    stream.seek(-1, os.SEEK_END)
                    if stream.read() != b"\n":
                        stream.write(b"\n")
        except OSError as error:
            raise UsageError(f"--events: got {str(file)!r}, which cannot be written ({error.strerror}). Choose another file.") from None

    @hookimpl
    def robustradar_planned(self, study: Study, epochs: int, measurements: int) -> None:
        """The first line of a run."""
        self._write("planned", schema=SCHEMA, study=study.json(), epochs=epochs, measurements=measurements)

    @hookimpl
    def robustradar_fitted(self, spec: FitSpec, record: FitRecord | None, reason: str | None) -> None:
        """A network."""
        self._write(
            "fitted",
            fit=spec.key,
            candidate=spec.architecture.label,
            objective=str(spec.objective),
            threat=spec.threat.json() if spec.threat else None,
            attack=spec.attack.label if spec.attack else None,
            seed=spec.seed,
            state="failed" if record is None else "trained",
            reason=reason,
            seconds=record.cost.seconds if record else None,
            epochs=[dict(epoch) for epoch in record.epochs] if record else [],
            selected_epoch=record.selected_epoch if record else None,
            flags=list(record.flags) if record else [],
        )

    @hookimpl
    def robustradar_measured(self, measurement: Measurement, outcomes: Mapping[str, Outcome]) -> None:
        """A metric of a candidate at a seed."""
        self._write(
            "measured",
            measurement=measurement.key,
            candidate=measurement.candidate.label,
            metric=measurement.metric.label,
            seed=measurement.seed,
            fits=[spec.key for _, spec in measurement.fits],
            outcomes={column: _row(outcome) for column, outcome in outcomes.items()},
        )

    def _write(self, event: str, **fields: Any) -> None:
        """One line, in one write that goes to the end of the file; what the system did not take of it follows."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"event": event, "time": time, "run": self._run, **fields}, ensure_ascii=False, allow_nan=False)
        rest = f"{line}\n".encode()
        with self._file.open("ab", buffering=0) as stream:
            while rest:
                rest = rest[stream.write(rest) or 0 :]


def _row(outcome: Outcome) -> dict[str, Any]:
    """One column's outcome."""
    row: dict[str, Any] = {"state": type(outcome).__name__.lower(), "value": None, "low": None, "high": None, "flags": [], "reason": None}
    if isinstance(outcome, Measured):
        return row | {"value": outcome.value, "low": outcome.low, "high": outcome.high, "flags": list(outcome.flags)}
    return row | {"reason": str(outcome) if isinstance(outcome, Failed) else outcome.reason}
