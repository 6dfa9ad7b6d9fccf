"""A loss that is no number, or far above the untrained network's: once more at a tenth of the rate, and then never again."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_fits import ADVERSARIAL, CLEAN, STEADY, Fitting, assert_same, images, mlp, table
from torch import Tensor, nn

from robustradar import Attack, Objective, Recipe, Split, Victim
from robustradar.errors import Failure


class Brittle(nn.Sequential):
    """Answers no number in training passes whose weights have moved farther than `reach`."""

    start: Tensor
    reach = math.inf

    def forward(self, x: Tensor) -> Tensor:
        moved = (torch.as_tensor(self[1].weight).detach() - self.start).abs().amax()
        return super().forward(x) + torch.where(moved > self.reach, math.nan, 0.0)  # type: ignore[no-any-return, no-untyped-call]


def brittle(reach: float) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        network = Brittle(*mlp())
        network.start, network.reach = torch.as_tensor(network[1].weight).detach().clone(), reach
        return network

    return build


def moved(lr: float) -> float:
    """How far the first layer's weights get."""
    fitting = Fitting(mlp, Recipe(**{**vars(STEADY), "lr": lr}))
    return float((fitting.train().state["1.weight"] - fitting.loop().network.state_dict()["1.weight"]).abs().max())


def test_it_is_tried_once_more_at_a_tenth_and_says_so() -> None:
    told: list[int] = []
    trained = Fitting(brittle((moved(0.05) + moved(0.005)) / 2)).train(told.append)
    assert trained.record.flags == ("diverged-once:lr=0.005",)
    assert told[-3:] == [1, 2, 3]
    assert [epoch["epoch"] for epoch in trained.record.epochs] == [1, 2, 3]
    assert all(value is None or math.isfinite(value) for epoch in trained.record.epochs for value in epoch.values())
    # From the same start, order and chance as a fit that was asked for at that rate.
    assert_same(trained.state, Fitting(mlp, Recipe(**{**vars(STEADY), "lr": 0.005})).train().state)


def test_adversarial_fits_start_again_with_the_same_chance() -> None:
    calm = Recipe(**{**vars(STEADY), "lr": 0.005})
    trained = Fitting(brittle((moved(0.05) + moved(0.005)) / 2), objective=ADVERSARIAL).train()
    assert trained.record.flags == ("diverged-once:lr=0.005",)
    assert_same(trained.state, Fitting(mlp, calm, ADVERSARIAL).train().state)


def test_the_lost_attempt_is_paid_for() -> None:
    calm = Fitting(mlp, Recipe(**{**vars(STEADY), "lr": 0.005})).train().record.cost
    paid = Fitting(brittle((moved(0.05) + moved(0.005)) / 2)).train().record.cost
    assert paid.backward > calm.backward
    assert paid.backward % 40 == 0


def test_twice_is_a_failure_that_lasts() -> None:
    with pytest.raises(Failure) as failure:
        Fitting(brittle(1e-9)).train()
    assert str(failure.value) == (
        "training: diverged: the loss is not finite after epoch 1 of 3, also at a tenth of the learning rate. Use a smaller lr."
    )
    assert failure.value.lasting


BEFORE = "It was so before the first step. Look for an overflow: values too large in the data, or in the network's outputs."


def test_what_is_infinite_before_the_first_step_is_not_tried_again_at_another_rate() -> None:
    class Huge(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * math.inf  # type: ignore[no-any-return, no-untyped-call]

    with pytest.raises(Failure) as failure:
        Fitting(lambda: Huge(*mlp())).train()
    assert str(failure.value) == f"training: diverged: the loss is not finite after epoch 1 of 3. {BEFORE}"


class Dividing(Attack):
    """Divides by a norm that is 0 for the first class."""

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        return x + 0 / y.view(-1, 1, 1, 1)


@pytest.mark.parametrize("objective", [ADVERSARIAL, Objective(0.5), Objective(1.0, "trades", 1.0), Objective(1.0, "mart", 1.0)], ids=str)
def test_an_attack_that_answers_nan_is_named_and_not_the_rate(objective: Objective) -> None:
    with pytest.raises(Failure) as failure:
        Fitting(mlp, objective=objective, attack=Dividing(name="dividing")).train()
    assert str(failure.value) == (
        "attack test/attack: perturb() returned NaN or infinity, expected finite inputs. Does it divide by a gradient of zero?"
    )


def test_an_attack_is_not_blamed_for_a_network_that_answers_nan() -> None:
    with pytest.raises(Failure, match="^training: diverged: the loss is not finite after epoch 1 of 3, also at a tenth"):
        Fitting(brittle(1e-9), objective=ADVERSARIAL).train()


# Finite, and lost all the same


class Far(nn.Sequential):
    """Is all too sure of the first class once its weights have moved, in training, in evaluation or in both."""

    start: Tensor
    modes: tuple[bool, ...]

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        moved = (torch.as_tensor(self[1].weight).detach() - self.start).abs().amax() > 0
        return z + 1e6 * torch.eye(3)[0] if bool(moved) and self.training in self.modes else z


def far(*modes: bool) -> nn.Module:
    network = Far(*mlp())
    network.start, network.modes = torch.as_tensor(network[1].weight).detach().clone(), modes
    return network


def test_a_huge_finite_loss_is_divergence() -> None:
    with pytest.raises(Failure) as failure:
        Fitting(lambda: far(True, False)).train()
    said = r"the loss is \d\.?\d*e\+\d\d after epoch 3 of 3, and was 1\.\d before the first step"
    assert re.fullmatch(rf"training: diverged: {said}, also at a tenth of the learning rate\. Use a smaller lr\.", str(failure.value))


def test_what_a_tenth_of_the_rate_brings_back_is_flagged() -> None:
    wild = Recipe(**{**vars(STEADY), "lr": 30.0, "momentum": 0.0, "weight_decay": 0.0})
    trained = Fitting(mlp, wild).train()
    assert trained.record.flags == ("diverged-once:lr=3",)
    assert_same(trained.state, Fitting(mlp, Recipe(**{**vars(wild), "lr": 3.0})).train().state)


@pytest.mark.parametrize("mode", [True, False], ids=["train", "evaluation"])
def test_a_huge_loss_on_one_split_alone_is_none(mode: bool) -> None:
    """Training may have recovered within the epoch; what is large on unseen samples alone is overfitting."""
    assert Fitting(lambda: far(mode)).train().record.flags == ()


def test_the_epoch_that_counts_is_the_one_that_is_kept() -> None:
    """The second epoch's weights are best; the third is lost."""

    class Late(Far):
        passes = 0

        def forward(self, x: Tensor) -> Tensor:
            self.passes += self.training
            return super().forward(x) if self.passes > 6 else nn.Sequential.forward(self, x)  # type: ignore[no-untyped-call, no-any-return]

    def late() -> nn.Module:
        network = Late(*mlp())
        network.start, network.modes = torch.as_tensor(network[1].weight).detach().clone(), (True, False)
        return network

    trained = Fitting(late, Recipe(**{**vars(STEADY), "select": "loss"})).train()
    assert (trained.record.selected_epoch, trained.record.flags) == (2, ())
    with pytest.raises(Failure, match="^training: diverged: the loss is"):
        Fitting(late).train()


def regression(scale: float) -> Any:
    x = np.random.default_rng(0).standard_normal((40, 4))
    return table(x, scale * x[:, :2], None)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_regression_is_held_against_the_variance_of_its_targets(scale: float) -> None:
    def build() -> nn.Module:
        network = nn.Linear(4, 2)
        nn.init.zeros_(network.weight)
        return network

    calm = Recipe(**{**vars(STEADY), "momentum": 0.0, "weight_decay": 0.0})
    assert Fitting(build, calm, data=regression(scale)).train().record.flags == ()
    wild = Recipe(**{**vars(calm), "lr": 3.0})
    assert Fitting(build, wild, data=regression(scale)).train().record.flags == ("diverged-once:lr=0.3",)


# Where no rate is to blame


class Picky(nn.Linear):
    """Answers no number for large inputs."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.where(x.amax() > 10, math.nan, 0.0)


def test_lbfgs_is_not_tried_again_and_not_told_to_use_another_rate() -> None:
    seen = table(np.random.default_rng(0).random((40, 4)), np.arange(40) % 2, 2)
    data = replace(seen, evaluation=Split(seen.evaluation.x * 99, seen.evaluation.y))
    told: list[int] = []
    with pytest.raises(Failure) as failure:
        Fitting(lambda: Picky(4, 2), Recipe(name="convex", optimizer="lbfgs", epochs=2, weight_decay=0.1), data=data).train(told.append)
    assert str(failure.value) == (
        "training: diverged: the loss is not finite after epoch 1 of 2. "
        "optimizer=lbfgs has no lr to lower. Look for values too large in the data, or raise weight_decay."
    )
    assert told == []


@pytest.mark.parametrize(
    "objective", [CLEAN, ADVERSARIAL, Objective(0.5), Objective(1.0, "trades", 6.0), Objective(1.0, "mart", 6.0)], ids=str
)
@pytest.mark.parametrize(
    "changes", [{"epochs": 1}, {"epochs": 1, "label_smoothing": 0.3}, {"lr": 0.5}, {"optimizer": "lbfgs", "epochs": 1}], ids=str
)
def test_healthy_fits_are_none(objective: Objective, changes: dict[str, Any]) -> None:
    fitting = Fitting(mlp, Recipe(**{**vars(STEADY), **changes}), objective, images(20))
    assert not [flag for flag in fitting.train().record.flags if flag.startswith("diverged")]
