"""The expansion of adversarial training's loss at the clean network: dense derivatives, minima in float64, then whole runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from diagnosis import bench, fit
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian
from torch.nn import functional

from robustradar import Bench, Fit, Threat
from robustradar.analysis import Asked, ByCurvature, asked
from robustradar.judge import Guarded
from robustradar.numerics import influence as numerics
from robustradar.numerics import linear
from robustradar.numerics.balls import ascent
from robustradar.numerics.problem import UnavailableError
from robustradar.report.flag import meaning
from robustradar_native.attack import PGD
from robustradar_transition.expansion import Expansion, expanded, rise
from robustradar_transition.link import Floats, parabola

STRENGTHS = (0.04, 0.02, 0.01)


def squares(z: Tensor, y: Tensor) -> Tensor:
    return (z[:, 0] - y).square()


def entropies(z: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(z, y, reduction="none")


def line() -> nn.Module:
    return nn.Linear(3, 1, bias=False, dtype=torch.float64)


def softplus() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.Softplus(), nn.Linear(2, 2)).double()


@dataclass
class Case:
    """A network in float64 with data of three features; the same samples serve for training and evaluation."""

    build: Callable[[], nn.Module]
    p: float = math.inf
    ridge: float = 0.0
    n: int = 30
    bounds: tuple[float, float] | None = None
    model: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.model = self.build()
        rng = np.random.default_rng(0)
        self.x = torch.from_numpy(rng.standard_normal((self.n, 3)))
        truth = torch.tensor([1.0, -0.5, 0.25], dtype=torch.float64)
        u = self.x @ truth
        # Residuals stay away from 0, where the worst case has a kink.
        noise = torch.from_numpy(rng.choice([-1.0, 1.0], self.n) * rng.uniform(0.6, 1.2, self.n))
        self.regression = self.build is line
        self.y = u + noise if self.regression else (u + noise > 0).long()
        self.loss = squares if self.regression else entropies
        if self.bounds:
            self.x = self.x.clamp(*self.bounds)
        if self.regression:
            self.put(truth)

    @property
    def theta(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self.model.parameters()])

    def put(self, theta: Tensor) -> Case:
        nn.utils.vector_to_parameters(theta, self.model.parameters())
        return self

    def losses(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        shapes = [(name, p.shape) for name, p in self.model.named_parameters()]
        parts = theta.split([shape.numel() for _, shape in shapes])
        named = {name: part.view(shape) for (name, shape), part in zip(shapes, parts, strict=True)}
        found: Tensor = self.loss(functional_call(self.model, named, (x,)), y)
        return found

    def attacked(self, theta: Tensor, eps: float) -> Tensor:
        """The mean worst loss in a small ball: closed, or by a fixed point of the ascent."""
        if self.regression:
            return linear.losses(theta, self.x, self.y, eps, self.p).mean()
        x = self.x
        for _ in range(12 if eps else 0):
            g = grad(lambda at: self.losses(theta.detach(), at, self.y).sum())(x)
            x = self.x + eps * ascent(g, self.p)
        return self.losses(theta, x, self.y).mean()

    def trained(self, eps: float) -> Tensor:
        """The minimiser of the adversarial objective."""

        def objective(at: Floats) -> tuple[float, Floats]:
            theta = torch.from_numpy(at).requires_grad_()
            value = self.attacked(theta, eps) + self.ridge / 2 * theta.square().sum()
            (g,) = torch.autograd.grad(value, theta)
            return float(value.detach()), g.numpy()

        found = minimize(objective, self.theta.numpy(), jac=True, method="BFGS", options={"gtol": 1e-9})
        return torch.from_numpy(found.x)

    def settled(self) -> Case:
        """At the minimum of the clean objective."""
        return self.put(self.trained(0.0))

    def bench(self, evaluation: int | None = None) -> tuple[Bench, Fit]:
        threat = Threat(self.p, 0.1, self.bounds)
        halves = list(zip(self.x.split(7), self.y.split(7), strict=True))
        classes = None if self.regression else 2

        def attack(need: Any) -> Guarded:
            return Guarded(PGD(steps=20, random_start=False), "attack", need.threat, classes, 0)

        clean = fit(model=self.model, optimizer="lbfgs", weight_decay=self.ridge)
        unused = {"train": None, "losses": None}
        given = {"splits": {"train": halves, "evaluation": halves}, "loss": self.loss, "network": self.build, "attack": attack}
        return bench({"clean": clean}, classes=classes, threat=threat, **given, **unused), clean

    def expanded(self, damping: float, threshold: float, **settings: Any) -> Expansion:
        bench, clean = self.bench()
        return expanded(bench, clean, precise(bench, damping, **settings), np.array([threshold]))


def precise(bench: Bench, damping: float, **settings: Any) -> Asked:
    return asked(ByCurvature(damping=damping, residual=1e-9, **settings), bench)


def errors(case: Case, found: Expansion, at: Callable[[float], Tensor]) -> list[float]:
    """How far the parabola is from the loss at the weights for each strength."""
    R, S, A = found.coefficients
    return [abs(float(case.attacked(at(eps), eps)) - (R + eps * S + eps**2 * A)) for eps in STRENGTHS]


def orders(errors: list[float]) -> list[float]:
    """The power of eps with which errors at halved strengths fall."""
    return [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]


# Coefficients


@pytest.mark.parametrize(
    ("build", "p", "ridge"), [(line, 1.5, 0.0), (line, math.inf, 0.05), (softplus, 2.0, 0.05), (softplus, math.inf, 0.0)]
)
def test_it_is_the_dense_expansion_at_the_predicted_weights(build: Callable[[], nn.Module], p: float, ridge: float) -> None:
    case, mu = Case(build, p, ridge), 0.4
    theta = case.theta
    found = case.expanded(mu, float(case.losses(theta, case.x, case.y).mean()) + 0.05)

    g = grad(lambda x: case.losses(theta, x, case.y).sum())(case.x)
    phi = ascent(g, p)

    def along(t: Tensor, at: Tensor) -> Tensor:
        return case.losses(at, case.x + t * phi, case.y).mean()

    zero = torch.zeros((), dtype=torch.float64)
    H = hessian(along, argnums=1)(zero, theta)
    Phi = grad(grad(along), argnums=1)(zero, theta)
    ifa = -torch.linalg.solve(H + (ridge + mu) * torch.eye(len(H)), Phi)
    moved = torch.func.hessian(lambda t: along(t, theta + t * ifa))(zero)
    start = grad(lambda t: along(t, theta + t * ifa))(zero)
    gradient = grad(along, argnums=1)(zero, theta) + ridge * theta  # of the objective, 0 at its minimum
    R, S, A = found.coefficients
    assert (R, S + float(gradient @ ifa), A) == pytest.approx((float(along(zero, theta)), float(start), float(moved) / 2), rel=1e-7)
    assert found.slope == pytest.approx(float(grad(along)(zero, theta)), rel=1e-9)
    assert found.pull == pytest.approx(float(-ridge * theta @ ifa), rel=1e-7)
    assert found.bend == pytest.approx(float(hessian(along)(zero, theta)), rel=1e-9, abs=1e-12)
    assert found.damping == mu
    falling = orders(errors(case, replace(found, coefficients=(R, S + float(gradient @ ifa), A)), lambda eps: theta + eps * ifa))
    assert min(falling) > 2.7, "what is left out is of third order, wherever the weights are"


@pytest.mark.parametrize("p", [2.0, math.inf])
def test_it_is_the_loss_of_adversarial_training_to_second_order(p: float) -> None:
    case = Case(line, p).settled()
    found = case.expanded(0.0, 2.0)
    assert min(orders(errors(case, found, case.trained))) > 2.7
    assert found.pull == 0
    assert found.relief > 0.1 * found.bend, "the weights' answer is no small part of it"


def parabola_at(found: Expansion, eps: float) -> float:
    R, S, A = found.coefficients
    return R + eps * S + eps**2 * A


def test_with_weight_decay_to_first_order() -> None:
    case = Case(line, 2.0, ridge=0.2).settled()
    found = case.expanded(0.0, 2.0)
    assert orders(errors(case, found, case.trained))[-1] == pytest.approx(2, abs=0.2)
    assert found.pull > 0.01 * found.slope, "attacks shrink the weights, and the loss grows where decay had already shrunk them"


def test_a_damped_answer_is_worth_less() -> None:
    case = Case(line, 2.0).settled()
    free, held = (case.expanded(mu, 2.0) for mu in (0.0, 1.0))
    assert 0 < held.relief < free.relief
    assert (held.value or math.inf) < (free.value or math.inf)


# The crossing


def test_the_crossing_is_that_of_the_parabola() -> None:
    case = Case(line, 2.0).settled()
    R, S, A = case.expanded(0.0, 2.0).coefficients
    found = case.expanded(0.0, R + 0.1)
    roots = np.roots([A, S, -0.1])
    assert found.status == "extrapolated"
    assert found.value == pytest.approx(min(r for r in roots if r > 0), rel=1e-9)
    assert parabola_at(found, found.value or 0) == pytest.approx(R + 0.1, rel=1e-12)
    assert found.share == pytest.approx((found.value or 0) * A / S, rel=1e-9)
    assert found.threshold == pytest.approx(R + 0.1)


def test_statuses() -> None:
    case = Case(line, 2.0).settled()
    R, S, A = case.expanded(0.0, 2.0).coefficients
    below = case.expanded(0.0, R - 0.1)
    assert (below.status, below.value, below.share, below.shown) == ("below-zero", None, None, None)
    assert case.expanded(0.0, R).status in ("extrapolated", "below-zero"), "rounding decides"

    turned = Case(softplus, 2.0)
    with_turn = turned.expanded(0.4, 100.0)
    assert with_turn.coefficients[2] < 0
    assert (with_turn.status, with_turn.value, with_turn.high) == ("beyond-grid", None, None)


@pytest.mark.parametrize(
    ("coefficients", "threshold", "expected"),
    [
        ((1.0, 2.0, 0.0), 2.0, 0.5),
        ((1.0, 2.0, -1.0), 1.75, 0.5),  # the first of two
        ((1.0, 2.0, -1.0), 2.0, 1.0),  # at the turn
        ((1.0, 2.0, -1.0), 2.1, math.inf),
        ((1.0, -1.0, 1.0), 1.0, 1.0),  # falls first
        ((1.0, -1.0, 1.0), 3.0, 2.0),
        ((1.0, -1.0, 0.0), 3.0, math.inf),
        ((1.0, -1.0, -1.0), 3.0, math.inf),
        ((1.0, 0.0, 4.0), 2.0, 0.5),
        ((1.0, 0.0, 0.0), 2.0, math.inf),
        ((1.0, 2.0, 1.0), 1.0, 0.0),
        ((1.0, 2.0, 1.0), 0.9, -math.inf),
    ],
)
def test_the_first_rising_branch(coefficients: tuple[float, ...], threshold: float, expected: float) -> None:
    assert parabola(np.array([coefficients]), np.array([threshold])).tolist() == [expected]


def test_the_interval_resamples_both_splits() -> None:
    case = Case(line, 2.0, n=60).settled()
    bench, clean = case.bench()
    evaluation = 2 + np.random.default_rng(1).uniform(-1, 1, 50)
    found = expanded(bench, clean, precise(bench, 0.0), evaluation)
    start, A, rng = rise(bench, clean, None), found.coefficients[2], np.random.default_rng(5)
    draws = []
    for _ in range(2000):
        i, j = rng.integers(60, size=60), rng.integers(50, size=50)
        r, s, t = start.losses[i].mean(), start.slopes[i].mean() + found.pull, evaluation[j].mean()
        draws.append((-s + math.sqrt(s * s + 4 * A * (t - r))) / (2 * A))
    assert found.low is not None and found.high is not None and found.value is not None
    assert [found.low, found.high] == pytest.approx(np.quantile(draws, [0.025, 0.975]), rel=0.05)
    assert found.low < found.value < found.high
    assert expanded(bench, clean, precise(bench, 0.0), evaluation) == found


# Its start


class Once(torch.autograd.Function):
    """Tanh, to be differentiated once only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.tanh())
        return x.tanh()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        (t,) = ctx.saved_tensors
        return grad_output * (1 - t * t)  # type: ignore[no-any-return]


class Layer(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = Once.apply(x)
        return found


@pytest.mark.parametrize("middle", [nn.Tanh, nn.ReLU, Layer])
@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
def test_the_start_takes_no_second_derivative(middle: type[nn.Module], p: float) -> None:
    case = Case(lambda: nn.Sequential(nn.Linear(3, 4), middle(), nn.Linear(4, 2)).double(), p)
    bench, clean = case.bench()
    found = rise(bench, clean, None)
    x = case.x.clone().requires_grad_()
    values = entropies(case.model(x), case.y)
    (g,) = torch.autograd.grad(values.sum(), x)
    q = {1.0: math.inf, 2.0: 2.0, math.inf: 1.0}[p]
    np.testing.assert_allclose(found.losses, values.detach(), rtol=1e-12)
    np.testing.assert_allclose(found.slopes, g.norm(q, dim=1), rtol=1e-12)
    flat = int((g == 0).all(1).sum())
    assert found.flags == ((f"zero-gradients:{flat}/30",) if flat else ())
    assert all(q.grad is None and q.requires_grad for q in case.model.parameters())


def test_the_box_holds_the_start_back() -> None:
    case = Case(softplus, bounds=(-1.0, 1.0))
    bench, clean = case.bench()
    boxed, free = rise(bench, clean, (-1.0, 1.0)), rise(bench, clean, None)
    x = case.x.clone().requires_grad_()
    (g,) = torch.autograd.grad(entropies(case.model(x), case.y).sum(), x)
    out = ((case.x == 1) & (g > 0)) | ((case.x == -1) & (g < 0))
    assert out.any()
    np.testing.assert_allclose(boxed.slopes, g.masked_fill(out, 0).abs().sum(1), rtol=1e-12)
    assert (boxed.slopes <= free.slopes).all()
    found = expanded(bench, clean, precise(bench, 0.4), np.array([5.0]))
    assert found.slope == pytest.approx(boxed.slopes.mean(), rel=1e-9)


def test_samples_without_gradient_are_told() -> None:
    case = Case(softplus)
    with torch.no_grad():
        case.model.get_parameter("0.weight").zero_()
    bench, clean = case.bench()
    found = rise(bench, clean, None)
    assert (found.flags, found.slopes.max()) == (("zero-gradients:30/30",), 0)
    with pytest.raises(UnavailableError, match=r"^the loss's gradient in x is zero on all 30 samples$"):
        expanded(bench, clean, precise(bench, 0.4), np.array([5.0]))


def test_a_loss_that_is_not_finite_is_no_start() -> None:
    case = Case(softplus)
    with torch.no_grad():
        case.model.get_parameter("0.weight").fill_(math.nan)
    bench, clean = case.bench()
    with pytest.raises(UnavailableError, match=r"^the training loss or its gradient in x is not finite$"):
        rise(bench, clean, None)


# What it says of itself


def test_the_regime_is_seen_by_an_attack_on_the_predicted_weights() -> None:
    case = Case(line, 2.0).settled()
    R = case.expanded(0.0, 2.0).coefficients[0]
    near, far = case.expanded(0.0, R + 0.01), case.expanded(0.0, R + 50.0)
    assert near.shown == pytest.approx(1, abs=0.02)
    assert near.flags == ()
    assert far.value is not None and far.shown is not None
    assert abs(far.shown - 1) > 0.1
    flag = f"outside-regime:{far.shown:.3g}"
    assert far.flags == (flag,)
    assert meaning(flag) == (
        f"{flag}: attacked at this strength, the predicted weights lose this multiple of the rise that the expansion predicts"
    )


def test_the_regime_is_that_of_its_parabola() -> None:
    case, mu = Case(softplus, 2.0), 20.0
    bench, _ = case.bench()
    R = float(case.losses(case.theta, case.x, case.y).mean())
    found = case.expanded(mu, R + 0.01)
    assert found.value is not None
    problem = numerics.Problem(case.model, case.loss, bench.splits["train"])
    ifa = numerics.influence(problem, problem, precise(bench, mu).settings).ifa
    assert ifa is not None
    moved = float(case.attacked(case.theta + found.value * ifa, found.value))
    assert found.shown == pytest.approx((moved - R) / 0.01, rel=1e-3)
    assert found.shown != 1


def test_an_indefinite_hessian_is_a_reason() -> None:
    case = Case(softplus, 2.0)
    with pytest.raises(UnavailableError, match=r"^H_t \+ μI is indefinite at damping=1e-06: \d+ Ritz values lie below −μ\. A damping "):
        case.expanded(1e-6, 2.0)


def test_it_has_the_flags_of_the_analysis() -> None:
    case = Case(softplus, 2.0)
    bench, clean = case.bench()
    found = expanded(bench, clean, asked(ByCurvature(), bench), np.array([float(case.losses(case.theta, case.x, case.y).mean()) + 0.01]))
    stems = {flag.partition(":")[0] for flag in found.flags}
    assert {"damping-raised", "not-converged"} <= stems, "weights that were never trained"
