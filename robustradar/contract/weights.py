"""Files of weights that were trained elsewhere, read safely."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

# Under which checkpoints hold their weights. Where one holds a moving average beside them, it is what was meant to be used.
_HOLDERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")
# What torch.compile and DataParallel put before names.
_WRAPPERS = ("_orig_mod.", "module.")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of any other by torch's weights-only loader: nothing in it is executed.

    A checkpoint that holds its weights under a usual name, such as ``state_dict``, is understood, and what ``torch.compile`` and
    ``DataParallel`` put before the names is taken away.

    Args:
        path: A local file.

    Raises:
        ValueError: The file is no such file; the message continues a sentence about it.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = Path(path)
    try:
        content: Any = load_file(file) if file.suffix == ".safetensors" else torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own words are long, coloured, and advise to execute what is in the file
        advice = "Write it by torch.save(model.state_dict(), FILE)."
        raise ValueError(f"is no file of tensors alone, expected names with their tensors. {advice}") from None
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"cannot be read ({reason}), expected a safetensors file or a state dict saved by torch.save.") from None
    for name in _HOLDERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise ValueError("holds no state dict, expected names with their tensors.")
    return {_bare(str(name)): value for name, value in content.items()}


def _bare(name: str) -> str:
    """A name without wrappers before it."""
    while wrapper := next(filter(name.startswith, _WRAPPERS), ""):
        name = name.removeprefix(wrapper)
    return name
