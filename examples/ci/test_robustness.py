"""Copy among your tests, where CI is pytest: fails with the table where something got worse."""

from robustradar.gate import Scoring, assert_no_regression


def test_robustness() -> None:
    """No column got worse than in robustness.json by more than is tolerated and by more than chance explains."""
    assert_no_regression("robustness.json", scoring=Scoring(plugins=("mynets.py",)), tolerances={"robust_accuracy": 0.02})
