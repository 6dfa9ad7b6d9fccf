"""The unstable strength: by hand, and where training with one-step attacks does collapse."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diagnosis import bench, by_column, fit, prepared, ran
from torch import Tensor, nn

from robustradar import Attacked, AttackNeed, Measured, Outcome, Skipped, Task, Threat, UsageError
from robustradar.numerics.agreement import wilson
from robustradar.values import Ref
from robustradar_transition.catastrophic import GIVEN, NO_CLASSES, NO_STRENGTH, Catastrophic, _share

EPS = 0.1


class Sure:
    """An attack after which so many of the samples, the first ones, are still right."""

    kind = "max_loss"

    def __init__(self, right: int) -> None:
        self.right = right

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Attacked:
        right, zero = torch.arange(len(y)) < self.right, torch.zeros(len(y))
        return Attacked(x, zero, right, zero, right)


def found(*points: tuple[float, int, int], **parameters: Any) -> Measured:
    """The outcome for (multiple of the strength, right answers of 20 under the attack, and under the inner one)."""
    metric = Catastrophic(strengths=tuple(multiple for multiple, _, _ in points), eps_star="none", **parameters)
    fits = {str(m * EPS): fit(({"evaluation_adversarial_accuracy": inner / 20},)) for m, _, inner in points}
    attacks = {str(m * EPS): Sure(many) for m, many, _ in points}
    outcome = metric.measure(bench(fits, attacks=attacks))["unstable_eps"]
    assert isinstance(outcome, Measured)
    return outcome


# By hand


def test_the_first_collapse_is_between_its_strength_and_the_one_before() -> None:
    outcome = found((0.5, 15, 16), (1.0, 9, 14), (2.0, 1, 18), (4.0, 0, 19))
    assert (outcome.value, outcome.low, outcome.high, outcome.flags) == (0.2, 0.1, 0.2, ())
    assert [point["collapsed"] for point in outcome.details["points"]] == [False, False, True, True]
    low, high = wilson(9, 20)
    inner_low, inner_high = wilson(14, 20)
    assert outcome.details["points"][1] == {
        "eps": 0.1,
        "n": 20,
        "accuracy": 0.45,
        "accuracy_low": low,
        "accuracy_high": high,
        "inner_accuracy": 0.7,
        "inner_accuracy_low": inner_low,
        "inner_accuracy_high": inner_high,
        "collapsed": False,
    }
    assert (outcome.details["constant_answer"], outcome.details["left_out"]) == (0.5, [])


def test_a_collapse_at_the_first_strength_is_between_it_and_zero() -> None:
    outcome = found((0.5, 0, 18), (1.0, 0, 18))
    assert (outcome.value, outcome.low, outcome.high) == (0.05, 0.0, 0.05)


def test_no_collapse_is_a_lower_bound() -> None:
    outcome = found((0.5, 15, 16), (1.0, 9, 14))
    assert (outcome.value, outcome.low, outcome.high, outcome.flags) == (0.1, 0.1, None, ("beyond-grid",))


def test_a_training_that_holds_beyond_a_collapse_is_flagged() -> None:
    outcome = found((1.0, 0, 18), (2.0, 5, 15))
    assert (outcome.value, outcome.flags) == (0.1, ("not-monotone",))


def test_a_network_that_has_learnt_nothing_has_not_collapsed() -> None:
    """Half of the samples are of one class; of 20, 14 right answers are not surely more than that, and 15 are."""
    assert wilson(14, 20)[0] < 0.5 < wilson(15, 20)[0]
    assert "beyond-grid" in found((1.0, 0, 14)).flags
    assert found((1.0, 0, 15)).high == 0.1


def test_the_threshold_is_a_parameter() -> None:
    assert found((1.0, 3, 18), (2.0, 0, 18)).value == 0.2
    assert found((1.0, 3, 18), (2.0, 0, 18), collapse=0.15).value == 0.1


def test_an_attack_that_is_never_the_stronger_one_is_flagged() -> None:
    assert found((1.0, 12, 12), (2.0, 9, 8)).flags == ("beyond-grid", "one-step-is-as-good")


def task(classes: int | None = 10) -> Task:
    return Task(Ref("test/made-up", (), "test", ""), "", (1, 8, 8), classes or 1, classes, None, {})


@pytest.mark.parametrize(
    ("threat", "kept"),
    [
        (Threat(math.inf, 0.4, None), 4),
        (Threat(math.inf, 0.4, (0.0, 1.0)), 4),
        (Threat(math.inf, 0.5, (0.0, 1.0)), 3),
        (Threat(math.inf, 0.5, (-1.0, 1.0)), 4),
        (Threat(2.0, 4.0, (0.0, 1.0)), 3),
        (Threat(1.0, 31.0, (0.0, 1.0)), 4),
        (Threat(1.0, 32.0, (0.0, 1.0)), 3),
        (Threat(math.inf, 2.0, (0.0, 1.0)), 0),
        (Threat(math.inf, 0.0, (0.0, 1.0)), 0),
    ],
)
def test_strengths_whose_ball_holds_the_range_are_left_out(threat: Threat, kept: int) -> None:
    """The range [0, 1] of 64 pixels has the diameter 1 in linf, 8 in l2 and 64 in l1."""
    needs = Catastrophic(eps_star="none").needs(task(), threat)
    assert len(needs.fits) == len(needs.attacks) == kept
    strengths = [need.threat.eps for need in needs.fits.values() if need.threat]
    assert strengths == pytest.approx([m * threat.eps for m in (0.5, 1.0, 1.5, 2.0)[:kept]])
    assert needs.attacks == {label: AttackNeed(threat=need.threat, loss=False) for label, need in needs.fits.items()}


def test_what_is_left_out_is_in_the_details() -> None:
    fits = {"0.45": fit(({"evaluation_adversarial_accuracy": 0.8},))}
    threat = Threat(math.inf, 0.45, (0.0, 1.0))
    outcome = Catastrophic(strengths=(1.0, 3.0), eps_star="none").measure(bench(fits, attacks={"0.45": Sure(10)}, threat=threat))[
        "unstable_eps"
    ]
    assert isinstance(outcome, Measured)
    assert (outcome.value, outcome.details["left_out"]) == (0.45, [pytest.approx(1.35)])


def test_nothing_to_train_at_is_skipped() -> None:
    reason = (
        "got multiples of the study's strength, 2, that are 0 or whose ball holds the data's whole range, expected one between. "
        "Use another strength, or other multiples"
    )
    assert NO_STRENGTH.format(eps=2.0) == reason
    given = bench({}, threat=Threat(math.inf, 2.0, (0.0, 1.0)))
    assert Catastrophic().measure(given) == dict.fromkeys(("unstable_eps", "eps_star_share"), Skipped(reason))


def test_regression_is_skipped() -> None:
    assert Catastrophic().needs(task(None), Threat(2.0, 1.0, None)).fits == {}
    reason = "an accuracy needs classes, and the data are regression"
    assert Catastrophic().measure(bench({}, classes=None)) == dict.fromkeys(("unstable_eps", "eps_star_share"), Skipped(reason))
    assert reason == NO_CLASSES


ACCEPTED = (
    "Accepted: strengths: list of float = 0.5+1+1.5+2, collapse: float >= 0 < 1 = 0.05, inner: str = native/fgm, "
    "eps_star: none|scratch|fast|hermite|expansion = fast."
)
RISING = "expected multiples of the study's strength that rise from above 0, such as 0.5+1+2"


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("strengths=", f"ValueError: strengths: got none, {RISING}"),
        ("strengths=0+1", f"ValueError: strengths: got 0+1, {RISING}"),
        ("strengths=2+1", f"ValueError: strengths: got 2+1, {RISING}"),
        ("collapse=1", "parameter 'collapse': got '1', expected less than 1"),
    ],
)
def test_bad_parameters_are_refused(typed: str, problem: str) -> None:
    message = f"--metric transition/catastrophic: {problem}. {ACCEPTED}"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        prepared(f"transition/catastrophic:{typed}", data="digits")


# Whole runs

DIGITS: dict[str, Any] = {"data": "digits:train_limit=300,eval_limit=100", "eps": "0.3", "architectures": ("papers/mlp:width=32,depth=1",)}


def test_the_inner_attack_is_trained_with_to_the_last_epoch_and_the_studys_measures() -> None:
    plan = prepared("transition/catastrophic:inner=native/n-fgsm,eps_star=none", **DIGITS, attack="native/square").plan
    assert [str(spec.threat) for spec in plan.fits] == ["linf 0.15", "linf 0.3", "linf 0.45", "linf 0.6"]
    assert {spec.attack.id for spec in plan.fits if spec.attack} == {"native/n-fgsm"}
    assert {dict(spec.recipe.parameters)["select"] for spec in plan.fits} == {"last"}
    assert {(use.attack.id, label == str(use.threat.eps)) for label, use in plan.measurements[0].attacks} == {("native/square", True)}


def test_fgm_training_collapses_on_digits(tmp_path: Path) -> None:
    study: dict[str, Any] = DIGITS | {"recipe": "quick:epochs=60,lr=0.01", "attack": "native/pgd:steps=5"}
    outcome: Outcome = by_column(ran(tmp_path, "transition/catastrophic:strengths=0.5+1,eps_star=none", **study))["unstable_eps"]
    assert isinstance(outcome, Measured)
    assert (outcome.value, outcome.low, outcome.high) == (0.3, 0.15, 0.3)
    stable, unstable = outcome.details["points"]
    assert stable["accuracy"] > 0.4 and stable["inner_accuracy"] - stable["accuracy"] < 0.15
    assert unstable["accuracy"] <= 0.05 and unstable["inner_accuracy"] > 0.2
    assert outcome.details["constant_answer"] == pytest.approx(0.1, abs=0.03)
    assert "catastrophic-overfitting" in outcome.flags


def test_given_weights_are_skipped(tmp_path: Path) -> None:
    study: dict[str, Any] = DIGITS | {"recipe": "quick:epochs=1"}
    first = ran(tmp_path, "baselines/clean-accuracy", **study)
    given = (f"papers/mlp:width=32,depth=1={first.fits[0].weights}",)
    outcomes = by_column(ran(tmp_path, "transition/catastrophic", **study | {"architectures": None, "weights": given}))
    assert outcomes == dict.fromkeys(("unstable_eps", "eps_star_share"), Skipped(GIVEN))
    assert GIVEN == "the weights were given, and each strength needs a training"


# Beside the critical strength


@pytest.mark.parametrize(
    ("star", "unstable", "share"),
    [
        (Measured(0.1, 0.05, 0.15, ("a",), {"method": "fast"}), Measured(0.4, 0.2, 0.4), (0.25, 0.125, 0.75)),
        (Measured(0.1, 0.05, 0.15, ("a",), {"method": "fast"}), Measured(0.4, 0.4, None, ("beyond-grid",)), (0.25, None, 0.375)),
        (Measured(0.5, 0.5, None, ("beyond-grid",), {"method": "fast"}), Measured(0.4, 0.0, 0.4), (1.25, 1.25, None)),
    ],
)
def test_the_share_is_between_the_least_and_the_largest_ratio(star: Measured, unstable: Measured, share: tuple[float | None, ...]) -> None:
    outcome = _share(star, unstable)
    assert isinstance(outcome, Measured)
    assert (outcome.value, outcome.low, outcome.high) == pytest.approx(share)
    assert outcome.flags == (*star.flags, *unstable.flags)
    assert outcome.details == {"eps_star": star.value, "unstable_eps": unstable.value, "method": "fast"}


def test_without_a_critical_strength_there_is_no_share() -> None:
    assert _share(Skipped("below-zero: why"), Measured(0.1)) == Skipped("there is no ε*: below-zero: why")


def test_the_critical_strength_is_that_of_its_own_metric(tmp_path: Path) -> None:
    study = DIGITS | {"recipe": "quick:epochs=8"}
    metrics = ("transition/catastrophic:strengths=1", "transition/catastrophic:strengths=1,eps_star=none", "transition/eps-star")
    asked, unasked, star = ({s.column.name: s.outcome for s in ran(tmp_path, metric, **study).scores} for metric in metrics)
    assert isinstance(star["eps_star"], Measured) and isinstance(asked["eps_star_share"], Measured)
    assert asked["eps_star_share"].details["eps_star"] == star["eps_star"].value
    assert asked["unstable_eps"].value == unasked["unstable_eps"].value  # type: ignore[union-attr]
    assert unasked["eps_star_share"] == Skipped("eps_star=none: ε* was not asked for")
