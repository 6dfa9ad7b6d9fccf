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


def test_every_figure_is_an_image(run: Run, ranked: Path) -> None:
    pytest.importorskip("resvg_py", reason="needs the extra png")
    assert run("report out --png --json").json["written"][1:] == ["out/figures/training-1-clean.png"]
    assert (ranked / "figures/training-1-clean.png").read_bytes().startswith(b"\x89PNG")
    both = run("report out out/scores.json --png --figures --json").json["written"][1:]
    names = [f"{run_}-training-1-clean.{kind}" for run_ in "AB" for kind in ("svg", "png")]
    assert both == [f"robustradar-results/report/figures/{name}" for name in names]


def test_images_without_the_extra_are_refused_before_anything_is_written(run: Run, ranked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustradar.report.raster.find_spec", lambda _: None)
    done = run("report out --png --out new")
    assert done.code == 2
    assert done.message == "--png: got no resvg_py and no fontpkg_open_sans, which images need. Run: pip install 'robustradar[png]'"
    assert not Path("new").exists()


OURS = """
from dataclasses import dataclass
import robustradar

@dataclass(frozen=True)
class Best(robustradar.Reporter):
    "The best candidate's name."
    filename: str = robustradar.fixed("best.txt")
    sign: str = "!"

    def render(self, result):
        if self.sign == "raise":
            raise ValueError("no")
        return None if self.sign == "none" else result.ranking.rows[0].candidate + self.sign

    def compare(self, runs):
        return {"together": " ".join(label for label, _ in runs), "number": 1}.get(self.sign)

@robustradar.hookimpl
def robustradar_reporters():
    own = "scores.json"
    return (Best(name="best"), Best(name="same"), Best(name="own", filename=own))
"""


def test_any_reporter_renders_stored_results(run: Run, ranked: Path) -> None:
    Path("ours.py").write_text(OURS)
    before = {name: (ranked / name).read_text() for name in ("ranking.md", "scores.csv", "report.html", "scores.json")}
    assert run("report out --reporter native/markdown --reporter csv --reporter html --out again").out == (
        "Written: again/ranking.md, again/scores.csv, again/report.html\n"
    )
    for name in ("ranking.md", "scores.csv", "report.html"):
        assert Path("again", name).read_text() == before[name], "what rank wrote"
    assert run("report out --plugin ours.py --reporter best:sign=? --reporter best:sign=?").out == "Written: out/best.txt\n"
    assert (ranked / "best.txt").read_text() == f"{json.loads(before['scores.json'])['ranking'][0]['candidate']}?"
    Path("mine.yaml").write_text('reporters: {short: "markdown:rows=1"}')
    assert run("report out --registry mine.yaml --reporter short --out short").code == 0
    assert "1 more row is left out." in Path("short/ranking.md").read_text()


def test_of_several_runs_a_reporter_makes_one_file_or_one_each(run: Run, ranked: Path) -> None:
    Path("ours.py").write_text(OURS)
    written = run("report out out/scores.json --reporter markdown --reporter csv --out both --json").json["written"]
    assert written == ["both/ranking.md", "both/A-scores.csv", "both/B-scores.csv"]
    assert Path("both/ranking.md").read_text().startswith("# Runs side by side\n")
    assert Path("both/B-scores.csv").read_text() == (ranked / "scores.csv").read_text()
    assert run("report out out/scores.json --plugin ours.py --reporter best:sign=together --out both").out == "Written: both/best.txt\n"
    assert Path("both/best.txt").read_text() == "out out/scores.json"


def test_a_reporter_that_cannot_is_told(run: Run, ranked: Path) -> None:
    Path("ours.py").write_text(OURS)
    left = "The stored results are as they were."

    def refused(line: str, code: int) -> str:
        done = run(f"report {line}")
        assert done.code == code
        return str(done.message)

    known = "expected one of native/csv, native/html, native/markdown. Did you mean 'native/markdown'?"
    assert refused("out --reporter markdwn", 2) == f"--reporter: got 'markdwn', {known}"
    assert refused("out --reporter csv:x=1", 2).startswith("--reporter native/csv: parameter: got 'x', expected one of nothing")
    assert refused("out --plugin ours.py --reporter best --reporter same", 2) == (
        "--reporter: got ours/best and ours/same, which all write best.txt, expected one of them. Give each its own --out."
    )
    assert refused("out --plugin ours.py --reporter best:sign=raise", 4) == f"reporter ours/best (ours.py): ValueError: no. {left}"
    assert refused("out --plugin ours.py --reporter best:sign=none", 4) == (
        f"reporter ours/best (ours.py): render() returned NoneType, expected str. {left}"
    )
    assert refused("out out --plugin ours.py --reporter best:sign=number", 4) == (
        f"reporter ours/best (ours.py): compare() returned int, expected str or None. {left}"
    )
    assert refused("out --plugin ours.py --reporter own", 4) == (
        f"reporter ours/own (ours.py): got the filename 'scores.json', which is the result's own, expected another. {left}"
    )


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

    assert message("report nowhere") == f"RUN: got 'nowhere', which cannot be read (No such file or directory). {ADVICE}"
    Path("empty").mkdir()
    assert message("report out empty") == f"RUN: got 'empty/scores.json', which cannot be read (No such file or directory). {ADVICE}"
    Path("broken.json").write_text('{"schema": ')
    assert message("report broken.json") == (
        f"RUN: got 'broken.json', which is no JSON (Expecting value: line 1 column 12 (char 11)), expected robustradar/1. {ADVICE}"
    )
    Path("broken.json").write_text('{"schema": NaN}')
    assert message("report broken.json") == f"RUN: got 'broken.json', which is no JSON (NaN is no number), expected robustradar/1. {ADVICE}"
    Path("broken.json").write_bytes(b"\xff")
    assert message("report broken.json").startswith("RUN: got 'broken.json', which is no JSON ('utf-8' codec can't decode byte 0xff")
    Path("other.json").write_text("[1]")
    assert message("report other.json") == f"RUN: got 'other.json' of no schema, expected 'robustradar/1'. {ADVICE}"
    Path("other.json").write_text('{"schema": "robustradar/9"}')
    assert message("report other.json") == f"RUN: got 'other.json' of schema 'robustradar/9', expected 'robustradar/1'. {ADVICE}"
    file = ranked / "scores.json"
    kept = file.read_text()
    advice = (
        "It was changed, or written by a version of RobustRadar that this one does not read. "
        "Run rank again with the same store: what this version can use of it is not trained anew."
    )
    file.write_text(kept.replace('"norm": "linf"', '"norm": "l0.5"', 1))
    assert message("report out") == f"out/scores.json: study/threat/norm: got 'l0.5', expected linf or an order of at least 1. {advice}"
    file.write_text(kept)
    spoilt(ranked, lambda document: document | {"ranked_by": [1]})
    assert message("report out") == f"out/scores.json: ranked_by/0: 1 is not of type 'string'. {advice}"


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
    assert done.message == "RUN...: got none, expected one. See robustradar report --help."
    text = run("report --help").out
    assert text.count("  robustradar report ") == 2
