"""The extension point for attacks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from robustradar.contract.declaration import Declaration, fixed

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Kind = Literal["max_loss", "first_success", "min_norm"]
Loss = Callable[["Tensor", "Tensor"], "Tensor"]


@dataclass(frozen=True)
class Victim:
    """What an attack may use of the network and the threat.

    Attributes:
        model: Maps [N, *shape] in the data's own units to [N, outputs]; in evaluation mode, its parameters need no gradient.
        loss: (outputs [N, K], targets) to losses [N]: what the adversary increases.
        p: The norm's order.
        eps: The ball's radius, ≥ 0; at 0 return x.
        bounds: The box, or None.
        generator: The only source of chance an attack may use. Lies on the inputs' device.
    """

    model: nn.Module
    loss: Loss
    p: float
    eps: float
    bounds: tuple[float, float] | None
    generator: torch.Generator


@dataclass(frozen=True)
class Attack(Declaration, ABC):
    """A search for perturbations.

    The host calls `perturb` under its guard: it verifies the ball and the box in float32, recomputes losses and success, keeps per sample
    the worst of the clean input and what came back (`max_loss`), and restores modes, flags, gradients and generators.

    Attributes:
        kind: ``max_loss`` tries to make the loss as large as it can be; ``first_success`` stops at the first wrong answer, and so estimates
            accuracies but never losses; ``min_norm`` looks for the smallest perturbation that is wrong.
        norms: The orders p that it can do: a tuple, or None for every p in [1, ∞].
        images: Whether it needs inputs [N, channels, height, width].
        reach: The radius that it uses, over ε. More than 1 is for training alone: noise beyond the ball keeps one-step training from
            collapsing. Where it measures, the host confines it to the ball.
        min_classes: The smallest number of classes that it can do; 0: it can do regression as well.
    """

    kind: Kind = fixed("max_loss")
    norms: tuple[float, ...] | None = fixed(None)
    images: bool = fixed(False)
    reach: float = fixed(1.0)
    min_classes: int = fixed(2)

    @abstractmethod
    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """Perturbed inputs, of the shape of x [N, *shape], inside the ball and the box; y are the true targets [N]."""


def obstacle(attack: Attack, p: float, shape: tuple[int, ...], classes: int | None) -> str | None:
    """Why an attack cannot be used here, as ``got …, expected …``; None where it can.

    >>> from robustradar.contract.attack import Attack
    >>> class Fixed(Attack):
    ...     def perturb(self, victim, x, y): return x
    >>> obstacle(Fixed(name="f", norms=(2.0,)), math.inf, (3, 8, 8), 10)
    'got norm linf, expected l2'
    """
    if attack.norms is not None and p not in attack.norms:
        names = ["linf" if math.isinf(q) else f"l{q:g}" for q in attack.norms]
        return f"got norm {'linf' if math.isinf(p) else f'l{p:g}'}, expected {' or '.join(names)}"
    if attack.images and len(shape) != 3:
        return f"got inputs of shape {list(shape)}, expected images [channels, height, width]"
    if classes is None and attack.min_classes > 0:
        return "got regression, expected classes"
    if classes is not None and classes < attack.min_classes:
        return f"got {classes} classes, expected at least {attack.min_classes}"
    return None
