"""Studies of a few samples and parameters, from a request to the outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robustradar import Outcome, Result
from robustradar.registry import Request
from robustradar.screening import Prepared, prepare, rank

PRICES = ("delta_influence", "delta_first_order")
SPECTRA = ("lambda_min_train", "lambda_max_train", "lambda_min_eval", "lambda_max_eval")
DIGITS: dict[str, Any] = {
    "data": "digits:train_limit=200,eval_limit=100",
    "eps": "0.05",
    "recipe": "quick:epochs=3",
    "architectures": ("papers/mlp:width=8,depth=1",),
}


@dataclass
class Lab:
    """A folder with data sets and a store."""

    root: Path

    def data(self, name: str = "data", **arrays: Any) -> str:
        """A data set without a box."""
        np.savez(self.root / f"{name}.npz", **arrays)
        return f"npz:path={self.root / f'{name}.npz'},bounded=false"

    def prepare(self, *metrics: str, **changes: Any) -> Prepared:
        given = {name: changes.pop(name, ()) for name in ("weights", "plugins")}
        return prepare(None, Request(**{"architectures": ("papers/linear",), "metrics": metrics, **changes}), **given)

    def result(self, *metrics: str, **changes: Any) -> Result:
        return rank(self.prepare(*metrics, **changes), store=self.root / "store", device="cpu")

    def run(self, *metrics: str, **changes: Any) -> dict[str, Outcome]:
        """A single candidate's outcomes by column."""
        return by_column(self.result(*metrics, **changes))


def by_column(result: Result) -> dict[str, Outcome]:
    return {score.column.name: score.outcome for score in result.scores}


def overlapping(n: int = 60, *, regression: bool = False, seed: int = 0) -> dict[str, Any]:
    """Noisy targets of a linear map in three features; both splits are the same samples."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3)).astype(np.float32)
    y = x @ np.array([1.0, -0.5, 0.25]) + 0.7 * rng.standard_normal(n)
    y = y.astype(np.float32) if regression else (y > 0).astype(np.int64)
    return {"x_train": x, "y_train": y, "x_test": x, "y_test": y}
