"""The networks of the two papers, and the simple ones that theory and demonstrations need."""

from __future__ import annotations

from robustradar import Architecture, Recipe, hookimpl
from robustradar_papers import recipe
from robustradar_papers.declared import (
    Cnn,
    Linear,
    Mlp,
    MnistCnn,
    NasBench201,
    PreActResNet18,
    Quadratic,
    ResNet50,
    TwoLayer,
    Vgg,
    WideResNet34,
)


@hookimpl
def robustradar_architectures() -> tuple[Architecture, ...]:
    """All networks of this package, with their default parameters."""
    return (
        Linear(name="linear"),
        Mlp(name="mlp"),
        Cnn(name="cnn"),
        MnistCnn(name="mnist-cnn"),
        Vgg(name="vgg5", depth=5),
        Vgg(name="vgg16", depth=16),
        Vgg(name="vgg19", depth=19),
        ResNet50(name="resnet50"),
        PreActResNet18(name="preact-resnet18"),
        WideResNet34(name="wide-resnet34"),
        Quadratic(name="quadratic"),
        TwoLayer(name="two-layer"),
        NasBench201(name="nasbench201"),
    )


@hookimpl
def robustradar_recipes() -> tuple[Recipe, ...]:
    """How the papers trained."""
    return recipe.RECIPES
