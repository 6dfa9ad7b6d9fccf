"""What a report says of a run, section by section: from its document to sentences and tables that know nothing of HTML."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from robustradar.report import table
from robustradar.report.account import protocol
from robustradar.report.cell import BOUNDS, short
from robustradar.report.document import Document
from robustradar.report.flag import by_stem, joined, letters, meaning
from robustradar.report.grid import Cell, Grid, Head
from robustradar.values import Column, Failed, Measured, Score, Skipped, counted

_NAMED = 10
# Chosen here: a tau means little for fewer candidates, and from here on an order is mostly the other's.
_LEAST, _TAU = 5, 0.7
# Chosen here: of so many candidates it is told what speaks against them; the table has the flags of all.
_DOUBTS = 6
FORECASTS = (
    "What is known of these metrics as forecasts of robustness after adversarial training (τ is Kendall's, brackets hold 95 % intervals):"
)
# Why the first can be told from the others, or not, by what tells.
_SURE = {
    "ranks": "no other candidate's 95 % rank interval reaches 1.",
    "values": "no rank has an interval here, but by the 95 % intervals of the columns that decided every other candidate is behind it in "
    "at least one and ahead in none.",
}
_UNSURE = {
    "ranks": "These cannot be told from it, since their 95 % rank intervals reach 1:",
    "values": "No rank has an interval here; by the 95 % intervals of the columns that decided these are not plainly behind it:",
}


@dataclass(frozen=True)
class Verdict:
    """The answer in a sentence.

    Attributes:
        leaders: Who shares rank 1.
        rivals: Who cannot be told from them.
        by: What tells: ``ranks``, whose intervals reach 1 or not, or ``values`` of the columns, where no rank has an interval.
    """

    leaders: tuple[str, ...]
    rivals: tuple[str, ...]
    by: str


@dataclass(frozen=True, eq=False)
class View:
    """A run as a report shows it."""

    document: Document

    @cached_property
    def introduction(self) -> str:
        """What was asked, in a sentence."""
        study, asked = self.document.json["study"], protocol(self.document)
        return (
            f"{counted(len(study['candidates']), 'candidate')} on {asked['data']}, threat {asked['threat']}, attack {asked['attack']}, "
            f"recipe {asked['recipe']}, {counted(len(study['seeds']), 'seed')}."
        )

    def lead(self, named: Callable[[str], str]) -> str:
        """The answer in a sentence or two.

        Args:
            named: Makes a candidate's name stand out; the rest is plain text.
        """
        verdict = self.verdict
        leaders, rivals = (_listed(names, named) for names in (verdict.leaders, verdict.rivals))
        if not verdict.leaders:
            return "Nothing could be ranked."
        if len(self.document.json["ranking"]) == 1:
            return f"{leaders} is the only candidate with a rank: there is nothing to choose between."
        if not verdict.rivals and len(verdict.leaders) == 1:
            return f"{f'{leaders} is first' if self.doubts else f'Take {leaders}'}: {_SURE[verdict.by]}"
        shared = f"{leaders} {'share rank 1.' if len(verdict.leaders) > 1 else 'is first.'}"
        return f"{shared} {_UNSURE[verdict.by]} {rivals}." if verdict.rivals else shared

    @cached_property
    def signs(self) -> str:
        """What the main table's signs mean."""
        columns = ", ".join(dict.fromkeys(self.document.json["ranked_by"]))
        ranked = f"* Ranked by {columns}. " if columns else ""
        notes = "".join(f"{note} " for note in self.document.json.get("ranking_notes", ()))
        return f"{ranked}{notes}Equal ranks are marked by =. Brackets hold 95 % intervals; ≥ and ≤ mark bounds."

    @cached_property
    def verdict(self) -> Verdict:
        """Who is first, and how surely."""
        rows = self.document.json["ranking"]
        leaders = [row["candidate"] for row in rows if row["rank"] == 1]
        others = [row for row in rows if row["rank"] != 1]
        if any(row["rank_low"] != row["rank_high"] for row in rows):
            return Verdict(tuple(leaders), tuple(row["candidate"] for row in others if row["rank_low"] == 1), "ranks")
        rivals = [row["candidate"] for row in others if any(not self._behind(row["candidate"], leader) for leader in leaders)]
        return Verdict(tuple(leaders), tuple(rivals), "values")

    def _behind(self, other: str, leader: str) -> bool:
        """Whether intervals put a candidate behind another in a column that was ranked by, and ahead in none."""
        ranked = [(m, c) for m, c in self.document.columns if c.name in self.document.json["ranked_by"] and c.direction != "none"]
        pairs = [(self.document.measured(leader, m, c.name), self.document.measured(other, m, c.name), c) for m, c in ranked]
        signs = {_apart(a, b) * (1 if c.direction == "higher" else -1) for a, b, c in pairs if a is not None and b is not None}
        return 1 in signs and -1 not in signs

    @cached_property
    def doubts(self) -> list[str]:
        """What speaks against the candidates that the answer names."""
        verdict = self.verdict
        return table.doubts(self.document.scores, (*verdict.leaders, *verdict.rivals), self.document.json["ranked_by"])[:_DOUBTS]

    @cached_property
    def claims(self) -> list[str]:
        """What the first candidate does on samples that nothing was selected on."""
        return table.held_out_claims(self.document.scores, self.document.order[0]) if self.document.json["ranking"] else []

    @cached_property
    def ranking(self) -> Grid:
        """The main table: a row a candidate, best first."""
        d = self.document
        shown = d.headlines
        own = [Head(d.json["ranking_score"])] if "ranking_score" in d.json else []
        rows, count = d.json["ranking"], len(d.json["ranking"])
        ranks = Counter(row["rank"] for row in rows)
        made = []
        for row in rows:
            low, rank, high = row["rank_low"], row["rank"], row["rank_high"]
            span = (low / count - 1 / count, (rank - 0.5) / count, high / count) if count > 1 else None
            tied = "=" if ranks[rank] > 1 else ""
            name, *numbers = self._row(row["candidate"], shown)
            score = [Cell(short(row["score"]), row["score"])] if own else []
            made.append((Cell(f"{rank}{tied}", rank), Cell(f"{low}–{high}", low, span=span), name, *score, *numbers))
        for row in d.json["unranked"]:
            name, *numbers = self._row(row["candidate"], shown)
            made.append((Cell("–"), Cell(""), name, *(Cell("") for _ in own), *numbers))
        named = {*self.verdict.leaders, *self.verdict.rivals} if len(rows) > 1 else set()
        marked = frozenset(place for place, row in enumerate(rows) if row["candidate"] in named)
        heads = (Head("rank"), Head("95 % interval"), Head("candidate", words=True), *own, *self._heads(shown))
        return Grid("Candidates, best first", heads, tuple(made), 2, marked)

    @cached_property
    def numbers(self) -> list[Grid]:
        """Every number: a table a metric."""
        d, found = self.document, []
        for metric in dict.fromkeys(metric for metric, _ in d.columns):
            shown = [(m, c) for m, c in d.columns if m == metric]
            heads = (Head("candidate", words=True), *self._heads(shown))
            found.append(Grid(metric, heads, tuple(tuple(self._row(name, shown)) for name in d.order)))
        return found

    def _heads(self, shown: Sequence[tuple[str, Column]]) -> list[Head]:
        d = self.document
        return [Head(d.heading(m, c) + d.unit(c).title, c.direction, c.name in d.json["ranked_by"]) for m, c in shown]

    def _row(self, candidate: str, shown: Sequence[tuple[str, Column]]) -> list[Cell]:
        return [Cell(candidate), *(self._cell(self.document.cells.get((candidate, m, c.name))) for m, c in shown)]

    def _cell(self, score: Score | None) -> Cell:
        """A number with its interval and flags, or the state with its reason."""
        match score.outcome if score else None:
            case Measured() as found if score is not None:
                return measured_cell(found, self.document, score.column, tuple(sorted({self._letters[f] for f in found.flags})))
            case Failed(reason=reason):
                return Cell("failed", reason=reason)
            case Skipped(reason=reason):
                return Cell("skipped", reason=reason)
        return Cell("")

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        """All flags of the run, by what stands before their colon."""
        return by_stem(sorted({flag for s in self.document.scores if isinstance(s.outcome, Measured) for flag in s.outcome.flags}))

    @cached_property
    def _letters(self) -> dict[str, str]:
        """A flag's letter."""
        return {flag: letter for letter, flags in zip(letters(len(self._stems)), self._stems.values(), strict=True) for flag in flags}

    @cached_property
    def flags(self) -> list[tuple[str, str, str]]:
        """A flag's letter, what it means, and whose numbers have it."""
        found = []
        for stem, flags in self._stems.items():
            scores = [s for s in self.document.scores if isinstance(s.outcome, Measured) and set(flags) & set(s.outcome.flags)]
            columns, names = _names(self.document.heading(s.metric, s.column) for s in scores), _names(s.candidate for s in scores)
            found.append((self._letters[flags[0]], meaning(joined(stem, flags)), f"{columns} of {names}"))
        return found

    @cached_property
    def broken(self) -> Grid | None:
        """Cells without a number, those of one reason together."""
        d, groups = self.document, dict[tuple[str, str], list[Score]]()
        for score in d.scores:
            if isinstance(score.outcome, Failed | Skipped):
                groups.setdefault((type(score.outcome).__name__.lower(), score.outcome.reason), []).append(score)
        rows = [
            (state, reason, _names(s.candidate for s in cells), _names(d.heading(s.metric, s.column) for s in cells), str(len(cells)))
            for (state, reason), cells in sorted(groups.items(), key=lambda item: item[0])
        ]
        heads = tuple(Head(name, words=True) for name in ("state", "reason", "candidates", "columns", "cells"))
        return Grid("Cells without a number", heads, tuple(tuple(map(Cell, row)) for row in rows), 1) if rows else None

    @cached_property
    def unranked(self) -> list[tuple[str, str]]:
        """Why candidates have no rank: the reason, and who."""
        groups: dict[str, list[str]] = {}
        for row in self.document.json["unranked"]:
            groups.setdefault(row["reason"], []).append(row["candidate"])
        return [(reason, _names(names)) for reason, names in groups.items()]

    @cached_property
    def confounding(self) -> tuple[str, list[str]]:
        """What is known of columns that are no merit: a sentence, and those that it is about."""
        if found := self.confounders:
            sentence = "The ranking is mostly the order by these columns, which are no merit; what it says beyond them is little:"
            return sentence, [f"{column}: Kendall's τ {tau:.2f} over {count} candidates" for column, tau, count in found]
        if len(self.document.json["ranking"]) >= _LEAST:
            return (
                "No column that is no merit, such as a size, orders the candidates as the ranking does (Kendall's |τ| is below "
                f"{_TAU} for all of them).",
                [],
            )
        return (
            "With fewer than five ranked candidates it is not tested whether the ranking is the order by size or another column that is no "
            "merit.",
            [],
        )

    @cached_property
    def confounders(self) -> list[tuple[str, float, int]]:
        """Columns that are no merit, by which the candidates stand almost as they were ranked: name, Kendall's tau, candidates."""
        orders = self._orders((key, 1.0) for key in self.document.columns if key[1].direction == "none")
        return [found for found in orders if abs(found[1]) >= _TAU]

    @cached_property
    def evidence(self) -> list[str]:
        """What is known of the metrics as forecasts of robustness, and of which nothing is."""
        known = self.document.json.get("evidence", {})
        groups: dict[str, list[str]] = {}
        for metric in dict.fromkeys(metric for metric, column in self.document.columns if column.direction != "none"):
            groups.setdefault(known.get(metric, "nothing is known."), []).append(metric)
        return [f"{_names(metrics)}: {sentence}" for sentence, metrics in groups.items()]

    @cached_property
    def agreement(self) -> str:
        """How the ranking agrees with merits that are shown beside it and that it was not made of; empty where there are none."""
        d = self.document
        asked = [(m, c) for m, c in d.headlines if c.direction != "none" and c.name not in d.json["ranked_by"]]
        orders = self._orders(((m, c), 1.0 if c.direction == "higher" else -1.0) for m, c in asked)
        told = "; ".join(f"{column}, Kendall's τ {tau:.2f} over {count} candidates" for column, tau, count in orders)
        return f"How the ranking agrees with what it was not made of: {told}." if told else ""

    def _orders(self, asked: Iterable[tuple[tuple[str, Column], float]]) -> list[tuple[str, float, int]]:
        """How the ranks agree with columns' numbers, each times a sign: name, Kendall's tau, candidates."""
        import numpy as np

        from robustradar.numerics.agreement import kendall

        d, found = self.document, []
        for (metric, column), sign in asked:
            pairs = [(-r["rank"], sign * m.value) for r in d.json["ranking"] if (m := d.measured(r["candidate"], metric, column.name))]
            tau = kendall(*np.array(pairs, dtype=float).T) if len(pairs) >= _LEAST else math.nan
            if not math.isnan(tau):  # as it is for a column that is all alike
                found.append((d.heading(metric, column), tau, len(pairs)))
        return found


def measured_cell(found: Measured, document: Document, column: Column, flags: tuple[str, ...] = ()) -> Cell:
    """A number with its interval, or a bound."""
    unit = document.unit(column)
    value = unit.scale * found.value
    if found.low is None and found.high is None:
        return Cell(short(value), value, flags=flags)
    decimals = unit.digits if found.low is None or found.high is None else unit.decimals(unit.scale * (found.high - found.low))
    ends = ["" if end is None else f"{unit.scale * end:z.{decimals}f}" for end in (found.low, found.high)]
    if "" not in ends:
        return Cell(f"{value:z.{decimals}f}", value, f"[{ends[0]}, {ends[1]}]", flags)
    interval = "" if found.bound else f"(−∞, {ends[1]}]" if not ends[0] else f"[{ends[0]}, ∞)"
    return Cell(f"{BOUNDS[found.bound]}{value:z.{unit.digits}f}", value, interval, flags)


def _apart(a: Measured, b: Measured) -> int:
    """1 where all of an interval lies above another, -1 where it lies below, 0 where they overlap."""
    (a_low, a_high), (b_low, b_high) = _ends(a), _ends(b)
    return (a_low > b_high) - (a_high < b_low)


def _ends(found: Measured) -> tuple[float, float]:
    """Between what a number lies: an end that alone is unknown is open."""
    if found.low is None and found.high is None:
        return found.value, found.value
    return -math.inf if found.low is None else found.low, math.inf if found.high is None else found.high


def _listed(names: Sequence[str], named: Callable[[str], str]) -> str:
    """The first names, each made to stand out, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(named, names[:_NAMED])) + more


def _names(names: Iterable[str]) -> str:
    """A list of names, not too long."""
    every = list(dict.fromkeys(names))
    return ", ".join(every[:_NAMED]) + (f" and {len(every) - _NAMED} more" if len(every) > _NAMED else "")
