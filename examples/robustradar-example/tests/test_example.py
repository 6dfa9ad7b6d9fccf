"""The contract of all three in one line, then each one's own oracle."""

import math

import numpy as np
import pytest
import torch
from robustradar import Data, Measured, Split, Victim
from robustradar.conformance import contract_test, measured
from torch import nn

from robustradar_example.architecture import Maxout
from robustradar_example.attack import Corners

test_contract = contract_test("example", "example/maxout:width=3,maps=4")

X = np.array([[0.1, 0.9], [0.8, 0.3], [0.2, 0.4], [0.9, 0.1]], dtype=np.float32)
HALF = Split(X, X.argmax(1))
DATA = Data(HALF, HALF, None, classes=2, bounds=(0.0, 1.0))


def scaled(factor: float) -> nn.Module:
    """A network whose logits are its inputs times a factor."""
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(factor * torch.eye(2))
    return layer


def test_of_two_features_sixty_four_corners_are_all_four() -> None:
    """The worst corner of a linear loss is where its gradient's signs point."""
    x, w = torch.full((5, 2), 0.5), torch.tensor([1.0, -2.0])
    generator = torch.Generator().manual_seed(0)
    victim = Victim(nn.Identity(), lambda z, _: z @ w, math.inf, 0.1, (0.0, 1.0), generator)
    found = Corners(tries=64).perturb(victim, x, torch.zeros(5, dtype=torch.long))
    torch.testing.assert_close(found, (x + 0.1 * w.sign()).expand(5, 2))


def test_a_maxout_unit_is_the_largest_of_its_maps() -> None:
    """Of the identity and its negative it makes the absolute value."""
    model = Maxout(width=1, maps=2).build((1,), 1)
    with torch.no_grad():
        for parameter, values in zip(model.parameters(), ([[1.0], [-1.0]], [0.0, 0.0], [[1.0]], [0.0]), strict=True):
            parameter.copy_(torch.tensor(values))
    assert model(torch.tensor([[3.0], [-2.0]])).flatten().tolist() == [3.0, 2.0]


@pytest.mark.parametrize(("norm", "value"), [(math.inf, 0.2875), (1.0, 0.575), (2.0, 0.575 / math.sqrt(2))])
def test_the_distance_of_a_linear_network_is_exact(norm: float, value: float) -> None:
    """The leads 0.8, 0.5, 0.2 and 0.8 over the dual norm of (1, -1), whatever the logits' scale."""
    for factor in (1.0, 7.0):
        outcome = measured("example/distance", scaled(factor), DATA, norm=norm)["boundary_distance"]
        assert isinstance(outcome, Measured)
        assert outcome.value == pytest.approx(value)


def test_wrong_answers_have_no_distance() -> None:
    """More is better, and a network that errs everywhere has 0."""
    outcome = measured("example/distance", scaled(-1.0), DATA)["boundary_distance"]
    assert isinstance(outcome, Measured)
    assert outcome.value == 0
