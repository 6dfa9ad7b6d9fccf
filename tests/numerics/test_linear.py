"""Closed forms against corners, autograd, and minimisers that are followed as the attack grows."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from robustradar.numerics.balls import dual, norm, steepest
from robustradar.numerics.linear import losses, mixture, quadratic_network, residual, residual_bound, restricted_eigenvalue
from robustradar_papers.theory import TwoLayer

INF = math.inf
ORDERS = [1.0, 1.5, 2.0, 4.0, INF]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-8) -> None:
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


# Linear regression


def test_the_worst_corner_of_the_cube_has_the_adversarial_loss() -> None:
    theta, x, y = normal(5, seed=1), normal(7, 5), normal(7, seed=2)
    corners = [x + 0.3 * torch.tensor(signs, dtype=torch.float64) for signs in itertools.product((-1, 1), repeat=5)]
    close(losses(theta, x, y, 0.3, INF), torch.stack([(y - corner @ theta).square() for corner in corners]).amax(0), 1e-12)


@pytest.mark.parametrize("p", ORDERS)
def test_the_adversarial_loss_is_attained_in_the_ball_and_nowhere_exceeded(p: float) -> None:
    theta, x, y = normal(5, seed=1), normal(7, 5), normal(7, seed=2)
    wide = theta.expand_as(x)
    ends = torch.stack([(y - (x + steepest(g, p, 0.3)) @ theta).square() for g in (wide, -wide)]).amax(0)
    worst = losses(theta, x, y, 0.3, p)
    close(worst, ends, 1e-12)
    for seed in range(20):
        delta = normal(7, 5, seed=10 + seed)
        delta = 0.3 * delta / norm(delta, p)[:, None]
        assert ((y - (x + delta) @ theta).square() <= worst * (1 + 1e-12)).all()


def test_the_mixture_goes_from_the_clean_to_the_adversarial_loss() -> None:
    theta, x, y = normal(5, seed=1), normal(7, 5), normal(7, seed=2)
    clean, worst = (y - x @ theta).square().mean(), losses(theta, x, y, 0.3, 2).mean()
    for xi in (0.0, 0.25, 1.0):
        close(mixture(theta, x, y, xi, 0.3, 2), (1 - xi) * clean + xi * worst, 1e-14)
    close(losses(theta, x, y, 0.0, INF), (y - x @ theta).square(), 1e-14)


@pytest.mark.parametrize("xi", [0.001, 0.5, 1.0])
@pytest.mark.parametrize("p", ORDERS)
def test_whatever_is_no_worse_than_the_truth_keeps_to_the_bounds(p: float, xi: float) -> None:
    x, star, eps = normal(30, 6), normal(6, seed=1), 3.0
    y, bound = x @ star, residual_bound(star, xi, eps, p)
    at_truth = mixture(star, x, y, xi, eps, p)
    close(at_truth, bound.square(), 1e-12)
    shares = []
    for seed in range(10):  # from the truth towards 0 and a little aside
        goal = 0.1 * normal(6, seed=seed)
        for theta in (star + share * (goal - star) for share in torch.logspace(-4, 0, 20, dtype=torch.float64)):
            if mixture(theta, x, y, xi, eps, p) <= at_truth:
                shares.append(residual(theta, x, y) / bound)
                assert (theta - star).norm() <= bound / restricted_eigenvalue(x).sqrt()
    assert len(shares) > 20
    assert max(shares) <= 1


def test_the_error_bound_is_attained_along_the_weakest_direction() -> None:
    x, star = normal(30, 6), normal(6, seed=1)
    tau, vectors = torch.linalg.eigh(x.T @ x / 30)
    close(restricted_eigenvalue(x), tau[0], 1e-12)
    theta = star + 0.1 * vectors[:, 0]
    close(residual(theta, x, x @ star) / restricted_eigenvalue(x).sqrt(), (theta - star).norm(), 1e-12)


def test_with_fewer_samples_than_inputs_there_is_no_bound_of_the_error() -> None:
    assert restricted_eigenvalue(normal(4, 6)) == 0


@pytest.mark.parametrize("p", [0.5, math.nan])
def test_orders_that_are_none_are_refused(p: float) -> None:
    with pytest.raises(ValueError, match=r"balls: got p = .*, expected 1 <= p <= inf"):
        residual_bound(normal(3), 0.5, 0.1, p)


# The quadratic network


MU = 0.3
W, A, X, Y = normal(3, 4), normal(3, seed=1), normal(9, 4, seed=2), normal(9, seed=3)


def loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """l of one sample."""
    return (y - (theta.reshape(3, 4) @ x).square() @ A).square()


def objective(theta: Tensor) -> Tensor:
    """L."""
    return vmap(loss, (None, 0, 0))(theta, X, Y).mean() + MU / 2 * theta.square().sum()


def slope(theta: Tensor, p: float) -> Tensor:
    """The mean dual norm of d l/d x, whose gradient in theta is Phi."""
    return norm(vmap(grad(loss, 1), (None, 0, 0))(theta, X, Y), dual(p)).mean()


@pytest.mark.parametrize("p", ORDERS)
def test_derivatives_are_autograds(p: float) -> None:
    theta = W.flatten()
    found = quadratic_network(W, A, X, Y, MU, p)
    close(found.gradient, grad(objective)(theta))
    close(found.H, jacrev(grad(objective))(theta))
    close(found.mixed, vmap(jacrev(grad(loss, 0), 1), (None, 0, 0))(theta, X, Y))
    close(found.Phi, grad(slope)(theta, p))
    close(found.ifa, torch.linalg.solve(jacrev(grad(objective))(theta), -grad(slope)(theta, p)))


def test_the_network_is_the_one_that_is_trained() -> None:
    torch.manual_seed(0)
    model = TwoLayer((4,), 1, 3, "square", 1.0).double()
    (model(X)[:, 0] - Y).square().mean().backward()
    found = quadratic_network(model.weight.detach(), model.a[0], X, Y, 0.0, 2)
    assert model.weight.grad is not None
    close(found.gradient, model.weight.grad.flatten())


@pytest.mark.parametrize("p", [2.0, 3.0, INF])
def test_the_influence_is_how_the_minimiser_moves(p: float) -> None:
    """Newton's minimum of L + eps * mean dual norm of the slope, which is the adversarial loss to first order, at eps and at -eps."""

    def minimum(theta: Tensor, eps: float) -> Tensor:
        for _ in range(50):
            pull = grad(lambda t: objective(t) + eps * slope(t, p))
            step = torch.linalg.solve(jacrev(pull)(theta), pull(theta))
            theta = theta - step / max(1.0, float(step.norm()) / 0.3)
        return theta

    descending = W.flatten()
    for _ in range(300):
        descending = descending - 0.01 * grad(objective)(descending).clamp(-10, 10)
    theta = minimum(descending, 0.0)
    found = quadratic_network(theta.reshape(3, 4), A, X, Y, MU, p)
    assert found.gradient.norm() < 1e-12
    assert torch.linalg.eigvalsh(found.H)[0] > 0
    eps = 1e-5
    close(found.ifa, (minimum(theta, eps) - minimum(theta, -eps)) / (2 * eps), 1e-6)


def test_a_singular_hessian_is_refused() -> None:
    with pytest.raises(torch.linalg.LinAlgError):
        quadratic_network(torch.zeros(1, 2), torch.ones(1), torch.ones(3, 2), torch.zeros(3), 0.0, 2)
