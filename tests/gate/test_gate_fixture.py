"""The fixture `robustness_gate` in a pytest of its own, as somebody's project has it: what passes, what fails, and with which words."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from gated_cells import SIZE, bits, given, sampled, seeded, stateless

from robustradar.gate import RegressionError, Rescoring, Snapshot, UnlikeError, assert_no_regression, write

pytest_plugins = "pytester"

ROOT = Path(__file__).parents[2]
GOOD, BAD = sampled(bits(700, 1000)), sampled(bits(600, 1000), fits="now")
BEFORE = given(GOOD, seeded([98.0], SIZE, chance=False))
RUNS = {
    "same": BEFORE,
    "worse": given(BAD, BEFORE.cells[1]),
    "failed": given(stateless("failed", "training: diverged"), BEFORE.cells[1]),
    "other": Snapshot(BEFORE.study | {"attack": "native/fgsm"}, BEFORE.cells, BEFORE.provenance),
}


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A baseline in a project's root, where runs are found by the names above."""
    write(BEFORE, pytester.path / "robustness.json")
    monkeypatch.setattr("robustradar.gate.of_run", lambda folder, store: RUNS[folder.name])
    return pytester


def outcome(project: pytest.Pytester, call: str, *options: str) -> tuple[dict[str, int], str]:
    project.makepyfile(f"def test_robustness(robustness_gate):\n    {call}\n")
    done = project.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:randomly", "-W", "error", *options)
    return done.parseoutcomes(), done.stdout.str()


def test_no_regression_passes(project: pytest.Pytester) -> None:
    assert outcome(project, 'assert robustness_gate("robustness.json", run="same").verdict == "same"')[0] == {"passed": 1}


def test_a_regression_fails_with_the_table_and_no_traceback(project: pytest.Pytester) -> None:
    counts, out = outcome(project, 'robustness_gate("robustness.json", run="worse")')
    assert counts == {"failed": 1}
    body = out.partition("test_robustness ____")[2]
    assert re.search(r"^_+\nrobustradar check against robustness\.json:\n\ncandidate +column +baseline ", body, re.MULTILINE)
    assert re.search(r"^papers/mlp +robust_accuracy +70\.00 % +60\.00 % .* REGRESSION$", body, re.MULTILINE)
    assert "Regression: 2 cells compared, 1 regressed." in body
    assert "Traceback" not in out and "assert_no_regression" not in out


def test_what_could_not_be_judged_fails_in_its_own_words(project: pytest.Pytester) -> None:
    counts, out = outcome(project, 'robustness_gate("robustness.json", run="failed")')
    assert counts == {"failed": 1}
    assert (
        "robustradar check: got 1 of 2 cells of robustness.json that could not be judged, expected none. "
        "Mend what the lines below the table name.\n\ncandidate " in out
    )
    assert "not judged: robust_accuracy of papers/mlp: training: diverged" in out
    assert "REGRESSION" not in out


def test_another_protocol_fails_and_names_the_field(project: pytest.Pytester) -> None:
    counts, out = outcome(project, 'robustness_gate("robustness.json", run="other")')
    assert counts == {"failed": 1}
    assert (
        'robustradar check: got another protocol than the baseline\'s: attack is "native/fgsm" and was "native/pgd"; expected the same. '
        "Compare runs of one protocol, or save a new baseline." in out
    )


def test_wrong_use_fails_in_the_commands_words(project: pytest.Pytester) -> None:
    out = outcome(project, 'robustness_gate("gone.json", run="same")')[1]
    assert "robustradar --baseline: got 'gone.json', which cannot be read (No such file or directory)." in out
    out = outcome(project, 'robustness_gate("robustness.json", run="same", only=["nothing"])')[1]
    assert "robustradar --only: got 'nothing', expected one of parameters, robust_accuracy." in out


def test_paths_are_from_the_root_directory(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    project.makeini("[pytest]\n")
    inner = project.mkdir("inner")
    (inner / "test_inner.py").write_text('def test_inner(robustness_gate):\n    robustness_gate("robustness.json", run="same")\n')
    monkeypatch.chdir(inner)
    done = project.runpytest_inprocess("-p", "no:cacheprovider", f"--rootdir={project.path}", str(inner))
    done.assert_outcomes(passed=1)


def test_the_pages_snippet_runs(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/gate.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", page.partition("## In pytest")[2], re.S)
    asked: list[Rescoring] = []

    def rescored(before: Snapshot, scoring: Rescoring) -> Snapshot:
        asked.append(scoring)
        return RUNS["worse" if len(asked) > 1 else "same"]

    monkeypatch.setattr("robustradar.gate.rescored", rescored)
    project.makepyfile(snippet)
    for expected in ({"passed": 1}, {"failed": 1}):
        assert project.runpytest_inprocess("-p", "no:cacheprovider").parseoutcomes() == expected
    assert asked == [Rescoring(plugins=["mynets.py"])] * 2


def test_the_assertion_tells_a_regression_from_what_could_not_be_judged(project: pytest.Pytester) -> None:
    for run, kind in {"worse": RegressionError, "failed": UnlikeError, "other": UnlikeError}.items():
        with pytest.raises(kind):
            assert_no_regression("robustness.json", run=run)
    assert issubclass(RegressionError, AssertionError)


def test_nothing_is_loaded_before_a_test_asks_for_it() -> None:
    """Where RobustRadar is merely installed, its plugin costs pytest one small module."""
    program = "import robustradar_pytest, sys\nprint([m for m in ('robustradar', 'torch', 'numpy', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
