"""The result as tables for a terminal, and which columns and claims reports show first."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from robustradar.report.cell import Unit, number, title, unit
from robustradar.report.flag import by_stem, joined, letters, meaning
from robustradar.values import Column, Failed, Measured, Result, Score, Skipped, counted

_ARROWS = {"higher": "↑", "lower": "↓", "none": ""}


def text(result: Result) -> str:
    """The ranking for a terminal, then failures, skipped cells and flags where there are any."""
    return "\n\n".join(filter(None, [_ranking(result), "\n".join(_notes(result)), _broken(result)]))


def held_out_claims(scores: Sequence[Score], candidate: str) -> list[str]:
    """A candidate's accuracies on the split that nothing was selected on, one a line."""
    claims = []
    for score in scores:
        if score.candidate == candidate and isinstance(score.outcome, Measured) and score.column.unit == "fraction":
            seeds = score.outcome.details.get("seeds", [{"details": score.outcome.details}])
            found = [seed["details"]["held_out"] for seed in seeds if "held_out" in seed["details"]]
            if found:
                low, high = min(f["low"] for f in found), max(f["high"] for f in found)
                value = sum(f["value"] for f in found) / len(found)
                claims.append(f"{title(score.column)}: {100 * value:.1f} % [{100 * low:.1f}, {100 * high:.1f}], n = {found[0]['n']}")
    return claims


def _ranking(result: Result) -> str:
    """The main table, best first, unranked candidates last."""
    shown = list(headlines(result.scores).items())
    cells = {(s.candidate, s.metric, s.column.name): s for s in result.scores}
    marks = _flag_marks(result)

    def cells_of(candidate: str) -> list[str]:
        return [_cell(cells.get((candidate, metric, column.name)), result, marks) for metric, column in shown]

    ranking = result.ranking
    own = [ranking.score] if ranking.score else []
    rows = [
        [row.rank, f"{row.rank_low}–{row.rank_high}", row.candidate, *(number(row.score) for _ in own), *cells_of(row.candidate)]
        for row in ranking.rows
    ]
    rows += [["–", "", name, *("" for _ in own), *cells_of(name)] for name, _ in ranking.unranked]
    head = ["rank", "95 %", "candidate", *own, *_heads(shown, result)]
    align = ["right", "left", "left", *["right"] * (len(head) - 3)]
    return tabulate(rows, head, tablefmt="simple", disable_numparse=True, colalign=align)


def headlines(scores: Sequence[Score]) -> dict[str, Column]:
    """Every metric's first column that is not skipped for all candidates; its first of all where there is none."""
    applying = {(s.metric, s.column.name) for s in scores if not isinstance(s.outcome, Skipped)}
    found: dict[str, Column] = {}
    for metric, column in dict.fromkeys((s.metric, s.column) for s in scores):
        if metric not in found or ((metric, found[metric].name) not in applying and (metric, column.name) in applying):
            found[metric] = column
    return found


def _heads(shown: Sequence[tuple[str, Column]], result: Result) -> list[str]:
    """Titles with unit, direction, and whether it was ranked by; with the metric's parameters where two metrics yield one column."""
    titles = [title(column) for _, column in shown]
    heads = []
    for metric, column in shown:
        star = "*" if column.name in result.ranking.columns else ""
        parameters = metric.partition(":")[2] if titles.count(title(column)) > 1 else ""
        named = f"{title(column)}{_unit(column, result).title}"
        heads.append(" ".join(filter(None, [named, parameters, _ARROWS[column.direction]])) + star)
    return heads


def _unit(column: Column, result: Result) -> Unit:
    """How the study's data let a column be shown."""
    return unit(column, result.study.task.shape, result.study.task.bounds)


def _cell(score: Score | None, result: Result, marks: dict[str, str]) -> str:
    """A number with its half-width and the letters of its flags, a bound where that is all there is, or the state."""
    match score.outcome if score else None:
        case Measured() as found if score is not None:
            shown = _unit(score.column, result)
            flags = "".join(sorted({marks[flag] for flag in found.flags}))
            if found.low is None or found.high is None:
                bound = {found.low: "≥ ", found.high: "≤ "}.get(found.value, "")
                return f"{bound}{number(shown.scale * found.value)}{flags and ' ' + flags}"
            half = shown.scale * (found.high - found.low) / 2
            decimals = shown.decimals(2 * half)
            return f"{shown.scale * found.value:.{decimals}f} ±{half:.{decimals}f}{flags and ' ' + flags}"
        case Failed():
            return "failed"
        case Skipped():
            return "skipped"
    return ""


def _flags(result: Result) -> dict[str, list[str]]:
    """The flags of what the table shows, by what stands before their colon."""
    shown = {(metric, column.name) for metric, column in headlines(result.scores).items()}
    scores = [s for s in result.scores if isinstance(s.outcome, Measured) and (s.metric, s.column.name) in shown]
    flags = sorted({flag for s in scores if isinstance(s.outcome, Measured) for flag in s.outcome.flags})
    return by_stem(flags)


def _flag_marks(result: Result) -> dict[str, str]:
    """A letter for every flag that the table shows; the same for those that differ in their values only."""
    stems = _flags(result)
    return {flag: letter for letter, flags in zip(letters(len(stems)), stems.values(), strict=True) for flag in flags}


def _notes(result: Result) -> list[str]:
    """What the table's signs mean."""
    columns = ", ".join(dict.fromkeys(result.ranking.columns))
    notes = [f"* ranked by {columns}. ± is half the 95 % interval; '95 %' is the interval of the rank."] if columns else []
    notes += result.ranking.notes
    marks = _flag_marks(result)
    return notes + [f"{marks[flags[0]]} = {meaning(joined(stem, flags))}" for stem, flags in _flags(result).items()]


def _broken(result: Result) -> str:
    """Failed cells, and skipped ones of columns that are shown or ranked by, with their reasons, columns of one reason together.

    Other skipped cells are only counted: a metric of many columns need not apply in all of them.
    """
    shown = {(metric, column.name) for metric, column in headlines(result.scores).items()}
    groups: dict[tuple[str, str, str], list[Score]] = {}
    for score in (score for score in result.scores if not isinstance(score.outcome, Measured)):
        row = score.json()
        groups.setdefault((row["candidate"], row["state"], row["reason"]), []).append(score)
    rows, aside = [], 0
    for (candidate, state, reason), scores in groups.items():
        if state == "failed" or any((s.metric, s.column.name) in shown or s.column.name in result.ranking.columns for s in scores):
            rows.append([candidate, ", ".join(s.column.name for s in scores), state, reason])
        else:
            aside += len(scores)
    table = tabulate(rows, ["candidate", "columns", "state", "reason"], tablefmt="simple", disable_numparse=True) if rows else ""
    more = f"{counted(aside, 'cell')} of columns that are not shown {'was' if aside == 1 else 'were'} skipped; the report tells why."
    return "\n\n".join(filter(None, [table, more if aside else ""]))
