"""The main job from end to end: a request to a study, a study to a plan, a plan to a result. The command line and scripts call this."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from robustradar import data as datum
from robustradar import guard, host, notice, registry
from robustradar import plan as planning
from robustradar.catalog import Catalog
from robustradar.contract.attack import Attack, obstacle
from robustradar.contract.dataset import Data, Dataset
from robustradar.contract.metric import Metric
from robustradar.contract.ranker import Ranker, ScoreTable
from robustradar.contract.reporter import Reporter
from robustradar.errors import Failure, PluginError, UsageError
from robustradar.plan import Plan
from robustradar.progress import Progress, Silent
from robustradar.provenance import engine, provenance
from robustradar.registry import Request
from robustradar.values import Ranking, Ref, Result, Score, Skipped, Study, Task, Threat, Weights, norm_order, number, number_text

UNNAMED = "rank"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A study with all names resolved, its plan, and its data.

    Attributes:
        study: What is asked.
        catalog: What is declared.
        data: Loaded and checked.
        plan: What it comes to.
    """

    study: Study
    catalog: Catalog
    data: Data
    plan: Plan

    def reporters(self) -> list[tuple[str, Reporter]]:
        """Who is to be named when it fails, and the reporter."""
        refs = self.study.reporters
        return [(self.catalog.culprit("reporter", ref), self.catalog.bound("reporter", ref, Reporter)) for ref in refs]


def prepare(
    name: str | None,
    flags: Request,
    *,
    registry_file: Path | None = None,
    plugins: Iterable[str] = (),
    weights: Iterable[str] = (),
    others: Iterable[Prepared] = (),
) -> Prepared:
    """Resolves a request; everything that can be wrong in it is found here, before anything is trained.

    Args:
        name: A study of the registry, or None.
        flags: What overrides it.
        registry_file: A user's own registry.
        plugins: Files or modules to load beside the installed plugins.
        weights: ``candidate=file``: candidates that are not trained but taken with these weights.
        others: Studies that are prepared with the same registry and plugins; data that they have are not loaded again.

    Raises:
        UsageError: A name, parameter, number or file is wrong.
        PluginError: A plugin that is needed is broken.
    """
    known = registry.load(registry_file)
    catalog = Catalog(host.needed(tuple(plugins)), known.aliases)
    request = known.study(name, flags)
    given = _weights(catalog, weights)
    if not request.architectures and not given:
        raise UsageError("--arch: got no candidate, expected at least one. Give --arch plugin/name, or the name of a STUDY.")
    place = partial(known.place, name, flags)
    typed = catalog.expanded("architecture", request.architectures or (), place("architectures", "--arch"))
    candidates = tuple(dict.fromkeys([*_refs(catalog, "architecture", typed, place("architectures", "--arch")), *given]))
    attack = catalog.resolve("attack", request.attack or "", place("attack", "--attack"))
    metrics = _refs(catalog, "metric", request.metrics or (), place("metrics", "--metric"))
    recipe = catalog.resolve("recipe", request.recipe or "", place("recipe", "--recipe"))
    ranker = catalog.resolve("ranker", request.ranker or "", place("ranker", "--ranker"))
    reporters = _refs(catalog, "reporter", request.reporters or (), place("reporters", "reporters"))
    p = _norm(request.norm or "", place("norm", "--norm"))
    eps = _strength(request.eps or "", place("eps", "--eps"))
    seeds = request.seeds or 0
    if not metrics:
        raise UsageError("--metric: got no metric, expected at least one. Give --metric plugin/name.")
    if seeds < 1:
        raise UsageError(f"--seeds: got {seeds}, expected at least 1.")
    ref = catalog.resolve("dataset", request.data or "", place("data", "--data"))
    data, task = next(((other.data, other.study.task) for other in others if other.study.task.data == ref), None) or _data(catalog, ref)
    threat = Threat(p, eps, task.bounds)
    _check_strength(threat, task, place("eps", "--eps"))
    if reason := obstacle(catalog.bound("attack", attack, Attack), p, task.shape, task.classes):
        raise UsageError(f"--attack {attack.label}: {reason}. Choose another attack (robustradar plugins list attack).")
    study = Study(
        name or UNNAMED,
        candidates,
        task,
        threat,
        attack,
        recipe,
        metrics,
        ranker,
        reporters,
        tuple(range(seeds)),
        {ref.label: found for ref, found in given.items()},
    )
    _check_ranker(study, catalog)
    return Prepared(study, catalog, data, planning.make(study, catalog, engine()))


def rank(
    prepared: Prepared,
    *,
    store: Path,
    device: str = "auto",
    progress: Progress | None = None,
    command: str = "",
    listeners: Mapping[str, object] | None = None,
) -> Result:
    """Trains what is not trained yet, measures, and ranks.

    Args:
        prepared: The study and its plan.
        store: Folder of finished work.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        progress: Who is told.
        command: What was typed, for the result's provenance.
        listeners: Objects that hear of the run by the hooks that plugins have for it, such as `events.EventLog`, by their names.

    Raises:
        UsageError: The device is not there, or the ranker is asked for a column that no metric yields.
        StoreError: The store cannot be written; finished work is kept.
        PluginError: The ranker failed.
    """
    from robustradar import scores
    from robustradar.execute import Execution
    from robustradar.store import Store
    from robustradar.training.device import DeviceData, threads
    from robustradar.training.device import device as device_of

    study, catalog = prepared.study, prepared.catalog
    where = device_of(device)
    kept = Store(store)
    data = DeviceData.of(prepared.data, study.task, where)
    told = progress or Silent()
    for plugin in catalog.plugins:
        if plugin.error:
            told.note(f"plugin {plugin.name!r} ({plugin.origin}) is {plugin.state} and left out: {plugin.error}")
    if hearing := notice.listeners(catalog.plugins, listeners or {}):
        told = notice.Notices(told, hearing, study, kept.fit)
    with threads(study.task):
        with guard.device_watched():
            executed = Execution(catalog, data, kept, told).run(prepared.plan)
    table = scores.table(prepared.plan, executed.outcomes, catalog)
    culprit = catalog.culprit("ranker", study.ranker)
    ranker = catalog.bound("ranker", study.ranker, Ranker)
    advice = "All measurements are kept in the store: run again with another --ranker."
    try:
        ranking = guard.call(culprit, lambda: ranker.rank(table))
    except Failure as failure:
        raise PluginError(f"{failure}. {advice}") from None
    if not isinstance(ranking, Ranking):
        raise PluginError(f"{culprit}: rank() returned {type(ranking).__name__}, expected robustradar.Ranking. {advice}")
    origin = provenance(catalog.plugins, str(where), command, study.seeds)
    keys = {(m.candidate.label, m.metric.label, m.seed): m.key for m in prepared.plan.measurements}
    measurements = tuple(replace(use, key=keys[use.candidate, use.metric, use.seed]) for use in executed.measurements)
    known = {metric.label: catalog.bound("metric", metric, Metric).evidence for metric in study.metrics}
    evidence = {label: sentence for label, sentence in known.items() if sentence}
    return Result(study, table.scores, ranking, executed.fits, origin, measurements, evidence)


def _refs(catalog: Catalog, kind: str, texts: Iterable[str], where: str) -> tuple[Ref, ...]:
    """References without repetitions, in the order given."""
    return tuple(dict.fromkeys(catalog.resolve(kind, text, where) for text in texts))


def _weights(catalog: Catalog, typed: Iterable[str]) -> dict[Ref, Weights]:
    """Candidates that come with weights.

    Raises:
        UsageError: It is not of the form candidate=file, the file is not there, or a candidate has two.
    """
    found: dict[Ref, Weights] = {}
    for text in typed:
        candidate, equals, path = text.rpartition("=")
        if not equals or not candidate:
            raise UsageError(f"--weights: got {text!r}, expected candidate=file, for example papers/mlp=mlp.safetensors.")
        if not Path(path).is_file():
            raise UsageError(f"--weights: got {text!r}, whose file {path!r} is not there. Check the path.")
        with Path(path).open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        ref, given = catalog.resolve("architecture", candidate, "--weights"), Weights(digest, path)
        other = found.setdefault(ref, given)
        if other.digest != digest:
            advice = "Score each of them in a run of its own."
            raise UsageError(f"--weights: got two files for {ref.label}, {other.path!r} and {path!r}, expected one. {advice}")
    return found


def _data(catalog: Catalog, ref: Ref) -> tuple[Data, Task]:
    """A data set, checked, and the facts of it."""
    data = loaded(catalog, ref)
    return data, datum.task(data, ref)


def loaded(catalog: Catalog, ref: Ref) -> Data:
    """A data set, checked.

    Raises:
        DataError: The data are missing or could only give wrong numbers.
        PluginError: The data set failed, or returned something else.
    """
    dataset = catalog.bound("dataset", ref, Dataset)
    try:
        data = guard.call(catalog.culprit("dataset", ref), dataset.load)
    except Failure as failure:
        raise PluginError(str(failure)) from None
    if not isinstance(data, Data):
        raise PluginError(f"{catalog.culprit('dataset', ref)}: load() returned {type(data).__name__}, expected robustradar.Data.")
    datum.check(data, f"--data {ref.label}")
    return data


def _check_ranker(study: Study, catalog: Catalog) -> None:
    """Shows the ranker a table without numbers, so that a column which no metric yields is told before anything is trained."""
    ranker = catalog.bound("ranker", study.ranker, Ranker)
    columns = [(metric.label, column) for metric in study.metrics for column in catalog.bound("metric", metric, Metric).columns]
    scores = tuple(Score(c.label, metric, column, Skipped("not measured yet")) for c in study.candidates for metric, column in columns)
    with contextlib.suppress(Failure):  # it may well need numbers; what is wrong with it then shows when there are some
        guard.call(catalog.culprit("ranker", study.ranker), lambda: ranker.rank(ScoreTable(scores, {})))


def _norm(text: str, where: str) -> float:
    try:
        return norm_order(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{where}: got {text!r}, expected linf, l2, l1 or an order p of at least 1.") from None


def _strength(text: str, where: str) -> float:
    try:
        eps = number(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{where}: got {text!r}, expected a number such as 8/255 or 0.1.") from None
    if eps < 0:
        raise UsageError(f"{where}: got {text}, expected at least 0. Give the strength in the data's own units, such as 8/255.")
    return eps


def _check_strength(threat: Threat, task: Task, where: str) -> None:
    """Refuses a ball that holds the whole box: 8 for 8/255 is the usual slip."""
    if threat.bounds is None:
        return
    low, high = threat.bounds
    diameter = (high - low) * (1 if math.isinf(threat.p) else math.prod(task.shape) ** (1 / threat.p))
    if threat.eps >= diameter:
        hint = f" Did you mean {threat.eps:g}/255?" if (threat.eps / 255) < diameter else ""
        raise UsageError(
            f"{where}: got {number_text(threat.eps)}, expected less than {diameter:g}, the largest {threat.norm} distance "
            f"in [{low:g}, {high:g}].{hint}"
        )
