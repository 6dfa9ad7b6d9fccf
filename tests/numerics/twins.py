"""Dense float64 twins of what the curvature numerics compute without ever forming a matrix, and small networks to compare them on.

Nothing here shares a line or a method with the numerics: the Hessian is forward over reverse by torch.func, the mixed derivative is a full
Jacobian, the ascent direction is written out sample by sample in NumPy, and systems are solved by LAPACK.
"""

import copy
import functools
import importlib
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call, grad, jacfwd, jacrev
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy, relu6, scaled_dot_product_attention

Array = npt.NDArray[np.float64]
Box = tuple[float, float]
Loss = Callable[[Tensor, Tensor], Tensor]
Batches = list[tuple[Tensor, Tensor]]

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # torch's own: it loads its forward derivatives by torch.jit.script, which it deprecates
    importlib.import_module("torch._decomp.decompositions_for_jvp")

ORDERS = [1.0, 1.5, 2.0, 4.0, math.inf]
RAGGED = {"train": (4, 4, 2), "evaluation": (3, 3, 1)}  # a last batch that is smaller must weigh less


# Losses


def entropy(z: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(z, y, reduction="none")


def squared(z: Tensor, y: Tensor) -> Tensor:
    return (z - y).square().sum(1)


# Networks


class Square(nn.Module):
    """f(x, W) = Σ_j a_j (w_jᵀx)², a fixed: the quadratic network of [T, Example 1]."""

    a: Tensor

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, features) / math.sqrt(features))
        self.register_buffer("a", torch.tensor([(-1.0) ** j / (1 + j) for j in range(width)]))

    def forward(self, x: Tensor) -> Tensor:
        return ((x @ self.weight.T).square() @ self.a)[:, None]


class Attention(nn.Module):
    """One head over the rows of [N, T, D] as its tokens, with the fused attention that image transformers call."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, 3 * width)
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.inner(self.norm(x)).chunk(3, dim=-1)
        attended = x + scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        z: Tensor = self.head(attended.mean(1))
        return z


class Standardised(nn.LayerNorm):
    """LayerNorm written out, for the twins.

    torch's own has wrong second derivatives by two forward passes, or under vmap (torch 2.15; pytorch issue 196700).
    """

    def forward(self, input: Tensor) -> Tensor:
        centred = input - input.mean(-1, keepdim=True)
        out: Tensor = centred / (centred.square().mean(-1, keepdim=True) + self.eps).sqrt() * self.weight + self.bias
        return out


def worn_norm(channels: int) -> nn.Module:
    """A BatchNorm whose running statistics and scales are those of a network that has been trained."""
    norm = nn.BatchNorm2d(channels)
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.uniform_(-0.5, 0.5)
    norm.running_var.uniform_(0.3, 2)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.uniform_(norm.bias, -0.5, 0.5)
    return norm


# Cases


@dataclass(frozen=True)
class Case:
    """A network with data: steps of Adam, 0 for one at its initialisation; bounds of the box that inputs fill up to its walls."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    outputs: int
    loss: Loss = entropy
    bounds: Box | None = None
    steps: int = 60
    ridge: float = 0.0

    def __str__(self) -> str:
        return self.name

    def model(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """A fresh copy of the network, in evaluation mode."""
        return copy.deepcopy(_trained(self)).to(dtype)

    def data(self, split: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Ten training or seven evaluation samples."""
        x, y = _drawn(self, split)
        return x.to(dtype), y.to(dtype) if y.is_floating_point() else y

    def batches(self, split: str, dtype: torch.dtype = torch.float32, sizes: tuple[int, ...] = ()) -> Batches:
        x, y = self.data(split, dtype)
        sizes = sizes or RAGGED[split]
        return list(zip(x.split(list(sizes)), y.split(list(sizes)), strict=True))


@functools.cache
def _drawn(case: Case, split: str) -> tuple[Tensor, Tensor]:
    n, seed = (10, 1) if split == "train" else (7, 2)
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *case.shape, generator=rng)
    if case.bounds is not None:
        low, high = case.bounds
        x = (low + (high - low) * (0.5 + 0.5 * x)).clamp(low, high)  # a third of the pixels sit at the walls
    if case.loss is entropy:
        return x, torch.randint(case.outputs, (n,), generator=rng)
    return x, torch.randn(n, case.outputs, generator=rng)


@functools.cache
def _trained(case: Case) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = case.build().eval()
    x, y = _drawn(case, "train")
    adam = torch.optim.Adam(model.parameters(), lr=0.03, weight_decay=case.ridge)
    for _ in range(case.steps):
        adam.zero_grad()
        case.loss(model(x), y).mean().backward()
        adam.step()
    model.zero_grad()
    return model


CASES = [
    Case("tanh", lambda: nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)), (5,), 3, ridge=0.01),
    Case("relu", lambda: nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 3)), (6,), 3, bounds=(0, 1)),
    Case("softplus", lambda: nn.Sequential(nn.Linear(5, 8), nn.Softplus(), nn.Linear(8, 2)), (5,), 2, squared),
    Case(
        "convolution",
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)),
        (1, 6, 6),
        3,
        bounds=(0, 1),
        steps=20,
    ),
    Case(
        "batch-norm",
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 4, 3, bias=False), worn_norm(4), nn.ReLU(), nn.Conv2d(4, 4, 2), worn_norm(4), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
        ),
        (2, 5, 5),
        3,
        bounds=(-1, 1),
        steps=0,
    ),
    Case(
        "layer-norm",
        lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)),
        (6,),
        3,
        squared,
        bounds=(0, 1),
        steps=0,
        ridge=0.05,
    ),
    Case("quadratic", lambda: Square(4, 5), (4,), 1, squared, steps=100, ridge=0.02),
    Case("softmax", lambda: nn.Linear(6, 3), (6,), 3, bounds=(0, 1)),
    Case("regression", lambda: nn.Linear(4, 1), (4,), 1, squared, steps=100),
    Case("attention", lambda: Attention(4, 3), (3, 4), 3, steps=20),
]
NAMED = {case.name: case for case in CASES}


# Networks that torch has no second derivative of


class Gate(nn.Module):
    """An activation amid a network, beside a path around it."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.inner, self.activation, self.head = nn.Linear(4, 6), activation, nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.inner(x)
        z: Tensor = self.head(h * self.activation(h))
        return z


class Relu6(nn.Module):
    """Hardsigmoid, by an operator whose derivatives torch has."""

    def forward(self, x: Tensor) -> Tensor:
        return relu6(x + 3) / 6


class _Exponential(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, up: Tensor) -> Tensor:
        slope: Tensor = ctx.saved_tensors[0]
        return up * slope


class Once(nn.Module):
    """exp, by an operator that may be differentiated once."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Exponential.apply(x)
        return y


class Exp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.exp()


def gated(activation: nn.Module, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Batches]:
    """The same network and data with every activation, to be measured by cross-entropy."""
    rng = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Gate(activation).to(dtype)
    x, y = torch.randn(9, 4, generator=rng), torch.randint(3, (9,), generator=rng)
    return net, list(zip(x.to(dtype).split(4), y.split(4), strict=True))


# What must stay as it was


@contextmanager
def untouched(model: nn.Module, batches: Batches) -> Iterator[None]:
    """Fails where a network, its state or its data changed inside."""

    def state() -> list[Any]:
        tensors = [*model.state_dict().values(), *(t for pair in batches for t in pair)]
        return [
            [t.clone() for t in tensors],
            [(p.data_ptr(), p.requires_grad, p._version, p.is_leaf) for p in model.parameters()],
            [None if p.grad is None else p.grad.clone() for p in model.parameters()],
            [m.training for m in model.modules()],
            [(x.requires_grad, x.grad, x._version) for pair in batches for x in pair],
            torch.is_grad_enabled(),
            torch.backends.cuda.flash_sdp_enabled(),
            torch.get_rng_state(),
            [len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        ]

    before = state()
    try:
        yield
    finally:
        _assert_same(before, state())


def _assert_same(a: Any, b: Any) -> None:
    if isinstance(a, list):
        assert len(a) == len(b)
        for left, right in zip(a, b, strict=True):
            _assert_same(left, right)
    elif isinstance(a, Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


# The oracle


@dataclass(frozen=True, eq=False)
class Dense:
    """Everything of one loss on one split in full, in NumPy's float64; the ridge is in loss, gradient, H and G."""

    loss: float
    gradient: Array  # [d]
    H: Array  # [d, d] Hessian in theta
    G: Array  # [d, d] generalised Gauss-Newton matrix
    J: Array  # [N, m, d] mixed derivative of each sample's loss
    D: Array  # [N, m, m] Hessian in x
    g: Array  # [N, m] gradient in x
    x: Array  # [N, m]

    @property
    def size(self) -> int:
        return len(self.gradient)

    def phi(self, p: float, bounds: Box | None = None) -> Array:
        """[N, m], the ascent direction of every sample."""
        return np.array([ascent(g, x, p, bounds) for g, x in zip(self.g, self.x, strict=True)])

    def Phi(self, p: float, bounds: Box | None = None) -> Array:
        return np.asarray(np.einsum("nmd,nm->d", self.J, self.phi(p, bounds)) / len(self.x))

    def stuck(self, bounds: Box | None = None) -> int:
        """Samples that no attack can start on."""
        return int((self.phi(2, bounds) == 0).all(1).sum())

    def slope(self, p: float, bounds: Box | None = None) -> float:
        """The mean over samples of the q-norm of the gradient in x, without the coordinates that cannot move."""
        q = math.inf if p == 1 else 1.0 if p == math.inf else p / (p - 1)
        movable = np.where(blocked(self.g, self.x, bounds), 0, self.g)
        return float(np.mean([np.linalg.norm(g, q) for g in movable]))

    def bend(self, p: float, bounds: Box | None = None) -> float:
        phi = self.phi(p, bounds)
        return float(np.einsum("ni,nij,nj->n", phi, self.D, phi).mean())


def blocked(g: Array, x: Array, bounds: Box | None) -> npt.NDArray[np.bool_]:
    """Where an ascent would leave the box."""
    if bounds is None:
        return np.zeros(g.shape, dtype=np.bool_)
    return np.asarray(((x <= bounds[0]) & (g < 0)) | ((x >= bounds[1]) & (g > 0)))


def ascent(g: Array, x: Array, p: float, bounds: Box | None) -> Array:
    """One sample's direction of unit p-norm: sign(g) b^(q-1) / (sum b^q)^(1/p)."""
    g = np.where(blocked(g, x, bounds), 0, g)
    b = np.abs(g)
    if b.max() == 0:
        return np.zeros_like(g)
    if p == math.inf:
        return np.sign(g)
    if p == 1:
        peak = b == b.max()
        return np.asarray(np.sign(g) * peak / peak.sum())
    q = p / (p - 1)
    b = b / b.max()
    return np.asarray(np.sign(g) * b ** (q - 1) / (b**q).sum() ** (1 / p))


def dense(model: nn.Module, loss: Loss, x: Tensor, y: Tensor, ridge: float = 0.0) -> Dense:
    """The twin of a model in evaluation mode; parameters that require no gradient are constants."""
    model = copy.deepcopy(model).double().eval()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.__class__ = Standardised
    x, y = x.double(), y.double() if y.is_floating_point() else y
    free = {name: value for name, value in model.named_parameters() if value.requires_grad}
    theta = torch.cat([value.detach().flatten() for value in free.values()])
    sizes = [value.numel() for value in free.values()]

    def outputs(theta: Tensor, x: Tensor) -> Tensor:
        parts = zip(free.items(), theta.split(sizes), strict=True)
        z: Tensor = functional_call(model, {name: part.view_as(value) for (name, value), part in parts}, (x,))
        return z

    def mean(theta: Tensor) -> Tensor:
        return loss(outputs(theta, x), y).mean() + ridge / 2 * theta.square().sum()

    def one(theta: Tensor, xi: Tensor, yi: Tensor) -> Tensor:
        return loss(outputs(theta, xi[None]), yi[None]).sum()

    def matrix(value: Any, *shape: int) -> Array:
        return np.asarray(value.detach().reshape(shape).numpy(), dtype=np.float64)

    d, n, m = len(theta), len(x), x[0].numel()
    with sdpa_kernel(SDPBackend.MATH):
        z = outputs(theta, x).detach()
        Jz = jacrev(outputs)(theta, x)  # [n, K, d]
        curved = torch.stack([jacfwd(jacrev(lambda z, yi=yi: loss(z[None], yi[None]).sum()))(zi) for zi, yi in zip(z, y, strict=True)])
        samples = list(zip(x, y, strict=True))
        H = matrix(jacfwd(jacrev(mean))(theta), d, d)
        return Dense(
            loss=mean(theta).item(),
            gradient=matrix(grad(mean)(theta), d),
            H=(H + H.T) / 2,
            G=matrix(torch.einsum("nkd,nkl,nle->de", Jz, curved, Jz) / n, d, d) + ridge * np.eye(d),
            J=matrix(torch.stack([jacrev(grad(one, argnums=1))(theta, *sample) for sample in samples]), n, m, d),
            D=matrix(torch.stack([jacfwd(jacrev(one, argnums=1), argnums=1)(theta, *sample) for sample in samples]), n, m, m),
            g=matrix(torch.stack([grad(one, argnums=1)(theta, *sample) for sample in samples]), n, m),
            x=matrix(x, n, m),
        )


def dense_of(net: nn.Module, batches: Batches) -> Dense:
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return dense(net, entropy, x, y)


@functools.cache
def twin(case: Case, split: str = "train") -> Dense:
    """The twin of a case; the evaluation loss has no ridge."""
    return dense(case.model(), case.loss, *case.data(split), ridge=case.ridge if split == "train" else 0.0)


@dataclass(frozen=True, eq=False)
class Solved:
    """The influence of an attack by dense algebra, A = H_t + mu I."""

    x: Array  # A⁻¹ Phi
    form: float  # xᵀ H_e x
    first: float  # -∇α̂ᵉᵀ x
    quadratic: float  # Phiᵀ A⁻¹ Phi
    train: tuple[float, float]  # extreme eigenvalues of H_t
    evaluation: tuple[float, float]
    spectrum: tuple[float, float] | None  # on the form, from the spectra; None where A is not positive definite
    tight: tuple[float, float]  # on the form, from the spectrum of H_e and the length of x


def solved(Ht: Array, He: Array, Phi: Array, gradient: Array, mu: float) -> Solved:
    x = np.linalg.solve(Ht + mu * np.eye(len(Ht)), Phi)
    train, evaluation = np.linalg.eigvalsh(Ht), np.linalg.eigvalsh(He)
    (a, b), squares, n = (evaluation[0], evaluation[-1]), Phi @ Phi, x @ x
    s, S = train[0] + mu, train[-1] + mu
    spectrum = None if s <= 0 else (a * squares / (S**2 if a >= 0 else s**2), b * squares / (s**2 if b >= 0 else S**2))
    return Solved(
        x=np.asarray(x, dtype=np.float64),
        form=float(x @ He @ x),
        first=float(-gradient @ x),
        quadratic=float(Phi @ x),
        train=(train[0], train[-1]),
        evaluation=(a, b),
        spectrum=spectrum,
        tight=(a * n, b * n),
    )
