"""The extension point for networks."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustradar.contract.declaration import Declaration, fixed

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture(Declaration, ABC):
    """A family of networks; its parameters choose one.

    Attributes:
        normalise: Whether the host puts a per-channel standardisation, with the training split's statistics, before the network.
            Data stay in their own units outside, so that ε keeps its meaning.
    """

    normalise: bool = fixed(True)

    @abstractmethod
    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """A freshly initialised network.

        The host seeds torch's global generator before the call, and calls it once a fit.

        Args:
            shape: One input's shape: (channels, height, width) or (features,).
            outputs: Number of outputs: logits of the classes, or regression targets.

        Returns:
            A module from [N, *shape] to [N, outputs], without a softmax.

        Raises:
            ValueError: The network cannot take such inputs; the message says why.
        """


def architecture(function: Callable[..., nn.Module]) -> Architecture:
    """An architecture from a factory: its keyword parameters are the architecture's.

    Args:
        function: ``function(shape, outputs, width=16, …) -> nn.Module``; every parameter after the first two is annotated with its type
            and has a default. Its name and docstring become the architecture's.

    Raises:
        TypeError: A parameter lacks its annotation or default.

    Example:
        >>> def tiny(shape: tuple[int, ...], outputs: int, width: int = 16):
        ...     "One hidden layer."
        >>> declared = architecture(tiny)
        >>> declared.name, declared.width, declared.summary
        ('tiny', 16, 'One hidden layer.')
    """
    name = function.__name__
    hints = inspect.get_annotations(function, eval_str=True)
    fields: list[tuple[str, Any, Any]] = []
    for parameter in list(inspect.signature(function).parameters.values())[2:]:
        if parameter.default is parameter.empty or parameter.name not in hints:
            raise TypeError(
                f"architecture {name!r}: got parameter {parameter.name!r} without a type or a default, "
                f"expected both. Write '{parameter.name}: int = 1'."
            )
        fields.append((parameter.name, hints[parameter.name], dataclasses.field(default=parameter.default)))

    def build(self: Any, shape: tuple[int, ...], outputs: int) -> nn.Module:
        return function(shape, outputs, **{field: getattr(self, field) for field, _, _ in fields})

    namespace = {"build": build, "__doc__": inspect.getdoc(function) or "", "__module__": function.__module__}
    made = dataclasses.make_dataclass(name, fields, bases=(Architecture,), namespace=namespace, frozen=True)
    declared: Architecture = made(name=name)
    return declared
