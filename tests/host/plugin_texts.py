"""Plugins from a text, for tests of the host: files, and one loaded between two tame ones that must not notice."""

from pathlib import Path

from robustradar import host
from robustradar.host import Plugin

HEAD = """
from __future__ import annotations
from dataclasses import dataclass
import robustradar as rr
from robustradar import Attack, hookimpl


@dataclass(frozen=True)
class Still(Attack):
    "Moves nothing."
    steps: int = 1

    def perturb(self, victim, x, y):
        return x

"""
TAME = (
    HEAD
    + """
@hookimpl
def robustradar_attacks():
    return (Still(name="still"),)
"""
)


def written(folder: Path, text: str, name: str = "beast") -> str:
    file = folder / f"{name}.py"
    file.write_text(text, encoding="utf-8")
    return str(file)


def loaded(folder: Path, text: str, name: str = "beast") -> Plugin:
    """One plugin from its text, loaded between two tame ones that must not notice."""
    before, after = written(folder, TAME, "before"), written(folder, TAME, "later")
    first, plugin, last = host.load(given=[before, written(folder, text, name), after], entry_points=[])
    for tame in (first, last):
        assert tame.error is None
        assert [a.name for a in tame.declarations["attack"]] == ["still"]
    return plugin


def hook(body: str, name: str = "robustradar_attacks", head: str = HEAD) -> str:
    return f"{head}\n@hookimpl\ndef {name}():\n    {body}\n"
