"""What a run would train, share and take: counted from the plan, timed on a few batches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustradar.errors import Failure
from robustradar.plan import epochs
from robustradar.report import terminal
from robustradar.screening import Prepared
from robustradar.values import FitSpec, counted

# Timing itself stays short: candidates that were not reached are taken to cost the median of those that were.
TIMING_SECONDS = 30.0
FAILED = "failed before"
_STEPS = 3


@dataclass(frozen=True)
class Forecast:
    """What lies ahead.

    Attributes:
        fits: One row a fit: candidate, objective, seed, epochs, state (``to train``, ``stored`` or ``failed before``) and seconds.
        requested: How many fits the metrics ask for together.
        measurements: Number of measurements to make.
        further: How many more fits metrics may ask for at most, whose number and strengths hang on results; not in `seconds`.
        seconds: About how long the training takes; None where nothing was timed.
        timed: How many of the fits to train were timed.
        failures: Candidate to why networks of it could not be timed, which training will meet, too.
    """

    fits: tuple[Mapping[str, Any], ...]
    requested: int
    measurements: int
    further: int
    seconds: float | None
    timed: int
    failures: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {**vars(self), "fits": [dict(fit) for fit in self.fits], "failures": dict(self.failures)}

    def text(self, width: int | None = None) -> str:
        """As a table, for a terminal of this width or any, with a closing sentence."""
        rows = [[*fit.values()][:-1] + ["" if fit["seconds"] is None else f"{fit['seconds']:.1f}"] for fit in self.fits]
        table = terminal.table(rows, ["candidate", "objective", "seed", "epochs", "state", "about s"], width)
        return f"{table}\n\n{self.closing}"

    @property
    def closing(self) -> str:
        """The sentence that sums it up."""
        waiting = sum(fit["state"] == "to train" for fit in self.fits)
        closing = (
            f"{counted(len(self.fits), 'network')} for {counted(self.requested, 'need')} of the metrics; {waiting} to train, "
            f"{len(self.fits) - waiting} in the store; {counted(self.measurements, 'measurement')} to make."
        )
        if failed := sum(fit["state"] == FAILED for fit in self.fits):
            closing += f" {failed} of those in the store failed before: another --store tries them again."
        if self.further:
            closing += f" Up to {counted(self.further, 'network')} more as results call for them."
        if self.seconds is not None and waiting:
            timed = f"{self.timed} of {counted(waiting, 'network')}"
            closing += f" About {self.seconds:.0f} s of training, forecast from {timed} timed on a few batches."
        return closing


def forecast(prepared: Prepared, *, store: Path, device: str = "auto", timed: bool = True) -> Forecast:
    """What `screening.rank` would do with the same arguments. Nothing is kept.

    Args:
        prepared: The study and its plan.
        store: Folder of finished work.
        device: Where to compute.
        timed: Whether to time a few batches.
    """
    from robustradar.store import Store

    kept, plan = Store(store), prepared.plan
    waiting = [spec for spec in plan.fits if not kept.has_fit(spec.key)]
    keys = {spec.key for spec in waiting}
    seconds, failures = _timed(prepared, kept, waiting, device) if timed and waiting else ({}, {})
    usual = statistics.median(seconds.values()) if seconds else None
    rows: list[dict[str, Any]] = []
    for spec in plan.fits:
        state = "to train" if spec.key in keys else FAILED if isinstance(kept.fit(spec.key), Failure) else "stored"
        known = seconds.get(spec.key, usual) if state == "to train" else None
        row = {"candidate": spec.architecture.label, "objective": str(spec.objective), "seed": spec.seed}
        row["epochs"] = epochs(prepared.catalog, spec)
        rows.append({**row, "state": state, "seconds": known})
    total = sum(known for row in rows if (known := row["seconds"]) is not None) if seconds else None
    lacking = [m for m in plan.measurements if not kept.has_outcome(m.key)]
    return Forecast(tuple(rows), plan.requested, len(lacking), sum(m.further for m in lacking), total, len(seconds), failures)


def _timed(prepared: Prepared, store: Any, waiting: list[FitSpec], device: str) -> tuple[dict[str, float], dict[str, tuple[str, ...]]]:
    """Seconds a fit, from a few steps of it and one evaluation batch, as long as timing may take; and a candidate's failures."""
    from robustradar.execute import Execution
    from robustradar.progress import Silent
    from robustradar.training.device import DeviceData, threads
    from robustradar.training.device import device as device_of

    data = DeviceData.of(prepared.data, prepared.study.task, device_of(device))
    execution = Execution(prepared.catalog, data, store, Silent())
    found: dict[str, float] = {}
    failed: dict[str, tuple[str, ...]] = {}
    alike: dict[tuple[Any, ...], float | None] = {}
    deadline = time.monotonic() + TIMING_SECONDS
    for spec in waiting:
        kind = (spec.architecture, spec.objective, spec.recipe)
        if kind not in alike and time.monotonic() < deadline:
            try:
                with threads(prepared.study.task):
                    alike[kind] = execution.trial(spec, _STEPS)
            except Failure as failure:  # `rank` will tell it, too
                alike[kind] = None
                told = failed.get(spec.architecture.label, ())
                failed[spec.architecture.label] = tuple(dict.fromkeys([*told, f"{failure.culprit}: {failure.reason}"]))
        if (seconds := alike.get(kind)) is not None:
            found[spec.key] = seconds
    return found, failed
