"""The extension point for training recipes: numbers only, the engine is the host's."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from robustradar.contract.declaration import Declaration
from robustradar.values import number_text


@dataclass(frozen=True)
class Recipe(Declaration):
    """How a network is trained.

    A plugin declares recipes by their numbers, for example ``Recipe(name="long", epochs=100)``.

    While an inner attack runs, BatchNorm uses the statistics that `inner_statistics` names; attacks that measure always meet the network in
    evaluation mode and float32. Whatever the precision, losses, projections and statistics are computed in float32.

    ``lbfgs`` takes no notice of schedules, momentum and select=loss, and refuses other rules of selection: it keeps the network in
    evaluation mode, ends where the gradient's norm is `tolerance`, and its last weights are kept, in float64, in which attacks then meet
    the network too.
    """

    optimizer: Annotated[
        Literal["sgd", "adamw", "lbfgs"],
        Field(description="sgd has Nesterov momentum; lbfgs minimises over the full batch in float64: for convex and small models"),
    ] = "sgd"
    lr: Annotated[float, Field(gt=0, description="highest learning rate")] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1, description="of sgd; the first beta of adamw")] = 0.9
    weight_decay: Annotated[float, Field(ge=0, description="λ: of λ/2·‖θ‖²; decoupled for adamw")] = 5e-4
    epochs: Annotated[int, Field(ge=1, description="passes over the training split; at most so many times 20 steps of lbfgs")] = 10
    stop: Annotated[int, Field(ge=0, description="end after so many epochs of the schedule; 0: after all of them")] = 0
    batch: Annotated[int, Field(ge=1, description="samples a step")] = 128
    schedule: Annotated[
        Literal["one-cycle", "rise-and-fall", "cosine", "step", "constant"],
        Field(description="one-cycle: linear rise, cosine fall; rise-and-fall: both linear; step: a tenth at each milestone"),
    ] = "one-cycle"
    warmup: Annotated[float, Field(ge=0, lt=1, description="share of the steps in which one-cycle and rise-and-fall rise")] = 0.2
    milestones: Annotated[tuple[float, ...], Field(description="rising shares of the steps; step takes a tenth at each")] = (0.5, 0.75)
    label_smoothing: Annotated[float, Field(ge=0, lt=1, description="of a mixture's cross-entropies and TRADES' clean one")] = 0.0
    clip: Annotated[float, Field(ge=0, description="largest norm of the gradient; 0: any")] = 0.0
    average: Annotated[
        float, Field(ge=0, lt=1, description="decay of the weights' moving average, which is then kept; lower in the first steps; 0: none")
    ] = 0.0
    select: Annotated[
        Literal["loss", "accuracy", "last"],
        Field(description="the epoch kept: smallest evaluation loss of the objective, highest (adversarial) accuracy, or the last"),
    ] = "loss"
    evaluate: Annotated[
        Literal["each", "last"], Field(description="epochs after which the evaluation split is looked at; last asks for select=last")
    ] = "each"
    patience: Annotated[int, Field(ge=0, description="stop after so many epochs without a better one; 0: never")] = 0
    augment: Annotated[Literal["none", "crop-flip"], Field(description="crop-flip: shifts by an eighth of the side, and mirrors")] = "none"
    precision: Annotated[Literal["float32", "bf16"], Field(description="of the passes while training")] = "float32"
    channels_last: Annotated[bool, Field(description="memory format of images and convolutions")] = False
    compile: Annotated[Literal["no", "default"], Field(description="torch.compile's mode")] = "no"
    inner_statistics: Annotated[
        Literal["evaluation", "batch"], Field(description="BatchNorm's statistics while the inner attack of training runs")
    ] = "evaluation"
    tolerance: Annotated[float, Field(gt=0, description="norm of the gradient at which lbfgs ends")] = 1e-8

    def __post_init__(self) -> None:
        """Raises ValueError for numbers that contradict each other, and for what lbfgs would take no notice of or must not meet."""
        if self.stop > self.epochs:
            raise ValueError(f"stop: got {self.stop}, expected at most epochs={self.epochs}")
        if any(one >= other for one, other in pairwise((0.0, *self.milestones, 1.0))):
            got = "+".join(map(number_text, self.milestones))
            raise ValueError(f"milestones: got {got}, expected shares between 0 and 1, each greater than the one before")
        if self.evaluate == "last" and (self.select != "last" or self.patience):
            got = f"select={self.select}, patience={self.patience}"
            raise ValueError(f"evaluate=last: got {got}, expected select=last, patience=0, as only epochs looked at can be chosen")
        asked = {"augment": "none", "precision": "float32", "average": 0.0, "clip": 0.0} if self.optimizer == "lbfgs" else {}
        for name, wanted in asked.items():
            if (got := getattr(self, name)) != wanted:
                raise ValueError(f"optimizer=lbfgs: got {name}={got}, expected {name}={wanted}, as it minimises over the data as they are")
        if self.optimizer == "lbfgs" and (self.select == "accuracy" or self.patience):
            got, wanted = (f"patience={self.patience}", "patience=0") if self.patience else ("select=accuracy", "select=last")
            raise ValueError(f"optimizer=lbfgs: got {got}, expected {wanted}, as it ends by itself and its last weights are kept")

    @property
    def length(self) -> int:
        """Epochs that are run, unless something ends training before."""
        return self.stop or self.epochs
