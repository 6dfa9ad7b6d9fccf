"""What the host does with a data set once it is loaded: checks it, takes its fingerprint, and reads off the task.

Every pass over an array goes in pieces of a few MiB, so that a memory-mapped array never has to fit into memory. No torch in here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from robustradar.contract.dataset import Data, Split
from robustradar.errors import DataError
from robustradar.values import Ref, Task, canonical

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIECE = 2**24  # bytes read at a time
_LARGEST = float(np.finfo(np.float32).max)
_INPUTS = (np.dtype(np.uint8), np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


def check(data: Data, where: str) -> None:
    """Refuses data that could only give wrong numbers.

    Args:
        data: What a data set's `load` returned.
        where: The data set, for messages.

    Raises:
        DataError: Arrays are empty, of the wrong kind or shape, not finite as float32 or outside the bounds; a label is no class; splits
            do not fit together; or training lacks a class.
    """
    if data.classes is not None and data.classes < 2:
        raise DataError(f"{where}: got classes={data.classes}, expected at least 2. Use classes=None for regression.")
    if data.bounds is not None and not (np.isfinite(data.bounds).all() and data.bounds[0] < data.bounds[1]):
        raise DataError(f"{where}: got bounds {data.bounds}, expected two finite numbers, the lower first. Use None for unbounded data.")
    for name, split in data.splits.items():
        _check_arrays(split, f"{where}: {name}")
        if split.x.dtype != data.train.x.dtype or split.x.shape[1:] != data.train.x.shape[1:]:
            raise DataError(f"{where}: {name}: got x of {_kind(split.x)}, expected {_kind(data.train.x)} as in train. Match the splits.")
        _check_values(split.x, data.bounds, f"{where}: {name}")
    if data.classes is None:
        _check_targets(data, where)
    else:
        _check_labels(data, data.classes, where)


def fingerprint(data: Data) -> str:
    """40 hexadecimal digits that name the content: every array's dtype, shape and bytes in order, the classes and the bounds.

    Neither memory layout nor byte order counts; the order of the samples does.
    """
    sha = hashlib.sha256(canonical({"classes": data.classes, "bounds": data.bounds}).encode())
    for name, split in data.splits.items():
        for role, array in (("x", split.x), ("y", split.y)):
            dtype = array.dtype.newbyteorder("<")
            sha.update(canonical([name, role, dtype.str, array.shape]).encode())
            for piece in pieces(array):
                sha.update(np.ascontiguousarray(piece, dtype).data)
    return sha.hexdigest()[:40]


def task(data: Data, ref: Ref) -> Task:
    """The facts of checked data that everything else goes by.

    Args:
        data: Data that `check` let pass.
        ref: The data set with its parameters.
    """
    y = data.train.y
    return Task(
        data=ref,
        fingerprint=fingerprint(data),
        shape=tuple(data.train.x.shape[1:]),
        outputs=data.classes or (y.shape[1] if y.ndim == 2 else 1),
        classes=data.classes,
        bounds=data.bounds,
        sizes={name: len(split.x) for name, split in data.splits.items()},
    )


def summary(data: Data) -> dict[str, Any]:
    """Checked data in JSON values: kind, and for each split its size and either the samples of every class or the range of the targets."""
    splits: dict[str, Any] = {}
    for name, split in data.splits.items():
        if data.classes is None:
            about: dict[str, Any] = {"targets": [float(split.y.min()), float(split.y.max())]}
        else:
            about = {"counts": np.bincount(split.y.astype(np.int64), minlength=data.classes).tolist()}
        splits[name] = {"samples": len(split.x), **about}
    return {
        "shape": list(data.train.x.shape[1:]),
        "dtype": str(data.train.x.dtype),
        "classes": data.classes,
        "bounds": list(data.bounds) if data.bounds else None,
        "splits": splits,
    }


def stratified(y: NDArray[np.generic]) -> NDArray[np.intp]:
    """An order of the samples in which every head and every stretch holds the classes in proportion, up to rounding.

    Each class keeps its own order. The k-th of m samples of a class goes to (k + 1/2)/m of the way; ties go by position.

    >>> stratified(np.array([0, 0, 0, 0, 1, 1])).tolist()
    [0, 4, 1, 2, 5, 3]
    """
    place = np.empty(len(y))
    for label in np.unique(y):
        members = np.flatnonzero(y == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.argsort(place, kind="stable")


def head(split: Split, limit: int) -> Split:
    """At most so many samples of a split, the same at every call: by `stratified` for labels, the first ones for other targets; 0: all.

    A split whose x and y do not pair comes back as it is, for `check` to name.
    """
    x, y = split.x, split.y
    if y.ndim == 0 or len(x) != len(y) or not 0 < limit < len(y):
        return split
    chosen = stratified(y)[:limit] if y.ndim == 1 and np.issubdtype(y.dtype, np.integer) else np.arange(limit)
    return Split(x[chosen], y[chosen])


def resized(split: Split, side: int) -> Split:
    """A split of uint8 images [N, channels, height, width] whose largest central squares have so many pixels a side; 0: as they are.

    Pillow resizes, bilinearly and with antialiasing.
    """
    from PIL import Image, ImageOps

    if not side:
        return split
    x = np.empty((*split.x.shape[:2], side, side), np.uint8)
    for before, after in zip(split.x, x, strict=True):
        for plane, channel in zip(before, after, strict=True):
            channel[...] = ImageOps.fit(Image.fromarray(plane), (side, side), method=Image.Resampling.BILINEAR)
    return Split(x, split.y)


def pieces(array: NDArray[np.generic]) -> Iterator[NDArray[np.generic]]:
    """An array in runs of whole samples, `PIECE` bytes or one sample each."""
    rows = max(1, PIECE // max(1, array.nbytes // max(1, len(array))))
    for start in range(0, len(array), rows):
        yield np.asarray(array[start : start + rows])


def _kind(array: NDArray[np.generic]) -> str:
    """One sample's dtype and shape, for messages."""
    return f"{array.dtype} {list(array.shape[1:])}"


def _check_arrays(split: Split, where: str) -> None:
    """The form of one split, without a look at the values."""
    for role, array in (("x", split.x), ("y", split.y)):
        if not isinstance(array, np.ndarray):
            raise DataError(f"{where}: got {role} of type {type(array).__name__}, expected a NumPy array. Convert it in load().")
    x, y = split.x, split.y
    if x.ndim not in (2, 4):
        raise DataError(f"{where}: got x of shape {list(x.shape)}, expected [N, channels, height, width] or [N, features]. Reshape x.")
    if y.ndim == 0 or len(x) != len(y):
        raise DataError(f"{where}: got {len(x)} inputs and {y.size if y.ndim == 0 else len(y)} targets, expected as many. Pair x and y.")
    if x.size == 0:
        raise DataError(f"{where}: got x of shape {list(x.shape)}, expected at least one sample and one feature. Check the source.")
    if x.dtype not in _INPUTS:
        raise DataError(f"{where}: got x of dtype {x.dtype}, expected uint8 (0 to 255) or float16, float32, float64. Convert x.")


def _check_values(x: NDArray[np.generic], bounds: tuple[float, float] | None, where: str) -> None:
    """Finite inputs inside the bounds; uint8 stands for x/255."""
    lows, highs = [], []
    for piece in pieces(x):
        lows.append(piece.min())
        highs.append(piece.max())
    low, high = np.min(lows), np.max(highs)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{where}: got NaN or infinity in sample {_not_finite(x)} of x, expected finite numbers. Drop it.")
    _check_size(low, high, "x", where)
    if x.dtype == np.uint8:
        low, high = low / 255, high / 255
    if bounds is not None and (low < bounds[0] or high > bounds[1]):
        advice = "Divide by 255, or store uint8." if bounds == (0, 1) and low >= 0 and 2 < high <= 255 else "Rescale x."
        raise DataError(f"{where}: got x from {low:g} to {high:g}, expected {bounds[0]:g} to {bounds[1]:g}. {advice}")


def _check_size(low: np.generic, high: np.generic, role: str, where: str) -> None:
    """Training is in float32, where larger numbers would be infinite."""
    if max(-float(low), float(high)) > _LARGEST:
        raise DataError(
            f"{where}: got {role} from {low:g} to {high:g}, expected at most {_LARGEST:.2g} in size, as float32 holds. Rescale {role}."
        )


def _not_finite(array: NDArray[np.generic]) -> int:
    """The position of the first sample that is not finite."""
    before = 0
    for piece in pieces(array):
        bad = ~np.isfinite(piece.astype(np.float64)).reshape(len(piece), -1).all(axis=1)
        if bad.any():
            return before + int(bad.argmax())
        before += len(piece)
    raise AssertionError("called for an array that is finite")


def _check_targets(data: Data, where: str) -> None:
    """Targets of regression."""
    for name, split in data.splits.items():
        y = split.y
        if not np.issubdtype(y.dtype, np.floating) or y.ndim not in (1, 2) or y.size == 0:
            raise DataError(
                f"{where}: {name}: got targets of {y.dtype} {list(y.shape)}, expected float [N] or [N, targets]. "
                "Convert y, or declare the number of classes."
            )
        if y.shape[1:] != data.train.y.shape[1:]:
            raise DataError(f"{where}: {name}: got targets of {_kind(y)}, expected {_kind(data.train.y)} as in train. Match the splits.")
        if not all(np.isfinite(piece.astype(np.float64)).all() for piece in pieces(y)):
            raise DataError(f"{where}: {name}: got NaN or infinity in sample {_not_finite(y)} of y, expected finite numbers. Drop it.")
        _check_size(y.min(), y.max(), "y", f"{where}: {name}")


def _check_labels(data: Data, classes: int, where: str) -> None:
    """Labels of classification: train has every class, so that no other split can have one more."""
    for name, split in data.splits.items():
        y = split.y
        if not np.issubdtype(y.dtype, np.integer) or y.ndim != 1:
            raise DataError(
                f"{where}: {name}: got labels of {y.dtype} {list(y.shape)}, expected integers [N]. "
                "Convert y; classes=None declares regression."
            )
        found = np.unique(y)
        if found[0] < 0 or found[-1] >= classes:
            raise DataError(f"{where}: {name}: got labels from {found[0]} to {found[-1]}, expected 0 to {classes - 1}. Renumber them.")
        if split is data.train and len(found) < classes:
            raise DataError(f"{where}: {name}: {_lacking(found, classes)}")


def _lacking(found: NDArray[np.generic], classes: int) -> str:
    """What to say where only some classes have samples; a label may be so large that no array of all classes fits into memory."""
    count = classes - len(found)
    first = np.setdiff1d(np.arange(min(classes, len(found) + 5)), found.astype(np.int64))[:5].tolist()
    more = f", … ({count} in all)" if count > len(first) else ""
    shifted = "If labels begin at 1, subtract 1; else renumber" if first == [0] else "Renumber"
    return (
        f"got no sample of class {', '.join(map(str, first))}{more}, expected every class from 0 to {classes - 1}. "
        f"{shifted} labels without gaps, drop classes that train lacks, or raise train_limit."
    )
