"""The file of a kept run that later runs are compared with.

JSON, so that it can be committed, reviewed and read anywhere without unpickling. Right and wrong answers are packed to a bit each, in
base64: 168 characters for 1,000 samples; other per-sample values keep their floats, 5.3 characters for a float32.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from robustradar import filing
from robustradar.errors import UsageError
from robustradar.gate.protocol import UnlikeError
from robustradar.gate.snapshot import Cell, Samples, Snapshot
from robustradar.values import JSON, Column

SCHEMA = "robustradar-baseline/1"


def read(file: Path) -> Snapshot:
    """The run that was kept.

    Raises:
        UsageError: It cannot be read, or is none.
    """
    advice = "Check the path, or save it anew by robustradar baseline save."
    document = filing.read(file, SCHEMA, "--baseline", advice)
    try:
        cells = tuple(_cell(dict(row)) for row in document["cells"])
        return Snapshot(document["study"], cells, document["provenance"])
    except (KeyError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise UsageError(f"--baseline: got {str(file)!r}, which is damaged ({what}), expected it as it was saved. {advice}") from None


def write(kept: Snapshot, file: Path) -> None:
    """Keeps a run. The file is written whole, or not at all.

    Raises:
        UnlikeError: A cell failed: it could never be judged.
        StoreError: The file cannot be written.
    """
    failed = [cell for cell in kept.cells if cell.state == "failed"]
    if failed:
        first = f"{failed[0].column.name} of {failed[0].candidate}: {failed[0].reason}"
        raise UnlikeError(
            f"--baseline: got a run in which {len(failed)} of {len(kept.cells)} cells failed ({first}), expected none. "
            "Mend or drop what fails; nothing was written."
        )
    text = json.dumps(_document(kept), indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    filing.put(file, text, "--baseline", "Choose another place.")


def _document(kept: Snapshot) -> JSON:
    """The document of schema ``robustradar-baseline/1``."""
    return {"schema": SCHEMA, "study": kept.study, "provenance": dict(kept.provenance), "cells": [_row(cell) for cell in kept.cells]}


def _row(cell: Cell) -> JSON:
    """A cell as it is saved."""
    row = {name: value for name, value in vars(cell).items() if name not in ("column", "samples")}
    return {**row, "column": vars(cell.column), "samples": None if cell.samples is None else _packed(cell.samples)}


def _cell(row: dict[str, Any]) -> Cell:
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
