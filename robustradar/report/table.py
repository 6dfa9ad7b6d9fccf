"""The result as tables for a terminal, and which claims reports show first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from robustradar.report import terminal
from robustradar.report.cell import BOUNDS, Unit, short, title, unit
from robustradar.report.flag import FAILED_ATTACK, by_stem, joined, letters, meaning
from robustradar.report.terminal import plain
from robustradar.values import Column, Measured, Result, Score, counted, headlines

_ARROWS = {"higher": "↑", "lower": "↓", "none": ""}
# Chosen here: a terminal is told so many reasons, and so many names and columns of each.
_REASONS, _NAMES, _COLUMNS = 6, 3, 8
# Chosen here: an interval lies askew where its sides differ by more than this part of half its width.
_ASKEW = 0.25


def text(result: Result, width: int | None = None) -> str:
    """The ranking for a terminal, then flags, and why candidates have no rank and cells no number, where there are any.

    Args:
        result: What to show.
        width: How wide the table may be; None: any.
    """
    return "\n\n".join(filter(None, [_ranking(result, width), "\n".join(_notes(result)), "\n".join(_reasons(result))]))


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


def doubts(scores: Sequence[Score], candidates: Sequence[str], ranked_by: Sequence[str]) -> list[str]:
    """What speaks against candidates: flags of the columns that they were ranked by which say that the attack failed on them."""
    signs: dict[str, dict[str, None]] = {}
    for score in scores:
        if score.candidate in candidates and score.column.name in ranked_by and isinstance(score.outcome, Measured):
            found = [flag for flag in score.outcome.flags if flag.partition(":")[0] in FAILED_ATTACK]
            signs.setdefault(score.candidate, {}).update(dict.fromkeys(found))
    return [
        f"Doubt {name}: by its flags ({', '.join(flags)}) the attack failed on it, which looks just like robustness."
        for name in candidates
        if (flags := signs.get(name))
    ]


def _ranking(result: Result, width: int | None) -> str:
    """The main table, best first, unranked candidates last."""
    shown = _shown(result)
    cells = {(s.candidate, s.metric, s.column.name): s for s in result.scores}
    marks = _flag_marks(result)

    def cells_of(candidate: str) -> list[str]:
        return [_cell(cells.get((candidate, metric, column.name)), result, marks) for metric, column in shown]

    ranking = result.ranking
    own = [ranking.score] if ranking.score else []
    rows = [
        [row.rank, f"{row.rank_low}–{row.rank_high}", row.candidate, *(short(row.score) for _ in own), *cells_of(row.candidate)]
        for row in ranking.rows
    ]
    rows += [["–", "", name, *("" for _ in own), *cells_of(name)] for name, _ in ranking.unranked]
    head = ["rank", "95 %", "candidate", *own, *_heads(shown, result)]
    return terminal.table(rows, head, width, numbers=[0, *range(3, len(head))], kept=3)


def _shown(result: Result) -> list[tuple[str, Column]]:
    """The table's columns: every metric's first, which is what was asked for, and its headline where the first is skipped for all."""
    first: dict[str, Column] = {}
    for score in result.scores:
        first.setdefault(score.metric, score.column)
    heads = headlines(result.scores)
    return [(metric, column) for metric in first for column in dict.fromkeys((first[metric], heads[metric]))]


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
    """A number with its interval and the letters of its flags, or the state."""
    if score is None:
        return ""
    if not isinstance(score.outcome, Measured):
        return type(score.outcome).__name__.lower()
    flags = "".join(sorted({marks[flag] for flag in score.outcome.flags}))
    return " ".join(filter(None, [_number(score.outcome, _unit(score.column, result)), flags]))


def _number(found: Measured, shown: Unit) -> str:
    """A number with its half-width, or its interval where that lies askew; a bound where that is all there is."""
    value = shown.scale * found.value
    if found.low is None or found.high is None:
        return f"{BOUNDS[found.bound]}{short(value)}"
    low, high = shown.scale * found.low, shown.scale * found.high
    half, decimals = (high - low) / 2, shown.decimals(high - low)
    if abs((high - value) - (value - low)) > _ASKEW * half:
        return f"{value:z.{decimals}f} [{low:z.{decimals}f}, {high:z.{decimals}f}]"
    return f"{value:z.{decimals}f} ±{half:.{decimals}f}"


def _flags(result: Result) -> dict[str, list[str]]:
    """The flags of what the table shows, by what stands before their colon."""
    shown = {(metric, column.name) for metric, column in _shown(result)}
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
    signs = "± is half the 95 % interval, brackets hold one that lies askew; '95 %' is the interval of the rank."
    firsts = [row.candidate for row in result.ranking.rows if row.rank_low == 1 or row.rank == 1]
    notes = doubts(result.scores, firsts, result.ranking.columns)[:_REASONS]
    notes += [f"* ranked by {columns}. {signs}"] if columns else []
    notes += result.ranking.notes
    marks = _flag_marks(result)
    notes += [f"{marks[flags[0]]} = {meaning(joined(stem, flags))}" for stem, flags in _flags(result).items()]
    return [plain(note) for note in notes]


def _reasons(result: Result) -> list[str]:
    """Why candidates have no rank, and cells no number: each reason once, failures first, then what the table shows."""
    shown = {(metric, column.name) for metric, column in _shown(result)}
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in result.scores:
        if not isinstance(score.outcome, Measured):
            row = score.json()
            groups.setdefault((row["state"], row["reason"]), []).append(score)
    order = sorted(groups, key=lambda key: (key[0] != "failed", not any((s.metric, s.column.name) in shown for s in groups[key])))
    told = []
    for state, reason in order[:_REASONS]:
        scores = groups[state, reason]
        told += [f"{_few((s.candidate for s in scores), _NAMES)} {state}: {plain(reason)}"]
        told += [f"  {_few((s.column.name for s in scores), _COLUMNS)}"]
    told += _more(len(order))
    outcomes = [score.outcome for key in order[:_REASONS] for score in groups[key]]
    unranked = _unranked(result, [o.reason for o in outcomes if not isinstance(o, Measured)])
    return [*unranked, *([""] if unranked and told else []), *told]


def _unranked(result: Result, told: Sequence[str]) -> list[str]:
    """Who has no rank and why, less the reasons that are told anyway."""
    groups: dict[str, list[str]] = {}
    for candidate, why in result.ranking.unranked:
        ends = (f": {reason}" for reason in told)
        groups.setdefault(why.removesuffix(next(filter(why.endswith, ends), "")), []).append(candidate)
    lines = [f"No rank: {_few(names, _NAMES)}: {plain(why)}" for why, names in groups.items()]
    return [*lines[:_REASONS], *_more(len(lines))]


def _more(reasons: int) -> list[str]:
    """What is left out."""
    return [f"… and {counted(reasons - _REASONS, 'more reason')}; the report has all."] if reasons > _REASONS else []


def _few(names: Iterable[str], most: int) -> str:
    """The first names, and how many more there are."""
    every = list(dict.fromkeys(map(plain, names)))
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
