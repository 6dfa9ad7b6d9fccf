"""Runs a plan: the only loop that trains and measures. What the store has is taken from there, what is new goes there at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustradar import guard, trust
from robustradar.catalog import Catalog
from robustradar.contract.architecture import Architecture
from robustradar.contract.attack import Attack
from robustradar.contract.metric import Fit, Metric
from robustradar.contract.recipe import Recipe
from robustradar.desk import Desk, Measuring
from robustradar.errors import Failure, OutOfMemory
from robustradar.judge import Guarded
from robustradar.plan import Plan, epochs
from robustradar.progress import Progress
from robustradar.store import FREE, Store
from robustradar.training import network, weights
from robustradar.training.device import DeviceData
from robustradar.training.loop import EVALUATION_ATTACK, SINGLE, SMALL_BATCHES, TRAIN_ATTACK, TRUST_ATTACK, Loop, stream
from robustradar.training.train import begin, train, trial
from robustradar.values import (
    AttackUse,
    Failed,
    FitRecord,
    FitSpec,
    FitUse,
    Measured,
    Measurement,
    MeasurementUse,
    Outcome,
    Ref,
    Weights,
    canonical,
)
from robustradar.yielded import checked

SELECTED_ON_EVALUATION = "selected-on-evaluation"
GIVEN_WEIGHTS = "given-weights"
CHANGED = "fit.analysis: got a model that this metric has changed, expected it as it was lent. Analyse first, or change a copy."


@dataclass(frozen=True, eq=False)
class Executed:
    """What a plan yielded: an outcome for every measurement and column, the fits, and what measuring cost where it came to an end."""

    outcomes: Mapping[str, Mapping[str, Outcome]]
    fits: tuple[FitUse, ...]
    measurements: tuple[MeasurementUse, ...]


@dataclass(frozen=True, eq=False)
class Execution:
    """What running a plan takes.

    Attributes:
        catalog: To bind references.
        data: Where to compute, and on what.
        store: What is finished.
        progress: Who is told.
        ahead: Keys of the fits that progress was told of when the plan was, and that are not trained yet.
        trained: Keys of the fits that were trained here, so not taken from the store.
        measured: Keys of the measurements that were made here.
        trusted: What speaks against an attack on a fit, for the fits of the present candidate.
        analyses: What metrics share, by fit and their own key, for the fits of the present candidate.
    """

    catalog: Catalog
    data: DeviceData
    store: Store
    progress: Progress
    ahead: set[str] = field(default_factory=set)
    trained: set[str] = field(default_factory=set)
    measured: set[str] = field(default_factory=set)
    trusted: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    analyses: dict[tuple[str, Hashable], Any] = field(default_factory=dict)

    def run(self, plan: Plan) -> Executed:
        """All measurements of a plan, candidate by candidate. A failure becomes an outcome and the run goes on.

        Raises:
            StoreError: Finished work could not be kept.
        """
        store = self.store
        new = {spec.key for spec in plan.fits if not store.has_fit(spec.key)}
        lengths = sum(epochs(self.catalog, spec) for spec in plan.fits if spec.key in new)
        self.ahead.update(new)
        self.progress.planned(lengths, sum(not store.has_outcome(m.key) for m in plan.measurements))
        outcomes: dict[str, Mapping[str, Outcome]] = {}
        used: dict[str, FitUse] = {}
        candidate = None
        for measurement in plan.measurements:
            if measurement.candidate != candidate:
                candidate = measurement.candidate
                self.trusted.clear()
                self.analyses.clear()
            found = self.outcomes(measurement)
            outcomes[measurement.key] = found
            for key in self._fits(measurement):
                if isinstance(record := store.fit(key), FitRecord):
                    used[key] = FitUse(record, key not in self.trained, str(store.weights(key)))
        self.analyses.clear()
        return Executed(outcomes, tuple(used.values()), tuple(filter(None, map(self._use, plan.measurements))))

    def outcomes(self, measurement: Measurement) -> dict[str, Outcome]:
        """A measurement's outcomes, from the store or made now."""
        metric = self.catalog.bound("metric", measurement.metric, Metric)
        try:
            for _, spec in measurement.fits:
                self.fit(spec)
            if (known := self.store.outcome(measurement.key)) is not None:
                return known
            made = self.measure(measurement, metric)
            found = made.outcomes
        except Failure as failure:
            made, found = None, {column.name: Failed(failure.reason, failure.culprit) for column in metric.columns}
        if made is not None and not any(isinstance(outcome, Failed) for outcome in found.values()):
            self.store.save_outcome(measurement.key, found, made.cost, made.further)
            self.measured.add(measurement.key)
            found = self.store.outcome(measurement.key) or found  # as every later run reads it
        self.progress.measured(measurement, found)
        return found

    def fit(self, spec: FitSpec) -> None:
        """Sees to it that a fit is in the store.

        Raises:
            Failure: It cannot be trained, now or when it was tried before.
        """
        with self.store.lock(spec.key):
            known = self.store.fit(spec.key)
            if isinstance(known, Failure):
                raise known
            if known is not None:
                return
            if spec.key in self.ahead:
                self.ahead.remove(spec.key)
            else:  # a metric asks for it while it measures, or it was damaged in the store
                self.progress.added(epochs(self.catalog, spec))
            try:
                self._train(spec)
                self.trained.add(spec.key)
            except Failure as failure:
                self.progress.fitted(spec, failure.reason)  # first: what an interrupt broke is no failure, and this word raises it again
                if failure.lasting:
                    self.store.save_failure(spec.key, spec.json(), failure)
                raise
        self.progress.fitted(spec, None)

    def measure(self, measurement: Measurement, metric: Metric) -> Measuring:
        """A measurement made now, its outcomes checked, and what the metric spent on it.

        Where memory runs out it is made anew with batches of half the size, and flagged, if the metric goes through batches of ours.

        Raises:
            Failure: The metric or an attack that it used failed or broke its contract.
            OutOfMemory: No smaller batch would help.
        """
        size, spent = self.data.size, FREE
        while True:
            desk = Desk(self, measurement, self.data.at(size))
            desk.meter.add(spent)
            try:
                made = self._measured(measurement, metric, desk)
                break
            except OutOfMemory as error:
                if error.least or not desk.data.read:
                    raise
                if size == 1:
                    raise OutOfMemory(error.culprit, SINGLE) from error
                spent = desk.meter.cost
            size = (size + 1) // 2
            del desk
            self.analyses.clear()  # they may hold batches of the old size, and memory
            self.data.let_go()
        flags = [] if size == self.data.size else [f"{SMALL_BATCHES}:{size}"]
        return replace(made, outcomes={name: _flagged(outcome, flags) for name, outcome in made.outcomes.items()})

    def _measured(self, measurement: Measurement, metric: Metric, desk: Desk) -> Measuring:
        """One try at it.

        Raises:
            Failure: See `measure`.
        """
        culprit = self.catalog.culprit("metric", measurement.metric)
        with guard.generators_restored(), torch.enable_grad():  # restores the gradient mode too, should a metric switch it
            found = guard.call(culprit, lambda: metric.measure(desk.bench()))
        cost = desk.meter.cost
        for attack, _ in desk.attacks:
            attack.verify()
        outcomes = checked(found, metric, culprit)
        flags = [flag for _, fit in desk.fits for flag in fit.record.flags]
        met = [(spec, fit, use) for attack, use in desk.attacks for spec, fit in _met(attack, desk.fits)]
        unmet = [(spec, fit) for spec, fit in desk.fits if all(spec != other for other, _, _ in met)]
        met += [(spec, fit, use) for spec, fit in unmet if (use := self._trained_under(spec, measurement))]
        for spec, fit, use in met:
            flags += self._trust(spec, fit.record, use)
        if any(fit.record.epochs for _, fit in desk.fits) and "final" not in measurement.task.sizes:
            flags.append(SELECTED_ON_EVALUATION)
        return Measuring({name: _flagged(outcome, flags) for name, outcome in outcomes.items()}, cost, desk.asked)

    def _fits(self, measurement: Measurement) -> tuple[str, ...]:
        """Keys of the fits of a measurement, those included that its metric asked for while it measured."""
        return tuple(dict.fromkeys([*(spec.key for _, spec in measurement.fits), *self.store.further(measurement.key)]))

    def _use(self, measurement: Measurement) -> MeasurementUse | None:
        """A measurement for the result; None where it failed, and so is not in the store."""
        cost, cached = self.store.cost(measurement.key), measurement.key not in self.measured
        if cost is None:
            return None
        return MeasurementUse(
            measurement.candidate.label, measurement.metric.label, measurement.seed, cached, cost, self._fits(measurement)
        )

    def _trained_under(self, spec: FitSpec, measurement: Measurement) -> AttackUse | None:
        """The attack that a fit's training trusted; the study's where that one is for training alone, and so cannot be checked."""
        if spec.attack is None or spec.threat is None:
            return None
        checkable = self.catalog.bound("attack", spec.attack, Attack).reach <= 1
        return AttackUse(spec.attack if checkable else measurement.attack, spec.threat)

    def _trust(self, spec: FitSpec, record: FitRecord, use: AttackUse) -> tuple[str, ...]:
        """What speaks against an attack on a fit, found once for all metrics."""
        key = (spec.key, canonical(use.json()))
        if key not in self.trusted:
            x, y = self.data.splits["evaluation"].spread(trust.HEAD)
            kept = record.epochs[record.selected_epoch - 1] if record.epochs and spec.threat == use.threat else {}
            inner = kept.get("evaluation_adversarial_accuracy")
            guarded = self.guarded(use, stream(spec.seed, TRUST_ATTACK))
            model = self.loaded(spec).model
            try:
                self.trusted[key] = trust.flags(guarded, model, x, y, inner)
            except OutOfMemory:  # on fewer samples its thresholds would not hold, and the number itself need not be lost
                self.trusted[key] = ("unchecked:memory",)
        return self.trusted[key]

    def trial(self, spec: FitSpec, steps: int) -> float:
        """About how many seconds a fit takes, from a few steps of it; nothing is kept.

        Raises:
            Failure: It cannot be trained.
        """
        return trial(self._loop(spec), self._attack(spec, EVALUATION_ATTACK), steps)

    def _train(self, spec: FitSpec) -> None:
        """Trains a fit, from where it stood if it was interrupted, and keeps it."""
        if spec.weights is not None:
            self._adopt(spec, spec.weights)
            return
        if spec.start is not None:
            self.fit(spec.start)
        loop, checkpoint = self._loop(spec), self.store.checkpoint(spec.key)
        told = partial(self.progress.epoch, spec, epochs=loop.recipe.length)
        trained = train(loop, self._attack(spec, EVALUATION_ATTACK), told, checkpoint)
        self.store.save_fit(trained.record, trained.state)
        checkpoint.remove()

    def _adopt(self, spec: FitSpec, given: Weights) -> None:
        """Keeps weights that were trained elsewhere as a fit, once it is clear that they belong to the network."""
        model = self.network(spec.architecture, spec.seed)
        state = weights.matching(model, weights.read(Path(given.path)), f"--weights {given.path}")
        self.store.save_fit(FitRecord(spec.key, spec.json(), (), 0, FREE, (GIVEN_WEIGHTS,)), state)

    def _loop(self, spec: FitSpec) -> Loop:
        """A fit at its start."""
        recipe = self.catalog.bound("recipe", spec.recipe, Recipe)
        attack = self._attack(spec, TRAIN_ATTACK)
        if attack is not None:
            attack.batch_statistics = recipe.inner_statistics == "batch"
        model = self.loaded(spec.start).model if spec.start else self.network(spec.architecture, spec.seed)
        culprit = self.catalog.culprit("architecture", spec.architecture)
        return guard.call(self.catalog.culprit("recipe", spec.recipe), lambda: begin(spec, model, recipe, self.data, attack, culprit))

    def _attack(self, spec: FitSpec, which: int) -> Guarded | None:
        """The inner attack of a fit, with a chance of its own for training and for evaluating."""
        if spec.attack is None or spec.threat is None:
            return None
        return self.guarded(AttackUse(spec.attack, spec.threat), stream(spec.seed, which))

    def loaded(self, spec: FitSpec) -> Fit:
        """A fit as a metric gets it: a copy of its own, in evaluation mode."""
        state = self.store.state(spec.key)
        if state is None:
            self.progress.note(f"{spec}: its weights in the store were damaged; it is trained again.")
            self.fit(spec)
            state = self.store.state(spec.key)
        record = self.store.fit(spec.key)
        if state is None or not isinstance(record, FitRecord):
            raise Failure("store", f"the weights of {spec} cannot be read back.", lasting=False)
        model = self.network(spec.architecture, spec.seed)
        if all(value.dtype == torch.float64 for value in state.values() if value.is_floating_point()):
            model = network.doubled(model)
        guard.call(self.catalog.culprit("architecture", spec.architecture), lambda: model.load_state_dict(state))
        return Fit(model.eval(), record, partial(self._analysis, spec, model))

    def _analysis(self, spec: FitSpec, model: nn.Module, key: Hashable, compute: Callable[[], Any]) -> Any:
        """What `Fit.analysis` returns.

        Raises:
            ValueError: The metric has changed its model.
        """
        kept = (spec.key, key)
        if kept not in self.analyses:
            with guard.generators_restored():  # whether a metric computes or finds it, what it draws later is the same
                if not _same(model, self.loaded(spec).model):
                    raise ValueError(CHANGED)
                self.analyses[kept] = compute()
        return self.analyses[kept]

    def network(self, architecture: Ref, seed: int) -> nn.Module:
        """A freshly built network."""
        declaration = self.catalog.bound("architecture", architecture, Architecture)
        return network.build(declaration, self.catalog.culprit("architecture", architecture), self.data, seed)

    def guarded(self, use: AttackUse, seed: int) -> Guarded:
        """An attack under the guard."""
        attack = self.catalog.bound("attack", use.attack, Attack)
        return Guarded(attack, self.catalog.culprit("attack", use.attack), use.threat, self.data.task.classes, seed)


def _same(model: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have the same weights and buffers, to the bit, the first in evaluation mode like the second."""
    one, two = model.state_dict(), other.state_dict()
    evaluating = not any(module.training for module in model.modules())
    return evaluating and one.keys() == two.keys() and all(v.dtype == two[n].dtype and torch.equal(v, two[n]) for n, v in one.items())


def _met(attack: Guarded, fits: Sequence[tuple[FitSpec, Fit]]) -> Sequence[tuple[FitSpec, Fit]]:
    """The fits that an attack was measured on: those whose model it met, or all where it also met a model that the metric made of them."""
    met = [(spec, fit) for spec, fit in fits if any(model is fit.model for model in attack.met)]
    return met if len(met) == len(attack.met) else fits


def _flagged(outcome: Outcome, flags: list[str]) -> Outcome:
    """An outcome with the host's flags added."""
    if not isinstance(outcome, Measured) or not flags:
        return outcome
    return replace(outcome, flags=tuple(dict.fromkeys((*outcome.flags, *flags))))
