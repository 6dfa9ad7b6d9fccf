"""The adapter between the contract of attacks and torchattacks' classes."""

from __future__ import annotations

import dataclasses
import math
import warnings
from abc import abstractmethod
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from robustradar import Attack, Victim
from robustradar_torchattacks.table import PARAMETERS, Row

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from robustradar_torchattacks.unit import UnitBox


@dataclass(frozen=True)
class Stage:
    """What a torchattacks object is built from, in the unit box.

    Attributes:
        model: The network.
        z: The inputs.
        y: The labels.
        p: The norm's order.
        eps: The radius.
        seed: For attacks that seed themselves.
    """

    model: UnitBox
    z: Tensor
    y: Tensor
    p: float
    eps: float
    seed: int

    @property
    def classes(self) -> int:
        """Number of classes, at most 10: as many as targeted attacks are to know (9 wrong ones, as in the reference AutoAttack)."""
        import torch

        with torch.no_grad():
            return min(10, int(self.model(self.z[:1]).shape[1]))


@dataclass(frozen=True)
class TorchAttack(Attack):
    """An attack of torchattacks. It maximises its own loss, mostly the cross-entropy, whatever the victim's is."""

    @property
    @abstractmethod
    def row(self) -> Row:
        """What there is to know of it."""

    def content(self) -> str:
        """The library's version."""
        return f"torchattacks {metadata.version('torchattacks')}"

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """Runs the attack in the unit box, reproducibly, and brings the outcome back into box and (unless `min_norm`) ball.

        Raises:
            ValueError: ε, the inputs or a parameter are not what the attack can use.
        """
        import torch

        from robustradar.numerics import balls
        from robustradar_torchattacks.unit import UnitBox

        self._check(victim, x)
        if victim.eps == 0:
            return x.detach().clone()
        box = victim.bounds or (float(x.min()) - victim.eps, float(x.max()) + victim.eps)  # wide enough to hold the ball
        model = UnitBox(victim.model, x, box, self.row.margin, self.row.channels)
        seed = reseed(victim.generator)
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # SparseFool's, of NumPy
            stage = Stage(model, model.enter(x), y, victim.p, victim.eps / model.width, seed)
            found = model.leave(self.build(stage)(stage.z, y).detach().to(x.device))
        usable = found.flatten(1).isfinite().all(1).view(-1, *[1] * (x.ndim - 1))  # 0/0 where a gradient vanishes
        delta = torch.where(usable, found - x.float(), 0.0)
        if self.row.stretch:
            delta = delta * (1 + vars(self)["overshoot"])
        radius = math.inf if self.kind == "min_norm" else victim.eps
        return x.float() + balls.confine(x.float(), delta, victim.p, radius, victim.bounds)

    def build(self, stage: Stage) -> Any:
        """The torchattacks object."""
        import torchattacks

        arguments = dict((word if "=" in word else f"{word}={word}").split("=") for word in self.row.arguments.split())
        return getattr(torchattacks, self.row.name)(stage.model, **{a: self.value(source, stage) for a, source in arguments.items()})

    def value(self, source: str, stage: Stage) -> Any:
        """The value of one of the sources that `Row.arguments` names."""
        if source == "alpha":
            return self.share() * stage.eps
        if source == "norm":
            return "Linf" if math.isinf(stage.p) else f"L{stage.p:g}"
        return getattr(stage if source in ("eps", "seed", "classes") else self, source)

    def share(self) -> float:
        """The step size as a share of ε.

        Raises:
            ValueError: All steps together do not reach the ball's surface.
        """
        own = vars(self)
        steps: int = own.get("steps", 1)
        share: float = own["relative_step"] or 2.5 / steps
        if "steps" in own and steps * share < 1:
            raise ValueError(
                f"torchattacks/{self.name}: got steps={steps} and relative_step={share:g}, which reach {steps * share:.2g}·ε, "
                f"expected steps·relative_step >= 1. Raise one of them, or leave relative_step out for 2.5/steps."
            )
        return share

    def _check(self, victim: Victim, x: Tensor) -> None:
        """Refuses what torchattacks would take in silence, or crash on without saying why."""
        where, row, eps, box = f"torchattacks/{self.name}", self.row, victim.eps, victim.bounds
        if not eps >= 0:
            raise ValueError(f"{where}: got ε = {eps:g}, expected at least 0. Give the radius in the data's own units, such as 8/255.")
        if box is not None:
            if math.isinf(victim.p) and eps > box[1] - box[0]:
                raise ValueError(
                    f"{where}: got ε = {eps:g} in the box {box}, expected at most {box[1] - box[0]:g}. For 8/255, write 8/255."
                )
            if not box[0] <= float(x.min()) <= float(x.max()) <= box[1]:
                raise ValueError(
                    f"{where}: got inputs from {float(x.min()):.4g} to {float(x.max()):.4g}, expected them in {box}. "
                    "Put the normalisation inside the network."
                )
        if row.channels is not None and x.shape[1] not in (1, row.channels):
            raise ValueError(f"{where}: got {x.shape[1]} channels, expected 1 or {row.channels}. Use another attack, such as MIFGSM.")
        if row.square and x.shape[-1] != x.shape[-2]:
            raise ValueError(
                f"{where}: got images of {x.shape[-2]}×{x.shape[-1]}, expected square ones. Use another attack, such as MIFGSM."
            )


def reseed(generator: torch.Generator) -> int:
    """Seeds the global generators, which torchattacks draws from, by a number from the given one; the host restores them after the call."""
    import random

    import numpy as np
    import torch

    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return seed


def declare(row: Row) -> TorchAttack:
    """The declaration that a row describes: a frozen dataclass with just the parameters that this attack has."""
    defaults = dict(row.parameters)
    if "alpha" in row.arguments:
        defaults.setdefault("relative_step", None)
    fields = [(name, PARAMETERS[name], dataclasses.field(default=default)) for name, default in defaults.items()]
    namespace = {"row": row, "__doc__": row.summary, "__module__": __name__}
    made = dataclasses.make_dataclass(row.name, fields, bases=(TorchAttack,), namespace=namespace, frozen=True)
    declared: TorchAttack = made(name=row.name, kind=row.kind, norms=row.norms, images=row.images, min_classes=row.min_classes)
    return declared
