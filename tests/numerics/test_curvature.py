"""Products with the Hessian against its dense float64 twin, a second library, and what must not change or pass in silence."""

import copy
import importlib
import math
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import dropout
from twins import (
    CASES,
    NAMED,
    ORDERS,
    Array,
    Case,
    Exp,
    Once,
    Relu6,
    ascent,
    dense,
    dense_of,
    entropy,
    gated,
    squared,
    twin,
    untouched,
    worn_norm,
)

from robustradar.numerics import vector
from robustradar.numerics.curvature import Rung, hessian
from robustradar.numerics.directional import directional
from robustradar.numerics.problem import Problem, UnavailableError

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}
DTYPES = [torch.float32, torch.float64]

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


def problem(case: Case, dtype: torch.dtype = torch.float64, split: str = "train", **changes: Any) -> Problem:
    ridge = case.ridge if split == "train" else 0.0
    return Problem(**{**dict(model=case.model(dtype), loss=case.loss, batches=case.batches(split, dtype), ridge=ridge), **changes})


def directions(d: int, dtype: torch.dtype, count: int = 3) -> list[Tensor]:
    drawn = torch.randn(count, d, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return list(drawn.to(dtype))


def off(value: Tensor | Array, expected: Array) -> float:
    """The relative error in the 2-norm."""
    got = value.double().numpy() if isinstance(value, Tensor) else value
    assert got.shape == expected.shape
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


# The oracle itself


@every_case
def test_the_twin_agrees_with_finite_differences(case: Case) -> None:
    """In theta, in x, and mixed, along random directions; the step stays clear of the kinks of ReLU at these points."""
    model, h = case.model(torch.float64), 1e-6
    x, y = case.data("train", torch.float64)
    truth = twin(case)
    rng = torch.Generator().manual_seed(5)

    def moved(step: Tensor | None = None, dx: Tensor | float = 0.0) -> tuple[float, Array, Array]:
        """Mean loss, its gradient in theta, and every sample's in x."""
        shifted = copy.deepcopy(model)
        if step is not None:
            theta = nn.utils.parameters_to_vector(shifted.parameters()) + step
            nn.utils.vector_to_parameters(theta, shifted.parameters())
        inputs = (x + dx).requires_grad_()
        losses = case.loss(shifted(inputs), y)
        total = losses.mean() + case.ridge / 2 * sum(p.square().sum() for p in shifted.parameters())
        *theta_parts, gx = torch.autograd.grad(losses.sum() + 0 * total, [*shifted.parameters(), inputs], retain_graph=True)
        del theta_parts
        g = vector.flat(torch.autograd.grad(total, list(shifted.parameters())))
        return total.item(), g.numpy(), gx.flatten(1).numpy()

    loss, gradient, gx = moved()
    assert truth.loss == pytest.approx(loss, rel=1e-12)
    assert off(truth.gradient, gradient) < 1e-10
    assert off(truth.g, gx) < 1e-10

    v = torch.randn(truth.size, generator=rng, dtype=torch.float64)
    up, down = moved(h * v), moved(-h * v)
    assert (up[0] - down[0]) / (2 * h) == pytest.approx(truth.gradient @ v.numpy(), rel=1e-6)
    assert off(truth.H @ v.numpy(), (up[1] - down[1]) / (2 * h)) < 1e-6

    u = torch.randn(x.shape, generator=rng, dtype=torch.float64)
    up, down = moved(dx=h * u), moved(dx=-h * u)
    along = u.flatten(1).numpy()
    assert off(np.einsum("nmd,nm->d", truth.J, along) / len(x), (up[1] - down[1]) / (2 * h)) < 1e-6
    expected = (up[2] - down[2]) / (2 * h)
    assert np.linalg.norm(np.einsum("nij,nj->ni", truth.D, along) - expected) < 1e-6 * max(1.0, float(np.linalg.norm(expected)))


def test_the_twin_of_the_quadratic_network_is_the_closed_form() -> None:
    """[T, Example 1] with its misprints corrected, for l = (y - f)²: gradients of f in W and x, and both second derivatives."""
    case = NAMED["quadratic"]
    model, truth = case.model(torch.float64), twin(case)
    W, a = model.get_parameter("weight").detach().numpy(), model.get_buffer("a").numpy()
    xs, ys = (value.double().numpy() for value in case.data("train"))
    k, m = W.shape
    H, mixed = np.zeros((k * m, k * m)), []
    for x, (y,) in zip(xs, ys, strict=True):
        s = W @ x
        f, df, dx = a @ s**2, np.concatenate([2 * a[j] * s[j] * x for j in range(k)]), 2 * (a * s) @ W
        ddf = np.kron(np.diag(2 * a), np.outer(x, x))
        dfx = np.concatenate([2 * a[j] * (s[j] * np.eye(m) + np.outer(x, W[j])) for j in range(k)])
        H += (2 * np.outer(df, df) - 2 * (y - f) * ddf) / len(xs)
        mixed.append((2 * np.outer(df, dx) - 2 * (y - f) * dfx).T)
    assert off(truth.H, H + case.ridge * np.eye(k * m)) < 1e-12
    assert off(truth.J, np.array(mixed)) < 1e-12


@pytest.mark.parametrize("p", ORDERS)
def test_the_twins_direction_has_unit_norm_and_attains_the_dual_norm(p: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        g, x = rng.standard_normal(6), rng.choice([0.0, 0.5, 1.0], 6)
        phi = ascent(g, x, p, (0, 1))
        free = g[phi != 0] if p > 1 else g
        assert np.linalg.norm(phi, p) == pytest.approx(1)
        assert not (phi[x == 0] < 0).any()
        assert not (phi[x == 1] > 0).any()
        others = rng.standard_normal((1000, 6))
        others = np.where((x == 0) & (others < 0) | (x == 1) & (others > 0), 0, others)
        others /= np.linalg.norm(others, p, axis=1, keepdims=True).clip(1e-9)
        assert (others @ g).max() <= g @ phi + 1e-12
        assert len(free) > 0


# Exact products


@every_case
@every_dtype
def test_hessian_agrees_with_the_twin(case: Case, dtype: torch.dtype) -> None:
    truth = twin(case)
    with hessian(problem(case, dtype)) as H:
        assert (H.size, H.samples, H.rung) == (truth.size, 10, "exact")
        assert float(H.loss) == pytest.approx(truth.loss, rel=1e-6 if dtype == torch.float32 else 1e-12)
        assert off(H.gradient, truth.gradient) < TOLERANCE[dtype]
        for v in directions(H.size, dtype):
            product = H @ v
            assert (product.dtype, product.requires_grad) == (dtype, False)
            assert off(product, truth.H @ v.double().numpy()) < TOLERANCE[dtype]
        assert H.products == 3


@every_case
@every_dtype
def test_gauss_newton_agrees_with_the_twin(case: Case, dtype: torch.dtype) -> None:
    truth = twin(case)
    with hessian(problem(case, dtype), rung="gauss-newton") as H:
        for v in directions(H.size, dtype):
            assert off(H @ v, truth.G @ v.double().numpy()) < TOLERANCE[dtype]
        assert H.rung == "gauss-newton"


@every_case
@every_dtype
def test_finite_differences_agree_with_the_twin(case: Case, dtype: torch.dtype) -> None:
    """Also for a float32 network, since they are taken in float64."""
    truth = twin(case)
    with hessian(problem(case, dtype), rung="finite-differences") as H:
        for v in directions(H.size, dtype):
            assert off(H @ v, truth.H @ v.double().numpy()) < 1e-6
        assert H.rung == "finite-differences"


@pytest.mark.parametrize("case", [NAMED["softmax"], NAMED["relu"]], ids=str)
def test_finite_differences_know_zero_from_noise(case: Case) -> None:
    """A direction without curvature: the same step in all logits, or in the input weights of a pixel that is always 0."""
    truth = twin(case)
    eigenvalues, vectors = np.linalg.eigh(truth.H)
    flat = vectors[:, np.abs(eigenvalues).argmin()]
    with hessian(problem(case), rung="finite-differences") as H:
        assert float((H @ torch.from_numpy(flat)).norm()) < 1e-8


def test_products_are_linear_and_symmetric() -> None:
    with hessian(problem(NAMED["attention"])) as H:
        u, v, w = directions(H.size, torch.float64)
        torch.testing.assert_close(H @ (2 * u - 3 * v), 2 * (H @ u) - 3 * (H @ v))
        torch.testing.assert_close(w @ (H @ u), u @ (H @ w))
        assert (H @ torch.zeros_like(u)).count_nonzero() == 0


@every_case
def test_directional_derivatives_agree_with_the_twin(case: Case) -> None:
    x, y = case.data("train", torch.float64)
    (v,) = directions(twin(case).size, torch.float64, 1)
    first, second = directional(problem(case), v)
    assert (first.shape, second.shape) == ((10,), (10,))
    singles = [dense(case.model(torch.float64), case.loss, x[i : i + 1], y[i : i + 1]) for i in (0, 9)]
    np.testing.assert_allclose(first[[0, 9]].numpy(), [s.gradient @ v.numpy() for s in singles], rtol=1e-9)
    np.testing.assert_allclose(second[[0, 9]].numpy(), [v.numpy() @ s.H @ v.numpy() for s in singles], rtol=1e-9)
    ridge = case.ridge
    assert second.mean().item() + ridge * float(v @ v) == pytest.approx(v.numpy() @ twin(case).H @ v.numpy(), rel=1e-9)


# A second opinion


@pytest.fixture(scope="module")
def curvlinops() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # linear_operator's, on import: it calls torch.jit.script
        return importlib.import_module("curvlinops")


@pytest.mark.parametrize("case", [c for c in CASES if c.name not in ("attention", "layer-norm")], ids=str)
@pytest.mark.parametrize(("rung", "name"), [("exact", "HessianLinearOperator"), ("gauss-newton", "GGNLinearOperator")])
def test_curvlinops_agrees(curvlinops: ModuleType, case: Case, rung: Rung, name: str) -> None:
    """Ragged batches included. It knows no ridge, averages a squared error over outputs, and errs with LayerNorm (see `Standardised`)."""
    operator = getattr(curvlinops, name)
    model = case.model(torch.float64)
    loss, scale = (nn.CrossEntropyLoss(), 1) if case.loss is entropy else (nn.MSELoss(), case.outputs)
    data = case.batches("train", torch.float64)
    theirs = operator(model, loss, list(model.parameters()), data)
    with hessian(problem(case, ridge=0.0), rung=rung) as H:
        for v in directions(H.size, torch.float64):
            torch.testing.assert_close(H @ v, scale * (theirs @ v), rtol=1e-9, atol=1e-11)


# Batches, memory and parameters


@every_case
@pytest.mark.parametrize("rung", ["exact", "gauss-newton", "finite-differences"])
def test_batching_changes_nothing(case: Case, rung: Rung) -> None:
    (v,) = directions(twin(case).size, torch.float64, 1)
    found = []
    for sizes in [(10,), (4, 4, 2), (1, 2, 3, 4), (1,) * 10]:
        with hessian(problem(case, batches=case.batches("train", torch.float64, sizes)), rung=rung) as H:
            found.append((H @ v, H.gradient, torch.as_tensor(H.loss)))
    rtol = 1e-6 if rung == "finite-differences" else 1e-10
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert float((a - b).norm()) <= rtol * float(a.norm())


@every_dtype
@every_case
def test_keeping_graphs_and_building_them_anew_give_equal_results(case: Case, dtype: torch.dtype) -> None:
    with hessian(problem(case, dtype)) as kept, hessian(problem(case, dtype), memory=0) as rebuilt:
        assert (kept.kept, rebuilt.kept) == (3, 0)
        for v in directions(kept.size, dtype):
            torch.testing.assert_close(kept @ v, rebuilt @ v, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-14)


def test_graphs_are_kept_while_memory_lasts() -> None:
    case = NAMED["convolution"]
    (v,) = directions(twin(case).size, torch.float64, 1)
    counts, products = [], []
    for memory in [0, 1, 20_000, 50_000, 100_000, 2**30]:
        with hessian(problem(case), memory=memory) as H:
            counts.append(H.kept)
            products.append(H @ v)
    assert counts == sorted(counts)
    assert (counts[0], counts[1], counts[-1]) == (0, 0, 3)
    assert 0 < len(set(counts) - {0, 3})
    for product in products:
        torch.testing.assert_close(product, products[0], rtol=1e-12, atol=1e-12)


def test_frozen_parameters_are_left_out() -> None:
    case = NAMED["tanh"]
    model = case.model(torch.float64)
    model.get_parameter("0.weight").requires_grad_(False)
    truth = dense(model, case.loss, *case.data("train"), ridge=case.ridge)
    for rung, matrix in (("exact", truth.H), ("gauss-newton", truth.G), ("finite-differences", truth.H)):
        with hessian(problem(case, model=model), rung=rung) as H:  # type: ignore[arg-type]
            assert H.size == truth.size == 35
            (v,) = directions(35, torch.float64, 1)
            assert off(H.gradient, truth.gradient) < 1e-9
            assert off(H @ v, matrix @ v.numpy()) < 1e-6
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]


class Spare(nn.Module):
    """A tied weight, one that outputs do not depend on, and one in a closing bias."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4, bias=False)
        self.again = nn.Linear(4, 4, bias=False)
        self.again.weight = self.inner.weight
        self.unused = nn.Linear(3, 2)
        self.shift = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.again(torch.tanh(self.inner(x))) + self.shift
        return z


@pytest.mark.parametrize("rung", ["exact", "gauss-newton", "finite-differences"])
def test_tied_parameters_count_once_and_unused_ones_have_no_curvature(rung: Rung) -> None:
    torch.manual_seed(0)
    model = Spare().double()
    x, y = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0])
    truth = dense_of_spare(model, x, y)
    eye, picked = torch.eye(28, dtype=torch.float64), [0, 4, 19, 20, 27]  # of the shift, the tied weight, and what is unused
    with hessian(Problem(model, entropy, [(x, y)], ridge=0.1), rung=rung) as H:
        assert H.size == 28
        rows = torch.stack([H @ e for e in eye[picked]])
    torch.testing.assert_close(rows[3:], 0.1 * eye[picked[3:]])
    if rung != "gauss-newton":
        torch.testing.assert_close(rows, truth[picked], rtol=1e-6, atol=1e-6)


def dense_of_spare(model: Spare, x: Tensor, y: Tensor) -> Tensor:
    """Its Hessian by torch.autograd.functional, in the order of model.parameters()."""
    order = [name for name, _ in model.named_parameters()]
    values = [p.detach() for p in model.parameters()]
    sizes = [v.numel() for v in values]

    def mean(theta: Tensor) -> Tensor:
        part = {n: t.view_as(v) for n, t, v in zip(order, theta.split(sizes), values, strict=True)}
        W = part["inner.weight"]
        return entropy(torch.tanh(x @ W.T) @ W.T + part["shift"], y).mean() + 0.05 * theta.square().sum()

    found = torch.autograd.functional.hessian(mean, vector.flat(values))
    assert isinstance(found, Tensor)
    return found


@pytest.mark.parametrize("rung", [None, "exact", "gauss-newton", "finite-differences"])
def test_a_loss_linear_in_the_parameters_has_no_curvature(rung: Rung | None) -> None:
    """Its gradient depends on no parameter, so that there is nothing to differentiate."""
    data = [(torch.ones(2, 3), torch.zeros(2))]
    with hessian(Problem(nn.Linear(3, 1), lambda z, y: z[:, 0] - y, data, ridge=0.5), rung=rung) as H:
        assert (H @ torch.arange(4.0)).tolist() == pytest.approx([0, 0.5, 1, 1.5], abs=1e-9)


# Layers, one by one: torch has wrong formulas of higher derivatives, and does not say so

LAYERS: dict[str, Callable[[], nn.Module]] = {
    **{name: getattr(nn, name) for name in ["ReLU", "ReLU6", "LeakyReLU", "PReLU", "ELU", "SELU", "GELU", "SiLU", "Mish", "Hardswish"]},
    **{name: getattr(nn, name) for name in ["Hardtanh", "Softplus", "Softsign", "Sigmoid", "LogSigmoid", "Tanh", "Softshrink"]},
    "LayerNorm": lambda: nn.LayerNorm([4, 6, 6]),
    "GroupNorm": lambda: nn.GroupNorm(2, 4),
    "InstanceNorm": lambda: nn.InstanceNorm2d(4, affine=True),
    "RMSNorm": lambda: nn.RMSNorm([4, 6, 6]),
    "BatchNorm": lambda: worn_norm(4),
    "LocalResponseNorm": lambda: nn.LocalResponseNorm(2),
    "MaxPool": lambda: nn.MaxPool2d(2),
    "AdaptiveMaxPool": lambda: nn.AdaptiveMaxPool2d(2),
    "AvgPool": lambda: nn.AvgPool2d(2),
    "LPPool": lambda: nn.LPPool2d(2, 2),
    "bilinear": lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    "transposed": lambda: nn.ConvTranspose2d(4, 4, 3),
    "depthwise": lambda: nn.Conv2d(4, 4, 3, groups=4),
    "Softmax": lambda: nn.Softmax(1),
    "weight-norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)),
    "spectral-norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_products_with_every_usual_layer(layer: str) -> None:
    """Whatever rung is taken is right: against finite differences, or a Jacobian by one backward pass an output."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), LAYERS[layer](), nn.Flatten())
    x, y = torch.randn(5, 2, 6, 6), torch.randint(3, (5,))
    net = nn.Sequential(net, nn.Linear(net(x).shape[1], 3)).double().eval()
    given = Problem(net, entropy, list(zip(x.split(3), y.split(3), strict=True)))
    (v,) = directions(sum(p.numel() for p in net.parameters()), torch.float64, 1)
    with hessian(given, rung="finite-differences") as H:
        truth = (H @ v).numpy()
    z = net(x.double())
    J = torch.stack([vector.flat(torch.autograd.grad(one, list(net.parameters()), retain_graph=True)) for one in z.flatten()])
    shares = z.detach().softmax(1)
    bent = torch.einsum("nkl,nl->nk", torch.diag_embed(shares) - shares[:, :, None] * shares[:, None], (J @ v).view_as(z))
    with hessian(given) as H:
        assert off(H @ v, truth if H.rung != "gauss-newton" else (J.T @ bent.flatten() / 5).numpy()) < 1e-6
    for ask in (_gauss_newton, directional):
        try:
            found = ask(given, v)
        except UnavailableError as error:
            assert "forward" in str(error)  # torch has none of some, and says so
        else:
            if isinstance(found, Tensor):
                assert off(found, (J.T @ bent.flatten() / 5).numpy()) < 1e-9
            else:
                assert found[1].mean().item() == pytest.approx(float(v @ torch.from_numpy(truth)), rel=1e-6)


def _gauss_newton(given: Problem, v: Tensor) -> Tensor:
    with hessian(given, rung="gauss-newton") as H:
        return H @ v


# What must stay as it was


@pytest.mark.parametrize("rung", ["exact", "gauss-newton", "finite-differences"])
@pytest.mark.parametrize("failing", [False, True], ids=["done", "broken-off"])
@pytest.mark.parametrize("case", [NAMED["batch-norm"], NAMED["attention"]], ids=str)
def test_measuring_changes_nothing(case: Case, rung: Rung, failing: bool) -> None:
    """A network in training mode, with mixed modes, a frozen parameter and gradients of its own; measured as in evaluation mode."""
    model = case.model(torch.float64).train()
    parameters = list(model.parameters())
    parameters[0].requires_grad_(False)
    parameters[1].grad = torch.ones_like(parameters[1])
    next(model.children()).eval()
    batches = case.batches("train", torch.float64)
    truth = dense(model, case.loss, *case.data("train"))
    matrix = truth.G if rung == "gauss-newton" else truth.H
    (v,) = directions(truth.size, torch.float64, 1)
    with untouched(model, batches):
        if failing:
            with pytest.raises(KeyError), hessian(problem(case, model=model, batches=batches), rung=rung) as H:
                _ = H @ v
                raise KeyError
        else:
            with hessian(problem(case, model=model, batches=batches, ridge=0.0), rung=rung) as H:
                assert off(H @ v, matrix @ v.numpy()) < 1e-6


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6, 7, 8])
def test_a_pass_that_fails_midway_leaves_all_as_it_was(at: int) -> None:
    class Burst(Exception):
        pass

    case, calls = NAMED["batch-norm"], 0

    def loss(z: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Burst
        return entropy(z, y)

    model, batches = case.model(torch.float64).train(), case.batches("train", torch.float64)
    with untouched(model, batches), pytest.raises(Burst):
        with hessian(problem(case, model=model, batches=batches, loss=loss), memory=0) as H:
            _ = H @ torch.ones(H.size, dtype=torch.float64)
            _ = H @ torch.ones(H.size, dtype=torch.float64)


def test_works_where_gradients_are_switched_off() -> None:
    case = NAMED["relu"]
    (v,) = directions(twin(case).size, torch.float64, 1)
    with torch.no_grad():
        with hessian(problem(case)) as H:
            assert off(H @ v, twin(case).H @ v.numpy()) < 1e-9
        assert not torch.is_grad_enabled()


def test_the_graph_is_let_go() -> None:
    with hessian(problem(NAMED["relu"])) as H:
        _ = H @ torch.ones(H.size, dtype=torch.float64)
        assert H.kept == 3
    assert H.kept == 0


# The ladder


def problem_of(activation: nn.Module, dtype: torch.dtype = torch.float64) -> Problem:
    net, batches = gated(activation, dtype)
    return Problem(net, entropy, batches)


@pytest.mark.parametrize("encoder", [False, True], ids=["plain", "encoder"])
def test_attention_has_an_exact_product(encoder: bool) -> None:
    """Fused attention has no second derivative on a CPU, and torch's transformer layers have a fast path in evaluation mode."""

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            plain = nn.MultiheadAttention(4, 2, batch_first=True)
            self.block = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True) if encoder else plain
            self.head = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.block(x, x, x, need_weights=False)[0] if isinstance(self.block, nn.MultiheadAttention) else self.block(x)
            z: Tensor = self.head(h.mean(1))
            return z

    torch.manual_seed(0)
    net = Tokens().double()
    data = [(torch.randn(3, 5, 4, dtype=torch.float64), torch.tensor([0, 1, 2]))]
    (v,) = directions(sum(p.numel() for p in net.parameters()), torch.float64, 1)
    with hessian(Problem(net, entropy, data)) as H, hessian(Problem(net, entropy, data), rung="finite-differences") as rough:
        assert off(H @ v, (rough @ v).numpy()) < 1e-6
        assert H.rung == "exact"


@every_dtype
def test_a_hard_sigmoid_is_measured_by_gauss_newton(dtype: torch.dtype) -> None:
    """torch has a forward derivative of it, and no second one; its twin is made of ReLUs."""
    given, truth = problem_of(nn.Hardsigmoid(), dtype), dense_of(*gated(Relu6(), dtype))
    (v,) = directions(truth.size, dtype, 1)
    with hessian(given) as H:
        assert H.rung == "exact"
        assert off(H @ v, truth.G @ v.double().numpy()) < max(TOLERANCE[dtype], 1e-7)  # torch's slope, 1/6, is a float32
        assert (H.rung, H.kept, H.products) == ("gauss-newton", 0, 1)
    with hessian(given, rung="finite-differences") as H:
        assert off(H @ v, truth.H @ v.double().numpy()) < 1e-6
    message = "no exact product: derivative for aten::hardsigmoid_backward is not implemented"
    with pytest.raises(UnavailableError, match=message), hessian(given, rung="exact") as H:
        _ = H @ v


@every_dtype
def test_an_operator_without_a_second_derivative_is_measured_by_differences(dtype: torch.dtype) -> None:
    given, truth = problem_of(Once(), dtype), dense_of(*gated(Exp(), dtype))
    (v,) = directions(truth.size, dtype, 1)
    with hessian(given) as H:
        assert off(H @ v, truth.H @ v.double().numpy()) < 1e-6
        assert (H.rung, H.products) == ("finite-differences", 1)
    with pytest.raises(UnavailableError, match="no exact product: trying to differentiate twice"):
        with hessian(given, rung="exact") as H:
            _ = H @ v


def test_gauss_newton_serves_where_only_the_second_derivative_is_missing() -> None:
    """An operator with a forward derivative of its own, beside a backward one that may be taken once."""

    class Middle(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            y = x.exp()
            ctx.save_for_backward(y)
            ctx.save_for_forward(y)
            return y

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, up: Tensor) -> Any:
            return up * ctx.saved_tensors[0]

        @staticmethod
        def jvp(ctx: Any, tangent: Tensor) -> Any:
            return tangent * ctx.saved_tensors[0]

    class Operator(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = Middle.apply(x)
            return y

    truth = dense_of(*gated(Exp()))
    (v,) = directions(truth.size, torch.float64, 1)
    with hessian(problem_of(Operator())) as H:
        assert off(H @ v, truth.G @ v.numpy()) < 1e-9
        assert H.rung == "gauss-newton"


def test_differences_that_disagree_are_no_number() -> None:
    """A network that sits on a kink: |w| at w = 0 has no second derivative."""

    class Kink(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))

        def forward(self, x: Tensor) -> Tensor:
            return (x * self.weight).abs()

    given = Problem(Kink().double(), lambda z, y: z.sum(1), [(torch.ones(2, 2), torch.zeros(2))])
    message = r"finite differences at steps 1e-05 and 1e-06 differ by 9\.0e-01 of their length, more than 0\.001"
    with pytest.raises(UnavailableError, match=message), hessian(given, rung="finite-differences") as H:
        _ = H @ torch.ones(2, dtype=torch.float64)


# What is refused


@pytest.mark.parametrize("rung", [None, "exact", "gauss-newton", "finite-differences"])
def test_a_random_network_is_refused(rung: Rung | None) -> None:
    class Rain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return dropout(self.inner(x), 0.5, training=True)

    net, data = Rain(), [(torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]))]
    message = "the loss differs between two passes in evaluation mode, so it has no derivative"
    with pytest.raises(UnavailableError, match=message), hessian(Problem(net, entropy, data), rung=rung):
        pass


def test_dropout_that_evaluation_switches_off_is_measured() -> None:
    case = NAMED["tanh"]
    model = nn.Sequential(case.model(torch.float64), nn.Dropout(0.5)).train()
    (v,) = directions(twin(case).size, torch.float64, 1)
    with hessian(problem(case, model=model)) as H:
        assert off(H @ v, twin(case).H @ v.numpy()) < 1e-9


def test_a_network_that_writes_its_buffers_in_evaluation_is_refused() -> None:
    class Diary(nn.Linear):
        seen: Tensor

        def __init__(self) -> None:
            super().__init__(4, 3)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            return super().forward(x)

    net = Diary()
    message = r"curvature: got a network that changes its buffers \['seen'\] in evaluation mode, expected one that does not."
    with pytest.raises(ValueError, match=message), hessian(Problem(net, entropy, [(torch.ones(2, 4), torch.zeros(2, dtype=torch.long))])):
        pass
    assert net.seen == 0


LINE = (torch.ones(2, 4), torch.ones(2, 1))


@pytest.mark.parametrize(
    ("data", "loss", "error", "message"),
    [
        ([], squared, ValueError, "curvature: got no samples, expected at least one. Pass batches that can be gone through more"),
        ([(LINE[0][:0], LINE[1][:0])], squared, ValueError, "curvature: got no samples, expected at least one."),
        (iter([LINE]), squared, ValueError, "can be gone through more than once"),
        ([LINE], lambda z, y: z[:, 0] * math.nan, UnavailableError, "the loss or its gradient is not finite"),
        ([LINE], lambda z, y: (z[:, 0] - z[:, 0]).sqrt(), UnavailableError, "the loss or its gradient is not finite"),
        ([LINE], lambda z, y: z[:, 0].exp() + math.inf, UnavailableError, "the loss or its gradient is not finite"),
        ([(LINE[0] * math.inf, LINE[1])], squared, UnavailableError, "the loss or its gradient is not finite"),
        ([LINE], lambda z, y: (z - y).square().mean(), ValueError, "expected"),
        ([LINE], lambda z, y: (z - y).square(), ValueError, "expected"),
    ],
    ids=["none", "empty", "once", "nan", "infinite-gradient", "infinite", "infinite-input", "already-averaged", "unreduced"],
)
def test_what_has_no_derivative_is_refused(data: Any, loss: Any, error: type[Exception], message: str) -> None:
    """A loss that is averaged already would be divided by N once more; one that is not summed over outputs would pass by chance."""
    with pytest.raises(error, match=message), hessian(Problem(nn.Linear(4, 1), loss, data)):
        pass


def test_a_network_without_parameters_is_refused() -> None:
    message = "curvature: got no parameter that requires a gradient, expected parameters of one type on one device. Convert"
    with pytest.raises(ValueError, match=message), hessian(Problem(nn.ReLU(), squared, [LINE])):
        pass
    mixed = nn.Sequential(nn.Linear(4, 1), nn.Linear(1, 1).double())
    message = "curvature: got torch.float32 on cpu and torch.float64 on cpu, expected parameters of one type on one device."
    with pytest.raises(ValueError, match=message), hessian(Problem(mixed, squared, [LINE])):
        pass


@pytest.mark.parametrize("v", [torch.ones(4), torch.ones(6), torch.ones(5, 1)], ids=lambda v: str(tuple(v.shape)))
def test_a_vector_of_another_size_is_refused(v: Tensor) -> None:
    with hessian(Problem(nn.Linear(4, 1), squared, [LINE])) as H:
        with pytest.raises(ValueError, match="expected"):
            _ = H @ v
        assert H.rung == "exact"


# Sums


@pytest.mark.parametrize("d", [1, 8191, 8192, 8193, 3_000_000])
def test_dot_products_stay_exact_at_millions_of_entries(d: int) -> None:
    rng = torch.Generator().manual_seed(0)
    u, v = torch.rand(d, generator=rng), torch.rand(d, generator=rng)
    assert float(vector.dot(u, v)) == pytest.approx(float(u.double() @ v.double()), rel=3e-7)
    assert float(vector.length(u)) == pytest.approx(float(u.double().norm()), rel=3e-7)
    rows = torch.stack([u, v])
    torch.testing.assert_close(vector.dots(rows, u), rows.double() @ u.double(), rtol=3e-7, atol=0)


@pytest.mark.parametrize("entry", [0.1, 1 / 3, 0.7, 2.3, 1e10])
def test_rounding_does_not_add_up(entry: float) -> None:
    """Equal entries are all rounded the same way, which a long float32 sum accumulates."""
    v = torch.full((20_000,), entry)
    assert float(vector.length(v)) == pytest.approx(float(v.double().norm()), rel=1e-5)


@pytest.mark.parametrize("entry", [1e-25, 1e-10, 1e10, 1e18])
@pytest.mark.parametrize("d", [100, 20_000])
def test_lengths_neither_underflow_nor_overflow(d: int, entry: float) -> None:
    """The gradient of a network that fits its data can be this small."""
    assert float(vector.length(torch.full((d,), entry))) == pytest.approx(entry * math.sqrt(d), rel=1e-4, abs=0)


def test_flattening_and_its_inverse() -> None:
    parts = [torch.randn(2, 3), torch.randn(()), torch.randn(4, 1, 1)]
    v = vector.flat(parts)
    assert v.shape == (11,)
    for part, back in zip(parts, vector.like(v, parts), strict=True):
        assert torch.equal(part, back)
