"""The network as the toolbox is shown it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class UnitBox(nn.Module):
    """A network with inputs in [0, 1] and float32 logits, on the CPU: the toolbox counts in NumPy.

    Args:
        model: The network, in evaluation mode, where x is.
        x: The batch, for its shape and device.
        box: The data's box.
    """

    def __init__(self, model: nn.Module, x: Tensor, box: tuple[float, float]) -> None:
        super().__init__()
        # In a tuple, so that the toolbox neither moves it, changes its mode, nor calls its layers one by one.
        self.lent = (model,)
        self.low, self.width = box[0], box[1] - box[0]
        self.shape, self.device = x.shape[1:], x.device
        self.training = False

    def enter(self, x: Tensor) -> Tensor:
        """Inputs in their own units to the unit box, on the CPU."""
        return ((x.detach().float() - self.low) / self.width).clamp(0, 1).contiguous().cpu()

    def leave(self, z: Tensor) -> Tensor:
        """Back from the unit box."""
        # By way of a flat tensor, so that the gradient is contiguous whatever the network's memory format.
        return (z.to(self.device, torch.float32).flatten(1) * self.width + self.low).reshape(-1, *self.shape)

    def forward(self, z: Tensor) -> Tensor:
        """Logits [N, K]."""
        logits: Tensor = self.lent[0](self.leave(z))
        return logits.float().cpu()
