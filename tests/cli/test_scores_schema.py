"""scores.json against its published JSON Schema: every kind of result is valid, and what the schema forbids is forbidden."""

import copy
import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import jsonschema
import numpy as np
import pytest

NETS = """
import robustradar
from torch import nn

def crash(shape, outputs):
    "Cannot be built."
    raise ValueError("no")

@robustradar.hookimpl
def robustradar_architectures():
    return (robustradar.architecture(crash),)
"""


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads((resources.files("robustradar") / "report" / "scores.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def check(schema: Any) -> Callable[[Any], None]:
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate


@pytest.fixture
def document(run: Callable[[str], Any], tiny: str, tmp_path: Any) -> Any:
    """A result with measured and failed cells, a placed and an unplaced candidate, fits of both objectives and two seeds."""
    (tmp_path / "nets.py").write_text(NETS)
    metrics = "--metric clean-accuracy --metric robust-accuracy-trained --metric parameters"
    done = run(f"rank {tiny} --arch linear --plugin nets.py --arch nets/crash {metrics} --seeds 2 --json")
    assert done.code == 3
    return done.json


def test_the_schema_is_one(schema: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


def test_every_object_of_fixed_shape_is_closed_and_names_what_it_needs(schema: Any) -> None:
    def visit(node: Any) -> None:
        if isinstance(node, dict):
            if "properties" in node and "type" in node:
                assert node["additionalProperties"] is False
                assert set(node["required"]) <= set(node["properties"])
            for inner in node.values():
                visit(inner)
        elif isinstance(node, list):
            for inner in node:
                visit(inner)

    visit(schema)


def test_a_result_with_failures_and_seeds_is_valid(document: Any, check: Callable[[Any], None]) -> None:
    check(document)
    assert {score["state"] for score in document["scores"]} == {"measured", "failed"}
    assert [row["candidate"] for row in document["unranked"]] == ["nets/crash"]
    assert len(document["fits"]) == 4


def test_a_regression_and_a_held_out_split_are_valid(run: Callable[[str], Any], tiny: str, check: Callable[[Any], None]) -> None:
    arrays = dict(np.load("tiny.npz"))
    targets = {name: arrays[f"x_{name}"].mean((1, 2, 3)) for name in ("train", "test")}
    np.savez("float.npz", **(arrays | {f"y_{name}": y for name, y in targets.items()}))
    np.savez("final.npz", **arrays, x_final=arrays["x_test"], y_final=arrays["y_test"])
    for data in ("float", "final"):
        done = run(f"rank {tiny} --data npz:path={data}.npz --arch linear --json")
        assert done.code == 0
        check(done.json)


def changed(document: Any, path: list[Any], value: Any) -> Any:
    document = copy.deepcopy(document)
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return document


FORBIDDEN: list[tuple[list[Any], Any]] = [
    (["schema"], "robustradar/2"),
    (["more"], 1),
    (["ranked_by"], ...),
    (["scores", 0, "value"], None),
    (["scores", 0, "value"], "0.5"),
    (["scores", 0, "reason"], "measured, yet with a reason"),
    (["scores", 0, "state"], "skipped"),
    (["scores", 0, "direction"], "up"),
    (["scores", -1, "value"], 0.5),
    (["scores", -1, "low"], 0.5),
    (["scores", -1, "reason"], None),
    (["scores", -1, "flags"], ["flag"]),
    (["scores", -1, "details"], {"a": 1}),
    (["ranking", 0, "rank"], 0),
    (["fits", 0, "key"], "short"),
    (["fits", 0, "cached"], ...),
    (["fits", 0, "epochs", 0, "train_clean_loss"], "nan"),
    (["fits", 0, "epochs", 0, "train_clean_accuracy"], 1.5),
    (["fits", 0, "spec", "objective", "xi"], 2),
    (["study", "candidates"], []),
    (["study", "threat", "norm"], "inf"),
    (["provenance", "versions", "torch"], ...),
    (["provenance", "time"], 0),
]


def test_what_the_schema_forbids(document: Any, check: Callable[[Any], None]) -> None:
    for path, value in FORBIDDEN:
        try:
            check(changed(document, path, value))
        except jsonschema.ValidationError:
            continue
        pytest.fail(f"{path} may be {value}")
