"""Distances of adversarial from clean training: by hand, in closed form step by step, and against the training engine."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diagnosis import bench, by_column, fit, prepared, ran
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import nn

from robustradar import Architecture, Fit, FitNeed, Measured, Recipe, Result, Skipped
from robustradar.screening import Prepared
from robustradar.training import network
from robustradar.training.device import DeviceData
from robustradar.training.train import begin
from robustradar_transition.trajectory import GIVEN, NO_LENGTH, NO_TRAVEL, OTHER_RATES, Trajectory

Floats = NDArray[np.float64]


def linear(*weights: float) -> nn.Module:
    """A network of nothing but these parameters, and a buffer that is none."""
    model = nn.Linear(len(weights), 1, bias=False)
    model.weight.data = torch.tensor([weights], dtype=torch.float32)
    model.register_buffer("mean", torch.full((3,), 100.0))
    return model


class Trainer:
    """Gives what was made up, and notes what was asked."""

    def __init__(self, pairs: dict[int, tuple[Fit, Fit]]) -> None:
        self.pairs, self.asked = pairs, list[FitNeed]()

    def __call__(self, need: FitNeed) -> Fit:
        self.asked.append(need)
        return self.pairs[need.recipe["stop"]][int(need.objective.adversarial)]


def found(pairs: dict[int, tuple[Fit, Fit]], metric: Trajectory | None = None) -> tuple[dict[str, Any], Trainer]:
    """The outcomes where the last pair is the whole training; the initial parameters are (3, 4)."""
    trainer = Trainer(pairs)
    clean, adversarial = pairs[max(pairs)]
    given = bench({"clean": clean, "adversarial": adversarial}, network=lambda: linear(3, 4), train=trainer)
    return dict((metric or Trajectory()).measure(given)), trainer


def pair(clean: tuple[float, ...], adversarial: tuple[float, ...], **facts: Any) -> tuple[Fit, Fit]:
    return fit(model=linear(*clean), **facts), fit(model=linear(*adversarial), **facts)


# By hand


def test_distances_are_related_to_the_clean_parameters_and_to_their_way() -> None:
    pairs = {1: pair((3, 4), (3, 4)), 2: pair((0, 5), (0, 10)), 5: pair((0, 8), (1, 8)), 10: pair((0, 8), (3, 4))}
    pairs = {epochs: tuple(fit(model=one.model, epochs=10) for one in both) for epochs, both in pairs.items()}  # type: ignore[misc]
    outcomes, trainer = found(pairs)
    assert {name: outcome.value for name, outcome in outcomes.items()} == {
        "trajectory_distance": 5 / 8,
        "trajectory_largest": 1.0,
        "relative_travel": 1.0,
    }
    snapshots = outcomes["trajectory_distance"].details["snapshots"]
    assert [row["epoch"] for row in snapshots] == [1, 2, 5, 10]
    assert [row["step"] for row in snapshots] == [2, 4, 10, 20], (
        "two steps an epoch: of 9 samples, the lone last one joins the second batch"
    )
    assert [row["ratio"] for row in snapshots] == [0.0, 1.0, 1 / 8, 5 / 8]
    assert snapshots[1] == {"epoch": 2, "step": 4, "distance": 5.0, "norm": 5.0, "travel": pytest.approx(10**0.5), "ratio": 1.0}
    assert outcomes["trajectory_largest"].details == {"epoch": 2}
    assert [need.recipe["stop"] for need in trainer.asked] == [1, 1, 2, 2, 5, 5]
    assert all(need.recipe["select"] == "last" for need in trainer.asked)


def test_a_study_that_stops_early_is_looked_at_until_then() -> None:
    pairs = {n: pair((1, 0), (0, 1), epochs=100, stop=6) for n in (3, 6)}
    outcomes, _ = found(pairs, Trajectory(snapshots=2))
    assert [row["epoch"] for row in outcomes["trajectory_distance"].details["snapshots"]] == [3, 6]


@pytest.mark.parametrize(("facts", "steps"), [({"batch": 1}, 9), ({"batch": 100}, 1), ({"batch": 5}, 2), ({"optimizer": "lbfgs"}, 20)])
def test_steps_are_counted_as_training_makes_them(facts: dict[str, Any], steps: int) -> None:
    outcomes, _ = found({1: pair((1, 0), (0, 1), epochs=1, **facts)})
    assert outcomes["trajectory_distance"].details["snapshots"][0]["step"] == steps


def test_trainings_at_different_rates_are_not_compared() -> None:
    calm, again = pair((1, 0), (0, 1)), pair((1, 0), (0, 1), flags=("diverged-once:lr=0.01",))
    mixed, _ = found({1: calm, 3: (calm[0], again[1])})
    assert list(mixed.values()) == [Skipped(OTHER_RATES)] * 3
    assert OTHER_RATES == (
        "some of the trainings diverged and were started again at a tenth of the rate, others not, so that these are not states of one "
        "training. Use a smaller lr"
    )
    alike, _ = found({1: again, 3: again})
    assert all(isinstance(outcome, Measured) for outcome in alike.values())


def test_what_has_no_length_is_no_measure() -> None:
    nothing, _ = found({1: pair((0, 0), (0, 1)), 3: pair((1, 0), (0, 1))})
    reason = "the clean network's parameters are all 0 at epoch 1, and there is nothing to relate a distance to"
    assert nothing["trajectory_distance"] == nothing["trajectory_largest"] == Skipped(reason) == Skipped(NO_LENGTH.format(epoch=1))
    assert isinstance(nothing["relative_travel"], Measured)
    unmoved, _ = found({1: pair((0, 1), (0, 1)), 3: pair((3, 4), (0, 1))})
    assert unmoved["relative_travel"] == Skipped(NO_TRAVEL)
    assert NO_TRAVEL == "clean training has left the parameters where they began, and there is nothing to relate a distance to"


# Whole runs


@pytest.fixture
def line(tmp_path: Path) -> dict[str, Any]:
    """Regression on three features, and gradient descent over all of it."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3)).astype(np.float32)
    y = (x @ np.array([1.0, -0.5, 0.25]) + 0.3 * rng.standard_normal(40)).astype(np.float32)
    np.savez(tmp_path / "line.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return {
        "data": f"npz:path={tmp_path / 'line.npz'},bounded=false",
        "architectures": ("papers/linear",),
        "attack": "native/linear-exact",
        "norm": "l2",
        "eps": "0.4",
        "recipe": "quick:optimizer=sgd,lr=0.05,momentum=0,weight_decay=0,schedule=constant,epochs=8,batch=40",
    }


def initial(study: dict[str, Any]) -> tuple[nn.Module, Prepared, DeviceData]:
    """The network as it is before training, the study, and its data."""
    known = prepared("transition/trajectory", **study)
    spec = known.plan.fits[0]
    data = DeviceData.of(known.data, known.plan.study.task, torch.device("cpu"))
    return network.build(known.catalog.bound("architecture", spec.architecture, Architecture), "test", data, spec.seed), known, data


def descent(x: Floats, y: Floats, theta: Floats, eps: float, steps: int) -> list[Floats]:
    """Gradient descent on the mean of (|y − xw − b| + eps·‖w‖)², θ = (w, b), at rate 0.05: θ after every step."""
    found = []
    for _ in range(steps):
        w, r = theta[:3], x @ theta[:3] + theta[3] - y
        size = np.linalg.norm(w)
        factor = 2 * np.sign(r) * (np.abs(r) + eps * size)
        slope = np.append((factor[:, None] * (x + eps * np.sign(r)[:, None] * w / size)).mean(0), factor.mean())
        theta = theta - 0.05 * slope
        found.append(theta)
    return found


def test_full_batch_training_of_a_linear_model_is_gradient_descent(tmp_path: Path, line: dict[str, Any]) -> None:
    model, _, _ = initial(line)
    theta = np.concatenate([p.detach().double().numpy().ravel() for p in model.parameters()])
    arrays = np.load(tmp_path / "line.npz")
    x, y = arrays["x_train"].astype(np.float64), arrays["y_train"].astype(np.float64)
    clean, adversarial = (descent(x, y, theta, eps, 8) for eps in (0.0, 0.4))
    outcomes = by_column(ran(tmp_path, "transition/trajectory", **line))
    distance, travel = outcomes["trajectory_distance"], outcomes["relative_travel"]
    assert isinstance(distance, Measured) and isinstance(travel, Measured)
    for row, epoch in zip(distance.details["snapshots"], (1, 2, 4, 8), strict=True):
        gap = np.linalg.norm(adversarial[epoch - 1] - clean[epoch - 1])
        assert (row["epoch"], row["step"]) == (epoch, epoch)
        assert row["ratio"] == pytest.approx(gap / np.linalg.norm(clean[epoch - 1]), rel=1e-4)
    assert travel.value == pytest.approx(np.linalg.norm(adversarial[-1] - clean[-1]) / np.linalg.norm(clean[-1] - theta), rel=1e-4)


DIGITS: dict[str, Any] = {
    "data": "digits:train_limit=100,eval_limit=40",
    "eps": "0.1",
    "attack": "native/fgm",
    "recipe": "quick:epochs=4,select=last",
}


def weights(result: Result, **spec: Any) -> list[Floats]:
    """Parameters of the fits whose specification has these: objective's xi, and the recipe's stop."""
    states = []
    for use in result.fits:
        facts = {"xi": use.record.spec["objective"]["xi"], "stop": use.record.spec["recipe"]["parameters"]["stop"]}
        if facts == spec:
            states.append(load_file(use.weights))
    (state,) = states
    return [state[name].astype(np.float64) for name in sorted(state) if name.endswith(("weight", "bias"))]


def test_snapshots_are_states_of_the_whole_training(tmp_path: Path) -> None:
    """Two epochs of the engine, by hand, on the schedule of four, are the fit that stops after two."""
    result = ran(tmp_path, "transition/trajectory", **DIGITS)
    model, known, data = initial(DIGITS)
    (clean,) = (one for one in known.plan.fits if not one.objective.adversarial)
    torch.manual_seed(clean.seed)
    loop = begin(clean, model, known.catalog.bound("recipe", clean.recipe, Recipe), data, None, "architecture test")
    for stop in (1, 2):
        loop.epoch()
        state = loop.network.state_dict()
        expected = [state[name].double().numpy() for name in sorted(state) if name.endswith(("weight", "bias"))]
        for one, other in zip(weights(result, xi=0, stop=stop), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    distance = by_column(result)["trajectory_distance"]
    assert isinstance(distance, Measured)
    rows = {row["epoch"]: row for row in distance.details["snapshots"]}
    assert list(rows) == [1, 2, 4]
    for epoch, stop in ((1, 1), (2, 2), (4, 0)):
        before, after = (np.concatenate([w.ravel() for w in weights(result, xi=xi, stop=stop)]) for xi in (0, 1))
        assert rows[epoch]["ratio"] == pytest.approx(np.linalg.norm(after - before) / np.linalg.norm(before), rel=1e-6)


def test_a_weak_attack_hardly_leads_astray(tmp_path: Path) -> None:
    typed = [f"transition/trajectory:snapshots=1,eps={eps}" for eps in ("1e-4", "0.05", "0.3")]
    scores = [score for score in ran(tmp_path, *typed, **DIGITS).scores if score.column.name == "trajectory_distance"]
    values = [score.outcome.value for score in scores if isinstance(score.outcome, Measured)]
    assert values == sorted(values) and len(values) == 3
    assert values[0] < 0.1 * values[2]


def test_the_whole_trainings_are_planned_and_shared() -> None:
    plan = prepared("transition/trajectory", "baselines/clean-accuracy", "baselines/robust-accuracy-trained", **DIGITS).plan
    assert (len(plan.fits), plan.requested) == (2, 4)
    assert plan.measurements[0].further == 8
    other = prepared("transition/trajectory:snapshots=1", "baselines/clean-accuracy", **DIGITS | {"recipe": "quick:epochs=4"}).plan
    assert len(other.fits) == 3, "the recipe selects an epoch, the trajectory takes the last"
    assert other.measurements[0].further == 0


def test_given_weights_have_no_trajectory(tmp_path: Path) -> None:
    first = ran(tmp_path, "baselines/clean-accuracy", **DIGITS)
    given = (f"papers/mlp:width=8={first.fits[0].weights}",)
    outcomes = by_column(ran(tmp_path, "transition/trajectory", **DIGITS | {"architectures": None, "weights": given}))
    assert list(outcomes.values()) == [Skipped(GIVEN)] * 3
    assert GIVEN == "the weights were given, and a trajectory needs a training"
