"""Linear regression under attack, simulated: against autograd, SciPy's minimiser, closed forms and plain sampling; then the metrics."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from robustradar import Bench, Measured, Metric, Outcome, Skipped, Task, Threat
from robustradar.numerics import linear
from robustradar.registry import Request
from robustradar.report.table import text
from robustradar.screening import prepare, rank
from robustradar.values import Ref
from robustradar_transition import simulation
from robustradar_transition.linear import NO_SLOPE, NO_STRENGTH, LinearExponent, LinearPValue, LinearTrajectory, LinearWidth
from robustradar_transition.simulation import Floats, Sample

SHAPES = [(3, 12), (6, 6), (30, 5)]


def at(theta: Floats, x: Floats, y: Floats, eps: float) -> torch.Tensor:
    """The adversarial loss of one sample by the product's tensors, for autograd."""
    return linear.losses(torch.tensor(theta, requires_grad=True), torch.tensor(x), torch.tensor(y), eps, 2).mean()


# Samples and losses


@pytest.mark.parametrize(("d", "n", "error"), [(5, 40, 5 / 34), (60, 6, 2.25 * 0.9 + 6 / 53)])
def test_samples_have_the_error_of_least_squares(d: int, n: int, error: float) -> None:
    """E‖θ̂(0) − θ0‖² is d/(n−d−1) for d < n, and ‖θ0‖²(1−n/d) + n/(d−n−1) for d > n: the drawn coordinates are as good as x."""
    sample = simulation.drawn(d, n, 1.5, 20_000, 0)
    risks = simulation.risk(simulation.clean(sample), sample.theta0)
    assert risks.mean() == pytest.approx(1 + error, abs=4 * risks.std() / math.sqrt(20_000))


def test_samples_of_many_inputs_have_the_gram_matrix_of_normal_ones() -> None:
    """For x [3, 50], E xxᵀ = 50·I, and its entries vary by 2·50 on the diagonal and by 50 off it."""
    x = simulation.drawn(50, 3, 1.0, 100_000, 0).x
    gram = x @ x.transpose(0, 2, 1)
    assert x.shape == (100_000, 3, 4)
    assert gram.mean(0) == pytest.approx(50 * np.eye(3), abs=0.2)
    assert gram.var(0) == pytest.approx(50 * (1 + np.eye(3)), rel=0.03)


def test_losses_are_those_of_the_numerics_and_the_risk_that_of_new_data() -> None:
    sample = simulation.drawn(4, 7, 1.0, 3, 0)
    theta = np.random.default_rng(0).standard_normal((3, 4))
    expected = [float(at(theta[b], sample.x[b], sample.y[b], 0.3).detach()) for b in range(3)]
    assert simulation.losses(theta, sample, 0.3) == pytest.approx(expected)
    new = simulation.drawn(4, 1_000_000, 1.0, 1, 1)
    assert simulation.risk(theta[:1], new.theta0) == pytest.approx(simulation.losses(theta[:1], new, 0.0), rel=0.01)


# Training


@pytest.mark.parametrize(("d", "n"), SHAPES)
def test_the_gradient_is_that_of_autograd(d: int, n: int) -> None:
    """With 2ε²θ, not 2ε²θ/n as [P] prints."""
    sample = simulation.drawn(d, n, 1.0, 2, 0)
    theta = np.random.default_rng(1).standard_normal(sample.x[:, 0].shape)
    for eps in (0.0, 0.7):
        found = simulation.gradient(theta, sample, eps)
        for b in range(2):
            leaf = torch.tensor(theta[b], requires_grad=True)
            loss = linear.losses(leaf, torch.tensor(sample.x[b]), torch.tensor(sample.y[b]), eps, 2).mean()
            assert found[b] == pytest.approx(torch.autograd.grad(loss, leaf)[0].numpy())


def least(x: Floats, y: Floats, eps: float) -> float:
    """The least loss by SciPy: min (1/n) Σ (u_i + ε s)² with u >= ±(y − xθ), s² >= ‖θ‖²."""
    n, k = x.shape

    def loss(z: Floats) -> float:
        return float(np.mean((z[k : k + n] + eps * z[-1]) ** 2))

    rows: list[dict[str, Any]] = [{"type": "ineq", "fun": lambda z, s=s: z[k : k + n] - s * (y - x @ z[:k])} for s in (1, -1)]
    rows.append({"type": "ineq", "fun": lambda z: z[-1] - math.sqrt(z[:k] @ z[:k] + 1e-14)})
    theta = np.linalg.solve(x.T @ x + np.eye(k), x.T @ y)
    start = np.concatenate([theta, np.abs(y - x @ theta) + 0.1, [np.linalg.norm(theta) + 0.1]])
    return float(minimize(loss, start, method="SLSQP", constraints=rows, options={"maxiter": 2000, "ftol": 1e-13}).fun)


@pytest.mark.parametrize(("d", "n"), SHAPES)
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_the_minimiser_reaches_the_least_loss(d: int, n: int, share: float) -> None:
    """From interpolation, where there is any, to nearly the strength at which θ is 0."""
    sample = simulation.drawn(d, n, 1.5, 4, 2)
    eps = share * float((np.linalg.norm(np.einsum("bnk,bn->bk", sample.x, sample.y), axis=1) / np.abs(sample.y).sum(1)).min())
    expected = np.array([least(sample.x[b], sample.y[b], eps) for b in range(4)])
    found = simulation.losses(simulation.minimiser(sample, eps), sample, eps)
    assert found == pytest.approx(expected, rel=2e-5)


def test_one_sample_by_hand() -> None:
    """With x = (3, 4) and y = 5, θ = y x/‖x‖² until ε = ‖x‖ = 5, and 0 from there."""
    sample = Sample(np.array([[[3.0, 4.0]]]), np.array([[5.0]]), np.zeros((1, 1)), np.zeros(2))
    assert simulation.minimiser(sample, 2.0)[0] == pytest.approx([0.6, 0.8], rel=1e-6)
    assert simulation.minimiser(sample, 6.0)[0] == pytest.approx([0, 0], abs=1e-4)


def test_descent_ends_at_the_minimiser() -> None:
    sample = simulation.drawn(3, 50, 1.0, 4, 0)
    end = simulation.descent(np.zeros((4, 3)), lambda theta: simulation.gradient(theta, sample, 0.2), 0.02, 2000)[-1]
    assert simulation.losses(end, sample, 0.2) == pytest.approx(simulation.losses(simulation.minimiser(sample, 0.2), sample, 0.2), rel=1e-3)


def test_a_trajectory_does_not_depend_on_the_coordinates() -> None:
    sample = simulation.drawn(40, 5, 1.0, 3, 0)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((40, 6)))[0].T  # six orthonormal rows
    whole = Sample(sample.x @ turn, sample.y, sample.noise, sample.theta0 @ turn)
    found, plain = simulation.trajectory(sample, 2.0, 20), simulation.trajectory(whole, 2.0, 20)
    assert found == pytest.approx(plain, rel=1e-6)
    assert found.shape == (20, 3)
    assert found[0] == pytest.approx(0)
    assert found[-1].min() > 0.01


# The critical strength


def test_the_critical_strength_is_where_training_loss_meets_evaluation_loss() -> None:
    sample = simulation.drawn(5, 50, 1.25, 400, 0)
    found = simulation.crossing(sample)
    assert found is not None
    trained = simulation.losses(simulation.minimiser(sample, found.eps), sample, found.eps)
    assert found.train < trained.mean()
    assert found.threshold == pytest.approx(1 + 5 / 44, abs=0.03)
    # before the control variates the two differ by their sampling error alone
    assert trained.mean() == pytest.approx(found.threshold, abs=4 * trained.std() / 20)
    assert found.values.mean() == pytest.approx(found.eps)
    # what repeats say of ε* is about how far other repeats move it
    others = [simulation.crossing(simulation.drawn(5, 50, 1.25, 400, seed)) for seed in range(1, 9)]
    spread = np.std([other.eps for other in others if other is not None], ddof=1)
    assert 0.4 < spread / (found.values.std() / 20) < 2.2


@pytest.mark.parametrize("signal", [1.0, 3.0])
def test_with_many_samples_the_critical_strength_is_proportional_to_d_over_n(signal: float) -> None:
    """σ√(π/2)/‖θ0‖·d/n: the gap of 2σ²d/n over the slope 2‖θ0‖σ√(2/π)."""
    found = simulation.crossing(simulation.drawn(4, 1000, signal, 200, 0))
    assert found is not None
    assert found.eps == pytest.approx(math.sqrt(math.pi / 2) / signal * 4 / 1000, abs=4 * found.values.std() / math.sqrt(200))


def test_a_weak_signal_has_no_critical_strength() -> None:
    assert simulation.crossing(simulation.drawn(2000, 10, 0.5, 100, 0)) is None


def test_p_values_by_hand() -> None:
    assert simulation.p_values(np.array([0.0, 2.0, 2.5, 9.0]), np.array([3.0, 1.0, 2.0])) == pytest.approx([1, 0.75, 0.5, 0.25])


# The network


def test_the_networks_gradient_is_that_of_autograd_at_the_attacked_inputs() -> None:
    sample, eps = simulation.drawn(3, 8, 1.0, 1, 0), 0.4
    weight = torch.tensor(np.random.default_rng(0).standard_normal((1, 5, 3)), requires_grad=True)
    a, x, y = (torch.tensor(part) for part in (simulation.second_layer(5), sample.x[0], sample.y[0]))
    assert a.square().sum() == pytest.approx(1)

    def output(inputs: torch.Tensor) -> torch.Tensor:
        return torch.tanh(inputs @ weight[0].T) @ a

    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad((output(leaf) - y).square().sum(), leaf)
    moved = x + eps * slope / slope.norm(dim=1, keepdim=True)
    (expected,) = torch.autograd.grad((output(moved) - y).square().mean(), weight)
    assert simulation.network_gradient(weight.detach().numpy(), sample, eps) == pytest.approx(expected.numpy())


def test_near_0_the_network_is_the_linear_model() -> None:
    sample = simulation.drawn(3, 8, 1.0, 2, 0)
    weight, a = np.random.default_rng(0).standard_normal((2, 5, 3)) * 1e-6, simulation.second_layer(5)
    found = a @ simulation.network_gradient(weight, sample, 0.4)
    assert found == pytest.approx(simulation.gradient(a @ weight, sample, 0.4), rel=1e-6)


def test_the_first_weights_vanish(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of them change nothing that is shown."""
    sample = simulation.drawn(3, 30, 1.0, 20, 0)
    found = simulation.network_ratio(sample, 0.2, 8, 60, 0)
    monkeypatch.setattr(simulation, "_VANISHING", simulation._VANISHING / 2)
    for before, after in zip(found, simulation.network_ratio(sample, 0.2, 8, 60, 0), strict=True):
        assert after.mean() == pytest.approx(before.mean(), abs=1e-3)


# The metrics


def bench(seed: int = 0) -> Bench:
    task = Task(Ref("d", (), "t", "d"), "f", (1,), 1, None, None, {})
    return Bench(task, Threat(2.0, 1.0, None), {}, {}, {}, lambda z, y: (z[:, 0] - y).square(), nn.Module, seed)


def measured(metric: Metric, column: str = "") -> Measured:
    outcomes = metric.measure(bench())
    assert list(outcomes) == [c.name for c in metric.columns]
    found = outcomes[column or metric.columns[0].name]
    assert isinstance(found, Measured) and found.low is not None and found.high is not None
    assert found.low <= found.value <= found.high
    return found


@pytest.mark.parametrize(
    ("metric", "claimed", "refuted"),
    [
        (LinearExponent(d=(4, 8), n=(200, 800)), 1.0, 0.5),
        (LinearExponent(d=(4, 8), n=(200, 800), signal=2, weak=True), 0.5, 1.0),
    ],
)
def test_few_inputs_have_the_exponent_1_and_a_fading_signal_the_exponent_one_half(
    metric: LinearExponent, claimed: float, refuted: float
) -> None:
    found = measured(metric)
    low, high = found.low or 0.0, found.high or 0.0
    assert found.value == pytest.approx(claimed, abs=0.1)
    assert not low < refuted < high
    assert found.flags == ("claimed-1/2",)
    settings = found.details["settings"]
    assert [(row["d"], row["n"]) for row in settings] == [(4, 200), (4, 800), (8, 200), (8, 800)]
    assert settings[0]["signal"] == pytest.approx(2 * math.sqrt(4 / 200) if metric.weak else 1.25)
    slope = np.polyfit([math.log(row["d"] / row["n"]) for row in settings], [math.log(row["eps_star"]) for row in settings], 1)[0]
    assert found.value == pytest.approx(slope)


def test_many_inputs_have_about_the_exponent_one_half() -> None:
    found = measured(LinearExponent(d=(500, 8000), n=(5, 10), repeats=50))
    assert 0.48 < found.value < 0.6
    for row in found.details["settings"]:
        assert 1 < row["eps_star"] / math.sqrt(row["d"] / row["n"]) < 1.6


def test_an_exponent_takes_two_ratios() -> None:
    for metric in (LinearExponent(d=(4,), n=(50,)), LinearExponent(d=(200, 400), n=(5,), signal=0.1), LinearExponent(d=(4, 8), n=(50, 50))):
        few = metric.d == (4, 8)
        found = metric.measure(bench())["eps_star_exponent"]
        assert found == Skipped(NO_SLOPE) if not few else isinstance(found, Measured)
    assert NO_SLOPE == (
        "got fewer than two ratios d/n that have a critical strength, and an exponent takes two. "
        "Use more values of d or n, or a larger signal"
    )


def test_small_strengths_leave_the_trajectory_and_large_ones_do_not() -> None:
    small, large = (measured(LinearTrajectory(d=2000, n=10, eps=eps)) for eps in (1.0, 20.0))
    assert small.value < 0.05
    assert large.value > 0.9
    assert len(small.details["ratio"]) == 200
    assert small.value >= max(small.details["ratio"])


def test_p_values_drop_near_the_critical_strength() -> None:
    metric = LinearPValue(d=10, n=200, repeats=50)
    loss, theta = measured(metric, "loss_drop"), measured(metric, "theta_drop")
    assert -1 < loss.value < 1
    assert -1 < theta.value < 1.5
    p = np.array(loss.details["loss"])
    assert (np.diff(p) <= 0).all()
    assert p[0] == pytest.approx(0.5, abs=0.15)
    assert p[-1] == pytest.approx(1 / 301)
    assert np.interp(loss.value, loss.details["log_ratio"], p) == pytest.approx(0.25)
    assert measured(metric, "eps_star").value == pytest.approx(math.sqrt(math.pi / 2) / 1.25 * 10 / 200, rel=0.2)


def test_interpolation_is_no_clean_training_loss() -> None:
    """With d > n the clean loss is 0, so that any attack is extreme, while θ̂(ε) is θ̂(0) up to near ε*."""
    metric = LinearPValue(d=500, n=5, repeats=50)
    assert metric.measure(bench())["loss_drop"] == Skipped("the mean p-value is below 0.25 at ln(ε/ε*) = -4 already")
    theta = measured(metric, "theta_drop")
    assert -1 < theta.value < 0.1
    assert theta.details["theta"][4] == pytest.approx(theta.details["theta"][0])


def test_where_there_is_no_critical_strength_p_values_are_skipped() -> None:
    outcomes = LinearPValue(d=500, n=5, signal=0.1).measure(bench())
    assert set(outcomes.values()) == {Skipped(NO_STRENGTH)}
    assert NO_STRENGTH == (
        "at no strength does the adversarial training loss reach the clean evaluation loss: the vector 0 has a smaller one. "
        "Use a larger signal, or d/n further from 1"
    )


def test_wide_networks_follow_the_linear_model() -> None:
    found = measured(LinearWidth(widths=(128, 8, 32), d=5, n=50, repeats=20))
    rows = found.details["widths"]
    assert [row["width"] for row in rows] == [8, 32, 128]
    assert found.value == rows[-1]["ratio"] == pytest.approx(1, abs=0.05)
    slope = np.polyfit(np.log([8, 32, 128]), np.log([row["distance"] for row in rows]), 1)[0]
    assert slope == pytest.approx(-1, abs=0.25)


def test_the_study_prints_every_claim(tmp_path: Path) -> None:
    assert len(prepare("transition/linear", Request()).study.metrics) == 10
    small = (
        "transition/linear-exponent:d=4,n=50+200,repeats=20",
        "transition/linear-trajectory:repeats=20,steps=20",
        "transition/linear-p-value:d=4,n=50,repeats=20,clean=50",
        "transition/linear-width:widths=8,repeats=20,steps=20",
    )
    result = rank(prepare("transition/linear", Request(metrics=small)), store=tmp_path, device="cpu")
    assert not result.fits
    outcomes: dict[str, Outcome] = {score.column.name: score.outcome for score in result.scores}
    assert all(isinstance(outcome, Measured) for outcome in outcomes.values())
    shown = text(result)
    for title in ("eps star exponent", "trajectory ratio", "loss drop", "width ratio"):
        assert title in shown
    for mark, value in (("a", "0"), ("b", "1"), ("c", "1/2")):
        assert f"{mark} = claimed-{value}: the paper's claim for this number is {value}" in shown
    assert shown.count("±") >= 4
