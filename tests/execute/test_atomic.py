"""Files are replaced as a whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from robustradar import atomic


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "name.txt"
    atomic.replace(file, "näme")
    assert file.read_bytes() == "näme".encode()
    atomic.replace(file, b"\xff")
    assert file.read_bytes() == b"\xff"
    assert os.listdir(tmp_path) == ["name.txt"]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_what_ends_it_leaves_the_old_text_and_nothing_beside(error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "name.txt"
    atomic.replace(file, "old")

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(type(error)):
        atomic.replace(file, "new")
    assert (os.listdir(tmp_path), file.read_text()) == (["name.txt"], "old")
