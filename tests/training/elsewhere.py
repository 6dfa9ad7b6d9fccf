"""A pretended accelerator: tensors marked as lying elsewhere, computed on the CPU.

What a real one refuses, tensors or generators of two devices in one operation, raises here too, and where Python waits for the accelerator
is counted. Being computed on the CPU, all of it must be what the CPU finds, to the bit. What happens inside of torch's C++ is not seen.
"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

# Of a type that no branch of the code knows, so that it passes for any accelerator.
AWAY = torch.device("xpu", 0)
_WAITING = {
    *(Tensor.item, Tensor.tolist, Tensor.__float__, Tensor.__bool__, Tensor.__int__, Tensor.__index__, Tensor.nonzero),
    *(torch.nonzero, torch.equal, torch.bincount, torch.unique, torch.masked_select),
}
_INDEXING = ("__getitem__", "__setitem__")


def away(value: Any) -> bool:
    """Whether a tensor, or what stands for a device, is elsewhere."""
    return bool(getattr(value, "_away", False)) if isinstance(value, Tensor) else torch.device(value).type == AWAY.type


class Chance(torch.Generator):
    """A generator on the CPU that says where it was asked for."""

    def __new__(cls, device: Any = "cpu") -> "Chance":
        made = super().__new__(cls)
        made.__dict__["where"] = torch.device(device)
        return made

    @property
    def device(self) -> torch.device:
        return AWAY if away(self.__dict__["where"]) else torch.device("cpu")


class Elsewhere(TorchFunctionMode):
    """What runs inside sees the pretended accelerator.

    Attributes:
        waits: The operations that had to wait for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return AWAY if away(args[0]) else func(*args)
        if name == "_has_compatible_shallow_copy_type":  # what Module.to asks before it sets .data
            return func(*args, **kwargs)
        if func == Tensor.data.__set__:  # type: ignore[attr-defined]
            args[0]._away = away(args[1])
            return func(*args)
        if func in (Tensor.to, Tensor.cpu):
            return self._moved(func, *args, **kwargs)
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        there = any(map(away, tensors))
        if kwargs.get("device") is not None:
            there = away(kwargs["device"])
            kwargs["device"] = "cpu" if there else kwargs["device"]
        chance = next((a for a in (*args, *kwargs.values()) if isinstance(a, torch.Generator)), None)
        if chance is not None and away(chance.device) != there:
            raise RuntimeError(f"{name}: a generator on {chance.device} draws for another device")
        if there and func is not Tensor.copy_ and name not in _INDEXING:
            lost = [t for t in tensors if not away(t) and t.ndim and not torch._C._functorch.is_functorch_wrapped_tensor(t)]
            if lost:
                raise RuntimeError(f"{name}: tensors on the CPU, {[list(t.shape) for t in lost]}, among others elsewhere")
        masked = name in _INDEXING and any(t.dtype == torch.bool for t in tree_leaves(args[1]) if isinstance(t, Tensor))
        if there and (func in _WAITING or masked):
            self.waits.append(name)
        found = func(*args, **kwargs)
        for t in tree_leaves(found):
            if isinstance(t, Tensor) and there and func is not Tensor.copy_:
                t._away = True  # type: ignore[attr-defined]
        return found

    def _moved(self, func: Any, t: Tensor, *given: Any, **named: Any) -> Tensor:
        """What .to() and .cpu() do."""
        device = named.pop("device", None)
        places = [a for a in (*given, device) if isinstance(a, (str, torch.device, Tensor))]
        to = away(places[0]) if places else away(t) and func is Tensor.to
        flags = [a for a in given if isinstance(a, bool)]
        rest = [a for a in given if isinstance(a, (torch.dtype, Tensor))]
        if to != away(t) and not (named.get("non_blocking") or flags[:1] == [True]):
            self.waits.append(func.__name__)
        found = Tensor.to(t, *rest, **named) if rest or named else t
        found = found.clone() if found is t and to != away(t) else found
        found._away = to  # type: ignore[attr-defined]
        return found


@contextlib.contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    """Makes the accelerator be there."""
    new, copied = nn.Parameter.__new__, nn.Parameter.__deepcopy__

    def made(cls: Any, data: Any = None, requires_grad: bool = True) -> Any:
        parameter = new(cls, data, requires_grad)
        parameter._away = data is not None and away(data)
        return parameter

    def copy(self: Any, memo: Any) -> Any:
        parameter = copied(self, memo)
        parameter._away = away(self)
        return parameter

    parameter = mock.patch.multiple(nn.Parameter, __new__=made, __deepcopy__=copy)
    with mock.patch.object(torch, "Generator", Chance), parameter, Elsewhere() as mode:
        yield mode
