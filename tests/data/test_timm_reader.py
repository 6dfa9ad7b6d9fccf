"""timm's readers, on tiny folders and tar files that are written here."""

import re
import shutil
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


def packed(root: Path, split: str, form: int = tarfile.PAX_FORMAT) -> None:
    """Makes a split's folder a tar file."""
    with tarfile.open(root / f"{split}.tar", "w", format=form) as archive:
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


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_file_that_ends_early_is_refused(form: int, tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path, split)
        packed(tmp_path, split, form)
    file = tmp_path / "train.tar"
    content = file.read_bytes()
    with tarfile.open(file) as archive:
        members = archive.getmembers()
        end = archive.offset
    assert content[end:] == bytes(len(content) - end) and len(content) % tarfile.RECORDSIZE == 0 and len(content) - end > 1024
    for whole in (content, content[: end + 1024], content + bytes(512)):  # padding is not part of the format
        file.write_bytes(whole)
        assert len(load(tmp_path, size="4").train.x) == 6
    last = members[-1]
    damaged = bytearray(content)
    damaged[last.offset : last.offset + 512] = b"#" * 512
    places = [last.offset, last.offset + 100, last.offset + 512, last.offset_data + 1, last.offset_data + last.size, end, end + 512]
    message = f"timm/reader {tmp_path}: train.tar: got a truncated or damaged tar file, expected a whole one. Copy it again."
    for part in [bytes(damaged), *(content[:place] for place in places)]:
        file.write_bytes(part)
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            load(tmp_path)


def test_a_tar_file_inside_a_tar_file_must_be_whole(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path, split)
        packed(tmp_path, split)
    inner, outer = tmp_path / "inner.tar", tmp_path / "train.tar"
    content = outer.read_bytes()
    message = f"timm/reader {tmp_path}: train.tar: got a truncated or damaged tar file, expected a whole one. Copy it again."
    for part in (content, content[:1024]):
        inner.write_bytes(part)
        with tarfile.open(outer, "w") as archive:
            archive.add(inner, arcname="inner.tar")
        inner.unlink()
        if part is content:
            assert summary(load(tmp_path, size="4"))["splits"]["train"]["counts"] == [3, 3]
        else:
            with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
                load(tmp_path)


@pytest.mark.parametrize("in_tar", [False, True])
def test_an_image_in_no_class_is_refused(in_tar: bool, tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path, split)
    Image.new("RGB", (4, 4)).save(tmp_path / "train" / "stray.png")
    if in_tar:
        with tarfile.open(tmp_path / "train.tar", "w") as archive:
            archive.add(tmp_path / "train", arcname=".")
        shutil.rmtree(tmp_path / "train")
    place = "train.tar: ./stray.png" if in_tar else "train: stray.png"
    message = f"timm/reader {tmp_path}: {place}: got an image in no class, expected it in a class's folder. Move it."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        load(tmp_path)


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
