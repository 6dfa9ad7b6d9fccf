"""Runs made by hand: a study on paper, and cells of given per-sample values or values by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from robustradar import Column
from robustradar.gate import Cell, Snapshot

ACCURACY = Column("robust_accuracy", "higher", "fraction")
LOSS = Column("robust_loss", "lower", "loss")
SIZE = Column("parameters", "none", "1")
STUDY: dict[str, Any] = {
    "name": "rank",
    "candidates": ["papers/mlp"],
    "data": {"id": "native/digits", "fingerprint": "f" * 40},
    "threat": {"norm": "linf", "eps": 0.1, "bounds": [0.0, 1.0]},
    "attack": "native/pgd",
    "recipe": {"id": "native/quick", "parameters": {"epochs": 15, "milestones": [0.5, 0.75]}},
    "metrics": ["baselines/robust-accuracy"],
    "ranker": "native/rank-mean",
    "seeds": [0],
    "weights": {},
}
PROVENANCE = {"versions": {"torch": "2.6.0"}, "python": "3.11.7", "device": "cpu", "engine": "robustradar 0.1.0 abc"}


def sampled(samples: Any, column: Column = ACCURACY, fits: str = "before", **other: Any) -> Cell:
    """A cell of per-sample values [seeds, samples]."""
    found = np.asarray(samples)
    values = tuple(found.mean(axis=1, dtype=np.float64).tolist())
    return replace(seeded(values, column, fits), samples=found, **other)


def seeded(values: Sequence[float], column: Column = ACCURACY, fits: str = "before", **other: Any) -> Cell:
    """A cell of one value a seed."""
    metric, candidate = "baselines/robust-accuracy", "papers/mlp"
    value = float(np.mean(values))
    cell = Cell(candidate, metric, column, "measured", None, value, None, None, values=tuple(values), fits=tuple((fits,) for _ in values))
    return replace(cell, **other)


def stateless(state: str, reason: str, column: Column = ACCURACY) -> Cell:
    """A cell without a number."""
    return Cell("papers/mlp", "baselines/robust-accuracy", column, state, reason, None, None, None)  # type: ignore[arg-type]


def run_of(*cells: Cell, **study: Any) -> Snapshot:
    """A run of these cells."""
    asked = {"candidates": list(dict.fromkeys(c.candidate for c in cells)), "metrics": list(dict.fromkeys(c.metric for c in cells))}
    return Snapshot(STUDY | asked | study, cells, PROVENANCE)


def given(*cells: Cell) -> Snapshot:
    """The same with networks that were given."""
    return run_of(*cells, weights={c.candidate: "0" * 64 for c in cells})


def bits(right: int, n: int) -> Any:
    """So many right answers of n, the first ones."""
    return (np.arange(n) < right)[None]
