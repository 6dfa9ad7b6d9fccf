"""Writes docs/attacks.md from what the attack plugins declare: ``python docs/generate_attacks.py``; a test holds the file up to date."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

from robustradar import Attack
from robustradar.catalog import signature

PLUGINS = ("torchattacks", "foolbox", "art")
TARGET = Path(__file__).with_name("attacks.md")
HEAD = """# Attacks

Written by `python docs/generate_attacks.py`; do not edit.

`max_loss` attacks try to make the loss as large as they can: only they may feed metrics that read adversarial losses. `first_success`
attacks stop at the first wrong answer and return the clean input where they find none: they estimate robust accuracy. `min_norm`
attacks look for the smallest perturbation that is wrong; it counts where it lies in the ball.

Foolbox and ART are second opinions that come as extras: `pip install 'robustradar[foolbox]'`, `pip install 'robustradar[art]'`.
"""


def needs(attack: Attack) -> str:
    """What an attack asks of the data."""
    parts = ["images"] if attack.images else []
    if attack.min_classes > 2:
        parts.append(f"{attack.min_classes} classes")
    return ", ".join(parts)


def norms(attack: Attack) -> str:
    """The orders that an attack can do."""
    return "any" if attack.norms is None else ", ".join("linf" if math.isinf(p) else f"l{p:g}" for p in attack.norms)


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for plugin in PLUGINS:
        parts.append(f"\n## {plugin}\n\n| attack | kind | norms | needs | what it does | parameters |\n|---|---|---|---|---|---|\n")
        declared = importlib.import_module(f"robustradar_{plugin}").robustradar_attacks()
        for attack in sorted(declared, key=lambda a: a.name):
            accepted = signature(attack).replace("|", r"\|")
            summary = attack.summary.replace("|", r"\|")
            parts.append(f"| `{plugin}/{attack.name}` | {attack.kind} | {norms(attack)} | {needs(attack)} | {summary} | {accepted} |\n")
    return "".join(parts)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
