"""`robustradar rank --ranker calibrated`: what labels teach is in every output, and a bad file is told before any training."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustradar.report import stored
from robustradar.report.document import read

Run = Callable[[str], Any]

WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)


@pytest.fixture
def line(tiny: str) -> str:
    candidates = " ".join(f"--arch mlp:width={width}" for width in WIDTHS)
    return f"rank {tiny.replace('epochs=2', 'epochs=1')} {candidates} --metric clean-accuracy --metric synflow"


def labels(count: int) -> None:
    rows = [f"papers/mlp:width={width},{30 + width**0.5:.3f}\n" for width in WIDTHS[:count]]
    Path("labels.csv").write_text("candidate,truth\n" + "".join(rows))


def test_what_labels_teach_is_in_every_output(run: Run, line: str) -> None:
    labels(8)
    done = run(f"{line} --ranker calibrated:labels=labels.csv,columns=synflow")
    assert done.code == 0
    document = json.loads(Path("out/scores.json").read_text())
    notes = document["ranking_notes"]
    assert notes[0].startswith("Calibrated by 8 labels: scores are the predicted truth, ±")
    assert document["ranking_details"]["labels"] == 8
    assert {row["candidate"]: row["score"] for row in document["ranking"]}["papers/mlp:width=4"] == 32.0
    assert done.out.splitlines()[0].split() == "rank 95 % candidate predicted truth clean accuracy % ↑ synflow ↑*".split()
    assert re.search(r"papers/mlp:width=4 +32 ", done.out)
    page, markdown = Path("out/report.html").read_text(), Path("out/ranking.md").read_text()
    assert "| rank | 95 % interval | candidate | predicted truth | clean accuracy % ↑ |" in markdown
    assert "predicted truth</th>" in page
    for note in notes:
        assert f"\n{note}\n" in done.out
        assert note.replace("'", "&#39;") in page
        assert note.split(":")[0] in markdown
    assert read("out", "RUN").result.ranking == stored.result(document).ranking
    assert stored.result(document).json() == document


def test_labels_that_change_train_nothing_anew(run: Run, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    labels(3)
    first = run(f"{line} --ranker calibrated:labels=labels.csv --json").json
    assert first["ranking_notes"] == ["Not calibrated: 3 labels, and it takes at least 8. The order and the scores are rank-mean's."]
    monkeypatch.setattr("robustradar.execute.train", lambda *_, **__: pytest.fail("trained again"))
    plain = run(f"{line} --json").json
    assert plain["ranking"] == first["ranking"]
    assert "ranking_notes" not in plain
    labels(9)
    assert run(f"{line} --ranker calibrated:labels=labels.csv --json").json["ranking_details"]["labels"] == 9


def test_labels_that_cannot_be_read_are_told_before_any_training(run: Run, line: str) -> None:
    done = run(f"{line} --ranker calibrated:labels=none.csv")
    assert (done.code, done.message) == (
        2,
        "ranker calibrated: labels: got 'none.csv', which cannot be read (No such file or directory). "
        "Give a CSV file with the columns candidate and truth.",
    )
    assert not Path("store").exists()
