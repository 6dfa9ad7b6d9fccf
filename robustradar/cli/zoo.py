"""`robustradar zoo`: truth tables of one's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from robustradar.cli import exit_code, option
from robustradar.filing import STORE, put

app = typer.Typer(help="Make truth tables, to calibrate scores on data of your own.", no_args_is_help=True, rich_markup_mode=None)

Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="The CSV to write.")]


@app.callback()
def zoo() -> None:
    """Make truth tables, to calibrate scores on data of your own."""


@app.command(
    epilog="Examples:\n\n  robustradar zoo truth --arch papers/mlp --arch 'papers/cnn:width=16' --data digits --eps 0.1 --out truth.csv\n\n"
    "  robustradar zoo truth --arch 'papers/vgg*' --data torchvision/CIFAR10 --seeds 3 --recipe standard:epochs=100 --out truth.csv\n\n"
    + exit_code.told(0, 2, 3, 4, 130)
)
def truth(  # noqa: PLR0913, PLR0917 (one parameter an option)
    out: Out,
    arch: option.Arch = None,
    data: option.Data = None,
    norm: option.Norm = None,
    eps: option.Eps = None,
    attack: option.Attack = None,
    recipe: option.Recipe = None,
    seeds: option.Seeds = None,
    device: option.Where = option.Device.AUTO,
    store: option.Store = STORE,
    registry: option.Registry = None,
    plugin: option.Plugin = None,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    events: option.Events = None,
) -> None:
    """Train candidates adversarially in full, measure them by a strong attack, and write the table that fidelity takes as --truth.

    How is the registry's study zoo/truth: PGD-AT with averaged weights and the epoch kept that its recipe selects; accuracy under APGD-CE
    and targeted APGD on all evaluation samples. Finished work is kept in the store: the same command continues where it was stopped.
    """  # noqa: DOC501 (it is the command's help)
    from robustradar import screening
    from robustradar.cli.interruption import resumable
    from robustradar.cli.progress import listener
    from robustradar.fidelity import zoo
    from robustradar.registry import Request
    from robustradar.report import terminal, write
    from robustradar.report.document import Document

    flags = Request(option.repeated(arch), data, norm, eps, attack, recipe, seeds=seeds)
    prepared = screening.prepare(zoo.STUDY, flags, registry_file=registry, plugins=plugin or ())
    write.writable(out.parent)
    listeners = option.listeners(events)
    with resumable(), listener(quiet=quiet) as progress:
        result = screening.rank(prepared, store=store, device=device.value, progress=progress, command=option.typed(), listeners=listeners)
    rows = zoo.rows(Document.of(result))
    written = put(out, zoo.table(rows))
    names = ("candidate", "truth", "sd", "cost", "parameters", "clean_accuracy", "reason")
    shown = [[row[name] for name in names] for row in rows]
    print(json.dumps(rows, indent=1, ensure_ascii=False) if as_json else terminal.table(shown, names, terminal.width()))
    print(f"\nWritten: {written}", file=sys.stderr if as_json else sys.stdout)
    failed = sum(not row["truth"] for row in rows)
    if failed:
        print(f"{failed} of {len(rows)} candidates have no truth; their reasons are in the table.", file=sys.stderr)
        raise typer.Exit(3)
