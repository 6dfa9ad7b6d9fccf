"""The result as CSV, as Markdown and as a page to look at."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from robustradar import Reporter, Result, fixed


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
    """The page in Markdown, with tables in place of the figures, for pull requests."""

    name: str = fixed("markdown")
    filename: str = fixed("ranking.md")
    rows: Annotated[int, Field(ge=0, description="rows of a table at most, so that the text fits into a comment; 0: all")] = 30

    def render(self, result: Result) -> str:
        """The same answers as the page, in the same order."""
        return self.compare([("", result)])

    def compare(self, runs: Sequence[tuple[str, Result]]) -> str:
        """Runs side by side, then each of them."""
        from robustradar.report.document import Document
        from robustradar.report.markdown import markdown

        return markdown([Document.of(result, label) for label, result in runs], self.rows)


@dataclass(frozen=True)
class Html(Reporter):
    """One self-contained page: which to take, why, at what cost, what not to trust, and how to repeat it."""

    name: str = fixed("html")
    filename: str = fixed("report.html")

    def render(self, result: Result) -> str:
        """The page that `robustradar report` makes of the result's JSON."""
        return self.compare([("", result)])

    def compare(self, runs: Sequence[tuple[str, Result]]) -> str:
        """Runs side by side, then each of them."""
        from robustradar.report.document import Document
        from robustradar.report.page import page

        return page([Document.of(result, label) for label, result in runs])
