"""The unit box of images that torchattacks believes every input to lie in."""

from __future__ import annotations

from torch import Tensor, nn

from robustradar.adapter.unit import UnitBox


class ImageBox(UnitBox):
    """A network as torchattacks expects it: inputs [N, C, H, W] in [0, 1], and a model of its own that it may copy and train.

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
        super().__init__(model, x, box)
        self.model = model  # whose parameters LGV trains in its copies
        span = self.width
        self.low, self.width = box[0] - margin * span, (1 + 2 * margin) * span
        # Rounding must not put a pixel at the wall behind it, where it has no gradient.
        self.walls = (box[0] - 1e-6 * span, box[1] + 1e-6 * span) if margin else None
        self.grey = channels if channels is not None and x.shape[1] == 1 else 1

    def enter(self, x: Tensor) -> Tensor:
        """Inputs in their own units to the unit box."""
        z = super().enter(x)
        return z.reshape(len(z), 1, 1, -1) if z.ndim != 4 else z.repeat(1, self.grey, 1, 1)

    def leave(self, z: Tensor) -> Tensor:
        """Back from the unit box."""
        x = super().leave(z.mean(1, keepdim=True) if self.grey > 1 else z)
        return x if self.walls is None else x.clamp(*self.walls)
