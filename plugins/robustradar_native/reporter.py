"""The result as CSV, as Markdown and as a page to look at."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from robustradar import Reporter, Result, fixed
from robustradar.report import table


@dataclass(frozen=True)
class Csv(Reporter):
    """One line for every candidate and column."""

    name: str = fixed("csv")
    filename: str = fixed("scores.csv")

    def render(self, result: Result) -> str:
        """The scores, without their details."""
        names = ("candidate", "metric", "column", "state", "value", "low", "high", "unit", "direction", "flags", "reason")
        out = io.StringIO()
        writer = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for score in result.scores:
            row = score.json()
            writer.writerow({**row, "flags": " ".join(row["flags"])})
        return out.getvalue()


@dataclass(frozen=True)
class Markdown(Reporter):
    """The ranking, what not to trust, and how to repeat it."""

    name: str = fixed("markdown")
    filename: str = fixed("ranking.md")

    def render(self, result: Result) -> str:
        """A page for people and pull requests."""
        return table.document(result)


@dataclass(frozen=True)
class Html(Reporter):
    """One self-contained page: which to take, why, at what cost, what not to trust, and how to repeat it."""

    name: str = fixed("html")
    filename: str = fixed("report.html")

    def render(self, result: Result) -> str:
        """The page that `robustradar report` makes of the result's JSON."""
        from robustradar.report.document import Document
        from robustradar.report.page import page

        return page([Document.of(result)])
