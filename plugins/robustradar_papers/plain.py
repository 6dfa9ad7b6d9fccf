"""Networks without normalisation layers or short cuts: linear, fully connected, and plain convolutional ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from robustradar_papers.inputs import image

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "softplus": nn.Softplus}


def activation(name: str) -> nn.Module:
    """An elementwise nonlinearity by its name."""
    return _ACTIVATIONS[name]()


def he_initialised(network: nn.Module) -> nn.Module:
    """The network, its convolutions drawn from N(0, 2/fan-in) (He et al. 2015) and their biases zero.

    torch's own default shrinks activations by about 2.4 at each layer of a ReLU network, so that plain deep ones do not train.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def linear(shape: tuple[int, ...], outputs: int, bias: bool) -> nn.Module:
    """θᵀx, or θᵀx + b."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), outputs, bias=bias))


def mlp(shape: tuple[int, ...], outputs: int, widths: Sequence[int], nonlinearity: str) -> nn.Module:
    """A fully connected network with these hidden layers."""
    layers: list[nn.Module] = [nn.Flatten()]
    features = math.prod(shape)
    for width in widths:
        layers += [nn.Linear(features, width), activation(nonlinearity)]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, outputs))


def cnn(shape: tuple[int, ...], outputs: int, filters: Sequence[int], nonlinearity: str) -> nn.Module:
    """3x3 convolutions, each followed by 2x2 pooling while the map is larger than one pixel, then one linear layer.

    Raises:
        ValueError: The inputs are no images.
    """
    channels, height, width = image("cnn", shape)
    layers: list[nn.Module] = []
    for wide in filters:
        layers += [nn.Conv2d(channels, wide, 3, padding=1), activation(nonlinearity)]
        channels = wide
        if min(height, width) > 1:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
    return he_initialised(nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width, outputs)))


def mnist_cnn(shape: tuple[int, ...], outputs: int, hidden: int) -> nn.Module:
    """Two 4x4 convolutions of stride 2 with 16 and 32 filters, then two fully connected layers.

    [P] does not state the filters; these are the common ones for adversarial training on MNIST (Wong et al. 2020).

    Raises:
        ValueError: The inputs are no images, or have sides that are no multiples of 4.
    """
    channels, height, width = image("mnist-cnn", shape, multiple=4)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * height * width, hidden),  # 32 filters on a sixteenth of the pixels
        nn.ReLU(),
        nn.Linear(hidden, outputs),
    )
