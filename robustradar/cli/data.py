"""`robustradar data`: what is in a data set."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from robustradar.cli import exit_code, option

app = typer.Typer(help="Show what is in a data set.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def data() -> None:
    """Show what is in a data set."""


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
    from robustradar.report import terminal

    found = inventory.content(ref, plugin or ())
    print(json.dumps(found, indent=1) if as_json else inventory.content_text(found, terminal.width()))
