"""`robustradar plugins`: what is installed, what it declares, what is broken; a new one, and whether one keeps its contract."""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustradar.cli import completion, exit_code, option

if TYPE_CHECKING:
    from robustradar.conformance import Verdict


class Kind(StrEnum):
    """What can be listed: what plugins declare, and the registry's studies."""

    ARCHITECTURE = "architecture"
    DATASET = "dataset"
    RECIPE = "recipe"
    ATTACK = "attack"
    METRIC = "metric"
    RANKER = "ranker"
    REPORTER = "reporter"
    STUDY = "study"


class Scaffold(StrEnum):
    """What can be begun."""

    ATTACK = "attack"
    ARCHITECTURE = "architecture"
    DATASET = "dataset"
    METRIC = "metric"
    RANKER = "ranker"
    REPORTER = "reporter"


app = typer.Typer(
    help="Show installed plugins and what they declare; begin one, and check one.", no_args_is_help=True, rich_markup_mode=None
)


@app.command(
    "list", epilog="Examples:\n\n  robustradar plugins list\n\n  robustradar plugins list attack --json\n\n" + exit_code.told(0, 2, 4)
)
def list_(
    kind: Annotated[Kind | None, typer.Argument(help="List every declaration of this kind instead, or the named studies.")] = None,
    registry: option.Registry = None,
    plugin: option.Plugin = None,
    as_json: option.Json = False,
) -> None:
    """List plugins with their distribution, version and state; or all declarations of a kind, or the named studies."""
    from robustradar import inventory
    from robustradar.report import terminal

    match kind:
        case None:
            found = inventory.plugins(plugin or ())
        case Kind.STUDY:
            found = inventory.studies(registry)
        case _:
            found = inventory.declarations(kind.value, plugin or (), registry)
    print(json.dumps(found, indent=1) if as_json else inventory.text(found, terminal.width()))


@app.command(
    epilog="Examples:\n\n  robustradar plugins show native/pgd\n\n  robustradar plugins show papers/cnn --json\n\n" + exit_code.told(0, 2)
)
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A plugin, or plugin/name.")],
    plugin: option.Plugin = None,
    as_json: option.Json = False,
) -> None:
    """Show one plugin, or one declaration with its parameters."""
    from robustradar import inventory
    from robustradar.report import terminal

    found = inventory.show(name, plugin or ())
    print(json.dumps(found, indent=1) if as_json else inventory.text(found, terminal.width()))


@app.command(
    epilog="Examples:\n\n  robustradar plugins new attack noisy-signs\n\n  robustradar plugins new metric flatness --out ../flatness\n\n"
    + exit_code.told(0, 2)
)
def new(
    kind: Annotated[Scaffold, typer.Argument(help="What the plugin is to declare.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the plugin and what it declares: lower-case words joined by hyphens.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="A new folder [default: NAME].")] = None,
    as_json: option.Json = False,
) -> None:
    """Write a distribution with a working plugin, its tests and a README: install it, and it is found."""
    from robustradar import scaffold

    folder = out or Path(name)
    files = scaffold.write(kind.value, name, folder)
    if as_json:
        print(json.dumps({"folder": str(folder), "files": [str(file) for file in files]}, indent=1))
        return
    print("\n".join(map(str, files)))
    typer.echo(f"Now: cd {folder} && pip install -e . && robustradar plugins check {name} && pytest", err=True)


@app.command(
    epilog="Examples:\n\n  robustradar plugins check signs.py\n\n  robustradar plugins check native/square:queries=100 --json\n\n"
    + exit_code.told(0, 2, 4, own={4: "a clause is broken"})
)
def check(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A plugin, plugin/name with parameters, or a Python file.")],
    plugin: option.Plugin = None,
    as_json: option.Json = False,
) -> None:
    """Check that a plugin keeps its contract, clause by clause; exit code 4 if a clause is broken."""
    from robustradar import conformance
    from robustradar.values import counted

    found: list[Verdict] = []
    for verdict in conformance.check([name], plugin or ()):
        if not as_json:
            _show(verdict, found[-1] if found else None)
        found.append(verdict)
    count = Counter(verdict.state for verdict in found)
    if as_json:
        print(json.dumps([verdict.json() for verdict in found], indent=1, ensure_ascii=False))
    else:
        print(f"\n{counted(count['kept'], 'clause')} kept, {count['broken']} broken, {count['not tried']} not tried.")
    raise typer.Exit(4 if count["broken"] else 0)


@app.command(
    epilog="Examples:\n\n  robustradar plugins doctor\n\n  robustradar plugins doctor --plugin signs.py --json\n\n"
    + exit_code.told(0, 2, 4, own={4: "a plugin is broken"})
)
def doctor(plugin: option.Plugin = None, as_json: option.Json = False) -> None:
    """Say of every plugin whether it loads, why not and where, and what importing it takes; exit code 4 if one is broken."""
    from robustradar.doctor import plugin as plugins
    from robustradar.report import terminal

    found = plugins.checkup(plugin or ())
    print(json.dumps(found, indent=1) if as_json else plugins.text(found, terminal.width()))
    raise typer.Exit(4 if any(row["state"] == "broken" for row in found) else 0)


@app.command(
    epilog="Examples:\n\n  robustradar plugins disable signs\n\n  ROBUSTRADAR_DISABLE=signs,art robustradar rank quickstart\n\n"
    + exit_code.told(0, 2)
)
def disable(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An installed plugin, broken or not.", autocompletion=completion.plugins)],
) -> None:
    """Leave a plugin out from now on, in this Python environment; with ROBUSTRADAR_DISABLE, for a while."""
    from robustradar import disabling, host

    disabling.disable(name, (each.name for each in host.unloaded()))
    print(f"Disabled: {name}, in {disabling.file()}. Enable it: robustradar plugins enable {name}.")


@app.command(epilog="Examples:\n\n  robustradar plugins enable signs\n\n  robustradar plugins enable art\n\n" + exit_code.told(0, 2))
def enable(name: Annotated[str, typer.Argument(metavar="NAME", help="A disabled plugin.")]) -> None:
    """Take a plugin in again that was disabled."""
    from robustradar import disabling

    disabling.enable(name, disabling.disabled())
    print(f"Enabled: {name}.")


def _show(verdict: Verdict, last: Verdict | None) -> None:
    """Prints a verdict below its subject, as soon as it is found; one reason for several clauses is told once."""
    if last is None or last.subject != verdict.subject:
        print(f"{chr(10) if last else ''}{verdict.subject}")
    state = {"kept": "ok", "broken": "BROKEN"}.get(verdict.state, verdict.state)
    same = last is not None and (last.subject, last.state, last.text) == (verdict.subject, verdict.state, verdict.text)
    print(f"  {state:9}  {verdict.clause:22}  {'as before' if same else ' '.join(verdict.text.split())}", flush=True)
