"""A metric that asks for one trained network and its gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from robustradar import CLEAN, Bench, Column, FitNeed, Measured, Metric, Needs, Outcome, Skipped, Task, Threat, fixed

if TYPE_CHECKING:
    from torch import Tensor, nn

_COLUMN = "boundary_distance"


@dataclass(frozen=True)
class Distance(Metric):
    """Mean distance to the nearest decision boundary, by the linearised logits of the cleanly trained network; 0 where it errs.

    For a right answer y it is the smallest of (z_y - z_k) / ‖∇(z_y - z_k)‖_q over the other classes k, where 1/p + 1/q = 1 for the
    threat's norm p: exact for linear networks, and an estimate for others.
    """

    name: str = fixed("distance")
    columns: tuple[Column, ...] = fixed((Column(_COLUMN, "higher", "strength"),))
    most: Annotated[int, Field(ge=1, description="samples measured: the first of the evaluation split")] = 1000

    def needs(self, task: Task, threat: Threat) -> Needs:
        """The cleanly trained network."""
        return Needs(fits={"model": FitNeed(CLEAN)})

    def measure(self, bench: Bench) -> Mapping[str, Outcome]:
        """The mean over samples."""
        if bench.task.classes is None:
            return {_COLUMN: Skipped("regression has no decision boundary")}
        import torch

        model, found = bench.fits["model"].model, []
        for x, y in bench.splits["evaluation"]:
            found.append(_distances(model, x, y, bench.threat.p))
        values = torch.cat(found)[: self.most].double().cpu().numpy()
        return {_COLUMN: Measured(float(values.mean()), samples=values)}


def _distances(model: nn.Module, x: Tensor, y: Tensor, p: float) -> Tensor:
    """Distances of one batch [N]."""
    import torch
    from robustradar.numerics import balls

    x = x.clone().requires_grad_()
    z = model(x)
    right = z.gather(1, y[:, None]).squeeze(1)
    nearest = torch.full_like(right, torch.inf)
    for k in range(z.shape[1]):
        lead = right - z[:, k]
        (slope,) = torch.autograd.grad(lead.sum(), x, retain_graph=True)
        distance = lead.detach() / balls.norm(slope, balls.dual(p)).clamp_min(1e-12)
        nearest = torch.where(y == k, nearest, torch.minimum(nearest, distance))
    return nearest.clamp_min(0).detach()
