"""Counted work beside closed forms."""

import dataclasses
from collections.abc import Callable

import pytest
import torch
from small_fits import ADVERSARIAL, CLEAN, STEADY, Fitting, mlp, normed
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from robustradar import Objective, Recipe
from robustradar.numerics.curvature import hessian
from robustradar.numerics.problem import Problem
from robustradar.training.cost import Meter, flops
from robustradar.training.loss import cross_entropy
from robustradar_native.attack import PGD

N, M, EPOCHS, STEPS = 40, 24, 3, 3  # training and evaluation samples
PER_MLP = 2 * (128 * 12 + 12 * 3)

# Training passes, passes of the attack (its losses at every iterate, and at the last), and passes of the evaluation, a sample.
CASES = {
    "clean": (CLEAN, N + M, N, 0),
    "adversarial": (ADVERSARIAL, N * (STEPS + 1 + 1) + M * (1 + STEPS + 1 + 1), N, (N + M) * STEPS),
    "mixture": (Objective(0.5), N * (STEPS + 1 + 2) + M * (1 + STEPS + 1 + 1), N * 2, (N + M) * STEPS),
    "trades": (Objective(1.0, "trades", 1.0), (N + M) * (STEPS + 1 + 3), N * 2, (N + M) * STEPS),
    "mart": (Objective(1.0, "mart", 1.0), (N + M) * (STEPS + 1 + 2), N * 2, (N + M) * STEPS),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_passes_and_operations_are_counted(name: str, average: float) -> None:
    objective, forward, outer, inner = CASES[name]
    recipe = Recipe(**{**vars(STEADY), "average": average})
    cost = Fitting(mlp, recipe, objective, attack=PGD(name="pgd", steps=STEPS)).train().record.cost
    assert cost.forward == EPOCHS * forward
    assert cost.backward == EPOCHS * (outer + inner)
    assert cost.flops == EPOCHS * (forward + inner + 2 * outer) * PER_MLP
    assert cost.memory is None
    assert cost.seconds > 0


def test_operations_of_one_sample() -> None:
    loop = Fitting(normed).loop()
    assert flops(loop.network, loop.data) == 2 * (64 * 6 * 2 * 9 + 96 * 3)


def test_counting_leaves_modes_as_they_are() -> None:
    loop = Fitting(normed).loop()
    loop.network.train()
    loop.network[1].eval()  # type: ignore[index]
    modes = [m.training for m in loop.network.modules()]
    flops(loop.network, loop.data)
    assert [m.training for m in loop.network.modules()] == modes


def test_hooks_are_gone_afterwards() -> None:
    loop = Fitting(mlp).loop()
    from robustradar.training.train import train

    train(loop, None, lambda _: None)
    assert not loop.network._forward_hooks


def test_frozen_layers_are_no_sign_of_an_attack() -> None:
    def half() -> object:
        network = mlp()
        network[1].requires_grad_(False)
        return network

    frozen, free = (Fitting(f).train().record.cost for f in (half, mlp))  # type: ignore[arg-type]
    assert dataclasses.replace(frozen, seconds=0) == dataclasses.replace(free, seconds=0)


def products(rung: str, memory: int) -> Callable[[Problem], None]:
    def taken(problem: Problem) -> None:
        with hessian(problem, rung=rung, memory=memory) as H:  # type: ignore[arg-type]
            for _ in range(5):
                H @ torch.ones(H.size)

    return taken


def gradient(problem: Problem) -> None:
    torch.autograd.grad(problem.losses(*next(iter(problem.inputs()))).mean(), problem.parameters)


@pytest.mark.parametrize(
    "work",
    [gradient, products("exact", 2**30), products("exact", 0), products("gauss-newton", 0)],
    ids=["gradient", "products of kept graphs", "products of graphs built anew", "Gauss-Newton products"],
)
def test_second_derivatives_count_as_what_they_take(work: Callable[[Problem], None]) -> None:
    """Counted by the operations that PyTorch dispatched; the first layer's inputs need no gradient, which is some percent here."""
    loop = Fitting(normed).loop()
    net = nn.Sequential(
        nn.Conv2d(2, 16, 3, padding=1), nn.Tanh(), nn.Conv2d(16, 16, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(1024, 3)
    )
    meter = Meter(loop.data)
    meter.watch(net.eval())
    problem = Problem(net, cross_entropy, [next(iter(loop.data.splits["train"]))])
    with FlopCounterMode(display=False) as counted:
        work(problem)
    assert 1 < meter.cost.flops / counted.get_total_flops() < 1.15
