"""The adapter between the contract of attacks and the toolbox's classes."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustradar.adapter import Library, LibraryAttack, Row, Stage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ArtAttack(LibraryAttack):
    """An attack of the toolbox. It maximises its own loss, mostly the cross-entropy, whatever the victim's is."""

    library = Library("art", "adversarial-robustness-toolbox", "robustradar[art]")

    @property
    @abstractmethod
    def row(self) -> Row:
        """What there is to know of it."""

    def value(self, source: str, stage: Stage) -> Any:
        """The value of one of the sources that `Row.arguments` names."""
        if source == "norm":
            return stage.p if math.isinf(stage.p) or stage.p % 1 else int(stage.p)
        return super().value(source, stage)

    def search(self, stage: Stage) -> Tensor:
        """What the toolbox's object makes of the inputs, on the CPU: it counts in NumPy."""
        import torch

        evasion, classification = self.imported("art.attacks.evasion"), self.imported("art.estimators.classification")
        z, classes = stage.z.cpu(), stage.classes
        # A sum, since a mean would make gradients depend on the size of the batch, next to the constants that they are compared with.
        loss = torch.nn.CrossEntropyLoss(reduction="sum")
        shown = classification.PyTorchClassifier(stage.model, loss, tuple(z.shape[1:]), classes, clip_values=(0.0, 1.0), device_type="cpu")
        quiet = {} if self.row.name == "FastGradientMethod" else {"verbose": False}
        attack = getattr(evasion, self.row.name)(shown, batch_size=len(z), **self.arguments(self.row.arguments, stage), **quiet)
        labels = torch.nn.functional.one_hot(stage.y.cpu(), classes).float()
        return torch.from_numpy(attack.generate(z.numpy(), labels.numpy()))
