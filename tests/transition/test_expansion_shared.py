"""The expansion as a metric of a plugin's: it shares its analysis with the trade-off's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from diagnosis import by_column

from robustradar import Measured, Skipped
from robustradar.numerics import influence as numerics
from robustradar.registry import Request
from robustradar.screening import prepare, rank

STRENGTHS = (0.04, 0.02, 0.01)

# Whole runs

PROBE = """
from dataclasses import asdict, dataclass

import robustradar
from robustradar import CLEAN, Column, FitNeed, Measured, Metric, Needs, Skipped, fixed
from robustradar.analysis import ByCurvature, asked


@dataclass(frozen=True)
class Probe(ByCurvature, Metric):
    name: str = fixed("expansion")
    columns: tuple[Column, ...] = fixed((Column("eps_star", "higher", "strength"),))

    def needs(self, task, threat):
        return Needs(fits={"clean": FitNeed(CLEAN)})

    def measure(self, bench):
        import torch

        from robustradar.numerics.problem import UnavailableError
        from robustradar_transition.expansion import expanded

        fit = bench.fits["clean"]
        with torch.no_grad():
            evaluation = torch.cat([bench.loss(fit.model(x), y).double() for x, y in bench.splits["evaluation"]]).cpu().numpy()
        try:
            found = expanded(bench, fit, asked(self, bench), evaluation)
        except UnavailableError as error:
            return {"eps_star": Skipped(str(error))}
        if found.value is None:
            return {"eps_star": Skipped(found.status)}
        return {"eps_star": Measured(found.value, found.low, found.high, found.flags, asdict(found))}


@robustradar.hookimpl
def robustradar_metrics():
    return (Probe(),)
"""


@pytest.fixture
def probe(tmp_path: Path) -> str:
    (tmp_path / "probe.py").write_text(PROBE)
    return str(tmp_path / "probe.py")


def test_it_shares_the_analysis_of_the_trade_off(probe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []

    def counted(*given: Any) -> numerics.Influence:
        made.append(given)
        return influence(*given)

    influence = numerics.influence
    monkeypatch.setattr(numerics, "influence", counted)
    asking = Request(
        architectures=("papers/mlp:width=8",),
        metrics=("tradeoff/influence", "probe/expansion"),
        data="digits:train_limit=100,eval_limit=100",
        recipe="quick:epochs=30",
        eps="0.02",
    )
    found = by_column(rank(prepare(None, asking, plugins=[probe]), store=tmp_path / "store", device="cpu"))
    assert len(made) == 1
    shown, details = found["eps_star"], found["phi_norm"]
    assert isinstance(shown, Measured), shown
    assert isinstance(details, Measured)
    assert shown.value > 0
    assert shown.details["bend"] == details.details["bend"]
    assert shown.details["slope"] == pytest.approx(details.details["slope"], rel=1e-5)
    assert not isinstance(found["delta_influence"], Skipped)
