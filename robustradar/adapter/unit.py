"""The unit box that other libraries believe every input to lie in. Imports torch, and so is imported when an attack runs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["UnitBox"]


class UnitBox(nn.Module):
    """A network as other libraries expect it: inputs in [0, 1] on any device, contiguous gradients, float32 logits where the inputs are.

    A library that needs more, such as another shape, gets a subclass from `LibraryAttack.unit`.

    Args:
        model: The network, in evaluation mode, where x is.
        x: The batch, for its shape and device.
        box: What is mapped to [0, 1].

    Attributes:
        low: The box's lower end.
        width: How wide it is.
        home: The network's device.
    """

    def __init__(self, model: nn.Module, x: Tensor, box: tuple[float, float]) -> None:
        super().__init__()
        # Libraries take their device from the first parameter, which need not exist or be where the inputs are.
        self.anchor = nn.Parameter(torch.empty(0, device=x.device), requires_grad=False)
        # In a tuple, so that a library neither moves it, changes its mode, nor calls its layers one by one.
        self.lent = (model,)
        self.low, self.width = box[0], box[1] - box[0]
        self.shape, self.home = x.shape[1:], x.device
        self.training = False  # else a library might set all of the model to training mode after an attack

    def enter(self, x: Tensor) -> Tensor:
        """Inputs in their own units to the unit box."""
        return ((x.detach().float() - self.low) / self.width).clamp(0, 1).contiguous()

    def leave(self, z: Tensor) -> Tensor:
        """Back from the unit box."""
        # By way of a flat tensor, so that the gradient is contiguous whatever the network's memory format.
        return (z.to(self.home, torch.float32).flatten(1) * self.width + self.low).reshape(-1, *self.shape)

    def forward(self, z: Tensor) -> Tensor:
        """Logits [N, K]."""
        logits: Tensor = self.lent[0](self.leave(z))
        return logits.to(z.device, torch.float32)
