"""The critical attack strength of linear regression, where every loss has a closed form: each method against SciPy's minimum."""

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnosis import ran
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.optimize import brentq, minimize

from robustradar import Measured, Outcome, Result, Skipped
from robustradar_tradeoff.regression import SparseRegression

Floats = NDArray[np.float64]

PARAMETERS = {"n": 24, "n_eval": 100, "d": 8, "nonzero": 3, "noise": 0.5}
DATA = "tradeoff/sparse-regression:" + ",".join(f"{name}={value}" for name, value in PARAMETERS.items())
STUDY: dict[str, Any] = {
    "data": DATA,
    "architectures": ("papers/linear:bias=false",),
    "attack": "native/linear-exact",
    "eps": "0.1",
    "recipe": "quick:optimizer=lbfgs,weight_decay=0,epochs=8",
}
METHODS = ("scratch", "scratch,warm=true", "fast", "hermite", "expansion,damping=1e-9")
TRAINED = METHODS[:4]


def arrays(split: str) -> tuple[Floats, Floats]:
    part = SparseRegression(**PARAMETERS).load().splits[split]  # type: ignore[arg-type]
    return np.asarray(part.x, dtype=np.float64), np.asarray(part.y, dtype=np.float64)


def adversarial(theta: Floats, eps: float, q: int) -> Floats:
    """The training losses: (|r| + ε‖θ‖_q)²."""
    x, y = arrays("train")
    return (np.abs(y - x @ theta) + eps * np.linalg.norm(theta, q)) ** 2  # type: ignore[no-any-return]


@functools.cache
def clean() -> Floats:
    x, y = arrays("train")
    found: Floats = np.linalg.lstsq(x, y, rcond=None)[0]
    return found


@functools.cache
def threshold() -> float:
    x, y = arrays("evaluation")
    return float(np.mean((y - x @ clean()) ** 2))


@functools.cache
def least(eps: float, q: int) -> float:
    """The least adversarial training loss: by Newton steps on a loss whose kinks are rounded off, less and less."""
    x, y = arrays("train")
    theta, d = clean(), x.shape[1]

    def rounded(theta: Floats, h: float) -> tuple[float, Floats, Floats]:
        r = y - x @ theta
        a = np.sqrt(r**2 + h**2)
        J = -(r / a)[:, None] * x
        if q == 2:
            size = math.sqrt(theta @ theta + h**2)
            slope, bend = theta / size, np.eye(d) / size - np.outer(theta, theta) / size**3
        else:
            sizes = np.sqrt(theta**2 + h**2)
            size, slope, bend = float(sizes.sum()), theta / sizes, np.diag(h**2 / sizes**3)
        u, J = a + eps * size, J + eps * slope
        H = (J.T @ J + (x.T * (u * h**2 / a**3)) @ x + eps * u.sum() * bend) * 2 / len(y)
        return float(np.mean(u**2)), 2 / len(y) * J.T @ u, H

    for h in 10.0 ** -np.arange(1, 8):
        found = minimize(
            lambda t, h=h: rounded(t, h)[:2], theta, jac=True, hess=lambda t, h=h: rounded(t, h)[2], method="trust-exact",
            options={"gtol": 1e-9, "maxiter": 200},
        )  # fmt: skip
        theta = found.x
    return float(adversarial(theta, eps, q).mean())


@functools.cache
def critical(q: int) -> float:
    """eps_star."""
    return float(brentq(lambda eps: least(eps, q) - threshold(), 1e-3, 1.0, xtol=1e-9))


def lower(q: int) -> float:
    """Where the clean weights reach the threshold."""
    return float(brentq(lambda eps: adversarial(clean(), eps, q).mean() - threshold(), 1e-4, 1.0, xtol=1e-12))


@pytest.fixture(scope="module", params=[2, 1], ids=["l2", "linf"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, dict[str, Outcome]], Result]:
    """The dual norm's order, and each method's outcomes; from scratch only once, as that takes long."""
    methods = METHODS if request.param == 2 else METHODS[1:]
    metrics = tuple(f"transition/eps-star:method={method}" for method in methods)
    result = ran(tmp_path_factory.mktemp("linear"), *metrics, **STUDY, norm={2: "l2", 1: "linf"}[request.param])
    labels = dict(zip((metric.label for metric in result.study.metrics), methods, strict=True))
    outcomes: dict[str, dict[str, Outcome]] = {method: {} for method in methods}
    for score in result.scores:
        outcomes[labels[score.metric]][score.column.name] = score.outcome
    return request.param, outcomes, result


def value(outcome: Outcome) -> Measured:
    assert isinstance(outcome, Measured), outcome
    return outcome


Found = tuple[int, dict[str, dict[str, Outcome]], Result]


def test_every_training_gets_to_the_minimum(found: Found) -> None:
    """Also where it lies on a kink, so that the gradient does not vanish there and the fit is flagged."""
    q, outcomes, _ = found
    for method in set(TRAINED) & set(outcomes):
        outcome = value(outcomes[method]["eps_star"])
        points = outcome.details["points"]
        assert [loss for _, loss in points[1:]] == pytest.approx([least(eps, q) for eps, _ in points[1:]], rel=1e-5)
        assert points[0] == [0.0, pytest.approx(adversarial(clean(), 0, q).mean())]
        assert outcome.details["threshold"] == pytest.approx(threshold(), rel=1e-6)


def test_searches_meet_the_critical_strength(found: Found) -> None:
    q, outcomes, _ = found
    for method in set(TRAINED[:3]) & set(outcomes):
        outcome = value(outcomes[method]["eps_star"])
        assert (outcome.details["status"], outcome.details["fit"]) == ("measured", "isotonic")
        strengths = [eps for eps, _ in outcome.details["points"]]
        assert max(eps for eps in strengths if eps <= outcome.value) < critical(q) < min(eps for eps in strengths if eps > outcome.value)
        assert outcome.value == pytest.approx(critical(q), rel=0.001 if "scratch" in method else 0.01)
        assert len(strengths) - 1 <= (3 if method == "fast" else 5)
        if "scratch" in method:
            assert outcome.value == pytest.approx(value(outcomes[TRAINED[1]]["eps_star"]).value, rel=1e-6)


def test_hermite_has_the_exact_slope(found: Found) -> None:
    q, outcomes, _ = found
    outcome = value(outcomes["hermite"]["eps_star"])
    x, y = arrays("train")
    slope = 2 * np.abs(y - x @ clean()).mean() * np.linalg.norm(clean(), q)
    (_, start), (eps, loss) = outcome.details["points"]
    assert outcome.details["coefficients"] == pytest.approx([start, slope, (loss - start - slope * eps) / eps**2], rel=1e-6)
    R, S, A = outcome.details["coefficients"]
    assert outcome.value == pytest.approx((-S + math.sqrt(S**2 + 4 * A * (threshold() - R))) / (2 * A), rel=1e-6)
    assert outcome.value == pytest.approx(critical(q), rel=0.02)


def test_the_expansion_is_near(found: Found) -> None:
    q, outcomes, _ = found
    assert value(outcomes["expansion,damping=1e-9"]["eps_star"]).value == pytest.approx(critical(q), rel=0.15)


def test_the_bound_is_on_the_safe_side_of_the_clean_models_crossing(found: Found) -> None:
    q, outcomes, _ = found
    bounds = {value(columns["eps_star_bound"]).value for columns in outcomes.values()}
    assert len(bounds) == 1
    bound = value(outcomes["fast"]["eps_star_bound"])
    assert bound.details["points"] == [
        [eps, pytest.approx(adversarial(clean(), eps, q).mean(), rel=1e-6)] for eps, _ in bound.details["points"]
    ]
    assert 0.98 * lower(q) < bound.value <= lower(q) < critical(q)
    assert len(bound.details["points"]) <= 5
    for columns in outcomes.values():
        details = value(columns["eps_star"]).details
        assert (details["bound"], details["bound_low"], details["bound_high"]) == (bound.value, bound.low, bound.high)


def test_the_interval_of_the_bound_is_no_better_than_that_of_eps_star(found: Found) -> None:
    """The same bootstrap of both splits: a draw's bound is not above its eps_star, and neither is their quantile."""
    _, outcomes, _ = found
    star, bound = value(outcomes["fast"]["eps_star"]), value(outcomes["fast"]["eps_star_bound"])
    assert star.low is not None and bound.low is not None
    assert bound.low < 1.1 * star.low < star.value, "up to the links between other strengths"


def test_methods_share_their_networks(found: Found) -> None:
    """L-BFGS knows no rate and no epochs: fine-tuning is training from the clean weights."""
    _, outcomes, result = found
    trained = set(TRAINED) & set(outcomes)
    keys = {method: {fit["key"] for fit in value(outcomes[method]["eps_star"]).details["fits"]} for method in trained}
    assert keys["hermite"] < keys["fast"] < keys["scratch,warm=true"]
    assert not keys.get("scratch", set()) & keys["scratch,warm=true"]
    assert len(result.fits) == 1 + len(set.union(*keys.values()))
    for method in set(TRAINED) & set(outcomes):
        details = value(outcomes[method]["eps_star"]).details
        assert (details["recipe"], details["range_test"]) == ({}, {})
    (fit,) = (fit for fit in result.fits if fit.record.spec["objective"]["xi"] == 0)
    assert load_file(fit.weights)["1.weight"][0] == pytest.approx(clean(), rel=1e-5, abs=1e-7)


def test_confounders(found: Found) -> None:
    q, outcomes, _ = found
    columns = outcomes["fast"]
    loss, gap = value(columns["clean_evaluation_loss"]), value(columns["generalisation_gap"])
    assert loss.value == pytest.approx(threshold(), rel=1e-6)
    x, y = arrays("evaluation")
    error = np.std((y - x @ clean()) ** 2) / 10
    assert [loss.low, loss.high] == pytest.approx([threshold() - 1.96 * error, threshold() + 1.96 * error], rel=0.1)
    assert gap.value == pytest.approx(threshold() - adversarial(clean(), 0, q).mean(), rel=1e-6)
    assert columns["clean_evaluation_accuracy"] == Skipped("an accuracy needs classes, and the data are regression")


@pytest.mark.parametrize("method", ["scratch", "fast", "hermite", "expansion"])
def test_a_training_loss_above_the_threshold_has_no_strength(method: str, tmp_path: Path) -> None:
    data = "tradeoff/sparse-regression:n=40,n_eval=50,d=6,nonzero=3,noise=0.5"
    result = ran(tmp_path, f"transition/eps-star:method={method}", **STUDY | {"data": data}, norm="l2")
    outcomes = {score.column.name: score.outcome for score in result.scores}
    reason = "below-zero: the training loss at strength 0 is above the clean evaluation loss, 0.2192, already"
    assert outcomes["eps_star"] == outcomes["eps_star_bound"] == Skipped(reason)
    assert value(outcomes["generalisation_gap"]).value < 0
    assert len(result.fits) == 1


def test_objectives_of_classes_do_not_apply(tmp_path: Path) -> None:
    for objective in ("trades", "mart"):
        result = ran(tmp_path, f"transition/eps-star:objective={objective}", **STUDY, norm="l2")
        reason = f"{objective} needs classes, and the data are regression"
        assert [score.outcome for score in result.scores] == [Skipped(reason)] * 5
