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
from robustradar.training.network import Standardise

# How the names of an architecture begin behind a normalisation.
_INNER = "1."
# Of names that do not fit, so many are told.
_SHOWN = 3


def read(file: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of a ``.pt`` or ``.pth`` file by torch's weights-only loader: nothing is executed.

    A checkpoint that holds its weights under ``state_dict`` or ``model`` is understood.

    Raises:
        Failure: The file is no such file.
    """
    where = f"--weights {file}"
    try:
        content: Any = load_file(file) if file.suffix == ".safetensors" else torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own words are long, coloured, and advise to execute what is in the file
        reason = "is no file of tensors alone, expected names with their tensors. Write it by torch.save(model.state_dict(), FILE)."
        raise Failure(where, reason) from None
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError) as error:
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
        Failure: Names or shapes are others than the network's, or a value is not finite.
    """
    state = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    inner = {f"{_INNER}{name}": value for name, value in given.items()}
    alone = set(given) != set(state) and _normalised(model) and len(set(inner) & set(state)) >= len(set(given) & set(state))
    best = {**{name: value for name, value in state.items() if not name.startswith(_INNER)}, **inner} if alone else given
    missing, extra = sorted(set(state) - set(best)), sorted(set(best) - set(state))
    prefix = _INNER if alone else ""  # names are told as the file has them
    if missing or extra:
        found = ", and ".join([f"misses {_some(missing, prefix)}"] * bool(missing) + [f"holds {_some(extra, prefix)} beside"] * bool(extra))
        raise Failure(where, f"{found}, expected the network's {sum(name.startswith(prefix) for name in state)} tensors.")
    for name, value in state.items():
        if best[name].shape != value.shape:
            got = f"{name.removeprefix(prefix)}: got shape {list(best[name].shape)}"
            raise Failure(where, f"{got}, expected {list(value.shape)}.")
        if not best[name].isfinite().all():
            raise Failure(where, f"{name.removeprefix(prefix)}: got values that are not finite, expected numbers: training had diverged.")
    return {name: best[name].to(value.dtype) for name, value in state.items()}


def _normalised(model: nn.Module) -> bool:
    """Whether the architecture stands behind a normalisation of the host's."""
    return isinstance(model, nn.Sequential) and isinstance(model[0], Standardise)


def _some(names: list[str], prefix: str) -> str:
    """The first names, and how many follow."""
    shown = ", ".join(repr(name.removeprefix(prefix)) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
