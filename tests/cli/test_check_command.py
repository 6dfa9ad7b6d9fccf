"""`robustradar baseline save` and `robustradar check` from the arguments to the exit code."""

from __future__ import annotations

import copy
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from robustradar.gate import Rescoring, assert_no_regression

Run = Callable[[str], Any]

NETS = """\
import robustradar
from torch import nn

class Net(nn.Module):
    def __init__(self, size, outputs, scale):
        super().__init__()
        self.last, self.scale = nn.Linear(size, outputs), scale

    def forward(self, x):
        return self.last(x.flatten(1)) * self.scale

def net(shape, outputs, scale: float = 1.0):
    "Linear, and upside down where the scale is negative and training is over."
    return Net(shape[0] * shape[1] * shape[2], outputs, scale)

@robustradar.hookimpl
def robustradar_architectures():
    return (robustradar.architecture(net),)
"""
# As it is trained, but wrong wherever it was right.
BROKEN = NETS.replace("* self.scale", "* (self.scale if self.training else -self.scale)")
METRICS = "--metric clean-accuracy --metric robust-accuracy --metric parameters"


@pytest.fixture
def ranked(run: Run, tiny: str) -> str:
    """A run of three seeds in `out`, its baseline b.json; what rank and check share."""
    Path("nets.py").write_text(NETS)
    assert run(f"rank {tiny} --plugin nets.py --arch nets/net {METRICS} --seeds 3 --quiet").code == 0
    done = run("baseline save --run out --store store --baseline b.json")
    assert (done.code, done.out, done.err) == (0, "Written: b.json: 5 cells of 1 candidate.\n", "")
    return "--baseline b.json --store store --device cpu --quiet"


def test_what_was_saved_is_told_as_json(run: Run, ranked: str) -> None:
    done = run("baseline save --run out --store store --baseline c.json --json")
    assert (done.code, done.json, done.err) == (0, {"written": "c.json", "cells": 5, "candidates": 1, "seeds": 3}, "")
    assert Path("c.json").read_text() == Path("b.json").read_text()
    assert ranked


def verdicts(done: Any) -> dict[str, str]:
    return {cell["column"]: cell["verdict"] for cell in done.json["cells"]}


# Verdicts and exit codes


def test_without_change_nothing_is_trained_and_all_is_the_same(run: Run, ranked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustradar.execute.train", lambda *_, **__: pytest.fail("trained again"))
    done = run(f"check {ranked} --plugin nets.py")
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("\n\nNo regression: 5 cells compared.\n")
    assert len(re.findall(r"  1  same$", done.out, re.MULTILINE)) == 5
    assert run(f"check {ranked} --plugin nets.py --json").json["counts"]["same"] == 5


def test_from_nothing_the_same_bits_are_scored_again(run: Run, ranked: str) -> None:
    done = run(f"check {ranked} --plugin nets.py --store other --json")
    assert done.code == 0
    assert {(cell["test"], cell["p"]) for cell in done.json["cells"]} == {("identical", 1.0)}


def test_a_finished_run_is_judged_without_training(run: Run, ranked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustradar.screening.prepare", lambda *_, **__: pytest.fail("prepared"))
    assert run(f"check {ranked} --run out").code == 0


def test_a_regression_ends_with_1_and_names_the_cells(run: Run, ranked: str) -> None:
    Path("nets.py").write_text(BROKEN)
    done = run(f"check {ranked} --plugin nets.py --changed-only")
    assert done.code == 1
    rows = [line for line in done.out.splitlines() if line.endswith("REGRESSION")]
    assert [row.split()[1] for row in rows][:2] == ["clean_accuracy", "clean_loss"]
    assert "parameters" not in done.out
    assert re.search(r"^Regression: 5 cells compared, \d regressed", done.out, re.MULTILINE)
    assert run(f"check {ranked} --plugin nets.py --fail-on never").code == 0
    tolerated = "--tolerance '*_accuracy=1' --tolerance '*_loss=100000%'"
    assert run(f"check {ranked} --plugin nets.py {tolerated}").code == 0
    assert verdicts(run(f"check {ranked} --plugin nets.py --only 'clean_*' --json")) == {
        "clean_accuracy": "regression",
        "clean_loss": "regression",
    }


def test_update_accepts_what_is_found(run: Run, ranked: str) -> None:
    Path("nets.py").write_text(BROKEN)
    done = run(f"check {ranked} --plugin nets.py --update")
    assert (done.code, done.err) == (0, "Written: b.json: the baseline is now this run.\n")
    assert "REGRESSION" in done.out
    assert run(f"check {ranked} --plugin nets.py").code == 0
    Path("nets.py").write_text(NETS)
    back = verdicts(run(f"check {ranked} --plugin nets.py --json"))
    assert back["clean_accuracy"] == "improvement"
    assert run(f"check {ranked} --plugin nets.py").code == 0
    assert run(f"check {ranked} --plugin nets.py --fail-on change").code == 1


def test_one_seed_of_networks_trained_anew_ends_with_3(run: Run, tiny: str) -> None:
    Path("nets.py").write_text(NETS)
    run(f"rank {tiny} --plugin nets.py --arch nets/net --metric clean-accuracy --quiet")
    done = run("baseline save --run out --store store --baseline b.json")
    assert (done.code, done.err) == (
        0,
        "1 seed(s) say too little of training's own chance: where networks are trained anew, a change that the samples do not explain "
        "will end as not judged (exit code 3). Rank with --seeds 3 or more.\n",
    )
    Path("nets.py").write_text(BROKEN)
    done = run("check --baseline b.json --store store --device cpu --quiet --plugin nets.py")
    assert done.code == 3
    assert (
        "not judged: clean_accuracy of nets/net, clean_loss of nets/net: more than the samples explain, but 1 seed(s) say too little of "
        "training's own chance. Run and save the baseline with --seeds 3 or more, better 5" in done.out
    )


def test_a_cell_that_fails_now_ends_with_3_and_is_no_new_baseline(run: Run, ranked: str) -> None:
    Path("nets.py").write_text(NETS.replace("return self.last", "raise RuntimeError('kaboom')\n        return self.last"))
    before = Path("b.json").read_text()
    done = run(f"check {ranked} --plugin nets.py")
    assert done.code == 3
    assert "kaboom" in done.out
    assert re.search(r"^Not judged: 5 cells compared, 5 not judged", done.out, re.MULTILINE)
    done = run(f"check {ranked} --plugin nets.py --update")
    assert done.code == 3
    assert done.message.startswith("--baseline: got a run in which 5 of 5 cells failed (clean_accuracy of nets/net: ")
    assert Path("b.json").read_text() == before


def test_a_broken_plugin_ends_with_4(run: Run, ranked: str) -> None:
    Path("nets.py").write_text("import nothing_of_that_name\n")
    done = run(f"check {ranked} --plugin nets.py")
    assert done.code == 4
    assert "nothing_of_that_name" in done.message


def test_a_plugin_that_is_not_given_is_asked_for(run: Run, ranked: str) -> None:
    done = run(f"check {ranked}")
    assert done.code == 2
    assert done.message.startswith("--arch: got 'nets/net', expected one of ")
    assert done.message.endswith(" It stands in the baseline's study: give the --plugin and the --registry that rank had.")
    done = run(f"check {ranked} --plugin nets.py --weights nets/net=gone.safetensors")
    assert (done.code, done.message) == (
        2,
        "--weights: got 'nets/net=gone.safetensors', whose file 'gone.safetensors' is not there. Check the path.",
    )


# Protocols


def test_other_data_are_refused_before_anything_is_trained(run: Run, ranked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = dict(np.load("tiny.npz"))
    arrays["x_test"][0, 0, 0, 0] /= 2
    np.savez("tiny.npz", **arrays)
    monkeypatch.setattr("robustradar.screening.rank", lambda *_, **__: pytest.fail("ran"))
    done = run(f"check {ranked} --plugin nets.py")
    assert done.code == 3
    assert re.fullmatch(
        r'check: got another protocol than the baseline\'s: data is "[0-9a-f]{40}" and was "[0-9a-f]{40}"; expected the same\. '
        r"Compare runs of one protocol, or save a new baseline\.",
        done.message,
    )


def test_a_run_of_another_protocol_is_refused_with_the_fields(run: Run, ranked: str, tiny: str) -> None:
    line = f"rank {tiny} --plugin nets.py --arch nets/net {METRICS} --seeds 3 --quiet --eps 0.1 --attack native/pgd:steps=3"
    assert run(line).code == 0
    done = run(f"check {ranked} --run out")
    assert (done.code, done.message) == (
        3,
        "check: got another protocol than the baseline's: "
        'attack is "native/pgd:steps=3" and was "native/pgd"; threat.eps is 0.1 and was 0.03137254901960784; expected the same. '
        "Compare runs of one protocol, or save a new baseline.",
    )


# Trained models


@pytest.fixture
def weighted(run: Run, ranked: str, tiny: str) -> tuple[str, list[Path]]:
    """A baseline of given weights, and the weights of three seeds."""
    document = json.loads(Path("out/scores.json").read_text())
    files = [Path(fit["weights"]) for fit in document["fits"]]
    line = f"rank {tiny} --plugin nets.py --weights nets/net={files[0]} --metric clean-accuracy --metric robust-accuracy --quiet"
    assert run(line).code == 0
    done = run("baseline save --run out --store store --baseline w.json")
    assert (done.code, done.err) == (0, "")
    return "--baseline w.json --store store --device cpu --quiet --plugin nets.py", files


def test_a_trained_model_is_checked_on_the_same_samples(run: Run, weighted: tuple[str, list[Path]]) -> None:
    from safetensors.torch import load_file, save_file

    line, files = weighted
    assert run(f"check {line} --weights nets/net={files[0]}").code == 0
    state = load_file(files[0])
    worse = {name: -value if name.endswith(("last.weight", "last.bias")) else value for name, value in state.items()}
    save_file(worse, "worse.safetensors")
    done = run(f"check {line} --weights nets/net=worse.safetensors --json")
    assert done.code == 1
    tests = {cell["column"]: (cell["test"], cell["verdict"]) for cell in done.json["cells"]}
    assert tests["clean_accuracy"] == ("McNemar", "regression")
    assert tests["clean_loss"] == ("paired t", "regression")


def test_weights_that_are_missing_or_too_many_are_told(run: Run, ranked: str, weighted: tuple[str, list[Path]]) -> None:
    line, files = weighted
    done = run(f"check {line}")
    assert (done.code, done.message) == (
        2,
        "--weights: got none for nets/net, expected a file, as the baseline's were given. Give --weights 'nets/net=FILE'.",
    )
    done = run(f"check {ranked} --plugin nets.py --weights nets/net={files[0]}")
    assert done.code == 3
    assert "weights of nets/net are given and were trained" in done.message


# Forms


def test_every_form_goes_to_standard_output_or_a_file(run: Run, ranked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    line = f"check {ranked} --run out"
    assert ElementTree.fromstring(run(f"{line} --format junit").out).attrib["tests"] == "5"
    assert run(f"{line} --format sarif").json["version"] == "2.1.0"
    assert run(f"{line} --format markdown").out.startswith("## Robustness against the baseline\n")
    assert run(f"{line} --format github").out == run(line).out
    done = run(f"{line} --format junit --output deep/gate.xml")
    assert (done.out, done.err) == (run(line).out, "Written: deep/gate.xml\n")
    assert ElementTree.parse("deep/gate.xml").getroot().tag == "testsuites"
    Path("file").write_text("")
    done = run(f"{line} --output file/gate.xml")
    assert (done.code, done.message) == (2, "--output: file/gate.xml cannot be written (File exists). Choose another place.")


def test_findings_are_told_of_the_baseline_in_the_repository(run: Run, ranked: str) -> None:
    Path("nets.py").write_text(BROKEN)
    line = ranked.replace("b.json", shlex.quote(str(Path.cwd() / "b.json")))
    results = run(f"check {line} --plugin nets.py --format sarif").json["runs"][0]["results"]
    assert {found["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for found in results} == {"b.json"}


def test_github_gets_a_step_summary(run: Run, ranked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path("summary.md")
    page.write_text("# Before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    run(f"check {ranked} --run out --changed-only --format github")
    assert page.read_text() == "# Before\n" + run(f"check {ranked} --run out --format markdown").out


# What is told where something is wrong


def test_which_run_is_meant_must_be_clear(run: Run, ranked: str) -> None:
    done = run("baseline save --baseline x.json --store store")
    assert (done.code, done.message) == (
        2,
        "--run: got none, and robustradar-results holds 0 runs, expected one. "
        "Run robustradar rank first, or give --run DIR, which is rank's --out.",
    )
    for name in ("one", "two"):
        Path("robustradar-results", name).mkdir(parents=True)
        Path("robustradar-results", name, "scores.json").write_text(Path("out/scores.json").read_text())
    done = run("baseline save --baseline x.json --store store")
    assert done.message == (
        "--run: got none, and robustradar-results holds 2 runs (robustradar-results/one, robustradar-results/two), expected one. "
        "Give --run DIR."
    )
    Path("robustradar-results/two/scores.json").unlink()
    assert run("baseline save --baseline x.json --store store").code == 0
    assert Path("x.json").read_text() == Path("b.json").read_text()


def test_a_store_that_is_not_the_runs_is_told(run: Run, ranked: str) -> None:
    done = run("baseline save --run out --store nowhere --baseline x.json")
    assert (done.code, done.message) == (
        2,
        "--store: got 'nowhere', which is no folder, expected the store that the run used. Check the path.",
    )
    Path("empty").mkdir()
    done = run("baseline save --run out --store empty --baseline x.json")
    assert (done.code, done.message) == (
        2,
        "--store: got 'empty' without the measurement of baselines/clean-accuracy on nets/net, expected the store that the run used. "
        "Give its --store, or run rank again.",
    )


def test_a_run_that_is_none_is_told(run: Run, ranked: str) -> None:
    done = run("check --baseline b.json --run nowhere")
    assert (done.code, done.message) == (
        2,
        "--run: got 'nowhere', which cannot be read (No such file or directory). "
        "Give the folder that robustradar rank wrote, or its scores.json.",
    )
    document = json.loads(Path("out/scores.json").read_text())
    for change, told in (
        (
            lambda d: d["scores"][0].update(column="renamed"),
            "--run: got 'out' without 'renamed', expected all of a result. Run rank again.",
        ),
        (
            lambda d: d["scores"][1].update(value=float("nan")),
            "--run: got 'out/scores.json', which is no JSON (NaN is no number), expected ",
        ),
        (lambda d: d["measurements"][0].pop("key"), "out/scores.json: measurements/0: 'key' is a required property. It was changed, or "),
    ):
        changed = copy.deepcopy(document)
        change(changed)
        Path("out/scores.json").write_text(json.dumps(changed))
        done = run("check --baseline b.json --store store --run out")
        assert done.code == 2
        assert str(done.message).startswith(told)


def test_a_rule_of_no_column_is_told_before_anything_is_scored(run: Run, ranked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustradar.screening.prepare", lambda *_, **__: pytest.fail("prepared"))
    names = "clean_accuracy, clean_loss, parameters, robust_accuracy, robust_loss"
    done = run(f"check {ranked} --tolerance parameter=0.1")
    assert (done.code, done.message) == (2, f"--tolerance: got 'parameter', expected one of {names}. Did you mean 'parameters'?")
    assert run(f"check {ranked} --only nothing").message == f"--only: got 'nothing', expected one of {names}."
    assert run(f"check {ranked} --tolerance x").message == (
        "--tolerance: got 'x', expected column=number, such as robust_accuracy=0.01 or clean_loss=5%."
    )


def test_an_interrupt_keeps_what_is_finished(run: Run, ranked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("robustradar.screening.rank", interrupted)
    done = run(f"check {ranked} --plugin nets.py")
    assert (done.code, done.err) == (130, "\nInterrupted. What was finished is kept: the same command continues.\n")


@pytest.mark.parametrize("command", ["check", "baseline save"])
def test_help_shows_two_examples(command: str, run: Run) -> None:
    assert run(f"{command} --help").out.count(f"  robustradar {command} ") == 2


# pytest


def test_the_assertion_passes_fails_with_the_table_and_tells_what_is_not_judged(run: Run, ranked: str) -> None:
    scoring = Rescoring(Path("store"), "cpu", plugins=("nets.py",))
    assert assert_no_regression("b.json", scoring=scoring).verdict == "same"
    assert assert_no_regression("b.json", run="out", scoring=scoring).verdict == "same"
    Path("nets.py").write_text(BROKEN)
    with pytest.raises(AssertionError) as error:
        assert_no_regression("b.json", scoring=scoring, tolerances={"clean_accuracy": 0.05, "*_loss": "10%"})
    text = str(error.value)
    assert text.startswith("robustradar check against b.json:\n\ncandidate ")
    assert "REGRESSION" in text and "parameters" not in text
    found = assert_no_regression("b.json", scoring=scoring, tolerances={"clean_*": 1e6}, only=("clean_*",))
    assert [row.verdict for row in found.rows] == ["same", "same"]
