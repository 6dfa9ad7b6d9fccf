"""Benches of a few samples, without a host, for metrics that train nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from robustradar import Bench, Measured, Outcome, Task, Threat
from robustradar.conformance import patterns
from robustradar.conformance.laboratory import Laboratory, catalog
from robustradar.contract.dataset import Split
from robustradar.training.device import DeviceBatches
from robustradar.training.loss import cross_entropy


def task() -> Task:
    """Facts of the kit's classes; the metrics here read the number of them at most."""
    return Laboratory(catalog(), patterns(), Threat(math.inf, 0.1, (0.0, 1.0))).task


Make = Callable[[], nn.Module]


def bench(
    make: Make,
    x: Tensor,
    y: Tensor | None = None,
    *,
    size: int = 2,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    bounds: tuple[float, float] | None = None,
) -> Bench:
    """What a metric would get for these training samples, in batches of `size`."""
    targets = torch.zeros(len(x), dtype=torch.long) if y is None else y
    split = DeviceBatches(Split(x.numpy(), targets.numpy()), torch.device("cpu"), size, None if targets.is_floating_point() else 10)
    return Bench(task(), Threat(math.inf, 0.1, bounds), {}, {}, {"train": split}, loss, lambda: make().eval(), 0)


def layer(weight: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    """A linear layer with these numbers."""
    made = nn.Linear(len(weight[0]), len(weight), bias=bias is not None)
    with torch.no_grad():
        made.weight.copy_(torch.tensor(weight))
        if bias is not None:
            made.bias.copy_(torch.tensor(bias))
    return made


def values(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """The value, or the reason why there is none, by column."""
    return {name: outcome.value if isinstance(outcome, Measured) else outcome.reason for name, outcome in outcomes.items()}
