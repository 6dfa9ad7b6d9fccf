"""A regression gate: whether a run is worse than a kept one by more than is tolerated and by more than chance explains.

`robustradar baseline save` and `robustradar check` call this; where CI is pytest, `assert_no_regression` is all that is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from robustradar.gate.baseline import Baseline, Cell, UnlikeError, of_result, of_run, read, write
from robustradar.gate.compare import Comparison, Row, Rule, Tolerance, Verdict, compare, tolerance
from robustradar.gate.form import View, text
from robustradar.gate.score import Scoring, rescored

__all__ = [
    "Baseline",
    "Cell",
    "Comparison",
    "Row",
    "Rule",
    "Scoring",
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
    scoring: Scoring | None = None,
    tolerances: Mapping[str, float | str] | None = None,
    only: Sequence[str] = (),
    alpha: float = 0.05,
) -> Comparison:
    """Scores a baseline's study again, or takes a finished run, and fails like ``assert`` where something regressed or could not be judged.

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
        AssertionError: A regression, or a cell that could not be judged; the text is the table.
        UnlikeError: The protocols differ.
        UsageError: A file or name is wrong.
    """
    before, how = read(Path(baseline)), scoring or Scoring()
    rule = Rule(tuple(tolerance(f"{column}={size}") for column, size in (tolerances or {}).items()), alpha, tuple(only))
    rule.check(before)
    now = of_run(Path(run), how.store) if run is not None else rescored(before, how)
    found = compare(before, now, rule)
    if exit_code(found):
        raise AssertionError(f"robustradar check against {baseline}:\n\n{text(found, View(str(baseline), changed_only=True))}")
    return found
