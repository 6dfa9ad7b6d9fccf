"""Progress on standard error: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

from robustradar import progress
from robustradar.report.terminal import plain
from robustradar.values import Failed, FitSpec, Measurement, Outcome, counted

# A plain line for every epoch of a long run would drown a log.
_SECONDS_BETWEEN_LINES = 5.0
# Widths, so that 80 columns hold all numbers and the beginning of what is going on.
_BAR, _COUNTS, _TIME = 12, 9, 7


@contextmanager
def listener(*, quiet: bool) -> Iterator[progress.Progress]:
    """Who is told of a run's progress on this terminal; an interrupt stops the run at the next word to it at the latest."""
    with _drawn(quiet=quiet) as drawn, _heeded(Stoppable(drawn)) as heeded:
        yield heeded


@contextmanager
def _drawn(*, quiet: bool) -> Iterator[progress.Progress]:
    """The listener that suits the terminal."""
    if quiet:
        yield progress.Silent()
    elif sys.stderr.isatty():
        with Bar() as bar:
            yield bar
    else:
        yield Lines()


@contextmanager
def _heeded(stoppable: Stoppable) -> Iterator[Stoppable]:
    """Interrupts go to the listener; only the main thread may say where they go.

    Raises:
        KeyboardInterrupt: There was one, and code in another language made another exception of it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield stoppable
        return
    before = signal.signal(signal.SIGINT, stoppable.interrupt)
    try:
        yield stoppable
    finally:
        signal.signal(signal.SIGINT, before)
        if stoppable.asked and sys.exc_info()[0] not in (None, KeyboardInterrupt):
            raise KeyboardInterrupt


class Stoppable:
    """Passes everything on, and raises an interrupt again that got lost: Python drops what is raised inside a destructor.

    Args:
        listener: Who is told.

    Attributes:
        asked: Whether there was an interrupt.
    """

    def __init__(self, listener: progress.Progress) -> None:
        self._listener = listener
        self.asked = False

    def interrupt(self, *_: object) -> None:
        """The signal's handler.

        Raises:
            KeyboardInterrupt: Always.
        """
        self.asked = True
        raise KeyboardInterrupt

    def planned(self, epochs: int, measurements: int) -> None:
        """Passed on."""
        self._heard().planned(epochs, measurements)

    def added(self, epochs: int) -> None:
        """Passed on."""
        self._heard().added(epochs)

    def epoch(self, spec: FitSpec, epoch: int, epochs: int) -> None:
        """Passed on."""
        self._heard().epoch(spec, epoch, epochs)

    def fitted(self, spec: FitSpec, reason: str | None) -> None:
        """Passed on."""
        self._heard().fitted(spec, reason)

    def measured(self, measurement: Measurement, outcomes: dict[str, Outcome]) -> None:
        """Passed on."""
        self._heard().measured(measurement, outcomes)

    def note(self, text: str) -> None:
        """Passed on."""
        self._heard().note(text)

    def _heard(self) -> progress.Progress:
        """The listener, unless the run is to stop."""
        if self.asked:
            raise KeyboardInterrupt
        return self._listener


class Bar:
    """A bar of epochs over all fits, or where nothing is trained, of measurements; with what is going on at present."""

    def __init__(self) -> None:
        # Where room is short the description gives way: it stands last, and numbers have all that they need.
        columns = (
            BarColumn(_BAR),
            MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=_COUNTS)),
            TextColumn("{task.fields[unit]}", table_column=Column(no_wrap=True)),
            TimeElapsedColumn(Column(no_wrap=True, min_width=_TIME)),
            TextColumn("left", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True, min_width=_TIME)),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        )
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, expand=True)
        self._task = self._bar.add_task("starting", total=None, unit="")
        self._trains = False

    def __enter__(self) -> Bar:
        """Starts drawing."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops drawing and clears the bar."""
        self._bar.stop()

    def planned(self, epochs: int, measurements: int) -> None:
        """The bar's length."""
        self._trains, total = epochs > 0, epochs or measurements
        unit = "epochs" if self._trains else "measurements"
        self._bar.update(self._task, total=total or 1, unit=unit, description=f"{counted(measurements, 'measurement')} to make")

    def added(self, epochs: int) -> None:
        """The bar grows; one of measurements starts afresh."""
        if not self._trains:
            self._bar.reset(self._task, total=0, unit="epochs")
        self._trains = True
        self._bar.update(self._task, total=(self._bar.tasks[0].total or 0) + epochs)

    def epoch(self, spec: FitSpec, epoch: int, epochs: int) -> None:
        """One step."""
        self._bar.update(self._task, advance=1, description=escape(plain(f"training {spec}, epoch {epoch}/{epochs}")))

    def fitted(self, spec: FitSpec, reason: str | None) -> None:
        """A failure is told at once."""
        if reason:
            self.note(f"failed: {spec}: {reason}")

    def measured(self, measurement: Measurement, outcomes: dict[str, Outcome]) -> None:
        """What was just measured."""
        told = escape(plain(f"measured {measurement.metric.label} of {measurement.candidate.label}"))
        self._bar.update(self._task, advance=0 if self._trains else 1, description=told)

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._bar.console.print(escape(plain(text)), highlight=False, soft_wrap=True)


class Lines:
    """Plain lines, for logs."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._done = self._total = self._measured = self._measurements = 0

    def planned(self, epochs: int, measurements: int) -> None:
        """What lies ahead."""
        self._total, self._measurements = epochs, measurements
        self.note(f"{counted(epochs, 'epoch')} to train, {counted(measurements, 'measurement')} to make")

    def added(self, epochs: int) -> None:
        """More lies ahead."""
        self._total += epochs

    def epoch(self, spec: FitSpec, epoch: int, epochs: int) -> None:
        """How far it is, every few seconds."""
        self._done += 1
        if self._done == 1:
            self._start = time.monotonic()  # the first one loads libraries and says nothing of the others
        if self._due():
            self.note(f"{spec}: epoch {epoch}/{epochs}; {self._done}/{self._total} in all{self._left(self._done, self._total)}")

    def fitted(self, spec: FitSpec, reason: str | None) -> None:
        """A failure is told at once."""
        if reason:
            self.note(f"failed: {spec}: {reason}")

    def measured(self, measurement: Measurement, outcomes: dict[str, Outcome]) -> None:
        """What failed, a line a reason; how far it is, every few seconds, and the time left where nothing is trained."""
        for reason in dict.fromkeys(outcome.reason for outcome in outcomes.values() if isinstance(outcome, Failed)):
            self.note(f"failed: {measurement.metric.label} of {measurement.candidate.label}: {reason}")
        self._measured += 1
        if not self._total and self._measured == 1:
            self._start = time.monotonic()
        if self._due():
            left = "" if self._total else self._left(self._measured, self._measurements)
            told = f"measured {measurement.metric.label} of {measurement.candidate.label}"
            self.note(f"{told}; {self._measured}/{self._measurements} measurements{left}")

    def note(self, text: str) -> None:
        """A line."""
        print(plain(text), file=sys.stderr, flush=True)

    def _due(self) -> bool:
        """Whether it is time for a line."""
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_LINES:
            return False
        self._last = now
        return True

    def _left(self, done: int, total: int) -> str:
        """How long the rest takes, where that can be told."""
        return f", about {(time.monotonic() - self._start) / (done - 1) * max(total - done, 0):.0f} s left" if done > 1 else ""
