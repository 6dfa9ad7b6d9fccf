"""A comparison as text: for the terminal, Markdown, JSON, JUnit, SARIF and GitHub. Pure; the standard library writes the XML."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote
from xml.etree import ElementTree

import robustradar
from robustradar.gate.compare import Comparison, Row, Verdict
from robustradar.report import markdown as page
from robustradar.report import terminal
from robustradar.report.flag import meaning
from robustradar.report.markdown import escaped
from robustradar.report.svg import printable
from robustradar.report.terminal import plain
from robustradar.values import counted

SCHEMA = "robustradar-check/1"
SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_HEAD = ("candidate", "column", "baseline", "now", "change", "95 %", "p", "verdict")
# What GitHub keeps of a step's summary.
SUMMARY_BYTES = 1 << 20
# Of each finding: its level, what it means, what to do.
_RULES: Mapping[Verdict, tuple[str, str, str]] = {
    "regression": (
        "error",
        "A score is worse than the baseline's by more than its tolerance and by more than chance explains.",
        "Mend what made it worse. Where the loss is meant, accept it by robustradar check --update and commit the baseline.",
    ),
    "unjudged": (
        "warning",
        "A score could not be compared with the baseline's.",
        "The message says why. Mend what fails, or run and save the baseline with more seeds.",
    ),
    "improvement": (
        "note",
        "A score is better than the baseline's by more than its tolerance and by more than chance explains.",
        "Keep what was gained by robustradar check --update: later runs are then compared with it.",
    ),
    "change": (
        "note",
        "A score of which no direction is better differs from the baseline's by more than chance explains.",
        "Where the change is meant, accept it by robustradar check --update.",
    ),
}
TOLERATED, CHANCE = "within tolerance", "within chance"
_WORDS: Mapping[Verdict, str] = {
    "regression": "regressed",
    "unjudged": "not judged",
    "improvement": "improved",
    "change": "changed",
    "same": "same",
    "new": "new",
}
# What XML 1.0 cannot hold, not even escaped.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class View:
    """What a form shows.

    Attributes:
        baseline: The baseline's path from the repository's root: what findings are told of.
        changed_only: Whether cells that are the same are left out. SARIF and annotations never have them.
        width: How wide a terminal's table may be; None: any.
    """

    baseline: str
    changed_only: bool = False
    width: int | None = None

    def rows(self, comparison: Comparison) -> tuple[Row, ...]:
        """Those to show."""
        return tuple(row for row in comparison.rows if row.verdict != "same") if self.changed_only else comparison.rows


def text(comparison: Comparison, view: View) -> str:
    """For a terminal: the table, reasons and remarks, and a closing sentence."""
    table = _table(view.rows(comparison), partial(terminal.table, most=view.width))
    return "\n\n".join(filter(None, [table, "\n".join(map(plain, _remarks(comparison))), summary(comparison)])) + "\n"


def markdown(comparison: Comparison, view: View) -> str:
    """For a pull request."""
    remarks = "\n".join(f"- {escaped(remark)}" for remark in _remarks(comparison))
    parts = ["## Robustness against the baseline", summary(comparison), _table(view.rows(comparison), page.table), remarks]
    return printable("\n\n".join(filter(None, parts))) + "\n"


def as_json(comparison: Comparison, view: View) -> str:
    """The document of schema ``robustradar-check/1``."""
    document = {
        "schema": SCHEMA,
        "verdict": comparison.verdict,
        "counts": {verdict: len(comparison.of(verdict)) for verdict in _WORDS},
        "alpha": comparison.alpha,
        "surroundings": list(comparison.surroundings),
        "cells": [row.json() for row in view.rows(comparison)],
    }
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def junit(comparison: Comparison, view: View) -> str:
    """A test case a cell: failures are regressions, errors could not be judged.

    Sentences are told twice, as a message for Jenkins and as the element's text, which is all that GitLab reads.
    """
    rows = view.rows(comparison)
    counts = {
        "tests": len(rows),
        "failures": len(comparison.of("regression")),
        "errors": len(comparison.of("unjudged")),
    }
    totals = {name: str(count) for name, count in counts.items()}
    root = ElementTree.Element("testsuites", {"name": "robustradar check", **totals})
    skipped = str(sum(_no_number(row) for row in rows))
    suite = ElementTree.SubElement(root, "testsuite", {"name": "robustradar check", **totals, "skipped": skipped})
    for row in rows:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": _xml(row.candidate), "name": _xml(f"{row.metric} {row.column.name}")}
        )
        kind = {"regression": "failure", "unjudged": "error"}.get(row.verdict, "skipped" if _no_number(row) else None)
        if kind:
            told = _xml(sentence(row))
            ElementTree.SubElement(case, kind, {"type": row.verdict, "message": told}).text = told
        elif row.verdict != "same":
            ElementTree.SubElement(case, "system-out").text = _xml(sentence(row))
    ElementTree.indent(root, " ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def sarif(comparison: Comparison, view: View) -> str:
    """SARIF 2.1.0: a result for every cell that differs, told of the baseline's file."""
    rules = [
        {
            "id": name,
            "shortDescription": {"text": f"Robustness {_WORDS[name]}"},
            "fullDescription": {"text": words},
            "help": {"text": advice},
            "defaultConfiguration": {"level": level},
        }
        for name, (level, words, advice) in _RULES.items()
    ]
    region = {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 2}
    place = {"physicalLocation": {"artifactLocation": {"uri": quote(view.baseline.replace("\\", "/"))}, "region": region}}
    results = [
        {
            "ruleId": row.verdict,
            "level": _RULES[row.verdict][0],
            "message": {"text": sentence(row)},
            "locations": [place],
            # The one name that GitHub takes; by the line alone, all cells would be one alert.
            "partialFingerprints": {"primaryLocationLineHash": _fingerprint(row)},
        }
        for row in comparison.of("regression", "unjudged", "improvement", "change")
    ]
    driver = {"name": "robustradar", "version": robustradar.__version__, "rules": rules}
    document = {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def github(comparison: Comparison, view: View) -> str:
    """The table for a job's log, and a workflow command a cell that differs, which GitHub shows as annotations."""
    level = {"regression": "error", "unjudged": "warning", "improvement": "notice", "change": "notice"}
    lines = [
        f"::{level[row.verdict]} file={_property(view.baseline)},line=1,title={_property(f'{row.candidate}: {_WORDS[row.verdict]}')}::"
        f"{_command(sentence(row))}"
        for row in comparison.of("regression", "unjudged", "improvement", "change")
    ]
    # A name that begins a line of the log with two colons would be a command, too; a carriage return alone begins one.
    log = re.sub(r"(^|\r)(\s*)::", r"\1\2: :", text(comparison, view), flags=re.MULTILINE)
    return log + "".join(f"{line}\n" for line in lines)


def step_summary(comparison: Comparison) -> str:
    """Markdown that fits into a step's summary: all cells, else those that differ, else the first sentence."""
    whole = (markdown(comparison, View("")), markdown(comparison, View("", changed_only=True)), summary(comparison) + "\n")
    return next(page for page in whole if len(page.encode()) <= SUMMARY_BYTES)


def sentence(row: Row) -> str:
    """One cell in words."""
    where = f"{row.column.name} of {row.candidate} ({row.metric})"
    if row.change is None or row.before is None or row.now is None:
        return f"{where}: {_WORDS[row.verdict]}{f': {row.reason}' if row.reason else ''}."
    before, now = _value(row, row.before), _value(row, row.now)
    said = f"{where}: {_WORDS[row.verdict]}, {before} before, {now} now, {_change(row)} {_interval(row)}".rstrip()
    chance = "" if row.p is None else f"; p = {_p(row)} ({row.test})"
    return f"{said}{chance}; tolerance {_value(row, row.tolerance or 0.0)}{f'; {row.reason}' if row.reason else ''}."


def summary(comparison: Comparison) -> str:
    """How many cells there are of each verdict."""
    told = [f"{len(rows)} {words}" for verdict, words in _WORDS.items() if verdict != "same" and (rows := comparison.of(verdict))]
    lead = {"regression": "Regression", "unjudged": "Not judged"}.get(comparison.verdict, "No regression")
    return f"{lead}: {counted(len(comparison.rows), 'cell')} compared{', ' * bool(told)}{', '.join(told)}."


def _fingerprint(row: Row) -> str:
    """What a cell is known by from run to run."""
    return hashlib.sha256(json.dumps([row.candidate, row.metric, row.column.name]).encode()).hexdigest()


def _no_number(row: Row) -> bool:
    """Whether a cell has nothing to judge, and none is missing."""
    return row.change is None and row.verdict in ("same", "new")


def _table(rows: Sequence[Row], draw: Callable[..., str]) -> str:
    """The rows; empty where there are none."""
    if not rows:
        return ""
    metrics: dict[str, set[str]] = {}
    for row in rows:
        metrics.setdefault(row.column.name, set()).add(row.metric)
    return draw([_cells(row, len(metrics[row.column.name]) > 1) for row in rows], _HEAD, numbers=range(2, 7))


def _cells(row: Row, several: bool) -> list[str]:
    """One line of the table; with the metric where several have this column."""
    column = f"{row.column.name} ({row.metric})" if several else row.column.name
    before, now = ("–" if value is None else _value(row, value) for value in (row.before, row.now))
    verdict = row.verdict.upper() if row.verdict == "regression" else _words(row)
    return [row.candidate, column, before, now, _change(row), _interval(row), "" if row.p is None else _p(row), verdict]


def _words(row: Row) -> str:
    """A verdict in words; what passes though it differs says why."""
    if row.verdict == "same" and row.change:
        return TOLERATED if row.tolerated else CHANCE
    return _WORDS[row.verdict]


def _remarks(comparison: Comparison) -> list[str]:
    """Reasons, flags that are new, and what else differs."""
    reasons: dict[str, list[str]] = {}
    for row in comparison.of("unjudged"):
        reasons.setdefault(row.reason or "", []).append(f"{row.column.name} of {row.candidate}")
    found = [f"not judged: {', '.join(cells)}: {reason}" for reason, cells in reasons.items()]
    flags: dict[str, list[str]] = {}
    for row in comparison.rows:
        for flag in row.flags:
            flags.setdefault(flag, []).append(f"{row.column.name} of {row.candidate}")
    found += [f"new flag: {', '.join(cells)}: {meaning(flag)}" for flag, cells in flags.items()]
    # What does not matter where nothing changed only distracts there.
    differs = any(row.change for row in comparison.rows)
    return found + [f"differs: {what}" for what in comparison.surroundings if differs]


def _value(row: Row, value: float) -> str:
    """A value in the table's unit: fractions in percent."""
    return f"{100 * value:.2f} %" if row.column.unit == "fraction" else f"{value:.4g}"


def _change(row: Row) -> str:
    """The change with its sign, in points for fractions."""
    if row.change is None:
        return ""
    return f"{100 * row.change:+.2f}" if row.column.unit == "fraction" else f"{row.change:+.3g}" if row.change else "0"


def _interval(row: Row) -> str:
    """The change's 95 % interval."""
    if row.low is None or row.high is None or row.low == row.high:
        return ""
    scale, form = (100, "+.2f") if row.column.unit == "fraction" else (1, "+.3g")
    return f"[{scale * row.low:{form}}, {scale * row.high:{form}}]"


def _p(row: Row) -> str:
    """p, short."""
    p = row.p or 0.0
    return "1" if p == 1 else "0" if p == 0 else f"{p:.3f}" if p >= 0.001 else f"{p:.0e}"


def _xml(value: str) -> str:
    """Text without what XML cannot hold."""
    return _NO_XML.sub("�", value)


def _command(value: str) -> str:
    """A workflow command's message."""
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    """A workflow command's property."""
    return _command(value).replace(":", "%3A").replace(",", "%2C")


FORMS: Mapping[str, Callable[[Comparison, View], str]] = {
    "table": text,
    "markdown": markdown,
    "json": as_json,
    "junit": junit,
    "sarif": sarif,
    "github": github,
}
