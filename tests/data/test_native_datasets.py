"""scikit-learn's digits, and arrays from .npz files."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from robustradar import DataError, Dataset
from robustradar.data import check, fingerprint, summary
from robustradar.training import device
from robustradar_native import npz
from robustradar_native.dataset import datasets
from robustradar_native.npz import Npz

NATIVE: Mapping[str, type[Dataset]] = {declared.name: type(declared) for declared in datasets()}


def test_the_plugin_declares_its_data_sets() -> None:
    assert list(NATIVE) == ["digits", "folder", "npz", "parquet"]
    assert all(declared.summary.endswith(".") for declared in datasets())


def test_digits_are_all_of_the_digits_in_disjoint_splits() -> None:
    data = NATIVE["digits"]().load()
    check(data, "digits")
    assert {name: len(split.x) for name, split in data.splits.items()} == {"train": 1000, "evaluation": 400, "final": 397}
    assert (data.train.x.shape[1:], data.train.x.dtype, data.classes, data.bounds) == ((1, 8, 8), np.float32, 10, (0.0, 1.0))
    pairs = [(image.tobytes(), label) for split in data.splits.values() for image, label in zip(split.x * 16, split.y, strict=True)]
    source = load_digits()
    assert sorted(pairs) == sorted((image.tobytes(), label) for image, label in zip(source.images.astype("f4"), source.target, strict=True))
    assert len({image for image, _ in pairs}) == 1797  # no image twice, so disjoint samples are disjoint images


def test_digits_have_the_classes_in_proportion() -> None:
    data = NATIVE["digits"]().load()
    share = np.bincount(load_digits().target) / 1797
    for split in data.splits.values():
        assert np.abs(np.bincount(split.y) - share * len(split.y)).max() <= 1


def test_digits_are_the_same_at_every_call_and_in_every_release() -> None:
    assert fingerprint(NATIVE["digits"]().load()) == "6a1b1e2d90f9abac2d74b8e6dc1c12df83bb769e"


def test_limits_give_heads_by_class_and_leave_the_final_split() -> None:
    whole, cut = NATIVE["digits"]().load(), NATIVE["digits"](train_limit=50, eval_limit=20).load()
    check(cut, "digits")
    counts = {name: split["counts"] for name, split in summary(cut)["splits"].items()}
    assert (sum(counts["train"]), sum(counts["evaluation"]), sum(counts["final"])) == (50, 20, 397)
    assert set(counts["train"]) <= {4, 5, 6}
    assert {image.tobytes() for image in cut.train.x} < {image.tobytes() for image in whole.train.x}
    assert fingerprint(cut) == fingerprint(NATIVE["digits"](train_limit=50, eval_limit=20).load()) != fingerprint(whole)


IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 4), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])
GOOD = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:3], "y_test": LABELS[:3]}


def stored(folder: Path, **arrays: np.ndarray) -> str:
    path = folder / "data.npz"
    np.savez_compressed(path, **arrays)
    return str(path)


def test_npz_holds_labelled_images(tmp_path: Path) -> None:
    path = stored(tmp_path, **GOOD)
    data = Npz(path=path).load()
    check(data, "npz")
    assert (data.classes, data.bounds, data.final) == (3, (0.0, 1.0), None)
    assert np.array_equal(data.train.x, IMAGES) and np.array_equal(data.evaluation.y, LABELS[:3])
    assert fingerprint(data) == fingerprint(Npz(path=path).load())
    assert summary(Npz(path=path, train_limit=3, eval_limit=1).load())["splits"]["train"]["counts"] == [1, 1, 1]


def test_npz_may_hold_a_final_split_and_gray_images(tmp_path: Path) -> None:
    gray = {name: array[:, 0] if name.startswith("x") else array for name, array in GOOD.items()}
    data = Npz(path=stored(tmp_path, **gray, x_final=gray["x_test"], y_final=gray["y_test"])).load()
    check(data, "npz")
    assert data.train.x.shape == (6, 1, 4, 4) and data.final is not None and data.final.x.shape == (3, 1, 4, 4)


def test_npz_with_float_targets_is_regression(tmp_path: Path) -> None:
    x, y = np.linspace(0, 1, 8).reshape(4, 2), np.array([0.5, -1, 2, 3])
    data = Npz(path=stored(tmp_path, x_train=x, y_train=y, x_test=x, y_test=y), train_limit=2).load()
    check(data, "npz")
    assert (data.classes, data.bounds, data.train.y.tolist()) == (None, (0.0, 1.0), [0.5, -1])
    path = stored(tmp_path, x_train=x * 9 - 4, y_train=y, x_test=x, y_test=y)
    with pytest.raises(DataError, match=re.escape("npz: train: got x from -4 to 5, expected 0 to 1. Rescale x.")):
        check(Npz(path=path).load(), "npz")
    free = Npz(path=path, bounded=False).load()
    check(free, "npz")
    assert free.bounds is None


def test_labels_of_one_class_or_from_one_are_refused(tmp_path: Path) -> None:
    for shift, message in {
        "zero": "npz: train: got no sample of class 1, expected every class from 0 to 1. Renumber labels without gaps, ",
        "one": "npz: train: got no sample of class 0, expected every class from 0 to 3. If labels begin at 1, subtract 1; else renumber ",
    }.items():
        labels = {name: array * 0 if shift == "zero" else array + 1 for name, array in GOOD.items() if name.startswith("y")}
        with pytest.raises(DataError, match=f"^{re.escape(message)}"):
            check(Npz(path=stored(tmp_path, **{**GOOD, **labels})).load(), "npz")


def mapped_from(array: np.ndarray) -> np.ndarray | None:
    """The memory map that an array is a view of."""
    while not isinstance(array, np.memmap) and isinstance(array.base, np.ndarray):
        array = array.base
    return array if isinstance(array, np.memmap) else None


def test_large_arrays_stay_on_disk_unless_they_are_compressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = {**GOOD, "x_train": np.asfortranarray(IMAGES)}
    path = tmp_path / "plain.npz"
    np.savez(path, **arrays)
    small = Npz(path=str(path)).load()
    assert mapped_from(small.train.x) is None
    monkeypatch.setattr(npz, "MAPPED", IMAGES.nbytes)
    data = Npz(path=str(path)).load()
    check(data, "npz")
    assert mapped_from(data.train.x) is not None and mapped_from(data.evaluation.x) is None and mapped_from(data.train.y) is None
    assert np.array_equal(data.train.x, IMAGES) and not data.train.x.flags.writeable
    assert fingerprint(data) == fingerprint(small)
    monkeypatch.setattr(device, "RESIDENT_BYTES", 0)
    (x, y), *_ = device.DeviceBatches(data.train, torch.device("cpu"), 4, 3)
    assert np.array_equal(x.numpy(), IMAGES[:4].astype("f4") / 255) and y.tolist() == [0, 1, 2, 0]
    cut = Npz(path=str(path), train_limit=3).load()
    assert mapped_from(cut.train.x) is None and np.array_equal(cut.train.x, IMAGES[:3])
    packed = Npz(path=stored(tmp_path, **arrays)).load()
    assert mapped_from(packed.train.x) is None and fingerprint(packed) == fingerprint(small)


def test_damage_to_an_array_on_disk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "MAPPED", 1)
    path = tmp_path / "plain.npz"
    np.savez(path, **GOOD, y_final=np.array([{}], object), x_final=IMAGES[:0])
    message = "got an array of Python objects, expected numbers. Store arrays of one dtype."
    with pytest.raises(DataError, match=f"^{re.escape(f'native/npz {path}: {message}')}$"):
        Npz(path=str(path)).load()
    np.savez(path, **GOOD)
    content = bytearray(path.read_bytes())
    content[content.index(IMAGES.tobytes()) + 9] ^= 1
    path.write_bytes(content)
    message = "got a damaged file or no .npz file, expected a whole one. Copy or store it again."
    with pytest.raises(DataError, match=f"^{re.escape(f'native/npz {path}: {message}')}$"):
        Npz(path=str(path)).load()


def test_npz_takes_arrays_of_another_byte_order(tmp_path: Path) -> None:
    swapped = {name: (array / 255).astype(">f4") if name.startswith("x") else array.astype(">i4") for name, array in GOOD.items()}
    data = Npz(path=stored(tmp_path, **swapped)).load()
    check(data, "npz")
    assert data.train.x.dtype == np.float32


KEYS = "x_train, y_train, x_test, y_test"
BAD = {
    "misspelt": (
        {**{name: array for name, array in GOOD.items() if name != "x_train"}, "x_trian": IMAGES},
        f"got y_train, x_test, y_test, x_trian, expected {KEYS}. Did you mean 'x_train' by 'x_trian'?",
    ),
    "missing": ({"x_train": IMAGES, "y_train": LABELS}, f"got x_train, y_train, expected {KEYS}. Rename or drop arrays."),
    "unknown": ({**GOOD, "weights": LABELS}, f"got {KEYS}, weights, expected {KEYS}. Rename or drop arrays."),
    "half a final split": (
        {**GOOD, "x_final": IMAGES},
        f"got {KEYS}, x_final, expected {KEYS}, x_final, y_final. Rename or drop arrays.",
    ),
    "nothing": ({}, f"got no arrays, expected {KEYS}. Rename or drop arrays."),
    "objects": (
        {**GOOD, "y_train": np.array([{}, 1], object)},
        "got an array of Python objects, expected numbers. Store arrays of one dtype.",
    ),
    "channels last": (
        {**GOOD, "x_test": IMAGES.transpose(0, 2, 3, 1)},
        "got x_test of shape [6, 4, 4, 3], expected [N, channels, height, width]. Store x_test.transpose(0, 3, 1, 2).",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_npz_with_other_content_is_refused(case: str, tmp_path: Path) -> None:
    arrays, message = BAD[case]
    path = stored(tmp_path, **arrays)
    with pytest.raises(DataError, match=f"^{re.escape(f'native/npz {path}: {message}')}$"):
        Npz(path=path).load()


def test_npz_with_bad_arrays_is_left_to_the_check(tmp_path: Path) -> None:
    empty = {"x_train": IMAGES[:0], "y_train": LABELS[:0], "x_test": IMAGES[:0], "y_test": LABELS[:0]}
    cases = {
        "train: got 6 inputs and 4 targets": {**GOOD, "y_train": LABELS[:4]},
        "train: got x of shape [0, 3, 4, 4]": empty,
        "train: got labels from -1 to 0": {**GOOD, "y_train": LABELS - 1},
        "train: got labels of int64 [2, 1]": {**GOOD, "y_train": LABELS[:, None]},
        "train: got x of dtype int64": {**GOOD, "x_train": IMAGES.astype(int)},
        "train: got targets of int64 [2]": {**GOOD, "y_test": LABELS[:3] / 2},
    }
    for message, arrays in cases.items():
        data = Npz(path=stored(tmp_path, **arrays), train_limit=2).load()
        with pytest.raises(DataError, match=f"^npz: {re.escape(message)}"):
            check(data, "npz")


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    good = Path(stored(tmp_path, **GOOD)).read_bytes()
    damaged = "got a damaged file or no .npz file, expected a whole one. Copy or store it again."
    flipped, method = bytearray(good), bytearray(good)
    flipped[80] ^= 0xFF
    method[8] = method[good.index(b"PK\x01\x02") + 10] = 99  # a compression method that does not exist
    np.save(tmp_path / "single.npy", IMAGES)
    contents = {
        "cut.npz": (good[: len(good) // 2], damaged),
        "flipped.npz": (bytes(flipped), damaged),
        "method.npz": (bytes(method), damaged),
        "empty.npz": (b"", damaged),
        "text.npz": (b"x_train,y_train\n1,2\n", damaged),
        "pickle.npz": (b"\x80\x04N.", damaged),
        "single.npy": (
            (tmp_path / "single.npy").read_bytes(),
            "got a single array, expected an .npz file. Store with numpy.savez_compressed.",
        ),
    }
    for name, (content, message) in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"^{re.escape(f'native/npz {path}: {message}')}$"):
            Npz(path=str(path)).load()
    for path, message in {
        "": "native/npz: got no path, expected an .npz file. Write npz:path=FILE.",
        "nowhere.npz": "native/npz nowhere.npz: got no such file, expected an .npz file. Check the path.",
    }.items():
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            Npz(path=path).load()
