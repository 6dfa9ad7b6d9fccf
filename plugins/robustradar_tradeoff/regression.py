"""Data of a sparse linear model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from robustradar import Data, DataError, Dataset, Split, fixed

# Inputs are multiples of 1/4096, chosen here: sums of hundreds of them are exact in float32, and without noise y = x θ* holds to the bit.
_GRID = 4096


@dataclass(frozen=True)
class SparseRegression(Dataset):
    """Linear regression [T, section 3.2]: x ~ N(0, I), y = x θ* + noise, where all but a few entries of θ* are 0.

    These few are 1 or -1, at places and with signs by chance. There is no box.
    """

    name: str = fixed("sparse-regression")
    n: Annotated[int, Field(ge=1, description="training samples")] = 100
    n_eval: Annotated[int, Field(ge=1, description="samples of the evaluation and of the final split")] = 1000
    d: Annotated[int, Field(ge=1, description="inputs")] = 20
    nonzero: Annotated[int, Field(ge=0, description="inputs that count")] = 5
    noise: Annotated[float, Field(ge=0, description="standard deviation; with 0, y = x θ* exactly")] = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**32, description="of the data")] = 0

    def load(self) -> Data:
        """The data.

        Raises:
            DataError: More inputs count than there are.
        """
        import numpy as np

        if self.nonzero > self.d:
            got = f"got nonzero={self.nonzero}, expected at most d={self.d}"
            raise DataError(f"tradeoff/sparse-regression: {got}. Lower the one or raise the other.")
        random = np.random.RandomState(self.seed)  # its stream is frozen, unlike Generator's
        theta = np.zeros(self.d)
        theta[random.permutation(self.d)[: self.nonzero]] = random.choice([-1.0, 1.0], self.nonzero)

        def split(size: int) -> Split:
            x = np.round(random.standard_normal((size, self.d)) * _GRID) / _GRID
            y = x @ theta + self.noise * random.standard_normal(size)
            return Split(x.astype(np.float32), y.astype(np.float32))

        return Data(split(self.n), split(self.n_eval), split(self.n_eval), classes=None, bounds=None)
