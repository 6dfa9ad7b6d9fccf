"""`robustradar zoo truth` and `robustradar fidelity`: from candidates to a table of truths, and from it to verdicts."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from robustradar.cli import app

Run = Callable[[str], Any]
CANDIDATES = ("papers/linear", "papers/mlp:width=2", "papers/mlp:width=4", "papers/mlp:width=32", "papers/mlp:depth=1")
ARCHS = " ".join(f"--arch {name}" for name in CANDIDATES)
COLUMNS = "candidate,truth,low,high,sd,cost,cost_flops,parameters,macs,clean_accuracy,flags,reason"


@pytest.fixture
def truth(run: Run, tiny: str) -> Path:
    """What `zoo truth` wrote, trained for a moment."""
    done = run(f"zoo truth {tiny.replace('--out out', '')} {ARCHS} --eps 0.2 --attack native/apgd-ce-t:steps=3 --out truth.csv --quiet")
    assert done.code == 0, done.err
    assert done.out.endswith("\nWritten: truth.csv\n")
    return Path("truth.csv")


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_truth_is_made_and_predicted(run: Run, tiny: str, truth: Path) -> None:
    made = rows(truth)
    assert truth.read_text().splitlines()[0] == COLUMNS
    assert [row["candidate"] for row in made] == list(CANDIDATES)
    for row in made:
        assert 0 <= float(row["low"]) <= float(row["truth"]) <= float(row["high"]) <= 1
        assert float(row["sd"]) == pytest.approx((float(row["high"]) - float(row["low"])) / 3.92, rel=1e-4)
        # Two epochs of 40 samples: eleven forward passes and eleven backward in training, the attack's ten included, and the evaluations'.
        assert int(row["cost"]) > 2 * 40 * 22
        assert int(row["cost_flops"]) > 0
        assert float(row["truth"]) <= float(row["clean_accuracy"]) <= 1
        assert row["reason"] == ""
    assert [int(row["parameters"]) for row in made] == [34, 46, 98, 1666, 1218]

    before = truth.read_text()
    again = run(
        f"zoo truth {tiny.replace('--out out', '')} {ARCHS} --eps 0.2 --attack native/apgd-ce-t:steps=3 --out truth.csv --json --quiet "
        "--events events.jsonl"
    )
    assert again.json == made
    assert again.err == "\nWritten: truth.csv\n"
    assert [json.loads(line)["event"] for line in Path("events.jsonl").read_text().splitlines()] == ["planned"]
    assert truth.read_text() == before

    done = run(
        f"fidelity --truth truth.csv {tiny} --eps 0.2 --metric robust-accuracy --ranker rank-mean --json --quiet --events events.jsonl"
    )
    assert done.code == 0, done.err
    heard = [json.loads(line)["event"] for line in Path("events.jsonl").read_text().splitlines()]
    assert (heard.count("planned"), heard.count("fitted")) == (2, 5)
    names = {score["name"]: score for score in done.json["scores"]}
    trivial = {"parameters", "macs", "clean_accuracy", "clean_accuracy + fgsm_accuracy"}
    assert {name for name, score in names.items() if score["trivial"]} == trivial
    assert set(names) - trivial == {"robust_accuracy", "robust_loss", "fgsm_accuracy", "fgsm_loss", "clean_loss", "ranker native/rank-mean"}
    assert 0 < names["clean_accuracy"]["cost"]["share"] < names["robust_accuracy"]["cost"]["share"] < 1
    assert 0 < names["clean_accuracy"]["cost"]["flops_share"] < 1
    assert names["parameters"]["cost"]["passes"] == 0
    written = ["fidelity.html", "fidelity.json", "fidelity.md", "scores.json", "tau-over-cost.svg"]
    assert sorted(file.name for file in Path("out").iterdir()) == written
    assert json.loads(Path("out/fidelity.json").read_text()) == done.json
    assert done.json["provenance"]["command"].startswith("robustradar fidelity --truth truth.csv")

    stored = run("fidelity --truth truth.csv --run out --ranker rank-mean --json").json
    assert stored["scores"] == done.json["scores"]
    refused = run("fidelity --truth truth.csv --run out --events events.jsonl")
    assert (refused.code, refused.err) == (
        2,
        "robustradar: --events: got no --metric, expected one: nothing is computed, so nothing happens. Give --metric, or drop it.\n",
    )


def test_a_table_can_be_judged_without_any_computation(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "name,acc,params,s\n" + "".join(f"c{n},0.{n},{100 * n},{n}\n" for n in range(1, 8))
    Path("t.csv").write_text(text)
    monkeypatch.setattr("robustradar.host.load", lambda *_: pytest.fail("plugins were loaded"))
    done = run("fidelity --truth t.csv --candidate {name} --truth-column acc --truth-sd 0.01 --score s:higher")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "Truth: acc of t.csv, 7 candidates, 0.1 to 0.7, standard deviation 0.216."
    assert lines[2].split() == "score n τ all τ top half τ top quarter τ size-matched regret cost verdict".split()
    assert lines[4].split() == ["noise", "ceiling", "7", "1.00", "–", "–", "–"]
    assert lines[5].split() == ["params", "(trivial)", "7", "1.00", "[1.00,", "1.00]", "–", "–", "–", "0", "0", "trivial"]
    words = "s 7 1.00 [1.00, 1.00] – – – 0 not known no better than parameter count"
    assert " ".join(lines[6].split()) == words


def test_judging_what_is_finished_imports_no_torch() -> None:
    program = "import sys, robustradar.fidelity.page, robustradar.fidelity.zoo, robustradar.cli.fidelity; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_sample_and_a_part_are_told(run: Run) -> None:
    Path("t.csv").write_text("candidate,truth,s\n" + "".join(f"c{n},{n},{n}\n" for n in range(40)) + "c40,,1\n")
    done = run("fidelity --truth t.csv --score s:higher --part 1/2 --sample 8 --seed 3")
    assert done.out.startswith("Truth: truth of t.csv, 8 candidates (part 1/2; a sample of 8, seed 3; 1 row without a truth left out), ")


def test_a_candidate_that_fails_has_its_reason(run: Run, tiny: str) -> None:
    Path("mine.py").write_text(
        "import robustradar as rr\n"
        "def broken(shape: tuple[int, ...], outputs: int):\n    'Never built.'\n    raise RuntimeError('no, not today')\n"
        "@rr.hookimpl\ndef robustradar_architectures():\n    return (rr.architecture(broken),)\n"
    )
    done = run(
        f"zoo truth {tiny.replace('--out out', '')} --plugin mine.py --arch mine/broken --arch linear --eps 0.2 --out new/truth.csv --quiet"
    )
    assert done.code == 3
    assert done.err.endswith("1 of 2 candidates have no truth; their reasons are in the table.\n")
    broken, linear = rows(Path("new/truth.csv"))
    assert broken["truth"] == broken["cost"] == ""
    assert broken["reason"].startswith("failed: ")
    assert broken["reason"].endswith("RuntimeError: no, not today (mine.py:4)")
    assert linear["truth"]

    text = "candidate,truth\n" + "".join(f"{name},0.{n}\n" for n, name in enumerate((*CANDIDATES, "mine/broken")))
    Path("t.csv").write_text(text)
    done = run(f"fidelity --truth t.csv {tiny} --plugin mine.py --eps 0.2 --metric clean-accuracy --no-trivial --quiet")
    assert done.code == 3
    assert done.err == "4 of 4 scores failed for some candidates; the reasons are above.\n"
    assert (
        "clean_accuracy, clean_loss, macs, parameters: 1 of 6" in done.out
        or "1 of 6 candidates have no number and are left out" in done.out
    )


TABLE = "candidate,truth,s\n" + "".join(f"{name},0.{n},{n}\n" for n, name in enumerate(CANDIDATES))
WRONG = [
    ("", "fidelity: got nothing to judge, expected a score. Give --metric, --run or --score."),
    (
        "--metric clean-accuracy --run out",
        "--run: got a run and --metric, expected one of them. Compute first with rank, then give all runs by --run.",
    ),
    ("--score t:higher", "--score: got 't', expected one of candidate, s, truth."),
    ("--trivial s", "--trivial: got 's' without a direction, expected s:higher or s:lower."),
    (
        "--run nowhere",
        "--run: got 'nowhere', which cannot be read (No such file or directory). "
        "Give the folder that robustradar rank wrote, or its scores.json.",
    ),
    ("--metric parameters --score parameters", "--score: got 'parameters' without a direction, expected parameters:higher or "),
    ("--part 2", "--part: got '2', expected K/N with 1 <= K <= N, such as 1/2."),
    ("--metric clean-acuracy", "--metric: got 'clean-acuracy'. Did you mean 'baselines/clean-accuracy' "),
    ("--metric clean-accuracy --score clean_acuracy", "--score: got 'clean_acuracy', expected one of candidate, clean_accuracy, "),
    ("--metric clean-accuracy --ranker rank-mean:columns=x", "ranker rank-mean: columns: got 'x', expected one of clean_accuracy, "),
    ("--metric clean-accuracy --ranker rank-men", "--ranker: got 'rank-men', expected one of "),
]


@pytest.mark.parametrize(("flags", "message"), WRONG)
def test_what_is_wrong_is_said_before_anything_is_trained(
    run: Run, tiny: str, monkeypatch: pytest.MonkeyPatch, flags: str, message: str
) -> None:
    Path("t.csv").write_text(TABLE)
    monkeypatch.setattr("robustradar.screening.rank", lambda *_, **__: pytest.fail("something was computed"))
    done = run(f"fidelity --truth t.csv {tiny} --eps 0.2 {flags}")
    assert done.code == 2
    assert done.message.startswith(message)
    assert done.message == message or message.endswith(" ")


def test_candidates_that_are_none_or_the_same(run: Run, tiny: str) -> None:
    Path("t.csv").write_text(TABLE.replace("papers/linear", "papers/lineer"))
    done = run(f"fidelity --truth t.csv {tiny} --metric clean-accuracy")
    assert done.message.startswith("t.csv:2: candidate: got 'papers/lineer'. Did you mean 'papers/linear' ")
    Path("t.csv").write_text(TABLE.replace("papers/linear", "mlp:width=2"))
    done = run(f"fidelity --truth t.csv {tiny} --metric clean-accuracy")
    assert (
        done.message
        == "t.csv:3: got 'papers/mlp:width=2', which is the same network as 'mlp:width=2', expected each once. Take one row out."
    )


@pytest.mark.parametrize("command", ["fidelity", "zoo truth"])
def test_help_shows_two_examples(command: str) -> None:
    shown = CliRunner().invoke(app, [*command.split(), "--help"], terminal_width=200).output
    assert shown.count(f"robustradar {command} --") == 2
