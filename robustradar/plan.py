"""Candidates x metrics x seeds to the union of fits and measurements: pure, nothing is trained or read."""

from __future__ import annotations

from dataclasses import dataclass

from robustradar import guard
from robustradar.catalog import Catalog
from robustradar.contract.attack import Attack, obstacle
from robustradar.contract.metric import AttackNeed, FitNeed, Metric, Needs
from robustradar.contract.recipe import Recipe
from robustradar.errors import Failure, PluginError, UsageError
from robustradar.values import AttackUse, FitSpec, Measurement, Ref, Study, Threat


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

    def epochs(self, catalog: Catalog, spec: FitSpec) -> int:
        """The number of epochs of a fit."""
        return catalog.bound("recipe", spec.recipe, Recipe).epochs


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
    uses = tuple((label, _attack_use(study, catalog, metric, need, measuring=True)) for label, need in sorted(needs.attacks.items()))
    seeds = study.seeds if needs.fits or needs.attacks else (None,)
    return [
        Measurement(
            candidate,
            metric,
            study.task,
            study.threat,
            tuple((name, _fit(study, catalog, engine, (candidate, metric, need, seed or 0))) for name, need in sorted(needs.fits.items())),
            uses,
            seed,
            engine,
        )
        for seed in seeds
    ]


def _with_starts(spec: FitSpec) -> list[FitSpec]:
    """A fit after those that it starts from."""
    return [*(_with_starts(spec.start) if spec.start else ()), spec]


def _fit(study: Study, catalog: Catalog, engine: str, wanted: tuple[Ref, Ref, FitNeed, int]) -> FitSpec:
    """A needed fit, with the study's threat and attack where the metric names none."""
    candidate, metric, need, seed = wanted
    if (given := study.weights.get(candidate.label)) is not None:
        return FitSpec(candidate, study.task, study.recipe, need.objective, None, None, 0, engine, weights=given)
    use = None
    if need.objective.adversarial:
        use = _attack_use(study, catalog, metric, AttackNeed(need.attack, need.threat), measuring=False)
    return FitSpec(
        architecture=candidate,
        task=study.task,
        recipe=study.recipe,
        objective=need.objective,
        threat=use.threat if use else None,
        attack=use.attack if use else None,
        seed=seed,
        engine=engine,
        start=_fit(study, catalog, engine, (candidate, metric, need.start, seed)) if need.start else None,
    )


def _attack_use(study: Study, catalog: Catalog, metric: Ref, need: AttackNeed, *, measuring: bool) -> AttackUse:
    """A needed attack, checked against task, threat and what is read off it."""
    ref = study.attack if need.attack is None else catalog.resolve("attack", need.attack, f"metric {metric.label}: attack")
    threat: Threat = need.threat or study.threat
    attack = catalog.bound("attack", ref, Attack)
    reason = obstacle(attack, threat.p, study.task.shape, study.task.classes)
    if reason is None and measuring and attack.reach > 1:
        reason = f"got an attack that reaches {attack.reach:g}·ε, which is for training, expected one that keeps to the ball"
    if reason is None and need.loss and attack.kind != "max_loss":
        reason = f"got a {attack.kind} attack, expected max_loss, since losses are read or trained on"
    if reason is not None:
        raise UsageError(f"metric {metric.label}: attack {ref.id}: {reason}. Choose another attack (robustradar plugins list attack).")
    return AttackUse(ref, threat)
