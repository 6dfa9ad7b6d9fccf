"""The kit's own small world: inputs and networks with known answers, and a plugin that lends them to metrics."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

import robustradar
from robustradar import Architecture, Attack, Data, Recipe, Split, Victim, fixed
from robustradar.host import Plugin
from robustradar.numerics import balls

# Radii at which the toy victim keeps all, some and next to none of its answers, for p = ∞; times d^(1/p) for other norms.
STRENGTHS = (0.05, 0.15, 0.3)
_CUTS = ((0, 48), (48, 73), (73, 85))


def radius(eps: float, p: float, shape: tuple[int, ...]) -> float:
    """The radius of the p-ball that is about as strong as one of `STRENGTHS` for p = ∞."""
    return eps if math.isinf(p) else float(eps * math.prod(shape) ** (1 / p))


def prototypes(shape: tuple[int, ...], classes: int) -> Tensor:
    """A pattern of 0.3 and 0.7 for each class [classes, features]."""
    chance = torch.Generator().manual_seed(1)
    return 0.3 + 0.4 * torch.randint(0, 2, (classes, math.prod(shape)), generator=chance)


def samples(shape: tuple[int, ...], classes: int, count: int) -> tuple[Tensor, Tensor]:
    """Inputs inside [0, 1] near their class's pattern [count, *shape], and their labels."""
    y = torch.arange(count) % classes
    noise = torch.randn(count, math.prod(shape), generator=torch.Generator().manual_seed(2))
    return (prototypes(shape, classes)[y] + 0.05 * noise).clamp(0, 1).view(count, *shape), y


def victim(shape: tuple[int, ...], classes: int) -> nn.Module:
    """A network that answers with the pattern that an input resembles most: linear, so that stronger attacks do more.

    Its BatchNorm passes inputs on as they are, and changes when it is run in training mode.
    """
    pattern = prototypes(shape, classes) - 0.5
    norm: nn.Module = nn.BatchNorm2d(shape[0]) if len(shape) == 3 else nn.BatchNorm1d(shape[0])
    with torch.random.fork_rng(devices=[]):
        last = nn.Linear(math.prod(shape), classes)
    with torch.no_grad():
        # The same margin whatever the number of features.
        last.weight.copy_(2 * 64 / math.prod(shape) * pattern)
        last.bias.copy_(-0.5 * last.weight.sum(1))
    return nn.Sequential(norm, nn.Flatten(), last).eval()


class Constant(nn.Module):
    """The same answer to everything: every gradient is 0."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        """Zeros [N, outputs] that depend on x for autograd alone."""
        return x.flatten(1) @ x.new_zeros(x[0].numel(), self.outputs)


def classification(shape: tuple[int, ...] = (1, 4, 4), classes: int = 3) -> Data:
    """Forty-eight noisy patterns to train on, 25 to evaluate on, so that batches come out uneven, and 12 held out."""
    x, y = samples(shape, classes, 85)
    pixels = (x + 0.25 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))).clamp(0, 1).numpy()
    train, evaluation, final = (Split(pixels[a:b], y[a:b].numpy()) for a, b in _CUTS)
    return Data(train, evaluation, final, classes, (0.0, 1.0))


def regression(features: int = 4) -> Data:
    """A linear function of Gaussian features with a little noise; no box."""
    random = np.random.default_rng(4)
    x = random.standard_normal((85, features)).astype(np.float32)
    y = (x @ np.linspace(-1, 1, features) + 0.1 * random.standard_normal(85)).astype(np.float32)
    train, evaluation, final = (Split(x[a:b], y[a:b]) for a, b in _CUTS)
    return Data(train, evaluation, final, None, None)


def linear(shape: tuple[int, ...], outputs: int) -> nn.Module:
    """A linear map."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), outputs))


def mlp(shape: tuple[int, ...], outputs: int, width: Annotated[int, Field(ge=1, description="units")] = 8) -> nn.Module:
    """One hidden layer with batch statistics."""
    inside = nn.Linear(math.prod(shape), width)
    return nn.Sequential(nn.Flatten(), inside, nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, outputs))


@dataclass(frozen=True)
class Step(Attack):
    """One step to where the linearised loss is largest in ball and box."""

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        """One exact step."""
        z = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(victim.loss(victim.model(z), y).sum(), z)
        return x + balls.steepest(g, victim.p, victim.eps, x if victim.bounds else None, victim.bounds)


@dataclass(frozen=True)
class Lent(Architecture):
    """A network that a test gives."""

    name: str = fixed("lent")
    normalise: bool = fixed(False)
    make: Callable[[], nn.Module] = fixed(nn.Identity)

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """What it was given."""
        return self.make()


def plugin(*lent: Architecture) -> Plugin:
    """The kit's world as a plugin, with networks that a test lends."""
    declared = {
        "architecture": (robustradar.architecture(linear), robustradar.architecture(mlp), *lent),
        "attack": (Step(name="step", min_classes=0),),
        "recipe": (Recipe(name="brief", lr=0.1, epochs=2, batch=16, weight_decay=0.0),),
    }
    return Plugin("conformance", "robustradar", robustradar.__version__, "", declared)
