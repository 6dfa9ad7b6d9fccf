"""The hooks: how a plugin says what it offers, and how it hears of a run.

A plugin is a module (or package) that implements some of these with `robustradar.hookimpl` and is named by an entry point of the group
``robustradar``, or given by ``--plugin``. There are two shapes.

*Declarations* (architectures to reporters): the host calls each once a run, without arguments, one plugin at a time and in no promised
order, and expects a tuple of frozen declarations; an empty tuple is fine. A hook must be cheap and must not train, read data or change
global state; import heavy libraries inside the declarations' methods, not at the module's top.

*Notices* (planned, fitted, measured): the host tells what has happened, in the process and thread of the run, which waits. A plugin names
those arguments that it wants; they are copies of its own, and what it returns is ignored. An exception becomes a warning that names
the plugin, and the run goes on. A notice must not train, measure or touch the store, and should return within milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping

import pluggy

from robustradar.contract.architecture import Architecture
from robustradar.contract.attack import Attack
from robustradar.contract.dataset import Dataset
from robustradar.contract.metric import Metric
from robustradar.contract.ranker import Ranker
from robustradar.contract.recipe import Recipe
from robustradar.contract.reporter import Reporter
from robustradar.values import FitRecord, FitSpec, Measurement, Outcome, Study

hookspec = pluggy.HookspecMarker("robustradar")
hookimpl = pluggy.HookimplMarker("robustradar")


@hookspec
def robustradar_architectures() -> tuple[Architecture, ...]:
    """Networks that can be ranked. Called once a run; empty: none. Must not build any. Since 0.1.

    Example:
        >>> import robustradar
        >>> def tiny(shape: tuple[int, ...], outputs: int, width: int = 8):
        ...     "A linear map after flattening."
        ...     from torch import nn
        ...     return nn.Sequential(nn.Flatten(), nn.LazyLinear(width), nn.Linear(width, outputs))
        >>> @robustradar.hookimpl
        ... def robustradar_architectures():
        ...     return (robustradar.architecture(tiny),)
    """
    return ()


@hookspec
def robustradar_datasets() -> tuple[Dataset, ...]:
    """Sources of data. Called once a run; empty: none. Must not read any file. Since 0.1.

    Example:
        >>> import numpy, robustradar
        >>> class Coins(robustradar.Dataset):
        ...     "Two classes of noise."
        ...     def load(self):
        ...         r = numpy.random.default_rng(0)
        ...         half = robustradar.Split(r.random((8, 2)), r.integers(0, 2, 8))
        ...         return robustradar.Data(half, half, None, classes=2, bounds=(0, 1))
        >>> @robustradar.hookimpl
        ... def robustradar_datasets():
        ...     return (Coins(name="coins"),)
    """
    return ()


@hookspec
def robustradar_recipes() -> tuple[Recipe, ...]:
    """Training recipes, by their numbers. Called once a run; empty: none. Since 0.1.

    Example:
        >>> import robustradar
        >>> @robustradar.hookimpl
        ... def robustradar_recipes():
        ...     return (robustradar.Recipe(name="long", optimizer="sgd", lr=0.1, epochs=100),)
    """
    return ()


@hookspec
def robustradar_attacks() -> tuple[Attack, ...]:
    """Attacks, each with its true kind and norms. Called once a run; empty: none. Must not touch a model. Since 0.1.

    Example:
        >>> import robustradar
        >>> class Brighten(robustradar.Attack):
        ...     "Adds ε to every pixel."
        ...     def perturb(self, victim, x, y):
        ...         brighter = x + victim.eps
        ...         return brighter.clamp(*victim.bounds) if victim.bounds else brighter
        >>> @robustradar.hookimpl
        ... def robustradar_attacks():
        ...     return (Brighten(name="brighten", norms=(float("inf"),)),)
    """
    return ()


@hookspec
def robustradar_metrics() -> tuple[Metric, ...]:
    """Scores of a candidate. Called once a run; empty: none. Must not train or measure. Since 0.1.

    Example:
        >>> import robustradar as rr
        >>> class Layers(rr.Metric):
        ...     "Number of modules."
        ...     def needs(self, task, threat):
        ...         return rr.Needs()
        ...     def measure(self, bench):
        ...         return {"layers": rr.Measured(len(list(bench.network().modules())))}
        >>> @rr.hookimpl
        ... def robustradar_metrics():
        ...     return (Layers(name="layers", columns=(rr.Column("layers", "none", "1"),)),)
    """
    return ()


@hookspec
def robustradar_rankers() -> tuple[Ranker, ...]:
    """Ways to order candidates. Called once a run; empty: none. Since 0.1.

    Example:
        >>> import robustradar as rr
        >>> class Alike(rr.Ranker):
        ...     "All alike; every place is possible."
        ...     def rank(self, table):
        ...         names = sorted({score.candidate for score in table.scores})
        ...         return rr.Ranking(tuple(rr.RankingRow(1, 1, len(names), name, 0.0) for name in names), columns=())
        >>> @rr.hookimpl
        ... def robustradar_rankers():
        ...     return (Alike(name="alike"),)
    """
    return ()


@hookspec
def robustradar_reporters() -> tuple[Reporter, ...]:
    """Renderings of a finished result. Called once a run; empty: none. Must not write files: the host does. Since 0.1.

    Example:
        >>> import robustradar
        >>> class Winner(robustradar.Reporter):
        ...     "The best candidate's name."
        ...     def render(self, result):
        ...         return result.ranking.rows[0].candidate
        >>> @robustradar.hookimpl
        ... def robustradar_reporters():
        ...     return (Winner(name="winner", filename="winner.txt"),)
    """
    return ()


@hookspec
def robustradar_planned(study: Study, epochs: int, measurements: int) -> None:
    """A run starts: so many epochs are to be trained and measurements made; what the store has is not counted. Called once a run.

    Metrics may call for more epochs later. Must not change the study: nothing would follow from it. Since 0.1.

    Example:
        >>> import robustradar
        >>> @robustradar.hookimpl
        ... def robustradar_planned(study, measurements):
        ...     print(f"{study.name}: {measurements} measurements to make")
    """


@hookspec
def robustradar_fitted(spec: FitSpec, record: FitRecord | None, reason: str | None) -> None:
    """A network was trained, or could not be. Called once a run for every network that was not in the store, when it ends.

    The record has epochs, cost and flags; it is None where training failed, and the reason says why. Must not load the weights. Since 0.1.

    Example:
        >>> import robustradar
        >>> @robustradar.hookimpl
        ... def robustradar_fitted(spec, record, reason):
        ...     print(f"{spec}: {reason or f'{record.cost.seconds:.0f} s'}")
    """


@hookspec
def robustradar_measured(measurement: Measurement, outcomes: Mapping[str, Outcome]) -> None:
    """A metric was measured on a candidate, at a seed. Called once a run for every measurement that was not in the store, when it ends.

    Outcomes are by column: `Measured`, `Skipped` or `Failed`, before `Metric.review` and before they are joined over seeds. Since 0.1.

    Example:
        >>> import robustradar
        >>> @robustradar.hookimpl
        ... def robustradar_measured(measurement, outcomes):
        ...     failed = [name for name, outcome in outcomes.items() if isinstance(outcome, robustradar.Failed)]
        ...     print(measurement.candidate.label, measurement.metric.label, "failed:", failed)
    """
