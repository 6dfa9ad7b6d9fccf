"""What one measurement works with: fits and attacks that were planned, and those that the metric asks for while it measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from robustradar import guard
from robustradar.catalog import Catalog
from robustradar.contract.metric import AttackNeed, Bench, Fit, FitNeed, Judged
from robustradar.errors import Failure, UsageError
from robustradar.judge import Guarded
from robustradar.plan import attack_use, fit_spec
from robustradar.training import loss as losses
from robustradar.training import objective as objectives
from robustradar.training.cost import Meter
from robustradar.training.device import DeviceData
from robustradar.training.loop import METRIC_ATTACK, stream
from robustradar.values import AttackUse, Cost, FitSpec, Measurement, Objective, Outcome, Ref

T = TypeVar("T")


class Run(Protocol):
    """What a desk asks of the run that it stands in."""

    @property
    def catalog(self) -> Catalog:
        """To resolve needs with."""

    def loaded(self, spec: FitSpec) -> Fit:
        """A fit as a metric gets it."""

    def fit(self, spec: FitSpec) -> None:
        """Sees to it that a fit is in the store."""

    def network(self, architecture: Ref, seed: int) -> nn.Module:
        """A freshly built network."""

    def guarded(self, use: AttackUse, seed: int) -> Guarded:
        """An attack under the guard."""


@dataclass(frozen=True, eq=False)
class Measuring:
    """What measuring yields.

    Attributes:
        outcomes: By column.
        cost: What the metric spent, without the fits.
        further: Keys of the fits that it asked for.
    """

    outcomes: dict[str, Outcome]
    cost: Cost
    further: tuple[str, ...]


class Desk:
    """The host's side of a `Bench`.

    Args:
        run: Trains and loads.
        measurement: What is measured.
        data: On what, in which batches.

    Attributes:
        data: On what.
        meter: Counts what the metric spends.
        fits: All fits that the metric was given, with what they are.
        attacks: All attacks that it was given.
        asked: Keys of the fits that it asked for while it measured.
    """

    def __init__(self, run: Run, measurement: Measurement, data: DeviceData) -> None:
        self._run, self._measurement, self.data = run, measurement, data
        self._culprit = run.catalog.culprit("metric", measurement.metric)
        self.meter = Meter(data)
        self.fits: list[tuple[FitSpec, Fit]] = []
        self.attacks: list[tuple[Guarded, AttackUse]] = []
        self.asked: tuple[str, ...] = ()

    def bench(self) -> Bench:
        """What the metric gets."""
        run, measurement = self._run, self._measurement
        task, seed = measurement.task, measurement.seed or 0
        return Bench(
            task=task,
            threat=measurement.threat,
            fits={label: self._lent(spec) for label, spec in measurement.fits},
            attacks={label: self._bound(use) for label, use in measurement.attacks},
            splits=self.data.splits,
            loss=losses.of(task.classes),
            network=lambda: self.meter.watch(run.network(measurement.candidate, seed).eval()),
            seed=seed,
            train=self._train,
            attack=self._attack,
            losses=self._losses,
        )

    def _train(self, need: FitNeed) -> Fit:
        """`Bench.train`.

        Raises:
            Failure: It cannot be trained, or is more than the metric has announced.
        """
        spec = self._resolved("train", lambda: fit_spec(self._run.catalog, self._measurement, need))
        known = [planned.key for _, planned in self._measurement.fits]
        if spec.key not in known and spec.key not in self.asked:
            most = self._measurement.further
            if len(self.asked) == most:
                raise Failure(self._culprit, f"bench.train: got a request for one more fit, expected at most {most}, as needs() says.")
            self.asked += (spec.key,)
            with self.meter.paused(), guard.generators_restored(), torch.enable_grad():
                self._run.fit(spec)
        return self._lent(spec)

    def _attack(self, need: AttackNeed) -> Judged:
        """`Bench.attack`.

        Raises:
            Failure: There is no such attack, or it cannot do the task.
        """
        return self._bound(self._resolved("attack", lambda: attack_use(self._run.catalog, self._measurement, need, measuring=True)))

    def _resolved(self, what: str, resolve: Callable[[], T]) -> T:
        """A need that the metric states while it measures. It is the metric that is wrong then, not the user."""
        try:
            return resolve()
        except UsageError as error:
            raise Failure(self._culprit, f"bench.{what}: {error}") from None

    def _losses(self, model: nn.Module, x: Tensor, y: Tensor, objective: Objective, attack: Judged | None) -> Tensor:
        """`Bench.losses`."""
        if not (attack is None or isinstance(attack, Guarded)):
            raise Failure(self._culprit, f"bench.losses: got {type(attack).__name__}, expected an attack of the bench's.")
        return objectives.judged(model, x, y, objective, attack, self._measurement.task.classes)

    def _lent(self, spec: FitSpec) -> Fit:
        """A private copy of a fit, whose passes are counted."""
        fit = self._run.loaded(spec)
        self.meter.watch(fit.model)
        self.fits.append((spec, fit))
        return fit

    def _bound(self, use: AttackUse) -> Guarded:
        """An attack under the guard."""
        attack = self._run.guarded(use, stream(self._measurement.seed or 0, METRIC_ATTACK))
        self.attacks.append((attack, use))
        return attack
