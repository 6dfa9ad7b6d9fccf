"""The studies of [T]'s figures: they resolve, plan and share fits; and the checker of [T]'s statements, on scores made by hand."""

import functools
import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from robustradar import Data, Split, cli, registry, screening
from robustradar.errors import DataError
from robustradar.plan import Plan
from robustradar.registry import Request
from robustradar.screening import prepare

BENCH = Path(__file__).parents[2] / "benchmarks" / "bench_tradeoff_studies.py"
STUDIES = registry.load().studies
PAPER = sorted(name for name, study in STUDIES.items() if name.startswith("tradeoff/") and study.data == "torchvision/CIFAR10")
SMALL = sorted(name for name in STUDIES if name.startswith("tradeoff/") and name.endswith("-small"))


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location(BENCH.stem, BENCH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[BENCH.stem] = module  # dataclasses look their annotations up there
    spec.loader.exec_module(module)
    return module


# The registry's entries


@functools.cache
def planned(name: str) -> Plan:
    """A small study's plan."""
    return prepare(name, Request()).plan


def test_every_panel_has_a_study_of_each_scale(bench: ModuleType) -> None:
    assert PAPER == sorted(f"tradeoff/{panel}" for panel in bench.PANELS)
    assert SMALL == sorted(f"tradeoff/{panel}-small" for panel in bench.PANELS)
    for panel in bench.PANELS:
        paper, small = STUDIES[f"tradeoff/{panel}"], STUDIES[f"tradeoff/{panel}-small"]
        assert paper.norm == small.norm
        assert paper.seeds == small.seeds == 3


@pytest.mark.parametrize("name", SMALL)
def test_a_small_study_plans_networks_that_its_metrics_share(name: str) -> None:
    plan = planned(name)
    candidates = len(plan.study.candidates)
    assert len(plan.fits) == 3 * 3 * candidates, "three xi and three seeds; the ends are those of delta, the first that of influence"
    assert len(plan.measurements) == 3 * 3 * candidates


def test_small_studies_share_the_network_that_they_have_in_common() -> None:
    keys = {name: {spec.key for spec in planned(name).fits} for name in SMALL}
    assert sum(map(len, keys.values())) == 135
    assert len(set.union(*keys.values())) == 99


@pytest.mark.parametrize("name", PAPER)
def test_a_study_of_the_papers_scale_resolves_without_its_data(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    split = Split(np.zeros((10, 3, 32, 32), np.uint8), np.arange(10))
    monkeypatch.setattr(screening, "loaded", lambda catalog, ref: Data(split, split, None, classes=10, bounds=(0.0, 1.0)))
    plan = prepare(name, Request()).plan
    assert plan.study.recipe.id == "papers/paper-t"
    assert [str(spec.objective) for spec in plan.fits][:5] == [f"mixture:xi={xi}" for xi in ("0.001", "0.25", "0.5", "0.75", "0.999")]
    assert len(plan.fits) == 3 * 7 * len(plan.study.candidates), "five xi, and both networks of delta"


def test_absent_data_are_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        prepare("tradeoff/width", Request())
    monkeypatch.setattr(sys, "argv", ["robustradar", "plan", "tradeoff/width", "--no-timing"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "robustradar: torchvision/CIFAR10 in data: got missing or damaged files (Dataset not found or corrupted), "
        "expected cifar-10-batches-py. Give download=true, or put the files there.\n"
    )


# Statements


def cell(candidate: str, column: str, values: list[float], sampling: float, **details: Any) -> dict[str, Any]:
    """A row of scores.json, over seeds."""
    seeds = [
        {"seed": i, "value": v, "low": v - sampling, "high": v + sampling, "details": {k: d[i] for k, d in details.items()}}
        for i, v in enumerate(values)
    ]
    return {"candidate": candidate, "column": column, "state": "measured", "details": {"seeds": seeds}}


Ends = tuple[tuple[float, float, float, float], tuple[float, float, float, float]]


def document(ends: dict[str, Ends], *, norm: str = "l2", eps: float = 0.3, spread: float = 0.001, skipped: str = "") -> dict[str, Any]:
    """What a study yields whose curves have these two points (clean and adversarial loss and accuracy), up to a spread over three seeds."""
    names = ("clean_loss", "adversarial_loss", "clean_accuracy", "adversarial_accuracy")
    scores = []
    for candidate, (p1, p2) in ends.items():
        shifts = [-spread, 0.0, spread]

        def shown(values: tuple[float, ...], shift: float) -> dict[str, Any]:
            moved = {name: value + shift for name, value in zip(names, values, strict=True)}
            return {
                **moved,
                **{f"{n}_{end}": v + s * 0.001 for n, v in moved.items() for end, s in (("low", -1), ("high", 1))},
                "dominated": False,
            }

        curve = [[shown(p1, shift), shown(p2, 2 * shift)] for shift in shifts]
        scores.append(cell(candidate, "toc_hypervolume", [0.5] * 3, 0.01, curve=curve))
        changes = {"price": p2[0] - p1[0], "gain": p1[1] - p2[1], "price_accuracy": p1[2] - p2[2], "gain_accuracy": p2[3] - p1[3]}
        changes["delta_influence"] = changes["price"] / 2
        scores += [cell(candidate, name, [value + s for s in shifts], 0.001) for name, value in changes.items()]
    scores = [{**row, "state": "skipped", "details": {}} if row["column"] == skipped else row for row in scores]
    return {"study": {"candidates": list(ends), "threat": {"norm": norm, "eps": eps}}, "scores": scores}


TENSE: Ends = ((0.1, 3.0, 0.95, 0.2), (0.4, 1.0, 0.85, 0.6))
LARGER: Ends = ((0.05, 3.0, 0.99, 0.3), (0.6, 0.8, 0.80, 0.7))
FREE: Ends = ((0.4, 3.0, 0.90, 0.2), (0.1, 1.0, 0.95, 0.6))


def holds(found: list[Any]) -> list[str]:
    return [finding.holds for finding in found]


def test_an_interval_counts_seeds_and_samples(bench: ModuleType) -> None:
    quantity = bench.Quantity("q", np.array([1.0, 2.0, 3.0]), 0.5)
    t = 4.302652729911275 / math.sqrt(3)
    assert quantity.mean == 2
    assert quantity.reach == pytest.approx(math.hypot(t, 0.5))
    difference = quantity - bench.Quantity("q", np.array([0.0, 1.0, 2.0]), 1.2)
    assert (difference.mean, difference.reach) == pytest.approx((1.0, 1.3)), "what seeds have in common cancels, samples add up"
    assert str(quantity) == "2.000 ±2.534"


@pytest.mark.parametrize(
    ("means", "steps", "expected"),
    [
        ([1.0, 2.0], [], "yes"),
        ([1.0, -1.0], [], "no"),
        ([1.0, 0.05], [], "not distinguishable"),
        ([-0.05], [], "not distinguishable"),
        ([1.0], [2.0, -0.05], "yes"),
        ([1.0], [2.0, -1.0], "no"),
    ],
)
def test_a_rise_holds_fails_or_drowns(bench: ModuleType, means: list[float], steps: list[float], expected: str) -> None:
    def exact(mean: float) -> Any:
        return bench.Quantity("q", np.full(3, mean), 0.1)

    assert bench.raised([exact(m) for m in means], [exact(s) for s in steps]) == expected


@pytest.mark.parametrize(
    ("mean", "sampling", "expected"),
    [(0.0, 0.04, "yes"), (-0.02, 0.02, "yes"), (0.0, 0.06, "not distinguishable"), (0.1, 0.06, "not distinguishable"), (-0.1, 0.04, "no")],
)
def test_closeness_is_a_matter_of_the_whole_interval(bench: ModuleType, mean: float, sampling: float, expected: str) -> None:
    assert bench.close(bench.Quantity("q", np.full(3, mean), sampling)) == expected


def test_tension_is_asked_of_losses_and_of_accuracies(bench: ModuleType) -> None:
    found = bench.tension(document({"a": TENSE, "b": FREE}))
    assert [(finding.of, finding.holds) for finding in found] == [("a, l2 0.3", "yes")] * 2 + [("b, l2 0.3", "no")] * 2
    assert found[0].numbers == "price, gain: 0.300 ±0.003, 2.000 ±0.003"
    assert holds(bench.tension(document({"a": TENSE}, spread=1.0))) == ["not distinguishable"] * 2


def test_capacity_runs_from_the_first_candidate_to_the_last(bench: ModuleType) -> None:
    assert holds(bench.capacity(document({"small": TENSE, "large": LARGER}))) == ["yes"] * 5
    assert holds(bench.capacity(document({"large": LARGER, "small": TENSE}))) == ["no"] * 5
    assert holds(bench.capacity(document({"a": TENSE, "b": TENSE}))) == ["not distinguishable"] * 5
    detour = bench.capacity(document({"small": TENSE, "middle": FREE, "large": LARGER}))
    assert [finding.statement.partition(": ")[2] for finding in detour][:2] == ["better clean", "better under attack"]
    assert holds(detour) == ["no", "yes", "no", "no", "no"], "a step down on the way refutes it"


def test_stronger_and_harsher_attacks_cost_more(bench: ModuleType) -> None:
    mild, harsh = document({"a": TENSE}), document({"a": ((0.1, 4.0, 0.95, 0.1), (0.9, 2.0, 0.7, 0.4))}, norm="linf", eps=0.015)
    assert holds(bench.stronger([mild, harsh], "larger attack")) == ["yes"] * 2
    found = bench.severe(mild, harsh)
    assert holds(found) == ["yes"] * 4
    assert found[0].of == "a, l2 0.3, linf 0.015"
    assert holds(bench.severe(harsh, mild)) == ["no"] * 4


def test_all_statements_are_asked_of_what_is_there(bench: ModuleType) -> None:
    pair = document({"vgg": TENSE, "resnet": TENSE})
    assert holds(bench.findings({"architecture": pair})) == ["yes"] * 5
    one = document({"vgg": TENSE})
    every = {panel: pair if panel in ("width", "depth", "cnn-width", "architecture") else one for panel in bench.PANELS}
    statements = [finding.statement.partition(":")[0] for finding in bench.findings(every)]
    counts = {"tension": 4, "more capacity": 15, "larger attack": 2, "linf more severe": 4, "close, within 0.05": 1}
    assert {statement: statements.count(statement) for statement in dict.fromkeys(statements)} == counts
    assert bench.tally(bench.findings({"architecture": pair})) == [
        "| tension: P1 better clean, P2 under attack | 4 | 0 | 0 | 0 |",
        "| close, within 0.05 | 1 | 0 | 0 | 0 |",
    ]


def test_what_was_not_measured_is_no_verdict(bench: ModuleType) -> None:
    found = bench.capacity(document({"a": TENSE, "b": LARGER}, skipped="delta_influence"))
    assert holds(found) == ["yes"] * 4 + ["not measured"]
    assert found[-1].numbers == "not measured, not measured"
    lost = document({"a": TENSE}, skipped="toc_hypervolume")
    assert bench.curves({"width": lost}) == ["| l2 0.3 | a | not measured | | | | |"]


def test_curves_are_means_over_seeds(bench: ModuleType) -> None:
    row = "| l2 0.3 | a | 0.100, 0.400 | 3.000, 1.000 | 0.950, 0.850 | 0.200, 0.600 | 0 of 6 |"
    twice = {"width": document({"a": TENSE}), "depth": document({"a": TENSE})}
    assert bench.curves(twice) == [row], "a curve that several studies have is shown once"


def test_a_single_seed_is_refused(bench: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "--seeds", "1"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "--seeds: got 1, expected at least 2. One seed has no spread." in capsys.readouterr().err
