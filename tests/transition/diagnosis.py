"""What the tests of the diagnostics share: whole runs, and benches whose fits are made up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustradar import Bench, Fit, Outcome, Result, Task, Threat
from robustradar.registry import Request
from robustradar.screening import Prepared, prepare, rank
from robustradar.values import Cost, FitRecord, Ref

RECIPE = {"optimizer": "sgd", "epochs": 3, "stop": 0, "batch": 4, "select": "loss"}


def prepared(*metrics: str, **changes: Any) -> Prepared:
    given = {"weights": changes.pop("weights", ())}
    return prepare(None, Request(**{"architectures": ("papers/mlp:width=8",), "metrics": metrics, **changes}), **given)


def ran(root: Path, *metrics: str, **changes: Any) -> Result:
    return rank(prepared(*metrics, **changes), store=root / "store", device="cpu")


def by_column(result: Result) -> dict[str, Outcome]:
    return {score.column.name: score.outcome for score in result.scores}


def fit(
    history: tuple[Mapping[str, Any], ...] = (),
    model: nn.Module | None = None,
    *,
    flags: tuple[str, ...] = (),
    weights: str | None = None,
    **recipe: Any,
) -> Fit:
    """A fit that never was."""
    spec = {"recipe": {"parameters": RECIPE | recipe}, "weights": weights}
    return Fit(model or nn.Identity(), FitRecord("key", spec, history, len(history), Cost(0, 0, 0.0), flags))


class Rows:
    """A split in one batch."""

    def __init__(self, y: Tensor) -> None:
        self.y = y

    def __iter__(self) -> Any:
        return iter([(torch.zeros(len(self.y), 1), self.y)])

    def __len__(self) -> int:
        return len(self.y)


def bench(fits: Mapping[str, Fit], *, classes: int | None = 2, threat: Threat | None = None, **changes: Any) -> Bench:
    """A bench of 9 training and 20 evaluation samples; half of the latter are of class 0."""
    threat = threat or Threat(math.inf, 0.1, None)
    task = Task(Ref("test/made-up", (), "test", ""), "", (3,), classes or 1, classes, threat.bounds, {"train": 9, "evaluation": 20})
    splits = {"train": Rows(torch.zeros(9, dtype=torch.int64)), "evaluation": Rows(torch.arange(20) % 2)}
    made: dict[str, Any] = {"attacks": {}, "splits": splits, "loss": lambda z, y: z[:, 0], "network": nn.Identity, "seed": 0}
    return Bench(task=task, threat=threat, fits=fits, **(made | changes))
