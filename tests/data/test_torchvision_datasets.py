"""torchvision's data sets, read from tiny files that are written here in the original formats."""

import hashlib
import pickle
import re
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
from PIL import Image
from torchvision import datasets as library

from robustradar import DataError
from robustradar.catalog import bind, parameters
from robustradar.data import check, fingerprint, summary
from robustradar_torchvision.dataset import Vision, datasets

DECLARED = {declared.name: declared for declared in datasets()}
RANDOM = np.random.default_rng(0)
COUNTS = {"train": 20, "test": 10}


def source(name: str, root: Path, **given: str) -> Vision:
    bound = bind(DECLARED[name], {"root": str(root), **given}, "test")
    assert isinstance(bound, Vision)
    return bound


def write_idx(path: Path, array: np.ndarray) -> None:
    """The MNIST files' format: two zero bytes, 8 for uint8, the rank, the sizes big-endian, the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.astype(np.uint8).tobytes())


def write_gray(name: str, root: Path, classes: int = 10) -> dict[str, np.ndarray]:
    images = {}
    for split, count in COUNTS.items():
        images[split] = RANDOM.integers(0, 256, (count, 28, 28), np.uint8)
        prefix = f"emnist-balanced-{split}" if name == "EMNIST" else {"train": "train", "test": "t10k"}[split]
        write_idx(root / name / "raw" / f"{prefix}-images-idx3-ubyte", images[split])
        write_idx(root / name / "raw" / f"{prefix}-labels-idx1-ubyte", np.arange(count) % classes)
    return images


def write_cifar(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Pickled batches; the checksums that torchvision verifies before it unpickles become those of the files written here."""
    kind = getattr(library, name)
    folder, labels = root / kind.base_folder, "labels" if name == "CIFAR10" else "fine_labels"
    folder.mkdir(parents=True)
    images = {split: RANDOM.integers(0, 256, (count, 3, 32, 32), np.uint8) for split, count in COUNTS.items()}

    def written(file: str, content: object) -> str:
        (folder / file).write_bytes(coded := pickle.dumps(content, protocol=2))
        return hashlib.md5(coded, usedforsecurity=False).hexdigest()

    for split, attribute in (("train", "train_list"), ("test", "test_list")):
        content = {"data": images[split].reshape(-1, 3072), labels: [i % 10 for i in range(COUNTS[split])]}
        monkeypatch.setattr(kind, attribute, [[split, written(split, content)]])
    meta = {**kind.meta, "md5": written(kind.meta["filename"], {kind.meta["key"]: ["a", "b"]})}
    monkeypatch.setattr(kind, "meta", meta)
    return images


def write_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    images, listed = {}, {}
    for split, count in COUNTS.items():
        images[split] = RANDOM.integers(0, 256, (count, 3, 32, 32), np.uint8)
        path = root / f"{split}_32x32.mat"
        labels = np.arange(1, count + 1)[:, None] % 10
        scipy.io.savemat(path, {"X": images[split].transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)})
        listed[split] = ["", path.name, hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()]
    monkeypatch.setattr(library.SVHN, "split_list", listed)
    return images


def written(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    if name.startswith("CIFAR"):
        return write_cifar(name, root, monkeypatch)
    return write_svhn(root, monkeypatch) if name == "SVHN" else write_gray(name, root)


@pytest.mark.parametrize("name", DECLARED)
def test_the_original_files_are_read_as_they_are(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = written(name, tmp_path, monkeypatch)
    data = source(name, tmp_path).load()
    if name in ("CIFAR100", "EMNIST"):  # whose files written here hold ten of the classes that are declared
        message = "train: got no sample of class 10, 11, 12, 13, 14, … ({} in all), expected every class from 0 to {}. ".format(
            *((90, 99) if name == "CIFAR100" else (37, 46))
        )
        message += "Renumber labels without gaps, drop classes that train lacks, or raise train_limit."
        with pytest.raises(DataError, match=f"^{re.escape(f'{name}: {message}')}$"):
            check(data, name)
    else:
        check(data, name)
    assert (data.classes, data.bounds, data.final) == ({"CIFAR100": 100, "EMNIST": 47}.get(name, 10), (0.0, 1.0), None)
    for split, part in (("train", data.train), ("test", data.evaluation)):
        assert part.x.dtype == np.uint8 and part.x.flags.c_contiguous and part.y.dtype == np.int64
        assert np.array_equal(part.x, images[split].reshape(part.x.shape))
        expected = (np.arange(COUNTS[split]) + (name == "SVHN")) % 10  # SVHN stores 0 as 10
        assert part.y.tolist() == expected.tolist()
    assert fingerprint(source(name, tmp_path).load()) == fingerprint(data)


def test_images_are_resized_as_asked(tmp_path: Path) -> None:
    images = write_gray("MNIST", tmp_path)
    data = source("MNIST", tmp_path, holdout="5", resize="7", eval_limit="3").load()
    check(data, "MNIST")
    assert {name: split.x.shape for name, split in data.splits.items()} == {
        "train": (15, 1, 7, 7),
        "evaluation": (3, 1, 7, 7),
        "final": (10, 1, 7, 7),
    }
    assert data.final is not None
    expected = Image.fromarray(images["test"][4]).resize((7, 7), Image.Resampling.BILINEAR)
    assert np.array_equal(data.final.x[4, 0], np.asarray(expected))


def test_limits_and_a_hold_out_cut_by_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COUNTS, "train", 40)
    images = write_gray("MNIST", tmp_path)
    data = source("MNIST", tmp_path, holdout="10", train_limit="20", eval_limit="100").load()
    check(data, "MNIST")
    counts = {name: split["counts"] for name, split in summary(data)["splits"].items()}
    assert counts == {"train": [2] * 10, "evaluation": [1] * 10, "final": [1] * 10}
    trained, held = ({x.tobytes() for x in split.x} for split in (data.train, data.evaluation))
    assert not trained & held and trained | held <= {x.tobytes() for x in images["train"]}
    assert data.final is not None and np.array_equal(data.final.x[:, 0], images["test"])
    message = f"torchvision/MNIST in {tmp_path}: got holdout=40, expected less than the 40 samples of train. Lower it."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        source("MNIST", tmp_path, holdout="40").load()


PLACES = {
    "CIFAR10": "cifar-10-batches-py",
    "CIFAR100": "cifar-100-python",
    "SVHN": "train_32x32.mat and test_32x32.mat",
    "MNIST": "train- and t10k-images-idx3-ubyte and -labels-idx1-ubyte in MNIST/raw",
    "FashionMNIST": "train- and t10k-images-idx3-ubyte and -labels-idx1-ubyte in FashionMNIST/raw",
    "KMNIST": "train- and t10k-images-idx3-ubyte and -labels-idx1-ubyte in KMNIST/raw",
    "EMNIST": "emnist-balanced-train- and -test-images-idx3-ubyte and -labels-idx1-ubyte in EMNIST/raw",
}


@pytest.mark.parametrize("name", DECLARED)
def test_missing_files_are_refused_with_the_way_out(name: str, tmp_path: Path) -> None:
    said = "Dataset not found" if "MNIST" in name else "Dataset not found or corrupted"
    message = (
        f"torchvision/{name} in {tmp_path}: got missing or damaged files ({said}), expected {PLACES[name]}. "
        "Give download=true, or put the files there."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        source(name, tmp_path).load()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["CIFAR10", "SVHN"])
def test_files_of_another_checksum_are_refused_unread(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(name, tmp_path, monkeypatch)
    path = next(path for path in tmp_path.rglob("*") if path.name in ("test", "test_32x32.mat"))
    path.write_bytes(path.read_bytes() + b"!")
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("unpickled before the checksum was verified"))
    with pytest.raises(DataError, match=re.escape("got missing or damaged files (Dataset not found or corrupted), expected")):
        source(name, tmp_path).load()


def test_damaged_idx_files_are_refused(tmp_path: Path) -> None:
    write_gray("KMNIST", tmp_path)
    path = tmp_path / "KMNIST" / "raw" / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    for content, said in {
        whole[:1000]: "shape '[20, 28, 28]' is invalid for input of size 984",
        b"<html>not found</html>": "AssertionError",
        b"": "invalid literal for int() with base 16: b''",
    }.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=re.escape(f"KMNIST in {tmp_path}: got missing or damaged files ({said}), expected train- and")):
            source("KMNIST", tmp_path).load()


def test_fewer_images_than_labels_are_left_to_the_check(tmp_path: Path) -> None:
    write_gray("MNIST", tmp_path)
    write_idx(tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte", np.zeros(7))
    with pytest.raises(DataError, match="^MNIST: train: got 20 inputs and 7 targets, expected as many"):
        check(source("MNIST", tmp_path, holdout="3").load(), "MNIST")


def test_a_failed_download_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(self: object) -> None:
        raise URLError("offline")

    monkeypatch.setattr(library.CIFAR10, "download", offline)
    message = (
        f"torchvision/CIFAR10 in {tmp_path}: got failed download (<urlopen error offline>), expected cifar-10-batches-py. "
        "Check the network, or put the files there."
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        source("CIFAR10", tmp_path, download="true").load()


def test_declarations_are_hashable_and_tell_what_they_are() -> None:
    assert len(set(datasets())) == len(DECLARED) == 7
    for declared in datasets():
        assert declared.summary.endswith(".") and hasattr(library, declared.name)
        assert [field.name for field in parameters(declared)] == ["root", "download", "holdout", "resize", "train_limit", "eval_limit"]
