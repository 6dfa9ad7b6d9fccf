"""The linear model's studies against an interior-point method, and the bounds of the theory against what was trained."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interior_point import Floats, minimiser, mixture
from safetensors.numpy import load_file
from sklearn.linear_model import Lasso, Ridge
from torch import nn

from robustradar import Bench, Data, DataError, Fit, Measured, Outcome, Result, Skipped, Task, Threat, UsageError
from robustradar.data import check
from robustradar.numerics import linear
from robustradar.numerics.balls import dual
from robustradar.registry import Request
from robustradar.report.table import text
from robustradar.screening import prepare, rank
from robustradar.training import lbfgs
from robustradar.training.lbfgs import LBFGS
from robustradar.values import Cost, FitRecord, Ref
from robustradar_tradeoff.linear import LinearBounds, metrics
from robustradar_tradeoff.regression import SparseRegression
from robustradar_tradeoff.theory import _to_lasso, _to_ridge, points

XI = (0.001, 0.25, 0.5, 0.75, 0.999)
SMALL = "tradeoff/sparse-regression:n=40,n_eval=50,d=6,nonzero=3"


def run(study: str, store: Path, **changes: Any) -> tuple[Result, dict[str, Outcome]]:
    result = rank(prepare(study, Request(data=SMALL, **changes)), store=store, device="cpu")
    return result, {score.column.name: score.outcome for score in result.scores}


def arrays(data: Data, split: str) -> tuple[Floats, Floats]:
    part = data.splits[split]
    return np.asarray(part.x, dtype=np.float64), np.asarray(part.y, dtype=np.float64)


# The two studies


@pytest.mark.parametrize(
    ("study", "q", "eps", "near"), [("tradeoff/linear-linf", 1, 0.5, "lasso"), ("tradeoff/linear-l2", 2, 1.0, "ridge")]
)
def test_a_study_reaches_the_convex_minimum_and_keeps_to_the_bounds(tmp_path: Path, study: str, q: int, eps: float, near: str) -> None:
    result, found = run(study, tmp_path)
    data = SparseRegression(n=40, n_eval=50, d=6, nonzero=3).load()
    (x, y), (x_eval, y_eval) = arrays(data, "train"), arrays(data, "evaluation")
    star = np.linalg.lstsq(x, y, rcond=None)[0]
    tau = np.linalg.eigvalsh(x.T @ x / len(x))[0]
    thetas = {fit.record.spec["objective"]["xi"]: fit for fit in result.fits}
    assert sorted(thetas) == [0, *XI]
    share, toc = found["linear_residual_share"], found["toc_hypervolume"]
    assert isinstance(share, Measured) and isinstance(toc, Measured)
    assert [point["xi"] for point in share.details["points"]] == list(XI)
    for xi, point, on_curve in zip(XI, share.details["points"], toc.details["curve"], strict=True):
        (theta,) = load_file(thetas[xi].weights)["1.weight"]
        oracle = minimiser(x, y, xi, eps, q)
        assert mixture(theta, x, y, xi, eps, q) == pytest.approx(mixture(oracle, x, y, xi, eps, q), rel=1e-8)
        clean, worst = (mixture(oracle, x_eval, y_eval, weight, eps, q) for weight in (0, 1))
        assert (on_curve["clean_loss"], on_curve["adversarial_loss"]) == pytest.approx((clean, worst), rel=1e-4, abs=1e-6)
        # the recorded losses are the closed form's
        epoch = thetas[xi].record.epochs[-1]
        assert epoch["train_objective_loss"] == pytest.approx(mixture(theta, x, y, xi, eps, q), rel=1e-10)
        assert epoch["evaluation_adversarial_loss"] == pytest.approx(mixture(theta, x_eval, y_eval, 1, eps, q), rel=1e-10)

        bound = math.sqrt(xi) * eps * np.linalg.norm(star, q)
        assert point["residual"] == pytest.approx(np.sqrt(np.mean((y - x @ oracle) ** 2)), rel=1e-3, abs=1e-6)
        assert point["residual_bound"] == pytest.approx(bound, rel=1e-7)
        assert point["error"] == pytest.approx(np.linalg.norm(oracle - star), rel=1e-3, abs=1e-6)
        assert point["error_bound"] == pytest.approx(bound / math.sqrt(tau), rel=1e-7)
        assert point["residual"] <= point["residual_bound"] and point["error"] <= point["error_bound"]
        assert point["nonzero"] == (np.abs(theta) > 1e-6).sum()
        assert (point["norm_1"], point["norm_2"]) == pytest.approx((np.abs(theta).sum(), np.linalg.norm(theta)))
        assert point[f"{near}_distance"] < 0.1

    assert share.value == max(point["residual"] / point["residual_bound"] for point in share.details["points"]) > 0.1
    error = found["linear_error_share"]
    assert isinstance(error, Measured)
    assert error.value == max(point["error"] / point["error_bound"] for point in share.details["points"])
    for name in ("residual", "residual_bound", "error", "error_bound"):
        outcome = found[f"linear_{name}"]
        assert isinstance(outcome, Measured)
        assert outcome.value == share.details["points"][-1][name]
    head = text(result).splitlines()[0]
    assert re.sub(" +", " ", head).endswith(
        "linear residual ↓* linear residual bound linear error ↓* linear error bound linear residual share"
    )


def test_at_small_strength_the_truth_itself_is_the_minimiser(tmp_path: Path) -> None:
    _, found = run("tradeoff/linear-linf", tmp_path, eps="0.1", metrics=("tradeoff/linear-bounds:xi=0.001+0.999",))
    share = found["linear_residual_share"]
    assert isinstance(share, Measured)
    assert share.value < 1e-6
    assert [point["nonzero"] for point in share.details["points"]] == [3, 3]


def excess(p: float, xi: float, eps: float, steps: int) -> float:
    """How far above the minimum, over it, so many steps of the recipes' optimizer end on 50 weights."""
    data = SparseRegression(d=50).load()
    x, y = arrays(data, "train")
    theta = nn.Parameter(0.1 * torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    descent = LBFGS([theta])

    def closure() -> float:
        theta.grad = None
        value = linear.mixture(theta, torch.tensor(x), torch.tensor(y), xi, eps, p)
        value.backward()
        return float(value.detach())

    for _ in range(steps):
        if not descent.step(closure) and not descent.step(closure):
            break
    found, q = np.asarray(theta.detach()), round(dual(p))
    return mixture(found, x, y, xi, eps, q) / mixture(minimiser(x, y, xi, eps, q), x, y, xi, eps, q) - 1


@pytest.mark.parametrize(("p", "eps"), [(math.inf, 0.5), (2.0, 1.0)])
def test_with_fifty_weights_too_the_minimum_is_reached(p: float, eps: float) -> None:
    assert excess(p, 0.999, eps, 600) < 1e-9


def test_pairs_end_higher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lbfgs, "_DENSE", 0)
    assert excess(math.inf, 0.999, 0.5, 600) > 1e-6


# Where the theory says nothing


def bench(x: Any, y: Any, models: dict[str, nn.Module], **facts: Any) -> Bench:
    """Networks as they are, on one split."""
    shape = {"shape": tuple(np.shape(x)[1:]), "outputs": 1, "classes": None, "bounds": None, **facts}
    task = Task(Ref("d", (), "t", "d"), "f", sizes={"train": len(x)}, **shape)
    fits = {name: Fit(model, FitRecord(name, {}, (), 1, Cost(0, 0, 0.0))) for name, model in models.items()}

    class Split(list[Any]):
        def __len__(self) -> int:
            return len(x)

    split = Split([(torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32))])
    threat = Threat(facts.pop("p", math.inf), 0.5, None)
    return Bench(task, threat, fits, {}, {"train": split}, lambda z, y: (z[:, 0] - y).square(), nn.Module, 0)


def affine(*weights: float, intercept: float = 0.0) -> nn.Module:
    model = nn.Linear(len(weights), 1).double()
    model.weight.data, model.bias.data = torch.tensor([weights]).double(), torch.tensor([intercept]).double()
    return model


X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
ONES = affine(1.0, 1.0)
NOT_LINEAR = "the theory is of linear models without an intercept, and this network is none. Use papers/linear:bias=false"


def test_models_by_hand() -> None:
    """y = x (1, 1): at (1, 0) the residuals are 0, 1 and 1, and the least eigenvalue of xᵀx/3 is 1/3."""
    (point,) = points(bench(X, [1.0, 1, 2], {"clean": ONES, "0.25": affine(1, 0)}), (0.25,))
    assert not isinstance(point, str)
    assert point.residual == pytest.approx(math.sqrt(2 / 3))
    assert point.residual_bound == pytest.approx(0.5 * 0.5 * 2)
    assert point.error == pytest.approx(1)
    assert point.error_bound == pytest.approx(0.5 * math.sqrt(3))


@pytest.mark.parametrize(
    ("y", "models", "reason"),
    [
        ([1, 1, 2], {"clean": ONES, "0.5": affine(1, 1, intercept=0.1)}, NOT_LINEAR),
        ([1, 1, 2], {"clean": nn.Sequential(ONES, nn.Tanh()), "0.5": ONES}, NOT_LINEAR),
        (
            [1, 1, 1],
            {"clean": affine(2 / 3, 2 / 3), "0.5": ONES},
            "the theory is of data without noise, got a clean fit with a residual of 0.33 of the targets. Use noise=0, and a recipe with "
            "optimizer=lbfgs,weight_decay=0",
        ),
        ([0, 0, 0], {"clean": affine(0, 0), "0.5": affine(0, 0)}, "all targets or ε are 0, and so are the bounds"),
    ],
)
def test_what_the_theory_is_not_about_is_skipped(y: Any, models: dict[str, nn.Module], reason: str) -> None:
    for metric in metrics():
        wanted = LinearBounds(xi=(0.5,)) if isinstance(metric, LinearBounds) else type(metric)(**{**vars(metric), "xi": 0.5})
        assert wanted.measure(bench(X, y, models)) == {column.name: Skipped(reason) for column in wanted.columns}


@pytest.mark.parametrize(
    ("facts", "got"),
    [
        ({"classes": 2, "outputs": 2}, "2 classes"),
        ({"outputs": 3}, "3 targets"),
        ({"bounds": (0.0, 1.0)}, "inputs within [0.0, 1.0]"),
    ],
)
def test_other_tasks_are_skipped_before_anything_is_trained(facts: dict[str, Any], got: str) -> None:
    there = bench(X, [1, 1, 2], {}, **facts)
    metric = LinearBounds()
    assert metric.needs(there.task, there.threat).fits == {}
    reason = f"the theory is of regression with one target and no box, got {got}"
    assert metric.measure(there)["linear_residual_share"] == Skipped(reason)


def test_given_weights_are_skipped() -> None:
    same = Fit(ONES, FitRecord("k", {}, (), 1, Cost(0, 0, 0.0)))
    there = bench(X, [1, 1, 2], {})
    given = Bench(**{**vars(there), "fits": {"clean": same, "0.5": same}})
    assert points(given, (0.5,)) == "the weights were given, and the theory is about those of every ξ"


def test_with_fewer_samples_than_inputs_only_the_residual_is_bounded() -> None:
    there = bench(X[:1], [1.0], {"clean": affine(1, 0), "0.5": affine(0.5, 0)})
    found = LinearBounds(xi=(0.5,)).measure(there)
    assert isinstance(found["linear_residual_share"], Measured)
    reason = "got fewer samples than inputs, where the least eigenvalue is 0 and the bound of the error is void"
    assert found["linear_error_share"] == Skipped(reason)
    (part,) = (metric for metric in metrics() if metric.name == "linear-error-bound")
    assert type(part)(**{**vars(part), "xi": 0.5}).measure(there) == {"linear_error_bound": Skipped(reason)}


@pytest.mark.parametrize("xi", ["0", "1.5", "0.5+-1"])
def test_weights_outside_their_range_are_refused(xi: str) -> None:
    with pytest.raises(UsageError, match="xi"):
        prepare("tradeoff/linear-linf", Request(data=SMALL, metrics=(f"tradeoff/linear-bounds:xi={xi}",)))


# The paths that Theorem 2 speaks of


@pytest.mark.parametrize(
    ("solution", "distance"),
    [
        (lambda x, y: Lasso(alpha=0.3, fit_intercept=False, tol=1e-10).fit(x, y).coef_, _to_lasso),
        (lambda x, y: Ridge(alpha=10.0, fit_intercept=False).fit(x, y).coef_, _to_ridge),
    ],
)
def test_a_solution_lies_on_its_path_and_others_do_not(solution: Callable[[Floats, Floats], Floats], distance: Any) -> None:
    x, y = arrays(SparseRegression(d=6, nonzero=3).load(), "train")
    theta = solution(x, y)
    assert distance(theta, x, y) < 1e-3
    aside = np.linalg.svd(theta[None])[2][-1]  # orthogonal
    assert 0.05 < distance(theta + aside, x, y) <= 1 / math.sqrt(3) + 1e-3
    assert distance(np.zeros(6), x, y) < 1e-3


# The data


def test_targets_are_the_sparse_models_to_the_bit() -> None:
    data = SparseRegression(n=50, d=30, nonzero=7, seed=3).load()
    check(data, "data")
    assert (data.bounds, data.classes) == (None, None)
    assert {name: split.x.shape for name, split in data.splits.items()} == {
        "train": (50, 30),
        "evaluation": (1000, 30),
        "final": (1000, 30),
    }
    star = np.round(np.linalg.lstsq(data.train.x, data.train.y, rcond=None)[0])
    assert sorted(np.abs(star)) == [0] * 23 + [1] * 7
    for split in data.splits.values():
        np.testing.assert_array_equal(split.y, split.x.astype(np.float64) @ star.astype(np.float64))
        assert split.x.dtype == split.y.dtype == np.float32
        assert abs(split.x.std() - 1) < 0.05


def test_the_data_are_the_same_everywhere_and_others_for_another_seed() -> None:
    first = SparseRegression(d=3, nonzero=2).load().train
    assert (first.x[0] * 4096).tolist() == [4009, 9179, 7650]
    assert not np.array_equal(first.x, SparseRegression(d=3, nonzero=2, seed=1).load().train.x)


def test_noise_has_its_deviation() -> None:
    quiet, noisy = (SparseRegression(n=2000, noise=noise).load() for noise in (0.0, 0.5))
    star = np.linalg.lstsq(quiet.train.x, quiet.train.y, rcond=None)[0]
    assert np.std(noisy.train.y - noisy.train.x @ star) == pytest.approx(0.5, rel=0.05)


def test_more_inputs_that_count_than_there_are_is_refused() -> None:
    message = "tradeoff/sparse-regression: got nonzero=5, expected at most d=3. Lower the one or raise the other."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        SparseRegression(d=3).load()
