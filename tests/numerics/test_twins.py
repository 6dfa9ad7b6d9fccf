"""The dense twins themselves, against finite differences, closed forms and trial."""

import copy

import numpy as np
import pytest
import torch
from oracle import every_case, off
from torch import Tensor, nn
from twins import (
    NAMED,
    ORDERS,
    Array,
    Case,
    ascent,
    twin,
)

from robustradar.numerics import vector

# The oracle itself


@every_case
def test_the_twin_agrees_with_finite_differences(case: Case) -> None:
    """In theta, in x, and mixed, along random directions; the step stays clear of the kinks of ReLU at these points."""
    model, h = case.model(torch.float64), 1e-6
    x, y = case.data("train", torch.float64)
    truth = twin(case)
    rng = torch.Generator().manual_seed(5)

    def moved(step: Tensor | None = None, dx: Tensor | float = 0.0) -> tuple[float, Array, Array]:
        """Mean loss, its gradient in theta, and every sample's in x."""
        shifted = copy.deepcopy(model)
        if step is not None:
            theta = nn.utils.parameters_to_vector(shifted.parameters()) + step
            nn.utils.vector_to_parameters(theta, shifted.parameters())
        inputs = (x + dx).requires_grad_()
        losses = case.loss(shifted(inputs), y)
        total = losses.mean() + case.ridge / 2 * sum(p.square().sum() for p in shifted.parameters())
        *theta_parts, gx = torch.autograd.grad(losses.sum() + 0 * total, [*shifted.parameters(), inputs], retain_graph=True)
        del theta_parts
        g = vector.flat(torch.autograd.grad(total, list(shifted.parameters())))
        return total.item(), g.numpy(), gx.flatten(1).numpy()

    loss, gradient, gx = moved()
    assert truth.loss == pytest.approx(loss, rel=1e-12)
    assert off(truth.gradient, gradient) < 1e-10
    assert off(truth.g, gx) < 1e-10

    v = torch.randn(truth.size, generator=rng, dtype=torch.float64)
    up, down = moved(h * v), moved(-h * v)
    assert (up[0] - down[0]) / (2 * h) == pytest.approx(truth.gradient @ v.numpy(), rel=1e-6)
    assert off(truth.H @ v.numpy(), (up[1] - down[1]) / (2 * h)) < 1e-6

    u = torch.randn(x.shape, generator=rng, dtype=torch.float64)
    up, down = moved(dx=h * u), moved(dx=-h * u)
    along = u.flatten(1).numpy()
    assert off(np.einsum("nmd,nm->d", truth.J, along) / len(x), (up[1] - down[1]) / (2 * h)) < 1e-6
    expected = (up[2] - down[2]) / (2 * h)
    assert np.linalg.norm(np.einsum("nij,nj->ni", truth.D, along) - expected) < 1e-6 * max(1.0, float(np.linalg.norm(expected)))


def test_the_twin_of_the_quadratic_network_is_the_closed_form() -> None:
    """[T, Example 1] with its misprints corrected, for l = (y - f)²: gradients of f in W and x, and both second derivatives."""
    case = NAMED["quadratic"]
    model, truth = case.model(torch.float64), twin(case)
    W, a = model.get_parameter("weight").detach().numpy(), model.get_buffer("a").numpy()
    xs, ys = (value.double().numpy() for value in case.data("train"))
    k, m = W.shape
    H, mixed = np.zeros((k * m, k * m)), []
    for x, (y,) in zip(xs, ys, strict=True):
        s = W @ x
        f, df, dx = a @ s**2, np.concatenate([2 * a[j] * s[j] * x for j in range(k)]), 2 * (a * s) @ W
        ddf = np.kron(np.diag(2 * a), np.outer(x, x))
        dfx = np.concatenate([2 * a[j] * (s[j] * np.eye(m) + np.outer(x, W[j])) for j in range(k)])
        H += (2 * np.outer(df, df) - 2 * (y - f) * ddf) / len(xs)
        mixed.append((2 * np.outer(df, dx) - 2 * (y - f) * dfx).T)
    assert off(truth.H, H + case.ridge * np.eye(k * m)) < 1e-12
    assert off(truth.J, np.array(mixed)) < 1e-12


@pytest.mark.parametrize("p", ORDERS)
def test_the_twins_direction_has_unit_norm_and_attains_the_dual_norm(p: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        g, x = rng.standard_normal(6), rng.choice([0.0, 0.5, 1.0], 6)
        phi = ascent(g, x, p, (0, 1))
        free = g[phi != 0] if p > 1 else g
        assert np.linalg.norm(phi, p) == pytest.approx(1)
        assert not (phi[x == 0] < 0).any()
        assert not (phi[x == 1] > 0).any()
        others = rng.standard_normal((1000, 6))
        others = np.where((x == 0) & (others < 0) | (x == 1) & (others > 0), 0, others)
        others /= np.linalg.norm(others, p, axis=1, keepdims=True).clip(1e-9)
        assert (others @ g).max() <= g @ phi + 1e-12
        assert len(free) > 0
