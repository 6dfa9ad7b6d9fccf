"""`robustradar report`: renders finished runs again, without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from robustradar.cli import option

EXAMPLES = """Examples:

  robustradar report robustradar-results/quickstart --figures

  robustradar report results/before results/after --out results/compared
"""

FIGURES = "figures"
_TOGETHER = Path("robustradar-results") / "report"

Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders that rank wrote, or their scores.json.")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help=f"Where to write [default: the run's folder; for several runs {_TOGETHER}].")
]
Figures = Annotated[bool, typer.Option("--figures", help=f"Write each figure as an SVG file, too, into {FIGURES} below --out.")]


def report(runs: Runs, out: Out = None, figures: Figures = False, as_json: option.Json = False) -> None:
    """Render report.html from stored results: of one run, or of several side by side. Nothing is trained or measured."""
    from robustradar.report import page, write
    from robustradar.report.comparison import names
    from robustradar.report.document import read

    documents = [read(run) for run in runs]
    folder = out or (_TOGETHER if len(runs) > 1 else Path(runs[0]) if Path(runs[0]).is_dir() else Path(runs[0]).parent)
    write.writable(folder)
    texts = {page.NAME: page.page(documents)}
    if figures:
        write.writable(folder / FIGURES)
        for name, document in zip(names(documents), documents, strict=True):
            within = f"{FIGURES}/{name}-" if len(runs) > 1 else f"{FIGURES}/"
            texts |= {f"{within}{file}": text for file, text in page.drawings(document).items()}
    written = [str(write.put(folder / file, text, "Choose another folder.")) for file, text in texts.items()]
    print(json.dumps({"written": written}, indent=1) if as_json else f"Written: {', '.join(written)}")
