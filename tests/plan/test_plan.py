"""Plans: the union of what the metrics need, each fit once, whatever the order of asking."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

import robustradar as rr
from robustradar import ADVERSARIAL, CLEAN, AttackNeed, Column, FitNeed, Needs, Objective, Study, Task, Threat
from robustradar import plan as planning
from robustradar.catalog import Catalog
from robustradar.errors import PluginError, UsageError
from robustradar.host import Plugin
from robustradar.plan import Plan
from robustradar.values import Ref

COLUMN = (Column("c", "higher", "1"),)


@dataclass(frozen=True)
class Asks(rr.Metric):
    """Needs what it was made with."""

    wanted: Any = rr.fixed()
    columns: tuple[Column, ...] = rr.fixed(COLUMN)

    def needs(self, task: Task, threat: Threat) -> Needs:
        return self.wanted() if callable(self.wanted) else self.wanted  # type: ignore[no-any-return]

    def measure(self, bench: rr.Bench) -> Mapping[str, rr.Outcome]:
        raise AssertionError("planning measures nothing")


@dataclass(frozen=True)
class Net(rr.Architecture):
    """Never built."""

    width: int = 1

    def build(self, shape: tuple[int, ...], outputs: int) -> Any:
        raise AssertionError("planning builds nothing")


@dataclass(frozen=True)
class Attack(rr.Attack):
    """Never run."""

    def perturb(self, victim: rr.Victim, x: Any, y: Any) -> Any:
        raise AssertionError("planning attacks nothing")


def broken() -> Needs:
    raise KeyError("threat")


CLEAN_FIT = {"model": FitNeed(CLEAN)}
METRICS = {
    "clean": Needs(fits=CLEAN_FIT),
    "attacked": Needs(fits=CLEAN_FIT, attacks={"a": AttackNeed(loss=False)}),
    "trained": Needs(fits={"model": FitNeed(ADVERSARIAL)}, attacks={"a": AttackNeed()}),
    "both": Needs(fits={"clean": FitNeed(CLEAN), "robust": FitNeed(ADVERSARIAL), "half": FitNeed(Objective(0.5))}),
    "size": Needs(),
    "chance": Needs(attacks={"a": AttackNeed()}),
    "weak": Needs(fits={"model": FitNeed(ADVERSARIAL, Threat(math.inf, 0.01, (0.0, 1.0)))}),
    "warm": Needs(fits={"model": FitNeed(ADVERSARIAL, start=FitNeed(CLEAN))}),
    "first": Needs(attacks={"a": AttackNeed("first", loss=True)}),
    "first-accuracy": Needs(attacks={"a": AttackNeed("first", loss=False)}),
    "first-trained": Needs(fits={"model": FitNeed(ADVERSARIAL, attack="first")}),
    "l2": Needs(attacks={"a": AttackNeed("l2")}),
    "images": Needs(attacks={"a": AttackNeed("images")}),
    "many": Needs(attacks={"a": AttackNeed("many-classes")}),
    "missing": Needs(attacks={"a": AttackNeed("pgdd")}),
    "broken": broken,
    "nothing": lambda: None,
}
CATALOG = Catalog(
    (
        Plugin(
            "p",
            "p-dist",
            "1.0",
            "abc",
            {
                "architecture": (Net(name="net"),),
                "recipe": (rr.Recipe(name="brief", epochs=2), rr.Recipe(name="long", epochs=7)),
                "attack": (
                    Attack(name="pgd"),
                    Attack(name="first", kind="first_success"),
                    Attack(name="l2", norms=(2.0,)),
                    Attack(name="images", images=True),
                    Attack(name="many-classes", min_classes=4),
                    Attack(name="wide", reach=2.0),
                ),
                "metric": tuple(Asks(name=name, wanted=wanted) for name, wanted in METRICS.items()),
            },
        ),
    ),
    {},
)
TASK = Task(Ref("p/data", (), "p", "p/data"), "0" * 40, (4,), 3, 3, (0.0, 1.0), {"train": 8, "evaluation": 4})


def study(metrics: tuple[str, ...], candidates: tuple[str, ...] = ("net",), seeds: int = 1, **changes: Any) -> Study:
    return Study(
        name="test",
        candidates=tuple(CATALOG.resolve("architecture", c, "test") for c in candidates),
        task=changes.get("task", TASK),
        threat=Threat(math.inf, 0.1, (0.0, 1.0)),
        attack=CATALOG.resolve("attack", changes.get("attack", "pgd"), "test"),
        recipe=CATALOG.resolve("recipe", changes.get("recipe", "brief"), "test"),
        metrics=tuple(CATALOG.resolve("metric", m, "test") for m in metrics),
        ranker=Ref("p/ranker", (), "p", "p/ranker"),
        reporters=(),
        seeds=tuple(range(seeds)),
    )


def plan(*args: Any, **changes: Any) -> Plan:
    return planning.make(study(*args, **changes), CATALOG, "engine")


def fits(made: Plan) -> list[str]:
    return [str(spec) for spec in made.fits]


def test_the_clean_network_is_trained_once_for_all_metrics() -> None:
    made = plan(("clean", "attacked", "both"))
    assert fits(made) == [
        "p/net [clean, seed 0]",
        "p/net [mixture:xi=0.5 linf 0.1 p/pgd, seed 0]",
        "p/net [adversarial linf 0.1 p/pgd, seed 0]",
    ]
    assert made.requested == 5
    assert len(made.measurements) == 3


def test_metrics_share_the_very_same_fit() -> None:
    made = plan(("clean", "attacked"))
    (first,), (second,) = ([spec for _, spec in m.fits] for m in made.measurements)
    assert first.key == second.key
    assert made.measurements[0].key != made.measurements[1].key


def test_the_set_of_fits_does_not_depend_on_the_order_of_asking() -> None:
    metrics, candidates = ("clean", "both", "warm", "weak"), ("net", "net:width=2")
    made = [plan(m, c, 2) for m in itertools.permutations(metrics) for c in itertools.permutations(candidates)]
    assert len({frozenset(spec.key for spec in p.fits) for p in made}) == 1
    assert len({frozenset(m.key for m in p.measurements) for p in made}) == 1
    assert {len(p.fits) for p in made} == {2 * 2 * 5}


def test_without_fits_and_attacks_one_measurement_serves_all_seeds() -> None:
    made = plan(("size", "clean", "chance"), seeds=3)
    seeds = {m.metric.id: [o.seed for o in made.measurements if o.metric == m.metric] for m in made.measurements}
    assert seeds == {"p/size": [None], "p/clean": [0, 1, 2], "p/chance": [0, 1, 2]}


def test_a_metrics_own_threat_makes_a_fit_of_its_own() -> None:
    made = plan(("trained", "weak"))
    assert fits(made) == ["p/net [adversarial linf 0.1 p/pgd, seed 0]", "p/net [adversarial linf 0.01 p/pgd, seed 0]"]


def test_a_clean_fit_does_not_depend_on_threat_and_attack() -> None:
    one, other = plan(("clean",)), plan(("clean",), attack="first")
    assert [s.key for s in one.fits] == [s.key for s in other.fits]
    assert (one.fits[0].threat, one.fits[0].attack) == (None, None)


def test_what_a_fit_starts_from_comes_before_it() -> None:
    made = plan(("warm", "clean"))
    assert fits(made) == ["p/net [clean, seed 0]", "p/net [adversarial linf 0.1 p/pgd, seed 0]"]
    assert made.fits[1].start == made.fits[0]
    assert made.fits[1].key != plan(("trained",)).fits[0].key


def test_epochs_are_the_recipes() -> None:
    for recipe, epochs in (("brief", 2), ("long", 7), ("long:epochs=3", 3), ("long:stop=4", 4)):
        made = plan(("clean",), recipe=recipe)
        assert planning.epochs(CATALOG, made.fits[0]) == epochs


ADVICE = "Choose another attack (robustradar plugins list attack)."
REGRESSION = Task(TASK.data, "0" * 40, (4,), 1, None, None, TASK.sizes)


@pytest.mark.parametrize(
    ("metric", "changes", "reason"),
    [
        ("l2", {}, "attack p/l2: got norm linf, expected l2. "),
        ("images", {}, "attack p/images: got inputs of shape [4], expected images [channels, height, width]. "),
        ("many", {}, "attack p/many-classes: got 3 classes, expected at least 4. "),
        ("first", {}, "attack p/first: got a first_success attack, expected max_loss, since losses are read or trained on. "),
        ("first-trained", {}, "attack p/first: got a first_success attack, expected max_loss, since losses are read or trained on. "),
        ("trained", {"attack": "first"}, "attack p/first: got a first_success attack, expected max_loss, since losses are read or trained"),
        ("chance", {"task": REGRESSION}, "attack p/pgd: got regression, expected classes. "),
        (
            "chance",
            {"attack": "wide"},
            "attack p/wide: got an attack that reaches 2·ε, which is for training, expected one that keeps to the ball. ",
        ),
    ],
)
def test_an_attack_that_cannot_serve_is_refused_before_anything_is_trained(metric: str, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError) as error:
        plan((metric,), **changes)
    assert str(error.value).startswith(f"metric p/{metric}: {reason}")
    assert str(error.value).endswith(ADVICE)


def test_an_attack_that_reads_no_loss_may_stop_at_the_first_success() -> None:
    assert len(plan(("first-accuracy",)).measurements) == 1


def test_an_attack_that_nobody_declares_is_named() -> None:
    with pytest.raises(UsageError) as error:
        plan(("missing",))
    assert str(error.value).startswith("metric p/missing: attack: got 'pgdd', expected one of p/first, p/images, ")


def test_needs_that_raise_are_the_plugins_fault() -> None:
    with pytest.raises(PluginError) as error:
        plan(("clean", "broken"))
    assert str(error.value) == "metric p/broken (p-dist 1.0): needs() failed: KeyError: 'threat'"
    assert error.value.exit_code == 4


def test_needs_that_are_none_are_the_plugins_fault() -> None:
    with pytest.raises(PluginError) as error:
        plan(("nothing",))
    assert str(error.value) == "metric p/nothing (p-dist 1.0): needs() returned NoneType, expected robustradar.Needs."
