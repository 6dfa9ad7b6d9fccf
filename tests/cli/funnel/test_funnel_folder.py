"""Where `robustradar funnel` writes, and what it does to an earlier funnel's files there."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[[str], Any]


class Killed(BaseException):
    """As good as SIGKILL: nobody handles it."""


def test_without_out_every_request_has_a_folder_of_its_own(run: Run, line: str) -> None:
    def funnels() -> list[str]:
        return sorted(path.name for path in Path("robustradar-results").iterdir())

    line = line.replace("--out out", "")
    assert run(f"{line} --arch linear").code == 0
    (first,) = funnels()
    assert re.fullmatch(r"funnel-[0-9a-f]{8}", first)
    assert run(f"{line} --arch linear --json --quiet").code == 0
    assert funnels() == [first]
    assert run(f"{line.replace('untrained short', 'short')} --arch linear").code == 0
    assert run(f"{line} --arch linear --tau short=0.7").code == 0
    assert run(f"{line} --arch linear --keep-best 0.9").code == 0
    assert run(f"{line} --arch mlp:width=2").code == 0
    assert len(funnels()) == 5
    for name in funnels():
        document = json.loads((Path("robustradar-results") / name / "funnel.json").read_text())
        folders = {Path(stage["folder"]).name for stage in document["stages"]}
        assert {path.name for path in (Path("robustradar-results") / name).iterdir()} == {"funnel.json", "funnel.md", *folders}


def test_stages_of_another_funnel_are_never_left_beside_its_own(run: Run, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def written() -> set[str]:
        return {path.name for path in Path("out").iterdir()}

    assert run(f"{line} --arch linear").code == 0
    Path("out/notes.txt").write_text("mine")
    assert run(f"{line.replace('untrained short', 'short')} --arch linear").code == 0
    assert written() == {"funnel.json", "funnel.md", "1-short", "2-long", "notes.txt"}

    def killed(result: Any, reporters: Any, folder: Path) -> Any:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("robustradar.report.write.write", killed)
        with pytest.raises(Killed):
            run(f"{line} --arch mlp:width=2")
    assert written() == {"funnel.json", "1-untrained", "notes.txt"}
    document = json.loads(Path("out/funnel.json").read_text())
    assert (document["stages"], [stage["name"] for stage in document["not_run"]]) == ([], ["untrained", "short", "long"])
    assert run(f"{line.replace('untrained short', 'short')} --arch linear").code == 0
    assert written() == {"funnel.json", "funnel.md", "1-short", "2-long", "notes.txt"}


def test_what_no_funnel_wrote_is_left_alone(run: Run, line: str) -> None:
    for name, text in {"out/9-mine/scores.json": "{}", "out/funnel.json": "no JSON", "list/funnel.json": "[]"}.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    assert run(f"{line} --arch linear").code == 0
    assert Path("out/9-mine/scores.json").read_text() == "{}"
    assert run(f"{line.replace('--out out', '--out list')} --arch linear").code == 0


def test_an_earlier_funnel_that_cannot_be_removed_is_told(run: Run, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(f"{line} --arch linear").code == 0

    def kept(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", kept)
    done = run(f"{line} --arch linear")
    told = "--out: out/1-untrained of an earlier funnel cannot be removed (Permission denied). Choose another folder."
    assert (done.code, done.message) == (2, told)
