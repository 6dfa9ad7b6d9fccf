"""The scores that are judged: columns of the table, of runs, mean ranks of several, and rankers' orders; with what each cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from robustradar.errors import UsageError, unknown
from robustradar.fidelity.statistic import Floats
from robustradar.fidelity.truth import Truth
from robustradar.numerics.agreement import rank_mean
from robustradar.report.account import protocol
from robustradar.report.document import Document
from robustradar.values import JSON, Column, Measured, Score, Skipped, canonical

# What any score must beat, by the columns that yield it, and what a verdict calls it.
COUNT = "parameter count"
_SIZES = ((("parameters", "params"), COUNT), (("macs", "flops"), "MACs"))
_CLEAN, _WEAK = "clean_accuracy", "fgsm_accuracy"
ABSENT = "not in the runs given"


@dataclass(frozen=True)
class Work:
    """Samples passed forward and backward, and floating-point operations, None where they are not known."""

    passes: int
    flops: int | None


@dataclass(frozen=True, eq=False)
class Judgeable:
    """A score of every candidate.

    Attributes:
        name: As tables name it.
        direction: Of the numbers: which are better; mean ranks and rankers' orders have none of their own: ``rank``.
        values: [C], turned so that more is better; nan where there is none.
        reasons: Why there is none, with how often.
        work: For every candidate what was trained and measured for it, by keys, so that what is shared counts once; None: not known.
        trivial: What a verdict calls it, if any score must beat it; else empty.
        failed: For how many candidates it failed.
        terms: What it is the mean rank of, each with its direction; empty where it is none.
    """

    name: str
    direction: str
    values: Floats
    reasons: Mapping[str, int] = field(default_factory=dict)
    work: tuple[Mapping[str, Work], ...] | None = None
    trivial: str = ""
    failed: int = 0
    terms: tuple[str, ...] = ()

    @property
    def full(self) -> str:
        """Its columns with their directions: two scores are the same where these are."""
        return " + ".join(self.terms or (f"{self.name}:{self.direction}",))


@dataclass(frozen=True, eq=False)
class Found:
    """A column of the runs as it was measured."""

    metric: str
    column: Column
    run: str
    outcomes: tuple[Score, ...]
    work: tuple[Mapping[str, Work], ...]

    def score(self, name: str, *, higher: bool | None = None) -> Judgeable:
        """The column as a score, by its own direction or another."""
        up = self.column.direction == "higher" if higher is None else higher
        found = [s.outcome.value if isinstance(s.outcome, Measured) else math.nan for s in self.outcomes]
        rows = [s.json() for s in self.outcomes]
        reasons = Counter(row["reason"] for row in rows if row["reason"] is not None)
        failed = sum(row["state"] == "failed" for row in rows)
        return Judgeable(name, "higher" if up else "lower", np.array(found) * (1 if up else -1), reasons, self.work, failed=failed)


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one protocol taken together: their columns may share candidates out among them.

    Attributes:
        run: The first one's label, or a number where it has none: different for all groups.
        columns: By metric and column.
    """

    run: str
    columns: Mapping[tuple[str, str], Found]


def groups(truth: Truth, documents: Sequence[Document], labels: Mapping[str, str]) -> list[Group]:
    """The runs' columns over the truth's candidates, runs of one protocol together.

    Args:
        truth: The candidates.
        documents: The runs.
        labels: What runs call a candidate, where it is not the name in the table.

    Raises:
        UsageError: No run holds any of the candidates, or runs of one protocol hold different weights of one.
    """
    together: dict[str, list[Document]] = {}
    for document in documents:
        # Which metrics and ranker a run had says nothing of what its numbers mean.
        alike = {name: text for name, text in protocol(document).items() if name not in ("metrics", "ranker")}
        together.setdefault(canonical(alike), []).append(document)
    candidates = [labels.get(candidate, candidate) for candidate in truth.candidates]
    for same in together.values():
        _check_weights(candidates, same)
    found = [
        Group(run, {(f.metric, f.column.name): f for f in _columns(candidates, same, run)})
        for run, same in ((same[0].label or f"run {n}", same) for n, same in enumerate(together.values(), 1))
    ]
    known = {name for document in documents for name in document.order}
    if documents and not known & set(candidates):
        raise UsageError(
            f"--run: got {len(documents)} run(s) that hold none of the {len(candidates)} candidates of {truth.file}, "
            f"expected {candidates[0]!r} or others. Check --candidate."
        )
    return found


def _check_weights(candidates: Sequence[str], documents: Sequence[Document]) -> None:
    """Refuses runs of one protocol that hold different weights of a candidate: which of its numbers count would be chance.

    Raises:
        UsageError: With the first such candidate.
    """
    for candidate in candidates:
        held = [d.json["study"]["weights"].get(candidate) for d in documents if candidate in d.ranks]
        if len(set(held)) > 1:
            which = "given and with trained" if None in held else "different"
            raise UsageError(
                f"--run: got runs of one protocol with {which} weights of {candidate}, expected the same in all. "
                "Judge these runs one at a time."
            )


def _columns(candidates: Sequence[str], documents: Sequence[Document], run: str) -> Iterable[Found]:
    """Every column of runs of one protocol; of candidates that several runs have, the first number counts."""
    shown = dict.fromkeys(key for document in documents for key in document.columns)
    work = [_works(document) for document in documents]
    for metric, column in shown:
        outcomes, spent = [], []
        for name in candidates:
            cells = [(s, w) for d, w in zip(documents, work, strict=True) if (s := d.cells.get((name, metric, column.name)))]
            cells.sort(key=lambda cell: not isinstance(cell[0].outcome, Measured))
            outcomes.append(cells[0][0] if cells else Score(name, metric, column, Skipped(ABSENT)))
            spent.append(cells[0][1].get((name, metric), {}) if cells else {})
        yield Found(metric, column, run, tuple(outcomes), tuple(spent))


def _works(document: Document) -> dict[tuple[str, str], dict[str, Work]]:
    """What every candidate's metric took: its measurements, their fits, and the fits that these started from."""
    fits = {fit["key"]: fit for fit in document.json["fits"]}
    found: dict[tuple[str, str], dict[str, Work]] = {}
    for place, use in enumerate(document.json["measurements"]):
        taken = found.setdefault((use["candidate"], use["metric"]), {})
        taken[use["key"] or f"{place}"] = _work(use)
        keys = list(use["fits"])
        while keys:
            fit = fits.get(keys.pop())
            if fit is not None and fit["key"] not in taken:
                taken[fit["key"]] = _work(fit)
                keys += [fit["spec"]["start"]] if fit["spec"]["start"] else []
    return found


def _work(spent: JSON) -> Work:
    return Work(spent["cost"]["forward"] + spent["cost"]["backward"], spent["cost"]["flops"])


def judgeables(truth: Truth, found: Sequence[Group], asked: Sequence[str] = (), trivial: Sequence[str] = ()) -> list[Judgeable]:
    """All scores to judge, each once: the trivial ones first, then every directed column of the runs, then what was asked for.

    Where names recur, with other directions, they say these: ``macs:lower`` beside ``macs:higher``.

    Args:
        truth: The table, whose columns may be scores themselves.
        found: The runs' columns.
        asked: Scores as they are typed: ``column:higher``, or several joined by + for their mean rank.
        trivial: The same, of trivial scores.

    Raises:
        UsageError: A score names no column, or lacks its direction.
    """
    columns = [f for group in found for f in group.columns.values()]
    named = dict(zip(names(columns), columns, strict=True))
    scores = [*_sizes(truth, named), *_trained(named)]
    scores += [replace(score, trivial=score.name) for score in (typed("--trivial", text, truth, named) for text in trivial)]
    scores += [f.score(name) for name, f in named.items() if f.column.direction != "none"]
    scores += [typed("--score", text, truth, named) for text in asked]
    unique: dict[str, Judgeable] = {}
    for score in scores:
        unique.setdefault(score.full, score)
    recurring = Counter(score.name for score in unique.values())
    return [_in_full(score) if recurring[score.name] > 1 else score for score in unique.values()]


def _in_full(score: Judgeable) -> Judgeable:
    """The same under its full name, also in verdicts where these call it by its name."""
    return replace(score, name=score.full, trivial=score.full if score.trivial == score.name else score.trivial)


def names(columns: Sequence[Found]) -> list[str]:
    """The columns' names, with metric or run where these alone tell them apart."""
    found = []
    for each in columns:
        same = [f for f in columns if f.column.name == each.column.name]
        parts = [f" [{each.metric}]" * (len({f.metric for f in same}) > 1), f" [{each.run}]" * (len({f.run for f in same}) > 1)]
        found.append("".join([each.column.name, *parts]))
    return found


def _sizes(truth: Truth, named: Mapping[str, Found]) -> list[Judgeable]:
    """Parameter count and MACs, where the runs or the table have them."""
    found = []
    for known, words in _SIZES:
        run = next((name for name, f in named.items() if f.column.name == known[0]), None)
        told = next((name for name in known if name in truth.columns), None)
        if run is not None:
            found.append(replace(named[run].score(run, higher=True), trivial=words))
        elif told is not None:
            free: tuple[Mapping[str, Work], ...] = ({},) * len(truth.candidates)
            found.append(replace(_told(told, truth, higher=True), trivial=words, work=free))
    return found


def _trained(named: Mapping[str, Found]) -> list[Judgeable]:
    """Clean accuracy, and its mean rank with the accuracy after one weak step of the same runs, where the runs have them."""
    clean = next((name for name, f in named.items() if f.column.name == _CLEAN), None)
    if clean is None:
        return []
    scores = [named[clean].score(clean)]
    weak = next((name for name, f in named.items() if f.column.name == _WEAK and f.run == named[clean].run), None)
    scores += [_mean_rank([scores[0], named[weak].score(weak)])] if weak else []
    words = ("clean accuracy", "the mean rank of clean accuracy and one weak step")
    return [replace(score, trivial=word) for score, word in zip(scores, words, strict=False)]


def typed(option: str, text: str, truth: Truth, named: Mapping[str, Found]) -> Judgeable:
    """A score as it is typed; a column of the runs that has a direction need not be given one.

    Raises:
        UsageError: It names no column, or lacks its direction.
    """
    terms = []
    for term in text.split("+"):
        name, colon, direction = term.strip().rpartition(":")
        if not colon or direction not in ("higher", "lower"):
            name, direction = term.strip(), ""
        if name not in truth.columns and name not in named:
            raise UsageError(unknown(option, name, [*truth.columns, *named]))
        if not direction and (name in truth.columns or named[name].column.direction == "none"):
            raise UsageError(f"{option}: got {term.strip()!r} without a direction, expected {name}:higher or {name}:lower.")
        if name in truth.columns:
            told = _told(name, truth, higher=direction == "higher")
            # A run's column of the same name is another score.
            terms.append(replace(told, name=f"{name} [{truth.file}]") if name in named else told)
        else:
            terms.append(named[name].score(name, higher=direction == "higher" if direction else None))
    return terms[0] if len(terms) == 1 else _mean_rank(terms)


def _told(column: str, truth: Truth, *, higher: bool) -> Judgeable:
    """A column of the table as a score; what it cost is known where that was told."""
    values = truth.numbers(column)
    missing = int(np.isnan(values).sum())
    reasons = {f"no number in {truth.file}": missing} if missing else {}
    work = None
    if column in truth.spent:
        key, passes = truth.spent[column]
        work = tuple({f"{key} of {candidate}": Work(passes, None)} for candidate in truth.candidates)
    return Judgeable(column, "higher" if higher else "lower", values if higher else -values, reasons, work)


def _mean_rank(terms: Sequence[Judgeable]) -> Judgeable:
    """The mean rank of several scores, over the candidates that have all of them."""
    columns = np.stack([term.values for term in terms], axis=1)
    known = ~np.isnan(columns).any(axis=1)
    values = np.full(len(columns), math.nan)
    if known.any():
        values[known] = -rank_mean(columns[known], [True] * len(terms))
    reasons: Counter[str] = Counter()
    for term in terms:
        reasons.update(term.reasons)
    works = [term.work for term in terms]
    work = (
        None
        if None in works
        else tuple({k: w for each in many for k, w in each.items()} for many in zip(*filter(None, works), strict=True))
    )
    name, failed = " + ".join(term.name for term in terms), max(term.failed for term in terms)
    return Judgeable(name, "rank", values, reasons, work, failed=failed, terms=tuple(term.full for term in terms))
