"""Counts the work done with a network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from robustradar.values import Cost


class Meter:
    """Samples passed forward and backward through a network, by whoever passes them, and seconds since it was made."""

    def __init__(self) -> None:
        self._forward = self._backward = 0
        self._start = time.perf_counter()

    @property
    def cost(self) -> Cost:
        """What has been counted so far."""
        return Cost(self._forward, self._backward, time.perf_counter() - self._start)

    @contextmanager
    def on(self, network: nn.Module) -> Iterator[None]:
        """Counts every pass through a network inside, those of attacks included."""
        handle = network.register_forward_hook(self._count)
        try:
            yield
        finally:
            handle.remove()

    def _count(self, _: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        samples = len(inputs[0])
        self._forward += samples
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(lambda _: self._add_backward(samples))

    def _add_backward(self, samples: int) -> None:
        self._backward += samples
