"""The connectivity metric: barriers that are known, intervals against the bootstrap by hand, and whole runs against the stored networks."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diagnosis import bench, by_column, fit, prepared, ran
from safetensors.torch import load_file
from torch import Tensor, nn

from robustradar import Bench, Failed, Measured, Outcome, Result, Skipped, UsageError
from robustradar.contract.dataset import Split
from robustradar.numerics.agreement import bootstrap_mean
from robustradar.training.device import DeviceBatches
from robustradar_papers.plain import linear
from robustradar_papers.residual import preact_resnet18
from robustradar_transition.connectivity import FALLING, GIVEN, Connectivity, barrier
from robustradar_transition.path import Profile


def split(x: Tensor, y: Tensor) -> DeviceBatches:
    """Samples in batches of 10."""
    return DeviceBatches(Split(x.numpy(), y.numpy()), torch.device("cpu"), 10, None)


def squared(z: Tensor, y: Tensor) -> Tensor:
    return (z - y).square().sum(1)


def between(clean: nn.Module, adversarial: nn.Module, **changes: Any) -> Bench:
    """A bench with these fits, on targets that the clean one is right about."""
    n = changes.pop("n", 100)
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        splits = {"train": split(x, clean(x)), "evaluation": split(x[:30] + 0.1, clean(x[:30]))}
    fits = {"clean": fit(model=clean.eval()), "adversarial": fit(model=adversarial.eval())}
    return bench(fits, classes=None, splits=splits, loss=squared, **changes)


def permuted() -> tuple[nn.Module, nn.Module]:
    """One function as two networks, whose hidden units stand in opposite orders."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, other = (nn.Sequential(nn.Linear(3, 12), nn.Tanh(), nn.Linear(12, 1)) for _ in range(2))
    first, last, mirrored = one[0], one[2], torch.arange(11, -1, -1)
    first.weight.data *= 3
    other.load_state_dict(
        {"0.weight": first.weight[mirrored], "0.bias": first.bias[mirrored], "2.weight": last.weight[:, mirrored], "2.bias": last.bias}
    )
    return one, other


def measured(outcome: Outcome) -> Measured:
    assert isinstance(outcome, Measured), outcome
    return outcome


# Barriers


@pytest.mark.parametrize("curve", ["bezier", "chain"])
def test_a_bend_leads_around_the_barrier_between_permuted_units(curve: Any) -> None:
    given = between(*permuted())
    found = Connectivity(curve=curve, epochs=60, grid=0).measure(given)
    path, line = measured(found["barrier"]), measured(found["barrier_line"])
    ends = path.details["path"]["train"][0], path.details["path"]["train"][-1]
    assert ends == pytest.approx((0, 0), abs=1e-10), "both ends are the same function, and right"
    assert line.value > 0.1
    assert path.value < line.value / 5
    assert line.details["highest_at"] == 0.5, "by symmetry"
    for outcome in (path, line):
        assert outcome.low is not None and outcome.high is not None
        assert 0 <= outcome.low <= outcome.value <= outcome.high
        assert outcome.samples.mean() == pytest.approx(outcome.value)
        assert len(outcome.samples) == outcome.details["n"] == 100


def test_a_barrier_that_more_epochs_would_lower_is_flagged() -> None:
    given = between(*permuted())
    brief = measured(Connectivity(epochs=4, grid=0).measure(given)["barrier"])
    half = measured(Connectivity(epochs=2, grid=0).measure(given)["barrier"])
    assert brief.flags == (FALLING,)
    assert brief.details["barrier_after_half_the_epochs"] == half.value > 1.1 * brief.value
    slow = measured(Connectivity(epochs=4, lr=1e-9, grid=0).measure(given)["barrier"])
    line = measured(Connectivity(epochs=4, lr=1e-9, grid=0).measure(given)["barrier_line"])
    assert slow.flags == (), "nothing moves at this rate"
    assert slow.value == pytest.approx(line.value, rel=1e-5), "from the midpoint the path is the line"


def test_a_convex_loss_has_no_barrier_on_the_line() -> None:
    one, other = (linear((3,), 1, True) for _ in range(2))
    other[1].weight.data = one[1].weight + 2
    found = Connectivity(epochs=20, grid=0).measure(between(one, other))
    for name in ("barrier", "barrier_line"):
        outcome = measured(found[name])
        assert (outcome.value, outcome.low, outcome.high) == (0, 0, 0)
        assert not outcome.samples.any()
        assert outcome.details["highest_at"] == 1
    assert "barrier_after_half_the_epochs" not in measured(found["barrier"]).details


def profile(*means: float, noise: float, n: int = 200) -> Profile:
    """Losses with these means, and noise of each place's own."""
    drawn = np.random.default_rng(0).standard_normal((len(means), n))
    losses = np.array(means)[:, None] + noise * (drawn - drawn.mean(1, keepdims=True))
    places = tuple(i / (len(means) - 1) for i in range(len(means)))
    return Profile(places, torch.from_numpy(losses), torch.from_numpy(losses))


def test_where_the_highest_place_is_certain_the_interval_is_that_of_a_paired_difference() -> None:
    given = profile(0.2, 5.0, 1.0, noise=0.5)
    found = measured(barrier(given, "path", {}, ()))
    assert found.value == pytest.approx(4.0)
    differences = (given.train[1] - given.train[2]).numpy()
    ends = bootstrap_mean(differences[None], draws=4000, seed=1)
    assert (found.low, found.high) == pytest.approx(ends, abs=0.02)
    assert found.details["bootstrap_bias"] == pytest.approx(0, abs=0.005)
    np.testing.assert_allclose(found.samples, differences)
    assert found.details["path"] == {"t": [0, 0.5, 1], "train": pytest.approx([0.2, 5, 1]), "evaluation": pytest.approx([0.2, 5, 1])}


def test_where_it_is_not_the_interval_leans_up_by_the_bias_that_is_told() -> None:
    found = measured(barrier(profile(1, 1, 1, 1, 1, noise=0.5), "path", {}, ()))
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.low == pytest.approx(0, abs=1e-12)
    assert found.high is not None
    assert 0.02 < found.details["bootstrap_bias"] < found.high < 0.15


def test_a_loss_that_is_not_finite_is_no_barrier() -> None:
    given = between(*permuted())
    found = Connectivity(epochs=2, lr=1e30, grid=3).measure(given)
    hint = "Use a smaller lr, here if it is the path, else in the recipe"
    assert found["barrier"] == Failed(f"the clean training loss is not finite all along the path. {hint}")
    assert measured(found["barrier_line"]).value > 0.1
    broken = profile(1, math.nan, 1, noise=0)
    assert barrier(broken, "line", {}, ()) == Failed(f"the clean training loss is not finite all along the line. {hint}")


# Details


def test_the_plane_shows_the_three_points_and_the_way() -> None:
    found = measured(Connectivity(epochs=10, grid=5, points=7).measure(between(*permuted()))["barrier"])
    plane, losses = found.details["plane"], found.details["path"]["train"]
    points = plane["points"]
    assert (len(plane["x"]), len(plane["y"]), [len(row) for row in plane["loss"]]) == (5, 5, [5] * 5)
    assert math.dist(points["clean"], points["adversarial"]) == pytest.approx(found.details["distance"])
    middle = (points["adversarial"][0] / 2, 0)
    assert math.dist(points["bend"], middle) == pytest.approx(found.details["bend_distance"], rel=1e-5)
    assert plane["path"][0] == points["clean"] and plane["path"][-1] == points["adversarial"]
    assert len(plane["path"]) == len(losses) == 7
    assert plane["samples"] == 100
    assert len(found.details["training"]) == 10


def test_a_limit_spreads_samples_and_the_picture_takes_at_most_512() -> None:
    given = between(*permuted(), n=1200)
    found = measured(Connectivity(epochs=2, grid=2, points=3).measure(given)["barrier"])
    assert (found.details["n"], found.details["plane"]["samples"]) == (1200, 512)
    few = measured(Connectivity(epochs=2, grid=2, points=3, limit=12).measure(given)["barrier"])
    assert (few.details["n"], few.details["plane"]["samples"]) == (12, 12)
    spread = split(*given.splits["train"].spread(12))
    thinned = replace(given, splits={"train": spread, "evaluation": given.splits["evaluation"]})
    same = measured(Connectivity(epochs=2, grid=2, points=3).measure(thinned)["barrier"])
    assert few.value == pytest.approx(same.value)


def test_no_grid_and_no_plane_make_no_picture() -> None:
    given = between(*permuted())
    assert measured(Connectivity(epochs=2, grid=0).measure(given)["barrier"]).details["plane"] is None
    assert measured(Connectivity(epochs=2, lr=1e-12).measure(given)["barrier"]).details["plane"] is None, "the bend lies on the line"


def test_running_statistics_that_are_off_make_no_step_at_the_ends() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models = [preact_resnet18((1, 8, 8), 2, 2).eval() for _ in range(2)]
    for module in models[1].modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean += 0.5  # type: ignore[operator]
    x = torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.randn(60, 2, generator=torch.Generator().manual_seed(1))
    fits = {"clean": fit(model=models[0]), "adversarial": fit(model=models[1])}
    before = [{name: value.clone() for name, value in model.state_dict().items()} for model in models]
    given = bench(fits, classes=None, splits={"train": split(x, y), "evaluation": split(x[:20], y[:20])}, loss=squared)
    found = measured(Connectivity(epochs=2, grid=2, points=5).measure(given)["barrier"])
    with torch.no_grad():
        own = [float(squared(model(x), y).mean()) for model in models]
    ends = found.details["ends"]
    assert [ends[name]["train"] for name in ("clean", "adversarial")] == pytest.approx(own, rel=1e-6)
    assert abs(own[1] - found.details["path"]["train"][-1]) > 0.01
    assert found.details["path"]["train"][-1] == pytest.approx(measured_line(given)["train"][-1])
    for model, state in zip(models, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def measured_line(given: Bench) -> Any:
    return measured(Connectivity(epochs=2, grid=0, points=5).measure(given)["barrier_line"]).details["line"]


# Skipped


def skipped(given: Bench) -> str:
    found = Connectivity().measure(given)
    assert set(found) == {"barrier", "barrier_line"}
    (reason,) = {outcome.reason for outcome in found.values() if isinstance(outcome, Skipped)}
    return reason


def test_given_weights_and_equal_networks_have_no_path() -> None:
    one, other = permuted()
    given = between(one, other)
    weights = {"clean": fit(model=one, weights="there"), "adversarial": fit(model=one, weights="there")}
    assert skipped(replace(given, fits=weights)) == "the weights were given, and a path needs a clean and an adversarially trained network"
    assert skipped(between(one, one)) == (
        "the clean and the adversarially trained network have the same parameters, and no path leads from one to the other"
    )


def test_buffers_without_a_between_have_no_path() -> None:
    one, other = permuted()
    for model, value in ((one, 1.0), (other, 2.0)):
        model.register_buffer("scale", torch.tensor(value))
        model.register_buffer("shift", torch.tensor(value))
    assert skipped(between(one, other)) == (
        "the networks differ in the buffers scale, shift, which are neither parameters nor BatchNorm's, so that none lies between them"
    )


# Plans and whole runs

BRIEF: dict[str, Any] = {"data": "digits:train_limit=120,eval_limit=40", "recipe": "quick:epochs=2", "eps": "0.1", "norm": "linf"}


def test_the_ends_are_other_metrics_networks() -> None:
    plan = prepared("transition/connectivity", "tradeoff/toc:xi=0+1", **BRIEF).plan
    assert sorted(str(spec.objective) for spec in plan.fits) == ["adversarial", "clean"]
    plan = prepared("transition/connectivity:inner=native/fgm", **BRIEF).plan
    assert [spec.attack.id for spec in plan.fits if spec.attack] == ["native/fgm"]


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("curve=line", "parameter 'curve': got 'line', expected 'bezier' or 'chain'"),
        ("epochs=1", "parameter 'epochs': got '1', expected greater than or equal to 2"),
        ("lr=0", "parameter 'lr': got '0', expected greater than 0"),
        ("points=2", "parameter 'points': got '2', expected greater than or equal to 3"),
        ("grid=1", "ValueError: grid: got 1, expected 0 or at least 2"),
        ("grid=-2", "ValueError: grid: got -2, expected 0 or at least 2"),
        ("limit=-1", "parameter 'limit': got '-1', expected greater than or equal to 0"),
    ],
)
def test_bad_parameters_are_refused(typed: str, problem: str) -> None:
    with pytest.raises(UsageError, match=f"^--metric transition/connectivity: {re.escape(problem)}"):
        prepared(f"transition/connectivity:{typed}", **BRIEF)


def end_losses(result: Result, x: Tensor, y: Tensor) -> list[float]:
    """The clean losses of the stored linear classifiers, clean first, in float64."""
    found = []
    for used in sorted(result.fits, key=lambda used: used.record.spec["objective"]["xi"]):
        weight, bias = (v.double() for v in sorted(load_file(used.weights).values(), key=lambda v: -v.ndim))
        found.append(float(nn.functional.cross_entropy(x.flatten(1).double() @ weight.T + bias, y)))
    return found


def test_a_whole_run_of_a_convex_network_in_float64(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3)).astype(np.float32)
    y = (x[:, 0] + rng.standard_normal(60) > 0).astype(np.int64)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    recipe = "quick:optimizer=lbfgs,tolerance=1e-8,weight_decay=0,epochs=40"
    data = f"npz:path={tmp_path / 'data.npz'},bounded=false"
    changes = {"data": data, "recipe": recipe, "attack": "native/linear-exact", "norm": "l2", "eps": "0.3"}
    result = ran(tmp_path, "transition/connectivity:epochs=5,grid=0", architectures=("papers/linear",), **changes)
    found = by_column(result)
    own = end_losses(result, torch.from_numpy(x), torch.from_numpy(y))
    path, line = measured(found["barrier"]), measured(found["barrier_line"])
    assert line.value == 0
    assert [line.details["line"]["train"][i] for i in (0, -1)] == pytest.approx(own, rel=1e-9)
    assert [path.details["ends"][name]["evaluation"] for name in ("clean", "adversarial")] == pytest.approx(own, rel=1e-9)
    assert own[0] < own[1]


def test_a_whole_run_with_batchnorm_repeats_to_the_bit_and_is_counted(tmp_path: Path) -> None:
    typed = "transition/connectivity:epochs=2,grid=2,points=3"
    one, other = (
        ran(tmp_path / name, typed, architectures=("papers/preact-resnet18:width=2",), attack="native/fgsm", **BRIEF) for name in "ab"
    )
    first, second = by_column(one), by_column(other)
    assert first == second
    path = measured(first["barrier"])
    assert path.details["n"] == 120
    trained = 2 + ("barrier_after_half_the_epochs" in path.details)
    (cost,) = (use.cost for use in one.measurements)
    assert cost.backward == trained * 120


def test_given_weights_are_skipped_in_a_run_as_well(tmp_path: Path) -> None:
    first = ran(tmp_path, "baselines/clean-accuracy", **BRIEF)
    given = [f"papers/mlp:width=8={first.fits[0].weights}"]
    found = by_column(ran(tmp_path, "transition/connectivity", architectures=None, weights=given, **BRIEF))
    assert found == dict.fromkeys(("barrier", "barrier_line"), Skipped(GIVEN))
