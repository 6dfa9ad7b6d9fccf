"""An example of a plugin for RobustRadar: an attack, an architecture and a metric."""

from robustradar import Architecture, Attack, Metric, hookimpl

from robustradar_example.architecture import Maxout
from robustradar_example.attack import Corners
from robustradar_example.metric import Distance

# The version of RobustRadar's contract with plugins that this one was written for.
robustradar_contract = "0.1"


@hookimpl
def robustradar_attacks() -> tuple[Attack, ...]:
    """A baseline."""
    return (Corners(),)


@hookimpl
def robustradar_architectures() -> tuple[Architecture, ...]:
    """A network."""
    return (Maxout(),)


@hookimpl
def robustradar_metrics() -> tuple[Metric, ...]:
    """A score."""
    return (Distance(),)
