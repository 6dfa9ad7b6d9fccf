"""What any score must beat: sizes, accuracies, robust accuracy after real adversarial training, and scores that need no training."""

from robustradar import Metric, hookimpl
from robustradar_baselines.accuracy import CleanAccuracy, FgsmAccuracy, RobustAccuracy, RobustAccuracyTrained
from robustradar_baselines.activation import Activations
from robustradar_baselines.consistency import Croze
from robustradar_baselines.gradient import Gradients, SynFlow
from robustradar_baselines.size import Layers, Macs, Parameters


@hookimpl
def robustradar_metrics() -> tuple[Metric, ...]:
    """The baselines."""
    trained = (CleanAccuracy(), FgsmAccuracy(), RobustAccuracy(), RobustAccuracyTrained())
    return (*trained, Parameters(), Macs(), Layers(), SynFlow(), Activations(), Gradients(), Croze())
