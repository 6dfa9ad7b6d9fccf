"""What is computed for a fidelity: the candidates' scores as `rank` makes them, and rankers' orders of them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robustradar import guard, host, registry, screening
from robustradar.catalog import Catalog
from robustradar.contract.metric import Metric
from robustradar.contract.ranker import Ranker, ScoreTable
from robustradar.errors import Failure, PluginError, UsageError
from robustradar.fidelity.score import Found, Group, Judgeable, names, typed
from robustradar.fidelity.truth import Truth
from robustradar.filing import STORE
from robustradar.progress import Progress
from robustradar.registry import Request
from robustradar.values import Ranking, Result, Score, Skipped

# The registry's lists of what is put beside every score: what is free, and that with what takes training.
FREE, TRIVIAL = "fidelity/free", "fidelity/trivial"


@dataclass(frozen=True)
class Scoring:
    """How candidates are named and scored.

    Attributes:
        request: Metrics, data, threat and so on; its architectures are the table's candidates.
        trained: Whether the trivial scores that take training are computed, too.
        store: Folder of finished work.
        device: Where to compute.
        plugins: Files or modules to load beside the installed plugins.
        registry: A user's own registry.
    """

    request: Request = Request()
    trained: bool = True
    store: Path = STORE
    device: str = "auto"
    plugins: tuple[str, ...] = ()
    registry: Path | None = None

    def catalog(self) -> Catalog:
        """What is declared."""
        return Catalog(host.needed(self.plugins), registry.load(self.registry).aliases)


@dataclass(frozen=True)
class Entries:
    """What is entered to be judged beside the directed columns of the runs.

    Attributes:
        scores: Columns of the table, ``column:higher``, or mean ranks, ``a:higher+b:lower``, of its and the runs' columns.
        trivial: The same, of scores that others must beat.
        rankers: Rankers whose orders are scores.
    """

    scores: tuple[str, ...] = ()
    trivial: tuple[str, ...] = ()
    rankers: tuple[str, ...] = ()


def computed(
    truth: Truth,
    scoring: Scoring,
    entries: Entries | None = None,
    progress: Progress | None = None,
    command: str = "",
    listeners: Mapping[str, object] | None = None,
) -> Result:
    """Scores a table's candidates, with the trivial scores beside: `rank` on them, from the store as far as that goes.

    Args:
        truth: The candidates.
        scoring: How.
        entries: What will be judged; what is wrong in it is told before anything is trained.
        progress: Who is told.
        command: What was typed, for the result's provenance.
        listeners: Objects that hear of the run, by their names.

    Raises:
        UsageError: A candidate, score, name or number is wrong.
        StoreError: The store cannot be written; finished work is kept.
        PluginError: A plugin that is needed is broken.
    """
    candidates = tuple(labels(truth, scoring.catalog()).values())
    beside = registry.load(scoring.registry).studies[TRIVIAL if scoring.trained else FREE].metrics or ()
    request = dataclasses.replace(scoring.request, architectures=candidates, metrics=(*(scoring.request.metrics or ()), *beside))
    prepared = screening.prepare(None, request, registry_file=scoring.registry, plugins=scoring.plugins)
    _check(truth, entries or Entries(), prepared)
    return screening.rank(prepared, store=scoring.store, device=scoring.device, progress=progress, command=command, listeners=listeners)


def _check(truth: Truth, entries: Entries, prepared: screening.Prepared) -> None:
    """Tries what will be judged on columns without numbers."""
    study, catalog = prepared.study, prepared.catalog
    metrics = [(ref.label, catalog.bound("metric", ref, Metric)) for ref in study.metrics]
    nothing = Skipped("not measured yet")
    found = [
        Found(label, column, "", tuple(Score(c.label, label, column, nothing) for c in study.candidates), ())
        for label, metric in metrics
        for column in metric.columns
    ]
    named = dict(zip(names(found), found, strict=True))
    for option, texts in (("--score", entries.scores), ("--trivial", entries.trivial)):
        for text in texts:
            typed(option, text, truth, named)
    group = Group("", {(f.metric, f.column.name): f for f in found})
    for text in entries.rankers:
        with contextlib.suppress(PluginError):  # a ranker may well need numbers
            ranked(truth, group, text, catalog, {})


def labels(truth: Truth, catalog: Catalog) -> dict[str, str]:
    """What runs call the candidates.

    Raises:
        UsageError: A name is unknown, or two stand for the same network.
    """
    found: dict[str, str] = {}
    named: dict[str, str] = {}
    for name, line in zip(truth.candidates, truth.lines, strict=True):
        where = f"{truth.file}:{line}"
        found[name] = catalog.resolve("architecture", name, f"{where}: candidate").label
        if (earlier := named.setdefault(found[name], name)) != name:
            raise UsageError(f"{where}: got {name!r}, which is the same network as {earlier!r}, expected each once. Take one row out.")
    return found


def lenient(truth: Truth, catalog: Catalog) -> dict[str, str]:
    """The same for finished runs, whose plugins need not be here: names that say nothing stay as they are."""
    found = {}
    for name in truth.candidates:
        try:
            found[name] = catalog.resolve("architecture", name, "candidate").label
        except (UsageError, PluginError):
            found[name] = name
    return found


def ranked(truth: Truth, group: Group, text: str, catalog: Catalog, called: Mapping[str, str]) -> Judgeable:
    """A ranker's order of a group of runs as a score.

    Args:
        truth: The candidates.
        group: The runs.
        text: The ranker as it is typed.
        catalog: What is declared.
        called: What runs call a candidate, where it is not the name in the table.

    Raises:
        UsageError: There is no such ranker, or no such column.
        PluginError: It failed.
    """
    ref = catalog.resolve("ranker", text, "--ranker")
    culprit = catalog.culprit("ranker", ref)
    ranker = catalog.bound("ranker", ref, Ranker)
    cells = tuple(score for column in zip(*(found.outcomes for found in group.columns.values()), strict=True) for score in column)
    try:
        ranking = guard.call(culprit, lambda: ranker.rank(ScoreTable(cells, {})))
    except Failure as failure:
        raise PluginError(f"{failure}. Leave out --ranker {text}.") from None
    if not isinstance(ranking, Ranking):
        raise PluginError(f"{culprit}: rank() returned {type(ranking).__name__}, expected robustradar.Ranking. Leave out --ranker {text}.")
    ranks = {row.candidate: float(-row.rank) for row in ranking.rows}
    values = np.array([ranks.get(called.get(name, name), np.nan) for name in truth.candidates])
    used = [f for f in group.columns.values() if f.column.name in ranking.columns] or list(group.columns.values())
    work = [{key: each for found in used if found.work for key, each in found.work[i].items()} for i in range(len(values))]
    reasons = Counter(reason for _, reason in ranking.unranked)
    return Judgeable(f"ranker {ref.label}", "rank", values, reasons, tuple(work))
