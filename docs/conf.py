"""The site: `make docs` builds it into build/docs with Sphinx, MyST and Furo, warnings being errors; nothing is loaded from elsewhere.

The pages are Markdown that reads on a code host as well. Two things are done to them on the way: ``<!-- built: NAME -->`` is replaced by
what `built.py` reads from the code, and links that leave this folder, which a site cannot follow, become the file's name.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

sys.path.insert(0, str(Path(__file__).parent))

import built

import robustradar

project = "RobustRadar"
version = release = robustradar.__version__
extensions = ["myst_parser"]
exclude_patterns = ["_static"]

myst_heading_anchors = 4  # as code hosts do, so that page.md#a-heading works in both
highlight_language = "none"

html_theme = "furo"
html_title = "RobustRadar"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_theme_options = {"top_of_page_buttons": []}
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+((?:README|CONTRIBUTING|CHANGELOG)\.md|examples/[^)]*)\)")
ELSEWHERE = re.compile(r'<(?:script|img|iframe|source|link)\b[^>]*(?:src|href)="(?:https?:)?//[^>]*>')
BUILT = re.compile(r"^<!-- built: (.+?) -->$", re.M)


def _named(link: re.Match[str]) -> str:
    """A file outside the site, by its name in the repository."""
    text, path = link.groups()
    return f"`{path}`" if text.strip("`") in path else f"{text} (`{path}`)"


def _whole(app: Sphinx, page: str, source: list[str]) -> None:
    """A page with what is built put in."""
    source[0] = BUILT.sub(lambda mark: built.text(mark[1]), OUTSIDE.sub(_named, source[0]))


def _alone(app: Sphinx, error: Exception | None) -> None:
    """Holds that no page loads anything from elsewhere.

    Raises:
        ExtensionError: One does.
    """
    for page in () if error else Path(app.outdir).rglob("*.html"):
        if found := ELSEWHERE.search(page.read_text(encoding="utf-8")):
            raise ExtensionError(f"{page.name}: got {found[0]}, expected nothing that is loaded from elsewhere.")


def setup(app: Sphinx) -> None:
    """Registers the two steps of our own."""
    app.connect("source-read", _whole)
    app.connect("build-finished", _alone)
