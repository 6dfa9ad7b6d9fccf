"""A run to compare: the baseline's own study scored again, from the store as far as that goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from robustradar import screening
from robustradar.errors import UsageError
from robustradar.filing import STORE
from robustradar.gate.protocol import compare_protocols
from robustradar.gate.snapshot import Snapshot, of_result
from robustradar.progress import Progress
from robustradar.registry import Request
from robustradar.values import JSON

# Options of rank that a baseline's study holds, and nobody gives to check.
_NAMED = ("--arch", "--data", "--attack", "--recipe", "--metric", "--ranker")


@dataclass(frozen=True)
class Rescoring:
    """Where and with what a baseline's study is scored again.

    Attributes:
        store: Folder of finished work.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        weights: ``candidate=file`` for every candidate whose weights were given to the baseline, too.
        plugins: Files or modules to load beside the installed plugins.
        registry: A user's own registry, for short names inside parameters.
    """

    store: str | Path = STORE
    device: str = "auto"
    weights: Sequence[str] = ()
    plugins: Sequence[str] = ()
    registry: str | Path | None = None


def rescored(baseline: Snapshot, scoring: Rescoring, progress: Progress | None = None, command: str = "") -> Snapshot:
    """The baseline's study as it scores now. Nothing is trained before it is clear that the protocols agree.

    Raises:
        UnlikeError: The data are others than the baseline's, or weights are given where they were trained.
        UsageError: A name that the study uses is gone, or weights are missing.
        PluginError: A plugin that is needed is broken.
        StoreError: The store cannot be written.
    """
    study, store = baseline.study, Path(scoring.store)
    registry = None if scoring.registry is None else Path(scoring.registry)
    try:
        prepared = screening.prepare(None, _request(study), registry_file=registry, plugins=scoring.plugins, weights=scoring.weights)
    except UsageError as error:
        if not str(error).startswith(_NAMED):
            raise
        raise UsageError(f"{error} It stands in the baseline's study: give the --plugin and the --registry that rank had.") from None
    here = prepared.study.json()
    for candidate in study["weights"]:
        if candidate not in here["weights"]:
            raise UsageError(
                f"--weights: got none for {candidate}, expected a file, as the baseline's were given. Give --weights '{candidate}=FILE'."
            )
    compare_protocols(study, here)
    result = screening.rank(prepared, store=store, device=scoring.device, progress=progress, command=command)
    return of_result(result.json(), store)


def _request(study: JSON) -> Request:
    """A study's JSON as it would be typed."""
    return Request(
        architectures=tuple(study["candidates"]),
        data=study["data"]["id"],
        norm=study["threat"]["norm"],
        eps=repr(study["threat"]["eps"]),
        attack=study["attack"],
        recipe=study["recipe"]["id"],
        metrics=tuple(study["metrics"]),
        ranker=study["ranker"],
        reporters=(),
        seeds=len(study["seeds"]),
    )
