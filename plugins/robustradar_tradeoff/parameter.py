"""Parameters that the metrics by curvature have in common."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from pydantic import Field

Damping = Annotated[
    float | Literal["auto"],
    Field(description="μ of H_t + μI; auto: the mean eigenvalue of H_t, or twice its most negative one where that is more"),
]
Residual = Annotated[float, Field(gt=0, lt=1, description="relative residual of the solution; a larger one is withheld")]
Products = Annotated[int, Field(ge=2, description="most products with each Hessian")]
Limit = Annotated[int, Field(ge=0, description="samples of each split to use; 0: all")]
Box = Annotated[bool, Field(description="whether the data's range confines the attack")]
Memory = Annotated[float, Field(ge=0, description="GiB that gradients' graphs may hold; those that do not fit are built anew each time")]

Vectors = Annotated[int | None, Field(ge=2, description="most vectors of a Krylov space to store, each as large as the weights; none: all")]


class ByCurvature(Protocol):
    """A metric with these parameters."""

    @property
    def damping(self) -> float | Literal["auto"]:
        """μ."""

    @property
    def residual(self) -> float:
        """Largest relative residual."""

    @property
    def products(self) -> int:
        """Most products with each Hessian."""

    @property
    def limit(self) -> int:
        """Samples of each split; 0: all."""

    @property
    def box(self) -> bool:
        """Whether the data's range confines the attack."""

    @property
    def memory(self) -> float:
        """GiB for gradients' graphs."""

    @property
    def vectors(self) -> int | None:
        """Vectors of a Krylov space."""


def check_damping(damping: float | Literal["auto"]) -> None:
    """Refuses a negative damping.

    Raises:
        ValueError: It is negative.
    """
    if damping != "auto" and damping < 0:
        raise ValueError(f"damping: got {damping:g}, expected auto or a number of at least 0")
