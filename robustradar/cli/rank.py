"""`robustradar rank`: scores and ranks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from robustradar.cli import exit_code, option
from robustradar.filing import RESULTS, STORE

if TYPE_CHECKING:
    from robustradar.registry import Request

EXAMPLES = f"""Examples:

  robustradar rank quickstart

  robustradar rank --arch papers/mlp --arch papers/cnn:width=32 --data npz:path=mine.npz --eps 8/255 --plugin mynets.py --arch mynets/tiny

{exit_code.told(0, 2, 3, 4, 130)}
"""


def rank(  # noqa: PLR0913, PLR0917 (one parameter an option)
    study: option.Study = None,
    arch: option.Arch = None,
    data: option.Data = None,
    norm: option.Norm = None,
    eps: option.Eps = None,
    attack: option.Attack = None,
    metric: option.Metric = None,
    recipe: option.Recipe = None,
    weights: option.Weights = None,
    ranker: option.Ranker = None,
    seeds: option.Seeds = None,
    device: option.Where = option.Device.AUTO,
    store: option.Store = STORE,
    out: option.Out = None,
    registry: option.Registry = None,
    plugin: option.Plugin = None,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    events: option.Events = None,
) -> None:
    """Score and rank architectures: train what is needed, measure, and write the results.

    Finished work is kept in the store: the same command continues where it was stopped and never trains anything twice.
    """  # noqa: DOC501 (it is the command's help)
    from robustradar import screening
    from robustradar.cli.interruption import resumable
    from robustradar.cli.progress import listener
    from robustradar.registry import Request
    from robustradar.report import table, terminal, write

    flags = Request(option.repeated(arch), data, norm, eps, attack, recipe, option.repeated(metric), ranker, seeds=seeds)
    folder = out or _folder(study, flags, weights or [], [*(plugin or []), str(registry)])
    prepared = screening.prepare(study, flags, registry_file=registry, plugins=plugin or (), weights=weights or ())
    write.writable(folder)
    listeners = option.listeners(events)
    with resumable(), listener(quiet=quiet) as progress:
        result = screening.rank(prepared, store=store, device=device.value, progress=progress, command=option.typed(), listeners=listeners)
    files = write.write(result, prepared.reporters(), folder)
    print(write.as_json(result) if as_json else table.text(result, terminal.width()))
    print(f"\nWritten: {', '.join(map(str, files))}", file=sys.stderr if as_json else sys.stdout)
    if result.failed:
        print(f"{len(result.failed)} of {len(result.scores)} cells failed; their reasons are in the results.", file=sys.stderr)
        raise typer.Exit(3)


def _folder(study: str | None, flags: Request, weights: list[str], sources: list[str]) -> Path:
    """Where results go without --out: the study's own folder, or one for just this request, so that none overwrites another's."""
    from robustradar import screening
    from robustradar.registry import Request

    if study is not None and not weights and flags == Request():
        return RESULTS / study
    return option.folder(study or screening.UNNAMED, flags, weights, sources)
