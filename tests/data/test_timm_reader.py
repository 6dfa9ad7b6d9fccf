"""timm's readers, on tiny folders and tar files that are written here."""

import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robustradar import Data, DataError
from robustradar.catalog import bind
from robustradar.data import check, fingerprint, summary
from robustradar_timm.dataset import datasets

(READER,) = datasets()
SHADES = {"a2": 40, "a10": 200}


def write(root: Path, split: str, classes: tuple[str, ...] = ("a2", "a10"), images: int = 3) -> None:
    """Images of one shade a class, wider than high, one folder deeper than the split."""
    for name in classes:
        folder = root / split / "deeper" / name
        folder.mkdir(parents=True)
        for i in range(images):
            Image.new("RGB", (12, 8), (SHADES.get(name, 0), i, 0)).save(folder / f"{i}.png")


def load(root: Path | str, **given: str) -> Data:
    data = bind(READER, {"root": str(root), **given}, "test").load()
    check(data, "test")
    return data


def packed(root: Path, split: str) -> None:
    """Makes a split's folder a tar file."""
    with tarfile.open(root / f"{split}.tar", "w") as archive:
        archive.add(root / split / "deeper", arcname=split)
    for path in sorted((root / split).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (root / split).rmdir()


def test_folders_are_read_in_natural_order_of_the_classes(tmp_path: Path) -> None:
    for split in ("train", "val", "final"):
        write(tmp_path, split)
    data = load(tmp_path, size="4")
    assert summary(data) == {
        "shape": [3, 4, 4],
        "dtype": "uint8",
        "classes": 2,
        "bounds": [0.0, 1.0],
        "splits": {name: {"samples": 6, "counts": [3, 3]} for name in ("train", "evaluation", "final")},
    }
    for split in data.splits.values():
        assert (split.x[:, 0].mean(axis=(1, 2)) == np.array([40, 200])[split.y]).all()
    assert fingerprint(load(tmp_path, size="4")) == fingerprint(data)


def test_tar_files_hold_the_same_as_folders(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        write(tmp_path, split)
    folders = fingerprint(load(tmp_path, size="4"))
    for split in ("train", "validation"):
        packed(tmp_path, split)
    assert fingerprint(load(tmp_path, size="4")) == folders


def test_limits_cut_by_class(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path, split)
    splits = summary(load(tmp_path, train_limit="4", eval_limit="2"))["splits"]
    assert [splits[name]["counts"] for name in ("train", "evaluation")] == [[2, 2], [1, 1]]


def test_a_class_that_train_lacks_is_refused_where_timm_would_drop_it(tmp_path: Path) -> None:
    write(tmp_path, "train")
    write(tmp_path, "test", ("a2", "b"))
    message = f"timm/reader {tmp_path}: test: got class 'b', expected one of train's: a2, a10. Rename or remove it."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        load(tmp_path)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    wanted = "expected train, one of test, val and validation, and final if there is one. Rename them."
    cases: list[tuple[str | Path, str]] = [
        ("", "timm/reader: got no root, expected a folder. Write timm/reader:root=DIR."),
        (tmp_path, f"timm/reader {tmp_path}: got no folder and no .tar file, {wanted}"),
    ]
    for root, message in cases:
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            load(root)
    write(tmp_path, "train")
    with pytest.raises(DataError, match=f"^{re.escape(f'timm/reader {tmp_path}: got train, {wanted}')}$"):
        load(tmp_path)
    (tmp_path / "test").mkdir()
    message = f"timm/reader {tmp_path}: test: got no image, expected one folder a class with images in it. Check it."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        load(tmp_path)
    (tmp_path / "test" / "a2").mkdir()
    (tmp_path / "test" / "a2" / "0.png").write_text("no image")
    message = f"timm/reader {tmp_path}: test: a2/0.png: got no readable image, expected one. Repair or remove it."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        load(tmp_path)
    (tmp_path / "test.tar").write_text("no archive")
    for path in (tmp_path / "test" / "a2" / "0.png", tmp_path / "test" / "a2", tmp_path / "test"):
        path.unlink() if path.is_file() else path.rmdir()
    message = f"timm/reader {tmp_path}: test.tar: got no image, expected one folder a class with images in it. Check it."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        load(tmp_path)
