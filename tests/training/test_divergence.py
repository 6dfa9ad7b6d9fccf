"""A loss that is no number: once more at a tenth of the rate, and then never again."""

import math
from collections.abc import Callable

import pytest
import torch
from small_fits import ADVERSARIAL, STEADY, Fitting, assert_same, mlp
from torch import Tensor, nn

from robustradar import Attack, Objective, Recipe, Victim
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
        Fitting(brittle(-1.0)).train()
    assert str(failure.value) == (
        "training: diverged: the loss is not finite after epoch 1 of 3, also at a tenth of the learning rate. Use a smaller lr."
    )
    assert failure.value.lasting


def test_infinite_losses_count_as_well() -> None:
    class Huge(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * math.inf  # type: ignore[no-any-return, no-untyped-call]

    with pytest.raises(Failure, match="^training: diverged: the loss is not finite after epoch 1 of 3, also at a tenth"):
        Fitting(lambda: Huge(*mlp())).train()


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
        Fitting(brittle(-1.0), objective=ADVERSARIAL).train()
