"""The metric tradeoff/delta: exact prices, and derivatives along what training moved, against torch in float64 from the stored weights."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_studies import Lab, by_column, overlapping
from torch import Tensor
from torch.nn import functional

from robustradar import Measured, Outcome, Result, Skipped
from robustradar.numerics import influence as numerics
from robustradar.numerics.influence import Influence, Settings, influence
from robustradar.numerics.problem import Problem
from robustradar.values import FitSpec

COLUMNS = {"delta_exact", "delta_exact_accuracy", "delta_quadratic", "delta_first_order", "ifa_cosine", "ifa_length_ratio"}
BRIEF: dict[str, Any] = {"architectures": ("papers/mlp:width=4,depth=1,activation=tanh",), "eps": "0.2", "recipe": "quick:epochs=4"}
DIGITS: dict[str, Any] = {
    "data": "digits:train_limit=200,eval_limit=100",
    "eps": "0.05",
    "recipe": "quick:epochs=2",
    "architectures": ("papers/mlp:width=8,depth=1",),
}


def measured(outcome: Outcome) -> Measured:
    assert isinstance(outcome, Measured), outcome
    return outcome


def values(outcomes: Mapping[str, Outcome]) -> dict[str, float]:
    return {name: outcome.value for name, outcome in outcomes.items() if isinstance(outcome, Measured)}


def apart(regression: bool = False) -> dict[str, Any]:
    """Splits that differ."""
    return overlapping(regression=regression) | {k: overlapping(40, regression=regression, seed=1)[k] for k in ("x_test", "y_test")}


class Pair:
    """The clean and the adversarial network of a study, by hand in float64: standardised inputs and one hidden layer."""

    def __init__(self, result: Result, arrays: Mapping[str, Any], sigma: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        fits = sorted(result.fits, key=lambda fit: fit.record.spec["objective"]["xi"])
        states = [{name: value.double() for name, value in load_file(fit.weights).items()} for fit in fits]
        self.buffers = {name.rpartition(".")[2]: value for name, value in states[0].items() if name.endswith(("mean", "std"))}
        kept = [[v for name, v in sorted(state.items()) if not name.endswith(("mean", "std"))] for state in states]
        self.shapes = [value.shape for value in kept[0]]
        self.clean, self.adversarial = (torch.cat([value.flatten() for value in state]) for state in kept)
        self.sigma = sigma
        found = {name: torch.from_numpy(value) for name, value in arrays.items()}
        self.train, self.test = ((found[f"x_{split}"].double(), found[f"y_{split}"]) for split in ("train", "test"))

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        sizes = [math.prod(shape) for shape in self.shapes]
        b, W, a, V = (part.view(shape) for part, shape in zip(theta.split(sizes), self.shapes, strict=True))
        z = (x - self.buffers["mean"]) / self.buffers["std"]
        return self.sigma(z @ W.T + b) @ V.T + a

    def losses(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        z = self.outputs(theta, x)
        return (z[:, 0] - y).square() if y.is_floating_point() else functional.cross_entropy(z, y, reduction="none")

    def wrong(self, theta: Tensor) -> Tensor:
        x, y = self.test
        return (self.outputs(theta, x).argmax(1) != y).double()

    @property
    def moved(self) -> Tensor:
        return self.adversarial - self.clean

    def derivatives(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient [d] and Hessian [d, d] of the clean network's mean loss."""

        def mean(theta: Tensor) -> Tensor:
            return self.losses(theta, x, y).mean()

        return torch.func.grad(mean)(self.clean), torch.func.hessian(mean)(self.clean)

    def quadratic(self) -> tuple[float, float]:
        """∇α·d and dᵀH_e d / 2."""
        g, H = self.derivatives(*self.test)
        return float(g @ self.moved), float(self.moved @ H @ self.moved / 2)


# Numbers


@pytest.mark.parametrize("regression", [False, True])
def test_the_price_is_what_both_networks_lose(lab: Lab, regression: bool) -> None:
    arrays = apart(regression)
    result = lab.result("tradeoff/delta", data=lab.data(**arrays), **BRIEF)
    found, pair = by_column(result), Pair(result, arrays)
    assert set(found) == COLUMNS
    exact = measured(found["delta_exact"])
    expected = pair.losses(pair.adversarial, *pair.test) - pair.losses(pair.clean, *pair.test)
    np.testing.assert_allclose(exact.samples, expected, atol=1e-5)
    assert exact.value == pytest.approx(float(expected.mean()), abs=1e-6)
    assert exact.details["n"] == 40
    assert exact.low is not None and exact.high is not None
    assert exact.high - exact.low == pytest.approx(2 * 1.96 * float(expected.std()) / math.sqrt(40), rel=0.25)
    if regression:
        assert found["delta_exact_accuracy"] == Skipped("an accuracy needs classes, and the data are regression")
    else:
        lost = measured(found["delta_exact_accuracy"])
        np.testing.assert_array_equal(lost.samples, pair.wrong(pair.adversarial) - pair.wrong(pair.clean))
        assert lost.value == pytest.approx(lost.samples.mean())

    slope, half = pair.quadratic()
    assert values(found)["delta_quadratic"] == pytest.approx(half, rel=1e-4)
    assert values(found)["delta_first_order"] == pytest.approx(slope + half, rel=1e-3, abs=1e-6)
    for name in ("delta_quadratic", "delta_first_order"):
        part = measured(found[name])
        assert part.samples.mean() == pytest.approx(part.value, abs=1e-12)
        assert part.low is not None and part.high is not None
        assert part.low <= part.value <= part.high


def test_it_is_the_difference_of_the_losses_that_other_metrics_show(lab: Lab) -> None:
    metrics = ("tradeoff/delta", "baselines/clean-accuracy", "tradeoff/toc:xi=0+1")
    result = lab.result(*metrics, data=lab.data(**apart()), **BRIEF)
    assert len(result.fits) == 2, "all of them share the two networks"
    found = values(by_column(result))
    assert found["delta_exact"] == pytest.approx(found["price"], abs=1e-6)
    assert found["delta_exact_accuracy"] == pytest.approx(found["price_accuracy"], abs=1e-9)


def test_a_small_move_needs_no_third_order(lab: Lab) -> None:
    recipe = "quick:optimizer=lbfgs,weight_decay=0.1,tolerance=1e-7"
    for eps, error in (("0.1", 0.2), ("0.01", 0.02)):
        found = values(lab.run("tradeoff/delta:warm=true", data=lab.data(**apart()), **BRIEF | {"recipe": recipe, "eps": eps}))
        assert found["delta_first_order"] == pytest.approx(found["delta_exact"], rel=error)
        assert found["delta_quadratic"] > 0


SILU = """
import math

import robustradar
from torch import nn


def silu(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 4), nn.SiLU(), nn.Linear(4, outputs))


@robustradar.hookimpl
def robustradar_architectures():
    return (robustradar.architecture(silu),)
"""


def test_where_samples_have_no_derivatives_their_mean_has(lab: Lab) -> None:
    (lab.root / "smooth.py").write_text(SILU)
    arrays = apart()
    study = BRIEF | {"architectures": ("smooth/silu",), "plugins": [str(lab.root / "smooth.py")]}
    result = lab.result("tradeoff/delta", data=lab.data(**arrays), **study)
    found, pair = by_column(result), Pair(result, arrays, functional.silu)
    slope, half = pair.quadratic()
    assert values(found)["delta_quadratic"] == pytest.approx(half, rel=1e-4)
    assert values(found)["delta_first_order"] == pytest.approx(slope + half, rel=1e-3)
    for name in ("delta_quadratic", "delta_first_order"):
        part = measured(found[name])
        assert (part.low, part.high, part.samples) == (None, None, None)
        assert not any(flag.startswith("curvature") for flag in part.flags), "double backward is exact"


# What ε·IFA predicted


def test_the_move_is_compared_with_ifa(lab: Lab) -> None:
    arrays = apart()
    data = lab.data(**arrays)
    study = BRIEF | {"norm": "l2"}
    result = lab.result("tradeoff/delta:damping=0.7", data=data, **study)
    found, pair = by_column(result), Pair(result, arrays)
    x, y = pair.train
    x.requires_grad_()
    theta = pair.clean.clone().requires_grad_()
    (g,) = torch.autograd.grad(pair.losses(theta, x, y).sum(), x, create_graph=True)
    (Phi,) = torch.autograd.grad(g.norm(dim=1).mean(), theta)
    _, H = pair.derivatives(x.detach(), y)
    ifa = -torch.linalg.solve(H + 0.7 * torch.eye(len(H), dtype=H.dtype), Phi)
    cosine, ratio = (measured(found[name]) for name in ("ifa_cosine", "ifa_length_ratio"))
    assert cosine.value == pytest.approx(float(functional.cosine_similarity(ifa, pair.moved, dim=0)), abs=1e-3)
    assert ratio.value == pytest.approx(float(0.2 * ifa.norm() / pair.moved.norm()), rel=1e-3)
    lengths = {"distance": float(pair.moved.norm()), "ifa_norm": float(ifa.norm()), "damping": 0.7}
    assert cosine.details == ratio.details == pytest.approx(lengths, rel=1e-3)
    assert (cosine.low, cosine.samples) == (None, None)


def test_the_comparison_has_the_flags_of_the_analysis(lab: Lab) -> None:
    result = lab.result("tradeoff/influence", "tradeoff/delta", **DIGITS)
    found = by_column(result)
    flags = measured(found["phi_norm"]).flags
    assert any(flag.startswith("damping-raised") for flag in flags)
    for name in ("ifa_cosine", "ifa_length_ratio"):
        assert measured(found[name]).flags == flags
    assert not any(flag.startswith("damping-raised") for flag in measured(found["delta_exact"]).flags)


def test_an_indefinite_hessian_leaves_the_prices(lab: Lab) -> None:
    found = lab.run("tradeoff/delta:damping=1e-6", **DIGITS)
    shown = lab.run("tradeoff/influence:damping=1e-6", **DIGITS)
    assert isinstance(shown["ifa_norm"], Skipped)
    assert "H_t + μI is indefinite at damping=1e-06: " in shown["ifa_norm"].reason
    assert found["ifa_cosine"] == found["ifa_length_ratio"] == shown["ifa_norm"]
    assert set(values(found)) == {"delta_exact", "delta_exact_accuracy", "delta_quadratic", "delta_first_order"}


def test_without_strength_there_is_no_price(lab: Lab) -> None:
    found = lab.run("tradeoff/delta", data=lab.data(**apart()), **BRIEF | {"eps": "0"})
    for name in ("delta_exact", "delta_exact_accuracy", "delta_quadratic", "delta_first_order"):
        outcome = measured(found[name])
        assert (outcome.value, outcome.low, outcome.high) == (0, 0, 0)
    reason = Skipped("nothing to predict: eps is 0, or both networks are the same")
    assert found["ifa_cosine"] == found["ifa_length_ratio"] == reason


# Shared work


@pytest.fixture
def analyses(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of every analysis that is made."""
    made: list[Settings] = []

    def counted(train: Problem, evaluation: Problem, settings: Settings) -> Influence:
        made.append(settings)
        return influence(train, evaluation, settings)

    monkeypatch.setattr(numerics, "influence", counted)
    return made


def test_both_metrics_share_one_analysis(lab: Lab, analyses: list[Settings]) -> None:
    found = by_column(lab.result("tradeoff/influence", "tradeoff/delta", data=lab.data(**apart()), **BRIEF))
    assert len(analyses) == 1
    details = measured(found["ifa_cosine"]).details
    assert details["ifa_norm"] == pytest.approx(measured(found["ifa_norm"]).value, rel=1e-6)
    assert details["damping"] == measured(found["phi_norm"]).details["damping"]


@pytest.mark.parametrize(
    ("parameter", "count"), [("damping=1", 2), ("limit=10", 2), ("box=false", 1), ("residual=1e-3", 2), ("warm=true", 1)]
)
def test_what_differs_is_analysed_twice(lab: Lab, analyses: list[Settings], parameter: str, count: int) -> None:
    lab.result("tradeoff/influence", f"tradeoff/delta:{parameter}", data=lab.data(**apart()), **BRIEF)
    assert len(analyses) == count, "data without a box have none to leave out"


def test_graphs_that_are_not_kept_give_the_same_numbers(lab: Lab) -> None:
    kept, anew = (lab.run(f"tradeoff/delta:memory={memory}", **DIGITS) for memory in (2, 0))
    assert set(values(kept)) == COLUMNS
    assert values(anew) == pytest.approx(values(kept), rel=1e-4)


def test_a_limit_holds_for_derivatives_and_not_for_what_is_exact(lab: Lab) -> None:
    data = lab.data(**apart())
    everything, some = (lab.run(f"tradeoff/delta:limit={limit}", data=data, **BRIEF) for limit in (0, 10))
    assert some["delta_exact"] == everything["delta_exact"]
    quadratic = measured(some["delta_quadratic"])
    assert (quadratic.details["n"], len(quadratic.samples)) == (10, 10)
    whole = measured(everything["delta_quadratic"])
    np.testing.assert_allclose(quadratic.samples, whole.samples[::4], rtol=1e-4, atol=1e-8)


# Splits, weights, plans


def test_other_splits_are_in_the_details(lab: Lab) -> None:
    found = lab.run("tradeoff/delta", **DIGITS)
    for name in ("delta_exact", "delta_exact_accuracy"):
        details = measured(found[name]).details
        assert set(details) == {"n", "train", "final"}
        assert len({measured(found[name]).value, details["train"], details["final"]}) > 1
        assert "selected-on-evaluation" not in measured(found[name]).flags
    arrays = overlapping()
    same = measured(lab.run("tradeoff/delta", data=lab.data(**arrays), **BRIEF)["delta_exact"])
    assert same.details == {"n": 60, "train": pytest.approx(same.value)}


def test_given_weights_have_no_counterpart(lab: Lab) -> None:
    data = lab.data(**overlapping())
    trained = lab.result("baselines/clean-accuracy", data=data, recipe="quick:epochs=1")
    given = [f"papers/linear={trained.fits[0].weights}"]
    found = lab.run("tradeoff/delta", data=data, architectures=None, weights=given)
    assert found == dict.fromkeys(COLUMNS, Skipped("the weights were given, and Δ needs a clean and an adversarial network"))


def test_the_two_networks_are_planned(lab: Lab) -> None:
    data = lab.data(**overlapping())
    clean, adversarial = planned(lab, "tradeoff/delta", data)
    assert [str(spec.objective) for spec in (clean, adversarial)] == ["clean", "adversarial"]
    assert adversarial.start is None
    assert adversarial.attack is not None
    assert adversarial.attack.id == "native/pgd"
    _, warm = planned(lab, "tradeoff/delta:warm=true,inner=native/fgsm", data)
    assert warm.start == clean
    assert warm.attack is not None
    assert warm.attack.id == "native/fgsm"


def planned(lab: Lab, metric: str, data: str) -> list[FitSpec]:
    """The clean and the adversarial fit of a plan."""
    return sorted(lab.prepare(metric, data=data).plan.fits, key=lambda spec: spec.objective.xi)
