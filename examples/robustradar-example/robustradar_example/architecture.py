"""A network of maxout units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from robustradar import Architecture, fixed

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Maxout(Architecture):
    """One hidden layer whose units are each the largest of several linear maps (Goodfellow et al. 2013)."""

    name: str = fixed("maxout")
    width: Annotated[int, Field(ge=1, description="hidden units")] = 32
    maps: Annotated[int, Field(ge=2, description="linear maps of each unit")] = 2

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """A freshly initialised network."""
        from torch import nn

        # The largest of `maps` neighbouring features is a pooling over them.
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(shape), self.width * self.maps),
            nn.Unflatten(1, (1, self.width * self.maps)),
            nn.MaxPool1d(self.maps),
            nn.Flatten(),
            nn.Linear(self.width, outputs),
        )
