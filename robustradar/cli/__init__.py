"""The command line: one file a command; each parses, calls the library function of the same name, and prints. No torch at import."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import Annotated

import typer

from robustradar import __version__, guard
from robustradar.cli import (
    answer,
    baseline,
    check,
    completion,
    data,
    doctor,
    exit_code,
    fidelity,
    funnel,
    misuse,
    plan,
    plugins,
    rank,
    report,
    zoo,
)
from robustradar.errors import RobustRadarError

app = typer.Typer(
    name="robustradar",
    help="Ranks neural architectures by how robust they will be, before GPU-weeks go into adversarial training.",
    epilog=exit_code.told(*exit_code.MEANINGS),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    """Prints the version, before anything else is looked at."""
    if asked:
        print(f"robustradar {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    """What may stand before a command."""


app.command(epilog=rank.EXAMPLES)(rank.rank)
app.command(epilog=plan.EXAMPLES)(plan.plan)
app.command(epilog=report.EXAMPLES)(report.report)
app.command(epilog=check.EXAMPLES)(check.check)
app.command(epilog=doctor.EXAMPLES)(doctor.doctor)
app.command(epilog=fidelity.EXAMPLES)(fidelity.fidelity)
app.command(epilog=funnel.EXAMPLES)(funnel.funnel)
app.add_typer(baseline.app, name="baseline")
app.add_typer(data.app, name="data")
app.add_typer(plugins.app, name="plugins")
app.add_typer(zoo.app, name="zoo")


# Set to anything, the traceback of an internal error is shown.
TRACEBACK = "ROBUSTRADAR_TRACEBACK"


def main() -> None:
    """Runs the command line; an error ends it with one line and an exit code that is never a gate's."""
    try:
        with answer.alone(), completion.mended(os.environ):
            text, code = "", app(prog_name="robustradar", standalone_mode=False)
    except RobustRadarError as error:
        text, code = f"robustradar: {error}" if str(error) else "", error.exit_code
    except Exception as error:  # the outermost frame: left to Python, a bug would end with 1, which is a regression's code
        text, code = _told(error)
    with contextlib.suppress(OSError):
        print(text, end="\n" * bool(text), file=sys.stderr)
    sys.exit(code)


def _told(error: Exception) -> tuple[str, int]:
    """What to say of an error that is none of ours, and its exit code."""
    if hasattr(error, "format_message"):  # Typer's own, of whose classes few have a public name
        told = misuse.told(error)
        return told if told.startswith("Usage: ") else f"robustradar: {told}", 2
    if isinstance(error, typer.Abort) and isinstance(error.__cause__, Exception):  # so Typer takes the end of a file
        error = error.__cause__
    told = f"robustradar: internal error: {guard.describe(error)}. Finished work is kept."
    if os.environ.get(TRACEBACK):
        return f"{''.join(traceback.format_exception(error))}{told} Please report it.", exit_code.INTERNAL
    return f"{told} Run the same command again with {TRACEBACK}=1, and report what it shows.", exit_code.INTERNAL
