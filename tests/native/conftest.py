"""Victims for the native attacks: a factory, and a small network trained on digits."""

import math
from collections.abc import Callable

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from robustradar import Victim


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(outputs, y, reduction="none")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Networks that a test makes are the same in every run."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def victim() -> Callable[..., Victim]:
    def make(
        model: nn.Module,
        p: float = math.inf,
        eps: float = 0.1,
        bounds: tuple[float, float] | None = (0.0, 1.0),
        seed: int = 0,
        loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    ) -> Victim:
        return Victim(model.eval().requires_grad_(False), loss, p, eps, bounds, torch.Generator().manual_seed(seed))

    return make


@pytest.fixture(scope="session")
def digits() -> tuple[nn.Module, Tensor, Tensor]:
    """A small CNN after 100 steps, and 64 digits that it has not seen."""
    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    y = torch.tensor(data.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 32), nn.ReLU())
        model.append(nn.Linear(32, 10))
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for step in range(100):
            rows = slice(step * 64 % 1600, step * 64 % 1600 + 64)
            loss = F.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval().requires_grad_(False), x[-64:], y[-64:]
