"""Krylov spaces against LAPACK on matrices that are known in full: clusters, multiplicities, breakdowns, restarts, indefinite ones."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from twins import NAMED, twin

from robustradar.numerics import vector
from robustradar.numerics.krylov import Krylov

FLOORS = {torch.float32: 2e-6, torch.float64: 1e-14}  # rounding of a product, of which nothing better can be claimed


@dataclass(frozen=True, eq=False)
class Drawn:
    """A symmetric matrix by its eigenvalues, and a start vector by its components along the eigenvectors."""

    H: Tensor
    b: Tensor
    eigenvalues: np.ndarray  # rising, in float64, of H as rounded to its dtype
    seen: int  # distinct eigenvalues that b has a part in

    @property
    def span(self) -> float:
        return float(np.abs(self.eigenvalues).max())

    def dense(self, mu: float) -> tuple[np.ndarray, float]:
        """x and bᵀ x, x = (H + mu I)⁻¹ b."""
        b = self.b.double().numpy()
        x = np.linalg.solve(self.H.double().numpy() + mu * np.eye(len(b)), b)
        return x, float(b @ x)


def matrix(values: list[float], start: list[float], seed: int = 0, dtype: torch.dtype = torch.float64) -> Drawn:
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    H = torch.from_numpy((Q * np.array(values)) @ Q.T)
    H = ((H + H.T) / 2).to(dtype)
    present = {round(v, 6) for v, c in zip(values, start, strict=True) if c}
    return Drawn(H, torch.from_numpy(Q @ np.array(start)).to(dtype), np.linalg.eigvalsh(H.double().numpy()), len(present))


@st.composite
def drawn(draw: st.DrawFn, low: float = -4, dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64)) -> Drawn:
    """Eigenvalues in repetition, in clusters and at zero; components of the start vector that vanish, down to one that does not."""
    d = draw(st.integers(1, 12))
    level = st.sampled_from([v for v in (-4.0, -1.0, 0.0, 0.5, 1.0, 10.0) if v >= low]) | st.floats(low, 10, width=32)
    wobble = st.sampled_from([0.0, 0.0, 1e-3, 1e-6])
    values = [draw(level) + draw(wobble) for _ in range(d)]
    start = [draw(st.sampled_from([0.0, 1.0, -1.0, 0.3, 1e-3])) for _ in range(d)]
    start[draw(st.integers(0, d - 1))] = 1.0
    return matrix(values, start, draw(st.integers(0, 2**16)), draw(st.sampled_from(dtypes)))


def spread(d: int, seed: int = 0, low: float = 0.01, high: float = 10.0, dtype: torch.dtype = torch.float64) -> Drawn:
    """A matrix with eigenvalues between low and high, most of them low, and a start vector with a part in all of them."""
    rng = np.random.default_rng(seed)
    values = low + (high - low) * np.sort(rng.random(d)) ** 6
    return matrix(values.tolist(), rng.standard_normal(d).tolist(), seed, dtype)


# Solutions


@settings(max_examples=50)
@given(drawn(), st.sampled_from([1.0, 3.0, 30.0]))
def test_solutions_agree_with_a_dense_solve(given_: Drawn, beyond: float) -> None:
    """Relative to x, and by the residual, which is claimed without a product."""
    mu = beyond - float(given_.eigenvalues[0])
    space = Krylov(given_.H, given_.b)
    floor = FLOORS[given_.b.dtype]
    space.grow(dampings=(mu,), residual=floor, bottom=1e-3)
    x, _ = given_.dense(mu)
    found = space.solution(mu)
    assert found.dtype == given_.b.dtype
    condition = (given_.eigenvalues[-1] + mu) / beyond
    assert np.linalg.norm(found.double().numpy() - x) <= 10 * floor * condition * np.linalg.norm(x)
    assert space.steps <= len(given_.b)


@settings(max_examples=50)
@given(drawn(), st.integers(1, 12))
def test_the_residual_is_the_true_one_at_every_step(given_: Drawn, steps: int) -> None:
    mu = 1.0 + 3 * given_.span  # definite beyond doubt, even by the first step's estimate
    space = Krylov(given_.H, given_.b)
    space.grow(dampings=(mu,), residual=0.0, steps=steps)
    floor = FLOORS[given_.b.dtype]
    A, b = given_.H.double() + mu * torch.eye(len(given_.b), dtype=torch.float64), given_.b.double()
    true = float((A @ space.solution(mu).double() - b).norm() / b.norm())
    assert abs(space.residual(mu) - true) <= 0.01 * true + 40 * floor * float(given_.eigenvalues[-1] + mu)


@settings(max_examples=50)
@given(drawn())
def test_the_space_ends_when_it_is_exhausted(given_: Drawn) -> None:
    """After as many steps as there are eigenvalues that the start vector has a part in: one for an eigenvector, also of the zero matrix.

    Clusters closer than rounding allows may take a step more, so that only distinct ones are counted here.
    """
    space = Krylov(given_.H, given_.b)
    space.grow(top=0.0, bottom=0.0)
    assert space.steps <= len(given_.b)
    if given_.b.dtype == torch.float64 and given_.seen == 1:
        assert space.steps <= 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [3.0, 0.0, -2.0])
def test_an_eigenvector_is_a_space_of_its_own(value: float, dtype: torch.dtype) -> None:
    b = torch.tensor([0.0, 2.0, 0.0, 0.0], dtype=dtype)
    space = Krylov(torch.diag(torch.tensor([5.0, value, 1.0, -1.0], dtype=dtype)), b)
    space.grow(dampings=(4.0,), residual=1e-12, top=1e-12, bottom=1e-12)
    assert space.steps == 1
    assert (space.top.value, space.bottom.value, space.top.still) == (value, value, True)
    assert space.solution(4.0).tolist() == pytest.approx([0, 2 / (value + 4), 0, 0])
    assert space.form(4.0).value == pytest.approx(4 / (value + 4))


@pytest.mark.parametrize("value", [2.0, 0.0, -3.0])
def test_one_by_one(value: float) -> None:
    space = Krylov(torch.tensor([[value]], dtype=torch.float64), torch.tensor([-3.0], dtype=torch.float64))
    space.grow(dampings=(4.0,), residual=1e-12, top=1e-6, bottom=1e-6)
    assert space.steps == 1
    assert space.solution(4.0).item() == pytest.approx(-3 / (value + 4))
    bracket = space.form(4.0)
    assert bracket.low <= 9 / (value + 4) <= bracket.high
    assert bracket.high - bracket.low <= 1e-12
    assert space.negative(4.0) == 0
    assert space.negative(0.0) == (value < 0)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_units_do_not_matter(scale: float, size: float, dtype: torch.dtype) -> None:
    """The same steps, and the same numbers up to the units."""
    plain = spread(20, low=-0.5, dtype=dtype)
    spaces = []
    for H, b, unit in [(plain.H, plain.b, 1.0), (plain.H * scale, plain.b * size, scale)]:
        space = Krylov(H, b)
        space.grow(dampings=(unit,), residual=1e-5, top=1e-3, bottom=1e-2)
        spaces.append(space)
    one, other = spaces
    assert abs(one.steps - other.steps) <= 1
    tolerance = 1e-4 if dtype == torch.float32 else 1e-6
    assert other.top.value == pytest.approx(scale * one.top.value, rel=tolerance, abs=0)
    assert other.bottom.value == pytest.approx(scale * one.bottom.value, rel=1e-2, abs=0)
    torch.testing.assert_close(other.solution(scale) * (scale / size), one.solution(1.0), rtol=1e-3, atol=1e-4)


def test_one_space_serves_every_damping() -> None:
    mus = (0.05, 0.5, 5.0, 50.0)
    plain = spread(60)
    space = Krylov(plain.H, plain.b)
    space.grow(dampings=mus, residual=1e-9)
    for mu in mus:
        x, form = plain.dense(mu)
        assert space.residual(mu) <= 1e-9
        assert np.linalg.norm(space.solution(mu).numpy() - x) <= 1e-6 * np.linalg.norm(x)
        assert space.form(mu).value == pytest.approx(form, rel=1e-10)
    assert space.steps < 60


class Remote(Tensor):
    """Says that it lies on an accelerator, where a space takes several steps between looks at what they yield."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda")


@settings(max_examples=50)
@given(drawn(), st.sampled_from([1.0, 3.0, 30.0]))
def test_steps_taken_without_a_look_give_the_same(given_: Drawn, beyond: float) -> None:
    """Also where the space is exhausted on the way, and what follows is noise."""
    mu = beyond - float(given_.eigenvalues[0])
    floor = FLOORS[given_.b.dtype]
    near, far = Krylov(given_.H, given_.b), Krylov(given_.H, given_.b.as_subclass(Remote))
    for space in (near, far):
        space.grow(dampings=(mu,), residual=floor, bottom=1e-3)
    x, form = given_.dense(mu)
    found = far.solution(mu).as_subclass(Tensor).double().numpy()
    condition = (given_.eigenvalues[-1] + mu) / beyond
    assert np.linalg.norm(found - x) <= 10 * floor * condition * np.linalg.norm(x)
    assert far.steps <= 12
    assert far.form(mu).value == pytest.approx(form, rel=10 * floor * condition)
    noise = 20 * floor * given_.span
    assert given_.eigenvalues[0] - noise <= far.bottom.value <= far.top.value <= given_.eigenvalues[-1] + noise


# Ends of the spectrum


@settings(max_examples=50)
@given(drawn(), st.integers(1, 12))
def test_ritz_values_lie_inside_the_spectrum_and_near_an_eigenvalue(given_: Drawn, steps: int) -> None:
    space = Krylov(given_.H, given_.b)
    space.grow(top=0.0, bottom=0.0, steps=steps)
    noise = 20 * FLOORS[given_.b.dtype] * given_.span
    assert float(space.T.ritz[0]) >= given_.eigenvalues[0] - noise
    assert float(space.T.ritz[-1]) <= given_.eigenvalues[-1] + noise
    for end in (space.top, space.bottom):
        assert not end.still or np.abs(given_.eigenvalues - end.value).min() <= end.error + noise
    assert float(space.T.weights.sum()) == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(5))
def test_extreme_eigenvalues_are_as_exact_as_asked(dtype: torch.dtype, seed: int) -> None:
    plain = spread(150, seed, low=-0.3, dtype=dtype)
    space = Krylov(plain.H, plain.b)
    space.grow(top=1e-5, bottom=1e-2)
    assert space.top.value == pytest.approx(plain.eigenvalues[-1], rel=1e-5)
    assert space.bottom.value == pytest.approx(plain.eigenvalues[0], abs=max(1e-2 * 0.3, 1e-5 * 10))
    assert space.top.still
    assert space.bottom.still
    assert space.steps < 80
    assert -space.least_damping <= plain.eigenvalues[0]


@pytest.mark.parametrize("name", ["tanh", "relu", "batch-norm", "layer-norm", "attention"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extremes_of_real_hessians(name: str, dtype: torch.dtype) -> None:
    """The matrix itself, started at Phi. The smallest has an absolute term: rounding of products is relative to the largest one."""
    truth = twin(NAMED[name])
    eigenvalues = np.linalg.eigvalsh(truth.H)
    for p in (1.0, 2.0, math.inf):
        space = Krylov(torch.from_numpy(truth.H).to(dtype), torch.from_numpy(truth.Phi(p, NAMED[name].bounds)).to(dtype))
        space.grow(top=1e-6, bottom=1e-6)
        assert space.top.value == pytest.approx(eigenvalues[-1], rel=1e-5)
        assert space.bottom.value == pytest.approx(eigenvalues[0], rel=1e-5, abs=1e-5 * np.abs(eigenvalues).max())


def test_multiplicities_and_clusters_leave_no_ghosts() -> None:
    """A space that has lost its orthogonality shows one eigenvalue several times."""
    plain = matrix([10.0, 9.999, *np.linspace(0, 1, 98)], [1.0] * 100)
    space = Krylov(plain.H, plain.b)
    space.grow(top=0.0, bottom=0.0, steps=90)
    assert int((space.T.ritz > 5).sum()) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_asymmetry_is_seen(dtype: torch.dtype) -> None:
    plain = spread(40, dtype=dtype)
    space, skew = Krylov(plain.H, plain.b), Krylov(plain.H + 1e-2 * torch.triu(torch.randn(40, 40), 1).to(dtype), plain.b)
    for one in (space, skew):
        one.grow(top=0.0, bottom=0.0, steps=20)
    assert space.asymmetry < (1e-4 if dtype == torch.float32 else 1e-12)
    assert skew.asymmetry > 1e-3


# Indefinite matrices


@settings(max_examples=50)
@given(drawn(), st.floats(0, 3), st.integers(1, 12))
def test_negative_ritz_values_are_no_more_than_there_are(given_: Drawn, mu: float, steps: int) -> None:
    space = Krylov(given_.H, given_.b)
    space.grow(top=0.0, bottom=0.0, steps=steps)
    noise = 20 * FLOORS[given_.b.dtype] * given_.span
    assert space.negative(mu) <= int((given_.eigenvalues < -mu + noise).sum())


@settings(max_examples=50)
@given(drawn(low=-4))
def test_an_indefinite_matrix_gives_no_number(given_: Drawn) -> None:
    """Where the start vector shows it: then there is a count, and a damping that suffices."""
    space = Krylov(given_.H, given_.b)
    space.grow(top=0.0, bottom=0.0)
    lowest = float(space.T.ritz[0])
    if lowest > -0.01:
        return
    mu = -lowest / 2
    assert not space.definite(mu)
    assert space.negative(mu) >= 1
    for ask in (space.solution, space.form):
        with pytest.raises(ValueError, match=rf"krylov: got damping {mu:g}, expected more than .*: H \+ mu I is indefinite there\."):
            ask(mu)
    enough = 1.001 * space.least_damping
    assert space.definite(enough)
    assert math.isfinite(space.form(enough).value)


@pytest.mark.parametrize("name", ["tanh", "relu", "batch-norm", "layer-norm", "attention"])
def test_the_least_damping_makes_a_real_hessian_definite(name: str) -> None:
    truth = twin(NAMED[name])
    space = Krylov(torch.from_numpy(truth.H), torch.from_numpy(truth.Phi(2)))
    space.grow(top=1e-3, bottom=1e-2)
    eigenvalues = np.linalg.eigvalsh(truth.H)
    assert 1 <= space.negative() <= (eigenvalues < 0).sum()
    assert not space.definite(0.0)
    assert space.definite(1.01 * space.least_damping)
    assert eigenvalues[0] + 1.01 * space.least_damping > 0
    assert space.least_damping < -1.05 * eigenvalues[0]


def test_indefinite_dampings_are_not_waited_for() -> None:
    plain = spread(60, low=-1.0)
    space, both = Krylov(plain.H, plain.b), Krylov(plain.H, plain.b)
    space.grow(dampings=(3.0,), residual=1e-6, bottom=1e-2)
    both.grow(dampings=(3.0, 0.1), residual=1e-6, bottom=1e-2)
    assert both.steps == space.steps


@pytest.mark.parametrize("seed", range(4))
def test_a_damping_that_is_not_known_to_be_too_small_is_waited_for(seed: int) -> None:
    """Only a Ritz value below -mu shows that H + mu I is indefinite; an estimate that has not settled does not."""
    plain = spread(60, seed, low=-1.0)
    mu = -1.05 * float(plain.eigenvalues[0])
    space = Krylov(plain.H, plain.b)
    space.grow(dampings=(mu,), residual=1e-8)
    assert space.definite(mu)
    assert space.residual(mu) <= 1e-8
    x, _ = plain.dense(mu)
    assert np.linalg.norm(space.solution(mu).numpy() - x) <= 1e-5 * np.linalg.norm(x)


# Brackets


@settings(max_examples=50)
@given(drawn(), st.sampled_from([0.5, 2.0, 20.0]))
def test_brackets_contain_the_form_at_every_step(given_: Drawn, beyond: float) -> None:
    """With a bottom that is one: Gauss from below, Gauss-Radau from above, each closer with every step."""
    bottom = float(given_.eigenvalues[0]) - 1e-9
    mu = beyond - bottom
    _, form = given_.dense(mu)
    floor = 20 * FLOORS[given_.b.dtype]
    slack = floor * (1 + given_.span / beyond) * form
    space, last = Krylov(given_.H, given_.b), (-math.inf, math.inf)
    for steps in range(1, len(given_.b) + 1):
        space.grow(top=0.0, bottom=0.0, steps=steps)
        bracket = space.T.form(mu, bottom)
        assert bracket.low <= bracket.value <= bracket.high
        assert bracket.low - slack <= form <= bracket.high + slack
        assert bracket.low >= last[0] - slack
        assert bracket.high <= last[1] + slack
        last = (bracket.low, bracket.high)


@pytest.mark.parametrize("name", ["tanh", "relu", "softplus", "convolution", "batch-norm", "attention"])
def test_brackets_of_real_hessians(name: str) -> None:
    """By the space's own knowledge of the smallest eigenvalue, from where that has settled, until they meet."""
    truth = twin(NAMED[name])
    H, Phi = torch.from_numpy(truth.H), torch.from_numpy(truth.Phi(2))
    lowest, highest = np.linalg.eigvalsh(truth.H)[[0, -1]]
    space = Krylov(H, Phi)
    space.grow(bottom=1e-2)
    for mu in (2 * abs(lowest) + 1e-3 * highest, abs(lowest) + highest):
        form = float(truth.Phi(2) @ np.linalg.solve(truth.H + mu * np.eye(truth.size), truth.Phi(2)))
        for steps in range(space.steps, 60):
            space.grow(top=0.0, bottom=0.0, steps=steps)
            bracket = space.form(mu)
            assert bracket.low <= form * (1 + 1e-12)
            assert form <= bracket.high * (1 + 1e-12)
        assert bracket.high - bracket.low <= 1e-9 * form


# Restarts


@pytest.mark.parametrize("vectors", [2, 3, 4, 5, 7, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_few_stored_vectors_give_the_same_solutions(vectors: int, dtype: torch.dtype) -> None:
    """To the residual asked for, at the price of more steps."""
    plain = spread(60, dtype=dtype)
    residual, mus = (1e-5, 1e-9)[dtype == torch.float64], (0.5, 5.0)
    free, capped = Krylov(plain.H, plain.b), Krylov(plain.H, plain.b, vectors)
    for space in (free, capped):
        space.grow(dampings=mus, residual=residual, steps=2000)
    assert capped.steps >= free.steps
    A, b = plain.H.double(), plain.b.double()
    for mu in mus:
        x = capped.solution(mu).double()
        assert capped.residual(mu) <= residual
        assert float((A @ x + mu * x - b).norm() / b.norm()) <= 1.5 * residual
        assert float((x - free.solution(mu)).norm() / x.norm()) <= 40 * residual
        assert free.form(mu).value == pytest.approx(plain.dense(mu)[1], rel=1e-4)
        bracket = capped.form(mu)
        assert bracket.low <= plain.dense(mu)[1] * (1 + 1e-5)


@settings(max_examples=50)
@given(drawn(low=0.0, dtypes=(torch.float64,)), st.integers(2, 4))
def test_restarts_end_well_whatever_the_matrix(given_: Drawn, vectors: int) -> None:
    space = Krylov(given_.H, given_.b, vectors)
    space.grow(dampings=(1.0, 10.0), residual=1e-8, steps=500)
    for mu in (1.0, 10.0):
        x, _ = given_.dense(mu)
        assert np.linalg.norm(space.solution(mu).numpy() - x) <= 1e-6 * np.linalg.norm(x)


def test_without_dampings_a_full_space_stops() -> None:
    plain = spread(60)
    space = Krylov(plain.H, plain.b, 5)
    space.grow(top=1e-12, bottom=1e-12)
    assert space.steps == 5


# What is refused


@pytest.mark.parametrize("b", [[0.0, 0.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_a_start_that_leads_nowhere_is_refused(b: list[float]) -> None:
    size = float(vector.length(torch.tensor(b)))
    with pytest.raises(ValueError, match=rf"krylov: got a start vector of length {size}, expected a finite one that is not zero\."):
        Krylov(torch.eye(2), torch.tensor(b))


def test_one_vector_is_no_space() -> None:
    with pytest.raises(ValueError, match=r"krylov: got vectors=1, expected at least 2\."):
        Krylov(torch.eye(2), torch.ones(2), 1)


def test_an_empty_space_has_no_answers() -> None:
    with pytest.raises(ValueError, match=r"krylov: got a space without steps, expected at least one\. Call grow\(\) first\."):
        _ = Krylov(torch.eye(2), torch.ones(2)).top


def test_products_that_are_not_finite_are_no_answer() -> None:
    H = torch.eye(4)
    H[2, 2] = math.nan
    with pytest.raises((ValueError, ArithmeticError), match="finite"):
        Krylov(H, torch.ones(4)).grow(top=1e-3, bottom=1e-2)
