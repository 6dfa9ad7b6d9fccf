"""What the training-free metrics share: the network as it is built, and further draws of its weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from robustradar import Bench, Column, Measured, Outcome, Skipped

if TYPE_CHECKING:
    from torch import Tensor, nn

    Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear

Batch = Annotated[int, Field(ge=2, description="training samples, evenly spaced over the split")]
Repeats = Annotated[int, Field(ge=1, description="draws of the initial weights to average over; more than one give an interval")]
# A number, or the reason why there is none.
Found = Mapping[str, float | str]

DEAD = "the untrained network passes no signal: its outputs do not depend on its weights"
NO_LAYER = "no convolution or linear layer whose weights are trained"
HUGE = "the score is {value}, which is no number to rank by: the signal overflows or dies out in the untrained network"


def averaged(columns: tuple[Column, ...], bench: Bench, repeats: int, score: Callable[[nn.Module], Found]) -> Mapping[str, Outcome]:
    """The mean of every column over draws of the initial weights, with Student's interval where there are several.

    Args:
        columns: What `score` gives, by name.
        bench: Builds the network.
        repeats: How many draws.
        score: May change the network that it gets, which is thrown away.
    """
    found = [score(network) for network in _draws(bench, repeats)]
    return {column.name: _outcome([each[column.name] for each in found]) for column in columns}


def _draws(bench: Bench, repeats: int) -> Iterator[nn.Module]:
    """The network as it is built, then with the entries of each weight tensor in another order.

    Where initial weights are drawn independently of one distribution a tensor, as they nearly always are, that is a draw like the first.
    """
    import torch

    generator = torch.Generator().manual_seed(bench.seed)
    for repeat in range(repeats):
        network = bench.network()
        with torch.no_grad():
            for theta in network.parameters() if repeat else ():
                order = torch.randperm(theta.numel(), generator=generator).to(theta.device)
                theta.copy_(theta.flatten()[order].view_as(theta))
        yield network


def _outcome(found: list[float | str]) -> Outcome:
    """One column's."""
    import numpy as np

    from robustradar.numerics.seeds import seed_interval

    values = []
    for value in found:
        if isinstance(value, str):
            return Skipped(value)
        if not math.isfinite(value):
            return Skipped(HUGE.format(value=value))
        values.append(value)
    low, high = (seed_interval(np.array(values)) or (None, None)) if len(values) > 1 else (None, None)
    return Measured(float(np.mean(values)), low, high)


def on_batches(network: nn.Module) -> nn.Module:
    """The same network, whose batch normalisation uses the batch's own statistics, as in the first step of a training.

    The running statistics of an untrained network are none: with them, signals would shrink or grow from layer to layer.
    """
    from torch.nn.modules.batchnorm import _BatchNorm

    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.train()
    return network


def linearised(network: nn.Module) -> nn.Module:
    """The same network in float64 with absolute weights, no biases, and normalisation that passes its input on.

    Normalisation is batch, instance, layer and group normalisation, and layers of fixed numbers such as the standardisation of inputs.
    """
    import torch
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.modules.instancenorm import _InstanceNorm

    network.double()
    with torch.no_grad():
        for theta in network.parameters():
            theta.copy_(theta.abs() if theta.ndim > 1 else torch.zeros_like(theta))
    for module in network.modules():
        fixed = not any(module.children()) and not any(True for _ in module.parameters()) and any(True for _ in module.buffers())
        if fixed or isinstance(module, _BatchNorm | _InstanceNorm | nn.LayerNorm | nn.GroupNorm):
            module.register_forward_hook(_passed)
    return network


def _passed(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """The input where the output has its shape."""
    return inputs[0] if inputs[0].shape == output.shape else output


def layers(network: nn.Module) -> list[Layer]:
    """Its convolutions and linear layers whose weights are trained, in the order of definition."""
    from torch import nn

    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    return [module for module in network.modules() if isinstance(module, kinds) and module.weight.requires_grad]
