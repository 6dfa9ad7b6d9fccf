"""The adapter between the contract of attacks and Foolbox's classes."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustradar.adapter import Library, LibraryAttack, Stage
from robustradar_foolbox.table import Row

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FoolboxAttack(LibraryAttack):
    """An attack of Foolbox. It maximises its own loss, mostly the cross-entropy, whatever the victim's is."""

    library = Library("foolbox", "foolbox", "robustradar[foolbox]")

    @property
    @abstractmethod
    def row(self) -> Row:
        """What there is to know of it."""

    def search(self, stage: Stage) -> Tensor:
        """What Foolbox's object makes of the inputs."""
        import torch

        foolbox, smallest = self.imported("foolbox"), self.kind == "min_norm"
        attack = getattr(foolbox.attacks, self.row.classes[stage.p])(**self.arguments(self.row.arguments, stage))
        model = foolbox.PyTorchModel(stage.model, bounds=(0, 1), device=stage.z.device)
        labels = foolbox.criteria.Misclassification(stage.y)
        found: Tensor
        found, _, wrong = attack(model, stage.z, labels, epsilons=None if smallest else stage.eps)
        # Where it finds no smallest perturbation, Foolbox returns black images.
        return torch.where(wrong.view(-1, *[1] * (found.ndim - 1)), found, math.nan) if smallest else found
