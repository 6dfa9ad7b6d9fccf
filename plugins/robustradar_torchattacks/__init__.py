"""Every attack of torchattacks, under its own name and with its true kind: ``torchattacks/PGD``, ``torchattacks/CW:steps=100``."""

from __future__ import annotations

import robustradar


@robustradar.hookimpl
def robustradar_attacks() -> tuple[robustradar.Attack, ...]:
    """All of torchattacks' attacks; the library itself is imported when one runs."""
    from robustradar.adapter import declared
    from robustradar_torchattacks.attack import TorchAttack
    from robustradar_torchattacks.table import PARAMETERS, ROWS
    from robustradar_torchattacks.wrapper import LGV_ATTACK, MULTI_ATTACK

    return (*(declared(TorchAttack, row, PARAMETERS) for row in ROWS), LGV_ATTACK, MULTI_ATTACK)
