"""Oracles and properties of the balls: closed forms, SciPy's optimiser, random feasible points, Hypothesis."""

import math
from collections.abc import Callable

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import kstest
from torch import Tensor

from robustradar.numerics.balls import ascent, confine, dual, norm, project, random_in_ball, steepest

ORDERS = [1, 1.02, 1.5, 2, 3, 10, 100, math.inf]
BOX = (0.0, 1.0)
NORMALISED = (-2.1179039301310043, 2.6400000000000001)

matrices = hnp.arrays(np.float64, (3, 5), elements=st.floats(-10, 10, width=32)).map(torch.from_numpy)
orders = st.sampled_from(ORDERS) | st.floats(1, 50)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=rng(seed), dtype=dtype)


def rand(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(*shape, generator=rng(seed), dtype=dtype)


# norm and dual


@pytest.mark.parametrize("p", ORDERS)
def test_dual_is_an_involution_and_hoelder_holds(p: float) -> None:
    assert dual(dual(p)) == pytest.approx(p)
    a, b = randn(50, 7), randn(50, 7, seed=1)
    assert ((a * b).sum(1) <= norm(a, p) * norm(b, dual(p)) + 1e-12).all()


@pytest.mark.parametrize("p", ORDERS)
def test_norm_agrees_with_torch_over_any_shape(p: float) -> None:
    delta = randn(4, 3, 5, 5)
    torch.testing.assert_close(norm(delta, p), torch.linalg.vector_norm(delta.flatten(1), p, dim=1))


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e30])
def test_norm_and_ascent_neither_overflow_nor_underflow(p: float, scale: float) -> None:
    delta = torch.tensor([[3.0, -4.0, 0.0]]) * scale
    expected = torch.linalg.vector_norm(delta.double() / scale, p).item() * scale
    assert norm(delta, p).item() == pytest.approx(expected, rel=1e-6)
    assert norm(ascent(delta, p), p).item() == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("p", ORDERS)
def test_norm_has_its_gradient_ascent_of_the_dual_ball_and_zero_at_zero(p: float) -> None:
    delta = randn(4, 6)
    delta[1] = 0
    delta.requires_grad_()
    norm(delta, p).sum().backward()
    assert delta.grad is not None
    torch.testing.assert_close(delta.grad, ascent(delta.detach(), dual(p)))


# project


def nearest(delta: np.ndarray, p: float, eps: float) -> np.ndarray:
    """The projection by a general-purpose optimiser, in magnitudes, scaled for a smooth constraint."""
    a = np.abs(delta)
    inside = {"type": "ineq", "fun": lambda z: eps**p - np.sum(np.maximum(z, 0) ** p)}
    start = a * 0.9 * eps / np.sum(a**p) ** (1 / p)
    found = minimize(lambda z: np.sum((z - a) ** 2), start, bounds=[(0, None)] * len(a), constraints=[inside], tol=1e-11)
    assert found.success, found.message
    return np.sign(delta) * found.x


@pytest.mark.parametrize("p", [1, 1.3, 1.5, 2, 2.5, 3, 5])
def test_project_agrees_with_scipy_in_small_dimensions(p: float) -> None:
    delta = randn(6, 4)
    eps = torch.linspace(0.3, 0.9, 6, dtype=torch.float64) * norm(delta, p)
    expected = [nearest(d.numpy(), p, e.item()) for d, e in zip(delta, eps, strict=True)]
    np.testing.assert_allclose(project(delta, p, eps).numpy(), expected, atol=2e-5)


def test_project_closed_forms() -> None:
    delta = torch.tensor([[3.0, -4.0], [0.3, 0.4]])
    assert project(delta, math.inf, 1.0).tolist() == [[1.0, -1.0], pytest.approx([0.3, 0.4])]
    torch.testing.assert_close(project(delta, 2, 1.0), torch.tensor([[0.6, -0.8], [0.3, 0.4]]))
    torch.testing.assert_close(project(delta, 1, torch.tensor([3.0, 0.5])), torch.tensor([[1.0, -2.0], [0.2, 0.3]]))


@pytest.mark.parametrize("p", [1.001, 1.02, 1.1, 1.5, 1.9, 2.1, 3, 4, 10, 100, 1000])
@pytest.mark.parametrize("scale", [1.0001, 1.5, 10, 1e4])
def test_project_is_optimal_for_general_p(p: float, scale: float) -> None:
    """v is the projection of delta iff sum((delta - v) * v) = eps * norm(delta - v, q): Hoelder's inequality is tight."""
    delta = randn(40, 30) ** 3
    delta *= scale / norm(delta, p)[:, None]
    v = project(delta, p, 1.0)
    rest = delta - v
    gap = norm(rest, dual(p)) - (rest * v).sum(1)
    tolerance = 2e-11 if 1.02 <= p <= 100 else 1e-5
    assert (gap <= tolerance * norm(rest, dual(p))).all()


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("make", [torch.ones_like, torch.randn_like])
def test_project_is_inside_within_a_few_ulp_and_keeps_the_dtype(p: float, dtype: torch.dtype, make: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    m = 5_000 if dtype.itemsize > 2 else 50  # more, and entries of a unit ball are subnormal in half precision
    delta = make(torch.empty(4, m, dtype=dtype)) * torch.logspace(-3, 3, 4)[:, None].to(dtype)
    for eps in (8 / 255, 1.0, rand(4, dtype=dtype) + 0.01):
        v = project(delta, p, eps)
        assert v.dtype == dtype
        bound = eps.double() if isinstance(eps, Tensor) else eps
        assert (norm(v.double(), p) <= bound * (1 + 4 * torch.finfo(dtype).eps)).all()


@settings(max_examples=60)
@given(matrices, matrices, orders, st.floats(0, 20))
def test_project_is_idempotent_non_expansive_and_keeps_points_inside(a: Tensor, b: Tensor, p: float, eps: float) -> None:
    v, w = project(a, p, eps), project(b, p, eps)
    assert (norm(v, p) <= eps * (1 + 1e-13)).all()
    # At p just over 1 the ball is nearly a polytope, and the fixed count of steps leaves 1e-5 of the distance.
    tolerance = 1e-9 if p == 1 or p >= 1.02 else 1e-3
    torch.testing.assert_close(project(v, p, eps), v, rtol=tolerance, atol=tolerance)
    assert (norm(v - w, 2) <= norm(a - b, 2) + tolerance).all()
    inside = norm(a, p) < eps * (1 - 1e-12)
    torch.testing.assert_close(v[inside], a[inside], rtol=1e-14, atol=0)


@pytest.mark.parametrize("p", ORDERS)
def test_project_on_radius_zero_is_zero_and_on_infinite_radius_changes_nothing(p: float) -> None:
    delta = randn(3, 4)
    delta[2] = 0
    assert project(delta, p, 0.0).abs().max() == 0
    assert project(delta, p, torch.zeros(3)).abs().max() == 0
    torch.testing.assert_close(project(delta, p, 1e30), delta, rtol=0, atol=0)


# confine


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("bounds", [BOX, (-1.0, 1.0), NORMALISED, (-10.0, 0.1), (0.0, 255.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_confine_is_in_the_box_exactly_and_in_the_ball(p: float, bounds: tuple[float, float], dtype: torch.dtype) -> None:
    lo, hi = torch.tensor(bounds, dtype=dtype).tolist()
    x = (lo + (hi - lo) * rand(16, 3, 20, seed=3, dtype=dtype)).clamp(lo, hi)
    x[0, 0], x[1, 0] = lo, hi
    wide = (hi - lo) * 2
    for eps in (0.1 * wide, wide):
        delta = confine(x, randn(16, 3, 20, seed=4, dtype=dtype) * wide, p, eps, (lo, hi))
        moved = x + delta
        assert delta.dtype == moved.dtype == dtype
        assert (moved >= lo).all() and (moved <= hi).all()
        assert (norm(delta.double(), p) <= eps * (1 + 4 * torch.finfo(dtype).eps)).all()


def test_confine_reaches_the_wall_and_without_a_box_is_the_projection() -> None:
    x = rand(1000, 3, dtype=torch.float32)
    delta = torch.full_like(x, 5.0)
    assert (x + confine(x, delta, math.inf, 9.0, BOX) == 1).all()
    torch.testing.assert_close(confine(x, delta, 2, 1.0, None), project(delta, 2, 1.0), rtol=0, atol=0)


# ascent


@settings(max_examples=60)
@given(matrices, orders)
def test_ascent_has_unit_norm_and_attains_the_dual_norm(g: Tensor, p: float) -> None:
    phi = ascent(g, p)
    nonzero = g.abs().amax(1) > 0
    torch.testing.assert_close(norm(phi, p), nonzero.to(g.dtype), rtol=1e-10, atol=0)
    torch.testing.assert_close((g * phi).sum(1), norm(g, dual(p)), rtol=1e-10, atol=1e-12)
    assert (phi * g >= 0).all()


def test_ascent_shares_ties_at_p_1_and_is_their_limit_from_above() -> None:
    g = torch.tensor([[2.0, -2.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    expected = [[0.5, -0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    assert ascent(g, 1).tolist() == expected
    np.testing.assert_allclose(ascent(g, 1 + 1e-9).tolist(), expected, atol=1e-6)


@pytest.mark.parametrize("p", ORDERS)
def test_ascent_masks_walls_ahead_before_it_normalises(p: float) -> None:
    x = torch.tensor([[0.0, 0.0, 1.0, 1.0, 0.5, 1e-7]])
    g = torch.tensor([[-9.0, 1.0, 9.0, -2.0, -3.0, -1.0]])
    free = torch.tensor([[0.0, 1.0, 0.0, -2.0, -3.0, -1.0]])
    torch.testing.assert_close(ascent(g, p, x, BOX), ascent(free, p), rtol=0, atol=0)
    torch.testing.assert_close(ascent(g, p, x), ascent(g, p), rtol=0, atol=0)


@pytest.mark.parametrize("p", ORDERS)
def test_ascent_is_the_limit_of_steepest_in_the_box(p: float) -> None:
    x = rand(20, 30, seed=5).round(decimals=1)
    g = randn(20, 30, seed=6)
    torch.testing.assert_close(steepest(g, p, 1e-6, x, BOX) / 1e-6, ascent(g, p, x, BOX), rtol=1e-8, atol=1e-8)


# steepest


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("radius", [0.05, 0.7, 3.0, 100.0])
def test_steepest_is_feasible_and_beats_every_random_feasible_point(p: float, radius: float) -> None:
    x, g = rand(1, 6, seed=7).expand(1000, -1), randn(1, 6, seed=8).expand(1000, -1)
    best = steepest(g[:1], p, radius, x[:1], BOX)
    assert norm(best, p).item() <= radius * (1 + 1e-12)
    assert ((x[:1] + best >= 0) & (x[:1] + best <= 1)).all()
    rivals = confine(x, random_in_ball(x, p, radius * 2, rng(9)), p, radius, BOX)
    nearby = confine(x, best + 0.05 * radius * randn(1000, 6, seed=10), p, radius, BOX)
    for rival in (rivals, nearby):
        assert (g * rival).sum(1).max() <= (g[:1] * best).sum() + 1e-9


@pytest.mark.parametrize("p", [1, 1.3, 2, 3])
@pytest.mark.parametrize("radius", [0.3, 0.8])
def test_steepest_agrees_with_scipy(p: float, radius: float) -> None:
    x, g = rand(5, 4, seed=11), randn(5, 4, seed=12)
    best = steepest(g, p, radius, x, BOX)
    for k in range(5):
        b = g[k].abs().numpy()
        room = torch.where(g[k] > 0, 1 - x[k], x[k]).numpy()
        ball = {"type": "ineq", "fun": lambda s: radius**p - np.sum(np.maximum(s, 0) ** p)}
        found = minimize(lambda s, b=b: -b @ s, room * 0.1, bounds=[(0, r) for r in room], constraints=[ball], tol=1e-13)
        assert (g[k] * best[k]).sum().item() == pytest.approx(-found.fun, abs=1e-6)


@pytest.mark.parametrize("p", ORDERS)
def test_steepest_fills_the_whole_box_when_the_radius_allows_and_nothing_at_radius_zero(p: float) -> None:
    x, g = rand(8, 40, dtype=torch.float32), randn(8, 40, dtype=torch.float32)
    g[0], g[:, 0] = 0, 0
    corner = torch.where(g > 0, 1.0, 0.0)
    reached = x + steepest(g, p, 1e6, x, BOX)
    torch.testing.assert_close(reached, torch.where(g == 0, x, corner), rtol=0, atol=0)
    assert steepest(g, p, torch.zeros(8), x, BOX).abs().max() == 0


def test_steepest_near_p_1_fills_in_the_order_of_the_gradient_though_its_powers_underflow() -> None:
    g = torch.tensor([[1e-9, 1.0, 1e-3, 1e-6]])
    delta = steepest(g, 1.001, 1.6, torch.full_like(g, 0.5), BOX)
    torch.testing.assert_close(delta, torch.tensor([[0.1, 0.5, 0.5, 0.5]]), atol=0.01, rtol=0)


@pytest.mark.parametrize("p", ORDERS)
def test_steepest_without_a_box_is_radius_times_ascent(p: float) -> None:
    g, radius = randn(4, 3, 2), torch.tensor([0.0, 0.5, 1.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(steepest(g, p, radius), radius[:, None, None] * ascent(g, p))


# random_in_ball


@pytest.mark.parametrize("p", ORDERS)
def test_random_in_ball_is_uniform_in_radius_and_in_direction(p: float) -> None:
    m, n = 4, 20_000
    delta = random_in_ball(torch.zeros(n, 2, 2, dtype=torch.float64), p, 0.3, rng())
    radius = norm(delta, p) / 0.3
    assert radius.max() <= 1 + 1e-12
    assert kstest(radius.pow(m).numpy(), "uniform").pvalue > 0.01
    flat = delta.flatten(1)
    assert flat.mean(0).abs().max() < 0.01
    assert kstest(flat[:, 0].numpy(), flat[:, 3].numpy()).pvalue > 0.01
    # Uniform on the ball conditions to uniform on any part of it: counts in a small ball against the volumes.
    small = (norm(delta - torch.tensor([[[0.1, 0.0], [0.0, 0.0]]]), p) <= 0.15).double().mean()
    assert small.item() == pytest.approx(0.5**m, abs=0.006)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, math.inf])
def test_random_in_ball_agrees_with_rejection_from_the_cube(p: float) -> None:
    cube = rand(40_000, 3) * 2 - 1
    accepted = cube[norm(cube, p) <= 1]
    drawn = random_in_ball(torch.zeros(20_000, 3, dtype=torch.float64), p, 1.0, rng(1))
    for project_on in ([1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [1.0, -2.0, 0.0]):
        w = torch.tensor(project_on, dtype=torch.float64)
        assert kstest((accepted @ w).numpy(), (drawn @ w).numpy()).pvalue > 0.01


@pytest.mark.parametrize("p", ORDERS)
def test_random_in_ball_uses_only_the_generator_and_keeps_the_dtype(p: float) -> None:
    like = torch.zeros(3, 5, dtype=torch.float16)
    before = torch.get_rng_state()
    first, second = (random_in_ball(like, p, torch.tensor([0.0, 1.0, 2.0]), rng(4)) for _ in range(2))
    assert torch.equal(first, second) and first.dtype == torch.float16
    assert first[0].abs().max() == 0
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, random_in_ball(like, p, 1.0, rng(5)))


# all of them


@pytest.mark.parametrize("p", ORDERS)
def test_results_are_constants_to_autograd(p: float) -> None:
    x, g = rand(2, 4).requires_grad_(), randn(2, 4).requires_grad_()
    results = [project(g, p, 0.5), confine(x, g, p, 0.5, BOX), ascent(g, p, x, BOX), steepest(g, p, 0.5, x, BOX), steepest(g, p, 0.5)]
    assert not any(result.requires_grad for result in results)


@pytest.mark.parametrize("p", ORDERS)
def test_samples_do_not_touch_each_other_and_an_empty_batch_stays_empty(p: float) -> None:
    x, g = rand(6, 9), randn(6, 9) * torch.logspace(-9, 9, 6, dtype=torch.float64)[:, None]
    for f in (lambda x, g: confine(x, g, p, 0.5, BOX), lambda x, g: ascent(g, p, x, BOX), lambda x, g: steepest(g, p, 0.5, x, BOX)):
        torch.testing.assert_close(f(x, g), torch.cat([f(x[i : i + 1], g[i : i + 1]) for i in range(6)]), rtol=1e-12, atol=0)
        assert f(x[:0], g[:0]).shape == (0, 9)


@pytest.mark.gpu
@pytest.mark.parametrize("p", ORDERS)
def test_cuda_agrees_with_the_cpu_without_waiting_for_it(p: float) -> None:
    x, g = rand(4, 50, dtype=torch.float32), randn(4, 50, dtype=torch.float32)
    eps = torch.full((4,), 0.3)
    expected = [confine(x, g, p, eps, BOX), ascent(g, p, x, BOX), steepest(g, p, eps, x, BOX)]
    x, g, eps, generator = x.cuda(), g.cuda(), eps.cuda(), torch.Generator("cuda").manual_seed(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = [confine(x, g, p, eps, BOX), ascent(g, p, x, BOX), steepest(g, p, eps, x, BOX)]
        drawn = random_in_ball(x, p, eps, generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-5, atol=1e-6)
    assert norm(drawn, p).max() <= 0.3 * (1 + 1e-6)


SLOPE = torch.ones(2, 3)
REFUSALS: list[tuple[Callable[[], object], str]] = [
    (lambda: dual(0.5), "balls: got p = 0.5, expected 1 <= p <= inf. Give the order of a norm, such as 1, 2 or inf."),
    (lambda: norm(SLOPE, math.nan), "balls: got p = nan, expected 1 <= p <= inf. Give the order of a norm, such as 1, 2 or inf."),
    (
        lambda: norm(torch.ones(3), 2),
        "balls: got a tensor of shape (3,) and torch.float32, expected floating point [N, ...]. "
        "Add a leading sample axis, or convert with .float().",
    ),
    (
        lambda: project(SLOPE.long(), math.inf, 1.0),
        "balls: got a tensor of shape (2, 3) and torch.int64, expected floating point [N, ...]. "
        "Add a leading sample axis, or convert with .float().",
    ),
    (
        lambda: project(SLOPE, 2, -1.0),
        "balls: got a radius of -1.0, expected a number >= 0. Give it in the data's own units, such as 8/255.",
    ),
    (lambda: project(SLOPE, 2, torch.ones(3)), "balls: got a radius of shape (3,), expected [2]. Give one radius a sample."),
    (
        lambda: ascent(SLOPE, 2, None, BOX),
        "balls: got bounds (0.0, 1.0) without x, expected both. Pass the inputs that the box is around.",
    ),
    (
        lambda: confine(SLOPE, SLOPE, 2, 1.0, (1.0, 0.0)),
        "balls: got bounds (1.0, 0.0), expected lo < hi. Give the least and the greatest value of the data.",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSALS)
def test_refusals_say_what_was_got_and_what_to_do(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message
