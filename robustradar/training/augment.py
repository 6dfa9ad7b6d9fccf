"""Random crops and flips, on the device, a whole batch at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def crop_flip(x: Tensor, generator: torch.Generator, pad: int) -> Tensor:
    """Images shifted by up to `pad` pixels over a zero border, and mirrored with probability one half.

    Args:
        x: Images [N, C, H, W].
        generator: On the CPU, so that the same seed draws the same on every device.
        pad: Largest shift in pixels.

    Returns:
        Images [N, C, H, W].
    """
    n, _, height, width = x.shape
    shift = torch.randint(0, 2 * pad + 1, (2, n), generator=generator)
    mirrored = torch.randint(0, 2, (n,), generator=generator, dtype=torch.bool)
    rows = torch.arange(height) + shift[0, :, None]
    columns = torch.arange(width).expand(n, -1) + shift[1, :, None]
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    padded = functional.pad(x, (pad, pad, pad, pad)).permute(0, 2, 3, 1)
    where = (torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :])
    return padded[tuple(index.to(x.device, non_blocking=True) for index in where)].permute(0, 3, 1, 2)
