"""The critical attack strength by its parts: the range test, what becomes of a finding, the review, given weights, interrupted searches."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diagnosis import bench, by_column, fit, prepared, ran
from torch import nn

from robustradar import CLEAN, Bench, Fit, FitNeed, Measured, Objective, Outcome, Skipped, Task, Threat, UsageError
from robustradar.errors import Failure
from robustradar.execute import Execution
from robustradar.numerics.problem import UnavailableError
from robustradar.values import FitSpec, Ref
from robustradar_transition import course
from robustradar_transition.course import Clean, Found
from robustradar_transition.eps_star import EpsStar, _outcome
from robustradar_transition.expansion import rise
from robustradar_transition.strength import CriticalStrength, critical_strength
from robustradar_transition.training import TRIALS, Trainer, fine_tuner, range_test

METRIC = "transition/eps-star:"
DIGITS: dict[str, Any] = {
    "data": "digits:train_limit=120,eval_limit=100",
    "architectures": ("papers/mlp:width=16,depth=1",),
    "attack": "native/pgd:steps=2",
    "eps": "0.05",
    "recipe": "quick:epochs=30,lr=0.01,select=last",
}


# The range test


def chosen(losses: dict[float, float], lr: float = 0.01, **changes: Any) -> tuple[Trainer, dict[str, float], list[FitNeed]]:
    """The trainer that is chosen where training at each rate gets to these losses, what is told of it, and what was asked for."""
    asked: list[FitNeed] = []

    def train(need: FitNeed) -> Fit:
        asked.append(need)
        (loss,) = (found for rate, found in losses.items() if math.isclose(rate, need.recipe["lr"]))
        return fit(({"train_objective_loss": 9.0}, {"train_objective_loss": loss}))

    trainer = Trainer(Objective(1.0), FitNeed(CLEAN), "native/slow", {"lr": lr, "epochs": 10, "warmup": 0.5, **changes})
    return *range_test(bench({}, train=train), trainer, Threat(2.0, 0.7, None)), asked


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ({0.01: 1.0, 0.03: 0.5, 0.09: 0.2}, 0.09),
        ({0.01: 1.0, 0.03: 0.5, 0.09: 0.7}, 0.03),
        ({0.01: 0.5, 0.03: 1.0, 0.01 / 3: 0.7}, 0.01),
        ({0.01: 0.5, 0.03: 1.0, 0.01 / 3: 0.2}, 0.01 / 3),
        ({0.01: 0.5, 0.03: 0.5, 0.01 / 3: 0.6}, 0.03),  # a tie goes down for the third, and the first found stays
    ],
)
def test_of_three_rates_the_one_with_the_lowest_loss_is_taken(losses: dict[float, float], best: float) -> None:
    trainer, told, asked = chosen(losses)
    assert trainer.recipe["lr"] == pytest.approx(best)
    assert trainer.recipe == {"lr": trainer.recipe["lr"], "epochs": 10, "warmup": 0.5}, "and nothing else has changed"
    assert (trainer.objective, trainer.start, trainer.attack) == (Objective(1.0), FitNeed(CLEAN), "native/slow")
    assert [float(rate) for rate in told] == pytest.approx(sorted(losses), rel=1e-5)
    assert list(told.values()) == [losses[rate] for rate in sorted(losses)]
    assert len(asked) == TRIALS == 3


def test_trials_are_at_the_threat_with_one_step_and_from_the_clean_network() -> None:
    _, _, asked = chosen({0.01: 0.5, 0.03: 1.0, 0.01 / 3: 0.2})
    for need in asked:
        assert (need.attack, need.start, need.objective) == ("native/fgm", FitNeed(CLEAN), Objective(1.0))
        assert need.threat == Threat(2.0, 0.7, None)
        assert need.recipe["warmup"] == 0.5
        assert need.recipe["epochs"] == 5
    assert {need.recipe["epochs"] for need in chosen({0.01: 0.5, 0.03: 1.0, 0.01 / 3: 0.2}, epochs=2)[2]} == {2}


def test_a_divergence_which_one_step_cannot_see_is_tried_with_several() -> None:
    asked: list[FitNeed] = []

    def train(need: FitNeed) -> Fit:
        asked.append(need)
        return fit(({"train_objective_loss": 1.0},))

    trainer = Trainer(Objective(1.0, "trades", 6.0), FitNeed(CLEAN), "native/fgm", {"lr": 0.1, "epochs": 4})
    range_test(bench({}, train=train), trainer, Threat(2.0, 0.7, None))
    assert {need.attack for need in asked} == {"native/pgd:steps=3,keep=last"}


def diverging(*rates: float, lasting: bool = True, retried: bool = False) -> tuple[Trainer, dict[str, float]]:
    """The choice between 0.1, 0.3 and the next, where training diverges at these rates; at the others larger is better."""

    def train(need: FitNeed) -> Fit:
        lr = need.recipe["lr"]
        if not any(math.isclose(lr, rate) for rate in rates):
            return fit(({"train_objective_loss": 1 - lr},))
        if retried:
            return fit(({"train_objective_loss": 0.0},), flags=(f"diverged-once:lr={lr / 10:g}",))
        raise Failure("training", "diverged", lasting=lasting)

    trainer = Trainer(Objective(1.0), FitNeed(CLEAN), None, {"lr": 0.1, "epochs": 4})
    return range_test(bench({}, train=train), trainer, Threat(2.0, 0.7, None))


@pytest.mark.parametrize("retried", [False, True])
def test_a_rate_at_which_training_diverges_is_not_taken(retried: bool) -> None:
    trainer, told = diverging(0.3, retried=retried)
    assert trainer.recipe["lr"] == 0.1
    assert list(told) == ["0.0333333", "0.1"]


def test_where_all_rates_diverge_there_is_a_reason() -> None:
    reason = "fine-tuning diverges at the learning rates 0.0333333, 0.1, 0.3. Give a smaller lr"
    with pytest.raises(UnavailableError, match=f"^{re.escape(reason)}$"):
        diverging(0.1, 0.3, 0.1 / 3)


def test_a_failure_that_may_pass_is_passed_on() -> None:
    with pytest.raises(Failure):
        diverging(0.3, lasting=False)


def test_what_cannot_be_of_minima_is_flagged() -> None:
    lower = critical_strength([(0, 0.1), (1, 0.3)], 0.2)
    assert course._contradictions(critical_strength([(0, 0.1), (1, 0.15), (2, 0.4)], 0.2), lower) == ()
    assert course._contradictions(critical_strength([(0, 0.1), (1, 0.05), (2, 0.4)], 0.2), lower) == ("clean-unfinished",)
    assert course._contradictions(critical_strength([(0, 0.1), (2, 0.9)], 0.2), lower) == ("below-bound",)
    beyond = critical_strength([(0, 0.1), (1, 0.15)], 0.2)
    assert beyond.value is None and course._contradictions(beyond, lower) == course._contradictions(lower, beyond) == ()


def test_fine_tuning_is_a_share_of_the_recipe() -> None:
    clean = FitNeed(CLEAN)
    trainer = fine_tuner(EpsStar(share=0.25), fit(optimizer="sgd", epochs=40, lr=0.3, stop=7, patience=3, average=0.9), clean)
    expected = {"epochs": 10, "lr": 0.3, "schedule": "rise-and-fall", "warmup": 0.5, "stop": 0, "average": 0.0}
    expected |= {"select": "last", "evaluate": "last", "patience": 0}
    assert (trainer.recipe, trainer.start, trainer.objective) == (expected, clean, Objective(1.0))
    assert fine_tuner(EpsStar(share=0.01, lr=0.02), fit(epochs=40, lr=0.3), clean).recipe["epochs"] == 2
    assert fine_tuner(EpsStar(lr=0.02), fit(epochs=40, lr=0.3), clean).recipe["lr"] == 0.02
    exact = fine_tuner(EpsStar(), fit(optimizer="lbfgs"), clean)
    assert (exact.recipe, exact.attack) == ({}, None), "to the minimum under the study's attack"
    need = fine_tuner(EpsStar(objective="trades", attack="fgm"), fit(epochs=4, lr=0.3), clean).need(Threat(2.0, 0.7, None))
    assert (need.attack, need.objective) == ("native/fgm", Objective(1.0, "trades", 6.0))
    assert fine_tuner(EpsStar(inner="native/apgd"), fit(epochs=4, lr=0.3), clean).attack == "native/apgd"


@pytest.mark.parametrize(
    ("metric", "flags"),
    [
        (EpsStar(method="hermite", lr=0.1), ("zero-gradients:2/5",)),
        (EpsStar(method="hermite", objective="trades", lr=0.1), ()),  # which has no slope
        (EpsStar(method="fast", points=1, lr=0.1), ()),  # which does not use it
    ],
)
def test_hermite_says_which_share_of_the_samples_has_no_slope(metric: EpsStar, flags: tuple[str, ...]) -> None:
    """By saturation: a ReLU that two of five samples do not pass, so that the mean of the others' slopes, 2, comes out as 1.2."""
    model, x = nn.Sequential(nn.ReLU(), nn.Linear(1, 1, bias=False)), torch.tensor([[-2.0], [-1.0], [1.0], [2.0], [3.0]])
    nn.init.constant_(model[1].weight, 2.0)
    clean = fit(({"train_objective_loss": 0.0},), model, lr=0.1)
    given: dict[str, Any] = {"train": lambda need: clean, "attack": lambda need: need.threat.eps, "loss": lambda z, y: z[:, 0]}
    given |= {"losses": lambda model, x, y, objective, eps: torch.full((5,), 2.0 * eps), "splits": {"train": [(x, x)]}}
    there = bench({"clean": clean}, threat=Threat(math.inf, 0.1, None), **given)
    assert rise(there, clean, None).slopes.tolist() == [0, 0, 2, 2, 2]
    found = course.trained(
        metric, there, Clean(clean, np.zeros(5), np.full(20, 0.5), np.ones(20)), critical_strength([(0, 0.0), (0.2, 0.6)], 0.5)
    )
    assert (found.details["fit"], found.flags) == ("hermite" if metric.method == "hermite" else "isotonic", flags)


# What becomes of a finding


def made(strength: CriticalStrength) -> Outcome:
    return _outcome(Found.of(strength, fits=[]))


def test_a_finding_becomes_a_number_a_bound_or_a_reason() -> None:
    points = [(0.0, 0.1), (1.0, 0.3)]
    inside, outside = made(critical_strength(points, 0.2, "isotonic")), made(critical_strength(points, 0.5, "line"))
    assert isinstance(inside, Measured) and isinstance(outside, Measured)
    assert (inside.value, inside.flags) == (pytest.approx(0.5), ())
    assert (outside.value, outside.flags) == (pytest.approx(2.0), ("extrapolated",))
    beyond = made(critical_strength(points, 0.5, "isotonic"))
    assert isinstance(beyond, Measured)
    assert (beyond.value, beyond.low, beyond.high, beyond.flags) == (1.0, 1.0, None, ("beyond-grid",))
    assert beyond.details["points"] == [[0.0, 0.1], [1.0, 0.3]]
    below = "below-zero: the training loss at strength 0 is above the clean evaluation loss, 0.05, already"
    assert made(critical_strength(points, 0.05, "isotonic")) == Skipped(below)
    falling = "not-monotone: the fit falls, or turns before it reaches the clean evaluation loss, 0.5"
    assert made(critical_strength([(0.0, 0.3), (1.0, 0.1)], 0.5, "line")) == Skipped(falling)
    turning = "beyond-grid: the parabola turns before it reaches the clean evaluation loss, 0.5"
    expansion = {"fit": "expansion", "points": [], "threshold": 0.5}
    assert _outcome(Found(None, None, None, "beyond-grid", (), expansion)) == Skipped(turning)
    predicted = _outcome(Found(0.3, 0.2, None, "extrapolated", ("outside-regime:2",), expansion))
    assert isinstance(predicted, Measured)
    assert predicted.flags == ("outside-regime:2",), "that an expansion extrapolates is no news"


def test_one_step_training_is_fooled_where_the_attack_finds_twice_its_loss() -> None:
    strength = critical_strength([(0.0, 0.1), (1.0, 0.4), (2.0, 0.81)], 0.3)
    histories = [{"eps": eps, "while_training": 0.2} for eps in (1.0, 2.0)]
    assert course._fooled(histories, strength) == ("one-step-fooled:2",)
    assert course._fooled([{"eps": 1.0, "while_training": 0.2}], strength) == ()
    assert course._fooled([{"eps": eps, "while_training": 0.19} for eps in (1.0, 2.0)], strength) == ("one-step-fooled:1, 2",)


# What may be asked for

TASK = Task(Ref("test/made-up", (), "test", ""), "", (3,), 2, 2, None, {})


@pytest.mark.parametrize(
    ("parameters", "further"),
    [
        ({}, 6),
        ({"points": 1, "attack": "fgm"}, 4),
        ({"lr": 0.1}, 3),
        ({"method": "hermite"}, 4),
        ({"method": "hermite", "lr": 0.1}, 1),
        ({"method": "scratch"}, 5),
        ({"method": "scratch", "trainings": 9, "lr": 0.1}, 9),
        ({"method": "expansion"}, 0),
    ],
)
def test_what_is_announced(parameters: dict[str, Any], further: int) -> None:
    needs = EpsStar(**parameters).needs(TASK, Threat(2.0, 0.7, None))
    assert (dict(needs.fits), needs.further) == ({"clean": FitNeed(CLEAN)}, further)


def test_a_mart_starts_from_its_own_network_and_regression_from_none() -> None:
    threat = Threat(2.0, 0.7, None)
    mart = EpsStar(objective="mart", beta=2.0).needs(TASK, threat)
    assert mart.fits == {"clean": FitNeed(Objective(1.0, "mart", 2.0), Threat(2.0, 0.0, None))}
    regression = Task(TASK.data, "", (3,), 1, None, None, {})
    assert EpsStar(objective="mart").needs(regression, threat).fits == {}
    assert EpsStar(objective="trades").needs(regression, threat).further == 0
    assert EpsStar().needs(regression, threat).fits == {"clean": FitNeed(CLEAN)}


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("lr=-1", "ValueError: lr: got -1, expected auto or a number above 0"),
        ("lr=0", "ValueError: lr: got 0, expected auto or a number above 0"),
        ("fit=hermite,method=fast", "ValueError: fit: got hermite with method=fast, expected hermite with hermite alone"),
        ("fit=line,method=hermite", "ValueError: fit: got line with method=hermite, expected hermite with hermite alone"),
        ("fit=line,method=expansion", "ValueError: fit: got line with method=expansion, expected auto, as nothing is fitted"),
        ("damping=-1", "ValueError: damping: got -1, expected auto or a number of at least 0"),
        ("points=0", "parameter 'points': got '0', expected greater than or equal to 1"),
        ("share=0", "parameter 'share': got '0', expected greater than 0"),
        ("method=slow", "parameter 'method': got 'slow', expected 'scratch', 'fast', 'hermite' or 'expansion'"),
    ],
)
def test_bad_parameters_are_refused(typed: str, problem: str) -> None:
    message = f"--metric transition/eps-star: {problem}. Accepted: "
    with pytest.raises(UsageError, match=f"^{re.escape(message)}"):
        prepared(METRIC + typed, **DIGITS)
    prepared(METRIC + "fit=hermite,method=hermite", **DIGITS)


# The review


def reviewed(*pairs: tuple[float | None, float]) -> list[tuple[str, ...] | None]:
    """The flags of each candidate's eps_star, for pairs of it and the clean evaluation loss."""
    outcomes: dict[str, dict[str, Outcome]] = {
        str(i): {
            "eps_star": Skipped("why") if star is None else Measured(star, flags=("own",)),
            "clean_evaluation_loss": Measured(loss),
            "eps_star_bound": Measured(star or 0.0),
        }
        for i, (star, loss) in enumerate(pairs)
    }
    found = EpsStar().review(outcomes)
    assert list(found) == list(outcomes)
    for name, columns in found.items():
        assert {n: o for n, o in columns.items() if n != "eps_star"} == {n: o for n, o in outcomes[name].items() if n != "eps_star"}
    return [o.flags if isinstance(o := columns["eps_star"], Measured) else None for columns in found.values()]


def test_an_order_that_is_that_of_the_clean_losses_is_flagged() -> None:
    assert reviewed((0.1, 1.0), (0.2, 2.0), (0.3, 3.0)) == [("own", "confounded:1.00")] * 3
    assert reviewed((0.1, 3.0), (0.2, 2.0), (0.3, 1.0)) == [("own",)] * 3, "the other way round it says something"
    assert reviewed((0.1, 1.0), (0.2, 3.0), (0.3, 2.0)) == [("own",)] * 3, "tau is 1/3"
    assert reviewed((0.1, 1.0), (0.2, 2.0), (0.3, 3.0), (0.4, 5.0), (0.5, 4.0)) == [("own", "confounded:0.80")] * 5
    assert reviewed((0.1, 1.0), (None, 9.0), (0.2, 2.0), (0.3, 3.0)) == [
        ("own", "confounded:1.00"),
        None,
        *[("own", "confounded:1.00")] * 2,
    ]


def test_two_candidates_or_equal_ones_have_no_order_to_speak_of() -> None:
    assert reviewed((0.1, 1.0), (0.2, 2.0)) == [("own",)] * 2
    assert reviewed((0.1, 1.0), (None, 1.0), (0.2, 2.0)) == [("own",), None, ("own",)]
    assert reviewed((0.1, 1.0), (0.1, 2.0), (0.1, 3.0)) == [("own",)] * 3


# Whole runs


def test_given_weights_leave_the_expansion(tmp_path: Path) -> None:
    first = ran(tmp_path, METRIC + "method=expansion", **DIGITS)
    given = (f"papers/mlp:width=16,depth=1={first.fits[0].weights}",)
    methods = ("method=scratch", "method=fast", "method=hermite", "method=expansion")
    result = ran(tmp_path, *(METRIC + method for method in methods), **DIGITS | {"architectures": None, "weights": given})
    assert len(result.fits) == 1
    stars = [score.outcome for score in result.scores if score.column.name == "eps_star"]
    reason = "the weights were given, and method={} needs networks at other strengths. Use method=expansion"
    assert stars[:3] == [Skipped(reason.format(method)) for method in ("scratch", "fast", "hermite")]
    trained = by_column(first)["eps_star"]
    assert isinstance(stars[3], Measured) and isinstance(trained, Measured)
    assert "given-weights" in stars[3].flags
    assert stars[3].value == pytest.approx(trained.value), "quick's decay is decoupled, and so no part of the loss"
    others = [score.outcome for score in result.scores if score.column.name != "eps_star"]
    assert all(isinstance(outcome, Measured) for outcome in others)


def test_a_killed_search_finds_its_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = DIGITS | {"recipe": "quick:epochs=30,lr=0.03"}
    undisturbed = ran(tmp_path / "one", METRIC + "points=2", **study)
    fit, asked = Execution.fit, list[str]()

    def killed(run: Execution, spec: FitSpec) -> None:
        if spec.key not in run.ahead and not run.store.has_fit(spec.key):  # it was not planned, but asked for
            asked.append(spec.key)
        if len(asked) == 4:
            raise KeyboardInterrupt
        fit(run, spec)

    monkeypatch.setattr(Execution, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        ran(tmp_path / "two", METRIC + "points=2", **study)
    monkeypatch.undo()
    resumed = ran(tmp_path / "two", METRIC + "points=2", **study)
    assert by_column(resumed) == by_column(undisturbed)
    assert isinstance(by_column(resumed)["eps_star"], Measured)
    cached = {fit.record.key: fit.cached for fit in resumed.fits}
    assert [cached[key] for key in asked] == [True, True, True, False]
    assert list(cached) == [fit.record.key for fit in undisturbed.fits]


def test_a_network_that_is_cut_off_has_no_slope_to_guess_by() -> None:
    """Without a slope the search for the bound starts at the study's strength, and without that at the largest one."""
    box = Task(TASK.data, "", (4,), 2, 2, (0.0, 1.0), {})
    assert course._most(box, Threat(math.inf, 0.1, (0.0, 1.0))) == 0.5
    assert course._most(box, Threat(2.0, 0.1, (0.0, 1.0))) == 1.0
    assert course._most(box, Threat(1.0, 0.1, (0.0, 1.0))) == 2.0
    assert course._most(TASK, Threat(2.0, 0.1, None)) == math.inf


def tangent(threat: Threat, gap: float) -> float:
    class Rows(list[Any]):
        def __len__(self) -> int:
            return 3

    import torch

    flat = Bench(**{**vars(bench({}, threat=threat)), "splits": {"train": Rows([(torch.zeros(3, 2), torch.zeros(3))])}})
    start = course.Clean(fit(model=torch.nn.Linear(2, 1)), np.zeros(3), np.full(4, gap), np.ones(4))
    return course._tangent(Bench(**{**vars(flat), "loss": lambda z, y: 0 * z[:, 0]}), start)


def test_without_a_slope_the_bound_is_looked_for_at_the_studys_strength() -> None:
    assert tangent(Threat(2.0, 0.7, None), 1.0) == 0.7
    assert tangent(Threat(2.0, 0.7, None), -1.0) == 0.7
