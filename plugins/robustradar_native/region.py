"""Where an attack may go: the ball around every sample, cut by the box."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustradar import Victim
from robustradar.numerics.balls import ascent, confine, random_in_ball, steepest


@dataclass(frozen=True)
class Region:
    """The feasible points around x [N, *shape]: norm(point - x, p) <= eps, and inside the box.

    Attributes:
        x: Clean inputs [N, *shape], inside the box.
        p: The norm's order.
        eps: The ball's radius.
        bounds: The box, or None.
        walls: For p = inf, the lowest and the highest feasible point: one clamp then replaces ball and box.
    """

    x: Tensor
    p: float
    eps: float
    bounds: tuple[float, float] | None
    walls: tuple[Tensor, Tensor] | None

    @classmethod
    def around(cls, victim: Victim, x: Tensor) -> Region:
        """The region that a victim's threat leaves around x."""
        walls = None
        if math.isinf(victim.p):
            low, high = victim.bounds or (-math.inf, math.inf)
            walls = (x - victim.eps).clamp_(min=low), (x + victim.eps).clamp_(max=high)
        return cls(x, victim.p, victim.eps, victim.bounds, walls)

    def confined(self, point: Tensor) -> Tensor:
        """A feasible point near to the given one; the point's memory may be reused for it."""
        if self.walls is not None:
            return point.clamp_(*self.walls)
        return confine(self.x, point.sub_(self.x), self.p, self.eps, self.bounds).add_(self.x)

    def stepped(self, point: Tensor, slope: Tensor, length: float | Tensor) -> Tensor:
        """The point [N, *shape] after a step of p-norm `length` (one for all, or [N, 1, ...]) up the slope, and back into the region.

        The direction is that of steepest ascent in the p-norm, without coordinates that the box blocks. For p = 1 the step spills over
        to the next coordinate where the best one meets the box; else it would end there.
        """
        if self.walls is not None:
            rise = slope.sign()
            moved = point.add(rise, alpha=length) if isinstance(length, float) else point.addcmul(rise, length)
        elif self.p == 1 and isinstance(length, float):
            box = (point, self.bounds) if self.bounds else (None, None)
            moved = point + steepest(slope, 1, length, *box)
        else:
            box = (point, self.bounds) if self.bounds else (None, None)
            moved = ascent(slope, self.p, *box).mul_(length).add_(point)
        return self.confined(moved)

    def drawn(self, generator: torch.Generator) -> Tensor:
        """Points drawn uniformly from the balls, then clipped to the box."""
        return self.confined(self.x + random_in_ball(self.x, self.p, self.eps, generator))

    def rows(self, keep: Tensor) -> Region:
        """The regions of the chosen samples (a mask or indices)."""
        walls = (self.walls[0][keep], self.walls[1][keep]) if self.walls is not None else None
        return replace(self, x=self.x[keep], walls=walls)
