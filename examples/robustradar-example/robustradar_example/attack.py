"""An attack without gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from robustradar import Attack, Victim, fixed

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Corners(Attack):
    """The worst of a few random corners of the linf ball."""

    name: str = fixed("corners")
    norms: tuple[float, ...] | None = fixed((math.inf,))
    min_classes: int = fixed(0)
    tries: Annotated[int, Field(ge=1, description="corners, one forward pass each")] = 8

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """The corner of the largest loss of each sample, or the sample itself where none is worse [N, *shape]."""
        import torch

        with torch.no_grad():
            best, top = x, victim.loss(victim.model(x), y)
            for _ in range(self.tries):
                sign = 2 * torch.randint(0, 2, x.shape, generator=victim.generator, device=x.device) - 1
                corner = x + victim.eps * sign
                corner = corner.clamp(*victim.bounds) if victim.bounds else corner
                loss = victim.loss(victim.model(corner), y)
                best = torch.where((loss > top).view(-1, *[1] * (x.ndim - 1)), corner, best)
                top = torch.maximum(loss, top)
        return best
