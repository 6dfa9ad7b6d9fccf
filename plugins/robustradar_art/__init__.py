"""Attacks of the Adversarial Robustness Toolbox: ``art/ProjectedGradientDescent``. Needs ``pip install 'robustradar[art]'``."""

from __future__ import annotations

import robustradar


@robustradar.hookimpl
def robustradar_attacks() -> tuple[robustradar.Attack, ...]:
    """The attacks of the table; the toolbox itself is imported when one runs, so that they are listed without it."""
    from robustradar.adapter import declared
    from robustradar_art.attack import ArtAttack
    from robustradar_art.table import PARAMETERS, ROWS

    return tuple(declared(ArtAttack, row, PARAMETERS) for row in ROWS)
