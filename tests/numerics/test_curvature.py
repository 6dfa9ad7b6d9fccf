"""Products with the Hessian against its dense float64 twin, a second library, and what must not change or pass in silence."""

import importlib
import math
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from oracle import TOLERANCE, Burst, bursting, directions, every_case, every_dtype, off, problem
from torch import Tensor, nn
from torch.nn.functional import dropout
from twins import (
    CASES,
    NAMED,
    Case,
    dense,
    entropy,
    squared,
    twin,
    untouched,
)

from robustradar.numerics import vector
from robustradar.numerics.curvature import Rung, hessian
from robustradar.numerics.directional import directional
from robustradar.numerics.problem import Problem, UnavailableError

# Exact products


@every_case
@every_dtype
def test_hessian_agrees_with_the_twin(case: Case, dtype: torch.dtype) -> None:
    truth = twin(case)
    with hessian(problem(case, dtype=dtype)) as H:
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
    with hessian(problem(case, dtype=dtype), rung="gauss-newton") as H:
        for v in directions(H.size, dtype):
            assert off(H @ v, truth.G @ v.double().numpy()) < TOLERANCE[dtype]
        assert H.rung == "gauss-newton"


@every_case
@every_dtype
def test_finite_differences_agree_with_the_twin(case: Case, dtype: torch.dtype) -> None:
    """Also for a float32 network, since they are taken in float64."""
    truth = twin(case)
    with hessian(problem(case, dtype=dtype), rung="finite-differences") as H:
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
    with hessian(problem(case, dtype=dtype)) as kept, hessian(problem(case, dtype=dtype), memory=0) as rebuilt:
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
    case, loss = NAMED["batch-norm"], bursting(entropy, at)
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
