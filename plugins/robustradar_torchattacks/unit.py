"""The unit box that torchattacks believes every input to lie in."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class UnitBox(nn.Module):
    """A network as torchattacks expects it: inputs [N, C, H, W] in [0, 1], contiguous gradients, float32 logits.

    Args:
        model: The network, in evaluation mode.
        x: The batch, for its shape and device.
        box: The data's box.
        margin: How much wider than the box, as a share of it, the interval is that is mapped to [0, 1]; the network still sees
            the box alone.
        channels: Number of channels that the attack is built for. Grey images are shown to it as that many equal channels, whose mean
            they are; a sign attack then does the same as on grey ones.
    """

    def __init__(self, model: nn.Module, x: Tensor, box: tuple[float, float], margin: float, channels: int | None) -> None:
        super().__init__()
        # torchattacks takes its device from the first parameter, which need not exist or be where the inputs are.
        self.anchor = nn.Parameter(torch.empty(0, device=x.device), requires_grad=False)
        self.model = model
        span = box[1] - box[0]
        self.low, self.width = box[0] - margin * span, (1 + 2 * margin) * span
        # Rounding must not put a pixel at the wall behind it, where it has no gradient.
        self.walls = (box[0] - 1e-6 * span, box[1] + 1e-6 * span) if margin else None
        self.shape = x.shape[1:]
        self.grey = channels if channels is not None and x.shape[1] == 1 else 1
        self.training = False  # else torchattacks would set all of the model to training mode after an attack

    def enter(self, x: Tensor) -> Tensor:
        """Inputs in their own units to the unit box."""
        z = ((x.detach().float() - self.low) / self.width).clamp(0, 1).contiguous()
        return z.reshape(len(z), 1, 1, -1) if z.ndim != 4 else z.repeat(1, self.grey, 1, 1)

    def leave(self, z: Tensor) -> Tensor:
        """Back from the unit box."""
        if self.grey > 1:
            z = z.mean(1, keepdim=True)
        # By way of a flat tensor, so that the gradient is contiguous whatever the network's memory format.
        x = (z.flatten(1) * self.width + self.low).reshape(-1, *self.shape)
        return x if self.walls is None else x.clamp(*self.walls)

    def forward(self, z: Tensor) -> Tensor:
        """Logits [N, K]."""
        logits: Tensor = self.model(self.leave(z))
        return logits.float()
