"""The metric tradeoff/influence: its columns against NumPy by hand, what it withholds and why, and what a review makes of candidates."""

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from small_studies import DIGITS, PRICES, SPECTRA, Lab, by_column, overlapping

from robustradar import Measured, Outcome, Result, Skipped
from robustradar.analysis import batches
from robustradar.contract.dataset import Split
from robustradar.training.device import DeviceBatches

Floats = NDArray[np.float64]

COLUMNS = {*PRICES, "phi_norm", "ifa_norm", "bound_low", "bound_high", *SPECTRA}

# Least squares of four parameters: the Hessian is the same everywhere, and the Krylov space is soon all there is.
LINE: dict[str, Any] = {"norm": "l2", "eps": "0.1", "attack": "native/linear-exact"}


def measured(outcome: Outcome) -> Measured:
    assert isinstance(outcome, Measured), outcome
    return outcome


def values(outcomes: Mapping[str, Outcome]) -> dict[str, float]:
    return {name: measured(outcome).value for name, outcome in outcomes.items()}


def line(lab: Lab, seed: int = 1) -> tuple[str, dict[str, Any]]:
    """A regression whose splits differ."""
    arrays = overlapping(regression=True) | {k: overlapping(40, regression=True, seed=seed)[k] for k in ("x_test", "y_test")}
    return lab.data(**arrays), arrays


def lbfgs(ridge: float) -> str:
    return f"quick:optimizer=lbfgs,weight_decay={ridge},tolerance=1e-10"


def theta(result: Result) -> Floats:
    """Slope and intercept of a linear fit."""
    state = load_file(result.fits[0].weights)
    return np.concatenate([np.float64(next(v for k, v in state.items() if k.endswith(end))).ravel() for end in ("weight", "bias")])


# Numbers


def test_the_columns_are_numpys(lab: Lab) -> None:
    data, arrays = line(lab)
    eps, ridge, mu = 0.1, 0.05, 0.2
    result = lab.result(f"tradeoff/influence:damping={mu}", data=data, recipe=lbfgs(ridge), **LINE)
    found = by_column(result)
    assert set(found) == COLUMNS

    at = theta(result)
    w = at[:-1]
    X, X_e = (np.column_stack([arrays[x], np.ones(len(arrays[x]))]).astype(float) for x in ("x_train", "x_test"))
    r, r_e = X @ at - arrays["y_train"], X_e @ at - arrays["y_test"]
    H_t, H_e = 2 * X.T @ X / len(X) + ridge * np.eye(4), 2 * X_e.T @ X_e / len(X_e)
    # ∇_x l = 2 r w, so that Φ is the gradient of the mean of 2 |r| ‖w‖.
    Phi = 2 * (np.sign(r)[:, None] * X * np.linalg.norm(w)).mean(0) + 2 * np.abs(r).mean() * np.append(w, 0) / np.linalg.norm(w)
    ifa = -np.linalg.solve(H_t + mu * np.eye(4), Phi)
    by_sample = eps**2 / 2 * 2 * (X_e @ ifa) ** 2
    rise = eps * 2 * r_e * (X_e @ ifa)
    (s, *_, S), (bottom, *_, top) = np.linalg.eigvalsh(H_t + mu * np.eye(4)), np.linalg.eigvalsh(H_e)
    assert bottom > 0
    expected = {
        "phi_norm": np.linalg.norm(Phi),
        "ifa_norm": np.linalg.norm(ifa),
        "delta_influence": eps**2 / 2 * ifa @ H_e @ ifa,
        "delta_first_order": rise.mean() + by_sample.mean(),
        "bound_low": eps**2 / 2 * bottom / S**2 * Phi @ Phi,
        "bound_high": eps**2 / 2 * top / s**2 * Phi @ Phi,
        "lambda_min_train": s - mu,
        "lambda_max_train": S - mu,
        "lambda_min_eval": bottom,
        "lambda_max_eval": top,
    }
    assert values(found) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(measured(found["delta_influence"]).samples, by_sample, rtol=1e-6)
    np.testing.assert_allclose(measured(found["delta_first_order"]).samples, rise + by_sample, rtol=1e-5, atol=1e-9)
    assert expected["bound_low"] < expected["delta_influence"] < expected["bound_high"]

    details = measured(found["delta_influence"]).details
    assert details == measured(found["phi_norm"]).details
    assert {name: details[name] for name in COLUMNS} == pytest.approx(values(found), rel=1e-12)
    assert (details["eps"], details["damping"], details["curvature"]) == (eps, mu, "exact")
    assert (details["zero_gradient_samples"], details["samples"], details["negative_ritz_values"]) == (0, 60, 0)
    assert details["gradient_norm"] < 1e-7
    assert details["residual"] < 1e-10
    assert details["slope"] == pytest.approx(2 * np.abs(r).mean() * np.linalg.norm(w), rel=1e-6)
    tighter = eps**2 / 2 * np.array([bottom, top]) * (ifa @ ifa)
    assert [details["bound_low_by_ifa_norm"], details["bound_high_by_ifa_norm"]] == pytest.approx(tighter, rel=1e-6)
    by_factor = {entry["factor"]: entry for entry in details["sweep"]}
    assert sorted(by_factor) == pytest.approx(10.0 ** np.arange(-1.5, 2, 0.5))
    x = np.linalg.solve(H_t + 10 * mu * np.eye(4), Phi)
    assert by_factor[10.0] == pytest.approx({"factor": 10, "damping": 10 * mu, "delta_influence": eps**2 / 2 * x @ H_e @ x}, rel=1e-6)
    assert all(not measured(outcome).flags[:-1] for outcome in found.values())
    assert measured(found["phi_norm"]).flags == ("selected-on-evaluation",)


def test_the_price_grows_with_the_strengths_square(lab: Lab) -> None:
    one, two = (lab.run("tradeoff/influence", **DIGITS | {"eps": eps}) for eps in ("0.05", "0.1"))
    a, b = values(one), values(two)
    assert b["delta_influence"] / a["delta_influence"] == pytest.approx(4, rel=1e-9)
    rises = [found["delta_first_order"] - found["delta_influence"] for found in (a, b)]
    assert rises[1] / rises[0] == pytest.approx(2, rel=1e-6)
    assert [b[name] / a[name] for name in ("bound_low", "bound_high")] == pytest.approx([4, 4], rel=1e-9)
    for name in ("phi_norm", "ifa_norm", *SPECTRA):
        assert a[name] == b[name]


def test_prices_have_samples_and_intervals(lab: Lab) -> None:
    found = lab.run("tradeoff/influence", **DIGITS)
    for name in PRICES:
        price = measured(found[name])
        assert len(price.samples) == 100
        assert price.samples.mean() == pytest.approx(price.value, rel=1e-4)
        assert price.low is not None and price.high is not None
        assert price.low < price.value < price.high
        spread = 1.96 * price.samples.std() / 10
        assert price.high - price.low == pytest.approx(2 * spread, rel=0.2)
    low, price, high = (measured(found[name]).value for name in ("bound_low", "delta_influence", "bound_high"))
    assert low < price < high, "also where the evaluation Hessian has negative eigenvalues"
    assert measured(found["lambda_min_eval"]).value < 0
    for name in SPECTRA:
        eigenvalue = measured(found[name])
        assert eigenvalue.low is not None and eigenvalue.high is not None
        assert eigenvalue.low <= eigenvalue.value <= eigenvalue.high
        assert eigenvalue.high - eigenvalue.low < 0.02 * abs(eigenvalue.value)
    assert measured(found["phi_norm"]).low is None


@pytest.mark.parametrize("architecture", ["papers/mlp:width=8,depth=1", "papers/cnn:width=2,depth=1,activation=tanh"])
def test_graphs_that_are_not_kept_give_the_same_numbers(lab: Lab, architecture: str) -> None:
    study = DIGITS | {"architectures": (architecture,)}
    kept, anew = (lab.run(f"tradeoff/influence:memory={memory}", **study) for memory in (2, 0))
    assert values(anew) == pytest.approx(values(kept), rel=1e-4)
    assert [measured(o).flags for o in anew.values()] == [measured(o).flags for o in kept.values()]


# What it is about


@pytest.mark.parametrize(
    ("recipe", "ridge", "flags"),
    [
        ("quick:optimizer=lbfgs,weight_decay=0.3", 0.3, ()),
        ("quick:optimizer=sgd,lr=0.05,weight_decay=0.3,epochs=2", 0.3, ()),
        ("quick:optimizer=adamw,weight_decay=0.3,epochs=2", 0.0, ("decoupled-decay",)),
        ("quick:optimizer=adamw,weight_decay=0,epochs=2", 0.0, ()),
        ("quick:optimizer=sgd,lr=0.05,weight_decay=0,epochs=2", 0.0, ()),
    ],
)
def test_the_hessian_has_the_weight_decay_that_the_gradient_had(lab: Lab, recipe: str, ridge: float, flags: tuple[str, ...]) -> None:
    data = lab.data(**overlapping(regression=True))  # the same samples in both splits
    found = lab.run("tradeoff/influence", data=data, recipe=recipe, **LINE)
    for end in ("min", "max"):
        train, evaluation = (measured(found[f"lambda_{end}_{split}"]).value for split in ("train", "eval"))
        assert train - evaluation == pytest.approx(ridge, abs=1e-5)
    assert tuple(flag for flag in measured(found["phi_norm"]).flags if flag == "decoupled-decay") == flags


@pytest.mark.parametrize(
    ("recipe", "flag"),
    [
        ("quick:epochs=1,weight_decay=0,label_smoothing=0.1", "smoothed-labels"),
        ("quick:epochs=1,weight_decay=0,augment=crop-flip", "augmented"),
        ("quick:epochs=1,weight_decay=0", None),
    ],
)
def test_what_else_training_did_is_flagged(lab: Lab, recipe: str, flag: str | None) -> None:
    found = lab.run("tradeoff/influence:limit=20,products=10", **DIGITS | {"recipe": recipe})
    flags = {name for name in measured(found["phi_norm"]).flags if name in ("smoothed-labels", "augmented", "decoupled-decay")}
    assert flags == ({flag} if flag else set())


def test_given_weights_have_no_recipe(lab: Lab) -> None:
    data, _ = line(lab)
    trained = lab.result("tradeoff/influence", data=data, recipe="quick:epochs=2", **LINE)
    given = [f"papers/linear={trained.fits[0].weights}"]
    found = lab.run("tradeoff/influence", data=data, recipe="quick:epochs=2", architectures=None, weights=given, **LINE)
    assert values(found) == values(by_column(trained)), "AdamW's decay is not in the Hessian either"
    flags = measured(found["phi_norm"]).flags
    assert "given-weights" in flags
    assert "decoupled-decay" not in flags


def test_a_limit_takes_samples_from_all_over_the_split(lab: Lab) -> None:
    data, arrays = line(lab)
    trained = lab.result("tradeoff/influence", data=data, recipe="quick:epochs=2", **LINE)
    study = LINE | {"recipe": "quick:epochs=2", "architectures": None, "weights": [f"papers/linear={trained.fits[0].weights}"]}
    everything = lab.run("tradeoff/influence", data=data, **study)
    for limit in (60, 1000):
        assert lab.run(f"tradeoff/influence:limit={limit}", data=data, **study) == everything
    some = lab.run("tradeoff/influence:limit=20", data=data, **study)
    spread = {k: v[::3] if k.endswith("train") else v[::2] for k, v in arrays.items()}
    assert values(some) == pytest.approx(values(lab.run("tradeoff/influence", data=lab.data("spread", **spread), **study)), rel=1e-5)
    assert measured(some["delta_influence"]).details["samples"] == 20
    assert len(measured(some["delta_influence"]).samples) == 20


@pytest.mark.parametrize(("n", "limit", "sizes"), [(1000, 600, [256, 256, 88]), (20, 3, [3]), (20, 1, [1]), (8, 7, [7])])
def test_limited_batches_keep_order_and_targets(n: int, limit: int, sizes: list[int]) -> None:
    numbers = DeviceBatches(Split(np.arange(float(n))[:, None], np.arange(n)), torch.device("cpu"), 7, n)
    found = list(batches(SimpleNamespace(splits={"train": numbers}), "train", limit))  # type: ignore[arg-type]
    assert [len(y) for _, y in found] == sizes
    x, y = (torch.cat(parts) for parts in zip(*found, strict=True))
    assert torch.equal(x[:, 0], y)
    assert y.tolist() == [i * n // limit for i in range(limit)]


def test_the_box_holds_the_ascent_back(lab: Lab) -> None:
    boxed, free = (lab.run(f"tradeoff/influence:box={box}", **DIGITS) for box in ("true", "false"))
    a, b = values(boxed), values(free)
    assert a["phi_norm"] < 0.9 * b["phi_norm"], "a third of the digits' pixels are 0 or 1"
    assert a["lambda_max_train"] == pytest.approx(b["lambda_max_train"], rel=1e-3)
    assert measured(boxed["phi_norm"]).details["slope"] < measured(free["phi_norm"]).details["slope"]
    data, _ = line(lab)
    runs = [lab.run(f"tradeoff/influence:box={box}", data=data, recipe="quick:epochs=1", **LINE) for box in ("true", "false")]
    assert runs[0] == runs[1], "these data have no box"


# What it withholds, and what it says


def test_an_indefinite_hessian_has_eigenvalues_but_no_price(lab: Lab) -> None:
    auto = lab.run("tradeoff/influence:damping=auto", **DIGITS)
    assert auto == lab.run("tradeoff/influence", **DIGITS)
    details = measured(auto["phi_norm"]).details
    assert details["damping"] == pytest.approx(-2 * details["lambda_min_train"], rel=0.1)
    assert details["damping"] > details["mean_eigenvalue"]
    assert f"damping-raised:{details['damping']:.2g}" in measured(auto["delta_influence"]).flags

    found = lab.run("tradeoff/influence:damping=1e-6", **DIGITS)
    details = measured(found["phi_norm"]).details
    count, least = details["negative_ritz_values"], details["least_damping"]
    assert count > 0
    reason = f"H_t + μI is indefinite at damping=1e-06: {count} Ritz values lie below −μ. A damping above {least:.3g} would do"
    withheld = {name for name, outcome in found.items() if outcome == Skipped(reason)}
    assert withheld == {*PRICES, "ifa_norm", "bound_low", "bound_high"}
    assert least == pytest.approx(-values({"at": found["lambda_min_train"]})["at"], rel=0.01)
    assert (details["residual"], details["ifa_norm"], details["delta_influence"], details["bound_low"]) == (None,) * 4
    assert not any(flag.startswith("damping-raised") for flag in measured(found["phi_norm"]).flags)
    for name in ("phi_norm", "lambda_max_train", "lambda_min_train"):
        assert measured(found[name]).value == pytest.approx(measured(auto[name]).value, rel=1e-3)

    enough = lab.run(f"tradeoff/influence:damping={1.01 * least:.6g}", **DIGITS)
    assert isinstance(enough["delta_influence"], Measured)


def test_too_few_products_leave_a_residual(lab: Lab) -> None:
    found = lab.run("tradeoff/influence:products=2", **DIGITS)
    details = measured(found["phi_norm"]).details
    reason = f"the solution's residual is {details['residual']:.3g}, expected at most 0.0001. Raise products, or the damping"
    assert {name for name, outcome in found.items() if outcome == Skipped(reason)} == {*PRICES, "ifa_norm", "bound_low", "bound_high"}
    assert all("unsettled-eigenvalue" in measured(found[name]).flags for name in SPECTRA)
    assert "unsettled-eigenvalue" not in measured(found["phi_norm"]).flags
    lenient = lab.run("tradeoff/influence:products=2,residual=0.9", **DIGITS)
    assert isinstance(lenient["delta_influence"], Measured)


def test_without_any_gradient_there_is_nothing(lab: Lab) -> None:
    data = lab.data(**overlapping())
    trained = lab.result("baselines/clean-accuracy", data=data, recipe="quick:epochs=1")
    zero = {name: np.zeros_like(value) for name, value in load_file(trained.fits[0].weights).items()}
    save_file(zero, lab.root / "zero.safetensors")
    found = lab.run("tradeoff/influence", data=data, architectures=None, weights=[f"papers/linear={lab.root / 'zero.safetensors'}"])
    assert found == dict.fromkeys(COLUMNS, Skipped("the loss's gradient in x is zero on all 60 samples"))


def test_samples_without_a_gradient_are_counted(lab: Lab) -> None:
    flags = measured(lab.run("tradeoff/influence", **DIGITS)["delta_influence"]).flags
    (flag,) = [flag for flag in flags if flag.startswith("zero-gradients")]
    assert re.fullmatch(r"zero-gradients:[1-9]\d?/200", flag)


def test_training_that_ended_early_is_flagged(lab: Lab) -> None:
    data = lab.data(**overlapping())
    early, done = (lab.run("tradeoff/influence", data=data, recipe=f"quick:{recipe}") for recipe in ("epochs=1", "optimizer=lbfgs"))
    norm = measured(early["phi_norm"]).details["gradient_norm"]
    assert f"not-converged:{norm:.2g}" in measured(early["delta_influence"]).flags
    assert not any(flag.startswith("not-converged") for flag in measured(done["delta_influence"]).flags)


HARD = """
import math

import robustradar
from torch import nn


def hard(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 4), nn.Hardsigmoid(), nn.Linear(4, outputs))


@robustradar.hookimpl
def robustradar_architectures():
    return (robustradar.architecture(hard),)
"""


def test_a_network_without_second_derivatives_says_how_they_were_had(lab: Lab) -> None:
    file = lab.root / "hard.py"
    file.write_text(HARD)
    data = lab.data(**overlapping())
    names = ("hard/hard", "papers/mlp:width=4,depth=1,activation=tanh")
    result = lab.result("tradeoff/influence", data=data, recipe="quick:epochs=2", architectures=names, plugins=[str(file)])
    found = {name: {s.column.name: s.outcome for s in result.scores if s.candidate == name} for name in names}
    price = measured(found["hard/hard"]["phi_norm"])
    assert price.details["curvature"] == "finite-differences"
    assert "curvature:finite-differences" in price.flags
    assert not any(flag.startswith("curvature") for flag in measured(found[names[1]]["phi_norm"]).flags)
    for columns in found.values():
        assert all("mixed-curvature" in outcome.flags for outcome in columns.values() if isinstance(outcome, Measured))
    alone = lab.run("tradeoff/influence", data=data, recipe="quick:epochs=2", architectures=names[:1], plugins=[str(file)])
    assert "mixed-curvature" not in measured(alone["phi_norm"]).flags
    price = measured(alone["delta_influence"])
    assert (price.low, price.high, price.samples) == (None, None, None), "no derivatives sample by sample"
