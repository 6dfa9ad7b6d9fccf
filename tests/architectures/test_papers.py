"""The networks of the papers: published sizes, formulas, and what they refuse."""

import dataclasses
import math
import subprocess
import sys
from importlib import metadata
from typing import Any

import pytest
import torch
from torch import nn

from robustradar import Architecture
from robustradar.catalog import Catalog
from robustradar.host import load
from robustradar_papers import residual, robustradar_architectures

DECLARED = {a.name: a for a in robustradar_architectures()}
SMALL = {
    "resnet50": {"width": 4},
    "preact-resnet18": {"width": 4},
    "wide-resnet34": {"width": 1},
    "nasbench201": {"channels": 4, "cells": 1},
}
SMALL |= {name: {"width": 4} for name in ("vgg5", "vgg16", "vgg19")}
RAW = ("linear", "quadratic", "two-layer")
FEATURES = (*RAW, "mlp")
IMAGES = sorted(DECLARED.keys() - set(FEATURES))


def declared(name: str, **parameters: Any) -> Architecture:
    return dataclasses.replace(DECLARED[name], **parameters)


def small(name: str) -> Architecture:
    return declared(name, **SMALL.get(name, {}))


def size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def meta(architecture: Architecture, shape: tuple[int, ...] = (3, 32, 32), outputs: int = 10) -> nn.Module:
    with torch.device("meta"):
        return architecture.build(shape, outputs)


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("linear", (3, 32, 32), 3072 * 10 + 10),
        ("mlp", (1, 8, 8), (64 * 64 + 64) * 2 + 64 * 10 + 10),
        ("cnn", (1, 8, 8), (9 * 16 + 16) + (9 * 16 * 32 + 32) + 2 * 2 * 32 * 10 + 10),
        ("mnist-cnn", (1, 28, 28), (16 * 16 + 16) + (16 * 16 * 32 + 32) + (32 * 49 * 128 + 128) + 1290),
        ("vgg5", (3, 32, 32), 260_160 + 2 * (64 + 64 + 128 + 128) + 8 * 8 * 128 * 10 + 10),
        ("vgg16", (3, 32, 32), 14_728_266),  # published: 14.7 million
        ("vgg19", (3, 32, 32), 20_040_522),  # published: 20.0 million
        ("resnet50", (3, 32, 32), 23_520_842),  # published: 23.5 million
        ("preact-resnet18", (3, 32, 32), 11_172_170),  # published: 11.17 million
        ("wide-resnet34", (3, 32, 32), 46_160_474),  # published: 46.16 million
        ("quadratic", (20,), 16 * 20),
        ("two-layer", (20,), 64 * 20),
    ],
)
def test_parameter_counts_are_those_of_the_formula_or_the_literature(name: str, shape: tuple[int, ...], count: int) -> None:
    assert size(meta(declared(name), shape)) == count


def test_wide_resnet_28_10_has_its_published_36_5_million_parameters() -> None:
    with torch.device("meta"):
        assert size(residual.wide_resnet((3, 32, 32), 10, depth=28, widening=10)) == 36_479_194


@pytest.mark.parametrize("name", sorted(DECLARED))
@pytest.mark.parametrize(("shape", "outputs"), [((1, 8, 8), 10), ((3, 32, 32), 1)])
def test_every_network_answers_and_has_gradients(name: str, shape: tuple[int, ...], outputs: int) -> None:
    network = small(name).build(shape, outputs)
    x = torch.rand(4, *shape, requires_grad=True)
    y = network(x)
    assert y.shape == (4, outputs)
    assert y.dtype == torch.float32
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert x.grad is not None


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_the_global_generator_alone_decides_the_weights(name: str) -> None:
    networks = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        networks.append(torch.cat([p.flatten() for p in small(name).build((1, 8, 8), 3).parameters()]))
    assert torch.equal(networks[0], networks[1])
    assert not torch.equal(networks[0], networks[2])


@pytest.mark.parametrize("name", FEATURES)
def test_networks_without_convolutions_take_features(name: str) -> None:
    assert declared(name).build((20,), 1)(torch.rand(5, 20)).shape == (5, 1)


@pytest.mark.parametrize("name", IMAGES)
def test_convolutional_networks_refuse_features(name: str) -> None:
    with pytest.raises(ValueError) as refusal:
        declared(name).build((20,), 2)
    assert str(refusal.value) == (
        f"{name}: got inputs of shape [20], expected images [channels, height, width]. "
        "Use papers/linear or papers/mlp, which take features."
    )


@pytest.mark.parametrize("name", ["mnist-cnn", "nasbench201"])
def test_networks_that_halve_exactly_refuse_other_sides(name: str) -> None:
    with pytest.raises(ValueError) as refusal:
        declared(name).build((1, 8, 10), 2)
    assert str(refusal.value) == f"{name}: got images of 8x10 pixels, expected sides that are multiples of 4. Resize or pad the data."


def test_theory_gets_raw_inputs_and_the_others_standardised_ones() -> None:
    assert {name for name, a in DECLARED.items() if not a.normalise} == set(RAW)


def test_linear_is_linear() -> None:
    network = declared("linear", bias=False).build((1, 2, 2), 3)
    x = torch.rand(2, 1, 2, 2)
    torch.testing.assert_close(network(3 * x[:1] - x[1:]), 3 * network(x[:1]) - network(x[1:]))


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_width_depth_and_activation_count(name: str) -> None:
    assert size(meta(declared(name, width=32))) != size(meta(declared(name, width=8)))
    assert size(meta(declared(name, depth=3))) != size(meta(declared(name, depth=2)))
    smooth = declared(name, activation="softplus").build((1, 8, 8), 2)
    assert not any(isinstance(module, nn.ReLU) for module in smooth.modules())


def test_deep_networks_without_batch_norm_keep_their_signal() -> None:
    """With torch's own initialisation the spread of VGG-16's last features is some 10⁻⁶ of the inputs'."""
    torch.manual_seed(0)
    network = declared("vgg16", width=16, batch_norm=False).build((1, 64, 64), 2)
    assert isinstance(network, nn.Sequential)
    assert 0.03 < network[:-3](torch.randn(16, 1, 64, 64)).std(0).mean() < 3


def test_vgg5_is_the_beginning_of_vgg16() -> None:
    convolutions = {
        n: [m.weight.shape for m in meta(declared(n)).modules() if isinstance(m, nn.Conv2d)] for n in ("vgg5", "vgg16", "vgg19")
    }
    assert convolutions["vgg5"] == convolutions["vgg16"][:4]
    assert {name: len(shapes) for name, shapes in convolutions.items()} == {"vgg5": 4, "vgg16": 13, "vgg19": 16}


def test_vgg_without_batch_norm_and_with_dropout() -> None:
    network = declared("vgg16", width=4, batch_norm=False, dropout=0.5).build((1, 8, 8), 2)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.5]


def test_resnet50_halves_small_images_three_times_and_large_ones_five_times() -> None:
    sides = {}
    for side in (64, 96):
        network = declared("resnet50", width=4).build((3, side, side), 2)
        assert isinstance(network, nn.Sequential)
        sides[side] = network[:-3](torch.rand(1, 3, side, side)).shape[-1]
    assert sides == {64: 8, 96: 3}


def test_quadratic_network_is_example_1() -> None:
    network = declared("quadratic", width=3).build((4,), 2).double()
    w, a = network.weight, network.a
    assert isinstance(w, torch.Tensor)
    assert isinstance(a, torch.Tensor)
    x = torch.rand(1, 4, dtype=torch.double, requires_grad=True)
    f = network(x)[0, 0]
    torch.testing.assert_close(f, sum(a[0, j] * (w[j] @ x[0]) ** 2 for j in range(3)))
    by_w, by_x = torch.autograd.grad(f, (w, x))
    torch.testing.assert_close(by_w, torch.stack([2 * a[0, j] * (w[j] @ x[0]) * x[0] for j in range(3)]))
    torch.testing.assert_close(by_x[0], sum(2 * a[0, j] * (w[j] @ x[0]) * w[j] for j in range(3)))
    assert [name for name, _ in network.named_parameters()] == ["weight"]


def test_two_layer_network_starts_as_a_vanishing_linear_map() -> None:
    torch.manual_seed(0)
    network = declared("two-layer", width=256, scale=1e-3).build((50,), 1)
    w, a = network.weight, network.a
    assert isinstance(w, torch.Tensor)
    assert isinstance(a, torch.Tensor)
    x = torch.randn(10, 50)
    torch.testing.assert_close(network(x), x @ w.T @ a.T, rtol=1e-3, atol=1e-8)
    assert w.std().item() == pytest.approx(1e-3 / math.sqrt(50), rel=0.03)
    assert a.abs().unique().tolist() == [1 / 16]


def test_a_cell_string_passes_through_the_grammar_of_references() -> None:
    catalog = Catalog(load(entry_points=[metadata.EntryPoint("papers", "robustradar_papers", "robustradar")]), {})
    cell = "|none~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|"
    ref = catalog.resolve("architecture", f"papers/nasbench201:cell={cell},cells=1", "candidate")
    assert catalog.bound("architecture", ref, Architecture) == declared("nasbench201", cell=cell, cells=1)


@pytest.mark.parametrize("plugin", ["papers", "torchvision", "timm"])
def test_listing_architectures_imports_no_heavy_library(plugin: str) -> None:
    program = (
        f"import sys, robustradar_{plugin} as plugin\n"
        "assert len(plugin.robustradar_architectures()) > 10\n"
        "print(sorted({'torch', 'torchvision', 'timm', 'numpy'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
