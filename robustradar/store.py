"""The content-addressed cache of fits and outcomes: the only module that knows where they lie.

An entry is a folder named by its key. It is written elsewhere and renamed into place when it is whole, so that a kill at any moment leaves
whole entries and scraps in ``tmp``, never half an entry. Weights are safetensors with their digest beside them. A fit in progress is what
``torch.save`` writes, behind its digest; only torch's weights-only loader reads it, which runs no code that a file holds.

    fits/ab/abcd…/fit.json, weights.safetensors          outcomes/ab/abcd…/outcome.json, samples.safetensors
    progress/abcd….pt                                    format
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError

from robustradar.errors import Failure, StoreError
from robustradar.values import Cost, FitRecord, Measured, Outcome, canonical, outcome_of, stated

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
REMEMBERED = "(kept from an earlier run; it is tried again with another --store)"
FREE = Cost(0, 0, 0.0)
_SCRAPS_LIVE = 24 * 3600.0


class Store:
    """A folder of finished work that several processes may share.

    Args:
        root: The folder; made when absent.

    Raises:
        StoreError: It cannot be written, or was written by another format of the store.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._failed: set[str] = set()
        try:
            for name in ("fits", "outcomes", "locks", "tmp"):
                (root / name).mkdir(parents=True, exist_ok=True)
            mark = root / "format"
            if not mark.exists():
                # Renamed into place, so that neither a kill nor another process ever meets it empty.
                scrap = root / "tmp" / uuid.uuid4().hex
                scrap.write_text(f"{FORMAT}\n")
                os.replace(scrap, mark)
            found = mark.read_bytes().strip().decode(errors="replace")
            self._sweep()
        except OSError as error:
            raise StoreError(f"--store: got {str(root)!r}, which cannot be written ({_reason(error)}). Choose another folder.") from None
        if not found.isdigit():
            advice = f"If this version of RobustRadar wrote the store, write {FORMAT} into that file; else choose another folder."
            raise StoreError(f"--store: got {str(root)!r} with a damaged file 'format', expected the number {FORMAT} in it. {advice}")
        if found != str(FORMAT):
            raise StoreError(f"--store: got {str(root)!r} of format {found}, expected {FORMAT}. Choose another folder.")

    def fit(self, key: str) -> FitRecord | Failure | None:
        """What is known of a fit: its record, the failure that it ended in, or None. A damaged record counts as absent.

        The reason of a failure that was not saved here says that it comes from an earlier run.
        """
        content = self._read(self._entry("fits", key), "fit.json")
        if content is None:
            return None
        if "failure" in content:
            culprit, reason = content["failure"]["culprit"], content["failure"]["reason"]
            return Failure(culprit, reason if key in self._failed else f"{reason} {REMEMBERED}")
        cost = Cost(**content["cost"])
        return FitRecord(key, content["spec"], tuple(content["epochs"]), content["selected_epoch"], cost, tuple(content["flags"]))

    def weights(self, key: str) -> Path:
        """Where a fit's weights lie."""
        return self._entry("fits", key) / "weights.safetensors"

    def has_fit(self, key: str) -> bool:
        """Whether a fit need not be trained."""
        return (self._entry("fits", key) / "fit.json").is_file()

    def has_outcome(self, key: str) -> bool:
        """Whether a measurement need not be made."""
        return (self._entry("outcomes", key) / "outcome.json").is_file()

    def state(self, key: str) -> dict[str, Tensor] | None:
        """A fit's weights and buffers, on the CPU; None, and the entry put away, where they are not what was written."""
        from safetensors.torch import load_file

        entry = self._entry("fits", key)
        content = self._read(entry, "fit.json")
        if content is None or content.get("weights_sha256") != _sha256(self.weights(key)):
            self._discard(entry)
            return None
        return load_file(self.weights(key))

    def save_fit(self, record: FitRecord, state: Mapping[str, Tensor]) -> None:
        """Keeps a finished fit."""
        from safetensors.torch import save_file

        def write(folder: Path) -> None:
            # A copy of its own for every tensor: safetensors refuses tied weights.
            save_file({name: value.contiguous().clone() for name, value in state.items()}, folder / "weights.safetensors")
            content = {
                "spec": record.spec,
                "epochs": record.epochs,
                "selected_epoch": record.selected_epoch,
                "cost": vars(record.cost),
                "flags": record.flags,
                "weights_sha256": _sha256(folder / "weights.safetensors"),
            }
            _write_json(folder / "fit.json", content)

        self._publish("fits", record.key, write)

    def save_failure(self, key: str, spec: Mapping[str, Any], failure: Failure) -> None:
        """Keeps the news that a fit fails, so that it is not tried for nothing again."""
        content = {"spec": spec, "failure": {"culprit": failure.culprit, "reason": failure.reason}}
        self._publish("fits", key, lambda folder: _write_json(folder / "fit.json", content))
        self._failed.add(key)

    def outcome(self, key: str) -> dict[str, Outcome] | None:
        """A measurement's outcomes by column; None, and the entry put away, where the samples are not what was written."""
        from safetensors.numpy import load_file

        entry = self._entry("outcomes", key)
        content = self._read(entry, "outcome.json")
        if content is None:
            return None
        file = entry / "samples.safetensors"
        if content.get("samples_sha256") != _sha256(file):
            self._discard(entry)
            return None
        samples = load_file(file) if file.exists() else {}
        return {column: outcome_of(row, samples.get(column)) for column, row in content["columns"].items()}

    def cost(self, key: str) -> Cost | None:
        """What a measurement in the store cost; None where it is not there."""
        content = self._read(self._entry("outcomes", key), "outcome.json") or {}
        return Cost(**content["cost"]) if "cost" in content else None

    def further(self, key: str) -> tuple[str, ...]:
        """Keys of the fits that a measurement in the store asked for while it was made."""
        return tuple((self._read(self._entry("outcomes", key), "outcome.json") or {}).get("further", ()))

    def save_outcome(self, key: str, outcomes: Mapping[str, Outcome], cost: Cost = FREE, further: Sequence[str] = ()) -> None:
        """Keeps a finished measurement with what it cost, the fits that it asked for, and the per-sample values beside it."""
        from safetensors.numpy import save_file

        measured = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Measured)}
        samples = {name: np.ascontiguousarray(o.samples) for name, o in measured.items() if o.samples is not None}

        def write(folder: Path) -> None:
            if samples:
                save_file(samples, folder / "samples.safetensors")
            columns = {name: stated(outcome) for name, outcome in outcomes.items()}
            sha256 = _sha256(folder / "samples.safetensors")
            content = {"columns": columns, "cost": vars(cost), "further": list(further), "samples_sha256": sha256}
            _write_json(folder / "outcome.json", content)

        self._publish("outcomes", key, write)

    def checkpoint(self, key: str) -> Checkpoint:
        """Where a fit in progress is kept; gone when the fit is finished."""
        return Checkpoint(self.root / "progress" / f"{key}.pt")

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Only one process works on a key at a time; the others wait and then find it done.

        Raises:
            StoreError: The lock cannot be written.
        """
        held = FileLock(self.root / "locks" / f"{key}.lock")
        try:
            held.acquire()
        except OSError as error:
            raise self._unwritten(error) from None
        try:
            yield
        finally:
            held.release()

    def _entry(self, kind: str, key: str) -> Path:
        return self.root / kind / key[:2] / key

    def _read(self, entry: Path, name: str) -> dict[str, Any] | None:
        """An entry's JSON; a damaged entry is put away and counts as absent."""
        try:
            content = json.loads((entry / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict):
            self._discard(entry)
            return None
        return content

    def _publish(self, kind: str, key: str, write: Callable[[Path], None]) -> None:
        """Writes an entry in a scrap folder, makes it durable, and renames it into place."""
        scrap, entry = self.root / "tmp" / uuid.uuid4().hex, self._entry(kind, key)
        try:
            scrap.mkdir()
            write(scrap)
            for file in scrap.iterdir():
                _sync(file)
            _sync(scrap)
            entry.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.rename(scrap, entry)
            except OSError:
                if not entry.is_dir():
                    raise
                shutil.rmtree(scrap)  # another process was first; what it wrote is the same
            _sync(entry.parent)
        except (OSError, SafetensorError) as error:  # a full disk is the latter where safetensors writes
            shutil.rmtree(scrap, ignore_errors=True)
            raise self._unwritten(error) from None

    def _unwritten(self, error: Exception) -> StoreError:
        return StoreError(
            f"store {self.root}: writing failed ({_reason(error)}). What was finished is kept: "
            "make room or mend the permissions, and run the same command again."
        )

    def _discard(self, entry: Path) -> None:
        """Puts a damaged entry out of the way, for a look at it later."""
        shutil.rmtree(self.root / "damaged" / entry.name, ignore_errors=True)
        (self.root / "damaged").mkdir(exist_ok=True)
        if entry.exists():
            os.replace(entry, self.root / "damaged" / entry.name)

    def _sweep(self) -> None:
        """Removes what killed processes left in ``tmp`` a day ago or earlier."""
        for scrap in (self.root / "tmp").iterdir():
            try:
                old = time.time() - scrap.stat().st_mtime > _SCRAPS_LIVE
            except FileNotFoundError:
                continue  # another process has just put it in place
            if old:
                shutil.rmtree(scrap, ignore_errors=True)


class Checkpoint:
    """A fit in progress: one file, replaced as a whole, its digest first, read with torch's weights-only loader.

    Args:
        file: Where it lies.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> dict[str, Any] | None:
        """What was written last; None where there is nothing, or nothing that can be read."""
        import torch

        try:
            content = memoryview(self._file.read_bytes())
            if content[:32] != hashlib.sha256(content[32:]).digest():
                return None
            state: dict[str, Any] = torch.load(io.BytesIO(content[32:]), map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
            return None
        return state

    def write(self, state: dict[str, Any]) -> None:
        """Replaces what was written before.

        Raises:
            StoreError: It cannot be written.
        """
        import torch

        scrap = self._file.with_suffix(f".{uuid.uuid4().hex}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            content = io.BytesIO()
            torch.save(state, content)
            with scrap.open("wb") as file:
                file.write(hashlib.sha256(content.getbuffer()).digest())
                file.write(content.getbuffer())
            os.replace(scrap, self._file)
        except OSError as error:
            scrap.unlink(missing_ok=True)
            raise StoreError(
                f"store {self._file.parent.parent}: a checkpoint could not be written ({error}). What was finished is kept: "
                "make room or mend the permissions, and run the same command again."
            ) from None

    def remove(self) -> None:
        """The fit is finished."""
        self._file.unlink(missing_ok=True)


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(canonical(content) + "\n", encoding="utf-8")


def _sync(path: Path) -> None:
    """Makes a file or folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sha256(file: Path) -> str:
    """A file's digest; empty where it is missing."""
    if not file.is_file():
        return ""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
