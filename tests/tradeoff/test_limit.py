"""[T, Theorem 1] through the whole product: as ε → 0, what adversarial training does to converged networks is what IFA predicted."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from small_studies import Lab

from robustradar import Measured, Result

STRENGTHS = (0.005, 0.002, 0.0005)
# At the smallest strength: how far from IFA in its lengths, how far Δ's ratio from 1, and the least cosine.
IFA_OFF, DELTA_OFF, COSINE = 0.01, 0.1, 0.9999


@dataclass(frozen=True)
class Case:
    """A network, its data, an attack that finds the worst case of small ε, and λ of training's λ/2·‖θ‖²."""

    architecture: str
    kind: str
    attack: str
    ridge: float

    def __str__(self) -> str:
        return f"{self.architecture.partition(':')[0]} {self.kind} ridge={self.ridge:g}"


# The gradient of a smooth loss is the same all over a small ball to first order, so that PGD from its centre ends where it is largest.
CASES = (
    Case("papers/linear", "classes", "native/linear-exact", 0.0),
    Case("papers/linear", "classes", "native/linear-exact", 0.05),
    Case("papers/linear", "line", "native/linear-exact", 0.0),
    Case("papers/quadratic:width=2", "square", "native/pgd:random_start=false", 0.05),
    Case("papers/two-layer:width=2,scale=1,activation=softplus", "classes", "native/pgd:random_start=false", 0.05),
)


def data(lab: Lab, kind: str) -> str:
    """Noisy targets of three features, without a box. Both splits are the same samples, so that prices are those of the training loss."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 3)).astype(np.float32)
    u = x @ np.array([1.0, -0.5, 0.25])
    v = x @ np.array([0.1, 0.6, -0.4])
    y = (u**2 - v**2 / 2 if kind == "square" else u) + 0.7 * rng.standard_normal(80)
    targets = (y > 0).astype(np.int64) if kind == "classes" else y.astype(np.float32)
    return lab.data(x_train=x, y_train=targets, x_test=x, y_test=targets)


def run(lab: Lab, case: Case, norm: str, eps: float) -> tuple[dict[str, float], Result]:
    """Values of both metrics at a strength, from fits at their minimum, without damping to speak of."""
    result = lab.result(
        "tradeoff/delta:warm=true,damping=1e-9",
        "tradeoff/influence:damping=1e-9",
        architectures=(case.architecture,),
        data=data(lab, case.kind),
        norm=norm,
        eps=str(eps),
        attack=case.attack,
        recipe=f"quick:optimizer=lbfgs,tolerance=1e-8,weight_decay={case.ridge},epochs=20",
    )
    found = {(s.metric.partition(":")[0], s.column.name): s.outcome for s in result.scores}
    return {f"{m.removeprefix('tradeoff/')} {name}": o.value for (m, name), o in found.items() if isinstance(o, Measured)}, result


def off(found: dict[str, float]) -> float:
    """norm(d/ε − IFA)/norm(IFA), from the cosine c and the lengths' ratio r."""
    c, r = found["delta ifa_cosine"], found["delta ifa_length_ratio"]
    return math.sqrt(max(0.0, 1 / r**2 - 2 * c / r + 1))


def theta(result: Result) -> list[NDArray[np.float64]]:
    """The stored parameters of the clean and of the adversarial fit."""
    fits = sorted(result.fits, key=lambda fit: fit.record.spec["objective"]["xi"])
    states = [load_file(fit.weights) for fit in fits]
    return [np.concatenate([v.ravel() for name, v in sorted(state.items()) if name != "a"]) for state in states]


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_training_answers_a_small_attack_as_ifa_predicted(lab: Lab, case: Case, norm: str) -> None:
    errors, ratios = [], []
    for eps in STRENGTHS:
        found, result = run(lab, case, norm, eps)
        before, after = theta(result)
        ifa_norm = found["influence ifa_norm"]
        assert found["delta ifa_length_ratio"] == pytest.approx(eps * ifa_norm / np.linalg.norm(after - before), rel=1e-6)
        errors.append(off(found))
        # With a ridge the price that IFA predicts is that of the whole objective, whose gradient is zero at the clean fit.
        exact = found["delta delta_exact"] + case.ridge / 2 * (after @ after - before @ before)
        ratios.append((found["influence delta_influence"] + case.ridge / 2 * (eps * ifa_norm) ** 2) / exact)
    assert all(fit.record.flags == () for fit in result.fits), "both networks are at their minimum"
    assert errors[0] > errors[1] > errors[2], "what IFA leaves out is of second order"
    assert errors[2] < IFA_OFF
    assert found["delta ifa_cosine"] > COSINE, "the sign, too"
    assert ratios[2] == pytest.approx(1, abs=DELTA_OFF)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_with_a_ridge_the_price_is_of_first_order(lab: Lab, norm: str) -> None:
    found, _ = run(lab, CASES[1], norm, STRENGTHS[2])
    assert found["influence delta_first_order"] / found["delta delta_exact"] == pytest.approx(1, abs=0.01)
    assert found["influence delta_influence"] / found["delta delta_exact"] < 0.01
