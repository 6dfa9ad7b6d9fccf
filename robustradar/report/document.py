"""A result's JSON document as reports read it: checked once, then looked things up in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from robustradar import filing
from robustradar.errors import UsageError
from robustradar.report import stored
from robustradar.report.cell import Unit, title, unit
from robustradar.values import JSON, Column, Measured, Result, Score, headlines, norm_order, number_text
from robustradar.values.result import SCHEMA

_LONGEST = 200


@dataclass(frozen=True, eq=False)
class Document:
    """One run.

    Attributes:
        json: The document of schema ``robustradar/1``.
        label: What a page that shows several runs calls it.
    """

    json: JSON
    label: str = ""

    @classmethod
    def of(cls, result: Result, label: str = "") -> Document:
        """A finished result, as it is read back from its file."""
        return cls(json.loads(json.dumps(result.json())), label)

    @cached_property
    def result(self) -> Result:
        """The result, for reporters."""
        return stored.result(self.json)

    @cached_property
    def scores(self) -> tuple[Score, ...]:
        """All cells."""
        return tuple(Score.of(row) for row in self.json["scores"])

    @cached_property
    def cells(self) -> dict[tuple[str, str, str], Score]:
        """The same by candidate, metric and column."""
        return {(s.candidate, s.metric, s.column.name): s for s in self.scores}

    @cached_property
    def order(self) -> list[str]:
        """All candidates, best first; those without a rank last."""
        placed = [row["candidate"] for row in self.json["ranking"]]
        return list(dict.fromkeys([*placed, *(row["candidate"] for row in self.json["unranked"]), *self.json["study"]["candidates"]]))

    @cached_property
    def ranks(self) -> dict[str, JSON | None]:
        """The ranking's rows by candidate, None of those without a rank."""
        return {**dict.fromkeys(self.order), **{row["candidate"]: row for row in self.json["ranking"]}}

    @cached_property
    def columns(self) -> list[tuple[str, Column]]:
        """Every metric's columns, in order."""
        return list(dict.fromkeys((s.metric, s.column) for s in self.scores))

    @cached_property
    def headlines(self) -> list[tuple[str, Column]]:
        """The columns of the main table, one a metric."""
        return list(headlines(self.scores).items())

    @cached_property
    def owners(self) -> dict[str, str]:
        """Whose a trained network is, by its key."""
        return {key: use["candidate"] for use in self.json["measurements"] for key in use["fits"]}

    def unit(self, column: Column) -> Unit:
        """How the study's data let a column be shown."""
        data = self.json["study"]["data"]
        return unit(column, data["shape"], data["bounds"])

    def heading(self, metric: str, column: Column) -> str:
        """A column's name in words, with its metric's parameters, or name, where several metrics yield it."""
        several = sum(c.name == column.name for _, c in self.columns) > 1
        return " ".join(filter(None, [title(column), (metric.partition(":")[2] or metric) if several else ""]))

    def measured(self, candidate: str, metric: str, column: str) -> Measured | None:
        """A cell's number, where there is one."""
        score = self.cells.get((candidate, metric, column))
        return score.outcome if score is not None and isinstance(score.outcome, Measured) else None


def by_seed(found: Measured) -> list[tuple[str, Measured]]:
    """A number's seeds, each with its own; an empty name where there is one alone."""
    seeds = found.details.get("seeds")
    if not isinstance(seeds, list) or not all(isinstance(s, dict) and isinstance(s.get("details"), dict) for s in seeds):
        return [("", found)]
    return [(str(s.get("seed", "")), _own(s, found)) for s in seeds]


def _own(seed: Mapping[str, Any], found: Measured) -> Measured:
    """A seed's number, with its own details."""
    value, low, high = (seed.get(name, getattr(found, name)) for name in ("value", "low", "high"))
    return Measured(value, low, high, details=seed["details"])


def objective(given: Mapping[str, Any]) -> str:
    """What training minimised, in words."""
    if given["form"] != "mixture":
        return f"{given['form']}, β = {number_text(given['beta'])}"
    return {0.0: "clean", 1.0: "adversarial"}.get(given["xi"], f"mixture, ξ = {number_text(given['xi'])}")


def read(run: str, where: str) -> Document:
    """A run's document, checked against the published schema.

    Args:
        run: The folder that `rank` wrote, or the file in it.
        where: What it was given by, for messages.

    Raises:
        UsageError: It is not there, cannot be read, or is no such document.
    """
    file = Path(run) / filing.RESULT if Path(run).is_dir() else Path(run)
    document = filing.read(file, SCHEMA, where, f"Give the folder that robustradar rank wrote, or its {filing.RESULT}.")
    if reason := _violation(document):
        raise UsageError(
            f"{file}: {reason}. It was changed, or written by a version of RobustRadar that this one does not read. "
            "Run rank again with the same store: what this version can use of it is not trained anew."
        )
    return Document(document, run)


def _violation(document: JSON) -> str:
    """The first thing that the schema forbids; empty where there is none."""
    import jsonschema

    schema = json.loads((resources.files("robustradar") / "report" / "scores.schema.json").read_text(encoding="utf-8"))
    error = next(jsonschema.Draft202012Validator(schema).iter_errors(document), None)
    if error:
        return f"{'/'.join(map(str, error.absolute_path)) or 'document'}: {error.message[:_LONGEST]}"
    try:
        norm_order(norm := document["study"]["threat"]["norm"])
    except ValueError:
        return f"study/threat/norm: got {norm!r}, expected linf or an order of at least 1"
    return ""
