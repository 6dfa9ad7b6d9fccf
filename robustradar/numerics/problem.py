"""A mean loss as a function of a network's parameters: what curvature is taken of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from robustradar.numerics.written import Written

_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class UnavailableError(ArithmeticError):
    """A derivative does not exist here, or cannot be had; the message says why."""


@dataclass(frozen=True, eq=False)
class Problem:
    """The mean loss (1/N) Σ l(theta, x_i, y_i) + ridge/2 · norm(theta, 2)² as a function of theta [d].

    Attributes:
        model: Maps x [N, ...] to outputs [N, K]. Theta are its parameters that require a gradient, in order.
        loss: (outputs, targets) to losses [N].
        batches: Inputs and targets in micro-batches, the same at every pass. Their sizes may differ: all samples weigh alike.
        ridge: λ ≥ 0: weight decay, where training had it.
    """

    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    batches: Iterable[tuple[Tensor, Tensor]]
    ridge: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError where the batches could be gone through only once."""
        if iter(self.batches) is self.batches:
            raise ValueError(
                "curvature: got an iterator of batches, expected batches that can be gone through more than once. Pass a list."
            )

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Theta.

        Raises:
            ValueError: There is none, or they are of several types or on several devices.
        """
        found = [p for p in self.model.parameters() if p.requires_grad]
        kinds = sorted({f"{p.dtype} on {p.device}" for p in found})
        if len(kinds) != 1:
            got = " and ".join(kinds) or "no parameter that requires a gradient"
            raise ValueError(f"curvature: got {got}, expected parameters of one type on one device. Convert the network, or unfreeze it.")
        return found

    @property
    def samples(self) -> int:
        """N.

        Raises:
            ValueError: There are none.
        """
        count = sum(len(y) for _, y in self.batches)
        if not count:
            raise ValueError("curvature: got no samples, expected at least one. Pass batches that can be gone through more than once.")
        return count

    def inputs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The micro-batches, inputs in the parameters' precision."""
        dtype = self.parameters[0].dtype
        for x, y in self.batches:
            yield (x.to(dtype) if x.is_floating_point() else x), y

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """Losses [N] of one micro-batch.

        Raises:
            ValueError: The loss is not one number a sample.
        """
        found = self.loss(self.model(x), y)
        if found.shape != (len(x),):
            raise ValueError(
                f"curvature: got a loss of shape {list(found.shape)}, expected [{len(x)}]: one number a sample. Do not average it."
            )
        return found


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """A network in evaluation mode, with gradients on, and with forms of its layers that are good for second derivatives.

    Attention is plain: fused ones have no second derivative. BatchNorm is written as the affine map that it is in evaluation mode, which
    spares a tenth of a ResNet's Hessian product. Modes and buffers are as they were afterwards.

    Raises:
        ValueError: A pass in evaluation mode changed a buffer, or a BatchNorm has no running statistics.
    """
    if any(isinstance(m, _BATCH_NORM) and m.running_var is None for m in model.modules()):
        raise ValueError("curvature: got BatchNorm without running statistics, expected losses that do not depend on their batch.")
    modes = {module: module.training for module in model.modules()}
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.eval()
    normalised = [m for m in modes if type(m) in _BATCH_NORM and "forward" not in vars(m) and dict(m.named_buffers())]
    for module in normalised:
        vars(module)["forward"] = partial(_affine, module)
    try:
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), _whole_float32(), Written():
            yield
    finally:
        for module in normalised:
            del vars(module)["forward"]
        for module, mode in modes.items():
            module.training = mode
        changed = [name for name, buffer in model.named_buffers() if not _same(buffer, before[name])]
        for name, buffer in model.named_buffers():
            if name in changed:
                buffer.data.copy_(before[name])
    if changed:
        raise ValueError(f"curvature: got a network that changes its buffers {changed} in evaluation mode, expected one that does not.")


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Convolutions and products in float32 as it is: GPUs' TensorFloat-32, torch's default for convolutions, has 10 bits of 23."""
    kinds = (torch.backends.cudnn, "conv"), (torch.backends.cuda, "matmul")
    holders: list[tuple[Any, str, Any]] = []
    for module, name in kinds:
        part = getattr(module, name, None)
        holder, flag, whole = (part, "fp32_precision", "ieee") if hasattr(part, "fp32_precision") else (part or module, "allow_tf32", False)
        holders.append((holder, flag, getattr(holder, flag)))
        setattr(holder, flag, whole)
    try:
        yield
    finally:
        for holder, flag, before in holders:
            setattr(holder, flag, before)


@contextmanager
def derivative(kind: str) -> Iterator[None]:
    """Says of a derivative that autograd cannot take that it is unavailable.

    Args:
        kind: What it is, for the message.

    Raises:
        UnavailableError: Autograd refused, for another reason than memory.
        OutOfMemoryError: For that one.
        RuntimeError: For that one, as the CPU, cuBLAS and cuDNN tell it.
    """
    try:
        with warnings.catch_warnings():
            # torch 2.15 loads its forward derivatives through a function of its own that it calls deprecated.
            warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)
            yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if "allocate memory" in str(error) or "STATUS_ALLOC_FAILED" in str(error):  # as the CPU says it, and cuBLAS and cuDNN
            raise
        raise UnavailableError(f"no {kind}: {str(error).splitlines()[0]}") from error


def _affine(norm: nn.Module, x: Tensor) -> Tensor:
    """BatchNorm with its running statistics, of x [N, C, ...]."""
    weight, bias = (norm._parameters.get(name) for name in ("weight", "bias"))
    scale = (norm.get_buffer("running_var") + getattr(norm, "eps", 0.0)).rsqrt()
    scale = scale if weight is None else scale * weight
    shift = -norm.get_buffer("running_mean") * scale
    shift = shift if bias is None else shift + bias
    shape = (1, -1, *[1] * (x.ndim - 2))
    return x * scale.view(shape) + shift.view(shape)


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two buffers are equal, NaN included."""
    return bool(((a == b) | (a.isnan() & b.isnan())).all())
