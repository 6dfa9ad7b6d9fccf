"""The clauses of rankers, on a small table that is made here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from robustradar.conformance import trace
from robustradar.conformance.clause import Breach, Subject
from robustradar.contract.ranker import ScoreTable
from robustradar.errors import UsageError
from robustradar.values import Column, Failed, Measured, Outcome, Ranking, RankingRow, Score, Skipped, counted

_ACCURACY, _LOSS, _SIZE = (
    Column("clean_accuracy", "higher", "fraction"),
    Column("clean_loss", "lower", "loss"),
    Column("parameters", "none", "1"),
)
_METRICS = {_ACCURACY: "baselines/clean-accuracy", _LOSS: "baselines/fgsm-accuracy", _SIZE: "baselines/parameters"}
_NAMES = ("papers/mlp:width=32", "papers/cnn", "papers/linear", "timm/resnet18", "mine/best")
_QUALITY = (0.55, 0.7, 0.4, 0.7, 0.95)  # the second and the fourth are equal


def table(names: Sequence[str] = _NAMES, states: Mapping[str, Outcome] | None = None, quality: Sequence[float] = _QUALITY) -> ScoreTable:
    """Candidates of known quality: an accuracy and a loss with samples of two seeds, and a size that says nothing.

    Args:
        names: The candidates.
        states: Candidates whose every cell is this instead.
        quality: One number a candidate; a larger one is better in every sample.
    """
    noise = np.random.default_rng(6).random((2, 60))
    scores, samples = [], {}
    for name, good in zip(names, quality, strict=False):
        values = {_ACCURACY: (noise < good).astype(float), _LOSS: 2 - good + noise, _SIZE: None}
        for column, each in values.items():
            value = 1000.0 if each is None else float(each.mean())
            outcome = (states or {}).get(name) or Measured(value)
            scores.append(Score(name, _METRICS[column], column, outcome))
            if each is not None and isinstance(outcome, Measured):
                samples[name, _METRICS[column], column.name] = each
    return ScoreTable(tuple(scores), samples)


def ranked(subject: Subject, given: ScoreTable) -> dict[str, RankingRow]:
    """The rows of a ranking by candidate, once its form is checked."""
    ranking = subject.declaration.rank(given)
    if not isinstance(ranking, Ranking):
        raise Breach(f"{type(ranking).__name__} from rank()", "robustradar.Ranking", "Return Ranking(rows, columns, unranked).")
    rows = {row.candidate: row for row in ranking.rows}
    placed = [row.candidate for row in ranking.rows] + [name for name, _ in ranking.unranked]
    wanted = sorted({score.candidate for score in given.scores})
    if sorted(placed) != wanted:
        advice = "A candidate without a number belongs to unranked, with the reason."
        raise Breach(f"{len(placed)} candidates ({', '.join(sorted(placed)):.80})", f"each of the {len(wanted)} once", advice)
    if [(r.rank, r.candidate) for r in ranking.rows] != sorted((r.rank, r.candidate) for r in ranking.rows):
        raise Breach("rows in another order", "them by rank, then by name", "Sort them by (row.rank, row.candidate).")
    for row in ranking.rows:
        if not 1 <= row.rank_low <= row.rank <= row.rank_high <= len(ranking.rows) or not math.isfinite(row.score):
            got = f"rank {row.rank} in [{row.rank_low}, {row.rank_high}] with score {row.score} for {row.candidate}"
            raise Breach(got, f"1 <= rank_low <= rank <= rank_high <= {len(ranking.rows)} and a finite score")
        before = sum(other.rank < row.rank for other in ranking.rows)
        if row.rank != before + 1:
            got = f"rank {row.rank} behind {counted(before, 'candidate')}"
            raise Breach(got, f"{before + 1}", "Equal scores share the better rank: 1, 2, 2, 4.")
    json.dumps([vars(row) for row in ranking.rows])
    return rows


def places_everyone(subject: Subject) -> None:
    """Every candidate is ranked once, or unranked with a reason; rows by rank and name, ranks inside their intervals."""
    ranked(subject, table())


def puts_the_better_first(subject: Subject) -> None:
    """Who is better in every directed column and sample is never behind."""
    rows = ranked(subject, table())
    for name, good in zip(_NAMES, _QUALITY, strict=True):
        for other, less in zip(_NAMES, _QUALITY, strict=True):
            if good > less and rows[name].rank >= rows[other].rank:
                got = f"{name} on rank {rows[name].rank} and {other} on rank {rows[other].rank}, though {name} is better in every sample"
                raise Breach(got, "it before", "Respect column.direction: higher, lower or none.")


def shares_ties(subject: Subject) -> None:
    """Candidates with the same numbers share a rank."""
    rows = ranked(subject, table())
    twins = [rows[name] for name, good in zip(_NAMES, _QUALITY, strict=True) if good == 0.7]
    if twins[0].rank != twins[1].rank:
        got = f"ranks {twins[0].rank} and {twins[1].rank}"
        raise Breach(f"{got} for candidates with the same numbers", "one rank", "Break no tie by name or position.")


def ignores_the_order(subject: Subject) -> None:
    """The order of the candidates in the table does not matter."""
    forth = table()
    rows = sorted(
        forth.scores, key=lambda score: -_NAMES.index(score.candidate)
    )  # each one's cells in their order: the first is its headline
    back = ScoreTable(tuple(rows), dict(reversed(list(forth.samples.items()))))
    if subject.declaration.rank(forth).rows != subject.declaration.rank(back).rows:
        raise Breach("another ranking with the candidates in another order", "the same", "Look cells up by candidate, metric and column.")


def ignores_the_names(subject: Subject) -> None:
    """Renamed candidates keep their places."""
    renamed = [f"z{9 - i}" for i in range(len(_NAMES))]
    before, after = ranked(subject, table()), ranked(subject, table(renamed))
    for old, new in zip(_NAMES, renamed, strict=True):
        places = [f"rank {row.rank} in [{row.rank_low}, {row.rank_high}]" for row in (before[old], after[new])]
        if places[0] != places[1]:
            got = f"{places[0]} for {old} and {places[1]} for it as {new}"
            raise Breach(got, "the same", "Rank by numbers, not by names.")


def repeats_itself(subject: Subject) -> None:
    """The same table gives the same ranking, whatever the global generators hold, and comes back unchanged."""
    given, found = table(), []
    before = {key: values.copy() for key, values in given.samples.items()}
    for seed in range(5):
        with trace.other_chance(seed):
            found.append(subject.declaration.rank(given))
    if any(ranking != found[0] for ranking in found):
        raise Breach("two rankings of one table", "the same", "Draw from numpy.random.default_rng(0) made inside rank().")
    if any(not np.array_equal(values, before[key]) for key, values in given.samples.items()):
        raise Breach("samples that were written to", "them as they were", "Work on a copy.")


def copes_with_gaps(subject: Subject) -> None:
    """Failed and skipped candidates are unranked with a reason; a table without numbers, or without rows, is no error."""
    failed, skipped = Failed("diverged", "training"), Skipped("no classes")
    for name, state in (("papers/cnn", failed), ("papers/linear", skipped)):
        if name in ranked(subject, table(states={name: state})):
            raise Breach(f"{name} ranked, whose every cell is {type(state).__name__}", "it unranked with the reason")
    for states in (dict.fromkeys(_NAMES, failed), dict.fromkeys(_NAMES, skipped)):
        if ranked(subject, table(states=states)):
            raise Breach("candidates ranked without a number", "all of them unranked")
    ranked(subject, table(_NAMES[:1]))
    try:
        ranked(subject, ScoreTable((), {}))
    except UsageError:  # a column that was asked for is not there
        return


def leaves_no_trace(subject: Subject) -> None:
    """Ranking changes no setting or generator of the process and prints nothing."""
    with trace.silent(), trace.unchanged():
        subject.declaration.rank(table())


CLAUSES = (
    places_everyone,
    puts_the_better_first,
    shares_ties,
    ignores_the_order,
    ignores_the_names,
    repeats_itself,
    copes_with_gaps,
    leaves_no_trace,
)
