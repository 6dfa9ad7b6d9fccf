"""Gradient attacks with fixed steps: FGSM, FGM, PGD and momentum PGD, as pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustradar import Victim
from robustradar.numerics.balls import steepest
from robustradar_native.region import Region


@dataclass(frozen=True)
class Climb:
    """How PGD walks.

    Attributes:
        steps: Gradient steps of one start, >= 1.
        length: A step's p-norm, in the data's units.
        restarts: Starts, >= 1; the best point of all is kept, sample by sample.
        random_start: Whether to start at a random point of the ball; else at the clean input.
        decay: The share of the last direction that goes into the next one (Dong et al. 2018: mu); 0: none.
        best: Whether every sample's best point is kept; else it is the last one of the only start, a pass cheaper.
    """

    steps: int
    length: float
    restarts: int = 1
    random_start: bool = True
    decay: float = 0.0
    best: bool = True


def losses(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    """The losses [N] at x, without a graph."""
    with torch.no_grad():
        return victim.loss(victim.model(x), y)


def slopes(victim: Victim, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The losses [N] at x and their gradients [N, *shape]. Samples of a batch must not depend on each other."""
    point = x.detach().requires_grad_()
    loss = victim.loss(victim.model(point), y)
    (gradient,) = torch.autograd.grad(loss.sum(), point)
    return loss.detach(), gradient


def fgm(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    """One step from x to the point of ball and box where the linearised loss is largest.

    Exact for models that are affine in x, where the loss rises with the score. For p = inf it is FGSM (Goodfellow et al. 2015).
    """
    _, gradient = slopes(victim, x, y)
    box = (x, victim.bounds) if victim.bounds else (None, None)
    return x + steepest(gradient, victim.p, victim.eps, *box)


def n_fgsm(victim: Victim, x: Tensor, y: Tensor, noise: float, step: float) -> Tensor:
    """One signed step from noise around x, both beyond the ball's reach (de Jorge et al. 2022); inside the box.

    Args:
        victim: Model, loss and threat.
        x: Clean inputs [N, *shape].
        y: Targets [N] or [N, targets].
        noise: Half the width of the uniform noise, over eps.
        step: The step's length, over eps.
    """
    low, high = victim.bounds or (-torch.inf, torch.inf)
    eta = torch.rand(x.shape, generator=victim.generator, device=x.device, dtype=x.dtype).mul_(2).sub_(1).mul_(noise * victim.eps)
    start = (x + eta).clamp_(low, high)
    _, gradient = slopes(victim, start, y)
    return start.add_(gradient.sign(), alpha=step * victim.eps).clamp_(low, high)


def pgd(victim: Victim, x: Tensor, y: Tensor, climb: Climb) -> tuple[Tensor, Tensor]:
    """Projected gradient ascent on the loss (Madry et al. 2018), for every p.

    point <- confine(point + length * ascent(direction, p)), with direction = gradient, or with decay mu (Dong et al. 2018)
    direction <- mu * direction + gradient / norm(gradient, 1).

    Args:
        victim: Model, loss and threat.
        x: Clean inputs [N, *shape], inside the box.
        y: Targets [N] or [N, targets].
        climb: Steps, their length, starts.

    Returns:
        The point of largest loss of every sample [N, *shape] among every start and every iterate, the last one included, and its loss
        [N]. It never falls where restarts are added. Without random starts the clean input is the start; with them it is not looked at,
        which saves a pass: the host compares with it anyway. Where the last point is asked for, the loss is that before the last step.
    """
    region = Region.around(victim, x)
    best, top = x, torch.full_like(x.flatten(1)[:, 0], -torch.inf)
    for _ in range(climb.restarts):
        point = region.drawn(victim.generator) if climb.random_start else x
        direction = torch.zeros_like(x)
        for _ in range(climb.steps):
            loss, gradient = slopes(victim, point, y)
            if climb.best:
                best, top = better(best, top, point, loss)
            if climb.decay:
                size = gradient.abs().flatten(1).sum(1).clamp_min_(torch.finfo(gradient.dtype).tiny)
                gradient = direction = climb.decay * direction + gradient / column(size, x)
            point = region.stepped(point, gradient, climb.length)
        best, top = better(best, top, point, losses(victim, point, y)) if climb.best else (point, loss)
    return best, top


def better(best: Tensor, top: Tensor, point: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
    """The points of larger loss, sample by sample, and their losses; a loss that is not a number never wins."""
    won = loss > top
    return torch.where(column(won, best), point, best), torch.where(won, loss, top)


def column(values: Tensor, like: Tensor) -> Tensor:
    """Values [N] as [N, 1, ...], to go with `like` [N, *shape]."""
    return values.reshape(-1, *[1] * (like.ndim - 1))
