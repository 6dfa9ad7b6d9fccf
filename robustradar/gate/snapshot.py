"""What is compared of a run: its study, its scores seed by seed, and the per-sample values behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robustradar.errors import UsageError
from robustradar.report import document
from robustradar.store import Store
from robustradar.values import JSON, Column, Measured

State = Literal["measured", "skipped", "failed"]
Samples = NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Cell:
    """One metric's column for one candidate.

    Attributes:
        candidate: Its label.
        metric: Its label.
        column: Name, direction and unit.
        state: Whether there is a number.
        reason: Why there is none.
        value: Over all seeds.
        low: Lower end of its interval.
        high: Upper end.
        flags: What is to be known before it is trusted.
        values: One a seed; empty where there is no number.
        chance: Whether training, attacks or the metric draw anything; a number without chance is exact.
        fits: Keys of the fits that it rests on, seed by seed.
        samples: Per-sample values [seeds, samples], or None.
    """

    candidate: str
    metric: str
    column: Column
    state: State
    reason: str | None
    value: float | None
    low: float | None
    high: float | None
    flags: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    chance: bool = True
    fits: tuple[tuple[str, ...], ...] = ()
    samples: Samples | None = None

    @property
    def place(self) -> tuple[str, str, str]:
        """Where it stands."""
        return self.candidate, self.metric, self.column.name

    @property
    def bound(self) -> bool:
        """Whether the value is a bound, which may lie anywhere beyond."""
        return self.value is not None and Measured(self.value, self.low, self.high).bound is not None


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A run as it is compared, one that was kept or the one at hand: its study and cells.

    Attributes:
        study: As a result's JSON holds it.
        cells: In the result's order.
        provenance: As a result's JSON holds it.
    """

    study: JSON
    cells: tuple[Cell, ...]
    provenance: Mapping[str, Any]


def of_result(result: JSON, store: Path) -> Snapshot:
    """A result's cells with their per-sample values, which the store keeps.

    Args:
        result: Its JSON.
        store: The folder of finished work that the run used.

    Raises:
        UsageError: The store lacks a measurement of the run.
    """
    if not store.is_dir():
        raise UsageError(f"--store: got {str(store)!r}, which is no folder, expected the store that the run used. Check the path.")
    kept, outcomes = Store(store), {}
    uses: dict[tuple[str, str], list[Any]] = {}
    for use in result["measurements"]:
        uses.setdefault((use["candidate"], use["metric"]), []).append(use)
        if (outcome := kept.outcome(use["key"])) is None:
            raise UsageError(
                f"--store: got {str(store)!r} without the measurement of {use['metric']} on {use['candidate']}, expected the store "
                "that the run used. Give its --store, or run rank again."
            )
        outcomes[use["key"]] = outcome
    cells = []
    for row in result["scores"]:
        by_seed = sorted(uses.get((row["candidate"], row["metric"]), []), key=lambda use: use["seed"] or 0)
        found = [outcomes[use["key"]][row["column"]] for use in by_seed]
        cells.append(_cell(row, by_seed, [o.samples for o in found if isinstance(o, Measured)]))
    return Snapshot(result["study"], tuple(cells), result["provenance"])


def of_run(run: Path, store: Path) -> Snapshot:
    """A finished run's cells.

    Args:
        run: The folder that `rank` wrote, or the file of the result in it.
        store: The folder of finished work that it used.

    Raises:
        UsageError: There is no result, it was changed, or the store is not the run's.
    """
    found = document.read(str(run), "--run")
    try:
        return of_result(found.json, store)
    except KeyError as error:
        raise UsageError(f"--run: got {str(run)!r} without {error}, expected all of a result. Run rank again.") from None


def _cell(row: JSON, by_seed: Sequence[Any], samples: Sequence[Samples | None]) -> Cell:
    """A cell from a result's row and the measurements behind it."""
    measured = row["state"] == "measured"
    seeds = row["details"].get("seeds") if len(by_seed) > 1 else None
    whole = [np.asarray(values) for values in samples if values is not None] if measured else []
    stacked = len(whole) == len(by_seed) > 0 and len({values.shape for values in whole}) == 1
    return Cell(
        row["candidate"],
        row["metric"],
        Column(row["column"], row["direction"], row["unit"]),
        row["state"],
        row["reason"],
        row["value"],
        row["low"],
        row["high"],
        tuple(row["flags"]),
        tuple(seed["value"] for seed in seeds) if measured and seeds else ((row["value"],) if measured else ()),
        any(use["seed"] is not None for use in by_seed) or not by_seed,
        tuple(tuple(use["fits"]) for use in by_seed),
        np.stack(whole) if stacked else None,
    )
