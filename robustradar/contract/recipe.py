"""The extension point for training recipes: numbers only, the engine is the host's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from robustradar.contract.declaration import Declaration


@dataclass(frozen=True)
class Recipe(Declaration):
    """How a network is trained. A plugin declares recipes by their numbers, for example ``Recipe(name="long", epochs=100)``.

    The learning rate follows one cycle: it rises linearly over the first `warmup` of the steps and falls as a cosine to zero.
    The epoch with the smallest evaluation loss of the objective is kept.
    """

    optimizer: Annotated[Literal["sgd", "adamw"], Field(description="sgd has Nesterov momentum")] = "sgd"
    lr: Annotated[float, Field(gt=0, description="highest learning rate of the cycle")] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1, description="of sgd; the first beta of adamw")] = 0.9
    weight_decay: Annotated[float, Field(ge=0, description="decoupled for adamw")] = 5e-4
    epochs: Annotated[int, Field(ge=1, description="passes over the training split")] = 10
    batch: Annotated[int, Field(ge=1, description="samples a step")] = 128
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the steps in which the learning rate rises")] = 0.2
