"""Stored results rendered again: by any reporter, of one run or of several, and every figure as a file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from robustradar import host, registry
from robustradar.catalog import Catalog
from robustradar.contract.reporter import Reporter
from robustradar.errors import PluginError, UsageError
from robustradar.report import page, raster
from robustradar.report.comparison import names
from robustradar.report.document import Document
from robustradar.report.write import rendered

FIGURES = "figures"
_LEFT = "The stored results are as they were."


def reporters(references: Sequence[str], registry_file: Path | None, plugins: Sequence[str]) -> list[tuple[str, Reporter]]:
    """Who is to be named when it fails, and the reporter; torch is not loaded for it.

    Args:
        references: As they were typed.
        registry_file: A user's own registry.
        plugins: Files or modules to load beside the installed plugins.

    Raises:
        UsageError: A name or a parameter is wrong, or two would write the same file.
        PluginError: A plugin that is needed is broken.
    """
    catalog = Catalog(host.needed(tuple(plugins)), registry.load(registry_file).aliases)
    refs = dict.fromkeys(catalog.resolve("reporter", text, "--reporter") for text in references)
    found = [(catalog.culprit("reporter", ref), catalog.bound("reporter", ref, Reporter)) for ref in refs]
    files = [reporter.filename for _, reporter in found]
    if twice := next((file for file in files if files.count(file) > 1), ""):
        both = " and ".join(ref.label for ref, file in zip(refs, files, strict=True) if file == twice)
        raise UsageError(f"--reporter: got {both}, which all write {twice}, expected one of them. Give each its own --out.")
    return found


def texts(documents: Sequence[Document], chosen: Sequence[tuple[str, Reporter]]) -> dict[str, str]:
    """Every reporter's files by name: one for all runs where it compares them, else one a run, with the run's letter before its name.

    Raises:
        PluginError: A reporter failed, or returned no text.
    """
    found: dict[str, str] = {}
    for culprit, reporter in chosen:
        if len(documents) > 1:
            together = rendered(culprit, reporter, partial(reporter.compare, [(d.label, d.result) for d in documents]), _LEFT)
            if together is not None:
                found[reporter.filename] = _text(together, culprit, "compare()", "str or None")
                continue
        for name, document in zip(names(documents), documents, strict=True):
            before = f"{name}-" if len(documents) > 1 else ""
            alone = rendered(culprit, reporter, partial(reporter.render, document.result), _LEFT)
            found[before + reporter.filename] = _text(alone, culprit, "render()", "str")
    return found


def _text(found: object, culprit: str, call: str, expected: str) -> str:
    """A reporter's answer, if it is a text.

    Raises:
        PluginError: It is not.
    """
    if not isinstance(found, str):
        raise PluginError(f"{culprit}: {call} returned {type(found).__name__}, expected {expected}. {_LEFT}")
    return found


def drawings(documents: Sequence[Document], *, svg: bool, png: bool) -> dict[str, str | bytes]:
    """Every figure's files by name, with the run's letter before it where there are several.

    Raises:
        UsageError: What images need is not installed.
    """
    found: dict[str, str | bytes] = {}
    for name, document in zip(names(documents), documents, strict=True):
        before = f"{FIGURES}/{name}-" if len(documents) > 1 else f"{FIGURES}/"
        for file, drawing in page.drawings(document).items():
            found |= {f"{before}{file}": drawing} if svg else {}
            found |= {f"{before}{file.removesuffix('.svg')}.png": raster.png(drawing)} if png else {}
    return found
