"""Counts the work done with a network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from robustradar.training.device import DeviceData
from robustradar.values import Cost

# Passes that a pass of a second derivative counts as, by its operations.
SECOND_ORDER = 3


class Meter:
    """Samples passed forward and backward through a network, by whoever passes them, and what that took.

    Args:
        data: Gives the device, and an input to count operations with.
    """

    def __init__(self, data: DeviceData) -> None:
        self._data = data
        self._forward = self._inner = self._outer = 0
        self._flops = 0
        self._before = Cost(0, 0, 0.0)
        self._start = time.perf_counter()
        if data.where.type == "cuda":
            torch.cuda.reset_peak_memory_stats(data.where)

    @property
    def cost(self) -> Cost:
        """What has been counted so far, an earlier process's part included."""
        before, passes = self._before, self._forward + self._inner + 2 * self._outer
        memory = torch.cuda.max_memory_allocated(self._data.where) if self._data.where.type == "cuda" else None
        return Cost(
            forward=before.forward + self._forward,
            backward=before.backward + self._inner + self._outer,
            seconds=before.seconds + time.perf_counter() - self._start,
            flops=before.flops + passes * self._flops,
            memory=memory if memory is None or before.memory is None else max(memory, before.memory),
        )

    def add(self, before: Cost) -> None:
        """Adds what an earlier process spent on the same work."""
        self._before = replace(before)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time and memory that are taken inside are somebody else's."""
        self._before = replace(self._before, memory=self.cost.memory)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._start += time.perf_counter() - start
            if self._data.where.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self._data.where)

    def on(self, network: nn.Module, *forms: nn.Module) -> AbstractContextManager[None]:
        """Counts every pass inside, those of attacks included, through a network's forms: itself, compiled or averaged."""
        self._flops = flops(network, self._data)
        return self._counting(forms)

    @contextmanager
    def _counting(self, forms: Sequence[nn.Module]) -> Iterator[None]:
        """Counts every pass inside through these."""
        handles = [self._hooked(form) for form in {id(form): form for form in forms}.values()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def watch(self, network: nn.Module) -> nn.Module:
        """The same network, whose passes are counted from now on. Inside ``torch.vmap`` a batch counts as the one sample that it shows."""
        self._flops = flops(network, self._data)
        self._hooked(network)
        return network

    def _hooked(self, form: nn.Module) -> RemovableHandle:
        """Counts forward passes, and the backward passes that come."""
        weight = next((p for p in form.parameters() if p.requires_grad), None)

        def count(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            if not isinstance(output, Tensor) or output.ndim == 0:
                return
            samples = len(output)
            # A forward derivative adds two products to each product: one with either factor's tangent.
            self._forward += samples if forward_ad.unpack_dual(output).tangent is None else SECOND_ORDER * samples
            if output.requires_grad:
                # Attacks run with frozen weights: their backward pass goes to the inputs alone.
                inner = weight is None or not weight.requires_grad
                output.register_hook(self._backward(samples, inner=inner))

        return form.register_forward_hook(count)

    def _backward(self, samples: int, *, inner: bool) -> Callable[[Tensor], None]:
        """Counts the backward passes through one output: the first is a gradient's; where that left a graph, others differentiate it."""
        share = 1

        def count(_: Tensor) -> None:
            nonlocal share
            if inner:
                self._inner += share * samples
            else:
                self._outer += share * samples
            if torch.is_grad_enabled():
                share = SECOND_ORDER

        return count


def flops(network: nn.Module, data: DeviceData) -> int:
    """Operations of one sample's forward pass in convolutions and matrix products; 0 where PyTorch cannot count them."""
    training = [(module, module.training) for module in network.modules()]
    x, _ = data.splits["train"].spread(1)
    network.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(x)
        return int(counter.get_total_flops())
    finally:
        for module, mode in training:
            module.training = mode
