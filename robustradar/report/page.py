"""The page: one self-contained HTML file of one run, or of several side by side, as a pure function of their documents."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from markupsafe import Markup

from robustradar.report import account, comparison
from robustradar.report.document import Document
from robustradar.report.figure import figures
from robustradar.report.svg import printable
from robustradar.report.view import FORECASTS, View

if TYPE_CHECKING:
    from jinja2 import Environment

NAME = "report.html"
# Trainings whose costs the page shows: enough to see what took long, few enough that a search over thousands still opens.
_MOST = 300


def page(documents: Sequence[Document]) -> str:
    """The whole file. Nothing is loaded from elsewhere, and every name stays text.

    Args:
        documents: At least one run.
    """
    environment, style, script = parts("report")
    several = len(documents) > 1
    text = environment.get_template("page.html").render(
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        runs=[(name, View(document), figures(document)) for name, document in zip(comparison.names(documents), documents, strict=True)],
        comparison=comparison if several else None,
        documents=documents,
        account=account,
        most=_MOST,
        forecasts=FORECASTS,
        strong=lambda name: Markup("<strong>{}</strong>").format(name),
    )
    return printable(text).strip() + "\n"


@cache
def parts(package: str) -> tuple[Environment, str, str]:
    """The templates of one of the core's packages, and the style and the script that its pages share with the report's."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("robustradar", package)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["breakable"] = _breakable
    folder = resources.files("robustradar").joinpath("report")
    style, script = (folder.joinpath(f"page.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return environment, style, script


def drawings(document: Document) -> dict[str, str]:
    """Every figure as an SVG file of its own, by file name."""
    return {f"{panel.name}.svg": panel.file() for figure in figures(document) for panel in figure.panels}


def _breakable(name: str) -> Markup:
    """A name that may be broken before its parameters.

    >>> print(_breakable("a:b=<1>,c"))
    a:<wbr>b=&lt;1&gt;,<wbr>c
    """
    return Markup("<wbr>").join(re.split(r"(?<=[:,])", name))


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy of a page with this style and script, which lets nothing else pass by."""
    return f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    """What a Content-Security-Policy lets one inline element pass by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
