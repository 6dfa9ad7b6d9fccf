"""timm networks: the table of names, patches for small images, local weights."""

import dataclasses
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from robustradar import Architecture
from robustradar_timm import TimmModel, robustradar_architectures
from robustradar_timm.adapted import patch_side

DECLARED = {a.name: a for a in robustradar_architectures()}


def declared(name: str, **parameters: Any) -> Architecture:
    return dataclasses.replace(DECLARED[name], **parameters)


def refusal(architecture: Architecture, shape: tuple[int, ...]) -> str:
    with pytest.raises(ValueError) as raised:
        architecture.build(shape, 10)
    return str(raised.value)


@pytest.mark.skipif(timm.__version__ != "1.0.31", reason="the table is that of timm 1.0.31")
def test_the_table_holds_the_networks_of_timm() -> None:
    table = resources.files("robustradar_timm").joinpath("models.txt").read_text(encoding="utf-8").split()
    assert table == timm.list_models()
    assert list(DECLARED) == table


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("test_resnet", (1, 8, 8)),
        ("test_efficientnet", (1, 8, 8)),
        ("test_byobnet", (3, 32, 32)),
        ("test_vit", (1, 8, 8)),
        ("test_vit", (3, 28, 28)),
        ("test_convnext", (3, 32, 32)),
        ("test_maxvit", (3, 32, 32)),
        ("resnet10t", (1, 8, 8)),
        ("mobilenetv3_small_050", (3, 32, 32)),
    ],
)
def test_small_images_pass_forward_and_backward(name: str, shape: tuple[int, ...]) -> None:
    network = declared(name).build(shape, 3)
    assert network.training
    y = network(torch.rand(2, *shape))
    assert (y.shape, y.dtype) == ((2, 3), torch.float32)
    y.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize(
    ("size", "published", "side"),
    [((8, 8), 16, 1), ((28, 28), 16, 4), ((32, 32), 16, 4), ((32, 48), 16, 4), ((224, 224), 16, 16), ((224, 224), 32, 32), ((5, 5), 16, 1)],
)
def test_patches_leave_seven_a_side(size: tuple[int, int], published: int, side: int) -> None:
    assert patch_side(size, published) == side


@pytest.mark.parametrize(("patch", "side"), [(0, 4), (8, 8)])
def test_patches_of_a_vision_transformer(patch: int, side: int) -> None:
    network = declared("test_vit", patch=patch).build((3, 32, 32), 10)
    convolution = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    assert convolution.kernel_size == (side, side)


def test_a_patch_can_be_given_to_networks_for_any_size_as_well() -> None:
    network = declared("test_convnext", patch=1).build((1, 8, 8), 10)
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_resizing_happens_inside_the_network() -> None:
    network = declared("test_convnext", resize=32).build((1, 8, 8), 10)
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_images_and_patches_that_do_not_suit_are_refused() -> None:
    assert refusal(declared("test_convnext"), (1, 8, 8)) == (
        "timm/test_convnext: got images of 8x8 pixels and patch=0, expected a geometry that the network takes (Calculated padded input "
        "size per channel: (1 x 1). Kernel size: (2 x 2). Kernel size can't be greater than actual input size). "
        "Use resize=160, its published size, with patch=0."
    )
    assert refusal(declared("test_resnet", patch=2), (1, 8, 8)) == (
        "timm/test_resnet: got images of 8x8 pixels and patch=2, expected a geometry that the network takes "
        "(ResNet.__init__() got an unexpected keyword argument 'patch_size'). Use resize=160, its published size, with patch=0."
    )


def test_networks_for_a_single_size_name_it() -> None:
    with torch.device("meta"):
        network = declared("bat_resnext26ts", resize=256).build((3, 32, 32), 10)
        assert network(torch.rand(2, 3, 32, 32)).shape == (2, 10)
        assert refusal(declared("bat_resnext26ts"), (3, 32, 32)) == (
            "timm/bat_resnext26ts: got images of 32x32 pixels and patch=0, expected a geometry that the network takes "
            "(AssertionError). Use resize=256, its published size, with patch=0."
        )


def test_features_are_refused() -> None:
    assert refusal(declared("test_resnet"), (20,)) == (
        "timm/test_resnet: got inputs of shape [20], expected images [channels, height, width]. Use papers/linear or papers/mlp."
    )


def test_a_name_that_the_installed_timm_lacks_is_refused_with_suggestions() -> None:
    expected = f"expected a network of the installed timm {timm.__version__}."
    assert refusal(TimmModel(name="tset_resnet"), (1, 8, 8)).startswith(
        f"timm/tset_resnet: got 'tset_resnet', {expected} Did you mean 'test_resnet'"
    )
    assert refusal(TimmModel(name="0"), (1, 8, 8)) == f"timm/0: got '0', {expected} Install the release that has it."


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_local_weights_are_loaded_and_another_number_of_outputs_keeps_a_fresh_head(tmp_path: Path, suffix: str) -> None:
    source = declared("test_vit").build((3, 32, 32), 4)
    path = tmp_path / f"weights{suffix}"
    torch.save(source.state_dict(), path) if suffix == ".pt" else save_file(source.state_dict(), path)
    same = declared("test_vit", pretrained=str(path)).build((3, 32, 32), 4)
    torch.testing.assert_close(same.state_dict(), source.state_dict())
    other = declared("test_vit", pretrained=str(path)).build((3, 32, 32), 6).state_dict()
    assert other["head.weight"].shape[0] == 6
    assert all(torch.equal(other[k], v) for k, v in source.state_dict().items() if not k.startswith("head."))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    assert refusal(declared("test_resnet", pretrained=str(path)), (3, 32, 32)) == (
        f"timm/test_resnet: pretrained: got {str(path)!r}, expected a file of weights. Nothing is downloaded: give a local path."
    )
    torch.save(declared("test_resnet").build((3, 32, 32), 4).state_dict(), path)
    assert refusal(declared("test_resnet", pretrained=str(path)), (1, 32, 32)) == (
        f"timm/test_resnet: pretrained: got {str(path)!r}, in which 1 tensors, such as 'conv1.0.weight', are missing, too many or of "
        "another shape, expected weights of this network for this number of channels and this size. Try resize=224."
    )


@pytest.mark.parametrize(("name", "content"), [("w.pt", b""), ("w.pth", b"PK\x03\x04 cut short"), ("w.safetensors", b"\xff" * 40)])
def test_a_damaged_file_of_weights_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    told = refusal(declared("test_resnet", pretrained=str(path)), (3, 32, 32))
    assert told.startswith(f"timm/test_resnet: pretrained: got {str(path)!r}, which cannot be read (")
    assert told.endswith("), expected a safetensors file or a state dict saved by torch.save.")


def test_weights_of_a_checkpoint_are_found(tmp_path: Path) -> None:
    source = declared("test_resnet").build((3, 32, 32), 4).state_dict()
    torch.save({"epoch": 3, "model_state_dict": {f"_orig_mod.{name}": value for name, value in source.items()}}, tmp_path / "w.pt")
    found = declared("test_resnet", pretrained=str(tmp_path / "w.pt")).build((3, 32, 32), 4).state_dict()
    torch.testing.assert_close(found, source)
