"""What decides a number is in its key: whoever changes any of it trains again, and nobody else does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[[str], Any]

PLUGIN = """\
import robustradar
from torch import nn

def tiny(shape, outputs, width: int = 4):
    "Linear."
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(outputs))

@robustradar.hookimpl
def robustradar_architectures():
    return (robustradar.architecture(tiny),)
"""
LINE = "--plugin mynets.py --arch mynets/tiny --metric clean-accuracy --metric robust-accuracy-trained --json"


def keys(done: Any) -> dict[str, str]:
    """Objective to key."""
    assert done.code == 0, done.err
    return {"adversarial" if fit["spec"]["attack"] else "clean": fit["key"] for fit in done.json["fits"]}


@pytest.mark.parametrize(
    ("option", "changed"),
    [
        ("", set()),
        ("--arch mynets/tiny:width=4", set()),
        ("--recipe quick:epochs=2,lr=0.02", {"clean", "adversarial"}),
        ("--recipe quick:epochs=3,lr=0.03", {"clean", "adversarial"}),
        ("--arch mynets/tiny:width=5", {"clean", "adversarial"}),
        ("--data npz:path=tiny.npz,train_limit=30", {"clean", "adversarial"}),
        # A cleanly trained network knows no adversary.
        ("--eps 4/255", {"adversarial"}),
        ("--norm l2", {"adversarial"}),
        ("--attack native/pgd:steps=3", {"adversarial"}),
    ],
)
def test_what_decides_a_fit_changes_its_key_and_nothing_else_does(option: str, changed: set[str], run: Run, tiny: str) -> None:
    Path("mynets.py").write_text(PLUGIN)
    before = keys(run(f"rank {tiny} {LINE}"))
    line = LINE.replace("--arch mynets/tiny", "") if "--arch" in option else LINE
    after = keys(run(f"rank {tiny} {line} {option}"))
    assert {name for name in before if before[name] != after[name]} == changed


def test_a_changed_plugin_is_trained_again(run: Run, tiny: str) -> None:
    Path("mynets.py").write_text(PLUGIN)
    before = run(f"rank {tiny} {LINE}")
    Path("mynets.py").write_text(PLUGIN.replace("nn.Flatten(),", "nn.Flatten(), nn.Dropout(0.9),"))
    after = run(f"rank {tiny} {LINE}")
    assert set(keys(before).values()).isdisjoint(keys(after).values())
    assert {fit["cached"] for fit in after.json["fits"]} == {False}
    Path("mynets.py").write_text(PLUGIN)
    assert {fit["cached"] for fit in run(f"rank {tiny} {LINE}").json["fits"]} == {True}


def test_changed_data_of_the_same_name_are_trained_on_again(run: Run, tiny: str) -> None:
    line = f"rank {tiny} --arch linear --metric clean-accuracy --json"
    before = run(line)
    arrays = dict(np.load("tiny.npz"))
    arrays["x_test"][0, 0, 0, 0] /= 2
    np.savez("tiny.npz", **arrays)
    after = run(line)
    assert before.json["study"]["data"]["fingerprint"] != after.json["study"]["data"]["fingerprint"]
    assert keys(before) != keys(after)


def test_candidates_that_differ_in_anything_share_no_number(run: Run, tiny: str) -> None:
    candidates = ["mlp:width=4", "mlp:width=5", "mlp:width=4,depth=1", "mlp:width=4,activation=tanh", "linear", "linear:bias=false"]
    arguments = " ".join(f"--arch {name}" for name in candidates)
    done = run(f"rank {tiny} {arguments} --metric clean-accuracy --metric parameters --json")
    assert len({fit["key"] for fit in done.json["fits"]}) == len(candidates)
    counted = {row["candidate"]: row["value"] for row in done.json["scores"] if row["column"] == "parameters"}
    assert counted["papers/linear"] - counted["papers/linear:bias=false"] == 2
    assert len(set(counted.values())) == len(candidates) - 1  # tanh has no parameters


def test_damaged_weights_are_trained_again_to_the_same_numbers(run: Run, tiny: str) -> None:
    line = f"rank {tiny} --arch linear --metric clean-accuracy --json"
    before = run(line)
    weights = Path(before.json["fits"][0]["weights"])
    intact = weights.read_bytes()
    weights.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    done = run(f"{line} --metric robust-accuracy")
    assert done.code == 0
    assert "papers/linear [clean, seed 0]: its weights in the store were damaged; it is trained again." in done.err
    assert weights.read_bytes() == intact
    assert done.json["scores"][:2] == before.json["scores"]


def test_damaged_records_count_as_absent(run: Run, tiny: str) -> None:
    line = f"rank {tiny} --arch linear --metric clean-accuracy --json"
    before = run(line)
    for name in ("fit", "outcome"):
        (record,) = Path("store").glob(f"*/*/*/{name}.json")
        record.write_text(record.read_text()[:20])
    after = run(line)
    assert (after.code, after.json["scores"]) == (0, before.json["scores"])


def test_a_store_of_another_format_is_refused(run: Run, tiny: str) -> None:
    Path("store").mkdir()
    Path("store/format").write_text("0\n")
    done = run(f"rank {tiny} --arch linear")
    assert (done.code, done.message) == (2, "--store: got 'store' of format 0, expected 1. Choose another folder.")
    Path("store/format").write_bytes(b"\xff\x00\x9c")
    done = run(f"rank {tiny} --arch linear")
    assert (done.code, done.message) == (
        2,
        "--store: got 'store' with a damaged file 'format', expected the number 1 in it. If this version of RobustRadar wrote the store, "
        "write 1 into that file; else choose another folder.",
    )


def test_the_store_holds_json_and_safetensors_only(run: Run, tiny: str) -> None:
    run(f"rank {tiny} --arch linear")
    files = [path for path in Path("store").rglob("*") if path.is_file() and path.parent.name != "locks"]
    assert {path.suffix for path in files} == {"", ".json", ".safetensors"}
    assert [path.name for path in files if not path.suffix] == ["format"]
    for path in files:
        if path.suffix == ".json":
            json.loads(path.read_text())
