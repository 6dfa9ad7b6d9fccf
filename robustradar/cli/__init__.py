"""The command line: one file a command; each parses, calls the library function of the same name, and prints. No torch at import."""

from __future__ import annotations

import os
import sys

import typer

from robustradar.cli import baseline, check, completion, data, doctor, exit_code, fidelity, funnel, plan, plugins, rank, report, zoo
from robustradar.errors import RobustRadarError

app = typer.Typer(
    name="robustradar",
    help="Ranks neural architectures by how robust they will be, before GPU-weeks go into adversarial training.",
    epilog=exit_code.told(*exit_code.MEANINGS),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
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


def main() -> None:
    """Runs the command line; errors that are meant for the user end it with one line and their exit code."""
    try:
        with completion.mended(os.environ):
            app()
    except RobustRadarError as error:
        print(f"robustradar: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
