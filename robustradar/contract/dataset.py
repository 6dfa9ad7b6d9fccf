"""The extension point for data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustradar.contract.declaration import Declaration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Split:
    """Inputs and targets of one split.

    Attributes:
        x: [N, channels, height, width] or [N, features]; uint8 (0 to 255, meaning 0 to 1) or float. May be memory-mapped.
        y: [N] integers (classification), or [N] or [N, targets] floats (regression).
    """

    x: NDArray[np.generic]
    y: NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Data:
    """A data set in three splits.

    Attributes:
        train: What networks are trained on.
        evaluation: What epochs are selected on, and what every metric is measured on.
        final: Held out until the end, for the final claim; None where there is none.
        classes: Number of classes; None for regression.
        bounds: The range of the inputs that an adversary must keep to, (0, 1) for images; None for unbounded data.
    """

    train: Split
    evaluation: Split
    final: Split | None
    classes: int | None
    bounds: tuple[float, float] | None

    @property
    def splits(self) -> dict[str, Split]:
        """The splits there are, by name."""
        named = {"train": self.train, "evaluation": self.evaluation, "final": self.final}
        return {name: split for name, split in named.items() if split is not None}


@dataclass(frozen=True)
class Dataset(Declaration, ABC):
    """A source of data; its parameters choose the file, the size and the like."""

    @abstractmethod
    def load(self) -> Data:
        """The data, the same at every call. The host checks shapes, ranges and labels, and takes a fingerprint of the content.

        Raises:
            DataError: A file is missing, truncated or not what it should be.
        """
