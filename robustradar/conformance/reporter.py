"""The clauses of reporters, on results with names that mean harm."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import math
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from robustradar.conformance import trace
from robustradar.conformance.clause import Breach, Inapplicable, Subject
from robustradar.values import (
    CLEAN,
    Column,
    Cost,
    Failed,
    FitRecord,
    FitSpec,
    FitUse,
    Measured,
    MeasurementUse,
    Outcome,
    Ranking,
    RankingRow,
    Ref,
    Result,
    Score,
    Skipped,
    Study,
    Task,
    Threat,
)

# Names come from strangers: what each kind of document must not take for its own.
HOSTILE = ('<script>alert("rr")</script>', "a|b\n`c`", '=HYPERLINK("x")', "<img src=x onerror=alert(1)>", "näme & “quotes” \u202e,;\t]]>")
_ACCURACY, _SIZE = Column("clean_accuracy", "higher", "fraction"), Column("parameters", "none", "1")


def result(names: tuple[str, ...] = ("papers/mlp:width=32", "papers/cnn", "papers/linear")) -> Result:
    """What a run of these candidates could have found: the last but one skipped, the last failed, the others ranked."""
    ref = {name: Ref(name, (), "conformance", name) for name in (*names, "digits", "pgd", "quick", "accuracy", "size", "rank-mean")}
    task = Task(ref["digits"], "f" * 40, (1, 8, 8), 10, 10, (0.0, 1.0), {"train": 100, "evaluation": 20, "final": 10})
    threat, metrics = Threat(math.inf, 8 / 255, (0.0, 1.0)), (ref["accuracy"], ref["size"])
    candidates = tuple(ref[name] for name in names)
    study = Study("study", candidates, task, threat, ref["pgd"], ref["quick"], metrics, ref["rank-mean"], (), (0, 1))
    scores: list[Score] = []
    for i, name in enumerate(names):
        held = {"held_out": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}}
        found = Measured(0.9 - i / 1000, 0.8 - i / 1000, 0.95 - i / 1000, ("selected-on-evaluation", names[0]), held)
        odd: dict[int, Outcome] = {len(names) - 1: Failed(f"ValueError: {name}", f"architecture {name}"), len(names) - 2: Skipped(name)}
        scores += [Score(name, "accuracy", _ACCURACY, odd.get(i, found)), Score(name, "size", _SIZE, Measured(1000.0 * i))]
    placed = names[:-2]
    rows = tuple(RankingRow(i, max(1, i - 1), min(len(placed), i + 1), name, float(i)) for i, name in enumerate(placed, 1))
    unranked = tuple(sorted((name, f"clean_accuracy failed: {name}") for name in names[-2:]))
    fits = (FitUse(_record(names[0], task), False, "/store/0"),) if names else ()
    uses = tuple(MeasurementUse(name, "accuracy", 0, False, Cost(40, 20, 0.5), ("0" * 40,), "1" * 40) for name in placed)
    command = f"robustradar rank --arch {names[0] if names else ''}"
    return Result(study, tuple(scores), Ranking(rows, ("clean_accuracy",), unranked), fits, {"command": command} | _PROVENANCE, uses)


_PROVENANCE = {
    "versions": {"robustradar": "0", "torch": "0"},
    "plugins": {"papers": "robustradar 0"},
    "broken_plugins": {},
    "engine": "robustradar 0",
    "python": "3",
    "platform": "none",
    "device": "cpu",
    "seeds": [0, 1],
    "git": None,
    "time": "2026-01-01T00:00:00+00:00",
}


def _record(name: str, task: Task) -> FitRecord:
    """A network of one epoch, with all that a run tells of it."""
    reference = Ref("papers/mlp", (), "conformance", name)
    spec = FitSpec(reference, replace(task, data=reference), reference, CLEAN, None, None, 0, "robustradar 0").json()
    sides = [f"{split}_{kind}" for split in ("train", "evaluation") for kind in ("clean", "adversarial")]
    losses = [f"{split}_objective_loss" for split in ("train", "evaluation")]
    numbers = {**{f"{side}_{what}": None for side in sides for what in ("loss", "accuracy")}, **dict.fromkeys(losses, 0.6)}
    return FitRecord("0" * 40, spec, ({"epoch": 1, **numbers},), 1, Cost(2000, 1000, 1.5), (name,))


def rendered(subject: Subject, given: Result) -> str:
    """A reporter's text, once its form is checked."""
    text = subject.declaration.render(given)
    if not isinstance(text, str):
        raise Breach(f"{type(text).__name__} from render()", "str", "Return the file's text.")
    return text


def renders(subject: Subject) -> None:
    """render() returns a text that can be written as UTF-8."""
    text = rendered(subject, result())
    if not text.strip():
        raise Breach("an empty text", "a rendering of the result")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Breach(f"a text that is no UTF-8 ({error.reason})", "one that can be written", "Leave out lone surrogates.") from None


def is_pure(subject: Subject) -> None:
    """It prints, writes and asks for nothing, and leaves the result as it is: the host writes what it returns."""
    given = result()
    before, files = json.dumps(given.json()), _files()
    with trace.offline("A report is one file that needs no network."), trace.silent(), trace.unchanged():
        opened = _writes(lambda: rendered(subject, given))
    if opened or (new := sorted(_files() - files)):
        raise Breach(
            f"the file {(opened or new)[0]!r} written", "none", f"Return the text: the host writes it to {subject.declaration.filename!r}."
        )
    if json.dumps(given.json()) != before:
        raise Breach("a result that was written to", "it as it was", "Work on a copy.")


def repeats_itself(subject: Subject) -> None:
    """The same result gives the same text."""
    texts = []
    for seed in (1, 2):
        with trace.other_chance(seed):
            texts.append(rendered(subject, result()))
    if texts[0] != texts[1]:
        got = next((f"{a!r:.40} and {b!r:.40}" for a, b in zip(*(t.splitlines() for t in texts), strict=False) if a != b), "two lengths")
        raise Breach(f"{got} from one result", "the same text", "Take time and versions from result.provenance.")


def takes_hostile_names(subject: Subject) -> None:
    """Names of candidates stay text: no tag, cell, formula or field of the document comes from one."""
    text = rendered(subject, result((*HOSTILE, "papers/cnn", "papers/linear")))
    suffix = Path(subject.declaration.filename).suffix.lower()
    if suffix not in _READERS:
        raise Inapplicable(f"the kit does not read {suffix or 'files without a suffix'}.")
    _READERS[suffix](text)


def takes_any_size(subject: Subject) -> None:
    """It renders results of no candidate ranked, of one, and of three hundred."""
    many = tuple(f"papers/mlp:width={i}" for i in range(1, 301))
    for given in (result(many), result(many[:3]), replace(result(many[:2]), fits=(), measurements=()), _empty()):
        rendered(subject, given)


CLAUSES = (renders, is_pure, repeats_itself, takes_hostile_names, takes_any_size)


def _empty() -> Result:
    """A run in which nothing could be ranked or measured."""
    given = result(("papers/mlp", "papers/cnn"))
    failed = tuple(replace(score, outcome=Failed("diverged", "training")) for score in given.scores)
    return replace(given, scores=failed, ranking=Ranking((), (), (("papers/cnn", "x"), ("papers/mlp", "x"))), fits=(), measurements=())


def _files() -> set[str]:
    """What lies in the working directory."""
    return set(os.listdir())


def _writes(render: Callable[[], str]) -> list[str]:
    """Files that are opened for writing while something is rendered."""
    import builtins

    opened: list[str] = []
    kept = (builtins.open, io.open)

    def watched(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if set(mode) & set("wax+"):
            opened.append(str(file))
        return kept[0](file, mode, *rest, **named)

    try:
        builtins.open = io.open = watched
        render()
    finally:
        builtins.open, io.open = kept
    return opened


class _Tags(html.parser.HTMLParser):
    """Notes tags that only a hostile name can have brought."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An image with the name's handler."""
        if ("onerror", "alert(1)") in attrs:
            self.found.append(f"<{tag} onerror>")

    def handle_data(self, data: str) -> None:
        """A script with the name's text."""
        if self.cdata_elem == "script" and data.strip() == 'alert("rr")':
            self.found.append("<script>")


def _read_html(text: str) -> None:
    tags = _Tags()
    tags.feed(text)
    if tags.found:
        raise Breach(f"{tags.found[0]} from a candidate's name", "text", "Pass every name through html.escape().")


def _read_markdown(text: str) -> None:
    prose = "\n".join(
        line for line in re.sub(r"(`+)[^`]*?\1", "", text).splitlines() if not line.startswith("    ")
    )  # code shows tags as text
    if tag := re.search(r"(?<!\\)<(script|img)\b", prose):
        raise Breach(f"{tag[0]} from a candidate's name", "text", "Escape < > | and backticks with a backslash.")
    rows = [(line.startswith("|"), len(re.findall(r"(?<!\\)\|", line))) for line in text.splitlines()]
    if any(one[0] and other[0] and one[1] != other[1] for one, other in pairwise(rows)):
        raise Breach("table rows of different widths", "one row a candidate", "Escape | with a backslash, and join lines.")


def _read_csv(text: str) -> None:
    rows = list(csv.reader(io.StringIO(text)))
    if len({len(row) for row in rows}) > 1:
        raise Breach(f"rows of {min(map(len, rows))} to {max(map(len, rows))} fields", "the same number", "Write with csv.writer.")
    cells = {cell for row in rows for cell in row}
    if lost := next((name for name in HOSTILE if name not in cells), None):
        raise Breach(f"no cell that reads {lost!r}", "every candidate's name as it is", "Write with csv.writer.")


def _read_json(text: str) -> None:
    try:
        json.loads(text)
    except ValueError as error:
        raise Breach(f"a text that is no JSON ({error})", "one that json.loads reads", "Write with json.dumps.") from None


def _read_xml(text: str) -> None:
    try:
        ET.fromstring(text)
    except ET.ParseError as error:
        raise Breach(f"a text that is no XML ({error})", "one that parses", "Build it with xml.etree.ElementTree.") from None


_READERS: dict[str, Callable[[str], None]] = {
    ".html": _read_html,
    ".htm": _read_html,
    ".md": _read_markdown,
    ".csv": _read_csv,
    ".json": _read_json,
    ".xml": _read_xml,
    ".svg": _read_xml,
}
