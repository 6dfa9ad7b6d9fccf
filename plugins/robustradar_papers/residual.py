"""Residual networks: ResNet-50, and the pre-activation networks of the adversarial training literature."""

from __future__ import annotations

from torch import Tensor, nn

from robustradar_papers.inputs import image
from robustradar_papers.plain import he_initialised


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each with BatchNorm, beside a short cut (He et al. 2016a).

    Args:
        channels: Of the input.
        inner: Filters of the 3x3 convolution; the output has four times as many channels.
        stride: Of the 3x3 convolution.
    """

    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        wide = 4 * inner
        self.residual = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != wide:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] to [N, 4·inner, H/stride, W/stride]."""
        y: Tensor = self.relu(self.residual(x) + self.shortcut(x))
        return y


class PreActivation(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and ReLU, beside a short cut (He et al. 2016b).

    A short cut that changes the shape branches off after the first activation.

    Args:
        channels: Of the input.
        wide: Of the output.
        stride: Of the first convolution.
    """

    def __init__(self, channels: int, wide: int, stride: int) -> None:
        super().__init__()
        self.activated = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.residual = nn.Sequential(
            nn.Conv2d(channels, wide, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, padding=1, bias=False),
        )
        self.projection = nn.Conv2d(channels, wide, 1, stride, bias=False) if stride != 1 or channels != wide else None

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] to [N, wide, H/stride, W/stride]."""
        h = self.activated(x)
        shortcut = x if self.projection is None else self.projection(h)
        y: Tensor = self.residual(h) + shortcut
        return y


def resnet50(shape: tuple[int, ...], outputs: int, width: int) -> nn.Module:
    """Four stages of 3, 4, 6 and 3 bottlenecks.

    Raises:
        ValueError: The inputs are no images.
    """
    channels, height, wide = image("resnet50", shape)
    if max(height, wide) <= 64:
        stem: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    else:
        stem = [nn.Conv2d(channels, width, 7, 2, padding=3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
    blocks: list[nn.Module] = []
    channels = width
    for stage, repeats in enumerate((3, 4, 6, 3)):
        for i in range(repeats):
            blocks.append(Bottleneck(channels, width * 2**stage, stride=2 if stage and i == 0 else 1))
            channels = 4 * width * 2**stage
    return he_initialised(nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs)))


def preact_resnet18(shape: tuple[int, ...], outputs: int, width: int) -> nn.Module:
    """Four stages of two pre-activation blocks.

    Raises:
        ValueError: The inputs are no images.
    """
    channels, _, _ = image("preact-resnet18", shape)
    return _preactivation(channels, outputs, width, [(width * 2**stage, 2) for stage in range(4)])


def wide_resnet(shape: tuple[int, ...], outputs: int, depth: int, widening: int) -> nn.Module:
    """WideResNet (Zagoruyko and Komodakis 2016): three stages of (depth − 4)/6 pre-activation blocks.

    Raises:
        ValueError: The inputs are no images.
    """
    channels, _, _ = image("wide-resnet34", shape)
    return _preactivation(channels, outputs, 16, [(16 * widening * 2**stage, (depth - 4) // 6) for stage in range(3)])


def _preactivation(channels: int, outputs: int, first: int, stages: list[tuple[int, int]]) -> nn.Module:
    """A 3x3 convolution, stages of (channels, blocks), each but the first halving the map, and the last activation before the mean."""
    layers: list[nn.Module] = [nn.Conv2d(channels, first, 3, padding=1, bias=False)]
    channels = first
    for stage, (wide, repeats) in enumerate(stages):
        for i in range(repeats):
            layers.append(PreActivation(channels, wide, stride=2 if stage and i == 0 else 1))
            channels = wide
    tail = [nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs)]
    return he_initialised(nn.Sequential(*layers, *tail))
