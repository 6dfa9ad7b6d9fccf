"""The metrics of [T], Deng et al., *Architecture Selection via the Trade-off Between Accuracy and Robustness*."""

from robustradar import Dataset, Metric, hookimpl
from robustradar_tradeoff import linear
from robustradar_tradeoff.delta import Delta
from robustradar_tradeoff.influence import Influence
from robustradar_tradeoff.regression import SparseRegression
from robustradar_tradeoff.toc import Toc


@hookimpl
def robustradar_metrics() -> tuple[Metric, ...]:
    """The trade-off's metrics."""
    return (Influence(), Delta(), Toc(), *linear.metrics())


@hookimpl
def robustradar_datasets() -> tuple[Dataset, ...]:
    """Data that the theory is about."""
    return (SparseRegression(),)
