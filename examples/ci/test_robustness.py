"""Copy among your tests, where CI is pytest: fails with the table where something got worse."""

from collections.abc import Callable


def test_robustness(robustness_gate: Callable[..., object]) -> None:
    """No column got worse than in robustness.json by more than is tolerated and by more than chance explains."""
    robustness_gate("robustness.json", plugins=["mynets.py"], tolerances={"robust_accuracy": 0.02})
