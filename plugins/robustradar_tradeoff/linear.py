"""The theory of [T, section 3.2] beside what was found: adversarially trained linear regression without noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from robustradar import CLEAN, Bench, Column, FitNeed, Measured, Metric, Needs, Objective, Outcome, Skipped, Task, Threat, fixed

Direction = Literal["higher", "lower", "none"]
Weight = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class LinearBounds(Metric):
    """The largest share of its bound that θ_ξ reaches, of residual [T, Theorem 3] and error [T, Corollary 1]: at most 1 in theory.

    For linear regression without intercept, noise and box. θ* is the clean fit, which must leave no residual. The details hold for every ξ
    the numbers with their bounds, how many entries of θ_ξ are not 0, its norms, and for ℓ∞ and ℓ2 how near it comes to a solution
    of the LASSO or of ridge regression, to which Theorem 2 likens it.
    """

    name: str = fixed("linear-bounds")
    columns: tuple[Column, ...] = fixed((Column("linear_residual_share", "none", "1"), Column("linear_error_share", "none", "1")))
    xi: Annotated[tuple[Weight, ...], Field(min_length=1, description="weights of the adversarial loss in (0, 1], joined by +")] = (
        0.001,
        0.25,
        0.5,
        0.75,
        0.999,
    )

    def needs(self, task: Task, threat: Threat) -> Needs:
        """The clean fit, and one for every ξ."""
        return _needs(task, self.xi)

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Exact."""
        from robustradar_tradeoff import theory

        points = theory.points(bench, self.xi)
        if isinstance(points, str):
            return {column.name: Skipped(points) for column in self.columns}
        details = {"points": [theory.shown(point, bench) for point in points]}
        residual = max(point.residual / point.residual_bound for point in points)
        errors = [point.error / point.error_bound for point in points if point.error_bound is not None]
        error = Measured(max(errors), details=details) if errors else Skipped(theory.NO_EIGENVALUE)
        return {"linear_residual_share": Measured(residual, details=details), "linear_error_share": error}


@dataclass(frozen=True)
class LinearPart(Metric):
    """One number of `linear-bounds` at one ξ, for tables to show."""

    xi: Annotated[float, Field(gt=0, le=1, description="weight of the adversarial loss")] = 0.999

    def needs(self, task: Task, threat: Threat) -> Needs:
        """The clean fit, and that of ξ."""
        return _needs(task, (self.xi,))

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """Exact."""
        from robustradar_tradeoff import theory

        (column,) = self.columns
        points = theory.points(bench, (self.xi,))
        if isinstance(points, str):
            return {column.name: Skipped(points)}
        value = getattr(points[0], column.name.removeprefix("linear_"))
        return {column.name: Skipped(theory.NO_EIGENVALUE) if value is None else Measured(value)}


def metrics() -> tuple[Metric, ...]:
    """The linear model's metrics."""
    parts: dict[str, Direction] = {"residual": "lower", "residual-bound": "none", "error": "lower", "error-bound": "none"}
    return (LinearBounds(), *(LinearPart(name=f"linear-{part}", columns=(_column(part, way),)) for part, way in parts.items()))


def _column(part: str, direction: Direction) -> Column:
    """A part's column."""
    return Column(f"linear_{part.replace('-', '_')}", direction, "1")


def _needs(task: Task, xi: tuple[float, ...]) -> Needs:
    """The clean fit and that of every ξ, where the theory applies to the data; else nothing is trained in vain."""
    if task.classes is not None or task.outputs > 1 or task.bounds is not None:
        return Needs()
    return Needs(fits={"clean": FitNeed(CLEAN), **{str(w): FitNeed(Objective(w)) for w in xi}})
