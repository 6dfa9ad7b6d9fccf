"""Convex fits against oracles: other solvers, normal equations, and closed forms of the worst case."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from small_fits import PGD3, Fitting, assert_same, images, largest_difference, mlp, normed, table
from torch import Tensor, nn

from robustradar import ADVERSARIAL, Data, Objective, Recipe, Threat
from robustradar.training import lbfgs
from robustradar.training.convex import Convex
from robustradar.training.lbfgs import LBFGS
from robustradar_native.attack import LinearExact

CONVEX = Recipe(name="convex", optimizer="lbfgs", weight_decay=0.0, epochs=100, batch=50, tolerance=1e-9)
EXACT = LinearExact(name="linear-exact", min_classes=0)
Floats = NDArray[np.float64]


def linear(features: int, outputs: int, *, bias: bool = True) -> Callable[[], nn.Module]:
    return lambda: nn.Linear(features, outputs, bias=bias)


def regression(n: int = 80, features: int = 5, seed: int = 0, scale: float = 1.0) -> tuple[Floats, Floats]:
    """Ill-conditioned features and noisy targets, exact in float32."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, features)) * np.logspace(-0.5, 0.5, features)
    y = x @ rng.standard_normal(features) + 0.5 * rng.standard_normal(n)
    return (scale * x).astype(np.float32).astype(np.float64), (scale * y).astype(np.float32).astype(np.float64)


def weights(trained: Any, name: str = "weight") -> Floats:
    assert trained.state[name].dtype == torch.float64
    return np.asarray(trained.state[name].numpy(), dtype=np.float64)


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_least_squares_are_the_normal_equations(scale: float) -> None:
    x, y = regression(scale=scale)
    trained = Fitting(linear(5, 1, bias=False), CONVEX, data=table(x, y, None)).train()
    expected = np.linalg.solve(x.T @ x, x.T @ y)
    np.testing.assert_allclose(weights(trained)[0], expected, rtol=0, atol=1e-9)
    assert trained.record.epochs[-1]["gradient_norm"] <= 1e-9
    assert trained.record.flags == ()
    np.testing.assert_allclose(trained.record.epochs[-1]["train_objective_loss"], np.mean((y - x @ expected) ** 2), rtol=1e-12)


def test_ridge_has_the_penalty_in_the_objective() -> None:
    x, y = regression()
    trained = Fitting(linear(5, 1, bias=False), Recipe(**{**vars(CONVEX), "weight_decay": 0.3}), data=table(x, y, None)).train()
    # the derivative of mean (y - x theta)^2 + 0.3/2 |theta|^2
    expected = np.linalg.solve(2 * x.T @ x / len(y) + 0.3 * np.eye(5), 2 * x.T @ y / len(y))
    np.testing.assert_allclose(weights(trained)[0], expected, rtol=0, atol=1e-9)


def test_logistic_regression_is_sklearns() -> None:
    x, y = regression(n=120)
    label = (y > 0.2).astype(int)
    decay = 0.01

    class Binary(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:  # one logit against zero, as there
            z = super().forward(x)
            return torch.cat([torch.zeros_like(z), z], 1)

    recipe = Recipe(**{**vars(CONVEX), "weight_decay": decay})
    trained = Fitting(lambda: Binary(5, 1, bias=False), recipe, data=table(x, label, 2)).train()
    # C = 1/(n·λ): there the losses are summed
    peer = LogisticRegression(C=1 / (len(x) * decay), fit_intercept=False, tol=1e-12, max_iter=10_000).fit(x, label)
    np.testing.assert_allclose(weights(trained), peer.coef_, rtol=0, atol=1e-6)
    assert trained.record.flags == ()


def test_softmax_regression_of_three_classes_is_sklearns() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((90, 4)).astype(np.float32).astype(np.float64)
    label = np.argmax(x[:, :3] + 0.7 * rng.standard_normal((90, 3)), 1)
    recipe = Recipe(**{**vars(CONVEX), "weight_decay": 0.02})
    trained = Fitting(linear(4, 3, bias=False), recipe, data=table(x, label, 3)).train()
    peer = LogisticRegression(C=1 / (90 * 0.02), fit_intercept=False, tol=1e-12, max_iter=10_000).fit(x, label)
    np.testing.assert_allclose(weights(trained), peer.coef_, rtol=0, atol=1e-6)


def worst(theta: Floats, x: Floats, y: Floats, eps: float, q: float) -> float:
    """(1/n) Σ (|y − xθ| + ε‖θ‖_q)²."""
    return float(np.mean((np.abs(y - x @ theta) + eps * np.linalg.norm(theta, q)) ** 2))


def oracle(x: Floats, y: Floats, eps: float, q: int) -> float:
    """Its minimum, by SLSQP on the smooth epigraph form: mean u², u >= ±(y − xθ) + ε·s, s >= ‖θ‖_q."""
    n, d = x.shape
    start, *_ = np.linalg.lstsq(x, y, rcond=None)

    def parts(v: Floats) -> tuple[Floats, Floats, float, Floats]:
        return v[:d], v[d : 2 * d], float(v[2 * d]), v[2 * d + 1 :]  # theta, bounds of its entries, s, u

    def inside(v: Floats) -> Floats:
        theta, size, s, u = parts(v)
        r = y - x @ theta
        # for q = 2: s² >= |size|², size >= |theta|; for q = 1: s >= Σ size
        room = s - size.sum() if q == 1 else s - math.sqrt(float(size @ size) + 1e-300)
        return np.concatenate([u - r - eps * s, u + r - eps * s, size - theta, size + theta, [room]])

    jacobian_parts = np.zeros((2 * n + 2 * d + 1, 2 * d + 1 + n))
    jacobian_parts[:n, :d], jacobian_parts[n : 2 * n, :d] = x, -x
    jacobian_parts[: 2 * n, 2 * d] = -eps
    jacobian_parts[:n, 2 * d + 1 :] = jacobian_parts[n : 2 * n, 2 * d + 1 :] = np.eye(n)
    jacobian_parts[2 * n : 2 * n + d, :d], jacobian_parts[2 * n + d : 2 * n + 2 * d, :d] = -np.eye(d), np.eye(d)
    jacobian_parts[2 * n : 2 * n + d, d : 2 * d] = jacobian_parts[2 * n + d : 2 * n + 2 * d, d : 2 * d] = np.eye(d)
    jacobian_parts[-1, 2 * d] = 1

    def slopes(v: Floats) -> Floats:
        _, size, _, _ = parts(v)
        j = jacobian_parts.copy()
        j[-1, d : 2 * d] = -1 if q == 1 else -size / math.sqrt(float(size @ size) + 1e-300)
        return j

    norm = float(np.linalg.norm(start, q))
    first = np.concatenate([start, np.abs(start), [norm], np.abs(y - x @ start) + eps * norm])
    found = minimize(
        lambda v: float(np.mean(parts(v)[3] ** 2)),
        first,
        jac=lambda v: np.concatenate([np.zeros(2 * d + 1), 2 * parts(v)[3] / n]),
        constraints={"type": "ineq", "fun": inside, "jac": slopes},
        method="SLSQP",
        options={"maxiter": 1000, "ftol": 1e-14},
    )
    assert found.success, found.message
    return worst(found.x[:d], x, y, eps, q)


@pytest.mark.parametrize("eps", [0.05, 0.4])
@pytest.mark.parametrize(("p", "q"), [(2.0, 2), (math.inf, 1)])
def test_adversarial_regression_reaches_the_minimum_of_the_closed_form(p: float, q: int, eps: float) -> None:
    x, y = regression(n=30, features=4, seed=1)
    fitting = Fitting(linear(4, 1, bias=False), CONVEX, ADVERSARIAL, table(x, y, None), Threat(p, eps, None), EXACT)
    trained = fitting.train()
    theta = weights(trained)[0]
    found = worst(theta, x, y, eps, q)
    np.testing.assert_allclose(trained.record.epochs[-1]["train_adversarial_loss"], found, rtol=1e-10)  # float64 through and through
    np.testing.assert_allclose(found, oracle(x, y, eps, q), rtol=0, atol=1e-6)


def test_where_the_minimum_lies_on_a_kink_the_fit_ends_and_says_so() -> None:
    x, y = regression(n=30, features=4, seed=1)
    fitting = Fitting(linear(4, 1, bias=False), CONVEX, ADVERSARIAL, table(x, y, None), Threat(math.inf, 0.4, None), EXACT)
    record = fitting.train().record
    norm = record.epochs[-1]["gradient_norm"]
    assert len(record.epochs) < 30
    assert norm > 1e-3
    assert record.flags == (f"not-converged:gradient_norm={norm:.2g}",)


def test_a_mixture_of_logistic_losses_is_the_closed_forms() -> None:
    x, y = regression(n=60, features=4, seed=2)
    label, eps, xi, decay = (y > 0).astype(int), 0.2, 0.3, 0.05
    recipe = Recipe(**{**vars(CONVEX), "weight_decay": decay})

    class Margin(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            z = super().forward(x)
            return torch.cat([-z / 2, z / 2], 1)

    fitting = Fitting(lambda: Margin(4, 1, bias=False), recipe, Objective(xi), table(x, label, 2), Threat(2.0, eps, None), EXACT)
    trained = fitting.train()

    def value(theta: Floats) -> float:
        margin, size = (2 * label - 1) * (x @ theta), np.linalg.norm(theta)
        clean, hard = np.logaddexp(0, -margin), np.logaddexp(0, -margin + eps * size)
        return float(np.mean((1 - xi) * clean + xi * hard) + decay / 2 * size**2)

    found = minimize(value, np.ones(4), method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(weights(trained)[0], found.x, rtol=0, atol=1e-6)
    assert trained.record.flags == ()


def test_micro_batches_do_not_matter() -> None:
    x, y = regression(n=70)
    label = (y > 0).astype(int)
    states = [
        Fitting(linear(5, 2), Recipe(**{**vars(CONVEX), "weight_decay": 0.1, "batch": size}), data=table(x, label, 2)).train().state
        for size in (3, 70)
    ]
    assert largest_difference(*states) < 1e-9


def test_networks_with_chance_and_batch_statistics_are_fitted_in_evaluation_mode() -> None:
    fitting = Fitting(normed, Recipe(**{**vars(CONVEX), "epochs": 2}))
    before = {name: b.clone() for name, b in fitting.loop().network.named_buffers()}
    trained = fitting.train()
    assert_same({name: trained.state[name] for name in before}, before)
    assert trained.record.epochs[-1]["train_objective_loss"] < trained.record.epochs[0]["train_objective_loss"]


def test_the_same_fit_twice_is_the_same_to_the_bit() -> None:
    fitting = Fitting(mlp, Recipe(**{**vars(CONVEX), "epochs": 2}), ADVERSARIAL, attack=PGD3)
    assert_same(fitting.train().state, fitting.train().state)


def test_epochs_bound_the_work() -> None:
    record = Fitting(mlp, Recipe(**{**vars(CONVEX), "epochs": 1}), data=images()).train().record
    assert len(record.epochs) == record.selected_epoch == 1
    norm = record.epochs[0]["gradient_norm"]
    assert record.flags == (f"not-converged:gradient_norm={norm:.2g}",)


def test_a_fit_at_its_minimum_takes_no_step() -> None:
    x, y = regression()
    data: Data = table(x, y, None)
    trained = Fitting(linear(5, 1, bias=False), CONVEX, data=data).train()

    def at_minimum() -> nn.Module:
        network = nn.Linear(5, 1, bias=False).double()
        network.load_state_dict(trained.state)
        return network

    again = Fitting(at_minimum, CONVEX, data=data).train()
    assert len(again.record.epochs) == 1
    assert largest_difference(again.state, trained.state) < 1e-9


@pytest.mark.parametrize(("name", "got"), [("augment", "crop-flip"), ("precision", "bf16"), ("average", 0.9), ("clip", 1.0)])
def test_what_would_blur_the_objective_is_refused(name: str, got: Any) -> None:
    wanted = Recipe()
    message = f"optimizer=lbfgs: got {name}={got}, expected {name}={getattr(wanted, name)}, as it minimises over the data as they are"
    with pytest.raises(ValueError, match=f"^{message}$"):
        Recipe(optimizer="lbfgs", **{name: got})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patience": 3}, "got patience=3, expected patience=0"),
        ({"select": "accuracy"}, "got select=accuracy, expected select=last"),
    ],
)
def test_rules_of_selection_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^optimizer=lbfgs: {message}, as it ends by itself and its last weights are kept$"):
        Recipe(optimizer="lbfgs", **changes)


def minimised(function: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> tuple[float, LBFGS]:
    theta = nn.Parameter(start.clone())
    descent = LBFGS([theta])

    def closure() -> float:
        theta.grad = None
        value = function(theta)
        value.backward()
        return float(value.detach())

    for _ in range(steps):
        descent.step(closure)
    return float(function(theta).detach()), descent


@pytest.fixture(params=[0, 200])
def memory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs, and the whole matrix."""
    monkeypatch.setattr(lbfgs, "_DENSE", request.param)


@pytest.mark.usefixtures("memory")
def test_rosenbrocks_valley_is_walked_to_its_end() -> None:
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    value, descent = minimised(lambda t: 100 * (t[1] - t[0] ** 2) ** 2 + (1 - t[0]) ** 2, start, 60)
    assert value < 1e-20
    assert descent.gradient_norm < 1e-8


@pytest.mark.usefixtures("memory")
def test_a_kinked_function_is_brought_to_its_minimum() -> None:
    """max(|a|, 3|b|) + a²/2 + |a + b − 1|/4 at (0, 0): 1/4; torch's search for the strong Wolfe conditions stops above it."""
    start = torch.tensor([1.3, -0.7], dtype=torch.float64)
    value, _ = minimised(lambda t: torch.maximum(t[0].abs(), 3 * t[1].abs()) + t[0] ** 2 / 2 + (t.sum() - 1).abs() / 4, start, 120)
    assert abs(value - 0.25) < 1e-8


def test_nothing_moves_where_no_step_goes_down() -> None:
    theta = torch.zeros(3, dtype=torch.float64)
    value, descent = minimised(lambda t: t.abs().sum() + (t - t.detach()).sum(), theta, 3)
    assert value == 0.0
    assert torch.equal(descent.param_groups[0]["params"][0], theta)


def test_a_convex_fit_counts_like_any_other() -> None:
    fitting = Fitting(mlp, Recipe(**{**vars(CONVEX), "epochs": 1}), data=images(32))
    loop = fitting.loop()
    assert isinstance(loop, Convex)
    cost = fitting.train().record.cost
    assert cost.backward % 32 == 0
    assert cost.forward == cost.backward + 24
