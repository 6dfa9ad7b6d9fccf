"""What is kept of a run to compare later runs with: its study, its scores seed by seed, and the per-sample values behind them.

One JSON file, so that it can be committed, reviewed and read anywhere without unpickling. Right and wrong answers are packed to a bit
each, in base64: 168 characters for 1,000 samples; other per-sample values keep their floats, 5.3 characters for a float32.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robustradar import atomic
from robustradar.errors import RobustRadarError, StoreError, UsageError
from robustradar.store import Store
from robustradar.values import JSON, Column, Measured

SCHEMA = "robustradar-baseline/1"
RESULT_SCHEMA = "robustradar/1"
_PROTOCOL = ("threat", "attack", "recipe", "seeds")

State = Literal["measured", "skipped", "failed"]
Samples = NDArray[np.generic]


class UnlikeError(RobustRadarError):
    """What is to be compared cannot be: cells failed, or two runs followed different protocols (exit code 3)."""

    exit_code = 3


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

    def json(self) -> JSON:
        """As a baseline holds it."""
        kept = {name: value for name, value in vars(self).items() if name not in ("column", "samples")}
        return {**kept, "column": vars(self.column), "samples": None if self.samples is None else _packed(self.samples)}


@dataclass(frozen=True, eq=False)
class Baseline:
    """What is compared: a run's study and cells.

    Attributes:
        study: As a result's JSON holds it.
        cells: In the result's order.
        provenance: As a result's JSON holds it.
    """

    study: JSON
    cells: tuple[Cell, ...]
    provenance: Mapping[str, Any]

    def json(self) -> JSON:
        """The document of schema ``robustradar-baseline/1``."""
        return {"schema": SCHEMA, "study": self.study, "provenance": dict(self.provenance), "cells": [cell.json() for cell in self.cells]}


def of_result(document: JSON, store: Path) -> Baseline:
    """A result's cells with their per-sample values, which the store keeps.

    Args:
        document: A result's JSON.
        store: The folder of finished work that the run used.

    Raises:
        UsageError: The store lacks a measurement of the run.
    """
    if not store.is_dir():
        raise UsageError(f"--store: got {str(store)!r}, which is no folder, expected the store that the run used. Check the path.")
    kept, outcomes = Store(store), {}
    uses: dict[tuple[str, str], list[Any]] = {}
    for use in document["measurements"]:
        uses.setdefault((use["candidate"], use["metric"]), []).append(use)
        if (outcome := kept.outcome(use["key"])) is None:
            raise UsageError(
                f"--store: got {str(store)!r} without the measurement of {use['metric']} on {use['candidate']}, expected the store "
                "that the run used. Give its --store, or run rank again."
            )
        outcomes[use["key"]] = outcome
    cells = []
    for row in document["scores"]:
        by_seed = sorted(uses.get((row["candidate"], row["metric"]), []), key=lambda use: use["seed"] or 0)
        found = [outcomes[use["key"]][row["column"]] for use in by_seed]
        cells.append(_cell(row, by_seed, [o.samples for o in found if isinstance(o, Measured)]))
    return Baseline(document["study"], tuple(cells), document["provenance"])


def of_run(folder: Path, store: Path) -> Baseline:
    """A finished run's cells.

    Raises:
        UsageError: The folder holds no result, or the store is not the run's.
    """
    file = folder / "scores.json"
    document = _document(file, "--run", RESULT_SCHEMA, "Give the --out of a rank")
    try:
        return of_result(document, store)
    except (KeyError, TypeError) as error:
        raise UsageError(f"--run: got {str(file)!r} without {error}, expected all of a result. Run rank again.") from None


def read(file: Path) -> Baseline:
    """A baseline from its file.

    Raises:
        UsageError: It cannot be read, or is none.
    """
    advice = "Check the path, or save it anew by robustradar baseline save"
    document = _document(file, "--baseline", SCHEMA, advice)
    try:
        cells = tuple(_read_cell(dict(row)) for row in document["cells"])
        return Baseline(document["study"], cells, document["provenance"])
    except (KeyError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise UsageError(f"--baseline: got {str(file)!r}, which is damaged ({what}), expected it as it was saved. {advice}.") from None


def write(baseline: Baseline, file: Path) -> None:
    """Writes a baseline whole, or not at all.

    Raises:
        UnlikeError: A cell failed: it could never be judged.
        StoreError: The file cannot be written.
    """
    failed = [cell for cell in baseline.cells if cell.state == "failed"]
    if failed:
        first = f"{failed[0].column.name} of {failed[0].candidate}: {failed[0].reason}"
        raise UnlikeError(
            f"--baseline: got a run in which {len(failed)} of {len(baseline.cells)} cells failed ({first}), expected none. "
            "Mend or drop what fails; nothing was written."
        )
    text = json.dumps(baseline.json(), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    replace_text(file, text, "--baseline")


def replace_text(file: Path, text: str, option: str) -> None:
    """Writes a file whole, or not at all.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic.replace(file, text)
    except OSError as error:
        raise StoreError(f"{option}: got {str(file)!r}, which cannot be written ({error.strerror}). Choose another place.") from None


def compare_protocols(before: JSON, now: JSON) -> None:
    """Refuses to compare studies of different protocols. More candidates or metrics than before do no harm.

    Raises:
        UnlikeError: With every field that differs.
    """
    then, there = (_leaves({name: study[name] for name in _PROTOCOL} | {"data": study["data"]["fingerprint"]}) for study in (before, now))
    found = [
        f"{field} is {json.dumps(there.get(field))} and was {json.dumps(then.get(field))}"
        for field in sorted(then | there)
        if then.get(field) != there.get(field)
    ]
    for field in ("candidates", "metrics"):
        found += [f"{field} lack {name}" for name in before[field] if name not in now[field]]
    for name in before["candidates"]:
        if name in now["candidates"] and (name in before["weights"]) != (name in now["weights"]):
            then_, now_ = ("given" if name in study["weights"] else "trained" for study in (before, now))
            found.append(f"weights of {name} are {now_} and were {then_}")
    if found:
        raise UnlikeError(
            f"check: got another protocol than the baseline's: {'; '.join(found)}; expected the same. "
            "Compare runs of one protocol, or save a new baseline."
        )


def surroundings(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """Where versions, Python, device or the training code differ, which may explain what else does."""
    then, there = (_leaves({name: origin.get(name) for name in ("versions", "python", "device", "engine")}) for origin in (before, now))
    both = [field for field in sorted(then | there) if then.get(field) != there.get(field)]
    return tuple(f"{field.removeprefix('versions.')}: {then.get(field)} before, {there.get(field)} now" for field in both)


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


def _document(file: Path, option: str, schema: str, advice: str) -> Any:
    """A JSON file of a known schema."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{option}: got {str(file)!r}, which cannot be read ({error.strerror}). {advice}.") from None
    except ValueError as error:
        raise UsageError(f"{option}: got {str(file)!r}, which is no JSON ({error}), expected {schema}. {advice}.") from None
    found = document.get("schema") if isinstance(document, dict) else type(document).__name__
    if found != schema:
        raise UsageError(f"{option}: got {str(file)!r} of schema {found!r}, expected {schema!r}. {advice}.")
    return document


def _read_cell(row: dict[str, Any]) -> Cell:
    """A cell as it was saved."""
    samples = row.pop("samples")
    row |= {name: tuple(row[name]) for name in ("flags", "values")}
    column, fits = Column(**row.pop("column")), tuple(map(tuple, row.pop("fits")))
    return Cell(**row, column=column, fits=fits, samples=None if samples is None else _unpacked(samples))


def _packed(samples: Samples) -> JSON:
    """Per-sample values as text: a bit each where they are truths, else their floats, little end first."""
    if samples.dtype == np.bool_:
        dtype, content = "bool", np.packbits(samples.astype(np.bool_)).tobytes()
    else:
        dtype = "float32" if samples.dtype == np.float32 else "float64"
        content = samples.astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    return {"dtype": dtype, "shape": list(samples.shape), "base64": base64.b64encode(content).decode("ascii")}


def _unpacked(packed: JSON) -> Samples:
    """What `_packed` was given.

    Raises:
        ValueError: It is something else.
    """
    seeds, n = map(int, packed["shape"])
    content = base64.b64decode(packed["base64"], validate=True)
    if packed["dtype"] == "bool":
        bits = np.frombuffer(content, np.uint8)
        if len(bits) != -(-seeds * n // 8):
            raise ValueError(f"{len(bits)} bytes for {seeds} x {n} bits")
        return np.unpackbits(bits, count=seeds * n).reshape(seeds, n).astype(np.bool_)
    if packed["dtype"] not in ("float32", "float64"):
        raise ValueError(f"samples of dtype {packed['dtype']!r}")
    values = np.frombuffer(content, np.dtype(packed["dtype"]).newbyteorder("<")).astype(packed["dtype"]).reshape(seeds, n)
    if not np.isfinite(values).all():
        raise ValueError("samples that are not finite")
    return values


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested mapping's values by their dotted names, tuples as the lists that they are in a file."""
    if not isinstance(value, dict):
        return {prefix: list(value) if isinstance(value, tuple) else value}
    return {name: leaf for key, inner in value.items() for name, leaf in _leaves(inner, f"{prefix}.{key}".strip(".")).items()}
