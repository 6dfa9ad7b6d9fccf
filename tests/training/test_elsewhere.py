"""What runs on an accelerator is wholly there and gives what the CPU gives; a step of training does not wait for it."""

import math

import pytest
import torch
from elsewhere import AWAY, elsewhere
from small_fits import ADVERSARIAL, CLEAN, STEADY, Fitting, assert_same, normed
from torch import nn

from robustradar import Attack, Objective, Recipe, Threat
from robustradar.judge import Guarded
from robustradar.numerics.influence import Settings, influence
from robustradar.numerics.problem import Problem
from robustradar.training.loss import cross_entropy
from robustradar_native.attack import APGDCE, APGDT, PGD, Momentum, Square

OBJECTIVES = (CLEAN, ADVERSARIAL, Objective(0.5), Objective(1.0, "trades", 2.0), Objective(1.0, "mart", 2.0))
CHANGES = ({}, {"optimizer": "adamw", "augment": "crop-flip", "average": 0.9, "clip": 1.0}, {"optimizer": "lbfgs", "epochs": 1})


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_fit_elsewhere_is_the_fit_on_the_cpu(changes: dict[str, object], objective: Objective) -> None:
    recipe = Recipe(**{**vars(STEADY), **changes})
    here = Fitting(normed, recipe, objective).train()
    with elsewhere():
        there = Fitting(normed, recipe, objective, where=str(AWAY)).train()
    assert_same(here.state, there.state)
    assert here.record.epochs == there.record.epochs


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_a_step_of_training_does_not_wait(objective: Objective) -> None:
    with elsewhere() as mode:
        loop = Fitting(normed, Recipe(**{**vars(STEADY), "augment": "crop-flip"}), objective, where=str(AWAY)).loop()
        mode.waits.clear()
        loop.epoch()
    assert len(mode.waits) <= 1, mode.waits  # the order of an epoch goes over at once


ATTACKS = (
    PGD(name="pgd", min_classes=0),
    Momentum(name="m", min_classes=0),
    APGDCE(name="a", steps=12),
    APGDT(name="t", steps=12),
    Square(name="s", queries=12),
)


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(128, 20), nn.ReLU(), nn.Linear(20, 5)).eval()


@pytest.mark.parametrize("p", [2.0, math.inf])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_elsewhere_finds_what_it_finds_on_the_cpu(attack: Attack, p: float) -> None:
    x = torch.rand(9, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    found = []
    for where in ("cpu", str(AWAY)):
        with elsewhere():
            network, points = linear().to(where), x.to(where)
            guarded = Guarded(attack, attack.name, Threat(p, 0.05, (0.0, 1.0)), 5, 0)
            found.append(guarded(network, points, network(points).argmax(1)).x.cpu())
            guarded.verify()
    assert torch.equal(*found)


def test_curvature_elsewhere_is_that_on_the_cpu() -> None:
    x, y = torch.rand(20, 2, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(20) % 5
    forms = []
    for where in ("cpu", str(AWAY)):
        with elsewhere():
            problem = Problem(linear().to(where), cross_entropy, [(x.to(where), y.to(where))], 1e-2)
            forms.append(influence(problem, problem, Settings(2, damping=100.0, products=30)).form)
    assert forms[1] == pytest.approx(forms[0], rel=1e-4)
