"""`robustradar check`: the regression gate."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustradar.cli import exit_code, option
from robustradar.filing import STORE, put

if TYPE_CHECKING:
    from robustradar import gate
    from robustradar.gate.form import View

EXAMPLES = f"""Examples:

  robustradar check --baseline robustness.json

  robustradar check --baseline robustness.json --weights papers/mlp=new.safetensors --tolerance robust_accuracy=0.02 --format github

{exit_code.told(0, 1, 2, 3, 4, 130, own={0: "no regression", 1: "a regression", 3: "something could not be judged"})}
"""


class Form(StrEnum):
    """How a comparison is written."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"
    JUNIT = "junit"
    SARIF = "sarif"
    GITHUB = "github"


class FailOn(StrEnum):
    """What ends the command with exit code 1."""

    REGRESSION = "regression"
    CHANGE = "change"
    NEVER = "never"


Baseline = Annotated[Path, typer.Option("--baseline", metavar="FILE", help="What baseline save wrote.")]
Run = Annotated[Path | None, typer.Option("--run", metavar="DIR", help="Judge this finished run instead of scoring the study now.")]
Tolerance = Annotated[
    list[str] | None,
    typer.Option("--tolerance", metavar="COLUMN=X", help="What a column may lose, e.g. robust_accuracy=0.01 or '*_loss=5%'. Repeat it."),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="COLUMN", help="Judge only these, e.g. 'robust_*': the fewer, the smaller a loss is seen. Repeat it."),
]
Alpha = Annotated[float, typer.Option("--alpha", min=0.0, max=1.0, help="How often a run without any change may raise an alarm.")]
Format = Annotated[Form, typer.Option("--format", help="How to write the comparison; github: log, annotations and step summary.")]
Output = Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Write it there, and the table to standard output.")]
ChangedOnly = Annotated[bool, typer.Option("--changed-only", help="Leave out what is the same.")]
FailOnWhat = Annotated[FailOn, typer.Option("--fail-on", help="What exit code 1 is for; never: always 0, where runs can be compared.")]
Update = Annotated[bool, typer.Option("--update", help="Accept what is found: rewrite the baseline and exit with 0.")]


def check(  # noqa: PLR0913, PLR0917 (one parameter an option)
    baseline: Baseline,
    run: Run = None,
    weights: option.Weights = None,
    tolerance: Tolerance = None,
    only: Only = None,
    alpha: Alpha = 0.05,
    form: Format = Form.TABLE,
    output: Output = None,
    changed_only: ChangedOnly = False,
    fail_on: FailOnWhat = FailOn.REGRESSION,
    update: Update = False,
    device: option.Where = option.Device.AUTO,
    store: option.Store = STORE,
    registry: option.Registry = None,
    plugin: option.Plugin = None,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
) -> None:
    """Compare with a baseline: score its study again, or take a finished run, and fail where something got worse.

    A regression is worse by more than its tolerance (default: one point of a fraction, 5 % of anything else) and by more than chance
    explains, paired on the same samples and seeds, over all cells together.
    """  # noqa: DOC501 (it is the command's help)
    from robustradar import gate
    from robustradar.cli.interruption import resumable
    from robustradar.cli.progress import listener
    from robustradar.gate.form import View

    before = gate.read(baseline)
    rule = gate.Rule(tuple(map(gate.tolerance, tolerance or ())), alpha, tuple(only or ()))
    rule.check(before)
    if run is not None:
        now = gate.of_run(run, store)
    else:
        scoring = gate.Rescoring(store, device.value, tuple(weights or ()), tuple(plugin or ()), registry)
        with resumable(), listener(quiet=quiet) as progress:
            now = gate.rescored(before, scoring, progress, option.typed())
    found = gate.compare(before, now, rule)
    # Findings are told of a file in the repository, in which the command runs.
    place = baseline.relative_to(Path.cwd()) if baseline.is_relative_to(Path.cwd()) else baseline
    _tell(found, Form.JSON if as_json else form, View(str(place), changed_only), output)
    code = gate.exit_code(found, fail_on.value)
    if update:
        gate.write(now, baseline)
        print(f"Written: {baseline}: the baseline is now this run.", file=sys.stderr)
        code = 0
    raise typer.Exit(code)


def _tell(found: gate.Comparison, form: Form, view: View, output: Path | None) -> None:
    """Writes the comparison to where it is wanted."""
    from robustradar.gate.form import FORMS, step_summary
    from robustradar.report import terminal

    shown = replace(view, width=terminal.width())
    if output is not None:
        put(output, FORMS[form.value](found, view), "--output", "Choose another place.")
        print(FORMS["table"](found, shown), end="")
        print(f"Written: {output}", file=sys.stderr)
    else:
        print(FORMS[form.value](found, shown), end="")
    page = os.environ.get("GITHUB_STEP_SUMMARY")
    if form is Form.GITHUB and page:
        with Path(page).open("a", encoding="utf-8") as stream:
            stream.write(step_summary(found))
