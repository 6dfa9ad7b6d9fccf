"""Scores of backward passes, against closed forms."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from small_benches import bench, layer, values
from torch import nn

from robustradar.conformance import contract_test
from robustradar.training.loss import squared
from robustradar_baselines import untrained
from robustradar_baselines.gradient import FLAT, Gradients, SynFlow, jacov, zico

test_contract = contract_test("baselines/gradients:batch=8", "baselines/synflow:repeats=3")

FIRST, SECOND = [[1.0, -2.0], [-3.0, 4.0], [0.5, 0.0]], [[1.0, -1.0, 2.0], [-1.0, 0.0, 1.0]]
FLOW = (np.abs(SECOND) @ np.abs(FIRST)).sum()
X = torch.tensor([[0.2, 0.9], [-1.0, 0.4], [0.3, -0.7], [0.5, 0.6]])
Y = torch.tensor([0, 1, 1, 0])


def flow(*layers: nn.Module) -> Any:
    return values(SynFlow().measure(bench(lambda: nn.Sequential(*layers), X)))["synflow"]


def test_each_layer_of_a_linear_network_carries_the_whole_flow() -> None:
    """R = 1ᵀ|W₂||W₁|1, and Σ θ·∂R/∂θ is R for each layer, whatever the signs and biases."""
    assert flow(layer(FIRST), layer(SECOND)) == pytest.approx(math.log(2 * FLOW))
    assert flow(layer(FIRST, [5.0, -5.0, 1.0]), nn.ReLU(), layer(SECOND)) == pytest.approx(math.log(2 * FLOW))


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3), nn.LayerNorm(3), nn.GroupNorm(1, 3)])
def test_normalisation_passes_the_flow_on(norm: nn.Module) -> None:
    assert flow(layer(FIRST), norm, layer(SECOND)) == pytest.approx(math.log(2 * FLOW))


def test_standardised_inputs_are_ones_all_the_same() -> None:
    class Standard(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.tensor([7.0, -7.0]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - self.mean

    assert flow(Standard(), layer(FIRST), layer(SECOND)) == pytest.approx(math.log(2 * FLOW))


def test_paths_that_are_cut_carry_nothing() -> None:
    assert flow(layer(FIRST), layer([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])) == untrained.DEAD
    assert untrained.DEAD == "the untrained network passes no signal: its outputs do not depend on its weights"


W = [[0.3, -0.8], [0.5, 0.1]]


def closed_form() -> dict[str, float]:
    """Softmax regression on the first batch: gradient (p − y)xᵀ by the weights, Wᵀ(p − y) by the inputs."""
    w, x, y = np.array(W), X.double().numpy()[::2], np.eye(2)[Y.numpy()[::2]]
    e = np.exp(x @ w.T)
    r = e / e.sum(1, keepdims=True) - y
    g = r.T @ x / len(x)
    return {
        "snip": np.abs(g * w).sum(),
        "grad_norm": np.sqrt((g**2).sum()),
        "input_gradient_norm": np.linalg.norm(r @ w, axis=1).mean(),
    }


def test_softmax_regression_by_its_formulas() -> None:
    """Two batches of two: samples 0 and 2 are the first."""
    found = values(Gradients(batch=2, batches=2).measure(bench(lambda: layer(W), X, Y)))
    assert {name: found[name] for name in closed_form()} == pytest.approx(closed_form(), rel=1e-5)


def test_regression_uses_the_squared_error() -> None:
    """One weight, one feature: the loss (wx − y)² has the gradient 2(wx − y)x; here 2·1 at both samples of the first batch."""
    x, y = torch.tensor([[1.0], [2.0], [1.0], [1.0]]), torch.tensor([[2.0], [3.0], [2.0], [4.0]])
    found = values(Gradients(batch=2, batches=2).measure(bench(lambda: layer([[3.0]]), x, y, loss=squared)))
    assert (found["grad_norm"], found["snip"], found["input_gradient_norm"]) == pytest.approx((2, 6, 6))
    assert found["jacov"] == FLAT
    assert FLAT == "a sample's input gradient is the same for every feature, and correlates with nothing"


def test_zico_is_the_mean_size_over_the_deviation() -> None:
    """Gradients 1 and 3, −3 and −1: sizes of 2, deviations of 1, so ln(2 + 2); the second layer's never change and count nothing."""
    layers = ([torch.tensor([1.0, -3.0]), torch.tensor([5.0])], [torch.tensor([3.0, -1.0]), torch.tensor([5.0])])
    assert zico(layers) == pytest.approx(math.log(4))
    assert zico([[torch.tensor([1.0]), torch.tensor([1.0])], [torch.tensor([3.0]), torch.tensor([3.0])]]) == pytest.approx(2 * math.log(2))


def test_jacov_by_the_eigenvalues() -> None:
    """Uncorrelated gradients have the eigenvalues 1 and 1, equal ones 2 and 0."""
    k = 1e-5
    term = lambda v: math.log(v + k) + 1 / (v + k)  # noqa: E731
    assert jacov(torch.tensor([[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]])) == pytest.approx(-2 * term(1))
    assert jacov(torch.tensor([[1.0, 2.0, 4.0], [2.0, 4.0, 8.0]])) == pytest.approx(-term(2) - term(0), rel=1e-6)


def test_networks_without_a_signal_or_a_layer_say_so() -> None:
    dead = nn.Sequential(layer([[1.0, 1.0]], [-99.0]), nn.ReLU(), layer([[0.0], [0.0]]))
    assert set(values(Gradients(batch=2).measure(bench(lambda: dead, X, Y))).values()) == {untrained.DEAD}
    bare = nn.Identity()
    assert set(values(Gradients(batch=2).measure(bench(lambda: bare, X, Y))).values()) == {untrained.NO_LAYER}
    assert untrained.NO_LAYER == "no convolution or linear layer whose weights are trained"


def test_a_layer_beside_the_path_counts_nothing() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = layer(W), layer(W)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z: torch.Tensor = self.used(x)
            return z

    found = values(Gradients(batch=2, batches=2).measure(bench(Beside, X, Y)))
    assert {name: found[name] for name in closed_form()} == pytest.approx(closed_form(), rel=1e-5)
    assert values(SynFlow().measure(bench(Beside, X)))["synflow"] == pytest.approx(math.log(np.abs(W).sum()))
