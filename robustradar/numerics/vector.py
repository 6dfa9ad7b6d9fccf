"""Vectors of parameters: flattening, and sums that stay exact at tens of millions of entries.

A float32 dot product over 11 million entries is off by 1e-4 to 1e-3 on a CPU, which an eigenvalue inherits. Here products are summed in
float32 over runs of `RUN` entries and in float64 over the runs: as fast, and right to 1e-7 (3e-6 where every term is rounded alike).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

RUN = 256
# Between these no square of a float32 that counts has under- or overflown.
_SAFE = (1e-20, 1e30)


def flat(parts: Iterable[Tensor]) -> Tensor:
    """Tensors as one vector [d], in the order given."""
    return torch.cat([part.reshape(-1) for part in parts])


def like(v: Tensor, parts: Iterable[Tensor]) -> list[Tensor]:
    """The vector v [d] in the shapes of parts: views, no copy.

    >>> [part.shape for part in like(torch.arange(5.0), (torch.zeros(2, 2), torch.zeros(1)))]
    [torch.Size([2, 2]), torch.Size([1])]
    """
    shapes = [part.shape for part in parts]
    return [piece.view(shape) for piece, shape in zip(v.split([shape.numel() for shape in shapes]), shapes, strict=True)]


def wide(v: Tensor) -> torch.dtype:
    """The dtype for sums: float64, which Apple's devices lack."""
    return v.dtype if v.device.type == "mps" else torch.float64


def dots(rows: Tensor, v: Tensor) -> Tensor:
    """The dot products of rows [k, d] with v [d]: [k], in float64.

    >>> dots(torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([3.0, 4.0]))
    tensor([11.,  4.], dtype=torch.float64)
    """
    if v.dtype == wide(v):
        return rows @ v
    k, d = rows.shape
    runs = d // RUN
    tail = rows[:, runs * RUN :].to(wide(v)) @ v[runs * RUN :].to(wide(v))
    if not runs:
        return tail
    head = rows[:, : runs * RUN].unflatten(1, (runs, RUN)).transpose(0, 1)
    partial = torch.bmm(head, v[: runs * RUN].view(runs, RUN, 1))
    return tail + partial.view(runs, k).sum(0, dtype=wide(v))


def dot(u: Tensor, v: Tensor) -> Tensor:
    """The dot product of u and v [d], a scalar in float64."""
    return dots(u.unsqueeze(0), v)[0]


def length(v: Tensor) -> Tensor:
    """The 2-norm of v [d], a scalar in float64, whatever the size of the entries.

    >>> length(torch.tensor([3.0, 4.0]))
    tensor(5., dtype=torch.float64)
    """
    if v.device.type == "cpu":
        square = dot(v, v)
        if v.dtype == square.dtype or _SAFE[0] < square < _SAFE[1]:
            return square.sqrt()
    found: Tensor = torch.linalg.vector_norm(v, dtype=wide(v))  # slow on a CPU
    return found
