"""The clauses of metrics: each is run by the host on small networks, several times, and its answers are compared."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from robustradar import scores
from robustradar.conformance import toy, trace
from robustradar.conformance.clause import Breach, Subject
from robustradar.conformance.laboratory import Laboratory
from robustradar.contract.dataset import Data
from robustradar.contract.metric import Metric, Needs
from robustradar.errors import Failure, PluginError, UsageError
from robustradar.execute import Execution
from robustradar.plan import Plan
from robustradar.values import Failed, Measured, Outcome, Threat

_CANDIDATES = ("conformance/linear", "conformance/mlp")
_OTHER_SIZE = 7  # of batches: 25 samples make 3 and a half of them

Found = Mapping[tuple[str, str], Outcome]


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """What a metric said, asked in several ways.

    Attributes:
        laboratory: Where.
        plan: What was measured.
        outcomes: By the measurement's key and column.
        found: By candidate and column.
        again: After training anew, with other states of the global generators.
        regrouped: Of the same networks, with other batches.
        wrote: Whether the data had changed afterwards.
    """

    laboratory: Laboratory
    plan: Plan
    outcomes: Mapping[str, Mapping[str, Outcome]]
    found: Found
    again: Found
    regrouped: Found
    wrote: bool


@lru_cache(maxsize=2)
def rehearsal(subject: Subject) -> Rehearsal:
    """Everything that the clauses compare, found once."""
    laboratory = _laboratory(subject, toy.classification())
    plan = _plan(subject, laboratory)
    with tempfile.TemporaryDirectory() as folder, trace.unchanged(chance=False):
        first = laboratory.execution(Path(folder) / "first")
        before = _content(first)
        executed = first.run(plan)
        wrote = _content(first) != before
        with trace.other_chance(1):
            again = laboratory.execution(Path(folder) / "again").run(plan)
        regrouped = _regrouped(subject, laboratory.execution(Path(folder) / "first", _OTHER_SIZE), plan)
    found, repeated = (_named(plan, outcomes.outcomes) for outcomes in (executed, again))
    return Rehearsal(laboratory, plan, executed.outcomes, found, repeated, regrouped, wrote)


def yields_outcomes(subject: Subject) -> None:
    """measure() yields Measured, Skipped or a reason for every declared column, on two small networks."""
    for column in subject.declaration.columns:
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", column.name):
            raise Breach(f"the column {column.name!r}", "lower-case words joined by underscores", "Rename it.")
        if column.direction not in ("higher", "lower", "none"):
            raise Breach(f"direction {column.direction!r}", "higher, lower or none: what is better", where=f"column {column.name!r}")
    _no_failure(rehearsal(subject).found)


def says_its_needs(subject: Subject) -> None:
    """needs() is pure: the same for the same task and threat, whatever was measured or drawn before."""
    for data in (toy.classification(), toy.regression()):
        laboratory = _laboratory(subject, data)
        for threat in (laboratory.threat, Threat(2.0, 0.5, data.bounds)):
            found = []
            for seed in (1, 2):
                with trace.other_chance(seed), trace.unchanged():
                    found.append(subject.declaration.needs(laboratory.task, threat))
            if not isinstance(found[0], Needs):
                raise Breach(f"{type(found[0]).__name__} from needs()", "robustradar.Needs", "Return Needs() where nothing is needed.")
            if found[0] != found[1]:
                raise Breach("two answers of needs() to one task and threat", "the same", "Let parameters, task and threat decide alone.")


def repeats_itself(subject: Subject) -> None:
    """Trained and measured anew, it yields the same numbers to the bit."""
    tried = rehearsal(subject)
    if pair := _differing(tried.found, tried.again, 0.0):
        raise Breach(f"{pair} when run twice", "the same", "Draw from torch.Generator().manual_seed(bench.seed), and measure no time.")


def ignores_the_batches(subject: Subject) -> None:
    """Its numbers do not depend on how many samples a batch holds."""
    tried = rehearsal(subject)
    if pair := _differing(tried.found, tried.regrouped, 1e-4):
        raise Breach(f"{pair} for batches of 16 and of {_OTHER_SIZE}", "the same", "Weigh every sample alike: the last batch is smaller.")


def means_what_it_says(subject: Subject) -> None:
    """Values are the means of their samples, and fractions lie in [0, 1]."""
    units = {column.name: column.unit for column in subject.declaration.columns}
    for (candidate, column), outcome in rehearsal(subject).found.items():
        if not isinstance(outcome, Measured):
            continue
        value, where = outcome.value, f"column {column!r} of {candidate}"
        slack = 1e-6 * max(1.0, abs(value))
        if outcome.samples is not None and abs(float(np.mean(outcome.samples)) - value) > 1e-4 * max(1.0, abs(value)):
            got = f"{value:.4g} with samples whose mean is {float(np.mean(outcome.samples)):.4g}"
            raise Breach(got, "their mean", "Leave samples out where the value is no mean over samples.", where=where)
        if units[column] == "fraction" and not -slack <= value <= 1 + slack:
            raise Breach(f"{value:.4g} in the unit fraction", "0 to 1", "Divide by 100, or declare another unit.", where=where)


def explains_in_json(subject: Subject) -> None:
    """Its details come back from JSON as they were."""
    for (candidate, column), outcome in rehearsal(subject).regrouped.items():  # the store has made texts of keys
        if isinstance(outcome, Measured) and (strange := _strange(dict(outcome.details))):
            raise Breach(
                f"{strange} in the details", "text: JSON has no other keys", "Use str(key).", where=f"column {column!r} of {candidate}"
            )


def leaves_the_data(subject: Subject) -> None:
    """The data that every metric shares are as before."""
    if rehearsal(subject).wrote:
        raise Breach("data that were written to", "them as they were", "Work on a copy of what bench.splits yields: x.clone().")


def reviews_fairly(subject: Subject) -> None:
    """review() adds flags or withholds numbers, and the order of the candidates does not matter."""
    tried = rehearsal(subject)
    forth = scores.reviewed(tried.plan, tried.outcomes, subject.catalog)
    back = scores.reviewed(replace(tried.plan, measurements=tried.plan.measurements[::-1]), tried.outcomes, subject.catalog)
    _no_failure(_named(tried.plan, forth))
    if forth != back:
        raise Breach("another review with the candidates in another order", "the same", "Compare them as a set.")


def takes_regression(subject: Subject) -> None:
    """On regression data without a box it measures, or skips with a reason."""
    laboratory = _laboratory(subject, toy.regression())
    plan = _plan(subject, laboratory)
    with tempfile.TemporaryDirectory() as folder:
        found = _named(plan, laboratory.execution(Path(folder)).run(plan).outcomes)
    _no_failure(found, "Return Skipped(reason) where bench.task.classes is None and the metric needs classes.")


CLAUSES = (
    yields_outcomes,
    says_its_needs,
    repeats_itself,
    ignores_the_batches,
    means_what_it_says,
    explains_in_json,
    leaves_the_data,
    reviews_fairly,
    takes_regression,
)


def _laboratory(subject: Subject, data: Data) -> Laboratory:
    """The kit's data under a threat that breaks some answers."""
    return Laboratory(subject.catalog, data, Threat(math.inf, 0.1, data.bounds))


def _plan(subject: Subject, laboratory: Laboratory) -> Plan:
    """The metric on both candidates."""
    try:
        return laboratory.plan(subject.ref, _CANDIDATES)
    except UsageError as error:  # nobody typed anything wrong: the metric names what is not there
        raise PluginError(str(error)) from error


def _named(plan: Plan, outcomes: Mapping[str, Mapping[str, Outcome]]) -> Found:
    """Outcomes by candidate and column."""
    return {(m.candidate.label, column): o for m in plan.measurements for column, o in outcomes[m.key].items()}


def _regrouped(subject: Subject, execution: Execution, plan: Plan) -> Found:
    """Outcomes with other batches, of fits that are trained already."""
    metric: Metric = subject.declaration
    found: dict[tuple[str, str], Outcome] = {}
    for measurement in plan.measurements:
        outcomes: Mapping[str, Outcome]
        try:
            outcomes = execution.measure(measurement, metric).outcomes
        except Failure as failure:
            outcomes = {column.name: Failed(failure.reason, failure.culprit) for column in metric.columns}
        found |= {(measurement.candidate.label, column): outcome for column, outcome in outcomes.items()}
    return found


def _content(execution: Execution) -> list[bytes]:
    """Every batch of all splits."""
    splits = execution.data.splits.values()
    return [tensor.numpy().tobytes() for split in splits for batch in split for tensor in batch]


def _no_failure(found: Found, advice: str = "") -> None:
    """Says which cell failed.

    Raises:
        Breach: One did.
    """
    for (candidate, column), outcome in found.items():
        if isinstance(outcome, Failed):
            raise Breach(f"a failure ({outcome.reason.rstrip('.')})", "Measured or Skipped", advice, f"column {column!r} of {candidate}")


def _differing(one: Found, other: Found, tolerance: float) -> str:
    """The first two numbers that differ, in words; empty where none do."""
    for key, outcome in one.items():
        numbers = [_numbers(outcome), _numbers(other[key])]
        if len(numbers[0]) != len(numbers[1]) or not np.allclose(numbers[0], numbers[1], rtol=tolerance, atol=tolerance / 100):
            shown = [f"{o.value:.6g} [{o.low}, {o.high}]" if isinstance(o, Measured) else str(o) for o in (outcome, other[key])]
            if isinstance(outcome, Measured) and isinstance(after := other[key], Measured) and outcome.value != after.value:
                shown = [f"{o.value:.6g}" for o in (outcome, after)]
            return f"{shown[0]} and {shown[1]} for column {key[1]!r} of {key[0]}"
    return ""


def _numbers(outcome: Outcome) -> list[float]:
    """A cell's numbers, none where there are none."""
    ends = (outcome.value, outcome.low, outcome.high) if isinstance(outcome, Measured) else ()
    return [end for end in ends if end is not None]


def _strange(value: Any) -> str:
    """The first key that is no text; empty where all are."""
    if isinstance(value, Mapping):
        if keys := [key for key in value if not isinstance(key, str)]:
            return f"the key {keys[0]!r}"
        value = list(value.values())
    return next(filter(None, map(_strange, value)), "") if isinstance(value, list | tuple) else ""
