"""What of the toolbox is offered, as data: one row an attack, and one entry a parameter. Checked against the installed library by a test.

Left out is what would mislead, measured on small networks with release 1.20.1: CarliniLInfMethod breaks nothing that PGD breaks; DeepFool
breaks far less once there are more classes than it looks at; HopSkipJump starts from chance that no seed reaches; SquareAttack fails on
images of 4 pixels a side; in l1 a larger ball can break less; ElasticNet takes 50 times as long as Foolbox's; WassersteinAttack has another
distance than the threat's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from robustradar.adapter import Row

PARAMETERS: Mapping[str, Any] = {
    "steps": Annotated[int, Field(ge=1, description="Iterations; of a binary search, in each of its steps.")],
    "relative_step": Annotated[float | None, Field(gt=0, description="Step size as a share of ε; none: 2.5/steps.")],
    "restarts": Annotated[int, Field(ge=1, description="Random starts; of the later ones, what breaks a sample is taken.")],
    "decay": Annotated[float, Field(ge=0, description="Momentum's decay; 0: no momentum.")],
    "learning_rate": Annotated[float, Field(gt=0, description="Step size, in the attack's own coordinates.")],
    "binary_search_steps": Annotated[int, Field(ge=1, description="Steps of the search for the constant.")],
    "initial_const": Annotated[float, Field(gt=0, description="First weight of the misclassification against the distance.")],
}
# Arguments of the classes in ``art.attacks.evasion``, with ``norm`` as a further source.
_BALL = "norm eps eps_step=alpha max_iter=steps"
_BOTH = (math.inf, 2.0)

ROWS = (
    Row("FastGradientMethod", "max_loss", _BOTH, "One step of length ε along the steepest direction.", "norm eps"),
    Row(
        "BasicIterativeMethod",
        "max_loss",
        (math.inf,),
        "Projected sign-gradient ascent from the input.",
        "eps eps_step=alpha max_iter=steps",
        {"steps": 40},
    ),
    Row(
        "ProjectedGradientDescent",
        "max_loss",
        _BOTH,
        "Projected steepest ascent from a random start.",
        f"{_BALL} num_random_init=restarts",
        {"steps": 40, "restarts": 1},
    ),
    Row(
        "MomentumIterativeMethod",
        "max_loss",
        _BOTH,
        "Projected steepest ascent with momentum.",
        f"{_BALL} decay",
        {"steps": 40, "decay": 1.0},
    ),
    Row(
        "AutoProjectedGradientDescent",
        "first_success",
        _BOTH,
        "Ascent with a step size that adapts, judged at its last iterate.",
        f"{_BALL} nb_random_init=restarts",
        {"steps": 100, "restarts": 1, "relative_step": 2.0},
    ),
    Row(
        "CarliniL2Method",
        "min_norm",
        (2.0,),
        "Carlini and Wagner's smallest perturbation, by a line search.",
        "learning_rate binary_search_steps max_iter=steps initial_const",
        {"steps": 10, "learning_rate": 0.01, "binary_search_steps": 10, "initial_const": 0.01},
    ),
)
