"""`robustradar funnel`: cheap studies on all candidates, dearer ones on those that may still be the best."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from robustradar.cli import completion, exit_code, option
from robustradar.filing import RESULTS, STORE

EXAMPLES = f"""Examples:

  robustradar funnel untrained short long --registry stages.yaml --arch 'timm/resnet*' --dry-run

  robustradar funnel short long --registry stages.yaml --tau short=0.8 --keep-best 0.9 --out results

{exit_code.told(0, 2, 3, 4, 130)}
"""

Stages = Annotated[
    list[str],
    typer.Argument(metavar="STAGE STAGE...", help="Named studies of the registry, from cheap to dear.", autocompletion=completion.studies),
]
KeepBest = Annotated[float, typer.Option("--keep-best", metavar="P", help="The chance with which the best is to reach the last stage.")]
Tau = Annotated[
    list[str] | None,
    typer.Option(
        "--tau", metavar="STAGE=TAU", help="Kendall's tau of a stage's ranking with the truth [default: the study's tau]. Repeat it."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Where to write: a folder for each stage, and the funnel's own files [default: a folder for each request, "
        f"{RESULTS}/funnel-DIGEST]. What another funnel wrote there is removed.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say how many would go on; nothing is trained or written.")]


def funnel(  # noqa: PLR0913, PLR0917 (one parameter an option)
    stages: Stages,
    arch: option.Arch = None,
    data: option.Data = None,
    norm: option.Norm = None,
    eps: option.Eps = None,
    attack: option.Attack = None,
    seeds: option.Seeds = None,
    keep_best: KeepBest = 0.95,
    tau: Tau = None,
    device: option.Where = option.Device.AUTO,
    store: option.Store = STORE,
    out: Out = None,
    registry: option.Registry = None,
    plugin: option.Plugin = None,
    dry_run: DryRun = False,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    events: option.Events = None,
) -> None:
    """Rank by cheap studies first and by dearer ones who is left, so that the best stays with a stated chance.

    The candidates are those of --arch, or of the first study. The chance rests on each stage's Kendall's tau with the truth, an assumption.
    Finished work is kept in the store: the same command continues where it was stopped.
    """  # noqa: DOC501 (it is the command's help)
    from robustradar import funnel as funneling
    from robustradar.cli.interruption import resumable
    from robustradar.cli.progress import listener
    from robustradar.funnel import folder, form
    from robustradar.registry import Request
    from robustradar.report import terminal

    flags = Request(option.repeated(arch), data, norm, eps, attack, seeds=seeds)
    asked = funneling.Funnel(tuple(stages), flags, keep_best, _taus(tau or []), registry, tuple(plugin or ()))
    prepared = funneling.prepare(asked)
    if dry_run:
        print(json.dumps({"stages": [stage.json() for stage in prepared]}, indent=1) if as_json else form.plan(prepared, terminal.width()))
        return
    if out is None:
        out = option.folder("funnel", flags, stages, keep_best, sorted(asked.taus.items()), str(registry), plugin or [])
    folder.begin(out, prepared, keep_best)
    setup = funneling.Setup(store, out, device.value, option.typed(), partial(listener, quiet=quiet), partial(option.listeners, events))
    with resumable():
        found = funneling.run(asked, prepared, setup)
    files = folder.end(out, found)
    print(folder.document(found) if as_json else form.text(found, terminal.width()))
    written = ", ".join(map(str, [*files, *(f"{passed.folder}/" for passed in found.passed)]))
    print(f"\nWritten: {written}", file=sys.stderr if as_json else sys.stdout)
    if not found.complete:
        failed = sum(len(passed.result.failed) for passed in found.passed)
        cells = sum(len(passed.result.scores) for passed in found.passed)
        told = f"{failed} of {cells} cells failed; their reasons are" if failed else "Nobody could be ranked; the reasons are"
        print(f"{told} in the results.", file=sys.stderr)
        raise typer.Exit(3)


def _taus(typed: list[str]) -> dict[str, float]:
    """Kendall's tau by stage.

    Raises:
        UsageError: One is not of the form STAGE=TAU, no number between 0 and 1, or given twice.
    """
    from robustradar.errors import UsageError
    from robustradar.registry import correlation

    found: dict[str, float] = {}
    for text in typed:
        name, equals, number = text.rpartition("=")
        if not equals or not name:
            raise UsageError(f"--tau: got {text!r}, expected STAGE=TAU, for example short=0.8.")
        value = correlation(number)
        if value is None:
            raise UsageError(f"--tau: got {text!r}, expected a number between 0 and 1, both excluded, for example {name}=0.8.")
        if name in found:
            raise UsageError(f"--tau: got {name!r} twice, expected it once.")
        found[name] = value
    return found
