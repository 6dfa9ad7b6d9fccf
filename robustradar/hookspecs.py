"""The hooks: how a plugin says what it offers.

A plugin is a module (or package) that implements some of these with `robustradar.hookimpl` and is named by an entry point of the group
``robustradar``, or given by ``--plugin``. All hooks are declarations: the host calls each once a run, without arguments, one plugin at a
time and in no promised order, and expects a tuple of frozen declarations; an empty tuple is fine. A hook must be cheap and must not train,
read data or change global state; import heavy libraries inside the declarations' methods, not at the module's top.
"""

from __future__ import annotations

import pluggy

from robustradar.contract.architecture import Architecture
from robustradar.contract.attack import Attack
from robustradar.contract.dataset import Dataset
from robustradar.contract.metric import Metric
from robustradar.contract.ranker import Ranker
from robustradar.contract.recipe import Recipe
from robustradar.contract.reporter import Reporter

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
