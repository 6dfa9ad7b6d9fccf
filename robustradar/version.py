"""The version of the contract between RobustRadar and its plugins: what a plugin says it was written for, and what follows from that."""

from __future__ import annotations

import ast
import re
from pathlib import Path

# It changes when a plugin that kept the contract would no longer work: something is renamed, removed or of another meaning, or a check
# refuses what was allowed. What is added leaves it as it is: a plugin that uses an addition requires the release that has it.
CONTRACT = "0.1"
ATTRIBUTE = "robustradar_contract"
_FORM = re.compile(r"(\d+)\.(\d+)")


def mismatch(stated: object, distribution: str) -> str | None:
    """Why a plugin of a stated version cannot be used; None where it can. A plugin that states nothing is taken as it is.

    Args:
        stated: The module's ``robustradar_contract``; None or empty: it has none.
        distribution: What pip calls it; empty for a file.

    >>> mismatch("0.1", "signs"), mismatch(None, "signs")
    (None, None)
    >>> mismatch("0.0", "signs")
    'written for contract 0.0, expected 0.1. Update it: pip install --upgrade signs.'
    """
    if stated in (None, "", CONTRACT):
        return None
    if not isinstance(stated, str) or not _FORM.fullmatch(stated):
        return f"{ATTRIBUTE}: got {stated!r}, expected a text such as {CONTRACT!r}. Set it to the contract that the plugin was written for."
    got = f"written for contract {stated}, expected {CONTRACT}."
    if _numbers(stated) > _numbers(CONTRACT):
        return f"{got} Update RobustRadar: pip install --upgrade robustradar."
    if distribution:
        return f"{got} Update it: pip install --upgrade {distribution}."
    return f"{got} Update it: see what changed in docs/plugins.md, then set {ATTRIBUTE} = {CONTRACT!r}."


def written(file: Path) -> str:
    """What a Python file states, read without running it; empty where it states nothing or is no Python."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            if any(isinstance(target, ast.Name) and target.id == ATTRIBUTE for target in node.targets):
                return str(node.value.value)
    return ""


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))
