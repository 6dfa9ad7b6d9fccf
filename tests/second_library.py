"""What the contract tests of second attack libraries share: networks to attack, and the clause that nothing is left changed."""

import functools
import random

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from robustradar import Attack, Victim
from robustradar.guard import generators_restored
from robustradar.judge import Guarded


@functools.cache
def trained() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A small network, and eight digits that it classifies rightly."""
    digits = load_digits()
    x = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    y = torch.tensor(digits.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(3):
            for batch in torch.randperm(1400).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
                optimizer.step()
    model.eval()
    right = (model(x[1400:]).argmax(1) == y[1400:]).nonzero().flatten()[:8] + 1400
    return model, x[right], y[right]


def victim(model: nn.Module, p: float, eps: float, bounds: tuple[float, float] | None = (0.0, 1.0), seed: int = 0) -> Victim:
    return Victim(model, nn.functional.cross_entropy, p, eps, bounds, torch.Generator().manual_seed(seed))


def linear() -> tuple[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A network, inputs far from the walls and near its boundary, their labels, and the logits' difference per unit of each feature."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).eval()
        x = 0.45 + 0.1 * torch.rand(8, 1, 4, 4)
    with torch.no_grad():
        z = model(x)
        model[1].bias[0] += (z[:, 1] - z[:, 0]).min() - 0.05
    return model, x, model(x).argmax(1), (model[1].weight[1] - model[1].weight[0]).detach()


def assert_only_the_generator_matters(guard: Guarded, model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    """Whatever the global generators hold, the outcome is the same; they, modes and flags come back as they were."""
    results = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        guard.reseed()
        results.append(guard.perturb(model, x, y))
        assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert torch.equal(*results)
    assert not any(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def assert_every_generator_is_the_victim_s(attack: Attack, p: float) -> None:
    """Python's, NumPy's and torch's global generators, as a network sees them under attack, follow the victim's and nothing else."""
    model, x, y = trained()
    drawn: list[tuple[float, float, float]] = []
    hook = model.register_forward_hook(lambda *_: drawn.append((random.random(), np.random.rand(), float(torch.rand(())))))
    firsts = []
    for ambient, seed in ((1, 0), (2, 0), (2, 1)):
        with generators_restored():
            random.seed(ambient)
            np.random.seed(ambient)
            torch.manual_seed(ambient)
            drawn.clear()
            attack.perturb(victim(model, p, 0.1, seed=seed), x, y)
        firsts.append(drawn[0])
    hook.remove()
    assert firsts[0] == firsts[1]
    assert all(one != other for one, other in zip(firsts[1], firsts[2], strict=True))
