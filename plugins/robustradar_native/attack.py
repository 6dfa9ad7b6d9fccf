"""What attacks the plugin declares. The algorithms stand in modules of their own and are imported when an attack runs."""

from __future__ import annotations

import math
from abc import ABC
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from robustradar import Attack, Victim, fixed

if TYPE_CHECKING:
    from torch import Tensor

Steps = Annotated[int, Field(ge=1, description="gradient steps of one start")]
Restarts = Annotated[int, Field(ge=1, description="starts; the best point of all is kept, sample by sample")]
RelativeStep = Annotated[float | None, Field(gt=0, description="a step's length over eps; none: 2.5 / steps (Madry et al. 2018)")]
Keep = Annotated[Literal["best", "last"], Field(description="the point kept of each sample; last saves a pass, as is usual in training")]
RandomStart = Annotated[bool, Field(description="start at a random point of the ball, not at the clean input")]

_L2_LINF = (2.0, math.inf)


@dataclass(frozen=True)
class FGM(Attack):
    """One step to where the linearised loss is largest in ball and box: FGSM for linf, its counterpart for every other p.

    It returns that point even if the loss is lower there than on the clean input (the host keeps the larger one).
    """

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """One exact step."""
        from robustradar_native.gradient import fgm

        return fgm(victim, x, y)


@dataclass(frozen=True)
class FGSM(FGM):
    """One step of eps along the gradient's sign, inside the box (Goodfellow et al. 2015)."""


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient ascent that keeps every sample's best point (Madry et al. 2018).

    Attributes:
        steps: Gradient steps of one start.
        relative_step: A step's length over eps.
        restarts: Starts.
        random_start: Whether starts are drawn from the ball; else the clean input is the only one.
        keep: Whether every sample's best point is kept, or the last one, which is usual in training and saves a pass.
    """

    steps: Steps = 10
    relative_step: RelativeStep = None
    restarts: Restarts = 1
    random_start: RandomStart = True
    keep: Keep = "best"

    def __post_init__(self) -> None:
        """Refuses restarts that would be thrown away.

        Raises:
            ValueError: There are several, and only the last point is kept.
        """
        if self.keep == "last" and self.restarts > 1:
            raise ValueError("keep=last has use for a single start; set restarts=1 or keep=best")

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """The best of every iterate of every start."""
        return self._best(victim, x, y, decay=0.0)

    def _best(self, victim: Victim, x: Tensor, y: Tensor, decay: float) -> Tensor:
        """The best points, by gradients with or without memory."""
        from robustradar_native.gradient import Climb, pgd

        length = victim.eps * (self.relative_step or 2.5 / self.steps)
        return pgd(victim, x, y, Climb(self.steps, length, self.restarts, self.random_start, decay, self.keep == "best"))[0]


@dataclass(frozen=True)
class Momentum(PGD):
    """PGD along a running mean of normalised gradients (MI-FGSM, Dong et al. 2018) that keeps every sample's best point.

    Attributes:
        decay: The share of the last direction that goes into the next one.
    """

    decay: Annotated[float, Field(gt=0, description="share of the last direction in the next one (Dong et al. 2018: mu)")] = 1.0

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """The best of every iterate of every start."""
        return self._best(victim, x, y, self.decay)


@dataclass(frozen=True)
class APGD(Attack, ABC):
    """Auto-PGD (Croce and Hein 2020): the step is halved sample by sample where the search stalls.

    Attributes:
        steps: Gradient steps of one start.
        restarts: Starts.
    """

    steps: Steps = 100
    restarts: Restarts = 1


@dataclass(frozen=True)
class APGDCE(APGD):
    """Auto-PGD on the victim's loss (Croce and Hein 2020), for every sample to the last step: an estimate of the largest loss."""

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """The points of largest loss among the clean inputs and every iterate."""
        from robustradar_native.apgd import largest_loss

        return largest_loss(victim, x, y, self.steps, self.restarts)[0]


@dataclass(frozen=True)
class APGDDLR(APGD):
    """Auto-PGD on the difference of logits ratio, which scale and shift of the outputs do not change (Croce and Hein 2020)."""

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """Points with a wrong answer where one was found, else x."""
        from robustradar_native.apgd import dlr, untargeted
        from robustradar_native.cascade import cascade

        return cascade(victim, x, y, untargeted(victim, dlr, self.steps, self.restarts))


@dataclass(frozen=True)
class APGDT(APGD):
    """Auto-PGD towards each of the nine likeliest wrong classes, or as many as there are (Croce and Hein 2020)."""

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """Points with a wrong answer where one was found, else x."""
        from robustradar_native.apgd import towards_all

        return towards_all(victim, x, y, self.steps, self.restarts)


@dataclass(frozen=True)
class Square(Attack):
    """Random search with square windows, from outputs alone (Andriushchenko et al. 2020): no gradient can be masked from it.

    Attributes:
        queries: Forward passes a sample may cost.
    """

    queries: Annotated[int, Field(ge=1, description="forward passes a sample may cost")] = 5000

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """Points with a wrong answer where one was found, else x."""
        from robustradar_native.square import square

        return square(victim, x, y, self.queries)


@dataclass(frozen=True)
class LinearExact(Attack):
    """The exact worst case of models that are affine in x, for one target or two classes, for every p and with the box."""

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """The points of largest loss.

        Raises:
            ValueError: The model is not affine in x, or has more outputs.
        """
        from robustradar_native.linear import worst

        return worst(victim, x, y)[0]


@dataclass(frozen=True)
class AutoAttack(Attack):
    """APGD-CE, targeted APGD, targeted FAB (by torchattacks) and Square in turn, standard budget (Croce and Hein 2020).

    With fewer than four classes the targeted members give way: with three, to APGD-DLR and untargeted FAB; with two, to untargeted FAB.

    Attributes:
        steps: Of APGD and FAB, a start and a target.
        queries: Of Square.
    """

    steps: Annotated[int, Field(ge=1, description="steps of APGD and FAB, a target; the standard is 100")] = 100
    queries: Annotated[int, Field(ge=1, description="forward passes of Square; the standard is 5000")] = 5000

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """Points with a wrong answer where one was found, else x."""
        from robustradar_native.autoattack import autoattack

        return autoattack(victim, x, y, self.steps, self.queries)


@dataclass(frozen=True)
class APGDPair(Attack):
    """APGD-CE, then targeted APGD on what it left: AutoAttack's first two members, at a quarter of its cost.

    With three classes APGD-DLR stands in for targeted APGD; with two, APGD-CE is alone.

    Attributes:
        steps: A start and a target.
    """

    steps: Annotated[int, Field(ge=1, description="steps of a target; AutoAttack's standard is 100")] = 100

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """Points with a wrong answer where one was found, else x."""
        from robustradar_native.autoattack import gradient_members
        from robustradar_native.cascade import cascade

        return cascade(victim, x, y, gradient_members(victim, x, self.steps))


@dataclass(frozen=True)
class NFGSM(Attack):
    """One signed step from noise beyond the ball, not clipped to it: for training, where it does not collapse as FGSM does.

    de Jorge et al. 2022: delta = eta + step * eps * sign(gradient at x + eta), eta uniform in +-noise * eps.
    """

    reach: float = fixed(3.0)
    noise: Annotated[float, Field(gt=0, le=2, description="width of the noise over eps")] = 2.0
    step: Annotated[float, Field(gt=0, le=1, description="the step over eps")] = 1.0

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """One noisy step."""
        from robustradar_native.gradient import n_fgsm

        return n_fgsm(victim, x, y, self.noise, self.step)


def attacks() -> tuple[Attack, ...]:
    """All attacks of the plugin."""
    return (
        FGSM(name="fgsm", norms=(math.inf,), min_classes=0),
        FGM(name="fgm", min_classes=0),
        NFGSM(name="n-fgsm", norms=(math.inf,), min_classes=0),
        PGD(name="pgd", min_classes=0),
        Momentum(name="momentum", norms=_L2_LINF, min_classes=0),
        APGDCE(name="apgd-ce", norms=_L2_LINF, min_classes=0),
        APGDDLR(name="apgd-dlr", kind="first_success", norms=_L2_LINF, min_classes=3),
        APGDT(name="apgd-t", kind="first_success", norms=_L2_LINF, min_classes=4),
        APGDPair(name="apgd-ce-t", kind="first_success", norms=_L2_LINF),
        Square(name="square", kind="first_success", norms=_L2_LINF, images=True),
        LinearExact(name="linear-exact", min_classes=0),
        AutoAttack(name="autoattack", kind="first_success", norms=_L2_LINF, images=True),
    )
