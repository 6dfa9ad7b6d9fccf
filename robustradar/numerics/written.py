"""Operations of which torch has a wrong higher derivative, without saying so, written out in others that it has right.

Found in torch 2.15 by comparing with finite differences (tests/numerics/test_ladder.py): double backward of weight normalisation on a
CPU; forward derivatives of forward derivatives of layer and instance normalisation.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Written(TorchFunctionMode):
    """While it is on, these operations run in their written-out form."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The written form, or the operation as it is."""
        return _FORMS.get(func, func)(*args, **(kwargs or {}))


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """Brings the slices of v along dim to the lengths g."""
    others = [axis for axis in range(v.ndim) if axis != dim % v.ndim] if dim != -1 else list(range(v.ndim))
    return v * (g / v.square().sum(others, keepdim=True).sqrt())


def _layer_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalised over the last axes."""
    z = _normalised(x, list(range(-len(normalized_shape), 0)), eps)
    z = z if weight is None else z * weight
    return z if bias is None else z + bias


def _instance_norm(*args: Any, **kwargs: Any) -> Tensor:
    """Normalised over space, by the sample's own statistics; by running ones it is as torch has it."""
    given = _INSTANCE_NORM.bind(*args, **kwargs)
    given.apply_defaults()
    x, weight, bias, own, eps = (given.arguments[name] for name in ("input", "weight", "bias", "use_input_stats", "eps"))
    if not own:
        return functional.instance_norm(*args, **kwargs)
    z = _normalised(x, list(range(2, x.ndim)), eps)
    shape = (1, -1, *[1] * (x.ndim - 2))
    z = z if weight is None else z * weight.view(shape)
    return z if bias is None else z + bias.view(shape)


def _normalised(x: Tensor, axes: list[int], eps: float) -> Tensor:
    """(x - mean) / standard deviation."""
    centred = x - x.mean(axes, keepdim=True)
    return centred * (centred.square().mean(axes, keepdim=True) + eps).rsqrt()


_INSTANCE_NORM = inspect.signature(functional.instance_norm)
_FORMS: dict[Any, Callable[..., Any]] = {
    torch._weight_norm: _weight_norm,
    functional.layer_norm: _layer_norm,
    functional.instance_norm: _instance_norm,
}
