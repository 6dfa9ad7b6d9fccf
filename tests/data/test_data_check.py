"""What the host does with loaded data: every refusal by its exact text, the fingerprint, the task and the summary."""

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustradar import Data, DataError, Split
from robustradar.data import PIECE, check, fingerprint, head, pieces, resized, stratified, summary, task
from robustradar.values import Ref

REF = Ref("toy/toy", (), "toy", "toy/toy")


def arrays(n: int = 6, classes: int = 3, seed: int = 0) -> Split:
    return Split(np.random.default_rng(seed).random((n, 1, 2, 2), np.float32), np.arange(n) % classes)


def toy(**changes: object) -> Data:
    return dataclasses.replace(Data(arrays(), arrays(3, seed=1), arrays(3, seed=2), classes=3, bounds=(0.0, 1.0)), **changes)


def regression(**changes: object) -> Data:
    splits = [Split(np.zeros((n, 2)) + 5, np.linspace(-1, 2, n)) for n in (4, 3)]
    return dataclasses.replace(Data(*splits, None, classes=None, bounds=None), **changes)


X, Y = arrays().x, arrays().y
SMALL, LABELS = np.zeros((2, 1, 2, 2), np.float32), np.array([0, 1])


def with_value(value: float, sample: int = 4) -> np.ndarray:
    x = X.copy()
    x[sample, 0, 1, 1] = value
    return x


BAD = {
    "one class": (toy(classes=1), "toy: got classes=1, expected at least 2. Use classes=None for regression."),
    "bounds turned": (
        toy(bounds=(1.0, 0.0)),
        "toy: got bounds (1.0, 0.0), expected two finite numbers, the lower first. Use None for unbounded data.",
    ),
    "bounds infinite": (
        toy(bounds=(0.0, np.inf)),
        "toy: got bounds (0.0, inf), expected two finite numbers, the lower first. Use None for unbounded data.",
    ),
    "no array": (toy(train=Split([[1.0]], Y)), "toy: train: got x of type list, expected a NumPy array. Convert it in load()."),
    "rank 3": (
        toy(train=Split(X[:, 0], Y)),
        "toy: train: got x of shape [6, 2, 2], expected [N, channels, height, width] or [N, features]. Reshape x.",
    ),
    "lengths": (toy(evaluation=Split(X, Y[:5])), "toy: evaluation: got 6 inputs and 5 targets, expected as many. Pair x and y."),
    "scalar target": (toy(final=Split(SMALL, np.array(1))), "toy: final: got 2 inputs and 1 targets, expected as many. Pair x and y."),
    "empty": (
        toy(evaluation=Split(X[:0], Y[:0])),
        "toy: evaluation: got x of shape [0, 1, 2, 2], expected at least one sample and one feature. Check the source.",
    ),
    "no feature": (
        toy(train=Split(np.zeros((6, 0)), Y)),
        "toy: train: got x of shape [6, 0], expected at least one sample and one feature. Check the source.",
    ),
    "int64 input": (
        toy(train=Split(X.astype(np.int64), Y)),
        "toy: train: got x of dtype int64, expected uint8 (0 to 255) or float16, float32, float64. Convert x.",
    ),
    "foreign byte order": (
        toy(train=Split(X.astype(">f4"), Y)),
        "toy: train: got x of dtype >f4, expected uint8 (0 to 255) or float16, float32, float64. Convert x.",
    ),
    "other shape": (
        toy(evaluation=Split(np.zeros((2, 1, 2, 3), np.float32), LABELS)),
        "toy: evaluation: got x of float32 [1, 2, 3], expected float32 [1, 2, 2] as in train. Match the splits.",
    ),
    "other dtype": (
        toy(final=Split(SMALL.astype(np.float64), LABELS)),
        "toy: final: got x of float64 [1, 2, 2], expected float32 [1, 2, 2] as in train. Match the splits.",
    ),
    "nan": (
        toy(train=Split(with_value(np.nan), Y)),
        "toy: train: got NaN or infinity in sample 4 of x, expected finite numbers. Drop it.",
    ),
    "infinity": (
        toy(train=Split(with_value(-np.inf, 1), Y)),
        "toy: train: got NaN or infinity in sample 1 of x, expected finite numbers. Drop it.",
    ),
    "0 to 255": (
        toy(train=Split(with_value(255), Y)),
        f"toy: train: got x from {X.min():g} to 255, expected 0 to 1. Divide by 255, or store uint8.",
    ),
    "standardised": (toy(train=Split(with_value(-1.5), Y)), f"toy: train: got x from -1.5 to {X.max():g}, expected 0 to 1. Rescale x."),
    "a little above": (
        toy(train=Split(with_value(1.25), Y)),
        f"toy: train: got x from {X.min():g} to 1.25, expected 0 to 1. Rescale x.",
    ),
    "uint8 in narrow bounds": (
        Data(*[Split(np.array([[0], [255]], np.uint8), LABELS)] * 2, None, classes=2, bounds=(0.0, 0.5)),
        "toy: train: got x from 0 to 1, expected 0 to 0.5. Rescale x.",
    ),
    "float labels": (
        toy(train=Split(X, Y.astype(float))),
        "toy: train: got labels of float64 [6], expected integers [N]. Convert y; classes=None declares regression.",
    ),
    "column of labels": (
        toy(train=Split(X, Y[:, None])),
        "toy: train: got labels of int64 [6, 1], expected integers [N]. Convert y; classes=None declares regression.",
    ),
    "label too large": (toy(classes=2), "toy: train: got labels from 0 to 2, expected 0 to 1. Renumber them."),
    "negative label": (toy(train=Split(X, Y - 1)), "toy: train: got labels from -1 to 1, expected 0 to 2. Renumber them."),
    "class unseen in training": (
        toy(train=Split(X, Y % 2)),
        "toy: train: got no sample of class 2, expected every class from 0 to 2. "
        "Renumber labels without gaps, drop classes that train lacks, or raise train_limit.",
    ),
    "class that no split has": (
        toy(classes=4),
        "toy: train: got no sample of class 3, expected every class from 0 to 3. "
        "Renumber labels without gaps, drop classes that train lacks, or raise train_limit.",
    ),
    "labels from 1": (
        Data(*[Split(X, Y + 1)] * 3, classes=4, bounds=None),
        "toy: train: got no sample of class 0, expected every class from 0 to 3. If labels begin at 1, subtract 1; "
        "else renumber labels without gaps, drop classes that train lacks, or raise train_limit.",
    ),
    "label as large as memory is not": (
        Data(*[Split(X, np.where(Y == 2, 10**12, Y))] * 2, None, classes=10**12 + 1, bounds=None),
        "toy: train: got no sample of class 2, 3, 4, 5, 6, … (999999999998 in all), expected every class from 0 to 1000000000000. "
        "Renumber labels without gaps, drop classes that train lacks, or raise train_limit.",
    ),
    "beyond float32": (
        Data(*[Split(np.array([[0], [-1e39]]), LABELS)] * 2, None, classes=2, bounds=None),
        "toy: train: got x from -1e+39 to 0, expected at most 3.4e+38 in size, as float32 holds. Rescale x.",
    ),
    "target beyond float32": (
        regression(evaluation=Split(np.zeros((2, 2)), np.array([0, 1e39]))),
        "toy: evaluation: got y from 0 to 1e+39, expected at most 3.4e+38 in size, as float32 holds. Rescale y.",
    ),
    "integer targets": (
        regression(train=Split(np.zeros((2, 2)), LABELS)),
        "toy: train: got targets of int64 [2], expected float [N] or [N, targets]. Convert y, or declare the number of classes.",
    ),
    "targets of rank 3": (
        regression(train=Split(np.zeros((2, 2)), np.zeros((2, 1, 1)))),
        "toy: train: got targets of float64 [2, 1, 1], expected float [N] or [N, targets]. Convert y, or declare the number of classes.",
    ),
    "other targets": (
        regression(evaluation=Split(np.zeros((2, 2)), np.zeros((2, 3)))),
        "toy: evaluation: got targets of float64 [3], expected float64 [] as in train. Match the splits.",
    ),
    "nan target": (
        regression(train=Split(np.zeros((2, 2)), np.array([0, np.nan]))),
        "toy: train: got NaN or infinity in sample 1 of y, expected finite numbers. Drop it.",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_are_refused_with_their_reason(case: str) -> None:
    data, message = BAD[case]
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        check(data, "toy")


def test_a_long_list_of_classes_without_samples_is_cut() -> None:
    data = Data(Split(X, Y * 0), arrays(9, 9), None, classes=9, bounds=None)
    message = "toy: train: got no sample of class 1, 2, 3, 4, 5, … (8 in all), expected every class from 0 to 8."
    with pytest.raises(DataError, match=re.escape(message)):
        check(data, "toy")


@pytest.mark.parametrize(
    "data",
    [
        toy(),
        toy(final=None),
        toy(evaluation=Split(X[:1], Y[:1])),  # a class without a sample to evaluate on is legal
        toy(bounds=None, train=Split(with_value(-np.finfo(np.float32).max), Y)),
        toy(bounds=None, train=Split(with_value(-7), Y)),
        regression(),
        regression(train=Split(np.zeros((2, 2)), np.zeros((2, 3))), evaluation=Split(np.zeros((2, 2)), np.zeros((2, 3)))),
        Data(*[Split(np.array([[0], [255]], np.uint8), LABELS.astype(np.uint8))] * 2, None, classes=2, bounds=(0.0, 1.0)),
        Data(*[Split(np.array([[0], [0.1]], np.float32), LABELS)] * 2, None, classes=2, bounds=(0.0, 0.1)),  # float32(0.1) > 0.1
        Data(*[Split(np.array([[0], [1]], np.float16), LABELS)] * 2, None, classes=2, bounds=(0.0, 1.0)),
    ],
)
def test_good_data_pass(data: Data) -> None:
    check(data, "toy")


def test_a_bad_sample_is_found_behind_the_first_piece(tmp_path: Path) -> None:
    rows = PIECE // 4096 + 5
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (rows, 1024))
    x[rows - 2, 7] = np.nan
    split = Split(x, np.arange(rows) % 2)
    assert [len(piece) for piece in pieces(x)] == [PIECE // 4096, 5]
    with pytest.raises(DataError, match=f"train: got NaN or infinity in sample {rows - 2} of x"):
        check(Data(split, split, None, classes=2, bounds=None), "toy")


def test_the_fingerprint_is_of_the_content_and_of_nothing_else(tmp_path: Path) -> None:
    data = toy()
    expected = fingerprint(data)
    assert re.fullmatch("[0-9a-f]{40}", expected)
    assert fingerprint(toy()) == expected
    np.save(tmp_path / "x.npy", X)
    for same in (np.load(tmp_path / "x.npy", mmap_mode="r"), np.asfortranarray(X), X.astype(">f4"), np.repeat(X, 2, axis=0)[::2]):
        assert fingerprint(toy(train=Split(same, Y))) == expected


OTHER = {
    "a pixel": toy(train=Split(with_value(np.nextafter(X[4, 0, 1, 1], np.float32(2))), Y)),
    "a label": toy(train=Split(X, np.where(np.arange(6) == 5, 0, Y))),
    "the order": toy(train=Split(X[::-1], Y[::-1])),
    "the dtype": toy(train=Split(X.astype(np.float64), Y)),
    "the labels' dtype": toy(train=Split(X, Y.astype(np.int32))),
    "the shape": toy(train=Split(X.reshape(6, 4), Y)),
    "swapped splits": toy(evaluation=arrays(3, seed=2), final=arrays(3, seed=1)),
    "no final split": toy(final=None),
    "classes": toy(classes=4),
    "bounds": toy(bounds=None),
}


def test_whatever_changes_the_data_changes_the_fingerprint() -> None:
    assert len({fingerprint(data) for data in (toy(), *OTHER.values())}) == 1 + len(OTHER)


def test_a_task_holds_the_facts() -> None:
    found = task(toy(), REF)
    assert (found.shape, found.outputs, found.classes, found.bounds) == ((1, 2, 2), 3, 3, (0.0, 1.0))
    assert found.sizes == {"train": 6, "evaluation": 3, "final": 3}
    assert (found.data, found.fingerprint) == (REF, fingerprint(toy()))
    assert (task(regression(), REF).outputs, task(regression(), REF).classes, task(regression(), REF).shape) == (1, None, (2,))
    several = Split(np.zeros((2, 2)), np.zeros((2, 3)))
    assert task(regression(train=several, evaluation=several), REF).outputs == 3


def test_a_summary_counts_classes_or_gives_the_range_of_targets() -> None:
    assert json.loads(json.dumps(summary(toy(final=None, evaluation=arrays(2), classes=3)))) == {
        "shape": [1, 2, 2],
        "dtype": "float32",
        "classes": 3,
        "bounds": [0.0, 1.0],
        "splits": {"train": {"samples": 6, "counts": [2, 2, 2]}, "evaluation": {"samples": 2, "counts": [1, 1, 0]}},
    }
    assert summary(regression())["splits"]["train"] == {"samples": 4, "targets": [-1.0, 2.0]}
    assert summary(regression())["bounds"] is None


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_every_head_of_the_stratified_order_is_in_proportion(labels: list[int]) -> None:
    y = np.array(labels)
    order = stratified(y)
    assert sorted(order) == list(range(len(y)))
    whole = Counter(labels)
    for length in range(len(y) + 1):
        part = Counter(y[order[:length]].tolist())
        assert all(abs(part[c] - whole[c] * length / len(y)) <= len(whole) / 2 + 0.5 for c in whole)
    for label in whole:
        members = order[y[order] == label]
        assert list(members) == sorted(members)


def test_a_head_is_a_part_of_the_split_in_proportion() -> None:
    y = np.repeat([0, 1, 2], [60, 30, 10])
    split = Split(np.arange(100.0)[:, None], y)
    cut = head(split, 10)
    assert Counter(cut.y.tolist()) == {0: 6, 1: 3, 2: 1}
    assert (y[cut.x[:, 0].astype(int)] == cut.y).all()
    assert all(head(split, limit) is split for limit in (0, 100, 500))
    targets = head(Split(split.x, split.x[:, 0]), 4)
    assert targets.y.tolist() == [0, 1, 2, 3]
    unpaired = Split(split.x[:5], y)
    assert head(unpaired, 3) is unpaired


def test_resizing_takes_the_central_square_of_every_channel_and_smooths() -> None:
    x = np.full((2, 3, 4, 20), 255, np.uint8)
    x[..., 4:16] = np.where(np.arange(12) % 2, 200, 0)  # stripes of one pixel, whose mean is 100
    x[1, 2, :, 4:16] = 7
    split = Split(x, LABELS)
    small = resized(split, 1)
    assert (small.x.shape, small.x.dtype, small.y is LABELS) == ((2, 3, 1, 1), np.uint8, True)
    assert np.abs(small.x.ravel().astype(int) - [100, 100, 100, 100, 100, 7]).max() <= 1
    assert resized(split, 9).x.shape == (2, 3, 9, 9)
    assert resized(split, 0) is split
