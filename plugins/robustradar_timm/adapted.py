"""A timm network, fitted to the data's channels, size and number of outputs."""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm
import torch
from torch import nn

from robustradar import read_weights

if TYPE_CHECKING:
    from robustradar_timm import TimmModel

# The coarsest of the published networks, patches of 32 at 224 pixels, has seven patches a side.
_PATCHES_A_SIDE = 7


def network(declared: TimmModel, shape: tuple[int, ...], outputs: int) -> nn.Module:
    """The named network for inputs of this shape.

    Args:
        declared: Name and parameters.
        shape: (channels, height, width).
        outputs: Number of outputs.

    Raises:
        ValueError: The installed timm has no such network, the inputs are no images or do not suit it, or the weights do not fit.
    """
    where = f"timm/{declared.name}"
    if not timm.is_model(declared.name):
        close = " or ".join(repr(name) for name in difflib.get_close_matches(declared.name, timm.list_models()))
        raise ValueError(
            f"{where}: got {declared.name!r}, expected a network of the installed timm {timm.__version__}. "
            f"{f'Did you mean {close}?' if close else 'Install the release that has it.'}"
        )
    if len(shape) != 3:
        raise ValueError(
            f"{where}: got inputs of shape {list(shape)}, expected images [channels, height, width]. Use papers/linear or papers/mlp."
        )
    size = (declared.resize, declared.resize) if declared.resize else (shape[1], shape[2])
    try:
        options = {"in_chans": shape[0], "num_classes": outputs, **_geometry(declared.name, size, declared.patch)}
        model: nn.Module = timm.create_model(declared.name, pretrained=False, **options)
        _try_out(model, (shape[0], *size))
    except (RuntimeError, ValueError, AssertionError, TypeError, ZeroDivisionError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        facts = timm.get_pretrained_cfg(declared.name)
        raise ValueError(
            f"{where}: got images of {size[0]}x{size[1]} pixels and patch={declared.patch}, expected a geometry that the network takes "
            f"({reason}). Use resize={facts.input_size[-1] if facts else 224}, its published size, with patch=0."
        ) from error
    if declared.pretrained:
        _load(where, model, Path(declared.pretrained))
    return nn.Sequential(nn.Upsample(size=size, mode="bilinear"), model) if declared.resize else model


def patch_side(size: tuple[int, int], published: int) -> int:
    """The side of the patches for images of a size.

    It is the largest that divides both sides of the image, is no larger than the published one and leaves seven patches a side; where
    there is none, one pixel.

    Example:
        >>> [patch_side((side, side), 16) for side in (8, 28, 32, 64, 224)]
        [1, 4, 4, 8, 16]
    """
    both = math.gcd(*size)
    fitting = [side for side in range(1, published + 1) if both % side == 0 and min(size) // side >= _PATCHES_A_SIDE]
    return max(fitting, default=1)


def _geometry(name: str, size: tuple[int, int], patch: int) -> dict[str, Any]:
    """The options about image and patch sizes: for networks that timm marks as made for one size, and where the user asks."""
    options: dict[str, Any] = {"patch_size": patch} if patch else {}
    facts = timm.get_pretrained_cfg(name)
    if facts is not None and facts.fixed_input_size:
        options["img_size"] = size
        if not patch:
            with torch.device("meta"):
                published = getattr(getattr(timm.create_model(name, pretrained=False), "patch_embed", None), "patch_size", None)
            if isinstance(published, tuple) and (side := patch_side(size, published[0])) != published[0]:
                options["patch_size"] = side
    return options


def _try_out(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Runs the network once, on one black image, which raises where a layer's input is too small."""
    model.eval()
    with torch.no_grad():
        model(torch.zeros(1, *shape))
    model.train()


def _load(where: str, model: nn.Module, path: Path) -> None:
    """Fills in weights from a file. The last layer stays freshly initialised where its shape differs.

    Raises:
        ValueError: There is no such file, it cannot be read, or other weights are missing, too many, or of another shape.
    """
    if not path.is_file():
        raise ValueError(f"{where}: pretrained: got {str(path)!r}, expected a file of weights. Nothing is downloaded: give a local path.")
    try:
        weights = read_weights(path)
    except ValueError as error:
        raise ValueError(f"{where}: pretrained: got {str(path)!r}, which {error}") from None
    heads = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    own = model.state_dict()
    fitting = {name: tensor for name, tensor in weights.items() if name in own and tensor.shape == own[name].shape}
    wrong = sorted(n for n in own.keys() | weights.keys() if n not in fitting and not n.startswith(tuple(f"{head}." for head in heads)))
    if wrong:
        raise ValueError(
            f"{where}: pretrained: got {str(path)!r}, in which {len(wrong)} tensors, such as {wrong[0]!r}, are missing, too many or "
            "of another shape, expected weights of this network for this number of channels and this size. Try resize=224."
        )
    model.load_state_dict(fitting, strict=False)
