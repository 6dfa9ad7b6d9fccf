"""Where a run computes, and its data there."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from robustradar.contract.dataset import Data, Split
from robustradar.errors import UsageError
from robustradar.values import Task

# Above this a split stays where it is (in memory, or memory-mapped on disk) and goes to the device batch by batch.
RESIDENT_BYTES = 4 * 2**30

# Inputs of fewer values than this give operations so small that waking threads costs more than they save, and a hundred times more on a
# machine that is busy with something else.
SMALL_INPUT = 1000


def device(name: str) -> torch.device:
    """The device of a name: ``auto`` is a GPU by CUDA if one is there, else the CPU. MPS lacks float64, which many metrics compute in.

    Raises:
        UsageError: The device is unknown or not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind = ("cuda" if there["cuda"] else "cpu") if name == "auto" else name
    if not there.get(kind.partition(":")[0], False):
        found = ", ".join(k for k, available in there.items() if available)
        raise UsageError(f"--device: got {name!r}, expected auto or one that is there: {found}.")
    return torch.device(kind)


class DeviceBatches:
    """One split in batches: inputs as float32 in the data's own units, targets as integers or floats [N] or [N, T].

    Splits of up to `RESIDENT_BYTES` are moved to the device once, as they are stored (uint8 stays uint8); larger ones stream.

    Attributes:
        size: Samples a batch.
        read: Whether anybody has gone through the batches.
    """

    def __init__(self, split: Split, where: torch.device, size: int, classes: int | None) -> None:
        self._x, self._y = split.x, split.y
        self._device, self._classes = where, classes
        self.size, self.read = size, False
        self._resident: tuple[Tensor, Tensor] | None = None
        if split.x.nbytes <= RESIDENT_BYTES:
            self._resident = (self._inputs(split.x), self._targets(split.y))

    def __len__(self) -> int:
        """The number of samples."""
        return len(self._y)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All samples, in order."""
        self.read = True
        for start in range(0, len(self), self.size):
            yield self._batch(slice(start, start + self.size))

    def at(self, size: int) -> DeviceBatches:
        """The same samples, not copied, in batches of this size, which nobody has gone through."""
        other = copy.copy(self)
        other.size, other.read = size, False
        return other

    @property
    def variance(self) -> float:
        """Of the targets, as numbers, summed over them: the squared loss of the best answer that is the same for all."""
        return float(np.asarray(self._y, dtype=np.float64).reshape(len(self), -1).var(0).sum())

    def steps(self, size: int) -> int:
        """The number of batches of `shuffled`."""
        return max(1, len(self) // size + (len(self) % size > 1)) if size > 1 else len(self)

    def spread(self, limit: int) -> tuple[Tensor, Tensor]:
        """At most so many samples as one batch, evenly over the split, which may be sorted by class; the same at every call."""
        count = min(limit, len(self))
        chosen = torch.arange(count) * len(self) // count
        return self._batch(chosen.to(self._device) if self._resident else chosen.numpy())

    def shuffled(self, generator: torch.Generator, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All samples in a random order, in batches of `size`; the last may be smaller, or larger by one, never a single sample.

        BatchNorm cannot train on a single sample, so a lone last one joins the batch before it.

        Args:
            generator: On the CPU, so that the order is the same on every device.
            size: Samples a batch.
        """
        order = torch.randperm(len(self), generator=generator)
        if self._resident:
            order = order.to(self._device)  # at once: a copy for each batch would each time wait for the device
        parts = list(order.split(size))
        if size > 1 and len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [torch.cat(parts[-2:])]
        for part in parts:
            yield self._batch(part if self._resident else part.numpy())

    def _batch(self, chosen: slice | Tensor | np.ndarray) -> tuple[Tensor, Tensor]:
        if self._resident is not None:
            x, y = self._resident[0][chosen], self._resident[1][chosen]
        else:
            rows = chosen if isinstance(chosen, slice) else np.sort(np.asarray(chosen))
            x, y = self._inputs(self._x[rows]), self._targets(self._y[rows])
        return (x.float() / 255 if x.dtype == torch.uint8 else x), y

    def _inputs(self, x: np.ndarray) -> Tensor:
        values = x if x.dtype == np.uint8 else np.asarray(x, dtype=np.float32)
        return torch.from_numpy(np.array(values, copy=True)).to(self._device, non_blocking=True)

    def _targets(self, y: np.ndarray) -> Tensor:
        if self._classes is not None:
            return torch.from_numpy(np.asarray(y, dtype=np.int64).copy()).to(self._device)
        return torch.from_numpy(np.asarray(y, dtype=np.float32).reshape(len(y), -1).copy()).to(self._device)


@contextmanager
def threads(task: Task) -> Iterator[None]:
    """One CPU thread for tasks of small inputs, torch's own choice for others: by the task, so that results repeat to the bit."""
    before = torch.get_num_threads()
    if math.prod(task.shape) < SMALL_INPUT:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, eq=False)
class DeviceData:
    """A task's data where a run computes.

    Attributes:
        task: Its facts.
        splits: ``train``, ``evaluation`` and, where there is one, ``final``.
        mean: Per-channel mean of the training inputs [channels], or per feature.
        std: Their standard deviation; 1 where it is 0.
        where: The device.
    """

    task: Task
    splits: Mapping[str, DeviceBatches]
    mean: Tensor
    std: Tensor
    where: torch.device

    @classmethod
    def of(cls, data: Data, task: Task, where: torch.device, size: int = 256) -> DeviceData:
        """Moves data to a device.

        Args:
            data: Checked data.
            task: Its facts.
            where: The device.
            size: Samples a batch when measuring.
        """
        mean, std = _moments(data.train.x)
        splits = {name: DeviceBatches(split, where, size, task.classes) for name, split in data.splits.items()}
        return cls(task, splits, mean.to(where), std.to(where), where)

    @property
    def size(self) -> int:
        """Samples in the largest batch when measuring."""
        return max(min(split.size, len(split)) for split in self.splits.values())

    @property
    def read(self) -> bool:
        """Whether anybody has gone through the batches of a split."""
        return any(split.read for split in self.splits.values())

    def at(self, size: int) -> DeviceData:
        """The same data, not copied, in batches of this size, which nobody has gone through."""
        return replace(self, splits={name: split.at(size) for name, split in self.splits.items()})

    def let_go(self) -> None:
        """Gives back memory that the accelerator's allocator holds without need."""
        if self.where.type == "cuda":
            torch.cuda.empty_cache()


def _moments(x: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel or feature, in float64, chunk by chunk."""
    axes = (0, 2, 3) if x.ndim == 4 else (0,)
    count, total, squares = 0, np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for start in range(0, len(x), 4096):
        chunk = x[start : start + 4096].astype(np.float64) / (255 if x.dtype == np.uint8 else 1)
        count += chunk.size // x.shape[1]
        total += chunk.sum(axes)
        squares += (chunk**2).sum(axes)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    std[std < 1e-6] = 1.0
    return torch.from_numpy(mean).float(), torch.from_numpy(std).float()
