"""Candidates x metrics x seeds to the union of fits and measurements: pure, nothing is trained or read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from robustradar import guard
from robustradar.catalog import Catalog
from robustradar.contract.attack import Attack, obstacle
from robustradar.contract.metric import AttackNeed, FitNeed, Metric, Needs
from robustradar.contract.recipe import Recipe
from robustradar.errors import Failure, PluginError, UsageError
from robustradar.values import AttackUse, FitSpec, Measurement, Ref, Study


@dataclass(frozen=True)
class Plan:
    """What a study comes to.

    Attributes:
        study: What was asked.
        measurements: All of them, candidate by candidate.
        fits: Every network to be trained, once, in the order of need.
        requested: How many fits the measurements ask for together; the rest is shared.
    """

    study: Study
    measurements: tuple[Measurement, ...]
    fits: tuple[FitSpec, ...]
    requested: int


def epochs(catalog: Catalog, spec: FitSpec) -> int:
    """The number of epochs of a fit."""
    return catalog.bound("recipe", spec.recipe, Recipe).length


def make(study: Study, catalog: Catalog, engine: str) -> Plan:
    """The plan of a study.

    Args:
        study: What is asked.
        catalog: To ask the metrics what they need.
        engine: Identity of the code that trains and measures; part of every key.

    Raises:
        UsageError: A metric needs an attack that cannot do the task or the threat.
        PluginError: A metric's `needs` fails.
    """
    measurements: list[Measurement] = []
    for candidate in study.candidates:
        for metric in study.metrics:
            measurements += _measurements(study, catalog, engine, candidate, metric)
    wanted = [earlier for m in measurements for _, spec in m.fits for earlier in _with_starts(spec)]
    return Plan(study, tuple(measurements), tuple({spec.key: spec for spec in wanted}.values()), len(wanted))


def _measurements(study: Study, catalog: Catalog, engine: str, candidate: Ref, metric: Ref) -> list[Measurement]:
    """One metric on one candidate, at every seed that matters."""
    culprit = catalog.culprit("metric", metric)
    declaration = catalog.bound("metric", metric, Metric)
    try:
        needs = guard.call(culprit, lambda: declaration.needs(study.task, study.threat))
    except Failure as failure:
        raise PluginError(f"{culprit}: needs() failed: {failure.reason}") from None
    if not isinstance(needs, Needs):
        raise PluginError(f"{culprit}: needs() returned {type(needs).__name__}, expected robustradar.Needs.")
    seeds = study.seeds if needs.fits or needs.attacks or needs.further else (None,)
    asked = Measurement(
        candidate=candidate,
        metric=metric,
        task=study.task,
        threat=study.threat,
        recipe=study.recipe,
        attack=study.attack,
        seed=None,
        engine=engine,
        weights=study.weights.get(candidate.label),
        further=needs.further,
    )
    uses = tuple((label, attack_use(catalog, asked, need, measuring=True)) for label, need in sorted(needs.attacks.items()))
    return [_with_fits(catalog, replace(asked, seed=seed, attacks=uses), needs) for seed in seeds]


def _with_fits(catalog: Catalog, asked: Measurement, needs: Needs) -> Measurement:
    """A measurement with the fits that it needs at its seed."""
    return replace(asked, fits=tuple((name, fit_spec(catalog, asked, need)) for name, need in sorted(needs.fits.items())))


def _with_starts(spec: FitSpec) -> list[FitSpec]:
    """A fit after those that it starts from."""
    return [*(_with_starts(spec.start) if spec.start else ()), spec]


def fit_spec(catalog: Catalog, asked: Measurement, need: FitNeed) -> FitSpec:
    """A needed fit, with what the study says where the metric names nothing.

    Raises:
        UsageError: Attack or recipe are unknown, or cannot do it.
    """
    spec = FitSpec(asked.candidate, asked.task, asked.recipe, need.objective, None, None, 0, asked.engine, weights=asked.weights)
    if asked.weights is not None:
        return spec
    recipe = catalog.changed("recipe", asked.recipe, need.recipe, f"metric {asked.metric.label}: recipe")
    start = fit_spec(catalog, asked, need.start) if need.start else None
    spec = replace(spec, recipe=recipe, seed=asked.seed or 0, start=start)
    if not need.objective.adversarial:
        return spec
    use = attack_use(catalog, asked, AttackNeed(need.attack, need.threat), measuring=False)
    return replace(spec, threat=use.threat, attack=use.attack)


def attack_use(catalog: Catalog, asked: Measurement, need: AttackNeed, *, measuring: bool) -> AttackUse:
    """A needed attack, checked against task, threat and what is read off it.

    Raises:
        UsageError: It is unknown, or cannot do it.
    """
    where = f"metric {asked.metric.label}: attack"
    ref = asked.attack if need.attack is None else catalog.resolve("attack", need.attack, where)
    threat, task = need.threat or asked.threat, asked.task
    attack = catalog.bound("attack", ref, Attack)
    reason = obstacle(attack, threat.p, task.shape, task.classes)
    if reason is None and measuring and attack.reach > 1:
        reason = f"got an attack that reaches {attack.reach:g}·ε, which is for training, expected one that keeps to the ball"
    if reason is None and need.loss and attack.kind != "max_loss":
        reason = f"got a {attack.kind} attack, expected max_loss, since losses are read or trained on"
    if reason is not None:
        raise UsageError(f"{where} {ref.id}: {reason}. Choose another attack (robustradar plugins list attack).")
    return AttackUse(ref, threat)
