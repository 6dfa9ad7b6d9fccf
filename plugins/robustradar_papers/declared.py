"""What can be asked for: the parameters of every network. The networks themselves are in the modules that `build` imports.

[T] is Deng et al., "Architecture Selection via the Trade-off Between Accuracy and Robustness"; [P] is Xing, Song and Cheng,
"Phase Transition from Clean Training to Adversarial Training" (2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from robustradar import Architecture, fixed
from robustradar_papers.cell import operations

if TYPE_CHECKING:
    from torch import nn

Activation = Literal["relu", "tanh", "gelu", "softplus"]


@dataclass(frozen=True)
class Linear(Architecture):
    """A linear map of the raw inputs: the model of the closed forms in both papers."""

    normalise: bool = fixed(False)
    bias: Annotated[bool, Field(description="Whether there is an intercept.")] = True

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The map."""
        from robustradar_papers import plain

        return plain.linear(shape, outputs, self.bias)


@dataclass(frozen=True)
class Mlp(Architecture):
    """A fully connected network, for features and for small images."""

    width: Annotated[int, Field(ge=1, description="Units of each hidden layer.")] = 64
    depth: Annotated[int, Field(ge=1, description="Number of hidden layers.")] = 2
    activation: Annotated[Activation, Field(description="Between layers; all but relu have second derivatives.")] = "relu"

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network."""
        from robustradar_papers import plain

        return plain.mlp(shape, outputs, [self.width] * self.depth, self.activation)


@dataclass(frozen=True)
class Cnn(Architecture):
    """A simple convolutional network by width and depth, as in figure F of [T]."""

    width: Annotated[int, Field(ge=1, description="Filters of the first convolution; each further one has twice as many.")] = 16
    depth: Annotated[int, Field(ge=1, le=8, description="Number of convolutions, each followed by pooling.")] = 2
    activation: Annotated[Activation, Field(description="After convolutions; all but relu have second derivatives.")] = "relu"

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network."""
        from robustradar_papers import plain

        return plain.cnn(shape, outputs, [self.width * 2**i for i in range(self.depth)], self.activation)


@dataclass(frozen=True)
class Vgg(Architecture):
    """A VGG network for small images with a single fully connected layer, as in [T]; VGG-5 is VGG-16 cut after its fourth convolution."""

    depth: Literal[5, 16, 19] = fixed(16)
    width: Annotated[int, Field(ge=1, description="Filters of the first convolution.")] = 64
    batch_norm: Annotated[bool, Field(description="Whether BatchNorm follows each convolution.")] = True
    dropout: Annotated[float, Field(ge=0, lt=1, description="Probability of dropping a feature before the last layer.")] = 0.0

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network."""
        from robustradar_papers import vgg

        return vgg.vgg(shape, outputs, self)


@dataclass(frozen=True)
class ResNet50(Architecture):
    """ResNet-50; with a 3x3 stem of stride 1 without pooling for images of up to 64 pixels."""

    width: Annotated[int, Field(ge=1, description="Filters of the stem.")] = 64

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network."""
        from robustradar_papers import residual

        return residual.resnet50(shape, outputs, self.width)


@dataclass(frozen=True)
class PreActResNet18(Architecture):
    """ResNet-18 with pre-activation for small images: the network of most experiments in [P]."""

    width: Annotated[int, Field(ge=1, description="Filters of the first convolution.")] = 64

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network."""
        from robustradar_papers import residual

        return residual.preact_resnet18(shape, outputs, self.width)


@dataclass(frozen=True)
class WideResNet34(Architecture):
    """A wide residual network of depth 34, as in [P]: WideResNet-34-k with k the width."""

    width: Annotated[int, Field(ge=1, description="Widening factor k of the 16, 32 and 64 filters.")] = 10

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network."""
        from robustradar_papers import residual

        return residual.wide_resnet(shape, outputs, depth=34, widening=self.width)


@dataclass(frozen=True)
class MnistCnn(Architecture):
    """Two convolutions and two fully connected layers: the MNIST network of [P]."""

    hidden: Annotated[int, Field(ge=1, description="Units of the hidden fully connected layer; [P] compares 128 and 16.")] = 128

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network."""
        from robustradar_papers import plain

        return plain.mnist_cnn(shape, outputs, self.hidden)


@dataclass(frozen=True)
class Quadratic(Architecture):
    """Quadratic network of [T, Example 1]: f(x, W) = Σ_j a_j (w_jᵀx)² with fixed a."""

    normalise: bool = fixed(False)
    width: Annotated[int, Field(ge=1, description="Number of hidden units.")] = 16

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network."""
        from robustradar_papers import theory

        return theory.TwoLayer(shape, outputs, self.width, "square", scale=1.0)


@dataclass(frozen=True)
class TwoLayer(Architecture):
    """Two-layer network of [P, Proposition 1]: smooth activation, fixed second layer, vanishing initialisation."""

    normalise: bool = fixed(False)
    width: Annotated[int, Field(ge=1, description="Number of hidden units.")] = 64
    activation: Annotated[Literal["tanh", "gelu", "softplus"], Field(description="The smooth nonlinearity.")] = "tanh"
    scale: Annotated[float, Field(gt=0, description="The first layer starts at N(0, scale²/features).")] = 1e-3

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network."""
        from robustradar_papers import theory

        return theory.TwoLayer(shape, outputs, self.width, self.activation, self.scale)


@dataclass(frozen=True)
class NasBench201(Architecture):
    """A network of NAS-Bench-201 (Dong and Yang 2020), by its cell."""

    cell: Annotated[
        str,
        Field(description="A cell string such as |nor_conv_3x3~0|+|…~0|…~1|+|…~0|…~1|…~2|, or the benchmark's own index, 0 to 15624."),
    ] = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    channels: Annotated[int, Field(ge=1, description="Channels C of the first stage.")] = 16
    cells: Annotated[int, Field(ge=1, description="Cells N of each of the three stages.")] = 5

    def __post_init__(self) -> None:
        """Raises ValueError for what names no cell."""
        operations(self.cell)

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """The network."""
        from robustradar_papers import nasbench201

        return nasbench201.network(shape, outputs, self)
