"""Coded images from folders and from Parquet files; everything is written here in the real formats."""

import re
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from robustradar import DataError, host, registry
from robustradar.catalog import Catalog
from robustradar.data import check, fingerprint, summary
from robustradar_native.folder import Folder
from robustradar_native.parquet import Parquet


def pixels(seed: int, size: tuple[int, int] = (5, 4)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)


def png(array: np.ndarray, mode: str | None = None) -> bytes:
    buffer = BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, "PNG")
    return buffer.getvalue()


def folder(root: Path, evaluation: str = "test") -> Folder:
    for split, count in (("train", 3), (evaluation, 1)):
        for label, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                (root / split / name / f"{i}.png").write_bytes(png(pixels(10 * label + i)))
    return Folder(root=str(root))


def test_a_folder_gives_its_pixels_and_classes(tmp_path: Path) -> None:
    source = folder(tmp_path)
    (tmp_path / "train" / "cat" / ".DS_Store").write_bytes(b"junk")
    (tmp_path / ".hidden").mkdir()
    data = source.load()
    check(data, "folder")
    assert (data.train.x.shape, data.train.x.dtype, data.classes, data.bounds, data.final) == ((6, 3, 4, 5), np.uint8, 2, (0.0, 1.0), None)
    assert data.train.y.tolist() == [0, 1, 0, 1, 0, 1]
    expected = [pixels(10 * label + i).transpose(2, 0, 1) for i in range(3) for label in range(2)]
    assert np.array_equal(data.train.x, np.stack(expected))
    assert fingerprint(source.load()) == fingerprint(data)
    cut = Folder(root=str(tmp_path), train_limit=4).load()
    assert np.array_equal(cut.train.x, data.train.x[:4]) and cut.train.y.tolist() == [0, 1, 0, 1]


def test_a_folder_may_call_its_second_split_val_and_have_a_third(tmp_path: Path) -> None:
    source = folder(tmp_path, "val")
    (tmp_path / "final" / "dog").mkdir(parents=True)
    (tmp_path / "final" / "dog" / "a.png").write_bytes(png(pixels(9)))
    data = source.load()
    check(data, "folder")
    assert {name: part["counts"] for name, part in summary(data)["splits"].items()} == {
        "train": [3, 3],
        "evaluation": [1, 1],
        "final": [0, 1],
    }


@pytest.mark.parametrize(
    ("modes", "channels"), [(["L"] * 8, 1), (["1", *["LA"] * 7], 1), (["P", *["L"] * 7], 3), (["RGBA", "CMYK"] * 4, 3)]
)
def test_images_are_gray_only_if_all_are(tmp_path: Path, modes: Sequence[str], channels: int) -> None:
    source = folder(tmp_path)
    for path, mode in zip(sorted(tmp_path.rglob("*.png")), modes, strict=True):
        with Image.open(path) as image:
            image.convert(mode).save(path, "TIFF")
    data = source.load()
    check(data, "folder")
    assert data.train.x.shape == (6, channels, 4, 5)


def test_resizing_takes_the_central_square_and_smooths(tmp_path: Path) -> None:
    folder(tmp_path)
    wide = np.full((4, 20, 3), 255, np.uint8)
    wide[:, 4:16] = np.where(np.arange(12) % 2, 200, 0)[:, None]  # stripes of one pixel, whose mean is 100
    (tmp_path / "train" / "cat" / "0.png").write_bytes(png(wide))
    data = Folder(root=str(tmp_path), resize=1).load()
    check(data, "folder")
    assert data.train.x.shape == (6, 3, 1, 1)
    assert np.abs(data.train.x[0].astype(int) - 100).max() <= 1


def broken(root: Path) -> dict[str, tuple[str, bytes, str]]:
    """Case to the file that is replaced, its content, and what is said of it."""
    good, unreadable = png(pixels(0)), "got no readable image, expected one. Repair or remove it."
    return {
        "text": ("train/cat/0.png", b"no image", f"cat/0.png: {unreadable}"),
        "truncated": ("test/dog/0.png", good[: len(good) // 2], f"test/dog/0.png: {unreadable}"),
        "empty": ("train/dog/2.png", b"", f"train/dog/2.png: {unreadable}"),
        "damaged": ("train/dog/1.png", good[:50] + b"\0\0\0\0" + good[54:], f"train/dog/1.png: {unreadable}"),
        "16 bits": (
            "train/cat/1.png",
            png(np.zeros((4, 5), np.uint16)),
            "train/cat/1.png: got pixels of mode I;16, expected 8 bits a channel. Convert the image.",
        ),
        "size": (
            "test/cat/0.png",
            png(pixels(0, (5, 6))),
            "test/cat/0.png: got 5 x 6 pixels, expected 5 x 4 as in the first image. Give resize=PIXELS.",
        ),
    }


@pytest.mark.parametrize("case", broken(Path()))
def test_an_image_that_does_not_fit_is_named(case: str, tmp_path: Path) -> None:
    source = folder(tmp_path)
    name, content, message = broken(tmp_path)[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"^{re.escape(f'native/folder {tmp_path}: ')}.*{re.escape(message)}$"):
        source.load()


def test_an_image_of_absurd_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
    with pytest.raises(DataError, match=re.escape("train/cat/0.png: got no readable image, expected one.")):
        source.load()


def test_a_file_beside_the_classes_and_a_class_without_images_are_refused(tmp_path: Path) -> None:
    source = folder(tmp_path)
    stray = tmp_path / "train" / "a.png"
    stray.write_bytes(png(pixels(0)))
    message = f"native/folder {tmp_path}: train/a.png: got a file in no class, expected it in a class's folder. Move or remove it."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        source.load()
    stray.rename(tmp_path / "train" / ".a.png")
    (tmp_path / "train" / "cow").mkdir()
    (tmp_path / "train" / "cow" / ".hidden").touch()
    message = f"native/folder {tmp_path}: train/cow: got an empty folder, expected images in it. Remove it, or put some there."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        source.load()
    (tmp_path / "train" / "cow" / ".hidden").unlink()
    (tmp_path / "train" / "cow").rmdir()
    (tmp_path / "test" / "cat" / "0.png").unlink()  # a class without an image to evaluate on is legal
    check(source.load(), "folder")


def test_torchvisions_name_for_folders_leads_here(tmp_path: Path) -> None:
    known = Catalog(host.load(), registry.load().aliases)
    for name in ("ImageFolder", "torchvision/ImageFolder"):
        assert known.resolve("dataset", f"{name}:root={tmp_path},resize=8", "--data").label == f"native/folder:root={tmp_path},resize=8"


def test_folders_of_another_layout_are_refused(tmp_path: Path) -> None:
    source, where = folder(tmp_path), f"native/folder {tmp_path}"
    (tmp_path / "val").mkdir()
    layout = "expected train, one of test and val, and final if there is one. Rename the folders."
    steps = [
        (lambda: None, f"{where}: got test, train, val, {layout}"),
        (
            lambda: (tmp_path / "val").rename(tmp_path / "final"),
            f"{where}: final: got no image, expected one folder a class with images in it.",
        ),
        (
            lambda: (tmp_path / "test" / "cat").rename(tmp_path / "test" / "cow"),
            f"{where}: test: got class 'cow', expected one of train's: cat, dog. Rename or remove it.",
        ),
        (lambda: (tmp_path / "train").rename(tmp_path / "training"), f"{where}: got final, test, training, {layout}"),
    ]
    for step, message in steps:
        step()
        with pytest.raises(DataError, match=f"^{re.escape(message)}"):
            source.load()
    (tmp_path / "empty").mkdir()
    for root, message in {
        "": "native/folder: got no root, expected a folder. Write folder:root=DIR.",
        "nowhere": "native/folder nowhere: got no such folder, expected one with train and test. Check the path.",
        str(tmp_path / "empty"): f"native/folder {tmp_path / 'empty'}: got no folders, {layout}",
    }.items():
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            Folder(root=root).load()


def hub(path: Path, labels: Sequence[int | None], image: str = "img", label: str = "label", **extra: Sequence[object]) -> str:
    """A Parquet file as a hub would hold it: images numbered by their pixels' seed."""
    images = [{"bytes": png(pixels(i)), "path": f"{i}.png"} for i in range(len(labels))]
    pq.write_table(pa.table({image: images, label: labels, **extra}), path)
    return str(path)


def test_parquet_gives_its_pixels_and_labels(tmp_path: Path) -> None:
    train, test = (
        hub(tmp_path / "train.parquet", [2, 1, 0, 2]),
        hub(tmp_path / "test.parquet", [0, 1], "image", "fine_label", coarse_label=[0, 0]),
    )
    source = Parquet(train=train, test=test, final=test)
    data = source.load()
    check(data, "parquet")
    assert (data.classes, data.bounds, data.train.y.tolist()) == (3, (0.0, 1.0), [2, 1, 0, 2])
    assert np.array_equal(data.train.x, np.stack([pixels(i).transpose(2, 0, 1) for i in range(4)]))
    assert data.final is not None and np.array_equal(data.final.x, data.evaluation.x)
    assert fingerprint(source.load()) == fingerprint(data)
    cut = Parquet(train=train, test=test, train_limit=3, eval_limit=1, resize=2).load()
    assert (cut.train.x.shape, sorted(cut.train.y)) == ((3, 3, 2, 2), [0, 1, 2])


def test_parquet_joins_the_parts_of_a_pattern_in_order(tmp_path: Path) -> None:
    hub(tmp_path / "train-00001-of-2.parquet", [1, 1])
    hub(tmp_path / "train-00000-of-2.parquet", [0, 2, 0])
    bare = tmp_path / "t[1].parquet"  # a name that would be a pattern is a name if there is such a file
    pq.write_table(pa.table({"image": pa.array([png(pixels(7))], pa.large_binary()), "labels": pa.array([1], pa.uint8())}), bare)
    data = Parquet(train=str(tmp_path / "train-*.parquet"), test=str(bare)).load()
    check(data, "parquet")
    assert (data.train.y.tolist(), data.evaluation.y.tolist()) == ([0, 2, 0, 1, 1], [1])
    assert np.array_equal(data.train.x[3], data.train.x[0])


def test_parquet_with_other_content_is_refused(tmp_path: Path) -> None:
    good = hub(tmp_path / "good.parquet", [0, 1])
    bad = str(tmp_path / "bad.parquet")
    binary, rows = pa.array([b"", b""]), [0, 1]
    tables = {
        "got columns picture, label, expected img or image, and label or fine_label or labels. Rename the columns.": {
            "picture": binary,
            "label": rows,
        },
        "got img of type list<element: int64>, expected bytes or a struct with bytes. Store coded images.": {
            "img": [[1], [2]],
            "label": rows,
        },
        "got label of type string, expected integers without gaps. Store labels from 0.": {"img": binary, "label": ["a", "b"]},
        "got label of type int64, expected integers without gaps. Store labels from 0.": {"img": binary, "label": [0, None]},
        "row 0: got an image without bytes, expected a coded image. Embed the files' bytes.": {"img": binary, "label": rows},
        "got no rows, expected at least one. Check the file.": {"img": pa.array([], pa.binary()), "label": pa.array([], pa.int64())},
    }
    for message, table in tables.items():
        pq.write_table(pa.table(table), bad)
        with pytest.raises(DataError, match=f"^{re.escape(f'native/parquet {bad}: {message}')}$"):
            Parquet(train=good, test=bad).load()
    pq.write_table(pa.table({"img": [png(pixels(0)), b"junk"], "label": rows}), bad)
    with pytest.raises(
        DataError, match=re.escape(f"native/parquet: {bad} row 1: got no readable image, expected one. Repair or remove it.")
    ):
        Parquet(train=good, test=bad).load()
    whole = Path(good).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"label\n0\n"):
        Path(bad).write_bytes(content)
        with pytest.raises(DataError, match=re.escape("got a damaged file or no Parquet file, expected a whole one. Copy it again.")):
            Parquet(train=bad, test=good).load()
    for test, message in {
        "": "native/parquet: got no file for a split, expected train and test. Write parquet:train=FILE,test=FILE.",
        "no*.parquet": "native/parquet no*.parquet: got no such file, expected a Parquet file. Check the path.",
    }.items():
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            Parquet(train=good, test=test).load()


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = hub(tmp_path / "a.parquet", [0, 1])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = f"native/parquet {file}: got no pyarrow, expected it installed. Run: pip install 'robustradar[parquet]'."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        Parquet(train=file, test=file).load()
