"""Builds a candidate's network: seeded, normalised inside, on its device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustradar import guard
from robustradar.contract.architecture import Architecture
from robustradar.errors import Failure
from robustradar.training.device import DeviceData

# What there is no less of to do at once.
ALONE = "the network alone"


class Standardise(nn.Module):
    """(x − mean) / std per channel or feature, so that attacks work in the data's own units."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor, rank: int) -> None:
        super().__init__()
        shape = (-1, *[1] * (rank - 1))
        self.register_buffer("mean", mean.clone().view(shape))
        self.register_buffer("std", std.clone().view(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Standardised inputs."""
        return (x - self.mean) / self.std


def doubled(network: nn.Module) -> nn.Module:
    """The same network in float64, which takes inputs of any precision. In place."""
    network.register_forward_pre_hook(lambda _, inputs: tuple(x.double() for x in inputs))
    return network.double()


def build(architecture: Architecture, culprit: str, data: DeviceData, seed: int) -> nn.Module:
    """A freshly initialised network on the data's device.

    Args:
        architecture: What to build.
        culprit: Who is to be named when it fails.
        data: Gives shapes and statistics.
        seed: Decides the initial weights, on every device alike.

    Raises:
        Failure: The architecture cannot be built, or does not map one batch to [N, outputs].
    """
    task = data.task
    with guard.generators_restored():
        torch.manual_seed(seed)
        network = guard.call(culprit, lambda: architecture.build(task.shape, task.outputs), ALONE)
        if not isinstance(network, nn.Module):
            raise Failure(culprit, f"build() returned {type(network).__name__}, expected a torch.nn.Module.")
        if architecture.normalise:
            network = nn.Sequential(Standardise(data.mean.cpu(), data.std.cpu(), len(task.shape)), network)
        x = next(iter(data.splits["train"]))[0][:2].cpu()
        with torch.no_grad():
            network.eval()
            # On the CPU, so that lazy layers draw the same weights for every device.
            z = guard.call(culprit, lambda: network(x), "two samples")
    if not isinstance(z, Tensor) or z.shape != (len(x), task.outputs):
        got = list(z.shape) if isinstance(z, Tensor) else type(z).__name__
        raise Failure(culprit, f"maps a batch of 2 to {got}, expected [2, {task.outputs}].")
    placed: nn.Module = guard.call(culprit, lambda: network.to(data.where), ALONE)
    return placed
