"""The fixture `robustness_gate`, for those whose CI is pytest.

pytest imports this wherever RobustRadar is installed, so it stands beside the core: nothing of that is loaded before a test calls the gate.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from robustradar.gate import Comparison


@pytest.fixture(scope="session")
def robustness_gate(pytestconfig: pytest.Config) -> Callable[..., Comparison]:
    """Fails where a study scores worse than its baseline, as in ``robustness_gate("robustness.json", plugins=["mynets.py"])``."""
    return gate(pytestconfig.rootpath)


def gate(root: Path) -> Callable[..., Comparison]:
    """The gate from a folder, failing as pytest does: with what there is to say, and no traceback.

    Args:
        root: What paths are relative to.

    Returns:
        `robustradar.gate.assert_no_regression`, which also takes the fields of `robustradar.gate.Rescoring` by their names.
    """

    def judged(baseline: str | Path, **options: Any) -> Comparison:
        from robustradar.errors import RobustRadarError
        from robustradar.gate import RegressionError, Rescoring, assert_no_regression

        fields = Rescoring.__dataclass_fields__
        try:
            with contextlib.chdir(root):
                scoring = Rescoring(**{name: options.pop(name) for name in fields if name in options})
                return assert_no_regression(baseline, scoring=scoring, **options)
        except RegressionError as error:
            told = str(error)
        except RobustRadarError as error:
            told = f"robustradar {error}"
        pytest.fail(told, pytrace=False)

    return judged
