"""`robustradar fidelity`: whether scores predict a truth."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustradar.cli import completion, exit_code, option
from robustradar.filing import RESULT, STORE, put

if TYPE_CHECKING:
    from robustradar.values import Result

EXAMPLES = f"""Examples:

  robustradar fidelity --truth truth.csv --data digits --eps 0.1 --metric tradeoff/influence --out robustradar-results/fidelity

  robustradar fidelity --truth table.csv --candidate 'papers/nasbench201:cell={{arch}}' --truth-column accuracy --score synflow:higher

{exit_code.told(0, 2, 3, 4, 130, own={3: "a score failed for some candidates"})}
"""

TruthFile = Annotated[
    Path, typer.Option("--truth", metavar="FILE", help="CSV with the columns candidate, truth and, if known, sd and cost.")
]
Candidate = Annotated[
    str, typer.Option("--candidate", metavar="TEMPLATE", help="A candidate's name from the columns, e.g. papers/mlp:width={width}.")
]
Column = Annotated[str, typer.Option("--truth-column", metavar="COLUMN", help="The column of the truth; more is better.")]
Sd = Annotated[
    float | None, typer.Option("--truth-sd", min=0.0, metavar="X", help="The truth's own standard deviation, where no column sd has it.")
]
Cost = Annotated[
    float | None,
    typer.Option("--truth-cost", min=0.0, metavar="N", help="Samples that its training passed forward and backward, likewise."),
]
Sample = Annotated[int | None, typer.Option("--sample", min=5, metavar="N", help="Take N candidates, evenly spaced in the truth's order.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of the sample, and of bootstrap and pools.")]
Part = Annotated[str | None, typer.Option("--part", metavar="K/N", help="Take the K-th of N parts, by a hash of each candidate's name.")]
Scores = Annotated[
    list[str] | None,
    typer.Option("--score", metavar="COLUMN:higher|lower", help="Judge a column of the table; a:higher+b:lower: the mean rank."),
]
ScoreCosts = Annotated[
    list[str] | None,
    typer.Option(
        "--score-cost", metavar="COLUMN=N", help="Samples passed forward and backward for a column of the table; a+b=N: for both at once."
    ),
]
Trivial = Annotated[list[str] | None, typer.Option("--trivial", metavar="COLUMN:higher|lower", help="The same, of what scores must beat.")]
Runs = Annotated[
    list[str] | None, typer.Option("--run", metavar="DIR", help="Judge a finished run's columns; nothing is computed. Repeat it.")
]
Rankers = Annotated[
    list[str] | None,
    typer.Option("--ranker", metavar="REF", help="Judge a ranker's order, too. Repeat it.", autocompletion=completion.references("ranker")),
]
NoTrivial = Annotated[bool, typer.Option("--no-trivial", help="Do not train for clean accuracy and one weak step beside --metric.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write fidelity.json, .md, .html and the figure there.")]


def fidelity(  # noqa: PLR0913, PLR0917 (one parameter an option)
    truth: TruthFile,
    candidate: Candidate = "{candidate}",
    truth_column: Column = "truth",
    truth_sd: Sd = None,
    truth_cost: Cost = None,
    sample: Sample = None,
    seed: Seed = 0,
    part: Part = None,
    score: Scores = None,
    score_cost: ScoreCosts = None,
    trivial: Trivial = None,
    run: Runs = None,
    ranker: Rankers = None,
    no_trivial: NoTrivial = False,
    metric: option.Metric = None,
    data: option.Data = None,
    norm: option.Norm = None,
    eps: option.Eps = None,
    attack: option.Attack = None,
    recipe: option.Recipe = None,
    seeds: option.Seeds = None,
    device: option.Where = option.Device.AUTO,
    store: option.Store = STORE,
    out: Out = None,
    registry: option.Registry = None,
    plugin: option.Plugin = None,
    as_json: option.Json = False,
    quiet: option.Quiet = False,
    events: option.Events = None,
) -> None:
    """Judge scores by a table of truths: Kendall's τ, regret and recall, always beside trivial scores, with costs and a verdict.

    Scores are every directed column of --metric, computed as rank does, or of finished runs (--run), and columns of the table (--score).
    """  # noqa: DOC501 (it is the command's help)
    from robustradar import fidelity as judging
    from robustradar.errors import UsageError
    from robustradar.fidelity import form, page
    from robustradar.registry import Request
    from robustradar.report import document, terminal, write

    if metric and run:
        raise UsageError("--run: got a run and --metric, expected one of them. Compute first with rank, then give all runs by --run.")
    if events and not metric:
        raise UsageError("--events: got no --metric, expected one: nothing is computed, so nothing happens. Give --metric, or drop it.")
    parts, spent = judging.part(part) if part else None, tuple(score_cost or ())
    how = judging.Reading(candidate, truth_column, truth_sd, truth_cost, parts, sample, seed, spent)
    request = Request(None, data, norm, eps, attack, recipe, option.repeated(metric), seeds=seeds)
    scoring = judging.Scoring(request, not no_trivial, store, device.value, tuple(plugin or ()), registry)
    table = judging.read(truth, how)
    entries = judging.Entries(tuple(score or ()), tuple(trivial or ()), tuple(ranker or ()))
    runs = [document.read(name, "--run") for name in run or ()]
    if out is not None:
        write.writable(out)
    command = option.typed()
    hearing = partial(judging.computed, table, scoring, entries, command=command, listeners=option.listeners(events))
    result = _heard(hearing, quiet=quiet) if metric else None
    runs += [document.Document.of(result)] if result else []
    found = judging.fidelity(table, runs, entries, scoring, command)
    print(form.as_json(found) if as_json else form.text(found, terminal.width()), end="\n" * (not as_json))
    if out is not None:
        files = {RESULT: write.as_json(result)} if result else {}
        written = [str(put(out / name, text)) for name, text in (files | page.files(found)).items()]
        print(f"\nWritten: {', '.join(written)}", file=sys.stderr if as_json else sys.stdout)
    if found.failed:
        print(f"{len(found.failed)} of {len(found.judgements)} scores failed for some candidates; the reasons are above.", file=sys.stderr)
        raise typer.Exit(3)


def _heard(computed: Callable[..., Result], *, quiet: bool) -> Result:
    """The run that scores the table's candidates, with its progress shown."""
    from robustradar.cli.interruption import resumable
    from robustradar.cli.progress import listener

    with resumable(), listener(quiet=quiet) as progress:
        return computed(progress=progress)
