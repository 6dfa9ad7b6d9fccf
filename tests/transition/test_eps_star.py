"""The critical attack strength of small networks on digits, by every method: whole runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from diagnosis import prepared, ran

from robustradar import Measured, Outcome, Skipped

METRIC = "transition/eps-star:"
DIGITS: dict[str, Any] = {
    "data": "digits:train_limit=200,eval_limit=100",
    "architectures": ("papers/mlp:width=32,depth=1",),
    "attack": "native/pgd:steps=3",
    "eps": "0.05",
    "recipe": "quick:epochs=40,lr=0.01,select=last",
}
ADAM = (
    "method=scratch,trainings=2,warm=true",
    "method=fast",
    "method=fast,attack=fgm,points=2",
    "method=fast,lr=0.02,points=1",
    "method=hermite",
    "method=expansion",
    "method=fast,points=2,objective=trades,lr=0.01",
    "method=fast,points=1,objective=trades,attack=fgm,lr=0.01",
    "method=hermite,objective=trades,lr=0.01",
    "method=expansion,objective=trades",
    "method=fast,points=2,objective=mart,beta=0.1",
    "method=hermite,objective=mart,beta=0.1",
)
SCRATCH, FAST, FGM, GIVEN, HERMITE, EXPANSION, TRADES, TRADES_FGM, TRADES_HERMITE, TRADES_EXPANSION, MART, MART_HERMITE = ADAM
SGD = ("method=fast,points=2", "method=hermite,lr=0.1")
# Here training has not come to its end, and fine-tuning goes on with it.
SHORT = ("method=fast,points=1", "method=fast,points=1,fit=isotonic")
Columns = dict[str, Outcome]


class Room:
    """A study that was run, by its metrics' parameters."""

    def __init__(self, root: Path, methods: tuple[str, ...], **study: Any) -> None:
        self.result = ran(root, *(METRIC + method for method in methods), **study)
        labels = dict(zip((metric.label for metric in self.result.study.metrics), methods, strict=True))
        self.methods, self.study = methods, study
        self.columns: dict[str, Columns] = {method: {} for method in methods}
        for score in self.result.scores:
            self.columns[labels[score.metric]][score.column.name] = score.outcome
        self.fits = {labels[use.metric]: use.fits for use in self.result.measurements}
        self.records = {fit.record.key: fit.record for fit in self.result.fits}

    def star(self, method: str) -> Measured:
        return measured(self.columns[method]["eps_star"])

    def further(self, method: str) -> int:
        """How many networks were trained while it was measured."""
        return len(self.fits[method]) - 1

    def trained_at(self, method: str) -> list[str]:
        """Keys of the networks that the losses are of, by strength."""
        return [fit["key"] for fit in self.star(method).details["fits"]]

    def clean(self, method: str) -> dict[str, Any]:
        """What is known of the clean fit at its selected epoch."""
        record = self.records[self.fits[method][0]]
        return dict(record.epochs[record.selected_epoch - 1])


def measured(outcome: Outcome) -> Measured:
    assert isinstance(outcome, Measured), outcome
    return outcome


@pytest.fixture(scope="module")
def adam(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("adam"), ADAM, **DIGITS)


@pytest.fixture(scope="module")
def sgd(tmp_path_factory: pytest.TempPathFactory) -> Room:
    recipe = "quick:optimizer=sgd,lr=0.1,weight_decay=5e-4,epochs=40,select=loss"
    return Room(tmp_path_factory.mktemp("sgd"), SGD, **DIGITS | {"recipe": recipe, "norm": "l2", "eps": "0.3"})


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("short"), SHORT, **DIGITS | {"recipe": "quick:epochs=25,select=last"})


def both(adam: Room, sgd: Room) -> list[tuple[Room, str]]:
    """Everything that was measured."""
    found = [(room, method) for room in (adam, sgd) for method in room.methods]
    return [(room, method) for room, method in found if isinstance(room.columns[method]["eps_star"], Measured)]


# What a number comes with


def test_the_details_are_json_and_say_how_it_came_about(adam: Room, sgd: Room) -> None:
    measured_ones = both(adam, sgd)
    assert len(measured_ones) == 12
    for room, method in measured_ones:
        star, bound = room.star(method), measured(room.columns[method]["eps_star_bound"])
        json.dumps([star.details, bound.details])
        assert star.details["method"] == method.partition(",")[0].removeprefix("method=")
        assert (star.details["bound"], star.details["bound_low"], star.details["bound_high"]) == (bound.value, bound.low, bound.high)
        assert star.details["threshold"] == bound.details["threshold"] == measured(room.columns[method]["clean_evaluation_loss"]).value
        assert star.low is None or star.low <= star.value
        assert star.high is None or star.value <= star.high
        assert bound.details["fit"] == "isotonic"
        if method.startswith("method=expansion"):
            assert (star.details["fit"], star.details["points"], star.details["status"]) == ("expansion", [], "extrapolated")
            continue
        points = star.details["points"]
        assert points[0][0] == 0 and sorted(points) == points
        assert [(fit["eps"], fit["key"]) for fit in star.details["fits"]] == [
            (eps, room.records[key].key) for (eps, _), key in zip(points[1:], room.trained_at(method), strict=True)
        ]
        assert star.details["fit"] == ("hermite" if "hermite" in method else "isotonic")
        assert star.details["status"] == ("measured" if star.value <= points[-1][0] else "extrapolated")


def test_the_threshold_is_what_training_recorded(adam: Room, sgd: Room) -> None:
    for room, method in both(adam, sgd):
        clean, columns = room.clean(method), room.columns[method]
        kind = "objective" if "mart" in method else "clean"
        loss, accuracy = measured(columns["clean_evaluation_loss"]), measured(columns["clean_evaluation_accuracy"])
        assert loss.value == pytest.approx(clean[f"evaluation_{kind}_loss"], rel=1e-4)
        assert accuracy.value == pytest.approx(clean["evaluation_clean_accuracy"], abs=1e-9)
        assert loss.low is not None and loss.high is not None and loss.low < loss.value < loss.high
        assert accuracy.low is not None and accuracy.high is not None and accuracy.low <= accuracy.value <= accuracy.high
        start = room.star(method).details.get("coefficients" if "expansion" in method else "points")[0]
        start = start if "expansion" in method else start[1]
        assert measured(columns["generalisation_gap"]).value == pytest.approx(loss.value - start)


def test_searches_end_beyond_the_bound_and_near_each_other(adam: Room, sgd: Room) -> None:
    for room, methods in ((adam, (SCRATCH, FAST, FGM, TRADES, MART)), (sgd, SGD[:1])):
        for method in methods:
            assert room.star(method).value > room.star(method).details["bound"] > 0
    assert adam.star(FAST).value == pytest.approx(adam.star(SCRATCH).value, rel=0.3)
    assert adam.star(FGM).value == pytest.approx(adam.star(FAST).value, rel=0.3)
    assert adam.star(TRADES).value < adam.star(FAST).value, "TRADES has more to lose"


def test_no_more_is_trained_than_was_announced(adam: Room, sgd: Room) -> None:
    for room in (adam, sgd):
        plan = prepared(*(METRIC + method for method in room.methods), **room.study).plan
        further = dict(zip(room.methods, (measurement.further for measurement in plan.measurements), strict=True))
        for method in room.methods:
            trained = len(room.fits[method]) - 1
            assert trained <= further[method]
            tried = 3 if method.startswith(("method=fast", "method=hermite")) and "lr=" not in method else 0
            if isinstance(room.columns[method]["eps_star"], Measured) and "expansion" not in method:
                assert trained <= len(room.star(method).details["fits"]) + tried
            else:
                assert trained == 0
    assert {method: adam.further(method) for method in (SCRATCH, FAST, FGM, GIVEN, HERMITE, EXPANSION)} == {
        SCRATCH: 2, FAST: 6, FGM: 5, GIVEN: 1, HERMITE: 4, EXPANSION: 0,
    }  # fmt: skip


# How networks are trained


def test_fine_tuning_goes_on_from_the_clean_network_at_the_rate_that_got_lowest(adam: Room, sgd: Room) -> None:
    for room, method, lr in ((adam, FAST, None), (adam, FGM, None), (adam, GIVEN, 0.02), (adam, HERMITE, None), (sgd, SGD[0], None)):
        details, clean = room.star(method).details, room.records[room.fits[method][0]]
        before = clean.spec["recipe"]["parameters"]
        assert clean.spec["objective"]["xi"] == 0
        for fit in details["fits"]:
            spec = room.records[fit["key"]].spec
            after = spec["recipe"]["parameters"]
            assert spec["start"] == clean.key
            assert (spec["objective"]["xi"], spec["threat"]["eps"]) == (1, fit["eps"])
            assert after["schedule"] == "rise-and-fall"
            assert {name: after[name] for name in ("optimizer", "batch", "weight_decay")} == {
                name: before[name] for name in ("optimizer", "batch", "weight_decay")
            }
            assert (after["select"], after["evaluate"], after["patience"]) == ("last", "last", 0)
            assert fit["epochs"] == after["epochs"] == round((0.3 if method == HERMITE else 0.4) * before["epochs"])
            assert after["lr"] == details["recipe"]["lr"]
            assert "fgm" in spec["attack"]["id"] if "attack=fgm" in method else "pgd" in spec["attack"]["id"]
        if lr is None:
            tried = {float(rate): loss for rate, loss in details["range_test"].items()}
            assert len(tried) == 3
            assert details["recipe"]["lr"] == pytest.approx(min(tried, key=lambda rate: tried[rate]), rel=1e-5)
            assert min(abs(rate / before["lr"] - 1) for rate in tried) < 1e-5, "the recipe's own is among them"
        else:
            assert (details["recipe"]["lr"], details["range_test"]) == (lr, {})


def test_from_scratch_it_is_the_studys_recipe_and_attack(adam: Room) -> None:
    details, clean = adam.star(SCRATCH).details, adam.records[adam.fits[SCRATCH][0]]
    assert (details["recipe"], details["range_test"]) == ({}, {})
    for fit in details["fits"]:
        spec = adam.records[fit["key"]].spec
        assert spec["recipe"] == clean.spec["recipe"]
        assert spec["start"] == clean.key, "warm"
        assert (spec["attack"]["id"], spec["attack"]["parameters"]["steps"]) == ("native/pgd", 3)


def test_objectives_are_trained_for_and_compared(adam: Room) -> None:
    for method, form, beta in ((TRADES, "trades", 6.0), (MART, "mart", 0.1)):
        for fit in adam.star(method).details["fits"]:
            objective = adam.records[fit["key"]].spec["objective"]
            assert (objective["form"], objective["beta"]) == (form, beta)
    clean = adam.records[adam.fits[MART][0]].spec
    assert (clean["objective"]["form"], clean["threat"]["eps"]) == ("mart", 0), "MART at strength 0 is no clean training"
    assert adam.records[adam.fits[TRADES][0]].spec == adam.records[adam.fits[FAST][0]].spec, "TRADES at strength 0 is"
    assert adam.star(TRADES).details["threshold"] == pytest.approx(adam.star(FAST).details["threshold"])
    coefficients = adam.star(TRADES_HERMITE).details["coefficients"]
    assert coefficients[1] == 0, "a divergence starts level"
    assert adam.star(HERMITE).details["coefficients"][1] == pytest.approx(adam.star(EXPANSION).details["slope"], rel=1e-5)


# What is withheld or flagged


def test_methods_that_do_not_hold_say_so(adam: Room) -> None:
    reason = "method=expansion holds for cross-entropy alone, got objective=trades"
    assert adam.columns[TRADES_EXPANSION]["eps_star"] == Skipped(reason)
    reason = "method=hermite needs the loss's slope at strength 0, which is not known for mart"
    assert adam.columns[MART_HERMITE]["eps_star"] == Skipped(reason)
    for method in (TRADES_EXPANSION, MART_HERMITE):
        others = [outcome for name, outcome in adam.columns[method].items() if name != "eps_star"]
        assert all(isinstance(outcome, Measured) for outcome in others), "the bound and the confounders are there all the same"


def test_one_step_attacks_that_teach_nothing_are_flagged(adam: Room) -> None:
    """The divergence of TRADES has no gradient at the clean input, where FGM takes its one step."""
    star = adam.star(TRADES_FGM)
    (fit,) = star.details["fits"]
    assert star.details["points"][1][1] > 2 * fit["while_training"]
    flag = f"one-step-fooled:{fit['eps']:.3g}"
    assert flag in star.flags
    assert not any(name.startswith("one-step-fooled") for name in (*adam.star(FGM).flags, *adam.star(TRADES).flags))


def test_weight_decay_in_the_gradient_is_flagged_with_the_slope(adam: Room, sgd: Room) -> None:
    assert "decayed-slope" in sgd.star(SGD[1]).flags
    assert "decayed-slope" not in (*sgd.star(SGD[0]).flags, *adam.star(HERMITE).flags)


def test_losses_that_do_not_reach_the_threshold(short: Room) -> None:
    reason = "not-monotone: the fit falls, or turns before it reaches the clean evaluation loss, {:.4g}"
    threshold = measured(short.columns[SHORT[0]]["clean_evaluation_loss"]).value
    assert short.columns[SHORT[0]]["eps_star"] == Skipped(reason.format(threshold))
    censored = short.star(SHORT[1])
    last, _ = censored.details["points"][-1]
    assert (censored.value, censored.low, censored.high) == (last, last, None), "at least so much"
    assert "beyond-grid" in censored.flags
    assert censored.details["status"] == "beyond-grid"
