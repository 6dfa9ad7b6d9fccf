"""The influence function against dense twins and exact adversarial training, and what is no number."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from oracle import TOLERANCE, Burst, bursting, every_case, every_dtype, off, pair, problem
from torch import Tensor, nn
from twins import (
    CASES,
    NAMED,
    Array,
    Box,
    Case,
    Dense,
    Solved,
    dense,
    entropy,
    solved,
    squared,
    twin,
    untouched,
)

from robustradar.numerics.curvature import hessian
from robustradar.numerics.influence import SWEEP, Influence, Settings, attack_gradient, influence
from robustradar.numerics.problem import Problem, UnavailableError
from robustradar.numerics.spectrum import density, mean_eigenvalue


def firm(truth: Dense) -> float:
    """A damping at which A has a condition number of at most 5, so that rounding is not magnified."""
    eigenvalues = np.linalg.eigvalsh(truth.H)
    return float(2 * max(0, -eigenvalues[0]) + 0.5 * eigenvalues[-1])


def answer(case: Case, p: float, bounds: Box | None, mu: float) -> Solved:
    t, e = twin(case), twin(case, "evaluation")
    return solved(t.H, e.H, t.Phi(p, bounds), e.gradient, mu)


# The influence function


def check(found: Influence, truth: Solved, gradient: Array, tolerance: float) -> None:
    assert off(found.ifa, -truth.x) < tolerance
    assert found.form == pytest.approx(truth.form, rel=10 * tolerance)
    assert found.first_order == pytest.approx(truth.first, abs=tolerance * float(np.linalg.norm(gradient) * np.linalg.norm(truth.x)))
    assert found.bracket is not None
    assert found.bracket.value == pytest.approx(truth.quadratic, rel=tolerance)
    assert found.bracket.low * (1 - tolerance) <= truth.quadratic <= found.bracket.high * (1 + tolerance)
    assert found.bracket.high - found.bracket.low <= 1e-3 * truth.quadratic


@every_case
@every_dtype
@pytest.mark.parametrize("p", [1.5, math.inf])
def test_influence_agrees_with_the_twin(case: Case, dtype: torch.dtype, p: float) -> None:
    train, evaluation = pair(case, dtype)
    t, e = twin(case), twin(case, "evaluation")
    mu = firm(t)
    truth = answer(case, p, case.bounds, mu)
    asked = 1e-13 if dtype == torch.float64 else 2e-6
    found = influence(train, evaluation, Settings(p, case.bounds, mu, residual=asked))
    check(found, truth, e.gradient, TOLERANCE[dtype])
    assert (found.definite, found.damping, found.raised, found.negative, found.curvature) == (True, mu, False, 0, "exact")
    assert off(found.attack.Phi, t.Phi(p, case.bounds)) < TOLERANCE[dtype]
    assert found.gradient_norm == pytest.approx(np.linalg.norm(t.gradient), rel=TOLERANCE[dtype])
    assert found.residual is not None
    assert found.residual <= (1e-11 if dtype == torch.float64 else 4e-6)
    assert found.asymmetry < 1e-3
    # The ends: the estimate lies inside the spectrum, and its error, though not proved, covers what is missing.
    for ends, expected in ((found.train, truth.train), (found.evaluation, truth.evaluation)):
        # Rounding of a product is relative to the largest eigenvalue, so that the smallest is known to a part of that alone.
        # A softmax network does not change where all logits move alike: an eigenvalue of 0 that Phi has no part in, and cannot show.
        noise = (1e-2 if case.name == "softmax" else 1e-5) * max(map(abs, expected))
        assert expected[0] - noise <= ends[0].value <= expected[0] + max(ends[0].error, 1e-2 * abs(expected[0])) + noise
        assert expected[1] - max(ends[1].error, 1e-3 * expected[1]) - noise <= ends[1].value <= expected[1] + noise


@every_case
@pytest.mark.parametrize("p", [1.0, 2.0])
def test_bounds_hold_and_are_those_of_the_dense_spectra(case: Case, p: float) -> None:
    """Corrected where the smallest eigenvalue of H_e is negative; moved out by the errors of the estimates."""
    train, evaluation = pair(case)
    mu = firm(twin(case))
    truth = answer(case, p, case.bounds, mu)
    found = influence(train, evaluation, Settings(p, case.bounds, mu, residual=1e-10))
    spectrum, length = found.spectrum_bound(), found.length_bound()
    assert spectrum is not None
    assert length is not None
    assert truth.spectrum is not None
    assert found.form is not None
    assert spectrum[0] <= length[0] <= found.form <= length[1] <= spectrum[1]
    for got, expected in ((spectrum, truth.spectrum), (length, truth.tight)):
        width = expected[1] - expected[0]
        assert got[0] == pytest.approx(expected[0], abs=0.03 * width)
        assert got[1] == pytest.approx(expected[1], abs=0.03 * width)


@every_case
def test_the_evaluation_is_split_by_sample(case: Case) -> None:
    train, evaluation = pair(case)
    mu = firm(twin(case))
    found = influence(train, evaluation, Settings(2, case.bounds, mu, residual=1e-13))
    x, y = case.data("evaluation", torch.float64)
    v = -answer(case, 2, case.bounds, mu).x
    singles = [dense(case.model(), case.loss, x[i : i + 1], y[i : i + 1]) for i in range(7)]
    assert off(found.first, np.array([s.gradient @ v for s in singles])) < 1e-9
    assert off(found.second, np.array([v @ s.H @ v for s in singles])) < 1e-9


@every_case
def test_the_sweep_is_of_the_same_form(case: Case) -> None:
    """Where the damping makes A definite; no number elsewhere."""
    train, evaluation = pair(case)
    mu = firm(twin(case))
    found = influence(train, evaluation, Settings(2, case.bounds, mu, residual=1e-8))
    lowest = np.linalg.eigvalsh(twin(case).H)[0]
    assert list(found.sweep) == list(SWEEP)
    for factor, form in found.sweep.items():
        damping = mu * factor
        if damping < -lowest:
            assert form is None
        elif damping > -1.1 * lowest:
            truth = answer(case, 2, case.bounds, damping)
            assert form == pytest.approx(truth.form, rel=1e-6, abs=1e-6 * (truth.tight[1] - truth.tight[0]))
    assert found.sweep[1.0] == found.form


@pytest.mark.parametrize("case", [c for c in CASES if c.name not in ("softmax", "regression")], ids=str)
def test_an_indefinite_hessian_gives_no_number_and_says_so(case: Case) -> None:
    eigenvalues = np.linalg.eigvalsh(twin(case).H)
    mu = -eigenvalues[0] / 3
    found = influence(*pair(case), Settings(2, case.bounds, mu))
    assert not found.definite
    for number in (found.ifa, found.form, found.first, found.second, found.first_order, found.bracket, found.residual):
        assert number is None
    assert found.spectrum_bound() is None
    assert found.length_bound() is None
    assert 1 <= found.negative <= (eigenvalues < -mu).sum()
    assert (found.damping, found.raised) == (mu, False)
    assert found.least_damping == pytest.approx(-eigenvalues[0], rel=0.02)
    assert found.least_damping >= -eigenvalues[0] * (1 - 1e-9)
    assert np.isfinite([found.gradient_norm, found.train[1].value, found.evaluation[1].value, found.attack.slope]).all()

    again = influence(*pair(case), Settings(2, case.bounds, 1.05 * found.least_damping))
    assert again.definite
    assert again.negative == 0


@every_case
def test_the_automatic_damping(case: Case) -> None:
    """The mean eigenvalue, or twice the most negative one: always definite."""
    eigenvalues = np.linalg.eigvalsh(twin(case).H)
    found = influence(*pair(case), Settings(2, case.bounds))
    mean, error = found.mean_eigenvalue
    assert abs(mean - eigenvalues.mean()) <= 5 * error + 1e-9
    assert found.damping == pytest.approx(max(mean, 2 * found.least_damping), rel=0.02)
    assert found.raised == (found.damping > mean * 1.000001)
    assert found.damping > -eigenvalues[0]
    assert found.definite
    truth = answer(case, 2, case.bounds, found.damping)
    assert found.residual is not None
    assert found.residual <= 1.1e-4
    assert off(found.ifa, -truth.x) <= 1e-4 * (eigenvalues[-1] + found.damping) / (eigenvalues[0] + found.damping)


def test_the_mean_eigenvalue_is_unbiased() -> None:
    case = NAMED["softplus"]
    with hessian(problem(case)) as H:
        few = [mean_eigenvalue(H, H.gradient, probes=4, seed=seed) for seed in range(60)]
        assert H.products == 240
    means = np.array([mean for mean, _ in few])
    truth = np.trace(twin(case).H) / twin(case).size
    assert abs(means.mean() - truth) <= 4 * means.std() / math.sqrt(60)
    assert np.sqrt(np.mean([error**2 for _, error in few])) == pytest.approx(means.std(), rel=0.3)


def test_densities_have_the_moments_of_their_spectra() -> None:
    """The whole one over random starts, to the error of as few; what Phi sees exactly: Phiᵀ Hᵏ Phi."""
    case = NAMED["tanh"]
    t = twin(case)
    found = influence(*pair(case), Settings(2, density=6))
    eigenvalues = np.linalg.eigvalsh(t.H)
    assert found.density is not None
    for one in (found.density, found.seen):
        assert sum(one.weights) == pytest.approx(1)
        assert list(one.values) == sorted(one.values)
        assert eigenvalues[0] - 1e-9 <= one.values[0] <= one.values[-1] <= eigenvalues[-1] + 1e-9
    assert found.density.mean == pytest.approx(eigenvalues.mean(), rel=0.3)
    Phi = t.Phi(2) / np.linalg.norm(t.Phi(2))
    power = Phi
    for k in range(1, 5):
        power = t.H @ power
        assert sum(w * v**k for v, w in zip(found.seen.values, found.seen.weights, strict=True)) == pytest.approx(Phi @ power, rel=1e-8)
    assert influence(*pair(case), Settings(2)).density is None


def test_the_density_of_a_small_spectrum_is_the_spectrum() -> None:
    """With as many steps as dimensions every eigenvalue is found; signs weigh them alike on average."""
    H = torch.from_numpy(twin(NAMED["regression"]).H)
    found = density(H, H[0], probes=400, steps=5, seed=0)
    eigenvalues = np.linalg.eigvalsh(H.numpy())
    nearest = np.abs(np.array(found.values)[:, None] - eigenvalues).argmin(1)
    assert np.abs(np.array(found.values) - eigenvalues[nearest]).max() < 1e-9
    np.testing.assert_allclose(np.bincount(nearest, weights=found.weights), 1 / 5, atol=0.04)


@every_dtype
@pytest.mark.parametrize("vectors", [3, 6])
def test_few_stored_vectors_give_the_same_answer(vectors: int, dtype: torch.dtype) -> None:
    case = NAMED["relu"]
    mu = firm(twin(case))
    truth = answer(case, 2, case.bounds, mu)
    found = influence(*pair(case, dtype), Settings(2, case.bounds, mu, residual=1e-5, vectors=vectors))
    assert off(found.ifa, -truth.x) < 1e-4
    assert found.form == pytest.approx(truth.form, rel=1e-3)
    assert found.residual is not None
    assert found.residual <= 1.5e-5


@pytest.mark.parametrize("memory", [0, 30_000])
def test_memory_and_batches_do_not_matter(memory: int) -> None:
    case = NAMED["convolution"]
    train, evaluation = pair(case)
    settings = Settings(2, case.bounds, firm(twin(case)), residual=1e-12)
    plain = influence(train, evaluation, settings)
    whole = [(torch.cat(xs), torch.cat(ys)) for xs, ys in (zip(*side.batches, strict=True) for side in (train, evaluation))]
    other = influence(
        Problem(train.model, train.loss, [whole[0]], train.ridge),
        Problem(train.model, train.loss, [whole[1]]),
        Settings(2, case.bounds, settings.damping, residual=1e-12, memory=memory),
    )
    assert plain.ifa is not None
    assert off(other.ifa, plain.ifa.numpy()) < 1e-9
    assert (other.form, other.first_order) == pytest.approx((plain.form, plain.first_order), rel=1e-8)


def test_gauss_newton_on_demand() -> None:
    case = NAMED["tanh"]
    t, e = twin(case), twin(case, "evaluation")
    found = influence(*pair(case), Settings(2, damping=0.1, residual=1e-12, rung="gauss-newton"))
    check(found, solved(t.G, e.G, t.Phi(2), e.gradient, 0.1), e.gradient, 1e-8)
    assert found.curvature == "gauss-newton"
    assert found.train[0].value >= case.ridge - 1e-6


# The theorem


@pytest.mark.parametrize("p", [1.5, 2, 4, math.inf])
def test_influence_is_the_derivative_of_adversarial_training(p: float) -> None:
    """Linear regression, where adversarial training has a closed form: the minimiser of the mean of (|r| + eps·norm(w, q))² + ridge."""
    rng = torch.Generator().manual_seed(1)
    x, noise = torch.randn(12, 3, generator=rng, dtype=torch.float64), torch.randn(12, 1, generator=rng, dtype=torch.float64)
    y = x @ torch.tensor([[1.0], [-0.7], [0.5]], dtype=torch.float64) + 0.3 * noise
    ridge, q = 0.2, 1.0 if p == math.inf else p / (p - 1)

    def trained(eps: float) -> Tensor:
        """By Newton, from the clean minimiser."""
        theta: Tensor = torch.linalg.solve(x.T @ x / 6 + ridge * torch.eye(3, dtype=torch.float64), x.T @ y[:, 0] / 6)

        def objective(w: Tensor) -> Tensor:
            robust = ((x @ w - y[:, 0]).abs() + eps * torch.linalg.vector_norm(w, q)).square().mean()
            total: Tensor = robust + ridge / 2 * w.square().sum()
            return total

        for _ in range(8):
            H = torch.as_tensor(torch.autograd.functional.hessian(objective, theta))
            theta -= torch.linalg.solve(H, torch.func.grad(objective)(theta))
        return theta

    net = nn.Linear(3, 1, bias=False).double()
    net.weight.data = trained(0.0)[None]
    given_ = Problem(net, squared, [(x[:5], y[:5]), (x[5:], y[5:])], ridge)
    found = influence(given_, Problem(net, squared, [(x, y)]), Settings(p, damping=0.0, residual=1e-12))
    h = 1e-4
    slope = (4 * trained(h / 2) - trained(h) - 3 * trained(0.0)) / h
    assert off(found.ifa, slope.numpy()) < 1e-6
    assert found.gradient_norm < 1e-12

    # Section 3 of the paper: what it costs in clean loss, to second order.
    eps = 1e-3
    cost = float((x @ trained(eps) - y[:, 0]).square().mean() - (x @ trained(0.0) - y[:, 0]).square().mean())
    assert found.form is not None
    assert found.first_order is not None
    assert cost == pytest.approx(eps * found.first_order + eps**2 / 2 * found.form, rel=0.05)


# What must stay as it was


@pytest.mark.parametrize("rung", [None, "gauss-newton", "finite-differences"])
@pytest.mark.parametrize("case", [NAMED["batch-norm"], NAMED["attention"]], ids=str)
def test_measuring_changes_nothing(case: Case, rung: Any) -> None:
    """A network in training mode, measured as in evaluation mode; a frozen parameter is a constant."""
    model = case.model(torch.float64).train()
    parameters = list(model.parameters())
    parameters[0].requires_grad_(False)
    parameters[1].grad = torch.ones_like(parameters[1])
    train, evaluation = (problem(case, split, model=model) for split in ("train", "evaluation"))
    t = dense(model, case.loss, *case.data("train"), ridge=case.ridge)
    e = dense(model, case.loss, *case.data("evaluation"))
    H = t.G if rung == "gauss-newton" else t.H
    mu = 1.0 + float(np.abs(np.linalg.eigvalsh(H)).max())
    with untouched(model, [*train.batches, *evaluation.batches]):
        found = influence(train, evaluation, Settings(2, case.bounds, mu, residual=1e-6, probes=2, rung=rung))
    assert off(found.attack.Phi, t.Phi(2, case.bounds)) < 1e-5
    assert off(found.ifa, -solved(H, e.H, t.Phi(2, case.bounds), e.gradient, mu).x) < 1e-5


@pytest.mark.parametrize("at", range(1, 40, 3))
def test_what_fails_midway_leaves_all_as_it_was(at: int) -> None:
    case, loss = NAMED["batch-norm"], bursting(entropy, at)
    model = case.model(torch.float64).train()
    train, evaluation = (problem(case, split, model=model, loss=loss) for split in ("train", "evaluation"))
    with untouched(model, [*train.batches, *evaluation.batches]), pytest.raises(Burst):
        influence(train, evaluation, Settings(2, case.bounds, 10.0, memory=0))


def test_the_same_twice() -> None:
    """Bit by bit, whatever the global random numbers are."""
    case = NAMED["attention"]
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(influence(*pair(case), Settings(2)))
    a, b = found
    assert a.ifa is not None
    assert b.ifa is not None
    assert torch.equal(a.ifa, b.ifa)
    assert (a.form, a.mean_eigenvalue, a.damping) == (b.form, b.mean_eigenvalue, b.damping)


# What is refused

LINE = (torch.ones(2, 4), torch.ones(2, 1))


@pytest.mark.parametrize("p", [0.5, 0.0, -1.0, math.nan])
def test_orders_below_one_are_refused(p: float) -> None:
    given_ = Problem(nn.Linear(4, 1), squared, [LINE])
    with pytest.raises(ValueError, match=f"balls: got p = {p}, expected 1 <= p <= inf."):
        attack_gradient(given_, p)
    with pytest.raises(ValueError, match=f"balls: got p = {p}, expected 1 <= p <= inf."):
        influence(given_, given_, Settings(p))


@pytest.mark.parametrize(
    ("data", "loss", "error", "message"),
    [
        ([], squared, ValueError, "curvature: got no samples, expected at least one."),
        (iter([LINE]), squared, ValueError, "can be gone through more than once"),
        ([LINE], lambda z, y: z[:, 0] * math.nan, UnavailableError, "not finite"),
        ([LINE], lambda z, y: (z[:, 0] - z[:, 0].detach()).sqrt(), UnavailableError, "not finite"),
        ([(LINE[0] * math.nan, LINE[1])], squared, UnavailableError, "not finite"),
    ],
    ids=["none", "once", "nan", "infinite-gradient", "nan-input"],
)
def test_what_has_no_attack_gradient_is_refused(data: Any, loss: Any, error: type[Exception], message: str) -> None:
    net = nn.Linear(4, 1)
    with pytest.raises(error, match=message):
        attack_gradient(Problem(net, loss, data), 2)


@pytest.mark.parametrize("changes", [{"damping": -1.0}, {"damping": math.nan}, {"probes": 1}, {"vectors": 1}], ids=str)
def test_settings_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    case = NAMED["regression"]
    name = next(iter(changes))
    with pytest.raises(ValueError, match=rf"{name}.*expected"):
        influence(*pair(case), Settings(2, **changes))


def test_evaluation_data_that_are_missing_or_bad_are_refused() -> None:
    case = NAMED["regression"]
    train, _ = pair(case)
    with pytest.raises(ValueError, match="curvature: got no samples, expected at least one."):
        influence(train, Problem(train.model, squared, []), Settings(2))
    with pytest.raises(UnavailableError, match="the loss or its gradient is not finite"):
        influence(train, Problem(train.model, lambda z, y: z[:, 0] * math.nan, train.batches), Settings(2))
    with pytest.raises(ValueError, match="expected"):
        influence(train, Problem(nn.Linear(3, 1).double(), squared, [(torch.ones(2, 3), torch.ones(2, 1))]), Settings(2))


def test_curvature_that_is_not_finite_is_refused() -> None:
    """A finite loss with a finite gradient whose second derivative is not: a^1.5 at a = 0."""

    class Corner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.a = nn.Linear(4, 1), nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            z: Tensor = self.inner(x) + self.a.pow(1.5)
            return z

    given_ = Problem(Corner(), squared, [(torch.rand(3, 4), torch.ones(3, 1))])
    with pytest.raises(UnavailableError, match="not finite"):
        influence(given_, given_, Settings(2, damping=1.0))


def test_a_copy_of_the_network_gives_the_same() -> None:
    case = NAMED["tanh"]
    train, evaluation = pair(case)
    other = Problem(copy.deepcopy(train.model), evaluation.loss, evaluation.batches)
    assert influence(train, evaluation, Settings(2, damping=1.0)).form == influence(train, other, Settings(2, damping=1.0)).form


@pytest.mark.gpu
@pytest.mark.parametrize("case", [NAMED["tanh"], NAMED["batch-norm"]], ids=str)
def test_a_gpu_gives_the_same(case: Case) -> None:
    """Coefficients are read every few steps there, so the space may be larger: both solve to the residual asked for."""
    train, evaluation = pair(case)
    here = influence(train, evaluation, Settings(2, damping=10.0, residual=1e-8))
    model = copy.deepcopy(train.model).cuda()
    moved = [[(x.cuda(), y.cuda()) for x, y in of.batches] for of in (train, evaluation)]
    there = influence(
        Problem(model, case.loss, moved[0], train.ridge), Problem(model, case.loss, moved[1]), Settings(2, damping=10.0, residual=1e-8)
    )
    assert there.ifa is not None
    assert here.ifa is not None
    assert off(there.ifa.cpu(), here.ifa.numpy()) < 1e-6
    assert there.form == pytest.approx(here.form, rel=1e-6)
