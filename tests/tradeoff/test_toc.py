"""The trade-off curve against its definition: exact fits of linear models, NumPy by hand, and what plans and reports make of it."""

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from small_studies import Lab, by_column, overlapping

from robustradar import Measured, Outcome, Result, Skipped, UsageError
from robustradar.cli import main
from robustradar.numerics.agreement import bootstrap_mean, wilson
from robustradar.report.flag import meaning
from robustradar_tradeoff import curve as curves
from robustradar_tradeoff.curve import Curve

Floats = NDArray[np.float64]

LBFGS = "quick:optimizer=lbfgs,tolerance=1e-8,weight_decay=0,epochs=40"
EPS, XI = 0.15, (0.0, 0.3, 0.6, 1.0)


def measured(lab: Lab, *metrics: str, **changes: Any) -> tuple[dict[str, Outcome], Result]:
    """A single candidate's outcomes by column, and all else."""
    result = lab.result(*metrics, **changes)
    return by_column(result), result


def exact(result: Result, data: dict[str, Any], *, regression: bool) -> list[tuple[Floats, Floats, Floats, Floats]]:
    """Losses and right answers of every fit, by xi, clean and in the worst case under l2, in closed form from the stored weights."""
    found = []
    x, y = data["x_train"].astype(np.float64), data["y_train"]
    for fit in sorted(result.fits, key=lambda fit: fit.record.spec["objective"]["xi"]):
        state = load_file(fit.weights)
        weight, bias = (np.float64(next(v for k, v in state.items() if k.endswith(end))) for end in ("weight", "bias"))
        z = x @ weight.T + bias
        theta = weight[-1] - (0 if regression else weight[0])
        if regression:
            residual = np.abs(y - z[:, 0])
            wrong = np.zeros(len(y))
            found.append((residual**2, (residual + EPS * np.linalg.norm(theta)) ** 2, wrong, wrong))
        else:
            margin = (2 * y - 1) * (z[:, 1] - z[:, 0])
            worst = margin - EPS * np.linalg.norm(theta)
            found.append((np.logaddexp(0, -margin), np.logaddexp(0, -worst), margin > 0, worst > 0))
    return found


def union(points: Floats, A: float, B: float) -> float:
    """Area between a descending front and the reference point, step by step."""
    return sum((right - a) * (B - b) for (a, b), right in zip(points, [*points[1:, 0], A], strict=True))


EXACT: dict[str, Any] = {"norm": "l2", "eps": str(EPS), "attack": "native/linear-exact", "recipe": LBFGS}
TYPED = f"tradeoff/toc:xi={'+'.join(map(str, XI))}"


@pytest.mark.parametrize("regression", [False, True])
def test_exact_fits_make_a_pareto_curve_and_numpys_numbers(lab: Lab, regression: bool) -> None:
    data = overlapping(regression=regression)
    found, result = measured(lab, TYPED, data=lab.data(**data), **EXACT)
    closed = exact(result, data, regression=regression)
    means = np.array([[values.mean() for values in fit] for fit in closed])
    headline = found["toc_hypervolume"]
    assert isinstance(headline, Measured)
    points = headline.details["curve"]
    assert [point["xi"] for point in points] == list(XI)
    assert [point["dominated"] for point in points] == [False] * 4
    np.testing.assert_allclose([[p["clean_loss"], p["adversarial_loss"]] for p in points], means[:, :2], rtol=1e-5)
    assert (np.diff(means[:, 0]) > 0).all(), "the clean loss rises with xi, as each fit is the minimum of its mixture"
    assert (np.diff(means[:, 1]) < 0).all()

    guess = float(np.var(data["y_train"])) if regression else math.log(2)
    assert headline.details["reference"] == pytest.approx([2 * guess] * 2, rel=1e-6)
    expected = {
        "toc_hypervolume": union(means[:, :2], 2 * guess, 2 * guess) / (2 * guess) ** 2,
        "toc_area": np.trapezoid(means[:, 1], means[:, 0]),
        "price": means[-1, 0] - means[0, 0],
        "gain": means[0, 1] - means[-1, 1],
    }
    if not regression:
        expected |= {"price_accuracy": means[0, 2] - means[-1, 2], "gain_accuracy": means[-1, 3] - means[0, 3]}
    for name, value in expected.items():
        outcome = found[name]
        assert isinstance(outcome, Measured)
        assert outcome.value == pytest.approx(value, abs=1e-5), name
        assert outcome.low is not None and outcome.high is not None
        assert outcome.low <= outcome.value <= outcome.high
    assert "dominated-points" not in " ".join(headline.flags)
    assert "inverted-ends" not in headline.flags
    if regression:
        reason = "an accuracy needs classes, and the data are regression"
        assert all(found[f"{name}_accuracy"] == Skipped(reason) for name in ("toc_hypervolume", "price", "gain"))
        assert "clean_accuracy" not in points[0] and "dominated_accuracy" not in points[0]
    else:
        best = [np.any((means[:, 2] > a) & (means[:, 3] > b)) for a, b in np.random.default_rng(0).random((20_000, 2))]
        accuracy = found["toc_hypervolume_accuracy"]
        assert isinstance(accuracy, Measured)
        assert accuracy.value == pytest.approx(np.mean(best), abs=0.015)


def test_what_is_paired_keeps_its_samples(lab: Lab) -> None:
    data = overlapping()
    found, result = measured(lab, TYPED, data=lab.data(**data), **EXACT)
    first, *_, last = exact(result, data, regression=False)
    signs = {"price": (0, 1), "gain": (1, -1), "price_accuracy": (2, -1), "gain_accuracy": (3, 1)}
    for name, (k, sign) in signs.items():
        outcome = found[name]
        assert isinstance(outcome, Measured)
        expected = sign * (last[k].astype(float) - first[k].astype(float))
        np.testing.assert_allclose(outcome.samples, expected, atol=1e-5)
        assert outcome.samples.mean() == pytest.approx(outcome.value, abs=1e-12)
        ends = bootstrap_mean(expected[None], draws=4000, seed=1)
        assert (outcome.low, outcome.high) == pytest.approx(ends, abs=0.25 * (ends[1] - ends[0]) + 1e-12)
    assert found["toc_hypervolume"].samples is None  # type: ignore[union-attr]


def by_hand(*points: tuple[float, float, float, float], n: int = 50, noise: float = 0.0, corner: float = 2.0) -> Curve:
    """A curve whose means are given; all points share one noise."""
    common = noise * np.random.default_rng(0).standard_normal(n)
    values = np.tile(np.array(points), (n, 1, 1))
    values[..., :2] += (common - common.mean())[:, None, None]
    for i, point in enumerate(points):
        values[:, i, 2:] = np.arange(n)[:, None] < np.round(np.array(point[2:]) * n)
    return Curve(tuple(np.linspace(0, 1, len(points))), values, corner, True)


def test_what_all_points_share_cancels_in_price_and_gain() -> None:
    curve = by_hand((0.25, 1.5, 0.9, 0.1), (0.5, 0.75, 0.8, 0.4), noise=0.3)
    assert curve.scalars["price"] == pytest.approx((0.25, 0.25, 0.25))
    assert curve.scalars["gain"] == pytest.approx((0.75, 0.75, 0.75))
    value, low, high = curve.scalars["toc_hypervolume"]
    assert value == pytest.approx((0.25 * 0.5 + 1.5 * 1.25) / 4)
    assert high - low > 0.05
    assert curve.scalars["toc_hypervolume_accuracy"][0] == pytest.approx(0.8 * 0.4 + 0.1 * 0.1)
    assert curve.scalars["price_accuracy"][0] == pytest.approx(0.1)
    assert curve.scalars["gain_accuracy"][0] == pytest.approx(0.3)


def test_points_have_intervals_and_marks_of_their_own_curve() -> None:
    curve = by_hand((0.25, 1.5, 0.9, 0.1), (0.5, 1.75, 0.8, 0.4), (0.5, 0.75, 0.7, 0.4), noise=0.3)
    shown = curve.shown("toc_hypervolume")
    assert [point["dominated"] for point in shown["curve"]] == [False, True, False]
    assert [point["dominated_accuracy"] for point in shown["curve"]] == [False, False, True]
    assert (shown["p1"], shown["p2"]) == (shown["curve"][0], shown["curve"][-1])
    assert shown["n"] == 50
    point = shown["curve"][1]
    assert (point["clean_accuracy_low"], point["clean_accuracy_high"]) == wilson(40, 50)
    assert point["adversarial_loss_low"] < 1.75 < point["adversarial_loss_high"]
    spread = 1.96 * curve.values[:, 1, 0].std() / math.sqrt(50)
    assert point["clean_loss_high"] - point["clean_loss"] == pytest.approx(spread, rel=0.2)
    assert curve.flags("toc_hypervolume") == curve.flags("price") == ("dominated-points:1",)
    assert curve.flags("gain_accuracy") == ("dominated-points:1",)
    assert "curve" not in curve.shown("price")


def test_ends_in_the_wrong_order_are_flagged() -> None:
    assert by_hand((0.5, 1.0, 0.9, 0.1), (0.4, 0.9, 0.8, 0.2)).flags("gain") == ("dominated-points:1", "inverted-ends")
    assert by_hand((0.5, 1.0, 0.9, 0.1), (0.6, 1.1, 0.8, 0.2)).flags("toc_area") == ("dominated-points:1", "inverted-ends")
    accuracies = by_hand((0.5, 1.0, 0.9, 0.2), (0.6, 0.9, 0.8, 0.1))
    assert accuracies.flags("price") == ()
    assert accuracies.flags("price_accuracy") == ("dominated-points:1", "inverted-ends")


def test_equal_points_are_one() -> None:
    curve = by_hand((0.5, 1.0, 0.9, 0.1), (0.5, 1.0, 0.9, 0.1))
    assert curve.flags("price") == curve.flags("price_accuracy") == ()
    assert {name: value for name, (value, _, _) in curve.scalars.items()} == pytest.approx(
        {"toc_area": 0, "price": 0, "gain": 0, "price_accuracy": 0, "gain_accuracy": 0}
        | {"toc_hypervolume": 1.5 / 4, "toc_hypervolume_accuracy": 0.09}
    )


def test_the_size_of_a_block_of_draws_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    points = (0.25, 1.5, 0.9, 0.1), (0.5, 0.75, 0.8, 0.4)
    whole = by_hand(*points, noise=0.3).scalars
    monkeypatch.setattr(curves, "_BLOCK", 50 * 7)
    assert by_hand(*points, noise=0.3).scalars == {name: pytest.approx(value, abs=1e-12) for name, value in whole.items()}


def test_a_loss_that_is_not_finite_is_no_point() -> None:
    message = "area: got coordinates that are not finite, expected numbers only. Drop failed points first."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        by_hand((0.5, math.inf, 0.9, 0.1), (0.6, 0.9, 0.8, 0.2)).scalars  # noqa: B018


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        (
            "dominated-points:2",
            "so many points of the trade-off curve are beaten in both coordinates by another: training fell short, or noise",
        ),
        (
            "inverted-ends",
            "of the trade-off curve, the ξ≈0 end is better under attack or the ξ≈1 end on clean inputs: price or gain below zero",
        ),
    ],
)
def test_flags_have_words(flag: str, words: str) -> None:
    assert meaning(flag) == f"{flag}: {words}"


# Plans


def test_the_ends_of_the_curve_are_other_metrics_networks(lab: Lab) -> None:
    metrics = ("tradeoff/toc:xi=0+0.5+1", "baselines/clean-accuracy", "baselines/robust-accuracy-trained")
    plan = lab.prepare(*metrics, data="digits").plan
    assert [str(spec.objective) for spec in plan.fits] == ["clean", "mixture:xi=0.5", "adversarial"]
    assert plan.requested == 5


def test_a_path_is_a_chain_of_starts(lab: Lab) -> None:
    straight = lab.prepare("tradeoff/toc:xi=0.1+0.5+0.9", data="digits").plan.fits
    first, middle, last = lab.prepare("tradeoff/toc:xi=0.1+0.5+0.9,path=true", data="digits").plan.fits
    assert [spec.start for spec in straight] == [None] * 3
    assert (first.start, middle.start, last.start) == (None, first, middle)
    assert first.key == straight[0].key
    assert {middle.key, last.key}.isdisjoint(spec.key for spec in straight)


def test_the_inner_attack_is_trained_with_and_the_studys_measures(lab: Lab) -> None:
    plan = lab.prepare("tradeoff/toc:inner=native/fgm", data="digits").plan
    assert {spec.attack.id for spec in plan.fits if spec.attack} == {"native/fgm"}
    ((_, use),) = plan.measurements[0].attacks
    assert use.attack.id == "native/pgd"
    assert [spec.objective.xi for spec in plan.fits] == [0.001, 0.25, 0.5, 0.75, 0.999]


def test_an_attack_without_losses_is_refused(lab: Lab) -> None:
    message = (
        "metric tradeoff/toc: attack native/autoattack: got a first_success attack, expected max_loss, since losses are read or "
        "trained on. Choose another attack (robustradar plugins list attack)."
    )
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        lab.prepare("tradeoff/toc", data="digits", attack="native/autoattack")


ACCEPTED = (
    "Accepted: xi: list of float = 0.001+0.25+0.5+0.75+0.999, path: bool = false, inner: str | None = none, reference: float > 0 = 2."
)
RISING = "expected at least two weights that rise within [0, 1], such as 0.001+0.5+0.999"


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("xi=0.5", f"ValueError: xi: got 0.5, {RISING}"),
        ("xi=", f"ValueError: xi: got none, {RISING}"),
        ("xi=0.5+0.5", f"ValueError: xi: got 0.5+0.5, {RISING}"),
        ("xi=0.9+0.1", f"ValueError: xi: got 0.9+0.1, {RISING}"),
        ("xi=-0.1+0.5", f"ValueError: xi: got -0.1+0.5, {RISING}"),
        ("xi=0.5+1.1", f"ValueError: xi: got 0.5+1.1, {RISING}"),
        ("reference=0", "parameter 'reference': got '0', expected greater than 0"),
    ],
)
def test_bad_parameters_are_refused(lab: Lab, typed: str, problem: str) -> None:
    message = f"--metric tradeoff/toc: {problem}. {ACCEPTED}"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        lab.prepare(f"tradeoff/toc:{typed}", data="digits")


# Whole runs

BRIEF: dict[str, Any] = {"recipe": "quick:epochs=2", "eps": "0.1"}


def test_a_warm_start_begins_where_the_one_before_ended(lab: Lab) -> None:
    data = overlapping()
    cold, warm = (measured(lab, f"{TYPED},path={path}", data=lab.data(**data), **EXACT)[1] for path in ("false", "true"))
    epochs = [sum(len(fit.record.epochs) for fit in result.fits) for result in (cold, warm)]
    assert epochs[1] <= epochs[0]
    for one, other in zip(exact(cold, data, regression=False), exact(warm, data, regression=False), strict=True):
        np.testing.assert_allclose([v.mean() for v in one[:2]], [v.mean() for v in other[:2]], rtol=1e-6)


def test_the_held_out_split_has_a_curve_of_its_own(lab: Lab) -> None:
    found, _ = measured(lab, "tradeoff/toc:xi=0+1,reference=1", data="digits:train_limit=200,eval_limit=100", **BRIEF)
    for name, outcome in found.items():
        assert isinstance(outcome, Measured)
        held_out = outcome.details["held_out"]
        assert outcome.details["n"] == 100
        assert held_out["n"] == 397
        assert held_out["low"] <= held_out["value"] <= held_out["high"], name
        assert "selected-on-evaluation" not in outcome.flags
    headline = found["toc_hypervolume"]
    assert isinstance(headline, Measured)
    assert headline.details["reference"] == headline.details["held_out"]["reference"] == [math.log(10)] * 2
    assert headline.details["held_out"]["curve"][0].keys() == headline.details["curve"][0].keys()
    assert headline.details["held_out"]["curve"] != headline.details["curve"]


def test_given_weights_make_no_curve(lab: Lab) -> None:
    data = lab.data(**overlapping())
    _, result = measured(lab, "baselines/clean-accuracy", data=data, **BRIEF)
    given = [f"papers/linear={result.fits[0].weights}"]
    found, _ = measured(lab, "tradeoff/toc", data=data, architectures=None, weights=given, **BRIEF)
    assert list(found.values()) == [Skipped("the weights were given, and a curve needs a network for every ξ")] * 7


def test_targets_that_are_all_alike_leave_no_reference(lab: Lab) -> None:
    data = overlapping(16, regression=True)
    data |= {"y_train": np.ones(16, np.float32), "y_test": np.ones(16, np.float32)}
    found, _ = measured(lab, "tradeoff/toc:xi=0+1", data=lab.data(**data), attack="native/linear-exact", **BRIEF)
    reason = "the training targets' mean is right everywhere, which puts the reference point at (0, 0)"
    assert found["toc_hypervolume"] == Skipped(reason)
    assert isinstance(found["price"], Measured)


def test_seeds_are_averaged(lab: Lab) -> None:
    found, result = measured(lab, "tradeoff/toc:xi=0+1", data=lab.data(**overlapping()), seeds=2, attack="native/linear-exact", **BRIEF)
    assert len(result.fits) == 4
    headline = found["toc_hypervolume"]
    assert isinstance(headline, Measured)
    assert [seed["seed"] for seed in headline.details["seeds"]] == [0, 1]
    assert len(headline.details["seeds"][1]["details"]["curve"]) == 2


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    line = "rank --arch papers/mlp:width=8 --metric tradeoff/toc:xi=0.001+0.5+0.999 --recipe quick:epochs=1 --out out --store store"
    monkeypatch.setattr(sys, "argv", ["robustradar", *line.split(), "--data", "digits:train_limit=200,eval_limit=50", "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "toc hypervolume % ↑*" in capsys.readouterr().out
    rows = json.loads(Path("out/scores.json").read_text())["scores"]
    assert {(row["column"], row["direction"], row["unit"]) for row in rows} == {
        ("toc_hypervolume", "higher", "fraction"),
        ("toc_hypervolume_accuracy", "higher", "fraction"),
        ("toc_area", "none", "loss²"),
        ("price", "lower", "loss"),
        ("price_accuracy", "lower", "fraction"),
        ("gain", "higher", "loss"),
        ("gain_accuracy", "higher", "fraction"),
    }
    (headline,) = (row for row in rows if row["column"] == "toc_hypervolume")
    assert headline["metric"] == "tradeoff/toc:xi=0.001+0.5+0.999"
    assert [point["xi"] for point in headline["details"]["curve"]] == [0.001, 0.5, 0.999]
