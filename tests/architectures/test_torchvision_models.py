"""torchvision networks: the table of names, the adaptation to small data, local weights."""

import dataclasses
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from robustradar import Architecture
from robustradar_torchvision import robustradar_architectures

DECLARED = {a.name: a for a in robustradar_architectures()}
FAMILIES = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet", "inception_v3", "maxvit_t"),
    *("mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_0"),
    *("swin_t", "swin_v2_t", "vgg11", "vgg11_bn", "vit_b_16", "wide_resnet50_2"),
)


def declared(name: str, **parameters: Any) -> Architecture:
    return dataclasses.replace(DECLARED[name], **parameters)


def first_convolution(network: nn.Module) -> nn.Conv2d:
    return next(m for m in network.modules() if isinstance(m, nn.Conv2d))


def refusal(architecture: Architecture, shape: tuple[int, ...], outputs: int = 10) -> str:
    with pytest.raises(ValueError) as raised, torch.device("meta"):
        architecture.build(shape, outputs)
    return str(raised.value)


def test_the_table_holds_the_classification_networks_of_the_installed_torchvision() -> None:
    table = resources.files("robustradar_torchvision").joinpath("models.txt").read_text(encoding="utf-8").split()
    assert set(torchvision.models.list_models(module=torchvision.models)) == set(table)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_can_be_made_for_its_own_size(name: str) -> None:
    """On shapes alone; RegNets compute their widths with tensors, which that cannot do: one is built in earnest below."""
    with torch.device("meta"):
        network = declared(name, resize=224).build((1, 32, 32), 7)
    assert first_convolution(network).in_channels == 1
    assert [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1].weight.shape[0] == 7


@pytest.mark.parametrize(
    "name", ["shufflenet_v2_x0_5", "squeezenet1_1", "mobilenet_v3_small", "regnet_y_400mf", "densenet121", "googlenet"]
)
def test_small_images_pass_forward_and_backward(name: str) -> None:
    network = declared(name).build((1, 8, 8), 3)
    assert network.training
    y = network(torch.rand(2, 1, 8, 8))
    assert y.shape == (2, 3)
    y.sum().backward()
    assert first_convolution(network).weight.grad is not None


def test_large_networks_with_auxiliary_outputs_have_none_here() -> None:
    with torch.device("meta"):
        network = declared("inception_v3", resize=96).build((3, 32, 32), 5)
        assert network(torch.rand(2, 3, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize(
    ("stem", "side", "kernel", "stride", "pools"),
    [
        ("auto", 64, (3, 3), (1, 1), 0),
        ("auto", 65, (7, 7), (2, 2), 1),
        ("cifar", 96, (3, 3), (1, 1), 0),
        ("imagenet", 32, (7, 7), (2, 2), 1),
    ],
)
def test_the_stem_of_resnet18(stem: str, side: int, kernel: tuple[int, int], stride: tuple[int, int], pools: int) -> None:
    with torch.device("meta"):
        network = declared("resnet18", stem=stem).build((3, side, side), 10)
    conv = first_convolution(network)
    assert (conv.kernel_size, conv.stride) == (kernel, stride)
    assert sum(isinstance(m, nn.MaxPool2d) for m in network.modules()) == pools


def test_resnet18_for_cifar_has_its_published_11_17_million_parameters() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in declared("resnet18").build((3, 32, 32), 10).parameters()) == 11_173_962


def test_vision_transformers_take_the_size_of_the_data_where_patches_fit() -> None:
    with torch.device("meta"):
        assert declared("vit_b_16").build((3, 32, 32), 10)(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert refusal(declared("vit_b_16"), (3, 8, 8)) == (
        "torchvision/vit_b_16: got images of 8x8 pixels, expected a size that the network takes "
        "(Input shape indivisible by patch size!). Use resize=224."
    )
    assert refusal(declared("vit_b_16"), (3, 32, 48)) == (
        "torchvision/vit_b_16: got images of 32x48 pixels, expected a size that the network takes (expected square images). Use resize=224."
    )
    assert refusal(declared("vit_b_16", stem="cifar"), (3, 32, 32)) == (
        "torchvision/vit_b_16: got stem=cifar, expected auto or imagenet: the network cuts images into patches. Use resize=224."
    )


def test_images_too_small_for_the_network_are_refused() -> None:
    assert refusal(declared("vgg11"), (1, 8, 8)).startswith(
        "torchvision/vgg11: got images of 8x8 pixels, expected a size that the network takes (Given input size: (512x1x1)."
    )


def test_features_are_refused() -> None:
    assert refusal(declared("resnet18"), (20,)) == (
        "torchvision/resnet18: got inputs of shape [20], expected images [channels, height, width]. Use papers/linear or papers/mlp."
    )


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_local_weights_are_loaded_and_another_number_of_outputs_keeps_a_fresh_head(tmp_path: Path, suffix: str) -> None:
    source = declared("squeezenet1_1").build((3, 32, 32), 4)
    path = tmp_path / f"weights{suffix}"
    torch.save(source.state_dict(), path) if suffix == ".pt" else save_file(source.state_dict(), path)
    same = declared("squeezenet1_1", pretrained=str(path)).build((3, 32, 32), 4)
    torch.testing.assert_close(same.state_dict(), source.state_dict())
    other = declared("squeezenet1_1", pretrained=str(path)).build((3, 32, 32), 6).state_dict()
    assert other["classifier.1.weight"].shape[0] == 6
    assert all(torch.equal(other[k], v) for k, v in source.state_dict().items() if not k.startswith("classifier.1."))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    assert refusal(declared("squeezenet1_1", pretrained=str(path)), (3, 32, 32)) == (
        f"torchvision/squeezenet1_1: pretrained: got {str(path)!r}, expected a file of weights. Nothing is downloaded: give a local path."
    )
    torch.save(declared("squeezenet1_1").build((3, 32, 32), 4).state_dict(), path)
    assert refusal(declared("squeezenet1_1", pretrained=str(path)), (1, 32, 32)) == (
        f"torchvision/squeezenet1_1: pretrained: got {str(path)!r}, in which 1 tensors, such as 'features.0.weight', are missing, too many "
        "or of another shape, expected weights of this network and stem for this number of channels. Try stem=imagenet, with resize=224."
    )


@pytest.mark.parametrize(("name", "content"), [("w.pt", b""), ("w.pth", b"PK\x03\x04 cut short"), ("w.safetensors", b"\xff" * 40)])
def test_a_damaged_file_of_weights_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    told = refusal(declared("squeezenet1_1", pretrained=str(path)), (3, 32, 32))
    assert told.startswith(f"torchvision/squeezenet1_1: pretrained: got {str(path)!r}, which cannot be read (")
    assert told.endswith("), expected a safetensors file or a state dict saved by torch.save.")


def test_weights_of_a_checkpoint_are_found(tmp_path: Path) -> None:
    source = declared("squeezenet1_1").build((3, 32, 32), 4).state_dict()
    torch.save({"epoch": 3, "model_state_dict": {f"_orig_mod.{name}": value for name, value in source.items()}}, tmp_path / "w.pt")
    found = declared("squeezenet1_1", pretrained=str(tmp_path / "w.pt")).build((3, 32, 32), 4).state_dict()
    torch.testing.assert_close(found, source)
