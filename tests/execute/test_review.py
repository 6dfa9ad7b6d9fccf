"""Reviews of all candidates: flags and withheld numbers, nothing else; the store keeps what was measured."""

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from robustradar import Column, Failed, Measured, Metric, Needs, Outcome, Skipped
from robustradar.cli import main
from robustradar.scores import reviewed, table

Lab = Any
CANDIDATES = ("menagerie/linear", "menagerie/normed", "menagerie/unbuildable")
WITHHELD = Skipped("the order changes with the damping")


def cells(lab: Lab, *metrics: str, candidates: tuple[str, ...] = CANDIDATES[:2], **changes: Any) -> dict[str, Outcome]:
    """The table's outcomes by ``candidate column``."""
    plan = lab.plan(candidates, metrics, **changes)
    found = table(plan, lab.execution().run(plan).outcomes, lab.catalog)
    return {f"{score.candidate.removeprefix('menagerie/')} {score.column.name}": score.outcome for score in found.scores}


def culprit(lab: Lab, name: str = "reviewing") -> str:
    return f"metric chorus/{name} ({lab.catalog.plugins[1].origin})"


# What a review may do


def test_by_default_nothing_changes(lab: Lab) -> None:
    plan = lab.plan(CANDIDATES, ("accuracy", "size"), seeds=(0, 1))
    outcomes = lab.execution().run(plan).outcomes
    found = reviewed(plan, outcomes, lab.catalog)
    assert found == outcomes

    class Plain(Metric):
        """Nothing of its own."""

        def needs(self, task: Any, threat: Any) -> Needs:
            return Needs()

        def measure(self, bench: Any) -> Mapping[str, Outcome]:
            return {}

    given = {"x": {"a": Measured(1.0)}}
    assert Plain(name="plain", columns=(Column("a", "none", "1"),)).review(given) is given


def test_a_review_sees_every_candidate_once_with_what_was_skipped_and_failed(lab: Lab, chorus: Any) -> None:
    cells(lab, "reviewing", candidates=CANDIDATES)
    (sitting,) = chorus.Reviewing.sittings
    assert list(sitting) == list(CANDIDATES)
    assert {name: [type(o) for o in columns.values()] for name, columns in sitting.items()} == {
        **dict.fromkeys(CANDIDATES[:2], [Measured, Skipped]),
        CANDIDATES[2]: [Failed, Failed],
    }


def test_a_single_candidate_is_reviewed_and_metrics_with_other_parameters_apart(lab: Lab, chorus: Any) -> None:
    cells(lab, "reviewing", "reviewing:how=flag", candidates=CANDIDATES[:1])
    assert [list(sitting) for sitting in chorus.Reviewing.sittings] == [[CANDIDATES[0]], [CANDIDATES[0]]]


def test_a_review_withholds(lab: Lab, chorus: Any) -> None:
    found = cells(lab, "reviewing:how=withhold", "size")
    assert found["linear a"] == found["normed a"] == WITHHELD
    assert found["linear b"] == Skipped("does not apply")
    assert isinstance(found["linear size"], Measured)


def test_a_review_flags_and_the_flags_stay_behind_those_that_were_there(lab: Lab, chorus: Any) -> None:
    plain, flagged = cells(lab, "reviewing"), cells(lab, "reviewing:how=flag")
    for cell in ("linear a", "normed a"):
        before, after = plain[cell], flagged[cell]
        assert isinstance(before, Measured)
        assert isinstance(after, Measured)
        assert (before.flags, after.flags) == (("f",), ("f", "mixed-rungs"))
        assert (after.value, after.low, after.high, after.details) == (before.value, before.low, before.high, before.details)
        assert after.samples.tolist() == before.samples.tolist()


def test_seeds_are_reviewed_apart_and_one_withheld_seed_withholds_the_cell(lab: Lab, chorus: Any) -> None:
    found = cells(lab, "fitted:how=withhold", seeds=(0, 1, 2))
    seeds = [{columns["a"].details["seed"] for columns in sitting.values()} for sitting in chorus.Reviewing.sittings]
    assert seeds == [{0}, {1}, {2}]
    assert found["linear a"] == found["normed a"] == Skipped(f"seed 1: {WITHHELD.reason}")


# What it may not


ALLOWED = "expected at most added flags, which are texts, or Skipped(reason) in place of Measured."
FIRST = "'a' of menagerie/linear"


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("list", "review() returned list, expected a mapping with the candidates that it was given."),
        ("none", "review() returned NoneType, expected a mapping with the candidates that it was given."),
        ("drop", "review() returned a mapping without 'menagerie/linear', expected a mapping with the candidates that it was given."),
        ("add", "review() returned a mapping with 'stranger' added, expected a mapping with the candidates that it was given."),
        ("columns-list", "review() returned list, expected a mapping with the columns of menagerie/linear that it was given."),
        (
            "drop-column",
            "review() returned a mapping without 'b', expected a mapping with the columns of menagerie/linear that it was given.",
        ),
        (
            "add-column",
            "review() returned a mapping with 'c' added, expected a mapping with the columns of menagerie/linear that it was given.",
        ),
        ("raise", "ZeroDivisionError: division by zero (chorus.py:133)"),
        ("memory", "out of memory. Use a smaller batch, or a device with more memory."),
        ("value", f"review() changed value in {FIRST}, {ALLOWED}"),
        ("interval", f"review() changed low, high in {FIRST}, {ALLOWED}"),
        ("samples", f"review() changed samples in {FIRST}, {ALLOWED}"),
        ("no-samples", f"review() changed samples in {FIRST}, {ALLOWED}"),
        ("overwrite", f"review() changed details, samples in {FIRST}, {ALLOWED}"),
        ("unflag", f"review() changed flags in {FIRST}, {ALLOWED}"),
        ("text-flags", f"review() changed flags in {FIRST}, {ALLOWED}"),
        ("number-flag", f"review() changed flags in {FIRST}, {ALLOWED}"),
        ("number", f"review() changed Measured to float in {FIRST}, {ALLOWED}"),
        ("fail", f"review() changed Measured to Failed in {FIRST}, {ALLOWED}"),
        ("excuse", f"review() changed Skipped to another Skipped in 'b' of menagerie/linear, {ALLOWED}"),
        ("unskip", f"review() changed Skipped to Measured in 'b' of menagerie/linear, {ALLOWED}"),
    ],
)
def test_a_review_that_breaks_its_contract_fails_the_metric_and_the_others_go_on(lab: Lab, chorus: Any, how: str, reason: str) -> None:
    found = cells(lab, f"reviewing:how={how}", "size")
    expected = Failed(reason, culprit(lab))
    assert [found[f"{name} {column}"] for name in ("linear", "normed") for column in "ab"] == [expected] * 4
    assert found["linear size"] == Measured(15.0)


def test_what_failed_cannot_be_healed_and_keeps_its_reason(lab: Lab, chorus: Any) -> None:
    found = cells(lab, "reviewing:how=heal", candidates=CANDIDATES)
    reason = f"review() changed Failed to Measured in 'a' of menagerie/unbuildable, {ALLOWED}"
    assert found["linear a"] == found["linear b"] == Failed(reason, culprit(lab))
    own = found["unbuildable a"]
    assert isinstance(own, Failed)
    assert own.reason == "ValueError: needs images of 32 pixels (menagerie.py:28)"


def test_a_review_that_fails_at_one_seed_fails_the_cell_of_that_seed(lab: Lab, chorus: Any) -> None:
    found = cells(lab, "fitted:how=raise", seeds=(0, 1))
    assert found["linear a"] == Failed("seed 1: ZeroDivisionError: division by zero (chorus.py:133)", culprit(lab, "fitted"))


# The store


@pytest.mark.parametrize("how", ["withhold", "flag", "overwrite", "raise"])
def test_the_store_keeps_what_was_measured(lab: Lab, chorus: Any, how: str) -> None:
    plan = lab.plan(CANDIDATES[:2], (f"reviewing:how={how}",))
    execution = lab.execution()
    outcomes = execution.run(plan).outcomes
    for _ in range(2):
        table(plan, outcomes, lab.catalog)
    for measurement in plan.measurements:
        kept = execution.store.outcome(measurement.key)
        assert kept is not None
        assert isinstance(kept["a"], Measured)
        size = kept["a"].value
        assert kept == {"a": Measured(size, size - 1, size + 1, ("f",), {"n": 3}), "b": Skipped("does not apply")}
        assert kept == outcomes[measurement.key]
        for found in (kept, outcomes[measurement.key]):
            assert found["a"].samples.tolist() == [size] * 3


def test_a_run_from_the_store_is_reviewed_anew(lab: Lab, chorus: Any) -> None:
    alone = cells(lab, "reviewing:how=flag-others", candidates=CANDIDATES[:1])["linear a"]
    beside = cells(lab, "reviewing:how=flag-others")["linear a"]
    assert isinstance(alone, Measured)
    assert isinstance(beside, Measured)
    assert (alone.flags, beside.flags) == (("f", "of-1"), ("f", "of-2"))


# From end to end


def ranked(options: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    """The exit code of `robustradar rank` on a few digits, with its results in out/."""
    monkeypatch.chdir(folder)
    plugin = Path(__file__).with_name("chorus.py")
    fixed = f"--plugin {plugin} --data digits --store store --out out --device cpu --arch papers/linear --arch papers/mlp:width=4"
    monkeypatch.setattr(sys, "argv", shlex.split(f"robustradar rank {fixed} {options}"))
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_metric_that_is_withheld_leaves_all_unranked_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ranked("--metric chorus/reviewing:how=withhold --metric macs", monkeypatch, tmp_path) == 0
    result = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert result["ranking"] == []
    names = ["papers/linear", "papers/mlp:width=4"]
    assert result["unranked"] == [{"candidate": name, "reason": "a skipped: the order changes with the damping"} for name in names]
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "– papers/linear skipped 640" in lines
    assert "No rank: papers/linear, papers/mlp:width=4: a skipped" in lines
    assert lines[lines.index(f"papers/linear, papers/mlp:width=4 skipped: {WITHHELD.reason}") + 1] == "a"


def test_a_ranking_by_other_columns_goes_on_without_what_is_withheld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = "--metric chorus/reviewing:how=withhold --metric clean-accuracy"
    assert ranked(f"{metrics} --recipe quick:epochs=1 --ranker rank-mean:columns=clean_accuracy", monkeypatch, tmp_path) == 0
    result = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [row["rank"] for row in result["ranking"]] == [1, 2]
    assert [row["state"] for row in result["scores"] if row["column"] == "a"] == ["skipped", "skipped"]


def test_a_broken_review_ends_with_the_exit_code_of_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ranked("--metric chorus/reviewing:how=drop --metric macs", monkeypatch, tmp_path) == 3
    assert capsys.readouterr().err.splitlines()[-1] == "4 of 6 cells failed; their reasons are in the results."
