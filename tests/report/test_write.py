"""Writing results: the JSON first, whole files only, and a failing reporter named."""

import errno
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from robustradar import PluginError, Reporter, Result, StoreError, fixed
from robustradar.report import write


@dataclass(frozen=True)
class Text(Reporter):
    """Some text."""

    filename: str = fixed("x.txt")
    text: Any = fixed("fine\n")

    def render(self, result: Result) -> str:
        if self.text == "raise":
            raise ZeroDivisionError("no candidates")
        return self.text  # type: ignore[no-any-return]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_json_is_written_first_then_each_rendering(result: Result, tmp_path: Path) -> None:
    files = write.write(result, [("a", Text(name="a")), ("b", Text(name="b", filename="y.md"))], tmp_path)
    assert [file.name for file in files] == ["scores.json", "x.txt", "y.md"]
    assert names(tmp_path) == ["scores.json", "x.txt", "y.md"]
    assert (tmp_path / "x.txt").read_text() == "fine\n"
    assert json.loads((tmp_path / "scores.json").read_text()) == json.loads(json.dumps(result.json()))
    assert (tmp_path / "scores.json").read_text() == write.as_json(result)


def test_the_json_tells_all(result: Result) -> None:
    document = json.loads(write.as_json(result))
    assert document["schema"] == "robustradar/1"
    assert [row["state"] for row in document["scores"]] == ["measured"] * 4 + ["skipped", "measured"] + ["failed"] * 3
    assert document["ranking"][0] == {"rank": 1, "rank_low": 1, "rank_high": 2, "candidate": "papers/cnn", "score": 1.0}
    assert document["unranked"] == [{"candidate": "papers/linear", "reason": "clean_accuracy failed: ValueError: | <b>not</b> today"}]
    assert [fit["cached"] for fit in document["fits"]] == [False, True]
    assert document["study"]["threat"] == {"norm": "linf", "eps": 8 / 255, "bounds": [0.0, 1.0]}


def test_a_failing_reporter_is_named_and_the_json_is_there(result: Result, tmp_path: Path) -> None:
    reporters = [("reporter p/a (p 1.0)", Text(name="a")), ("reporter p/b (p 1.0)", Text(name="b", filename="y.md", text="raise"))]
    with pytest.raises(PluginError) as error:
        write.write(result, reporters, tmp_path)
    json_file = tmp_path / "scores.json"
    assert str(error.value) == f"reporter p/b (p 1.0): ZeroDivisionError: no candidates. {json_file} is written and complete."
    assert names(tmp_path) == ["scores.json", "x.txt"]


def test_a_reporter_that_returns_no_text_is_named(result: Result, tmp_path: Path) -> None:
    with pytest.raises(PluginError) as error:
        write.write(result, [("reporter p/a (p 1.0)", Text(name="a", text=None))], tmp_path)
    assert str(error.value).startswith("reporter p/a (p 1.0): render() returned NoneType, expected str")
    assert names(tmp_path) == ["scores.json"]


def test_a_reporter_does_not_take_the_jsons_place(result: Result, tmp_path: Path) -> None:
    with pytest.raises(PluginError) as error:
        write.write(result, [("reporter p/a (p 1.0)", Text(name="a", filename="scores.json"))], tmp_path)
    assert str(error.value).startswith("reporter p/a (p 1.0): got the filename 'scores.json', which is the result's own, expected another.")
    assert json.loads((tmp_path / "scores.json").read_text())["schema"] == "robustradar/1"


def test_a_file_is_replaced_as_a_whole_or_not_at_all(result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scores.json").write_text("before")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError) as error:
        write.write(result, [], tmp_path)
    assert str(error.value) == (
        f"--out: {tmp_path / 'scores.json'} cannot be written (No space left on device). "
        "The work is in the store: run again with another --out."
    )
    assert names(tmp_path) == ["scores.json"]
    assert (tmp_path / "scores.json").read_text() == "before"


def test_an_output_folder_is_tried_before_any_work(tmp_path: Path) -> None:
    write.writable(tmp_path / "deep" / "out")
    assert names(tmp_path / "deep" / "out") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as error:
        write.writable(tmp_path / "file" / "out")
    where = str(tmp_path / "file" / "out")
    assert str(error.value) == f"--out: got {where!r}, which cannot be written (Not a directory). Choose another folder."
