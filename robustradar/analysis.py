"""The expensive part that metrics share: what the Hessian of a cleanly trained network says of its adversarial training.

Metrics that ask for the same get the same object, made once, whatever plugins they are of. No torch until an analysis is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from robustradar.contract.metric import Bench, Fit

if TYPE_CHECKING:
    from torch import Tensor

    from robustradar.numerics.influence import Influence, Settings

# Chosen here: a gradient of more than a tenth of what the attack adds to it makes theta no minimum as far as the attack can tell.
_CONVERGED = 0.1
_BATCH = 256


@dataclass(frozen=True)
class ByCurvature:
    """The parameters that decide an analysis, for metrics to inherit beside `Metric`: with equal ones, they share it."""

    damping: Annotated[
        float | Literal["auto"],
        Field(description="μ of H_t + μI; auto: the mean eigenvalue of H_t, or twice its most negative one where that is more"),
    ] = "auto"
    residual: Annotated[float, Field(gt=0, lt=1, description="relative residual of the solution; a larger one is withheld")] = 1e-4
    products: Annotated[int, Field(ge=2, description="most products with each Hessian")] = 200
    limit: Annotated[int, Field(ge=0, description="samples of each split to use; 0: all")] = 0
    box: Annotated[bool, Field(description="whether the data's range confines the attack")] = True
    memory: Annotated[
        float, Field(ge=0, description="GiB that gradients' graphs may hold; those that do not fit are built anew each time")
    ] = 2.0
    vectors: Annotated[
        int | None, Field(ge=2, description="most vectors of a Krylov space to store, each as large as the weights; none: all")
    ] = None

    def __post_init__(self) -> None:
        """Raises ValueError for a negative damping."""
        if self.damping != "auto" and self.damping < 0:
            raise ValueError(f"damping: got {self.damping:g}, expected auto or a number of at least 0")


@dataclass(frozen=True)
class Asked:
    """All that decides an analysis beside the fit.

    Attributes:
        settings: What the numerics are to do.
        limit: Samples a split; 0: all.
    """

    settings: Settings
    limit: int


def asked(by: ByCurvature, bench: Bench, density: int = 0) -> Asked:
    """The analysis that parameters come to, with so many random starts for the spectral density."""
    from robustradar.numerics.influence import Settings

    settings = Settings(
        p=bench.threat.p,
        bounds=bench.task.bounds if by.box else None,
        damping=None if by.damping == "auto" else by.damping,
        residual=by.residual,
        products=by.products,
        memory=int(by.memory * 2**30),
        vectors=by.vectors,
        density=density,
        seed=bench.seed,
    )
    return Asked(settings, by.limit)


def analysed(bench: Bench, fit: Fit, asked: Asked) -> Influence:
    """The analysis of a fit, made once for all metrics that ask for the same.

    Raises:
        UnavailableError: A derivative cannot be had, or no sample has a gradient.
    """

    def compute() -> Influence:
        from robustradar.numerics.influence import influence
        from robustradar.numerics.problem import Problem

        train = Problem(fit.model, bench.loss, batches(bench, "train", asked.limit), ridge(fit))
        return influence(train, Problem(fit.model, bench.loss, batches(bench, "evaluation", asked.limit)), asked.settings)

    return fit.analysis(asked, compute)


def obstacle(found: Influence, residual: float) -> str | None:
    """Why IFA is not to be trusted; None where it is."""
    if found.residual is None:
        return (
            f"H_t + μI is indefinite at damping={found.damping:.3g}: {found.negative} Ritz values lie below −μ. "
            f"A damping above {found.least_damping:.3g} would do"
        )
    if found.residual > residual:
        return f"the solution's residual is {found.residual:.3g}, expected at most {residual:g}. Raise products, or the damping"
    return None


def caveats(found: Influence, fit: Fit, eps: float) -> tuple[str, ...]:
    """Flags: what is to be known of an analysis that is used at a strength."""
    phi = float(found.attack.Phi.double().norm())
    ill = {
        f"zero-gradients:{found.attack.zero_gradient_samples}/{found.attack.samples}": found.attack.zero_gradient_samples > 0,
        f"not-converged:{found.gradient_norm:.2g}": found.gradient_norm > _CONVERGED * eps * phi,
        f"damping-raised:{found.damping:.2g}": found.raised,
        f"curvature:{found.curvature}": found.curvature != "exact",
    }
    return (*(name for name, there in ill.items() if there), *differences(fit))


def batches(bench: Bench, split: str, limit: int) -> Iterable[tuple[Tensor, Tensor]]:
    """A split, or so many samples spread evenly over it; a limit of 0 is none."""
    whole = bench.splits[split]
    if not 0 < limit < len(whole):
        return whole
    x, y = whole.spread(limit)
    return list(zip(x.split(_BATCH), y.split(_BATCH), strict=True))


def ridge(fit: Fit) -> float:
    """λ of the λ/2·‖θ‖² that training minimised; 0 where its decay was none (AdamW's is decoupled from the gradient) or is not known."""
    recipe = _recipe(fit)
    return float(recipe.get("weight_decay", 0.0)) if recipe.get("optimizer") in ("sgd", "lbfgs") else 0.0


def differences(fit: Fit) -> tuple[str, ...]:
    """Flags for what training did beyond minimising the loss that is analysed."""
    recipe = _recipe(fit)
    found = {
        "decoupled-decay": recipe.get("optimizer") == "adamw" and recipe.get("weight_decay", 0) > 0,
        "smoothed-labels": recipe.get("label_smoothing", 0) > 0,
        "augmented": recipe.get("augment", "none") != "none",
    }
    return tuple(name for name, there in found.items() if there)


def _recipe(fit: Fit) -> dict[str, Any]:
    """The recipe's numbers; none for given weights."""
    return {} if fit.record.spec["weights"] else dict(fit.record.spec["recipe"]["parameters"])
