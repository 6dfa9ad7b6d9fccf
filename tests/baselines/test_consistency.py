"""CRoZe against its formula, written once more in NumPy for a linear layer."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from small_benches import Make, bench, layer, values
from torch import nn

from robustradar.conformance import contract_test
from robustradar.training.loss import squared
from robustradar_baselines import untrained
from robustradar_baselines.consistency import Croze

test_contract = contract_test("baselines/croze:batch=8")

Floats = npt.NDArray[np.float64]
X, Y = torch.tensor([[0.2, 0.9], [0.7, 0.4], [0.3, 0.1]]), torch.tensor([[1.0], [-1.0], [0.5]])
W = [[-0.3, 0.8]]


def croze(make: Make, bounds: tuple[float, float] | None = None, eps: float = 0.01, step: float = 2.0) -> Any:
    return values(Croze(batch=3, eps=eps, step=step).measure(bench(make, X, Y, loss=squared, bounds=bounds)))["croze"]


def cosine(a: Floats, b: Floats) -> float:
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def by_hand(eps: float, step: float, low: float = -np.inf, high: float = np.inf) -> float:
    x, y, w = X.double().numpy(), Y.double().numpy(), np.abs(W)
    gradient = lambda x, w: 2 * (x @ w.T - y).T @ x / len(x)  # noqa: E731
    g = gradient(x, w)
    twin = w + step * np.linalg.norm(w) * g / np.linalg.norm(g)
    x2 = np.clip(x + eps * np.sign((x @ twin.T - y) @ twin), low, high)
    return (1 + cosine(x @ w.T, x2 @ twin.T)) * (1 + cosine(w, twin)) * abs(cosine(g, gradient(x2, twin)))


@pytest.mark.parametrize(("eps", "step"), [(0.01, 2.0), (0.3, 0.5), (0.1, 1.0)])
def test_a_linear_layer_by_hand(eps: float, step: float) -> None:
    assert croze(lambda: layer(W), eps=eps, step=step) == pytest.approx(by_hand(eps, step), rel=1e-6)


def test_perturbed_inputs_stay_in_the_box() -> None:
    assert croze(lambda: layer(W), (0.0, 1.0), eps=0.5) == pytest.approx(by_hand(0.5, 2.0, 0.0, 1.0), rel=1e-6)
    assert by_hand(0.5, 2.0, 0.0, 1.0) != pytest.approx(by_hand(0.5, 2.0))


def test_without_a_perturbation_every_layer_gives_4() -> None:
    deep = lambda: nn.Sequential(layer([[1.0, 2.0], [0.5, -1.0]]), nn.BatchNorm1d(2), nn.ReLU(inplace=True), layer([[1.0, -1.0]]))  # noqa: E731
    assert croze(deep, eps=1e-9, step=1e-9) == pytest.approx(8)
    assert croze(deep, eps=0.1, step=2.0) < 8


def test_networks_without_a_layer_or_a_signal_say_so() -> None:
    assert croze(nn.Flatten) == untrained.NO_LAYER
    dead = lambda: nn.Sequential(layer([[0.0, 0.0]]), layer([[0.0]]))  # noqa: E731
    assert croze(dead) == untrained.DEAD
