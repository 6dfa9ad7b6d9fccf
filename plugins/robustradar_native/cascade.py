"""Attacks one after the other, each on the samples that all before it left unbroken."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from robustradar import Victim

Member = Callable[[Tensor, Tensor], Tensor]


def broken(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    """Whether the answers at x are wrong [N]."""
    with torch.no_grad():
        outputs: Tensor = victim.model(x)
    return outputs.argmax(1) != y


def cascade(victim: Victim, x: Tensor, y: Tensor, members: Iterable[Member]) -> Tensor:
    """The first point of every sample that a member broke; x itself where none did, or where the clean answer is wrong already.

    Args:
        victim: Whose answers count.
        x: Clean inputs [N, *shape].
        y: Labels [N].
        members: Maps of inputs and labels of some samples to points for them. A member is not asked once nothing is left.
    """
    points = x.clone()
    left = (~broken(victim, x, y)).nonzero().flatten()
    for member in members:
        if not len(left):
            break
        found = member(x[left], y[left])
        fell = broken(victim, found, y[left])
        points[left[fell]] = found[fell]
        left = left[~fell]
    return points
