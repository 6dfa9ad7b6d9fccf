"""Which files a plugin's code is in: its own, and those that it imports from the folder that it was imported from."""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_INSTALLED = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib", "stdlib", "platstdlib")}


def reached(file: Path, name: str = "") -> list[Path]:
    """A file and the Python files that it imports, directly or not, read without running them.

    Imports are followed within the folder that the module was found in, not into installed packages other than its own: those have
    versions, and RobustRadar itself is part of every key already.

    Args:
        file: The module's file.
        name: The module's dotted name, which says how far above the file that folder is; empty for a file that was given as such.
    """
    file = file.resolve()
    root = file.parents[name.count(".")] if name.count(".") < len(file.parents) else file.parent
    own = name.partition(".")[0] if root in _INSTALLED else None
    found, waiting = {file}, [file]
    while waiting:
        here = waiting.pop()
        for target in _targets(here, root, own):
            if target not in found:
                found.add(target)
                waiting.append(target)
    return [file, *sorted(found - {file})]


def _targets(file: Path, root: Path, own: str | None) -> Iterator[Path]:
    """The files in `root` that one file's import statements name; where `own` is given, only those of this package."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            below, names = root, [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            below = file.parents[node.level - 1] if 0 < node.level <= len(file.parents) else root
            names = [".".join(filter(None, (node.module, alias.name))) for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if below == root and (parts[0] == "robustradar" or own not in (None, parts[0])):
                continue
            for length in range(1, len(parts) + 1):
                path = below.joinpath(*parts[:length])
                yield from (near for near in (path.with_name(f"{path.name}.py"), path / "__init__.py") if near.is_file())
