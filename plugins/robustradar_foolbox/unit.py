"""The unit box that Foolbox's step sizes are meant for."""

from __future__ import annotations

from torch import Tensor, nn


class UnitBox(nn.Module):
    """A network as Foolbox expects it: inputs in [0, 1], contiguous gradients, float32 logits.

    Args:
        model: The network, in evaluation mode.
        x: The batch, for its shape.
        box: The data's box.
    """

    def __init__(self, model: nn.Module, x: Tensor, box: tuple[float, float]) -> None:
        super().__init__()
        self.lent = (model,)  # in a tuple, so that Foolbox neither moves it to a device nor changes its mode
        self.low, self.width = box[0], box[1] - box[0]
        self.shape = x.shape[1:]
        self.training = False

    def enter(self, x: Tensor) -> Tensor:
        """Inputs in their own units to the unit box."""
        return ((x.detach().float() - self.low) / self.width).clamp(0, 1).contiguous()

    def leave(self, z: Tensor) -> Tensor:
        """Back from the unit box."""
        # By way of a flat tensor, so that the gradient is contiguous whatever the network's memory format.
        return (z.flatten(1) * self.width + self.low).reshape(-1, *self.shape)

    def forward(self, z: Tensor) -> Tensor:
        """Logits [N, K]."""
        logits: Tensor = self.lent[0](self.leave(z))
        return logits.float()
