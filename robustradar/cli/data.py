"""`robustradar data`: which data sets there are, and what is in one."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from robustradar.cli import exit_code, option

app = typer.Typer(help="Show data sets and what is in them.", no_args_is_help=True, rich_markup_mode=None)


@app.command(
    "list", epilog="Examples:\n\n  robustradar data list\n\n  robustradar data list --plugin mydata.py --json\n\n" + exit_code.told(0, 2, 4)
)
def list_(plugin: option.Plugin = None, as_json: option.Json = False) -> None:
    """List data sets with their parameters; nothing is read."""
    from robustradar import inventory

    found = inventory.declarations("dataset", plugin or ())
    print(json.dumps(found, indent=1) if as_json else inventory.text(found))


@app.command(
    epilog="Examples:\n\n  robustradar data show digits\n\n  robustradar data show npz:path=mine.npz --json\n\n" + exit_code.told(0, 2, 4)
)
def show(
    ref: Annotated[str, typer.Argument(metavar="REF", help="Data set, e.g. digits or npz:path=FILE.")],
    plugin: option.Plugin = None,
    as_json: option.Json = False,
) -> None:
    """Read and check a data set, as rank does, and show its shape, bounds, splits, classes and fingerprint."""
    from robustradar import inventory

    found = inventory.content(ref, plugin or ())
    print(json.dumps(found, indent=1) if as_json else inventory.content_text(found))
