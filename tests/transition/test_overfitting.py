"""Overfitting by the epoch: by hand, against the losses of exact fits, and in whole runs."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnosis import bench, by_column, fit, prepared, ran
from safetensors.numpy import load_file

from robustradar import Measured, Skipped, UsageError
from robustradar_transition.overfitting import GIVEN, NO_ACCURACY, Overfitting

RUNNING = "running-training-losses"


def epochs(
    kind: str, train: tuple[float, ...], evaluation: tuple[float, ...], accuracy: tuple[float | None, ...] = ()
) -> tuple[dict[str, Any], ...]:
    rows = zip(train, evaluation, accuracy or (None,) * len(train), strict=True)
    return tuple(
        {f"train_{kind}_loss": old, f"evaluation_{kind}_loss": new, f"evaluation_{kind}_accuracy": right} for old, new, right in rows
    )


ADVERSARIAL = epochs("adversarial", (1.0, 0.6, 0.3), (1.25, 0.9, 1.1), (0.4, 0.5, 0.35))
CLEAN = epochs("clean", (0.5, 0.25, 0.125), (0.75, 0.375, 0.25))


# By hand


def test_gaps_of_the_last_and_the_best_epoch_make_the_ratio() -> None:
    found = Overfitting().measure(bench({"adversarial": fit(ADVERSARIAL), "clean": fit(CLEAN)}))
    assert {name: getattr(outcome, "value", None) for name, outcome in found.items()} == pytest.approx(
        {"overfitting": 8 / 3, "overfitting_clean": 1.0, "best_gap": 0.3, "last_gap": 0.8, "robust_accuracy_drop": 0.15}
    )
    headline, best, drop = (found[name] for name in ("overfitting", "best_gap", "robust_accuracy_drop"))
    assert isinstance(headline, Measured) and isinstance(best, Measured) and isinstance(drop, Measured)
    assert headline.details["best_epoch"] == best.details["epoch"] == 2
    assert headline.details["epochs"][0] == {"epoch": 1, "train_loss": 1.0, "evaluation_loss": 1.25, "gap": 0.25}
    assert [row["gap"] for row in headline.details["epochs"]] == pytest.approx([0.25, 0.3, 0.8])
    assert drop.details == {"best_epoch": 2, "accuracy": [0.4, 0.5, 0.35]}
    assert headline.flags == (RUNNING,)


def test_a_gap_that_is_not_positive_makes_no_ratio() -> None:
    augmented = epochs("clean", (0.75, 0.5, 0.4), (0.7, 0.35, 0.45))
    found = Overfitting().measure(bench({"adversarial": fit(ADVERSARIAL), "clean": fit(augmented)}))
    reason = (
        "got a generalisation gap of -0.15 at epoch 2, the best, expected one above 0 to compare with. "
        "Training losses lag behind; look at last_gap"
    )
    assert found["overfitting_clean"] == Skipped(reason)
    assert isinstance(found["overfitting"], Measured)


def test_fits_that_ended_early_say_so_and_lbfgs_has_nothing_to_say() -> None:
    early = Overfitting().measure(bench({"adversarial": fit(ADVERSARIAL, epochs=8), "clean": fit(CLEAN)}))
    flags = {name: outcome.flags for name, outcome in early.items() if isinstance(outcome, Measured)}
    assert flags["overfitting"] == flags["robust_accuracy_drop"] == (RUNNING, "ended-early:3 of 8 epochs")
    assert flags["overfitting_clean"] == (RUNNING,)
    exact = Overfitting().measure(bench({"adversarial": fit(ADVERSARIAL, optimizer="lbfgs", epochs=8), "clean": fit(CLEAN)}))
    assert isinstance(exact["last_gap"], Measured)
    assert exact["last_gap"].flags == ()


def test_regression_has_no_accuracy() -> None:
    found = Overfitting().measure(bench({"adversarial": fit(ADVERSARIAL), "clean": fit(CLEAN)}, classes=None))
    assert found["robust_accuracy_drop"] == Skipped(NO_ACCURACY) == Skipped("an accuracy needs classes, and the data are regression")
    assert isinstance(found["overfitting"], Measured)


# Whole runs

DIGITS: dict[str, Any] = {"data": "digits:train_limit=100,eval_limit=60", "eps": "0.1", "attack": "native/fgm", "recipe": "quick:epochs=3"}


def test_the_fits_are_those_of_other_metrics() -> None:
    plan = prepared("transition/overfitting", "baselines/clean-accuracy", "baselines/robust-accuracy-trained", **DIGITS).plan
    assert (len(plan.fits), plan.requested) == (2, 4)
    weaker = prepared("transition/overfitting", "transition/overfitting:eps=0.02,inner=native/pgd", **DIGITS).plan
    assert [str(spec).partition("[")[2] for spec in weaker.fits] == [
        "adversarial linf 0.1 native/fgm, seed 0]",
        "clean, seed 0]",
        "adversarial linf 0.02 native/pgd, seed 0]",
    ]


def test_what_is_not_to_be_learnt_is_learnt_by_heart(tmp_path: Path) -> None:
    """Ten features tell the class, seven times of eight; a network with room for all samples goes on to learn these."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for split, n in (("train", 64), ("test", 128)):
        x = rng.random((n, 10)).astype(np.float32)
        arrays |= {f"x_{split}": x, f"y_{split}": ((x.sum(1) > 5) ^ (rng.random(n) < 0.125)).astype(np.int64)}
    np.savez(tmp_path / "noise.npz", **arrays)
    data, recipe = f"npz:path={tmp_path / 'noise.npz'}", "quick:epochs=50,lr=0.01"
    result = ran(tmp_path, "transition/overfitting", data=data, eps="0.02", attack="native/fgm", recipe=recipe)
    found = by_column(result)
    for name, kind in (("overfitting", "adversarial"), ("overfitting_clean", "clean")):
        outcome = found[name]
        assert isinstance(outcome, Measured), outcome
        assert outcome.value > 1.5
        assert outcome.details["best_epoch"] < 50
        assert outcome.flags == (RUNNING, "selected-on-evaluation")
        (record,) = (use.record for use in result.fits if use.record.spec["objective"]["xi"] == (kind == "adversarial"))
        assert outcome.details["best_epoch"] == record.selected_epoch
        assert outcome.details["epochs"][-1]["train_loss"] == record.epochs[-1][f"train_{kind}_loss"]


def test_exact_fits_have_the_gap_of_the_closed_form(tmp_path: Path) -> None:
    """Of a linear model under l2 the adversarial loss is known: log(1 + exp(eps·‖θ‖ − margin))."""
    rng = np.random.default_rng(1)
    arrays: dict[str, Any] = {}
    for split, n in (("train", 40), ("test", 30)):
        x = rng.standard_normal((n, 3)).astype(np.float32)
        arrays |= {f"x_{split}": x, f"y_{split}": (x.sum(1) + rng.standard_normal(n) > 0).astype(np.int64)}
    np.savez(tmp_path / "linear.npz", **arrays)
    result = ran(
        tmp_path, "transition/overfitting", data=f"npz:path={tmp_path / 'linear.npz'},bounded=false", norm="l2", eps="0.2",
        attack="native/linear-exact", recipe="quick:optimizer=lbfgs,weight_decay=0", architectures=("papers/linear",),
    )  # fmt: skip
    (state,) = (load_file(use.weights) for use in result.fits if use.record.spec["objective"]["xi"] == 1)
    weight, bias = (next(v for k, v in state.items() if k.endswith(end)).astype(np.float64) for end in ("weight", "bias"))
    theta = weight[1] - weight[0]

    def loss(split: str) -> float:
        margin = (2 * arrays[f"y_{split}"] - 1) * (arrays[f"x_{split}"] @ theta + bias[1] - bias[0])
        return float(np.logaddexp(0, 0.2 * np.linalg.norm(theta) - margin).mean())

    last = by_column(result)["last_gap"]
    assert isinstance(last, Measured)
    assert last.value == pytest.approx(loss("test") - loss("train"), abs=1e-6)
    assert RUNNING not in last.flags


def test_given_weights_have_no_epochs(tmp_path: Path) -> None:
    first = ran(tmp_path, "baselines/clean-accuracy", **DIGITS)
    given = (f"papers/mlp:width=8={first.fits[0].weights}",)
    found = by_column(ran(tmp_path, "transition/overfitting", **DIGITS | {"architectures": None, "weights": given}))
    assert list(found.values()) == [Skipped(GIVEN)] * 5
    assert GIVEN == "the weights were given, and overfitting is read off the epochs of a training"


def test_a_strength_of_zero_is_refused() -> None:
    message = (
        "--metric transition/overfitting: parameter 'eps': got '0', expected greater than 0. "
        "Accepted: eps: float | None > 0 = none, inner: str | None = none."
    )
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        prepared("transition/overfitting:eps=0", **DIGITS)
