"""Where torch has no second derivative, or a wrong one: layers one by one, and the rungs that are taken."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from oracle import TOLERANCE, directions, every_dtype, off
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from twins import (
    Exp,
    Once,
    Relu6,
    dense_of,
    entropy,
    gated,
    worn_norm,
)

from robustradar.numerics import vector
from robustradar.numerics.curvature import hessian
from robustradar.numerics.directional import directional
from robustradar.numerics.influence import Settings, attack_gradient, influence
from robustradar.numerics.problem import Problem, UnavailableError

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


# The influence function on the ladder


@every_dtype
@pytest.mark.parametrize(
    ("gate", "smooth", "rung"), [(nn.Hardsigmoid, Relu6, "gauss-newton"), (Once, Exp, "finite-differences")], ids=["hardsigmoid", "once"]
)
def test_without_a_second_derivative_the_ladder_is_taken(
    gate: Callable[[], nn.Module], smooth: Callable[[], nn.Module], rung: str, dtype: torch.dtype
) -> None:
    """Phi by differences, H by what is left; the lowest rung is told."""
    net, batches = gated(gate(), dtype)
    given_, truth = Problem(net, entropy, batches), dense_of(*gated(smooth(), dtype))
    attack = attack_gradient(given_, 2)
    assert attack.rung == "finite-differences"
    assert off(attack.Phi, truth.Phi(2)) < 1e-5
    H = truth.G if rung == "gauss-newton" else truth.H
    mu = 1.0 + float(np.abs(np.linalg.eigvalsh(H)).max())
    found = influence(given_, given_, Settings(2, damping=mu, residual=1e-5))
    assert off(found.ifa, np.asarray(-np.linalg.solve(H + mu * np.eye(truth.size), truth.Phi(2)))) < 1e-4
    assert found.curvature == "finite-differences"
    with pytest.raises(UnavailableError, match="no mixed derivative: "):
        attack_gradient(given_, 2, rung="exact")


def test_weight_normalisation_is_written_out() -> None:
    """torch 2.15 has a wrong second derivative of its own, and does not say so."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)).double()
    given_ = Problem(net, entropy, [(torch.randn(9, 4, dtype=torch.float64), torch.randint(3, (9,)))])
    truth = influence(given_, given_, Settings(2, damping=10.0, residual=1e-9, rung="finite-differences"))
    found = influence(given_, given_, Settings(2, damping=10.0, residual=1e-9))
    assert found.curvature == "exact"
    assert truth.ifa is not None
    assert off(found.ifa, truth.ifa.numpy()) < 1e-5


def test_products_that_are_not_symmetric_are_no_curvature() -> None:
    class Wrong(torch.autograd.Function):
        """exp, whose second derivative turns the order of its entries around."""

        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x.exp()

        @staticmethod
        def backward(ctx: Any, up: Tensor) -> Any:
            (x,) = ctx.saved_tensors
            return up * (x.exp().detach() + x.flip(1) - x.flip(1).detach())

    class Operator(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = Wrong.apply(x)
            return y

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), Operator(), nn.Linear(5, 3)).double()
    given_ = Problem(net, entropy, [(torch.randn(9, 4, dtype=torch.float64), torch.randint(3, (9,)))])
    with pytest.raises(UnavailableError, match=r"products are not symmetric, by \d.*: an operation has a wrong second derivative"):
        influence(given_, given_, Settings(2, damping=10.0))
