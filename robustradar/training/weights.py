"""Weights that were trained elsewhere: read safely, and matched to a network."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from robustradar.errors import Failure


def read(file: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of a ``.pt`` or ``.pth`` file by torch's weights-only loader: nothing is executed.

    A checkpoint that holds its weights under ``state_dict`` or ``model`` is understood.

    Raises:
        Failure: The file is no such file.
    """
    where = f"--weights {file}"
    try:
        content: Any = load_file(file) if file.suffix == ".safetensors" else torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Failure(where, f"cannot be read ({reason}), expected a safetensors file or a state dict saved by torch.save.") from None
    for name in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise Failure(where, "holds no state dict, expected names with their tensors.")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def matching(model: nn.Module, given: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The state dict of a model with the given weights.

    The weights may be those of the whole network, normalisation included, as the store holds them, or of the architecture alone; the
    normalisation then takes the training split's statistics.

    Raises:
        Failure: Names or shapes are others than the network's.
    """
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    inner = {f"1.{name}": value for name, value in given.items()}
    best = given if set(given) == set(state) or not set(inner) & set(state) else {**{n: state[n] for n in state if n[:2] == "0."}, **inner}
    missing, extra = sorted(set(state) - set(best)), sorted(set(best) - set(state))
    if missing or extra:
        raise Failure(where, f"misses {missing[:3]} and holds {extra[:3]} beside, expected the network's {len(state)} tensors.")
    for name, value in state.items():
        if best[name].shape != value.shape:
            raise Failure(where, f"{name}: got shape {list(best[name].shape)}, expected {list(value.shape)}.")
    return {name: best[name].to(value.dtype) for name, value in state.items()}
