"""`robustradar report`: renders finished runs again, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from robustradar.cli import exit_code, option
from robustradar.filing import RESULTS, put

EXAMPLES = f"""Examples:

  robustradar report robustradar-results/quickstart --figures

  robustradar report results/before results/after --reporter markdown --out results/compared

{exit_code.told(0, 2, 4)}
"""

_TOGETHER = RESULTS / "report"

Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders that rank wrote, or their scores.json.")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help=f"Where to write [default: the run's folder; for several runs {_TOGETHER}].")
]
Figures = Annotated[bool, typer.Option("--figures", help="Write each figure as an SVG file, too, into figures below --out.")]
Png = Annotated[bool, typer.Option("--png", help="Write each figure as a PNG image; needs pip install 'robustradar[png]'.")]
Reporters = Annotated[
    list[str] | None, typer.Option("--reporter", metavar="REF", help="Write this instead of report.html, e.g. markdown. Repeat it.")
]


def report(  # noqa: PLR0913, PLR0917 (one parameter an option)
    runs: Runs,
    out: Out = None,
    reporter: Reporters = None,
    figures: Figures = False,
    png: Png = False,
    registry: option.Registry = None,
    plugin: option.Plugin = None,
    as_json: option.Json = False,
) -> None:
    """Render stored results again: one run, or several side by side. Nothing is trained or measured, and torch is not loaded."""
    from robustradar.report import again, page, raster, write
    from robustradar.report.document import read

    documents = [read(run, "RUN") for run in runs]
    chosen = again.reporters(reporter, registry, plugin or ()) if reporter else []
    if png:
        raster.check()
    folder = out or (_TOGETHER if len(runs) > 1 else Path(runs[0]) if Path(runs[0]).is_dir() else Path(runs[0]).parent)
    write.writable(folder)
    files: dict[str, str | bytes] = {**again.texts(documents, chosen)} if reporter else {page.NAME: page.page(documents)}
    if figures or png:
        write.writable(folder / again.FIGURES)
        files |= again.drawings(documents, svg=figures, png=png)
    written = [str(put(folder / file, content, advice="Choose another folder.")) for file, content in files.items()]
    print(json.dumps({"written": written}, indent=1) if as_json else f"Written: {', '.join(written)}")
