"""`robustradar report`: what it writes, what it takes, and what it refuses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[[str], Any]
ADVICE = "Give the folder that robustradar rank wrote, or its scores.json."


@pytest.fixture
def ranked(run: Run, tiny: str) -> Path:
    """A folder that `rank` wrote."""
    assert run(f"rank {tiny} --arch linear --arch mlp:width=4 --metric clean-accuracy --metric parameters").code == 0
    return Path("out")


def test_the_page_of_rank_is_written_again(run: Run, ranked: Path) -> None:
    page = (ranked / "report.html").read_text()
    assert "<h1>Ranking: rank</h1>" in page
    (ranked / "report.html").unlink()
    done = run("report out")
    assert (done.code, done.out, done.err) == (0, "Written: out/report.html\n", "")
    assert (ranked / "report.html").read_text() == page
    assert run("report out/scores.json --out elsewhere").out == "Written: elsewhere/report.html\n"
    assert Path("elsewhere/report.html").read_text() == page


def test_every_figure_is_a_file(run: Run, ranked: Path) -> None:
    done = run("report out --figures --json")
    assert done.json == {"written": ["out/report.html", "out/figures/training-1-clean.svg"]}
    assert (ranked / "figures/training-1-clean.svg").read_text().startswith("<svg ")


def test_several_runs_are_laid_side_by_side(run: Run, ranked: Path) -> None:
    done = run("report out out/scores.json --figures")
    folder = "robustradar-results/report"
    files = [f"{folder}/report.html", f"{folder}/figures/A-training-1-clean.svg", f"{folder}/figures/B-training-1-clean.svg"]
    assert done.out == f"Written: {', '.join(files)}\n"
    page = Path(files[0]).read_text()
    assert "<h1>Runs side by side</h1>" in page
    assert "B: out/scores.json" in page


def test_nothing_is_loaded_that_trains(run: Run, ranked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustradar.host.load", lambda *_: pytest.fail("plugins were loaded"))
    assert run("report out").code == 0


def spoilt(ranked: Path, change: Callable[[Any], Any]) -> None:
    file = ranked / "scores.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def test_what_is_no_result_is_refused(run: Run, ranked: Path) -> None:
    def message(line: str) -> str:
        done = run(line)
        assert done.code == 2
        return str(done.message)

    assert message("report nowhere") == f"RUN: got 'nowhere', and nowhere cannot be read (No such file or directory). {ADVICE}"
    Path("empty").mkdir()
    assert message("report out empty") == f"RUN: got 'empty', and empty/scores.json cannot be read (No such file or directory). {ADVICE}"
    Path("broken.json").write_text('{"schema": ')
    assert message("report broken.json") == (
        f"RUN: got 'broken.json', which is no JSON (Expecting value: line 1 column 12 (char 11)). {ADVICE}"
    )
    Path("broken.json").write_text('{"schema": NaN}')
    assert message("report broken.json") == f"RUN: got 'broken.json', which is no JSON (NaN is no number). {ADVICE}"
    Path("broken.json").write_bytes(b"\xff")
    assert message("report broken.json").startswith("RUN: got 'broken.json', which is no JSON ('utf-8' codec can't decode byte 0xff")
    Path("other.json").write_text("[1]")
    assert message("report other.json") == f"other.json: got no schema, expected 'robustradar/1'. {ADVICE}"
    Path("other.json").write_text('{"schema": "robustradar/9"}')
    assert message("report other.json") == f"other.json: got schema 'robustradar/9', expected 'robustradar/1'. {ADVICE}"
    spoilt(ranked, lambda document: document | {"ranked_by": [1]})
    assert message("report out") == (
        "out/scores.json: ranked_by/0: 1 is not of type 'string'. "
        "It was changed, or written by a version that this one does not read: run rank again."
    )


def test_a_folder_that_cannot_be_written_is_told(run: Run, ranked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    assert run("report out --out file/x").message == (
        "--out: got 'file/x', which cannot be written (Not a directory). Choose another folder."
    )

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert run("report out").message == "--out: out/report.html cannot be written (No space left on device). Choose another folder."


def test_a_run_must_be_given_and_the_help_shows_two_examples(run: Run) -> None:
    done = run("report")
    assert done.code == 2
    assert "Missing argument 'RUN...'" in done.err
    text = run("report --help").out
    assert text.count("  robustradar report ") == 2
