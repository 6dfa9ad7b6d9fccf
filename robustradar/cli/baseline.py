"""`robustradar baseline`: what later runs are compared with."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from robustradar.cli import exit_code, option
from robustradar.filing import RESULT, RESULTS, STORE

app = typer.Typer(help="Keep a run as the baseline that robustradar check compares with.", no_args_is_help=True, rich_markup_mode=None)

Run = Annotated[Path | None, typer.Option("--run", metavar="DIR", help=f"A finished run's --out [default: the one in {RESULTS}].")]
File = Annotated[Path, typer.Option("--baseline", metavar="FILE", help="Where to write it.")]


@app.callback()
def baseline() -> None:
    """Keep a run as the baseline that robustradar check compares with."""


@app.command(
    epilog="Examples:\n\n  robustradar baseline save --run robustradar-results/quickstart --baseline robustness.json\n\n"
    "  robustradar baseline save --run out --store /var/cache/robustradar --baseline robustness.json\n\n" + exit_code.told(0, 2)
)
def save(baseline: File, run: Run = None, store: option.Store = STORE, as_json: option.Json = False) -> None:
    """Write a finished run's study, scores and per-sample values to one file, to be committed or kept as an artifact.

    Training has a chance of its own: give rank --seeds 3 or more, better 5, unless the networks come by --weights.
    """
    from robustradar import gate
    from robustradar.gate.chance import FEWEST_SEEDS
    from robustradar.values import counted

    kept = gate.of_run(run or _only_run(), store)
    gate.write(kept, baseline)
    candidates, seeds = len(kept.study["candidates"]), len(kept.study["seeds"])
    if as_json:
        told = {"written": str(baseline), "cells": len(kept.cells), "candidates": candidates, "seeds": seeds}
        print(json.dumps(told, indent=1))
    else:
        print(f"Written: {baseline}: {counted(len(kept.cells), 'cell')} of {counted(candidates, 'candidate')}.")
    if seeds < FEWEST_SEEDS and set(kept.study["candidates"]) - set(kept.study["weights"]):
        print(
            f"{seeds} seed(s) say too little of training's own chance: where networks are trained anew, a change that the samples do not "
            f"explain will end as not judged (exit code 3). Rank with --seeds {FEWEST_SEEDS} or more.",
            file=sys.stderr,
        )


def _only_run() -> Path:
    """The run that lies where rank puts runs.

    Raises:
        UsageError: There is none, or more than one.
    """
    from robustradar.errors import UsageError

    found = sorted(file.parent for file in RESULTS.glob(f"*/{RESULT}"))
    if len(found) != 1:
        names = f" ({', '.join(map(str, found))})" if found else ""
        advice = "Give --run DIR." if found else "Run robustradar rank first, or give --run DIR, which is rank's --out."
        raise UsageError(f"--run: got none, and {RESULTS} holds {len(found)} runs{names}, expected one. {advice}")
    return found[0]
