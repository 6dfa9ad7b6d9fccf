"""What any score must beat: parameters, MACs, clean accuracy, one-step accuracy, and robust accuracy after real adversarial training."""

from robustradar import Metric, hookimpl
from robustradar_baselines.accuracy import CleanAccuracy, FgsmAccuracy, RobustAccuracy, RobustAccuracyTrained
from robustradar_baselines.size import Macs, Parameters


@hookimpl
def robustradar_metrics() -> tuple[Metric, ...]:
    """The baselines."""
    return (CleanAccuracy(), FgsmAccuracy(), RobustAccuracy(), RobustAccuracyTrained(), Parameters(), Macs())
