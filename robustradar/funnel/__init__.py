"""Several studies in a row: cheap metrics on all candidates, dearer ones on those who may still be the best.

Each stage is a study. After each but the last, as many of the first by its ranking go on as hold the best of *all* candidates with the
stage's share of the chance, if ranking and truth are a Gaussian copula of the stage's Kendall's tau (`numerics.selection`), and besides
everybody whose 95 % rank interval reaches as far. In the order of one column the best one's place among those who are left is never
worse than among all, so that by the union bound the stages' errors add up to at most 1 - keep_best, however their rankings depend on
each other. Ranks that are averaged over columns shift a little when others leave: there the bound holds nearly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from robustradar import plan, registry, screening
from robustradar.errors import UsageError, unknown
from robustradar.progress import Progress
from robustradar.provenance import engine
from robustradar.registry import Request
from robustradar.report import write
from robustradar.screening import Prepared
from robustradar.values import JSON, Cost, Ranking, RankingRow, Result, counted

SCHEMA = "robustradar-funnel/1"
KEEP_BEST = 0.95


@dataclass(frozen=True)
class Funnel:
    """A funnel as it is typed.

    Attributes:
        stages: Studies of the registry, from cheap to dear.
        flags: What overrides all of them: candidates, data, threat, seeds.
        keep_best: The chance with which the best candidate is to reach the last stage.
        taus: Kendall's tau by stage, over what the studies say.
        registry_file: A user's own registry.
        plugins: Files or modules to load beside the installed plugins.
    """

    stages: tuple[str, ...]
    flags: Request = field(default_factory=Request)
    keep_best: float = KEEP_BEST
    taus: Mapping[str, float] = field(default_factory=dict, hash=False)
    registry_file: Path | None = None
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Stage:
    """A stage before it is run.

    Attributes:
        name: The study.
        prepared: The study on all candidates.
        tau: Kendall's tau of its ranking with the truth, an assumption; None for the last stage, which cuts nobody.
        source: Where tau comes from.
        first: How many of the first hold the best of all with `chance`.
        chance: What the copula says of them; 1 where nobody is cut.
    """

    name: str
    prepared: Prepared
    tau: float | None
    source: str
    first: int
    chance: float

    def json(self) -> JSON:
        """What is known before it is run."""
        return {"name": self.name, "tau": self.tau, "tau_from": self.source or None, "first": self.first, "chance": self.chance}


def firsts(n: int, taus: Sequence[float], keep_best: float) -> tuple[tuple[int, float], ...]:
    """How many of the first of n each cut has to leave, so that all of them leave the best with a chance, and each one's own chance.

    Args:
        n: All candidates, also for later cuts.
        taus: Kendall's tau of the ranking that each cut goes by.
        keep_best: The chance; what it lacks of 1 is shared evenly.

    >>> [k for k, _ in firsts(64, (0.65, 0.85), 0.95)]
    [14, 4]
    """
    from robustradar.numerics.selection import kept, kept_chance

    each = 1 - (1 - keep_best) / max(1, len(taus))
    counts = [kept(n, tau, each) for tau in taus]
    return tuple((k, kept_chance(k, n, tau)) for k, tau in zip(counts, taus, strict=True))


def best_kept(stages: Sequence[Stage]) -> float:
    """The chance, at least, that the best of all is still there after these stages."""
    return 1 - sum(1 - stage.chance for stage in stages)


@dataclass(frozen=True, eq=False)
class Passed:
    """A stage that was run.

    Attributes:
        stage: What was asked.
        folder: Where its results lie, as `rank` writes them.
        result: What it found.
        kept: Who goes on; of the last stage, who is ranked.
        cost: What it took, less what earlier stages had paid for; as it was when it was done, also where it was taken from the store.
    """

    stage: Stage
    folder: Path
    result: Result
    kept: tuple[str, ...]
    cost: Cost

    @property
    def cut(self) -> tuple[RankingRow, ...]:
        """Who was ranked and does not go on."""
        kept = set(self.kept)
        return tuple(row for row in self.result.ranking.rows if row.candidate not in kept)


@dataclass(frozen=True, eq=False)
class Funneled:
    """A funnel that was run.

    Attributes:
        candidates: Number of all candidates.
        keep_best: The chance that was asked for.
        stages: What was asked, in order.
        passed: What was run: all stages, unless one ranked nobody.
    """

    candidates: int
    keep_best: float
    stages: tuple[Stage, ...]
    passed: tuple[Passed, ...]

    @property
    def complete(self) -> bool:
        """Whether somebody was ranked by every stage, and no cell failed."""
        return len(self.passed) == len(self.stages) and bool(self.ranking.rows) and not any(p.result.failed for p in self.passed)

    @property
    def ranking(self) -> Ranking:
        """The last stage's; without rows where it was not reached."""
        return self.passed[-1].result.ranking if len(self.passed) == len(self.stages) else Ranking((), ())

    @property
    def work(self) -> int:
        """Samples passed forward and backward."""
        return sum(p.cost.forward + p.cost.backward for p in self.passed)

    @property
    def share(self) -> float | None:
        """The work over the last stage's on all candidates, taken to need what those that reached it needed on average."""
        if len(self.passed) < len(self.stages):
            return None
        last = self.passed[-1].result
        reached = len({use.candidate for use in last.measurements})
        whole = _work(last, set())
        return self.work * reached / ((whole.forward + whole.backward) * self.candidates) if whole.forward + whole.backward else None

    def json(self) -> JSON:
        """The document of schema ``robustradar-funnel/1``."""
        return {
            "schema": SCHEMA,
            "keep_best": self.keep_best,
            "candidates": self.candidates,
            "stages": [_passed(p, best_kept(self.stages[:n])) for n, p in enumerate(self.passed, 1)],
            "not_run": [stage.json() for stage in self.stages[len(self.passed) :]],
            "ranking": [vars(row) for row in self.ranking.rows],
            "cut": [{"stage": p.stage.name, **vars(row)} for p in reversed(self.passed) for row in p.cut],
            "unranked": [
                {"stage": p.stage.name, "candidate": c, "reason": why} for p in self.passed for c, why in p.result.ranking.unranked
            ],
            "work": {"samples": self.work, "share_of_last_stage_on_all": self.share},
            "provenance": dict(self.passed[-1].result.provenance) if self.passed else {},
        }


def _passed(passed: Passed, chance: float) -> JSON:
    """A stage's part of the document."""
    return {
        **passed.stage.json(),
        "folder": str(passed.folder),
        "candidates": len(passed.result.study.candidates),
        "kept": list(passed.kept),
        "best_kept_with": chance,
        "cost": vars(passed.cost),
    }


@dataclass(frozen=True)
class Setup:
    """Where and how to run.

    Attributes:
        store: Folder of finished work.
        out: Where to write: a folder a stage, funnel.json and funnel.md.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        command: What was typed.
        watch: Who is told of a stage's progress.
        listeners: Who hears of a stage by the hooks that plugins have for it, as in `screening.rank`.
    """

    store: Path
    out: Path
    device: str
    command: str
    watch: Callable[[], AbstractContextManager[Progress]]
    listeners: Callable[[], Mapping[str, object]] = dict


def prepare(funnel: Funnel) -> tuple[Stage, ...]:
    """The stages; everything that can be wrong in any of them is found here, before anything is trained.

    Raises:
        UsageError: A name, parameter, number or file is wrong, or a stage's tau is not known.
        PluginError: A plugin that is needed is broken.
    """
    names = funnel.stages
    _check(funnel)
    known = registry.load(funnel.registry_file)
    for name in names:
        known.study(name, funnel.flags, "STAGE")
    taus = [_tau(funnel, known, name) for name in names[:-1]]
    studies: list[Prepared] = []
    flags = funnel.flags
    for name in names:
        studies.append(screening.prepare(name, flags, registry_file=funnel.registry_file, plugins=funnel.plugins, others=studies))
        flags = replace(flags, architectures=tuple(candidate.label for candidate in studies[0].study.candidates))
    n = len(studies[0].study.candidates)
    cuts = [(*tau, *first) for tau, first in zip(taus, firsts(n, [tau for tau, _ in taus], funnel.keep_best), strict=True)]
    return tuple(Stage(name, study, *cut) for name, study, cut in zip(names, studies, [*cuts, (None, "", n, 1.0)], strict=True))


def run(funnel: Funnel, stages: tuple[Stage, ...], setup: Setup) -> Funneled:
    """Runs the stages one by one on who is left, and writes each one's results as it is done.

    Raises:
        UsageError: The device is not there.
        StoreError: Store or output cannot be written; finished work is kept.
        PluginError: A ranker or reporter failed.
    """
    left = tuple(candidate.label for candidate in stages[0].prepared.study.candidates)
    passed: list[Passed] = []
    known: set[str] = set()
    for n, stage in enumerate(stages, 1):
        prepared = _among(stage.prepared, left)
        folder = stage_folder(setup.out, n, stage.name)
        write.writable(folder)
        hearing = setup.listeners()
        with setup.watch() as progress:
            progress.note(f"stage {n} of {len(stages)}, {stage.name}: {counted(len(left), 'candidate')}")
            result = screening.rank(
                prepared, store=setup.store, device=setup.device, progress=progress, command=setup.command, listeners=hearing
            )
        write.write(result, prepared.reporters(), folder)
        # Whoever may stand among the first is not told apart from them; ties share their rank.
        left = tuple(row.candidate for row in result.ranking.rows if stage.tau is None or row.rank_low <= stage.first)
        passed.append(Passed(stage, folder, result, left, _work(result, known)))
        known |= {use.key for use in result.measurements} | {fit.record.key for fit in result.fits}
        if not left:
            break
    return Funneled(len(stages[0].prepared.study.candidates), funnel.keep_best, stages, tuple(passed))


def stage_folder(out: Path, number: int, name: str) -> Path:
    """Where a stage's results lie."""
    return out / f"{number}-{name.replace('/', '-')}"


def _among(prepared: Prepared, left: tuple[str, ...]) -> Prepared:
    """A stage on those who are left."""
    among = set(left)
    candidates = tuple(candidate for candidate in prepared.study.candidates if candidate.label in among)
    study = replace(prepared.study, candidates=candidates)
    return replace(prepared, study=study, plan=plan.make(study, prepared.catalog, engine()))


def _work(result: Result, known: set[str]) -> Cost:
    """What a result took, less what is known by its key."""
    costs = [fit.record.cost for fit in result.fits if fit.record.key not in known]
    costs += [use.cost for use in result.measurements if use.key not in known]
    forward, backward, flops = (sum(getattr(cost, name) for cost in costs) for name in ("forward", "backward", "flops"))
    memory = max((cost.memory for cost in costs if cost.memory is not None), default=None)
    return Cost(forward, backward, sum(cost.seconds for cost in costs), flops, memory)


def _check(funnel: Funnel) -> None:
    """Refuses stages and numbers that make no funnel."""
    names = funnel.stages
    if len(names) < 2:
        raise UsageError(f"STAGE: got {len(names)}, expected at least two studies, from cheap to dear. For one study use robustradar rank.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"STAGE: got {twice[0]!r} twice, expected each study once. Drop one.")
    if not 0 < funnel.keep_best < 1:
        raise UsageError(f"--keep-best: got {funnel.keep_best:g}, expected a chance between 0 and 1, both excluded, such as {KEEP_BEST}.")
    for name in funnel.taus:
        if name == names[-1]:
            raise UsageError(f"--tau: got one for {name!r}, the last stage, which cuts nobody. Drop it.")
        if name not in names:
            raise UsageError(unknown("--tau", name, names[:-1]))


def _tau(funnel: Funnel, known: registry.Registry, name: str) -> tuple[float, str]:
    """A stage's tau, and where it is from."""
    flags = replace(funnel.flags, tau=funnel.taus.get(name))
    tau = known.study(name, flags).tau
    if tau is None:
        raise UsageError(
            f"--tau: got none for the stage {name!r}, and its study has none, expected Kendall's tau of its ranking with the truth. "
            f"Give --tau {name}=TAU: robustradar fidelity measures it."
        )
    return tau, known.place(name, flags, "tau", "--tau")
