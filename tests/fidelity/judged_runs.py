"""Tables and runs made by hand, with numbers that can be checked by eye."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robustradar.fidelity import Reading, Truth
from robustradar.report.document import Document

NAMES = tuple(f"papers/mlp:width={n}" for n in range(1, 13))


def table(
    values: Sequence[float], names: Sequence[str] = NAMES, sd: float = math.nan, cost: float = math.nan, **columns: Sequence[str]
) -> Truth:
    """A truth table of these values; `columns` are texts."""
    n = len(values)
    told = {"candidate": tuple(names[:n]), "truth": tuple(map(str, values)), **{k: tuple(v) for k, v in columns.items()}}
    given = np.array(values, dtype=float)
    arrays = (given, np.full(n, sd), np.full(n, cost), np.full(n, math.nan))
    return Truth("t.csv", Reading(), tuple(names[:n]), *arrays, told, tuple(range(2, n + 2)), 0, {})


def cell(candidate: str, metric: str, column: str, value: float | None, direction: str = "higher", **other: Any) -> dict[str, Any]:
    """A score; without a value a failed one."""
    row = {"candidate": candidate, "metric": metric, "column": column, "state": "measured", "value": value, "low": None, "high": None}
    row |= {"unit": "1", "direction": direction, "flags": [], "reason": None, "details": {}}
    return row | ({} if value is not None else {"state": "failed", "reason": "training: diverged"}) | other


def fit(key: str, passes: int, start: str | None = None) -> dict[str, Any]:
    """A network whose training passed so many samples forward, and as many backward."""
    return {
        "key": key,
        "spec": {"start": start, "threat": None},
        "cost": {"forward": passes, "backward": passes, "flops": 10 * passes},
        "epochs": [],
    }


def use(candidate: str, metric: str, fits: Sequence[str], forward: int = 0) -> dict[str, Any]:
    """A measurement."""
    return {
        "candidate": candidate,
        "metric": metric,
        "fits": list(fits),
        "key": "",
        "cost": {"forward": forward, "backward": 0, "flops": forward},
    }


def run(
    scores: Sequence[Mapping[str, Any]],
    label: str = "a-run",
    recipe: str = "native/quick",
    weights: Mapping[str, str] | None = None,
    **parts: Any,
) -> Document:
    """A run of these cells, of networks that were trained or given by these weights' digests."""
    candidates = list(dict.fromkeys(row["candidate"] for row in scores))
    data = {"id": "native/digits", "fingerprint": "f" * 40, "shape": [1, 8, 8], "classes": 10, "bounds": [0, 1], "sizes": {"train": 100}}
    made = {
        "schema": "robustradar/1",
        "study": {
            "candidates": candidates,
            "data": data,
            "threat": {"norm": "linf", "eps": 0.1, "bounds": [0, 1]},
            "attack": "native/pgd",
            "recipe": {"id": recipe, "parameters": {}},
            "metrics": list(dict.fromkeys(row["metric"] for row in scores)),
            "ranker": "native/rank-mean",
            "seeds": [0],
            "weights": dict(weights or {}),
        },
        "scores": list(scores),
        "ranking": [],
        "unranked": [],
        "fits": [],
        "measurements": [],
        "provenance": {"engine": "e"},
    }
    return Document(copy.deepcopy(made | parts), label)
