"""Attacks of Foolbox as a second opinion: ``foolbox/ProjectedGradientDescent``. Needs ``pip install 'robustradar[foolbox]'``."""

from __future__ import annotations

import robustradar


@robustradar.hookimpl
def robustradar_attacks() -> tuple[robustradar.Attack, ...]:
    """The attacks of the table; Foolbox itself is imported when one runs, so that they are listed without it."""
    from robustradar.adapter import declared
    from robustradar_foolbox.attack import FoolboxAttack
    from robustradar_foolbox.table import PARAMETERS, ROWS

    return tuple(declared(FoolboxAttack, row, PARAMETERS) for row in ROWS)
