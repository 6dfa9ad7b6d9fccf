"""Several runs side by side: their candidates' ranks and numbers, and in what the runs differ."""

from __future__ import annotations

from collections.abc import Sequence

from robustradar.report.account import protocol
from robustradar.report.document import Document
from robustradar.report.flag import letters
from robustradar.report.grid import Cell, Grid, Head
from robustradar.report.view import measured_cell
from robustradar.values import Column


def names(documents: Sequence[Document]) -> list[str]:
    """A short name for every run: A, B and so on."""
    return [letter.upper() for letter in letters(len(documents))]


def candidates(documents: Sequence[Document]) -> Grid:
    """A row a candidate; every column once for each run that has it."""
    runs = list(zip(names(documents), documents, strict=True))
    shown: dict[tuple[str, Column], None] = dict.fromkeys(key for _, d in runs for key in d.headlines)
    heads = [Head("candidate", words=True), *(Head(f"rank, {run}") for run, _ in runs)]
    heads += [
        Head(f"{d.heading(metric, column)}{d.unit(column).title}, {run}", column.direction, column.name in d.json["ranked_by"])
        for metric, column in shown
        for run, d in runs
        if (metric, column) in d.headlines
    ]
    rows = []
    for name in dict.fromkeys(name for _, d in runs for name in d.order):
        numbers = [_number(d, name, metric, column) for metric, column in shown for _, d in runs if (metric, column) in d.headlines]
        rows.append((Cell(name), *(_rank(d, name) for _, d in runs), *numbers))
    return Grid("The candidates of all runs", tuple(heads), tuple(rows))


def _rank(document: Document, candidate: str) -> Cell:
    """A candidate's rank in a run, with its interval."""
    row = document.ranks.get(candidate)
    if row is None:
        return Cell("–", reason="not ranked" if candidate in document.ranks else "not in this run")
    return Cell(str(row["rank"]), row["rank"], f"[{row['rank_low']}, {row['rank_high']}]")


def _number(document: Document, candidate: str, metric: str, column: Column) -> Cell:
    """A number, or the state, which the run's own part explains."""
    score = document.cells.get((candidate, metric, column.name))
    found = document.measured(candidate, metric, column.name)
    if found is None:
        return Cell(type(score.outcome).__name__.lower() if score else "–")
    return measured_cell(found, document, column)


def differences(documents: Sequence[Document]) -> list[str]:
    """What of the protocol is not the same in all runs."""
    found = [protocol(document) for document in documents]
    return [name for name in found[0] if len({each[name] for each in found}) > 1]


def sentence(documents: Sequence[Document]) -> str:
    """Whether the runs' numbers are of one kind."""
    if differing := differences(documents):
        return f"The runs differ in {', '.join(differing)}: compare numbers with that in mind."
    return "The runs have the same protocol: their numbers are of one kind."


def runs(documents: Sequence[Document]) -> Grid:
    """What each run was asked, with what differs marked."""
    found = [{"run": document.label, "study": document.json["study"]["name"], **protocol(document)} for document in documents]
    found = [{**each, "time": document.json["provenance"]["time"]} for each, document in zip(found, documents, strict=True)]
    differing = set(differences(documents))
    heads = [Head("", words=True), *(Head(name, words=True) for name in names(documents))]
    rows = [(Cell(f"{name}{' (differs)' if name in differing else ''}"), *(Cell(each[name]) for each in found)) for name in found[0]]
    marked = frozenset(place for place, name in enumerate(found[0]) if name in differing)
    return Grid("The runs", tuple(heads), tuple(rows), 0, marked)
