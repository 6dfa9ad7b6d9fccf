"""What a baseline keeps: a round trip to the bit, and a clear word where a file is none."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gated_cells import LOSS, SIZE, bits, run_of, sampled, seeded, stateless

from robustradar import StoreError, UsageError
from robustradar.gate import Cell, Snapshot, UnlikeError, read, write


def plain(cell: Cell) -> dict[str, Any]:
    """A cell's fields, samples as bytes with their kind."""
    samples = cell.samples
    return vars(cell) | {"samples": None if samples is None else (samples.dtype.name, samples.shape, samples.tobytes())}


@pytest.mark.parametrize("n", [1, 7, 8, 9, 1000])
def test_a_baseline_reads_back_to_the_bit(n: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(n)
    cells = (
        sampled(rng.random((3, n)) < 0.5, flags=("clean-trained",)),
        sampled(rng.random((3, n)).astype(np.float32), LOSS),
        sampled(rng.random((2, n)), LOSS, metric="m"),
        seeded([98.0], SIZE, chance=False, low=97.0, high=99.0),
        stateless("skipped", "no classes"),
    )
    before = run_of(*cells)
    write(before, tmp_path / "deep" / "b.json")
    after = read(tmp_path / "deep" / "b.json")
    assert [plain(cell) for cell in after.cells] == [plain(cell) for cell in cells]
    assert (after.study, after.provenance) == (before.study, before.provenance)


def test_whole_numbers_a_sample_come_back_as_floats(tmp_path: Path) -> None:
    write(run_of(sampled(np.arange(6).reshape(2, 3), LOSS)), tmp_path / "b.json")
    (cell,) = read(tmp_path / "b.json").cells
    assert cell.samples is not None
    assert (cell.samples.dtype, cell.samples.tolist()) == (np.float64, [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])


def test_a_thousand_answers_take_168_characters(tmp_path: Path) -> None:
    write(run_of(sampled(bits(700, 1000))), tmp_path / "b.json")
    (cell,) = json.loads((tmp_path / "b.json").read_text())["cells"]
    assert len(cell["samples"]["base64"]) == 168


def damaged(change: Callable[[Any], object], tmp_path: Path) -> str:
    """The message after one thing in the file was changed."""
    write(run_of(sampled(bits(5, 10)), sampled(np.ones((1, 3)), LOSS)), tmp_path / "b.json")
    document = json.loads((tmp_path / "b.json").read_text())
    change(document)
    (tmp_path / "b.json").write_text(json.dumps(document))
    with pytest.raises(UsageError) as error:
        read(tmp_path / "b.json")
    start, end = f"--baseline: got {str(tmp_path / 'b.json')!r}", " Check the path, or save it anew by robustradar baseline save."
    text = str(error.value)
    assert text.startswith(start) and text.endswith(end)
    return text.removeprefix(start).removesuffix(end)


NAN = base64.b64encode(np.full(3, np.nan).tobytes()).decode()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.pop("cells"), ", which is damaged (KeyError: 'cells'), expected it as it was saved."),
        (lambda d: d.update(schema="robustradar/1"), " of schema 'robustradar/1', expected 'robustradar-baseline/1'."),
        (
            lambda d: d["cells"][0]["samples"].update(base64="AAAA"),
            ", which is damaged (ValueError: 3 bytes for 1 x 10 bits), expected it as it was saved.",
        ),
        (
            lambda d: d["cells"][0]["samples"].update(dtype="object"),
            ", which is damaged (ValueError: samples of dtype 'object'), expected it as it was saved.",
        ),
        (
            lambda d: d["cells"][1]["samples"].update(base64=NAN),
            ", which is damaged (ValueError: samples that are not finite), expected it as it was saved.",
        ),
    ],
)
def test_a_file_that_is_no_baseline_is_named_with_what_is_wrong(change: Callable[[Any], object], told: str, tmp_path: Path) -> None:
    assert damaged(change, tmp_path) == told


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        read(tmp_path / "none.json")
    where = str(tmp_path / "none.json")
    assert str(error.value) == (
        f"--baseline: got {where!r}, which cannot be read (No such file or directory). "
        "Check the path, or save it anew by robustradar baseline save."
    )
    (tmp_path / "half.json").write_text('{"schema": ')
    with pytest.raises(UsageError) as error:
        read(tmp_path / "half.json")
    assert "half.json', which is no JSON (Expecting value: " in str(error.value)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(UsageError) as error:
        read(tmp_path / "list.json")
    assert "list.json' of no schema, expected 'robustradar-baseline/1'." in str(error.value)


def test_a_run_with_failed_cells_is_no_baseline(tmp_path: Path) -> None:
    run = run_of(seeded([0.5]), stateless("failed", "training: diverged", LOSS))
    with pytest.raises(UnlikeError) as error:
        write(run, tmp_path / "b.json")
    assert str(error.value) == (
        "--baseline: got a run in which 1 of 2 cells failed (robust_loss of papers/mlp: training: diverged), expected none. "
        "Mend or drop what fails; nothing was written."
    )
    assert error.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


def test_a_baseline_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "b.json"
    write(run_of(seeded([0.5])), file)
    before = file.read_text()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError) as error:
        write(run_of(seeded([0.6])), file)
    assert str(error.value) == f"--baseline: {file} cannot be written (No space left on device). Choose another place."
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]
    assert file.read_text() == before


def test_two_equal_runs_are_written_alike(tmp_path: Path) -> None:
    one: Snapshot = run_of(sampled(bits(5, 10)))
    write(one, tmp_path / "a.json")
    write(replace(one), tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
