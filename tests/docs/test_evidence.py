"""What the metrics say of themselves as forecasts is what the study found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from robustradar import host

_DOCS = Path(__file__).parents[2] / "docs"
_METRICS = {
    identifier: metric
    for plugin in host.load()
    if plugin.distribution == "robustradar"
    for metric in plugin.declarations["metric"]
    if (identifier := f"{plugin.name}/{metric.name}") and metric.evidence
}
_INTERVAL = re.compile(r"−?\.\d\d \[−?\.\d\d, −?\.\d\d\]")


@pytest.mark.parametrize("identifier", sorted(_METRICS))
def test_every_interval_that_is_told_stands_in_the_study(identifier: str) -> None:
    written = " ".join(" ".join((_DOCS / page).read_text(encoding="utf-8").split()) for page in ("evidence.md", "baselines.md"))
    told = _INTERVAL.findall(_METRICS[identifier].evidence)
    assert told
    assert [found for found in told if found not in written] == []


def test_what_is_ranked_by_in_the_studies_that_come_along_is_told() -> None:
    assert {"baselines/clean-accuracy", "baselines/activations", "tradeoff/influence", "transition/eps-star"} <= set(_METRICS)
