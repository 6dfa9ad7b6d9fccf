"""Every form of a comparison: literal on the terminal, well-formed and whole elsewhere, and names of strangers stay text."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from gated_cells import LOSS, SIZE, bits, given, run_of, sampled, seeded, stateless

import robustradar
from robustradar.gate import Comparison, Rule, compare, form
from robustradar.gate.form import FORMS, View

HOSTILE = 'evil/<b>|`x`\n::error::"gone" %25\x07&'
VIEW, CHANGED = View("gates/robust ness.json"), View("gates/robust ness.json", changed_only=True)


@pytest.fixture
def found() -> Comparison:
    """One cell of every verdict."""
    skipped = stateless("skipped", "no classes", robustradar.Column("x_accuracy", "higher", "fraction"))
    extra = seeded([2.5], robustradar.Column("extra", "none", "1"))
    loss = np.linspace(0.5, 1.5, 500)[None]
    before = given(
        sampled(bits(700, 1000)),
        sampled(bits(500, 1000), metric="m:eps=0.2"),
        sampled(loss, LOSS),
        sampled(loss, LOSS, metric="m:eps=0.2"),
        seeded([98.0], SIZE, chance=False),
        skipped,
    )
    now = given(
        sampled(bits(650, 1000), flags=("zero-gradients:3 of 9",)),
        sampled(bits(500, 1000), metric="m:eps=0.2"),
        sampled(loss * 0.5, LOSS),
        stateless("failed", "training: diverged", LOSS),
        seeded([99.0], SIZE, chance=False),
        skipped,
        extra,
    )
    cells = (*now.cells[:3], robustradar.gate.Cell("papers/mlp", "m:eps=0.2", LOSS, "failed", "training: diverged", None, None, None))
    return compare(before, given(*cells, *now.cells[4:]), Rule())


TABLE = """\
candidate    column                                         baseline      now    change              95 %      p  verdict
-----------  -------------------------------------------  ----------  -------  --------  ----------------  -----  ----------
papers/mlp   robust_accuracy (baselines/robust-accuracy)     70.00 %  65.00 %     -5.00    [-6.35, -3.65]  2e-15  REGRESSION
papers/mlp   robust_accuracy (m:eps=0.2)                     50.00 %  50.00 %     +0.00                        1  same
papers/mlp   robust_loss (baselines/robust-accuracy)               1      0.5      -0.5  [-0.513, -0.487]  2e-302  improved
papers/mlp   robust_loss (m:eps=0.2)                               1        –                                     not judged
papers/mlp   parameters                                           98       99        +1                        0  changed
papers/mlp   x_accuracy                                            –        –                                     same
papers/mlp   extra                                                 –      2.5                                     new

not judged: robust_loss of papers/mlp: training: diverged
new flag: robust_accuracy of papers/mlp: zero-gradients:3 of 9: so many samples have an input gradient of exactly zero, where gradient \
attacks stand still and fake robustness

Regression: 7 cells compared, 1 regressed, 1 not judged, 1 improved, 1 changed, 1 new.
"""


def squeezed(text: str) -> list[list[str]]:
    """Lines by their words: widths follow the digits of p."""
    return [line.split() for line in text.splitlines() if not line.startswith("---")]


def test_the_table_tells_all(found: Comparison) -> None:
    ours = form.text(found, VIEW)
    p = f"{found.rows[2].p:.0e}"
    assert squeezed(ours) == squeezed(TABLE.replace("2e-302", p))


def test_changed_only_leaves_out_what_is_the_same(found: Comparison) -> None:
    ours = form.text(found, CHANGED)
    assert " same" not in ours
    assert "REGRESSION" in ours
    assert ours.endswith("Regression: 7 cells compared, 1 regressed, 1 not judged, 1 improved, 1 changed, 1 new.\n")
    still = compare(run_of(seeded([0.5])), run_of(seeded([0.5])), Rule())
    assert form.text(still, CHANGED) == "No regression: 1 cell compared.\n"


def test_json_holds_every_cell_and_number(found: Comparison) -> None:
    document = json.loads(form.as_json(found, VIEW))
    assert document["schema"] == "robustradar-check/1"
    assert document["verdict"] == "regression"
    assert document["counts"] == {"regression": 1, "unjudged": 1, "improvement": 1, "change": 1, "same": 2, "new": 1}
    first = document["cells"][0]
    assert {
        name: first[name] for name in ("candidate", "column", "direction", "unit", "verdict", "before", "now", "test", "tolerance")
    } == {
        "candidate": "papers/mlp",
        "column": "robust_accuracy",
        "direction": "higher",
        "unit": "fraction",
        "verdict": "regression",
        "before": 0.7,
        "now": 0.65,
        "test": "McNemar",
        "tolerance": 0.01,
    }
    assert first["new_flags"] == ["zero-gradients:3 of 9"]
    assert len(json.loads(form.as_json(found, CHANGED))["cells"]) == 5


def test_junit_has_a_case_a_cell_and_its_counts_are_right(found: Comparison) -> None:
    root = ElementTree.fromstring(form.junit(found, VIEW))
    (suite,) = root
    assert (root.tag, suite.tag, {case.tag for case in suite}) == ("testsuites", "testsuite", {"testcase"})
    totals = {"name": "robustradar check", "tests": "7", "failures": "1", "errors": "1"}
    assert (root.attrib, suite.attrib) == (totals, totals | {"skipped": "2"})
    assert all(set(case.attrib) == {"classname", "name"} for case in suite)
    kinds = {tag: len(suite.findall(f"testcase/{tag}")) for tag in ("failure", "error", "skipped", "system-out")}
    assert kinds == {"failure": 1, "error": 1, "skipped": 2, "system-out": 2}
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.attrib["message"] == (
        "robust_accuracy of papers/mlp (baselines/robust-accuracy): regressed, 70.00 % before, 65.00 % now, -5.00 [-6.35, -3.65]; "
        "p = 2e-15 (McNemar); tolerance 1.00 %."
    )


def test_github_shows_the_table_and_one_annotation_a_difference(found: Comparison) -> None:
    lines = form.github(found, VIEW).splitlines()
    commands = [line for line in lines if line.startswith("::")]
    assert [command.split(" ")[0] for command in commands] == ["::error", "::notice", "::warning", "::notice"]
    assert commands[0] == (
        "::error file=gates/robust ness.json,line=1,title=papers/mlp%3A regressed::robust_accuracy of papers/mlp "
        "(baselines/robust-accuracy): regressed, 70.00 %25 before, 65.00 %25 now, -5.00 [-6.35, -3.65]; p = 2e-15 (McNemar); "
        "tolerance 1.00 %25."
    )
    assert "\n".join(lines[: -len(commands)]) + "\n" == form.text(found, VIEW)


def test_markdown_is_a_table_with_the_verdict_first(found: Comparison) -> None:
    page = form.markdown(found, VIEW)
    assert page.startswith("## Robustness against the baseline\n\nRegression: 7 cells compared, ")
    assert "| papers/mlp  | robust\\_accuracy (baselines/robust-accuracy) |    70.00 % | 65.00 % |" in page
    assert "\n- not judged: robust\\_loss of papers/mlp: training: diverged\n" in page


@pytest.fixture
def hostile() -> Comparison:
    cells = [sampled(bits(n, 1000), candidate=HOSTILE, reason=None) for n in (700, 600)] + [seeded([0.5], LOSS, candidate=HOSTILE)]
    failed = robustradar.gate.Cell(HOSTILE, cells[2].metric, LOSS, "failed", f"{HOSTILE}: ]]>", None, None, None)
    return compare(given(cells[0], cells[2]), given(cells[1], failed), Rule())


@pytest.mark.parametrize("name", sorted(FORMS))
def test_names_of_strangers_stay_text(name: str, hostile: Comparison) -> None:
    text = FORMS[name](hostile, VIEW)
    match name:
        case "junit":
            cases: Any = ElementTree.fromstring(text)[0]
            assert cases[0].attrib["classname"] == HOSTILE.replace("\x07", "�").replace("\n", "\n")
        case "json" | "sarif":
            assert json.loads(text)
        case "markdown":
            assert "<b>" not in text.replace("\\<b\\>", "")
            assert "\n::error" not in text
        case "github":
            commands = [line for line in text.splitlines() if line.startswith("::")]
            assert [line.split(" ")[0] for line in commands] == ["::error", "::warning"]


def test_a_name_tells_nobody_and_begins_no_command() -> None:
    name = "you/net\r::add-mask::x @you #1\x07"
    before, now = (given(sampled(bits(n, 1000), candidate=name)) for n in (700, 600))
    page, log = (FORMS[form_](compare(before, now, Rule()), VIEW) for form_ in ("markdown", "github"))
    assert "@\u200byou \\#\u200b1\ufffd" in page
    assert "\r::" not in log


def test_a_step_summary_fits_and_says_at_least_how_it_ended(found: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = form.step_summary(found)
    assert whole == form.markdown(found, VIEW)
    monkeypatch.setattr(form, "SUMMARY_BYTES", len(whole.encode()) - 1)
    assert form.step_summary(found) == form.markdown(found, CHANGED)
    monkeypatch.setattr(form, "SUMMARY_BYTES", 200)
    assert form.step_summary(found) == "Regression: 7 cells compared, 1 regressed, 1 not judged, 1 improved, 1 changed, 1 new.\n"


def test_what_else_differs_is_told_only_where_something_changed() -> None:
    later = {"versions": {"torch": "2.7.0"}, "python": "3.11.7", "device": "cpu", "engine": "robustradar 0.1.0 abc"}
    before, same, other = (run_of(seeded([value])) for value in (0.5, 0.5, 0.4))
    told = [form.text(compare(before, robustradar.gate.Snapshot(n.study, n.cells, later), Rule()), VIEW) for n in (same, other)]
    assert ["differs: torch: 2.6.0 before, 2.7.0 now" in text for text in told] == [False, True]


def test_what_passes_though_it_differs_says_why() -> None:
    rng = np.random.default_rng(0)
    before = rng.random((1, 200)) < 0.5
    noisy, close = rng.random((1, 200)) < 0.5, before.copy()
    close[0, 0] = not close[0, 0]
    told = [form.text(compare(given(sampled(before)), given(sampled(now)), Rule()), VIEW) for now in (close, noisy)]
    assert ["within tolerance" in text for text in told] == [True, False]
    assert ["within chance" in text for text in told] == [False, True]
