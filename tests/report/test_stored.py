"""A result read back from its document: the same document again, and the same renderings."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from typing import Any

import pytest
import recorded

from robustradar import Measured, Result, Skipped
from robustradar.conformance.reporter import HOSTILE
from robustradar.conformance.reporter import result as found
from robustradar.report import stored
from robustradar.report.document import Document
from robustradar.values import Threat, Weights
from robustradar_native.reporter import Csv, Html, Markdown


def whole() -> Result:
    """A result that has everything: weights, an open interval, a skipped cell, another norm, memory, notes."""
    made = found((*HOSTILE, "papers/cnn", "papers/linear"))
    study = replace(made.study, threat=Threat(1.5, 0.25, None), weights={"papers/cnn": Weights("ab" * 32, "here.safetensors")})
    study = replace(study, task=replace(study.task, classes=None, outputs=1, bounds=None, shape=(64,)))
    scores = (
        replace(made.scores[0], outcome=Measured(0.5, None, 0.75, ("a", "b"), {"x": [1, None]})),
        replace(made.scores[1], outcome=Skipped("no")),
    )
    fit = made.fits[0]
    fit = replace(fit, cached=True, record=replace(fit.record, cost=replace(fit.record.cost, memory=2**30, flops=7)))
    ranking = replace(made.ranking, notes=("one note",), details={"tau": 0.5})
    return replace(made, study=study, scores=(*scores, *made.scores[2:]), fits=(fit,), ranking=ranking)


@pytest.mark.parametrize("made", [found(), whole(), found(())], ids=["plain", "whole", "empty"])
def test_the_document_of_what_is_read_is_the_document(made: Result) -> None:
    document = json.loads(json.dumps(made.json()))
    assert stored.result(document).json() == document


def test_a_recorded_document_is_read_and_left_as_it_is() -> None:
    document = recorded.document().json
    before = copy.deepcopy(document)
    assert stored.result(document).json() == document == before


@pytest.mark.parametrize("reporter", [Csv(), Html(), Markdown()], ids=lambda reporter: reporter.name)
def test_renderings_are_the_same(reporter: Any) -> None:
    made = found((*HOSTILE, "papers/cnn", "papers/linear"))
    assert reporter.render(Document.of(made).result) == reporter.render(made)


def test_what_is_read_has_its_types() -> None:
    made = stored.result(json.loads(json.dumps(found().json())))
    assert (made.study.threat.p, made.study.task.shape, made.study.task.bounds) == (math.inf, (1, 8, 8), (0.0, 1.0))
    assert [ref.id for ref in recorded.document().result.study.candidates] == ["papers/mlp", "papers/cnn", "papers/linear"]
    assert recorded.document().result.study.candidates[0].label == "papers/mlp:width=32"
    assert [score.outcome for score in made.failed] == [replace(made.failed[0].outcome, culprit="")]  # type: ignore[type-var]
    assert hash(made.ranking) == hash(found().ranking)
