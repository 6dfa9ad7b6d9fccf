"""A regression gate: whether a run is worse than a kept one by more than is tolerated and by more than chance explains.

`robustradar baseline save`, `robustradar check` and, in pytest, the fixture `robustness_gate` call this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from robustradar.gate.baseline import read, write
from robustradar.gate.compare import Comparison, Row, Rule, Tolerance, Verdict, compare, tolerance
from robustradar.gate.form import View, text
from robustradar.gate.protocol import UnlikeError
from robustradar.gate.rescoring import Rescoring, rescored
from robustradar.gate.snapshot import Cell, Snapshot, of_result, of_run

__all__ = [
    "Cell",
    "Comparison",
    "RegressionError",
    "Rescoring",
    "Row",
    "Rule",
    "Snapshot",
    "Tolerance",
    "UnlikeError",
    "Verdict",
    "assert_no_regression",
    "compare",
    "exit_code",
    "of_result",
    "of_run",
    "read",
    "rescored",
    "tolerance",
    "write",
]


class RegressionError(AssertionError):
    """Something regressed; the text is the table."""


def exit_code(comparison: Comparison, fail_on: Literal["regression", "change", "never"] = "regression") -> int:
    """The code of ``robustradar check``: 1 for what it is to fail on, 3 where cells could not be judged, else 0."""
    if fail_on == "never":
        return 0
    if comparison.of("regression") or (fail_on == "change" and comparison.of("improvement", "change")):
        return 1
    return 3 if comparison.of("unjudged") else 0


def assert_no_regression(
    baseline: str | Path,
    *,
    run: str | Path | None = None,
    scoring: Rescoring | None = None,
    tolerances: Mapping[str, float | str] | None = None,
    only: Sequence[str] = (),
    alpha: float = 0.05,
) -> Comparison:
    """Scores a baseline's study again, or takes a finished run, and fails like ``assert`` where something regressed.

    Args:
        baseline: The file that ``robustradar baseline save`` wrote.
        run: The folder of a finished run; None: the study is scored now.
        scoring: Store, device, weights, plugins and registry.
        tolerances: Column to what it may lose: ``{"robust_accuracy": 0.01, "*_loss": "5%"}``.
        only: Columns, or patterns of columns, to judge; empty: all.
        alpha: How often a run without any change may fail.

    Returns:
        What was found.

    Raises:
        RegressionError: A regression: an AssertionError, of which the text is the table.
        UnlikeError: A cell could not be judged, or the protocols differ.
        UsageError: A file or name is wrong.
        PluginError: A plugin that is needed is broken.
    """
    before, how = read(Path(baseline)), scoring or Rescoring()
    rule = Rule(tuple(tolerance(f"{column}={size}") for column, size in (tolerances or {}).items()), alpha, tuple(only))
    rule.check(before)
    now = of_run(Path(run), Path(how.store)) if run is not None else rescored(before, how)
    found = compare(before, now, rule)
    table = text(found, View(str(baseline), changed_only=True))
    if found.verdict == "regression":
        raise RegressionError(f"robustradar check against {baseline}:\n\n{table}")
    if unjudged := found.of("unjudged"):
        raise UnlikeError(
            f"check: got {len(unjudged)} of {len(found.rows)} cells of {baseline} that could not be judged, expected none. "
            f"Mend what the lines below the table name.\n\n{table}"
        )
    return found
