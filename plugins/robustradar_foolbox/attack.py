"""The adapter between the contract of attacks and Foolbox's classes."""

from __future__ import annotations

import dataclasses
import math
import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustradar import Attack, UsageError, Victim
from robustradar_foolbox.table import PARAMETERS, Row

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class FoolboxAttack(Attack):
    """An attack of Foolbox. It maximises its own loss, mostly the cross-entropy, whatever the victim's is."""

    @property
    @abstractmethod
    def row(self) -> Row:
        """What there is to know of it."""

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """Runs the attack in the unit box, reproducibly, and brings the outcome back into box and (unless `min_norm`) ball.

        Raises:
            UsageError: Foolbox is not installed.
            ValueError: ε, the inputs or a parameter are not what the attack can use.
        """
        import torch

        from robustradar.numerics import balls
        from robustradar_foolbox.unit import UnitBox

        self._check(victim, x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Foolbox's, of SciPy
            library = self._library()
        if victim.eps == 0:
            return x.detach().clone()
        box = victim.bounds or (float(x.min()) - victim.eps, float(x.max()) + victim.eps)  # wide enough to hold the ball
        model = UnitBox(victim.model, x, box)
        reseed(victim.generator)
        z = model.enter(x)
        smallest = self.kind == "min_norm"
        attack = self.build(library, victim.p)
        with torch.enable_grad():
            lent = library.PyTorchModel(model, bounds=(0, 1), device=x.device)
            labels = library.criteria.Misclassification(y)
            raw, _, wrong = attack(lent, z, labels, epsilons=None if smallest else victim.eps / model.width)
        found = model.leave(raw.detach())
        usable = found.flatten(1).isfinite().all(1)  # 0/0 where a gradient vanishes
        if smallest:
            usable &= wrong  # Foolbox returns black images where it finds nothing
        delta = torch.where(usable.view(-1, *[1] * (x.ndim - 1)), found - x.float(), 0.0)
        return x.float() + balls.confine(x.float(), delta, victim.p, math.inf if smallest else victim.eps, victim.bounds)

    def build(self, library: Any, p: float) -> Any:
        """Foolbox's own object for a norm."""
        words = (word.partition("=") for word in self.row.arguments.split())
        arguments = {name: self.share() if source == "share" else vars(self)[source or name] for name, _, source in words}
        return getattr(library.attacks, self.row.classes[p])(**arguments)

    def share(self) -> float:
        """The step size as a share of ε.

        Raises:
            ValueError: All steps together do not reach the ball's surface.
        """
        own = vars(self)
        share: float = own["relative_step"] or 2.5 / own["steps"]
        if own["steps"] * share < 1:
            raise ValueError(
                f"foolbox/{self.name}: got steps={own['steps']} and relative_step={share:g}, which reach {own['steps'] * share:.2g}·ε, "
                f"expected steps·relative_step >= 1. Raise one of them, or leave relative_step out for 2.5/steps."
            )
        return share

    def _library(self) -> Any:
        """Foolbox."""
        try:
            import foolbox
        except ModuleNotFoundError:
            raise UsageError(
                f"foolbox/{self.name}: got no foolbox, expected it installed. Run: pip install 'robustradar[foolbox]'."
            ) from None
        return foolbox

    def _check(self, victim: Victim, x: Tensor) -> None:
        """Refuses what Foolbox would take in silence, or fail an assertion on without saying why."""
        where, box = f"foolbox/{self.name}", victim.bounds
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
    """Seeds torch's global generators, which Foolbox draws from, by a number from the given one; the host restores them after the call."""
    import torch

    torch.manual_seed(int(torch.randint(2**31, (), generator=generator, device=generator.device)))


def declare(row: Row) -> FoolboxAttack:
    """The declaration that a row describes: a frozen dataclass with just the parameters that this attack has."""
    defaults = dict(row.parameters)
    if "share" in row.arguments:
        defaults["relative_step"] = None
    fields = [(name, PARAMETERS[name], dataclasses.field(default=default)) for name, default in defaults.items()]
    namespace = {"row": row, "__doc__": row.summary, "__module__": __name__}
    made = dataclasses.make_dataclass(row.name, fields, bases=(FoolboxAttack,), namespace=namespace, frozen=True)
    declared: FoolboxAttack = made(name=row.name, kind=row.kind, norms=tuple(row.classes))
    return declared
