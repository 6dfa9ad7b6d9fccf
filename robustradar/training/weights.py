"""Weights that were trained elsewhere: read safely, and matched to a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from robustradar.contract.weights import read_weights
from robustradar.errors import Failure
from robustradar.training.network import Standardise

# How the names of an architecture begin behind a normalisation.
_INNER = "1."
# Of names that do not fit, so many are told.
_SHOWN = 3


def read(file: Path) -> dict[str, Tensor]:
    """What `read_weights` reads of a file given by ``--weights``.

    Raises:
        Failure: The file is no such file.
    """
    try:
        return read_weights(file)
    except ValueError as error:
        raise Failure(f"--weights {file}", str(error)) from None


def matching(model: nn.Module, given: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The state dict of a model with the given weights.

    The weights may be those of the whole network, normalisation included, as the store holds them, or of the architecture alone; the
    normalisation then takes the training split's statistics.

    Raises:
        Failure: Names, shapes or kinds of numbers are others than the network's, or a value is not finite.
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
        if value.is_floating_point() and not best[name].is_floating_point():
            got = f"{name.removeprefix(prefix)}: got {_kind(best[name])} values"
            raise Failure(where, f"{got}, expected {_kind(value)}: rounded or quantised weights are others than those that were trained.")
        if not best[name].isfinite().all():
            raise Failure(where, f"{name.removeprefix(prefix)}: got values that are not finite, expected numbers: training had diverged.")
    return {name: best[name].to(value.dtype) for name, value in state.items()}


def _kind(tensor: Tensor) -> str:
    """Its type of numbers, as torch's documentation names it."""
    return str(tensor.dtype).removeprefix("torch.")


def _normalised(model: nn.Module) -> bool:
    """Whether the architecture stands behind a normalisation of the host's."""
    return isinstance(model, nn.Sequential) and isinstance(model[0], Standardise)


def _some(names: list[str], prefix: str) -> str:
    """The first names, and how many follow."""
    shown = ", ".join(repr(name.removeprefix(prefix)) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
