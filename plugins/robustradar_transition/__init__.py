"""[P], Xing, Song and Cheng, *Phase Transition from Clean Training to Adversarial Training* (NeurIPS 2022): critical attack strength."""

from robustradar import Metric, hookimpl
from robustradar_transition import linear
from robustradar_transition.catastrophic import Catastrophic
from robustradar_transition.connectivity import Connectivity
from robustradar_transition.eps_star import EpsStar
from robustradar_transition.overfitting import Overfitting
from robustradar_transition.strength import CriticalStrength, Replicates, critical_strength
from robustradar_transition.trajectory import Trajectory

__all__ = ["CriticalStrength", "Replicates", "critical_strength", "robustradar_metrics"]


@hookimpl
def robustradar_metrics() -> tuple[Metric, ...]:
    """The transition's metrics."""
    return (*linear.metrics(), EpsStar(), Overfitting(), Trajectory(), Catastrophic(), Connectivity())
