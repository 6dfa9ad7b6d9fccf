"""What ships with RobustRadar keeps the contract that it asks of others: every kind, every attack of native, and a sample of the rest."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from robustradar import DataError, Failed, Measured, UsageError
from robustradar.conformance import check, contract_test, measured, patterns
from robustradar.conformance.attack import Scene
from robustradar.conformance.inspection import CLAUSES
from robustradar.host import KINDS
from robustradar.training.loss import cross_entropy
from robustradar_native import robustradar_attacks

QUICK = {"apgd-t": "steps=3", "square": "queries=30"}
# AutoAttack takes minutes, and its members are here; linear-exact declines all but linear networks of two classes.
ABSENT = {"autoattack", "linear-exact"}
ATTACKS = [f"native/{a.name}:{QUICK.get(a.name, '')}".rstrip(":") for a in robustradar_attacks() if a.name not in ABSENT]

test_attacks = contract_test(*ATTACKS)
test_adapters = contract_test("torchattacks/FGSM", "torchattacks/GN", "torchattacks/PGDL2:steps=3")
test_rankers_and_reporters = contract_test("native/rank-mean", "native/csv", "native/html", "native/markdown")
test_data = contract_test("native/digits:train_limit=50,eval_limit=20")
test_recipe = contract_test("native/quick")
test_metrics = contract_test("baselines/clean-accuracy", "baselines/robust-accuracy", "baselines/parameters")
test_networks = contract_test("papers/linear", "papers/mlp:width=8", "papers/cnn:width=2")


def test_there_are_clauses_for_every_kind() -> None:
    assert set(CLAUSES) == set(KINDS)
    assert all(CLAUSES[kind] for kind in CLAUSES if kind != "recipe")


def test_check_takes_plugins_names_with_parameters_and_aliases() -> None:
    assert {v.subject for v in check(["papers/linear"])} == {"architecture papers/linear"}
    assert {v.subject for v in check(["native/digits:train_limit=50"])} == {"dataset native/digits:train_limit=50"}
    with pytest.raises(UsageError, match=r"^NAME: got 'nativ'. Did you mean 'native.* Expected one of \d+ names"):
        list(check(["nativ"]))


def test_the_toy_victim_loses_its_answers_as_the_ball_grows() -> None:
    """Half the margin over the largest change that a perturbation of one unit can make: the same for every number of features."""
    for shape in ((1, 8, 8), (3, 8, 8), (20,)):
        scene = Scene.of(robustradar_attacks()[0], math.inf, 0.15, shape)
        assert (scene.model(scene.x).argmax(1) == scene.y).all()
        assert cross_entropy(scene.model(scene.x), scene.y).max() < 1


# measured


def test_a_metric_is_measured_on_a_given_network_as_it_is() -> None:
    data = patterns()
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    outcome = measured("baselines/clean-accuracy", network, data)["clean_accuracy"]
    x, y = torch.from_numpy(data.evaluation.x), torch.from_numpy(data.evaluation.y)
    assert isinstance(outcome, Measured)
    assert outcome.value == pytest.approx(float((network(x).argmax(1) == y).float().mean()))


def test_measured_says_what_is_wrong() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(UsageError, match=r"^measured: got 'baselines/cleen-accuracy'. Did you mean 'baselines/clean-accuracy'"):
        measured("baselines/cleen-accuracy", network, patterns())
    data = patterns()
    data.evaluation.x[0] = 7  # type: ignore[index]
    with pytest.raises(
        DataError, match=r"^measured: data: evaluation: got x from 0 to 7, expected 0 to 1\. Divide by 255, or store uint8\.$"
    ):
        measured("baselines/clean-accuracy", network, data)
    outcome = measured("baselines/clean-accuracy", nn.Flatten(), patterns())["clean_accuracy"]
    assert isinstance(outcome, Failed)
    assert outcome.reason == "maps a batch of 2 to [2, 16], expected [2, 3]."


def test_patterns_are_the_same_at_every_call() -> None:
    one, other = patterns((3, 4, 4), 5), patterns((3, 4, 4), 5)
    assert np.array_equal(one.train.x, other.train.x)
    assert {name: len(split.x) for name, split in one.splits.items()} == {"train": 48, "evaluation": 25, "final": 12}
