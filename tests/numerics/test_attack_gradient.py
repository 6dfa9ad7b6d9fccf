"""The attack gradient against dense twins."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from oracle import TOLERANCE, every_case, every_dtype, every_order, off, problem
from torch import Tensor, nn
from twins import (
    NAMED,
    ORDERS,
    Case,
    entropy,
    squared,
    twin,
)

from robustradar.numerics.influence import Settings, attack_gradient, influence
from robustradar.numerics.problem import Problem, UnavailableError


@every_case
@every_order
@every_dtype
@pytest.mark.parametrize("boxed", [False, True], ids=["free", "boxed"])
def test_attack_gradient_agrees_with_the_twin(case: Case, p: float, dtype: torch.dtype, boxed: bool) -> None:
    bounds = case.bounds if boxed else None
    if boxed and bounds is None:
        bounds = (-100.0, 100.0)  # walls that no input touches
    truth, tolerance = twin(case), TOLERANCE[dtype]
    found = attack_gradient(problem(case, dtype=dtype), p, bounds)
    assert off(found.Phi, truth.Phi(p, bounds)) < tolerance
    assert found.slope == pytest.approx(truth.slope(p, bounds), rel=tolerance)
    # The second derivative of a sum that may cancel: relative to its largest possible size.
    phi = truth.phi(p, bounds)
    size = float(np.mean([np.linalg.norm(D, 2) * (f @ f) for D, f in zip(truth.D, phi, strict=True)]))
    assert found.bend == pytest.approx(truth.bend(p, bounds), abs=tolerance * size + 1e-300)
    assert (found.samples, found.zero_gradient_samples, found.rung) == (10, truth.stuck(bounds), "exact")
    assert (found.Phi.dtype, found.Phi.requires_grad) == (dtype, False)


@pytest.mark.parametrize("p", ORDERS)
def test_the_box_matters(p: float) -> None:
    """Or the tests above would not see a missing mask."""
    case = NAMED["batch-norm"]
    free, boxed = attack_gradient(problem(case), p), attack_gradient(problem(case), p, case.bounds)
    assert boxed.slope < 0.99 * free.slope
    assert float((free.Phi - boxed.Phi).norm()) > 0.02 * float(free.Phi.norm())


@every_case
@pytest.mark.parametrize("p", [1.5, 2, math.inf])
def test_attack_gradient_by_differences(case: Case, p: float) -> None:
    """In float64 also for a float32 network. ReLU networks included: the steps do not cross a kink at these points."""
    truth = twin(case)
    for dtype in (torch.float32, torch.float64):
        found = attack_gradient(problem(case, dtype=dtype), p, case.bounds, rung="finite-differences")
        assert off(found.Phi, truth.Phi(p, case.bounds)) < 1e-5
        assert found.slope == pytest.approx(truth.slope(p, case.bounds), rel=1e-6)
        assert found.bend == pytest.approx(truth.bend(p, case.bounds), rel=1e-4, abs=1e-6)
        assert (found.rung, found.zero_gradient_samples, found.Phi.dtype) == ("finite-differences", truth.stuck(case.bounds), dtype)


@every_case
def test_batches_do_not_matter(case: Case) -> None:
    found = [
        attack_gradient(problem(case, batches=case.batches("train", torch.float64, sizes)), 1.5, case.bounds)
        for sizes in [(10,), (4, 4, 2), (1, 2, 3, 4), (1,) * 10]
    ]
    for other in found[1:]:
        torch.testing.assert_close(other.Phi, found[0].Phi, rtol=1e-10, atol=1e-12)
        assert (other.slope, other.bend) == pytest.approx((found[0].slope, found[0].bend), rel=1e-10, abs=1e-12)


@every_order
@pytest.mark.parametrize("rung", [None, "finite-differences"])
def test_samples_without_a_gradient_are_counted_and_contribute_nothing(p: float, rung: Any) -> None:
    """Some that are fitted exactly among others that are not: sums stay, means shrink."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    x, y = torch.rand(6, 4, dtype=torch.float64), torch.randn(6, 1, dtype=torch.float64)
    plain = attack_gradient(Problem(net, squared, [(x, y)]), p)
    extra = torch.rand(2, 4, dtype=torch.float64)
    batches = [(x[:4], y[:4]), (extra, net(extra).detach()), (x[4:], y[4:])]
    found = attack_gradient(Problem(net, squared, batches), p, rung=rung)
    assert (found.zero_gradient_samples, found.samples) == (2, 8)
    torch.testing.assert_close(found.Phi * 8, plain.Phi * 6, rtol=1e-5, atol=1e-7)
    assert found.slope * 8 == pytest.approx(plain.slope * 6)
    assert found.bend * 8 == pytest.approx(plain.bend * 6, rel=1e-4, abs=1e-8)


@every_order
def test_a_sample_in_a_corner_that_cannot_move_counts_as_one_without_a_gradient(p: float) -> None:
    net = nn.Linear(3, 1, bias=False).double()
    net.weight.data = torch.tensor([[1.0, -2.0, 3.0]], dtype=torch.float64)
    x = torch.tensor([[1, 0, 1], [0.5, 0, 1]], dtype=torch.float64)
    found = attack_gradient(Problem(net, lambda z, y: z[:, 0], [(x, torch.zeros(2))]), p, (0, 1))
    assert (found.zero_gradient_samples, found.samples) == (1, 2)
    assert found.slope == pytest.approx(0.5)  # the one coordinate that can move has a slope of 1
    assert found.Phi.tolist() == pytest.approx([0.5, 0, 0])


def test_a_saturated_network_has_no_attack_gradient() -> None:
    case = NAMED["relu"]
    model = case.model()
    head = list(model.children())[-1]
    x, y = case.data("train")
    with torch.no_grad():
        for p in head.parameters():
            p.mul_(1e6)
        y = model(x).argmax(1)
    found = attack_gradient(Problem(model, entropy, [(x, y)]), math.inf)
    assert found.zero_gradient_samples == 10
    assert (found.slope, found.Phi.abs().max().item()) == (0, 0)
    message = "the loss's gradient in x is zero on all 10 samples"
    with pytest.raises(UnavailableError, match=message):
        influence(Problem(model, entropy, [(x, y)]), Problem(model, entropy, [(x, y)]), Settings(math.inf))


def test_a_loss_that_is_linear_in_x_and_theta_alike() -> None:
    """l = theta·x: nothing is left of a second derivative but the mixed one; l = x alone has none."""
    net = nn.Linear(3, 1).double()
    data = [(torch.rand(4, 3, dtype=torch.float64), torch.zeros(4))]
    found = attack_gradient(Problem(net, lambda z, y: z[:, 0], data), math.inf)
    assert found.Phi.tolist() == pytest.approx([*net.weight.sign().flatten().tolist(), 0])
    assert found.bend == 0

    class Shift(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(3, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.bias

    found = attack_gradient(Problem(Shift(), lambda z, y: z.sum(1), data), 2)
    assert (found.slope, found.bend) == pytest.approx((math.sqrt(3), 0))
    assert found.Phi.tolist() == [0, 0, 0]


@pytest.mark.parametrize("p", [2, math.inf])
def test_the_rise_is_that_of_an_attack(p: float) -> None:
    """eps · slope + eps²/2 · bend against the loss at x + eps phi, in float64, to third order."""
    case = NAMED["attention"]
    found, truth = attack_gradient(problem(case), p), twin(case)
    model, (x, y) = case.model(torch.float64), case.data("train", torch.float64)
    phi = torch.from_numpy(truth.phi(p)).view_as(x)
    gaps = []
    for eps in (1e-2, 5e-3):
        rise = (entropy(model(x + eps * phi), y).mean() - entropy(model(x), y).mean()).item()
        gaps.append(abs(rise - eps * found.slope - eps**2 / 2 * found.bend))
    assert gaps[1] < gaps[0] / 7
