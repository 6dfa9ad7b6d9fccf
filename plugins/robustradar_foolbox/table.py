"""What of Foolbox is offered, as data: one row an attack, and one entry a parameter. Checked against the installed library by a test.

Left out is what would mislead: FMN (release 3.3.4 misses a linear network's boundary by more than 30 % in l2), the Adam variants (those of
BasicIterative never use Adam in l1 and l2), Brendel and Bethge's attack (it needs numba), and the decision-based ones, which fail for the
whole batch where one sample finds no start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from robustradar import adapter


@dataclass(frozen=True)
class Row(adapter.Row):
    """One attack, which Foolbox has in a class a norm, all with the same arguments.

    Attributes:
        form: The classes' name in ``foolbox.attacks``; {} stands for Linf, L2 or L1.
    """

    form: str = ""

    @property
    def classes(self) -> Mapping[float, str]:
        """Class by norm."""
        return {p: self.form.format(f"L{p:g}") for p in self.norms or ()}


PARAMETERS: Mapping[str, Any] = {
    "steps": Annotated[int, Field(ge=1, description="Iterations; of a binary search, in each of its steps.")],
    "relative_step": Annotated[float | None, Field(gt=0, description="Step size as a share of ε; none: 2.5/steps.")],
    "momentum": Annotated[float, Field(ge=0, description="Weight of the earlier gradients; 0: none.")],
    "quantile": Annotated[float, Field(ge=0, le=1, description="Share of the features that a step leaves alone.")],
    "overshoot": Annotated[float, Field(ge=0, description="How far to go beyond the boundary, as a share of the way to it.")],
    "candidates": Annotated[int, Field(ge=2, description="Likeliest classes whose boundaries are looked at.")],
    "stepsize": Annotated[float, Field(gt=0, description="Step size, in box widths (CarliniWagner: in its own coordinates).")],
    "binary_search_steps": Annotated[int, Field(ge=1, description="Steps of the search for the constant.")],
    "regularization": Annotated[float, Field(gt=0, description="Weight of l1.")],
    "decision_rule": Annotated[Literal["L1", "EN"], Field(description="What is kept: the smallest l1, or the smallest l2² + weight·l1.")],
    "gamma": Annotated[float, Field(gt=0, lt=1, description="Factor by which the radius shrinks and grows.")],
    "init_epsilon": Annotated[float, Field(gt=0, description="First radius, in box widths.")],
}
_INF = math.inf
_ANY = (_INF, 2.0, 1.0)
_ITERATED = "steps rel_stepsize=share"

ROWS = (
    Row(
        "FastGradient",
        "max_loss",
        _ANY,
        "One step of length ε along the gradient, or for linf its sign.",
        form="{}FastGradientAttack",
    ),
    Row(
        "BasicIterative",
        "max_loss",
        _ANY,
        "Projected gradient ascent from the input; the projection rescales.",
        _ITERATED,
        {"steps": 10},
        form="{}BasicIterativeAttack",
    ),
    Row(
        "ProjectedGradientDescent",
        "max_loss",
        _ANY,
        "Projected gradient ascent from a random start; the projection rescales.",
        _ITERATED,
        {"steps": 40},
        form="{}ProjectedGradientDescentAttack",
    ),
    Row(
        "MomentumIterative",
        "max_loss",
        _ANY,
        "Projected gradient ascent with momentum; the projection rescales.",
        f"{_ITERATED} momentum",
        {"steps": 10, "momentum": 1.0},
        form="{}MomentumIterativeFastGradientMethod",
    ),
    Row(
        "SparseL1Descent",
        "max_loss",
        (1.0,),
        "Ascent along the largest gradients, projected on the l1 ball.",
        f"{_ITERATED} quantile",
        {"steps": 10, "quantile": 0.99},
        form="SparseL1DescentAttack",
    ),
    Row(
        "DeepFool",
        "min_norm",
        (_INF, 2.0),
        "Steps to the nearest linearised boundary.",
        "steps candidates overshoot",
        {"steps": 50, "candidates": 10, "overshoot": 0.02},
        form="{}DeepFoolAttack",
    ),
    Row(
        "CarliniWagner",
        "min_norm",
        (2.0,),
        "Carlini and Wagner's smallest perturbation, by Adam and a binary search.",
        "steps stepsize binary_search_steps",
        {"steps": 100, "stepsize": 0.01, "binary_search_steps": 9},
        form="{}CarliniWagnerAttack",
    ),
    Row(
        "EAD",
        "min_norm",
        (1.0,),
        "Elastic-net attack.",
        "steps initial_stepsize=stepsize binary_search_steps regularization decision_rule",
        {"steps": 100, "stepsize": 0.01, "binary_search_steps": 9, "regularization": 0.01, "decision_rule": "L1"},
        form="EADAttack",
    ),
    Row(
        "DDN",
        "min_norm",
        (2.0,),
        "Ascent on a sphere that shrinks where the answer is wrong and grows where it is right.",
        "steps init_epsilon gamma",
        {"steps": 100, "init_epsilon": 1.0, "gamma": 0.05},
        form="DDNAttack",
    ),
)
