"""`robustradar plugins`: what is installed, what it declares, and what is broken."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from robustradar.cli import option


class Kind(StrEnum):
    """What can be declared."""

    ARCHITECTURE = "architecture"
    DATASET = "dataset"
    RECIPE = "recipe"
    ATTACK = "attack"
    METRIC = "metric"
    RANKER = "ranker"
    REPORTER = "reporter"


app = typer.Typer(help="Show installed plugins and what they declare.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list", epilog="Examples:\n\n  robustradar plugins list\n\n  robustradar plugins list attack --json")
def list_(
    kind: Annotated[Kind | None, typer.Argument(help="List every declaration of this kind instead.")] = None,
    plugin: option.Plugin = None,
    as_json: option.Json = False,
) -> None:
    """List plugins with their distribution, version and state; or all declarations of a kind."""
    from robustradar import inventory

    found = inventory.plugins(plugin or ()) if kind is None else inventory.declarations(kind.value, plugin or ())
    print(json.dumps(found, indent=1) if as_json else inventory.text(found))


@app.command(epilog="Examples:\n\n  robustradar plugins show native/pgd\n\n  robustradar plugins show papers/cnn --json")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A plugin, or plugin/name.")],
    plugin: option.Plugin = None,
    as_json: option.Json = False,
) -> None:
    """Show one plugin, or one declaration with its parameters."""
    from robustradar import inventory

    found = inventory.show(name, plugin or ())
    print(json.dumps(found, indent=1) if as_json else inventory.text(found))
