"""`robustradar plan`: what a run would train, share and cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from robustradar.cli import exit_code, option
from robustradar.filing import STORE

EXAMPLES = f"""Examples:

  robustradar plan quickstart

  robustradar plan --arch papers/cnn --data npz:path=mine.npz --metric robust-accuracy-trained --seeds 3 --json

{exit_code.told(0, 2, 4)}
"""

# So that the options of `rank` can be pasted here as they are.
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Taken for rank's sake; nothing is written.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Taken for rank's sake; there is no progress.")]
NoTiming = Annotated[bool, typer.Option("--no-timing", help="No forecast: nothing is built or timed.")]


def plan(  # noqa: PLR0913, PLR0917 (one parameter an option)
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
    out: Out = None,
    registry: option.Registry = None,
    plugin: option.Plugin = None,
    as_json: option.Json = False,
    quiet: Quiet = False,
    no_timing: NoTiming = False,
) -> None:
    """Show what rank would train with the same options: what is shared, what is in the store, and about how long the rest takes."""
    from robustradar import forecast, screening
    from robustradar.registry import Request
    from robustradar.report import terminal

    flags = Request(option.repeated(arch), data, norm, eps, attack, recipe, option.repeated(metric), ranker, seeds=seeds)
    prepared = screening.prepare(study, flags, registry_file=registry, plugins=plugin or (), weights=weights or ())
    told = forecast.forecast(prepared, store=store, device=device.value, timed=not no_timing)
    print(json.dumps(told.json(), indent=1) if as_json else told.text(terminal.width()))
