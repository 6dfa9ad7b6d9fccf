"""Fits of a few samples and epochs, from a network and a recipe to the weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustradar import ADVERSARIAL, CLEAN, Attack, Data, Objective, Recipe, Split, Threat
from robustradar.data import task
from robustradar.judge import Guarded
from robustradar.training.device import DeviceData
from robustradar.training.loop import EVALUATION_ATTACK, TRAIN_ATTACK, Loop, stream
from robustradar.training.train import Checkpoint, Trained, begin, train
from robustradar.values import FitSpec, Ref
from robustradar_native.attack import PGD

LINF = Threat(math.inf, 0.1, (0.0, 1.0))
PGD3 = PGD(name="pgd", steps=3, min_classes=0)
STEADY = Recipe(name="steady", lr=0.05, weight_decay=1e-3, epochs=3, batch=16, select="last")


def ref(name: str) -> Ref:
    return Ref(f"test/{name}", (), "test", f"test/{name}")


def images(n: int = 40, classes: int = 3, side: int = 8, seed: int = 0) -> Data:
    """Noise with a bright patch whose place is the class."""
    rng = np.random.default_rng(seed)

    def split(size: int) -> Split:
        y = np.arange(size) % classes
        x = 0.5 * rng.random((size, 2, side, side), dtype=np.float32)
        for i, k in enumerate(y):
            x[i, :, 2 * k : 2 * k + 2, 2 * k : 2 * k + 2] += 0.5
        return Split(x, y)

    return Data(split(n), split(24), None, classes, (0.0, 1.0))


def table(x: Any, y: Any, classes: int | None) -> Data:
    """Given features and targets, the evaluation split being some of them; unbounded."""
    kind = np.float32 if classes is None else np.int64
    x, y = np.asarray(x, np.float32), np.asarray(y, kind)
    return Data(Split(x, y), Split(x[:8], y[:8]), None, classes, None)


def mlp() -> nn.Sequential:
    """No chance, no batch statistics."""
    return nn.Sequential(nn.Flatten(), nn.Linear(128, 12), nn.Tanh(), nn.Linear(12, 3))


def normed() -> nn.Sequential:
    """Convolution, batch statistics and dropout."""
    head = [nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    return nn.Sequential(*head, nn.Dropout(0.2), nn.Linear(96, 3))


@dataclass
class Fitting:
    """One fit, as often as it is asked for, always from the same start."""

    network: Callable[[], nn.Module] = mlp
    recipe: Recipe = STEADY
    objective: Objective = CLEAN
    data: Data = field(default_factory=images)
    threat: Threat = LINF
    attack: Attack = PGD3
    where: str = "cpu"
    seed: int = 0

    def loop(self) -> Loop:
        facts = task(self.data, ref("data"))
        attacked = self.objective.adversarial
        threat, attack = (self.threat, ref("attack")) if attacked else (None, None)
        spec = FitSpec(ref("net"), facts, ref("recipe"), self.objective, threat, attack, self.seed, "engine 1")
        torch.manual_seed(self.seed)
        device = torch.device(self.where)
        data = DeviceData.of(self.data, facts, device, 16)
        return begin(spec, self.network().to(device), self.recipe, data, self.guarded(TRAIN_ATTACK), "architecture test/net")

    def guarded(self, which: int = EVALUATION_ATTACK) -> Guarded | None:
        if not self.objective.adversarial:
            return None
        attack = Guarded(self.attack, "attack test/attack", self.threat, self.data.classes, stream(self.seed, which))
        attack.batch_statistics = which == TRAIN_ATTACK and self.recipe.inner_statistics == "batch"
        return attack

    def train(self, told: Callable[[int], None] = lambda _: None, checkpoint: Checkpoint | None = None) -> Trained:
        return train(self.loop(), self.guarded(), told, checkpoint)


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """To the bit."""
    assert list(one) == list(other)
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((value.double() - other[name].double()).abs().max()) for name, value in one.items())


__all__ = ["ADVERSARIAL", "CLEAN", "Fitting", "assert_same", "images", "largest_difference", "mlp", "normed", "ref", "table"]
