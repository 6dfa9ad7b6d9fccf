"""The adapter between the contract of attacks and torchattacks' classes."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustradar import Victim
from robustradar.adapter import Library, LibraryAttack, Stage
from robustradar_torchattacks.table import Row

if TYPE_CHECKING:
    from torch import Tensor

    from robustradar_torchattacks.unit import ImageBox

# As many as targeted attacks are to know: 9 wrong ones, as in the reference AutoAttack.
CLASSES = 10


@dataclass(frozen=True)
class TorchAttack(LibraryAttack):
    """An attack of torchattacks. It maximises its own loss, mostly the cross-entropy, whatever the victim's is."""

    library = Library("torchattacks", "torchattacks")

    @property
    @abstractmethod
    def row(self) -> Row:
        """What there is to know of it."""

    @property
    def stretch(self) -> float:
        """By how much the whole perturbation is lengthened."""
        return 1 + float(vars(self)["overshoot"]) if self.row.stretch else 1.0

    def check(self, victim: Victim, x: Tensor) -> None:
        """Refuses what torchattacks would take in silence, or crash on without saying why.

        Raises:
            ValueError: ε or the inputs are not what the attack can use.
        """
        super().check(victim, x)
        advice = "Use another attack, such as MIFGSM."
        if self.row.channels is not None and x.shape[1] not in (1, self.row.channels):
            raise ValueError(f"{self.identifier}: got {x.shape[1]} channels, expected 1 or {self.row.channels}. {advice}")
        if self.row.square and x.shape[-1] != x.shape[-2]:
            raise ValueError(f"{self.identifier}: got images of {x.shape[-2]}×{x.shape[-1]}, expected square ones. {advice}")

    def unit(self, victim: Victim, x: Tensor, box: tuple[float, float]) -> ImageBox:
        """The network as torchattacks is shown it."""
        from robustradar_torchattacks.unit import ImageBox

        return ImageBox(victim.model, x, box, self.row.margin, self.row.channels)

    def value(self, source: str, stage: Stage) -> Any:
        """The value of one of the sources that `Row.arguments` names."""
        if source == "norm":
            return f"L{stage.p:g}"
        value = super().value(source, stage)
        return min(CLASSES, value) if source == "classes" else value

    def search(self, stage: Stage) -> Tensor:
        """What torchattacks' object makes of the inputs."""
        found: Tensor = self.build(stage)(stage.z, stage.y)
        return found

    def build(self, stage: Stage) -> Any:
        """The torchattacks object."""
        import torchattacks

        return getattr(torchattacks, self.row.name)(stage.model, **self.arguments(self.row.arguments, stage))
