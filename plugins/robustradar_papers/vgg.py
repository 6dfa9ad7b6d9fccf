"""VGG networks (Simonyan and Zisserman 2015) in the form that is usual for small images: one fully connected layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from robustradar_papers.inputs import image
from robustradar_papers.plain import he_initialised

if TYPE_CHECKING:
    from robustradar_papers.declared import Vgg

# Convolutions of each stage; a stage has 1, 2, 4, 8, 8 times the first one's filters and ends with pooling.
_STAGES = {5: (2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_MULTIPLES = (1, 2, 4, 8, 8)


def vgg(shape: tuple[int, ...], outputs: int, declared: Vgg) -> nn.Module:
    """The network; pooling is left out where a side of the map is one pixel already.

    Args:
        shape: (channels, height, width).
        outputs: Number of outputs.
        declared: Depth, width, BatchNorm and dropout.

    Raises:
        ValueError: The inputs are no images.
    """
    channels, height, width = image(declared.name, shape)
    layers: list[nn.Module] = []
    for convolutions, multiple in zip(_STAGES[declared.depth], _MULTIPLES, strict=False):
        for _ in range(convolutions):
            layers.append(nn.Conv2d(channels, declared.width * multiple, 3, padding=1))
            channels = declared.width * multiple
            layers += [nn.BatchNorm2d(channels)] if declared.batch_norm else []
            layers.append(nn.ReLU())
        if min(height, width) > 1:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
    head = [nn.Flatten(), nn.Dropout(declared.dropout), nn.Linear(channels * height * width, outputs)]
    return he_initialised(nn.Sequential(*layers, *head))
