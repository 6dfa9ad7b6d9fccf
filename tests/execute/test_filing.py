"""Files are written as a whole or not at all, and read back with their schema."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from robustradar import filing
from robustradar.errors import StoreError, UsageError


def test_a_file_is_made_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "name.txt"
    filing.replace(file, "näme")
    assert file.read_bytes() == "näme".encode()
    filing.replace(file, b"\xff")
    assert file.read_bytes() == b"\xff"
    assert os.listdir(tmp_path) == ["name.txt"]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_what_ends_it_leaves_the_old_text_and_nothing_beside(error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "name.txt"
    filing.replace(file, "old")

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(type(error)):
        filing.replace(file, "new")
    assert (os.listdir(tmp_path), file.read_text()) == (["name.txt"], "old")


def test_a_file_that_cannot_be_put_names_the_option(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "x.txt"
    assert filing.put(deep, "text") == deep
    assert deep.read_text() == "text"
    with pytest.raises(StoreError) as error:
        filing.put(deep / "y.txt", "text")
    told = f"{deep / 'y.txt'} cannot be written ({os.strerror(17)})."
    assert str(error.value) == f"--out: {told} The work is in the store: run again with another --out."
    with pytest.raises(StoreError) as error:
        filing.put(deep / "y.txt", "text", "--output", "Choose another place.")
    assert str(error.value) == f"--output: {told} Choose another place."


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, ", which cannot be read (No such file or directory). Look."),
        ("{", ", which is no JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)), expected mine/1. Look."),
        ('{"schema": "mine/1", "x": -Infinity}', ", which is no JSON (-Infinity is no number), expected mine/1. Look."),
        ('{"schema": "mine/2"}', " of schema 'mine/2', expected 'mine/1'. Look."),
        ("[]", " of no schema, expected 'mine/1'. Look."),
    ],
)
def test_what_is_no_document_of_the_schema_is_refused(text: str | None, told: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError) as error:
        filing.read(file, "mine/1", "--mine", "Look.")
    assert str(error.value) == f"--mine: got {str(file)!r}{told}"


def test_a_document_is_read(tmp_path: Path) -> None:
    file = filing.put(tmp_path / "x.json", '{"schema": "mine/1", "x": 1}')
    assert filing.read(file, "mine/1", "--mine", "Look.") == {"schema": "mine/1", "x": 1}
