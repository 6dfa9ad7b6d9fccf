"""The networks of NAS-Bench-201 (Dong and Yang 2020): one cell, repeated in three stages.

A cell has four nodes. Node 0 is its input, node 3 its output, and each later node sums one operation from every earlier node: six
operations, written as ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`` where ``~i`` names the earlier node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from robustradar_papers.cell import operations
from robustradar_papers.inputs import image

if TYPE_CHECKING:
    from robustradar_papers.declared import NasBench201

_EDGES = ((0,), (0, 1), (0, 1, 2))


def network(shape: tuple[int, ...], outputs: int, declared: NasBench201) -> nn.Module:
    """A 3x3 stem, three stages of cells with residual blocks of stride 2 between them, and the mean over pixels.

    Args:
        shape: (channels, height, width).
        outputs: Number of outputs.
        declared: The cell, its channels and how often it is repeated.

    Raises:
        ValueError: The inputs are no images with sides that can be halved twice.
    """
    chosen = operations(declared.cell)
    colours, _, _ = image("nasbench201", shape, multiple=4)
    channels = declared.channels
    layers: list[nn.Module] = [nn.Conv2d(colours, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]
    for stage in range(3):
        if stage:
            layers.append(Reduction(channels))
            channels *= 2
        layers += [Cell(chosen, channels) for _ in range(declared.cells)]
    tail = [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs)]
    return nn.Sequential(*layers, *tail)


class Cell(nn.Module):
    """The searched cell.

    Args:
        chosen: Its six operations.
        channels: Of its input and output.
    """

    def __init__(self, chosen: tuple[str, ...], channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(_operation(name, channels) for name in chosen)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] to the same shape."""
        nodes = [x]
        edges = iter(self.edges)
        for sources in _EDGES:
            incoming: list[Tensor] = [next(edges)(nodes[source]) for source in sources]
            nodes.append(sum(incoming[1:], start=incoming[0]))
        return nodes[-1]


class Zero(nn.Module):
    """The operation ``none``: zeros that stay part of the graph, so that gradients exist (and are zero)."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] to zeros of the same shape."""
        return x * 0.0


class Reduction(nn.Module):
    """The residual block between stages: halves the map, doubles the channels.

    Args:
        channels: Of its input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(_convolution(channels, 2 * channels, 3, stride=2), _convolution(2 * channels, 2 * channels, 3))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(channels, 2 * channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] to [N, 2·channels, H/2, W/2]."""
        y: Tensor = self.residual(x) + self.shortcut(x)
        return y


def _operation(name: str, channels: int) -> nn.Module:
    """One of `robustradar_papers.cell.OPERATIONS`."""
    if name == "none":
        return Zero()
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return _convolution(channels, channels, kernel=1 if name == "nor_conv_1x1" else 3)


def _convolution(channels: int, wide: int, kernel: int, stride: int = 1) -> nn.Module:
    """ReLU, convolution, BatchNorm."""
    return nn.Sequential(nn.ReLU(), nn.Conv2d(channels, wide, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(wide))
