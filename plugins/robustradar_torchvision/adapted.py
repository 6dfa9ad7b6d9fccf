"""A torchvision network, fitted to the data's channels, size and number of outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torchvision import models

from robustradar import read_weights

if TYPE_CHECKING:
    from robustradar_torchvision import TorchvisionModel

_SMALL = 64
_STEM_POOLS = ("maxpool", "maxpool1", "features.pool0")
_PATCHES = ("vit_", "maxvit_")
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


def network(declared: TorchvisionModel, shape: tuple[int, ...], outputs: int) -> nn.Module:
    """The named network for inputs of this shape.

    Args:
        declared: Name and parameters.
        shape: (channels, height, width).
        outputs: Number of outputs.

    Raises:
        ValueError: The inputs are no images or do not suit the network, or the weights do not fit.
    """
    where = f"torchvision/{declared.name}"
    if len(shape) != 3:
        raise ValueError(
            f"{where}: got inputs of shape {list(shape)}, expected images [channels, height, width]. Use papers/linear or papers/mlp."
        )
    size = (declared.resize, declared.resize) if declared.resize else (shape[1], shape[2])
    patches = declared.name.startswith(_PATCHES)
    if declared.stem == "cifar" and patches:
        raise ValueError(f"{where}: got stem=cifar, expected auto or imagenet: the network cuts images into patches. Use resize=224.")
    try:
        model: nn.Module = models.get_model(declared.name, weights=None, num_classes=outputs, **_options(declared.name, size))
        _adapt_stem(model, shape[0], declared.stem == "cifar" or (declared.stem == "auto" and max(size) <= _SMALL and not patches))
        _check_size(model, (shape[0], *size))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ValueError(
            f"{where}: got images of {size[0]}x{size[1]} pixels, expected a size that the network takes ({reason}). Use resize=224."
        ) from error
    if declared.pretrained:
        _load(where, model, Path(declared.pretrained))
    if declared.resize:
        return nn.Sequential(nn.Upsample(size=size, mode="bilinear"), model)
    return model


def _options(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """What single families need to be told: no auxiliary outputs, and the size where layers depend on it."""
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        if size[0] != size[1]:
            raise ValueError("expected square images")
        return {"image_size": size[0]}
    return {"input_size": size} if name.startswith("maxvit_") else {}


def _adapt_stem(model: nn.Module, channels: int, small: bool) -> None:
    """Puts in a first convolution for this number of channels; for small images 3x3 of stride 1, without the pooling after it."""
    name, first = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    geometry: tuple[Any, Any, Any] = (first.kernel_size, first.stride, first.padding)
    if small:
        geometry = ((3, 3), (1, 1), (1, 1))
        for pool in _STEM_POOLS:
            if any(n == pool for n, _ in model.named_modules()):
                model.set_submodule(pool, nn.Identity())
    if (channels, *geometry) == (first.in_channels, first.kernel_size, first.stride, first.padding):
        return
    conv = nn.Conv2d(channels, first.out_channels, *geometry, bias=first.bias is not None)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    model.set_submodule(name, conv)


def _check_size(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Runs the network on shapes alone, which raises where a layer's input is too small."""
    tensors = {name: t.detach().to("meta") for name, t in (*model.named_parameters(), *model.named_buffers())}
    model.eval()
    with torch.no_grad():
        torch.func.functional_call(model, tensors, (torch.empty(1, *shape, device="meta"),))
    model.train()


def _load(where: str, model: nn.Module, path: Path) -> None:
    """Fills in weights from a file. The last layer stays freshly initialised where its shape differs; auxiliary outputs are left out.

    Raises:
        ValueError: There is no such file, it cannot be read, or other weights are missing, too many, or of another shape.
    """
    if not path.is_file():
        raise ValueError(f"{where}: pretrained: got {str(path)!r}, expected a file of weights. Nothing is downloaded: give a local path.")
    try:
        weights = read_weights(path)
    except ValueError as error:
        raise ValueError(f"{where}: pretrained: got {str(path)!r}, which {error}") from None
    head = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)][-1]
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in weights.items() if name in own and tensor.shape == own[name].shape}
    wrong = sorted(name for name in own.keys() | weights.keys() if name not in fitting and not name.startswith((f"{head}.", *_AUXILIARY)))
    if wrong:
        raise ValueError(
            f"{where}: pretrained: got {str(path)!r}, in which {len(wrong)} tensors, such as {wrong[0]!r}, are missing, too many or "
            "of another shape, expected weights of this network and stem for this number of channels. Try stem=imagenet, with resize=224."
        )
    model.load_state_dict(fitting, strict=False)
