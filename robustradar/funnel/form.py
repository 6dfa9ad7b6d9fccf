"""A funnel as text: for a terminal, and in Markdown. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from robustradar.funnel import Funneled, Passed, Stage, best_kept
from robustradar.report import markdown as page
from robustradar.report import table, terminal
from robustradar.report.cell import short
from robustradar.report.markdown import console, escaped
from robustradar.report.svg import printable

Draw = Callable[..., str]

_PLAN = ["stage", "tau", "candidates", "first", "best kept with"]
_STAGES = ["stage", "tau", "candidates", "first", "kept", "cut", "no rank", "samples passed", "seconds", "best kept with"]
_CUT = ["candidate", "cut by", "rank there", "95 %"]


def plan(stages: Sequence[Stage], width: int | None = None) -> str:
    """What a funnel will do, for `--dry-run`, in a table no wider than that."""
    candidates = [f"{len(stages[0].prepared.study.candidates)}", *(f">= {stage.first}" for stage in stages)]
    rows = []
    for place, stage in enumerate(stages, 1):
        tau, first = ("", "") if stage.tau is None else (f"{stage.tau:g}", f"{stage.first}")
        rows.append([f"{place} {stage.name}", tau, candidates[place - 1], first, f">= {_chance(stages[:place])}"])
    shown = terminal.table(rows, _PLAN, width, numbers=range(1, 5))
    return f"{shown}\n\n{_assumption(stages)}\nWho cannot be told from those by the 95 % interval of the rank goes on as well."


def text(found: Funneled, width: int | None = None) -> str:
    """The stages, the last one's ranking, and who did not get there.

    Args:
        found: What to show.
        width: How wide tables may be; None: any.
    """
    draw = partial(terminal.table, most=width)
    parts = [_stages(found, draw), _closing(found)]
    if found.ranking.rows:
        parts.append(table.text(found.passed[-1].result, width))
    parts += [_cut(found, draw), _unranked(found, draw)]
    return "\n\n".join(filter(None, parts))


def markdown(found: Funneled) -> str:
    """The same as a page; each stage's own page lies in its folder."""
    names = " → ".join(escaped(stage.name) for stage in found.stages)
    parts = [f"# Funnel: {names}", _stages(found, page.table), *map(escaped, _closing(found).splitlines())]
    own = [found.ranking.score] if found.ranking.score else []
    rows = [[row.rank, f"{row.rank_low}–{row.rank_high}", row.candidate, *(short(row.score) for _ in own)] for row in found.ranking.rows]
    if rows:
        head = ["rank", "95 %", "candidate", *own]
        parts += [f"## Ranking of {escaped(found.stages[-1].name)}", page.table(rows, head)]
        parts += ["\n".join(f"- {escaped(note)}" for note in found.ranking.notes)]
    for title, shown in (("Cut earlier", _cut(found, page.table)), ("Without a rank", _unranked(found, page.table))):
        parts += [f"## {title}", shown] if shown else []
    folders = "\n".join(f"- [{escaped(p.stage.name)}]({p.folder.name}/)" for p in found.passed)
    parts += ["## Stages in full", folders]
    if found.passed and (command := found.passed[-1].result.provenance.get("command")):
        parts += ["## Repeat", console(command)]
    return printable("\n\n".join(filter(None, parts))) + "\n"


def _stages(found: Funneled, draw: Draw) -> str:
    """A row a stage."""
    rows = [_stage(place, passed, found) for place, passed in enumerate(found.passed, 1)]
    rows += [[f"{n} {stage.name}", "", "0", *[""] * 7] for n, stage in enumerate(found.stages[len(found.passed) :], len(found.passed) + 1)]
    return draw(rows, _STAGES, numbers=range(1, len(_STAGES)))


def _stage(place: int, passed: Passed, found: Funneled) -> list[str]:
    """One stage's cells."""
    stage, ranking = passed.stage, passed.result.ranking
    last = stage.tau is None
    return [
        f"{place} {stage.name}",
        "" if stage.tau is None else f"{stage.tau:g}",
        str(len(passed.result.study.candidates)),
        "" if last else str(stage.first),
        "" if last else str(len(passed.kept)),
        "" if last else str(len(passed.cut)),
        str(len(ranking.unranked)),
        short(passed.cost.forward + passed.cost.backward),
        f"{passed.cost.seconds:.0f}",
        f">= {_chance(found.stages[:place])}",
    ]


def _closing(found: Funneled) -> str:
    """What the numbers rest on, what it cost, and what did not come about."""
    parts = [_assumption(found.stages)]
    if any(p.result.ranking.unranked for p in found.passed):
        parts.append("That holds among the candidates that could be ranked.")
    if found.share is not None:
        parts.append(
            f"{short(found.work)} samples passed forward and backward, {100 * found.share:.3g} % of what {found.stages[-1].name} "
            f"would have taken on all {found.candidates}, at the average of those that reached it."
        )
    if len(found.passed) < len(found.stages):
        parts.append(f"Stage {found.passed[-1].stage.name} could rank nobody: the stages after it were not run.")
    return "\n".join(parts)


def _assumption(stages: Sequence[Stage]) -> str:
    """What the chances rest on."""
    taus = ", ".join(f"{stage.name} {stage.tau:g} ({stage.source})" for stage in stages if stage.tau is not None)
    return (
        f"The truly best candidate is kept with a chance of at least {_chance(stages)} if each ranking and the truth are a "
        f"Gaussian copula with the Kendall's tau that is assumed: {taus}."
    )


def _chance(stages: Sequence[Stage]) -> str:
    """The chance after these stages, rounded down: it is a promise."""
    return f"{math.floor(1000 * best_kept(stages)) / 1000:.3f}"


def _cut(found: Funneled, draw: Draw) -> str:
    """Who was cut, the latest first; empty where nobody was."""
    rows: list[list[object]] = [
        [row.candidate, p.stage.name, row.rank, f"{row.rank_low}–{row.rank_high}"] for p in reversed(found.passed) for row in p.cut
    ]
    return draw(rows, _CUT) if rows else ""


def _unranked(found: Funneled, draw: Draw) -> str:
    """Who could not be ranked, where, and why; empty where all could."""
    rows: list[list[object]] = [[candidate, p.stage.name, reason] for p in found.passed for candidate, reason in p.result.ranking.unranked]
    return draw(rows, ["candidate", "no rank at", "reason"]) if rows else ""
