"""A truth table of one's own: what full adversarial training yields, from a finished run to a CSV that `robustradar fidelity` takes."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping
from typing import Any

from robustradar.errors import UsageError
from robustradar.report.document import Document
from robustradar.values import Column, Measured, number_text

# The registry's study that says how zoos are trained and measured.
STUDY = "zoo/truth"
COLUMNS = ("candidate", "truth", "low", "high", "sd", "cost", "cost_flops", "parameters", "macs", "clean_accuracy", "flags", "reason")
_NORMAL = 1.96


def rows(document: Document) -> list[dict[str, str]]:
    """A row for each candidate, in the run's order; one whose truth failed has its reason in place of numbers.

    The truth is the first column of the study's first metric. sd is its 95 % interval's width over 3.92, cost what training the
    networks that it was measured on passed forward and backward, and clean_accuracy theirs on the evaluation split, all over the seeds.

    Args:
        document: A finished run.

    Raises:
        UsageError: No metric of the study yields a truth.
    """
    metric, column = next(((m, c) for m, c in document.columns if c.direction == "higher"), (None, None))
    if metric is None or column is None:
        raise UsageError(f"{STUDY}: got metrics without a column of which higher is better, expected the truth's first. Mend the registry.")
    fits = {fit["key"]: fit for fit in document.json["fits"]}
    behind: dict[str, dict[str, Mapping[str, Any]]] = {}
    for use in document.json["measurements"]:
        if use["metric"] == metric:
            behind.setdefault(use["candidate"], {}).update({key: fits[key] for key in use["fits"] if key in fits})
    candidates = document.json["study"]["candidates"]
    return [_row(document, candidate, metric, column, behind.get(candidate, {}).values()) for candidate in candidates]


def table(found: list[dict[str, str]]) -> str:
    """The rows as CSV."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return stream.getvalue()


def _row(document: Document, candidate: str, metric: str, column: Column, fits: Collection[Mapping[str, Any]]) -> dict[str, str]:
    """One candidate, with the networks that its truth was measured on."""
    row = dict.fromkeys(COLUMNS, "") | {"candidate": candidate}
    row |= {name: number_text(found) for name in ("parameters", "macs") if (found := _size(document, candidate, name)) is not None}
    outcome = document.cells[candidate, metric, column.name].outcome
    if not isinstance(outcome, Measured):
        return row | {"reason": " ".join(f"{type(outcome).__name__.lower()}: {outcome.reason}".split())}
    clean = [fit["epochs"][fit["selected_epoch"] - 1].get("evaluation_clean_accuracy") for fit in fits if fit["epochs"]]
    cost = sum(fit["cost"]["forward"] + fit["cost"]["backward"] for fit in fits)
    row |= {"truth": _text(outcome.value), "cost": str(cost), "cost_flops": str(sum(fit["cost"]["flops"] for fit in fits))}
    if outcome.low is not None and outcome.high is not None:
        sd = (outcome.high - outcome.low) / (2 * _NORMAL)
        row |= {"low": _text(outcome.low), "high": _text(outcome.high), "sd": _text(sd)}
    if clean and None not in clean:
        row["clean_accuracy"] = _text(sum(clean) / len(clean))
    return row | {"flags": "; ".join(outcome.flags)}


def _size(document: Document, candidate: str, column: str) -> float | None:
    """A number of the candidate's own by its column's name."""
    found = (document.measured(candidate, m, c.name) for m, c in document.columns if c.name == column)
    return next((f.value for f in found if f is not None), None)


def _text(value: float) -> str:
    return f"{value:.6g}"
