"""`robustradar data`: what is in a data set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustradar import inventory

Run = Callable[[str], Any]

DIGITS = """\
data         native/digits
shape        1 x 8 x 8
dtype        float32
bounds       0 to 1
classes      10
fingerprint  6a1b1e2d90f9abac2d74b8e6dc1c12df83bb769e

split       samples    samples of each class
----------  ---------  ------------------------------------
train       1000       99 101 98 102 101 101 101 100 97 100
evaluation  400        40 41 40 41 40 41 40 39 38 40
final       397        39 40 39 40 40 40 40 40 39 40
"""


def test_show_tells_what_is_in_a_data_set(run: Run) -> None:
    done = run("data show digits")
    assert (done.code, done.out, done.err) == (0, DIGITS, "")


def test_show_as_json_takes_parameters(run: Run, tiny: str) -> None:
    done = run("data show native/npz:path=tiny.npz,train_limit=10 --json")
    assert done.code == 0
    found = done.json
    assert len(found.pop("fingerprint")) == 40
    assert found == {
        "id": "native/npz:path=tiny.npz,train_limit=10",
        "shape": [1, 4, 4],
        "dtype": "float32",
        "classes": 2,
        "bounds": [0.0, 1.0],
        "splits": {"train": {"samples": 10, "counts": [5, 5]}, "evaluation": {"samples": 20, "counts": [10, 10]}},
    }


def test_regression_without_bounds_shows_its_range(run: Run) -> None:
    x, y = np.array([[-2.0], [3.0]], np.float32), np.array([-1.5, 4.0], np.float32)
    np.savez("line.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    out = run("data show npz:path=line.npz,bounded=false").out
    assert "bounds       none\nclasses      none: regression\n" in out
    assert "train       2          -1.5 to 4\n" in out


def test_labels_with_gaps_are_refused_however_large(run: Run) -> None:
    x = np.zeros((2, 2), np.float32)
    np.savez("gap.npz", x_train=x, y_train=np.array([0, 10**12]), x_test=x, y_test=np.array([0, 0]))
    done = run("data show npz:path=gap.npz")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "robustradar: --data native/npz:path=gap.npz: train: got no sample of class 1, 2, 3, 4, 5, … (999999999999 in all), expected every "
        "class from 0 to 1000000000000. Renumber labels without gaps, drop classes that train lacks, or raise train_limit.\n"
    )


def test_many_classes_are_shown_by_their_smallest_and_largest() -> None:
    counts = [3] * 99 + [5]
    found = {
        "id": "x/y",
        "shape": [1],
        "dtype": "uint8",
        "bounds": [0.0, 1.0],
        "classes": 100,
        "fingerprint": "f",
        "splits": {"train": {"samples": 302, "counts": counts}},
    }
    assert inventory.content_text(found).splitlines()[-1] == "train    302        3 to 5"


def write_idx(path: Path, array: np.ndarray[Any, Any]) -> None:
    """The MNIST files' format: two zero bytes, 8 for uint8, the rank, the sizes big-endian, the bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.astype(np.uint8).tobytes())


def test_a_torchvision_data_set_is_reached_by_its_name(run: Run) -> None:
    for prefix, count in (("train", 20), ("t10k", 10)):
        write_idx(Path("mnist/MNIST/raw") / f"{prefix}-images-idx3-ubyte", np.full((count, 28, 28), count))
        write_idx(Path("mnist/MNIST/raw") / f"{prefix}-labels-idx1-ubyte", np.arange(count) % 10)
    found = run("data show torchvision/MNIST:root=mnist --json").json
    assert (found["shape"], found["dtype"], found["classes"]) == ([1, 28, 28], "uint8", 10)
    assert found["splits"]["train"] == {"samples": 20, "counts": [2] * 10}


def test_timm_s_reader_is_reached_by_its_name(run: Run) -> None:
    from PIL import Image

    for split in ("train", "test"):
        for name in ("cat", "dog"):
            Path("pictures", split, name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(Path("pictures", split, name, "1.png"))
    found = run("data show timm/reader:root=pictures,size=8 --json").json
    assert (found["shape"], found["splits"]["evaluation"]) == ([3, 8, 8], {"samples": 2, "counts": [1, 1]})


@pytest.mark.parametrize("options", ["", "--json"])
def test_every_data_set_is_listed_with_its_parameters(run: Run, options: str) -> None:
    done = run(f"plugins list dataset {options}")
    assert done.code == 0
    for name in ("native/digits", "native/npz", "timm/reader", "torchvision/CIFAR10"):
        assert name in done.out
    if options:
        assert {"id", "parameters", "summary"} == set(done.json[0])


def test_a_plugin_file_s_data_set_is_shown(run: Run) -> None:
    Path("coins.py").write_text(
        "import numpy, robustradar\n"
        "class Coins(robustradar.Dataset):\n"
        "    'Two classes.'\n"
        "    def load(self):\n"
        "        half = robustradar.Split(numpy.ones((4, 2)), numpy.arange(4) % 2)\n"
        "        return robustradar.Data(half, half, None, classes=2, bounds=(0, 1))\n"
        "@robustradar.hookimpl\n"
        "def robustradar_datasets():\n"
        "    return (Coins(name='coins'),)\n"
    )
    assert run("data show coins/coins --plugin coins.py --json").json["splits"]["train"]["counts"] == [2, 2]
    assert "coins/coins" in run("plugins list dataset --plugin coins.py").out


WRONG = [
    ("digit", "--data: got 'digit'. Did you mean 'native/digits'? Expected one of "),
    ("digits:limit=3", "--data native/digits: parameter: got 'limit', expected one of eval_limit, train_limit."),
    ("npz:path=none.npz", "native/npz none.npz: got no such file, expected an .npz file. Check the path."),
]


@pytest.mark.parametrize(("ref", "message"), WRONG)
def test_what_is_wrong_is_told_as_in_rank(run: Run, ref: str, message: str) -> None:
    shown, ranked = run(f"data show {ref}"), run(f"rank --arch papers/linear --data {ref}")
    assert (shown.code, shown.out) == (2, "")
    assert shown.message == ranked.message
    assert shown.message.startswith(message)


def test_the_help_has_examples(run: Run) -> None:
    assert "robustradar data show npz:path=mine.npz --json" in run("data show --help").out
    assert run("data list").code == 2, "plugins list dataset is what lists them"
