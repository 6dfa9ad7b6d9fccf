"""AutoAttack: no member alone breaks a sample that it leaves, and few classes have their fallbacks."""

import math
from collections.abc import Callable

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from robustradar import Victim
from robustradar.numerics.balls import norm
from robustradar_native.attack import APGDCE, APGDDLR, APGDT, APGDPair, AutoAttack, Square
from robustradar_native.autoattack import fab
from robustradar_native.cascade import broken

INF = math.inf
Make = Callable[..., Victim]
Digits = tuple[nn.Module, Tensor, Tensor]
Box = tuple[float, float] | None
THREATS = [(INF, 0.06), (2.0, 0.4)]
QUICK = AutoAttack(steps=15, queries=100)


@pytest.mark.parametrize(("p", "eps"), THREATS)
def test_breaks_at_least_as_much_as_each_member(victim: Make, digits: Digits, p: float, eps: float) -> None:
    model, x, y = digits
    v = victim(model, p, eps)
    point = QUICK.perturb(v, x, y)
    whole = broken(v, point, y).sum()
    assert (norm(point - x, p) <= eps * (1 + 1e-5) + 2e-6).all()
    for member in (APGDCE(steps=15), APGDT(steps=15), Square(queries=100)):
        assert whole >= broken(victim(model, p, eps), member.perturb(victim(model, p, eps), x, y), y).sum()
    assert whole >= broken(v, fab(victim(model, p, eps), x, y, 15, 9), y).sum()
    assert broken(v, x, y).sum() < whole < 64


@pytest.mark.parametrize(("p", "eps"), THREATS)
def test_the_pair_breaks_what_either_does_and_autoattack_breaks_no_less(victim: Make, digits: Digits, p: float, eps: float) -> None:
    model, x, y = digits
    pair = broken(victim(model, p, eps), APGDPair(steps=15).perturb(victim(model, p, eps), x, y), y).sum()
    for member in (APGDCE(steps=15), APGDT(steps=15)):
        assert pair >= broken(victim(model, p, eps), member.perturb(victim(model, p, eps), x, y), y).sum()
    assert broken(victim(model, p, eps), QUICK.perturb(victim(model, p, eps), x, y), y).sum() >= pair


@pytest.mark.parametrize(("classes", "second"), [(2, None), (3, APGDDLR), (4, APGDT)])
def test_the_pair_of_few_classes(victim: Make, classes: int, second: type[APGDDLR | APGDT] | None) -> None:
    model = nn.Linear(6, classes)  # no images
    model.weight.data = torch.randn(classes, 6, generator=torch.Generator().manual_seed(1))
    x = torch.rand(64, 6, generator=torch.Generator().manual_seed(2))
    y = model(x).argmax(1)
    v = victim(model, INF, 0.1)
    pair = broken(v, APGDPair(steps=5).perturb(v, x, y), y).sum()
    assert 0 < pair < 64
    for member in (APGDCE(steps=5), *([second(steps=5)] if second else [])):
        assert pair >= broken(v, member.perturb(v, x, y), y).sum()


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), None, (-1.0, 3.0)])
def test_few_classes_and_other_boxes(victim: Make, classes: int, bounds: Box) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, classes))
    model[1].weight.data = torch.randn(classes, 36, generator=torch.Generator().manual_seed(1)) / 6
    x = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    y = model(x).argmax(1)
    v = victim(model, INF, 0.2, bounds)
    point = AutoAttack(steps=5, queries=5).perturb(v, x, y)
    assert broken(v, point, y).any()
    assert (norm(point - x, INF) <= 0.2 * (1 + 1e-5) + 2e-6).all()


@pytest.mark.parametrize("bounds", [(0.0, 1.0), None, (-1.0, 3.0)])
@pytest.mark.parametrize("p", [2.0, INF])
def test_fab_finds_the_nearest_wrong_point_of_a_linear_model(victim: Make, p: float, bounds: Box) -> None:
    """It lies at (z_y - z_other) / norm(theta_y - theta_other, q): found at a radius just above, not at one just below."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    model[1].weight.data = torch.randn(2, 36, generator=torch.Generator().manual_seed(1)) / 6
    x = 0.3 + 0.4 * torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(2))
    outputs = model(x)[0].detach()
    y = outputs.argmax()[None]
    w = (model[1].weight[0] - model[1].weight[1]).detach()
    distance = float((outputs[0] - outputs[1]).abs() / torch.linalg.vector_norm(w, 1 if p == INF else 2))
    for scale, found in ((1.1, True), (0.95, False)):
        v = victim(model, p, scale * distance, bounds)
        assert bool(broken(v, fab(v, x, y, 20, 0), y).all()) == found


def test_breaks_just_what_can_be_broken_of_a_linear_model(victim: Make) -> None:
    """Ten classes in the box [0, 1]: the worst case for every other class is a corner of ball and box, so robustness is known exactly."""
    data = load_digits()
    x = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    y = torch.tensor(data.target)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        regression = torch.linalg.lstsq(nn.functional.pad(x.flatten(1), (0, 1), value=1.0), nn.functional.one_hot(y).float())
        model[1].weight.copy_(regression.solution[:-1].T)
        model[1].bias.copy_(regression.solution[-1])
    x, y, eps = x[:128], y[:128], 0.04
    theta = model[1].weight - model[1].weight[y].unsqueeze(1)  # [samples, classes, features]
    pixels = x.flatten(1).unsqueeze(1)
    gain = (theta.clamp(min=0) * (1 - pixels).clamp(max=eps) - theta.clamp(max=0) * pixels.clamp(max=eps)).sum(2)
    outputs = model(x)
    others = nn.functional.one_hot(y, 10) == 0
    breakable = ((outputs - outputs.gather(1, y[:, None]) + gain) > 0)[others].view(len(x), 9).any(1)
    v = victim(model.requires_grad_(False), INF, eps)
    assert torch.equal(broken(v, AutoAttack(steps=20, queries=50).perturb(v, x, y), y), breakable)
    assert 20 < breakable.sum() < 108


def test_equal_seeds_give_equal_points_and_global_chance_is_left_alone(victim: Make, digits: Digits) -> None:
    model, x, y = digits
    before = torch.get_rng_state()
    first, again = (AutoAttack(steps=3, queries=10).perturb(victim(model, eps=0.05), x[:16], y[:16]) for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(before, torch.get_rng_state())


def test_fab_takes_models_without_parameters(victim: Make, capsys: pytest.CaptureFixture[str]) -> None:
    class Means(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    x = torch.rand(4, 3, 6, 6)
    y = x.mean((2, 3)).argmax(1)
    fab(victim(Means()), x, y, 3, 0)
    assert capsys.readouterr().out == ""


def test_standard_budget() -> None:
    assert AutoAttack() == AutoAttack(steps=100, queries=5000)
