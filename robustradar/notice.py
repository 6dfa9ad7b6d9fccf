"""Tells plugins what happens in a run. It rides on what the run tells whoever draws its progress."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pluggy

from robustradar import guard, hookspecs
from robustradar.errors import Failure, RobustRadarError
from robustradar.host import GROUP, Plugin
from robustradar.progress import Progress
from robustradar.values import FitRecord, FitSpec, Measurement, Outcome, Study


def listeners(plugins: Sequence[Plugin], others: Mapping[str, object]) -> dict[str, object]:
    """Whoever hears of a run, by the name that a warning gives them: plugins, and objects with the same hooks."""
    return {f"plugin {p.name!r} ({p.origin})": p.module for p in plugins if p.module is not None} | dict(others)


class Notices:
    """Passes everything on to who draws, then tells those who listen. What they raise becomes a warning, told once.

    Args:
        drawn: Who draws the progress, and tells warnings.
        hearing: Those who listen, from `listeners`.
        study: What is run.
        record: A fit's record by its key, once it is trained.
    """

    def __init__(
        self, drawn: Progress, hearing: Mapping[str, object], study: Study, record: Callable[[str], FitRecord | Failure | None]
    ) -> None:
        self._drawn, self._study, self._record = drawn, study, record
        self._callers = {name: _caller(listener) for name, listener in hearing.items()}
        self._told: set[str] = set()

    def planned(self, epochs: int, measurements: int) -> None:
        """A notice."""
        self._drawn.planned(epochs, measurements)
        self._notify("robustradar_planned", study=self._study, epochs=epochs, measurements=measurements)

    def added(self, epochs: int) -> None:
        """Passed on."""
        self._drawn.added(epochs)

    def epoch(self, spec: FitSpec, epoch: int, epochs: int) -> None:
        """Passed on."""
        self._drawn.epoch(spec, epoch, epochs)

    def fitted(self, spec: FitSpec, reason: str | None) -> None:
        """A notice."""
        self._drawn.fitted(spec, reason)  # first: it raises an interrupt again, and what that broke is no failure
        found = self._record(spec.key) if reason is None else None
        self._notify("robustradar_fitted", spec=spec, record=found if isinstance(found, FitRecord) else None, reason=reason)

    def measured(self, measurement: Measurement, outcomes: dict[str, Outcome]) -> None:
        """A notice."""
        self._drawn.measured(measurement, outcomes)
        self._notify("robustradar_measured", measurement=measurement, outcomes=outcomes)

    def note(self, text: str) -> None:
        """Passed on."""
        self._drawn.note(text)

    def _notify(self, hook: str, **arguments: Any) -> None:
        """Calls a hook of each, with copies, so that nothing that one does reaches the run or another."""
        for name, caller in self._callers.items():
            if not getattr(caller, hook).get_hookimpls():  # copies are dear, and most listen to one hook
                continue
            with guard.generators_restored():
                try:
                    guard.call(f"{hook} of {name}", lambda caller=caller: getattr(caller, hook)(**copy.deepcopy(arguments)))  # type: ignore[misc]
                except (Failure, RobustRadarError) as error:
                    warning = f"{error}" if isinstance(error, Failure) else f"{hook} of {name}: {error}"
                    if warning not in self._told:
                        self._told.add(warning)
                        self._drawn.note(f"{warning.rstrip('.')}. The run goes on.")


def _caller(listener: object) -> pluggy.HookRelay:
    """The hooks of one listener alone."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(listener)
    return manager.hook
