"""The exact inner maximum, against closed forms, against every corner of a small cube, and against attacks."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robustradar import Victim
from robustradar.numerics.balls import dual, norm
from robustradar_native.attack import PGD, LinearExact
from robustradar_native.gradient import losses
from robustradar_native.linear import worst

INF = math.inf
Make = Callable[..., Victim]
ORDERS = [1.0, 1.5, 2.0, 4.0, INF]


def squared(outputs: Tensor, y: Tensor) -> Tensor:
    return (outputs - y.reshape(outputs.shape)).square().sum(1)


def data(n: int = 8, m: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, m, generator=generator), torch.randn(n, generator=generator)


@pytest.mark.parametrize("p", ORDERS)
def test_squared_loss_without_a_box(victim: Make, p: float) -> None:
    """(abs(y - x theta) + eps * norm(theta, q)) ** 2."""
    x, y = data()
    model = nn.Linear(6, 1)
    v = victim(model, p, 0.3, None, loss=squared)
    residual = (model(x)[:, 0] - y).abs()
    expected = (residual + 0.3 * norm(model.weight, dual(p))).square()
    point, top = worst(v, x, y)
    torch.testing.assert_close(top, expected, rtol=1e-5, atol=0)
    assert (norm(point - x, p) <= 0.3 * (1 + 1e-5)).all()


def test_squared_loss_in_a_box_is_that_of_the_worst_corner(victim: Make) -> None:
    x, y = data()
    model = nn.Linear(6, 1)
    v = victim(model, INF, 0.4, (0.0, 1.0), loss=squared)
    corners = [(x + 0.4 * torch.tensor(signs)).clamp(0, 1) for signs in itertools.product((-1.0, 1.0), repeat=6)]
    expected = torch.stack([losses(v, corner, y) for corner in corners]).amax(0)
    torch.testing.assert_close(worst(v, x, y)[1], expected)


@pytest.mark.parametrize("p", ORDERS)
def test_two_classes(victim: Make, p: float) -> None:
    """log(1 + exp(u + eps * norm(w, q))), u = z_other - z_y, w = theta_other - theta_y."""
    x, _ = data()
    y = torch.tensor([0, 1] * 4)
    model = nn.Linear(6, 2)
    v = victim(model, p, 0.3, None)
    outputs = model(x)
    u = (outputs[:, 1] - outputs[:, 0]) * torch.where(y == 0, 1.0, -1.0)
    w = model.weight[1] - model.weight[0]
    expected = nn.functional.softplus(u + 0.3 * norm(w[None], dual(p)))
    torch.testing.assert_close(worst(v, x, y)[1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("p", ORDERS)
def test_no_attack_gets_higher(victim: Make, p: float) -> None:
    x, y = data()
    v = victim(nn.Linear(6, 1), p, 0.5, (0.0, 1.0), loss=squared)
    exact = losses(v, LinearExact().perturb(v, x, y), y)
    assert (exact * (1 + 1e-5) >= losses(v, PGD(steps=20, restarts=2).perturb(v, x, y), y)).all()


def test_images_and_several_linear_layers_are_fine(victim: Make) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(18, 4), nn.Linear(4, 2))
    x, y = torch.rand(4, 1, 5, 5), torch.tensor([0, 1, 0, 1])
    v = victim(model)
    assert (worst(v, x, y)[1] > losses(v, x, y)).all()


def test_equal_seeds_give_equal_points_and_global_chance_is_left_alone(victim: Make) -> None:
    x, y = data()
    v = victim(nn.Linear(6, 1), loss=squared)
    before = torch.get_rng_state()
    assert torch.equal(worst(v, x, y)[0], worst(v, x, y)[0])
    assert torch.equal(before, torch.get_rng_state())


def test_a_bent_model_is_refused(victim: Make) -> None:
    x, y = data()
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    with pytest.raises(
        ValueError, match=r"got a model that is off its tangent by .* expected one that is affine in x. Use native/pgd instead"
    ):
        worst(victim(model, loss=squared), x, y)


def test_a_model_that_bends_only_beyond_the_data_is_refused(victim: Make) -> None:
    x, y = data()
    model = nn.Sequential(nn.Linear(6, 1), nn.Hardtanh(-2.0, 2.0))
    with pytest.raises(ValueError, match="affine in x"):
        worst(victim(model, loss=squared, eps=3.0), x, y)


@pytest.mark.parametrize(("y", "what"), [(torch.tensor([0, 1, 2, 0]), "3 classes"), (torch.zeros(4, 3), "3 targets")])
def test_more_outputs_are_refused(victim: Make, y: Tensor, what: str) -> None:
    with pytest.raises(ValueError, match=rf"linear-exact: got {what}, expected one target or two classes: .* Use native/pgd instead."):
        worst(victim(nn.Linear(6, 3)), torch.rand(4, 6), y)


def test_two_regression_targets_are_refused(victim: Make) -> None:
    with pytest.raises(ValueError, match="got 2 targets"):
        worst(victim(nn.Linear(6, 2)), torch.rand(4, 6), torch.zeros(4, 2))
