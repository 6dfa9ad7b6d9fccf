"""The adapter between the contract of attacks and the toolbox's classes."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustradar import Attack, UsageError, Victim
from robustradar_art.table import PARAMETERS, Row

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class ArtAttack(Attack):
    """An attack of the toolbox. It maximises its own loss, mostly the cross-entropy, whatever the victim's is."""

    @property
    @abstractmethod
    def row(self) -> Row:
        """What there is to know of it."""

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """Runs the attack in the unit box, reproducibly, and brings the outcome back into box and (unless `min_norm`) ball.

        Raises:
            UsageError: The toolbox is not installed.
            ValueError: ε, the inputs or a parameter are not what the attack can use.
        """
        import torch

        from robustradar.numerics import balls
        from robustradar_art.unit import UnitBox

        self._check(victim, x)
        evasion, classification = self._library()
        if victim.eps == 0:
            return x.detach().clone()
        box = victim.bounds or (float(x.min()) - victim.eps, float(x.max()) + victim.eps)  # wide enough to hold the ball
        model = UnitBox(victim.model, x, box)
        reseed(victim.generator)
        with torch.enable_grad():
            z = model.enter(x)
            outputs = int(model(z[:1]).shape[1])
            # A sum, since a mean would make gradients depend on the size of the batch, next to the constants that they are compared with.
            loss = torch.nn.CrossEntropyLoss(reduction="sum")
            shown = classification.PyTorchClassifier(model, loss, tuple(z.shape[1:]), outputs, clip_values=(0.0, 1.0), device_type="cpu")
            labels = torch.nn.functional.one_hot(y.cpu(), outputs).float()
            attack = getattr(evasion, self.row.name)(shown, **self.arguments(victim.p, victim.eps / model.width, len(x)))
            raw = torch.from_numpy(attack.generate(z.numpy(), labels.numpy()))
        found = model.leave(raw).detach()
        usable = found.flatten(1).isfinite().all(1).view(-1, *[1] * (x.ndim - 1))  # 0/0 where a gradient vanishes
        delta = torch.where(usable, found - x.float(), 0.0)
        radius = math.inf if self.kind == "min_norm" else victim.eps
        return x.float() + balls.confine(x.float(), delta, victim.p, radius, victim.bounds)

    def arguments(self, p: float, eps: float, batch_size: int) -> dict[str, Any]:
        """What the toolbox's class is built with, besides the network."""
        known = {"norm": p if math.isinf(p) or p % 1 else int(p), "eps": eps}
        words = [word.partition("=") for word in self.row.arguments.split()]
        values = known | vars(self) | ({"alpha": self.share() * eps} if "relative_step" in vars(self) else {})
        quiet = {} if self.row.name == "FastGradientMethod" else {"verbose": False}
        return {name: values[source or name] for name, _, source in words} | {"batch_size": batch_size} | quiet

    def share(self) -> float:
        """The step size as a share of ε.

        Raises:
            ValueError: All steps together do not reach the ball's surface.
        """
        own = vars(self)
        share: float = own["relative_step"] or 2.5 / own["steps"]
        if own["steps"] * share < 1:
            raise ValueError(
                f"art/{self.name}: got steps={own['steps']} and relative_step={share:g}, which reach {own['steps'] * share:.2g}·ε, "
                f"expected steps·relative_step >= 1. Raise one of them, or leave relative_step out for 2.5/steps."
            )
        return share

    def _library(self) -> tuple[Any, Any]:
        """The toolbox's modules of attacks and of classifiers."""
        try:
            from art.attacks import evasion
            from art.estimators import classification
        except ModuleNotFoundError:
            raise UsageError(
                f"art/{self.name}: got no adversarial-robustness-toolbox, expected it installed. Run: pip install 'robustradar[art]'."
            ) from None
        return evasion, classification

    def _check(self, victim: Victim, x: Tensor) -> None:
        """Refuses what the toolbox would clip in silence."""
        where, box = f"art/{self.name}", victim.bounds
        if not victim.eps >= 0:
            raise ValueError(
                f"{where}: got ε = {victim.eps:g}, expected at least 0. Give the radius in the data's own units, such as 8/255."
            )
        if box is not None and not box[0] <= float(x.min()) <= float(x.max()) <= box[1]:
            raise ValueError(
                f"{where}: got inputs from {float(x.min()):.4g} to {float(x.max()):.4g}, expected them in {box}. "
                "Put the normalisation inside the network."
            )


def reseed(generator: torch.Generator) -> None:
    """Seeds the global generators, which the toolbox draws from, by a number from the given one; the host restores them after the call."""
    import random

    import numpy as np
    import torch

    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def declare(row: Row) -> ArtAttack:
    """The declaration that a row describes: a frozen dataclass with just the parameters that this attack has."""
    defaults = dict(row.parameters)
    if "alpha" in row.arguments:
        defaults.setdefault("relative_step", None)
    fields = [(name, PARAMETERS[name], dataclasses.field(default=default)) for name, default in defaults.items()]
    namespace = {"row": row, "__doc__": row.summary, "__module__": __name__}
    made = dataclasses.make_dataclass(row.name, fields, bases=(ArtAttack,), namespace=namespace, frozen=True)
    declared: ArtAttack = made(name=row.name, kind=row.kind, norms=row.norms)
    return declared
