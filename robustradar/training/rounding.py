"""Where passes in bfloat16 do not have the gradients of passes in float32, however they are rounded."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def garbled(network: nn.Module, x: Tensor) -> str:
    """The first parameter whose gradient in bfloat16 is garbage, by name; empty where none is known to be.

    oneDNN, torch's library for CPUs, returns wrong numbers for the gradient of the weights of a strided convolution where the image is a
    single pixel and the kernel larger (seen with torch 2.15 on a CPU with AMX, kernels of 3, 5 and 7). Training then diverges, or worse,
    does not.

    Args:
        network: Runs x once, in evaluation mode.
        x: Inputs, on the network's device.
    """
    if x.device.type != "cpu":
        return ""
    found: list[str] = []

    def watch(name: str) -> object:
        def seen(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            shape = inputs[0].shape[2:]
            if max(layer.stride) > 1 and max(layer.kernel_size) > 1 and max(shape, default=0) == 1:  # type: ignore[arg-type]
                found.append(f"{name}.weight")

        return seen

    layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, _CONVOLUTIONS)]
    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers]  # type: ignore[arg-type]
    network.eval()
    try:
        with torch.no_grad():
            network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return next(iter(found), "")
