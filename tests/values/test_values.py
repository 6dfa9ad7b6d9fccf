"""Values: equal ones have equal keys and only they, and numbers go from text to text without loss."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustradar import ADVERSARIAL, CLEAN, Measured, Objective, Skipped, Task, Threat
from robustradar.values import (
    AttackUse,
    Column,
    Failed,
    FitSpec,
    Measurement,
    Ref,
    Score,
    Weights,
    canonical,
    digest,
    norm_order,
    number,
    number_text,
)

MLP = Ref("papers/mlp", (("width", 32), ("bias", True)), "robustradar 0.1 abc", "papers/mlp:width=32")
PGD = Ref("native/pgd", (("steps", 10), ("relative_step", None)), "robustradar 0.1 abc", "native/pgd")
QUICK = Ref("native/quick", (("lr", 0.1), ("epochs", 5)), "robustradar 0.1 abc", "native/quick")
DIGITS = Ref("native/digits", (), "robustradar 0.1 abc", "native/digits")
METRIC = Ref("baselines/robust", (), "robustradar 0.1 abc", "baselines/robust")
TASK = Task(DIGITS, "f" * 40, (1, 8, 8), 10, 10, (0.0, 1.0), {"train": 100, "evaluation": 20})
THREAT = Threat(math.inf, 8 / 255, (0.0, 1.0))
SPEC = FitSpec(MLP, TASK, QUICK, Objective(0.5), THREAT, PGD, 0, "engine 1")
USE = AttackUse(PGD, THREAT)
MEASUREMENT = Measurement(MLP, METRIC, TASK, THREAT, QUICK, PGD, 0, "engine 1", None, (("model", SPEC),), (("attack", USE),))


def changed(ref: Ref, **parameters: Any) -> Ref:
    return replace(ref, parameters=tuple((name, parameters.get(name, value)) for name, value in ref.parameters))


# Each field that decides the weights, set from a drawn number; equal draws give equal fields.
FIELDS: dict[str, Callable[[FitSpec, int], FitSpec]] = {
    "architecture parameter": lambda s, n: replace(s, architecture=changed(s.architecture, width=n)),
    "architecture id": lambda s, n: replace(s, architecture=replace(s.architecture, id=f"papers/net{n}")),
    "plugin source": lambda s, n: replace(s, architecture=replace(s.architecture, source=f"robustradar 0.1 {n}")),
    "attack plugin source": lambda s, n: replace(s, attack=replace(PGD, source=f"robustradar 0.1 {n}")),
    "data fingerprint": lambda s, n: replace(s, task=replace(s.task, fingerprint=f"{n:040d}")),
    "recipe number": lambda s, n: replace(s, recipe=changed(s.recipe, lr=n / 8)),
    "xi": lambda s, n: replace(s, objective=Objective(n / 8)),
    "form": lambda s, n: replace(s, objective=Objective(1.0, "trades", n / 8)),
    "eps": lambda s, n: replace(s, threat=THREAT.at(n / 255)),
    "p": lambda s, n: replace(s, threat=replace(THREAT, p=1 + n / 2)),
    "bounds": lambda s, n: replace(s, threat=replace(THREAT, bounds=(0.0, 1.0 + n))),
    "unbounded": lambda s, n: replace(s, threat=replace(THREAT, bounds=None if n else (0.0, 1.0))),
    "attack": lambda s, n: replace(s, attack=changed(PGD, steps=n)),
    "no attack": lambda s, n: replace(s, attack=PGD if n else None, threat=THREAT if n else None),
    "seed": lambda s, n: replace(s, seed=n),
    "engine": lambda s, n: replace(s, engine=f"engine {n}"),
    "start": lambda s, n: replace(s, start=replace(SPEC, seed=n, objective=CLEAN)),
}
CHANGES = st.lists(st.tuples(st.sampled_from(sorted(FIELDS)), st.integers(0, 3)), max_size=3)


def applied(changes: list[tuple[str, int]]) -> FitSpec:
    spec = SPEC
    for name, n in changes:
        spec = FIELDS[name](spec, n)
    return spec


@given(CHANGES, CHANGES)
def test_fits_have_equal_keys_if_and_only_if_they_are_equal(first: list[tuple[str, int]], second: list[tuple[str, int]]) -> None:
    a, b = applied(first), applied(second)
    assert (a.key == b.key) == (a == b)


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_every_field_enters_the_key(field: str) -> None:
    assert FIELDS[field](SPEC, 1).key != FIELDS[field](SPEC, 2).key or field in ("unbounded", "no attack")
    assert FIELDS[field](SPEC, 0).key != FIELDS[field](SPEC, 1).key


@given(CHANGES, CHANGES)
def test_measurements_have_equal_keys_if_and_only_if_they_are_equal(first: list[tuple[str, int]], second: list[tuple[str, int]]) -> None:
    def measured(changes: list[tuple[str, int]]) -> Measurement:
        spec = applied(changes)
        uses = (("attack", AttackUse(spec.attack or PGD, spec.threat or THREAT)),)
        return replace(MEASUREMENT, fits=(("model", spec),), attacks=uses, seed=spec.seed)

    a, b = measured(first), measured(second)
    assert (a.key == b.key) == (a == b)


def test_a_measurements_own_fields_enter_its_key() -> None:
    others = [
        replace(MEASUREMENT, candidate=changed(MLP, width=33)),
        replace(MEASUREMENT, metric=replace(METRIC, source="robustradar 0.2 def")),
        replace(MEASUREMENT, threat=THREAT.at(0.1)),
        replace(MEASUREMENT, task=replace(TASK, fingerprint="0" * 40)),
        replace(MEASUREMENT, fits=(("network", SPEC),)),
        replace(MEASUREMENT, attacks=()),
        replace(MEASUREMENT, seed=None),
        replace(MEASUREMENT, engine="engine 2"),
        searching := replace(MEASUREMENT, further=2),
        replace(searching, recipe=changed(QUICK, lr=0.2)),
        replace(searching, attack=changed(PGD, steps=20)),
        replace(searching, weights=Weights("0" * 64, "net.safetensors")),
    ]
    assert len({m.key for m in (MEASUREMENT, *others)}) == len(others) + 1


def test_recipe_and_attack_enter_a_measurements_key_through_its_fits_unless_it_may_ask_for_more() -> None:
    other = replace(MEASUREMENT, recipe=changed(QUICK, lr=0.2), attack=changed(PGD, steps=20))
    assert other.key == MEASUREMENT.key


def test_a_label_is_no_part_of_a_key() -> None:
    other = replace(MLP, label="an alias")
    assert other == MLP
    assert replace(SPEC, architecture=other).key == SPEC.key


@given(st.integers(-(2**60), 2**60))
def test_equal_numbers_have_equal_keys(n: int) -> None:
    if float(n) == n:
        assert digest({"eps": n}) == digest({"eps": float(n)})
    assert digest({"eps": n}) != digest({"eps": n + 1})


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_other_numbers_have_other_keys(a: float, b: float) -> None:
    assert (digest(a) == digest(b)) == (a == b)


def test_truth_is_no_number_in_a_key() -> None:
    assert digest({"bias": True}) != digest({"bias": 1})


# Canonical JSON

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_canonical_text_is_the_value_and_is_its_own(value: Any) -> None:
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(json.loads(text)) == text


@given(st.dictionaries(st.text(), st.integers()))
def test_canonical_text_does_not_depend_on_order(value: dict[str, int]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)


def test_no_key_holds_what_is_no_number() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
            canonical({"eps": value})


# Numbers


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_comes_back_from_its_text(value: float) -> None:
    assert number(number_text(value)) == value


@given(st.integers(-100_000, 100_000))
def test_multiples_of_a_255th_come_back_from_their_text(n: int) -> None:
    assert number(number_text(n / 255)) == n / 255
    assert number(number_text(n / 1020)) == n / 1020


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8 / 255, "8/255"),
        (0.5 / 255, "0.5/255"),
        (-8 / 255, "-8/255"),
        (0.1, "0.1"),
        (1.0, "1"),
        (0.0, "0"),
        (1e-3, "0.001"),
        (1e20, "1e20"),
        (1 / 3, "85/255"),
        (math.pi, "3.141592653589793"),
    ],
)
def test_numbers_are_shown_as_a_user_types_them(value: float, text: str) -> None:
    assert number_text(value) == text


@pytest.mark.parametrize("text", ["inf", "nan", "-inf", "1e999"])
def test_numbers_are_finite(text: str) -> None:
    with pytest.raises(ValueError, match="is not finite"):
        number(text)


@pytest.mark.parametrize("text", ["", "a", "1/", "/2", "1/0", "1/2/3", "8 / x"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        number(text)


@pytest.mark.parametrize(
    ("text", "p"), [("linf", math.inf), ("LINF", math.inf), ("inf", math.inf), ("∞", math.inf), ("l1", 1), ("2", 2), ("l3/2", 1.5)]
)
def test_norms_have_their_orders(text: str, p: float) -> None:
    assert norm_order(text) == p


@pytest.mark.parametrize("text", ["l0", "0.5", "-1", "l", "", "max", "nan"])
def test_what_is_no_norm_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        norm_order(text)


@given(st.floats(1, 1e6) | st.just(math.inf))
def test_a_norm_comes_back_from_its_name(p: float) -> None:
    assert norm_order(Threat(p, 0.1, None).norm) == p


# As they are shown


def test_fits_say_what_they_are() -> None:
    assert str(replace(SPEC, objective=CLEAN, threat=None, attack=None)) == "papers/mlp:width=32 [clean, seed 0]"
    assert str(replace(SPEC, objective=ADVERSARIAL)) == "papers/mlp:width=32 [adversarial linf 8/255 native/pgd, seed 0]"
    assert str(SPEC) == "papers/mlp:width=32 [mixture:xi=0.5 linf 8/255 native/pgd, seed 0]"


def test_a_cells_row_says_its_state() -> None:
    column = Column("robust_accuracy", "higher", "fraction")
    measured = Score("a", "m", column, Measured(0.5, 0.4, 0.6, ("flag",), {"n": 3})).json()
    assert measured == {
        "candidate": "a",
        "metric": "m",
        "column": "robust_accuracy",
        "state": "measured",
        "value": 0.5,
        "low": 0.4,
        "high": 0.6,
        "unit": "fraction",
        "direction": "higher",
        "flags": ["flag"],
        "reason": None,
        "details": {"n": 3},
    }
    for outcome, state, reason in (
        (Skipped("no classes"), "skipped", "no classes"),
        (Failed("broke", "attack x/y"), "failed", "attack x/y: broke"),
        (Failed("broke"), "failed", "broke"),
    ):
        row = Score("a", "m", column, outcome).json()
        assert (row["state"], row["value"], row["reason"]) == (state, None, reason)


@pytest.mark.parametrize(
    ("found", "bound"),
    [
        (Measured(0.1, low=0.1), "low"),
        (Measured(0.1, high=0.1), "high"),
        (Measured(0.1, low=0.1, high=0.1), None),
        (Measured(0.1, low=0.05), None),
        (Measured(0.1), None),
    ],
)
def test_a_value_that_equals_its_only_end_is_a_bound(found: Measured, bound: str | None) -> None:
    assert found.bound == bound
