"""A drawing as pixels, for where SVG is not taken: by resvg, which is an extra."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from robustradar.errors import UsageError

_SCALE = 2.0
_FONT, _PACKAGE = "Open Sans", "fontpkg_open_sans"


def check() -> None:
    """Tries for what images need, before any work is done.

    Raises:
        UsageError: It is not installed.
    """
    lacking = [name for name in ("resvg_py", _PACKAGE) if find_spec(name) is None]
    if lacking:
        raise UsageError(f"--png: got no {' and no '.join(lacking)}, which images need. Run: pip install 'robustradar[png]'")


def png(svg: str) -> bytes:
    """A PNG file of twice the drawing's size, on white.

    The words' font comes with the extra, so that images are alike on all machines; for what it lacks, the machine's own fonts are taken.

    Args:
        svg: A whole file.

    Raises:
        UsageError: What images need is not installed.
    """
    check()
    import resvg_py

    (place,) = find_spec(_PACKAGE).submodule_search_locations  # type: ignore[union-attr, misc]
    fonts = [str(Path(place) / "files")]
    return resvg_py.svg_to_bytes(svg_string=svg, zoom=_SCALE, background="#ffffff", font_dirs=fonts, sans_serif_family=_FONT)
