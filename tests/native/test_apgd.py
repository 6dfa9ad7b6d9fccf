"""Auto-PGD: its checkpoints and scores by hand, its promises on a small trained network."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robustradar import Attack, Victim
from robustradar.numerics.balls import norm
from robustradar_native.apgd import Goal, apgd, dlr, targeted_dlr, windows
from robustradar_native.attack import APGDCE, APGDDLR, APGDT, PGD
from robustradar_native.cascade import broken, cascade
from robustradar_native.gradient import losses

INF = math.inf
Make = Callable[..., Victim]
Digits = tuple[nn.Module, Tensor, Tensor]
Box = tuple[float, float] | None
THREATS = [(INF, 0.1), (2.0, 0.6)]


def score(outputs: Tensor, y: Tensor) -> Tensor:
    return outputs[:, 0]


def test_checkpoints_are_the_papers() -> None:
    assert list(windows(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert windows(1) == {}
    assert windows(3) == {1: 1, 2: 1}


def test_scores_by_hand() -> None:
    outputs = torch.tensor([[1.0, 5.0, 2.0, 0.0], [4.0, 1.0, 3.0, 2.0]])
    y, target = torch.tensor([1, 1]), torch.tensor([0, 3])
    torch.testing.assert_close(dlr(outputs, y, target), torch.tensor([-3 / 4, 3 / 2]))
    torch.testing.assert_close(targeted_dlr(outputs, y, target), torch.tensor([-4 / 4.5, 1 / 2.5]))
    for scores in (dlr, targeted_dlr):
        torch.testing.assert_close(scores(7 * outputs + 3, y, target), scores(outputs, y, target))


@pytest.mark.parametrize(("p", "eps"), THREATS)
def test_apgd_reaches_the_worst_case_of_a_linear_model(victim: Make, p: float, eps: float) -> None:
    model = nn.Linear(20, 1)
    x, y = torch.rand(6, 20, generator=torch.Generator().manual_seed(0)), torch.zeros(6)
    v = victim(model, p, eps, None, loss=score)
    rise = losses(v, APGDCE(steps=40).perturb(v, x, y), y) - losses(v, x, y)
    exact = eps * torch.linalg.vector_norm(model.weight, 1 if p == INF else 2)
    torch.testing.assert_close(rise, exact.expand(6), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("p", "eps"), THREATS)
def test_apgd_ce_is_at_least_as_strong_as_pgd_at_equal_steps(victim: Make, digits: Digits, p: float, eps: float) -> None:
    model, x, y = digits
    v = victim(model, p, eps)
    own = losses(v, APGDCE(steps=40).perturb(v, x, y), y)
    pgd = losses(v, PGD(steps=40).perturb(v, x, y), y)
    assert own.mean() >= pgd.mean()
    assert (own >= losses(v, x, y)).all()


@pytest.mark.parametrize(("p", "eps"), THREATS)
@pytest.mark.parametrize("attack", [APGDCE(steps=10), APGDDLR(steps=10), APGDT(steps=10), APGDDLR(steps=1)])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), None, (-0.3, 1.7)])
def test_points_lie_in_ball_and_box(victim: Make, digits: Digits, attack: Attack, p: float, eps: float, bounds: Box) -> None:
    model, x, y = digits
    point = attack.perturb(victim(model, p, eps, bounds), x, y)
    assert (norm(point - x, p) <= eps * (1 + 1e-5) + 2e-6).all()
    if bounds:
        assert point.min() >= bounds[0]
        assert point.max() <= bounds[1]


@pytest.mark.parametrize(("p", "eps"), THREATS)
@pytest.mark.parametrize("attack", [APGDDLR(steps=30), APGDDLR(steps=30, restarts=2), APGDT(steps=20)])
def test_first_success_gives_a_wrong_answer_or_the_clean_input(victim: Make, digits: Digits, attack: Attack, p: float, eps: float) -> None:
    model, x, y = digits
    v = victim(model, p, eps)
    point = attack.perturb(v, x, y)
    moved = (point != x).flatten(1).any(1)
    assert broken(v, point[moved], y[moved]).all()
    assert moved.sum() >= 0.8 * broken(v, PGD(steps=40).perturb(v, x, y), y).sum()
    assert not (moved & broken(v, x, y)).any()


def test_restarts_never_lose(victim: Make, digits: Digits) -> None:
    model, x, y = digits
    one, two = (APGDCE(steps=5, restarts=n).perturb(victim(model), x, y) for n in (1, 2))
    v = victim(model)
    assert (losses(v, two, y) >= losses(v, one, y)).all()


def test_equal_seeds_give_equal_points_and_global_chance_is_left_alone(victim: Make, digits: Digits) -> None:
    model, x, y = digits
    before = torch.get_rng_state()
    for attack in (APGDCE(steps=4), APGDDLR(steps=4), APGDT(steps=2)):
        assert torch.equal(attack.perturb(victim(model), x, y), attack.perturb(victim(model), x, y))
    assert torch.equal(before, torch.get_rng_state())


def test_regression(victim: Make) -> None:
    x, y = torch.rand(6, 5), torch.zeros(6, 2)
    v = victim(nn.Linear(5, 2), loss=lambda outputs, y: (outputs - y).square().sum(1))
    assert (losses(v, APGDCE(steps=10).perturb(v, x, y), y) > losses(v, x, y)).all()


def test_fallen_samples_are_dropped_at_checkpoints(victim: Make, digits: Digits) -> None:
    model, x, y = digits
    rows: list[int] = []

    def counted(inputs: Tensor) -> Tensor:
        rows.append(len(inputs))
        return model(inputs)

    module = nn.Module()
    module.forward = counted
    apgd(victim(module, eps=0.07), x, y, Goal(dlr, 50, stop=True))
    assert rows[0] == 64
    assert rows[-1] < 64
    assert rows == sorted(rows, reverse=True)


def test_cascade_asks_each_member_for_what_is_left() -> None:
    class Threshold(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, 0.5 - x], 1)

    asked = []

    def lower(x: Tensor, y: Tensor) -> Tensor:
        asked.append(x.flatten().tolist())
        return x - 0.25

    model = Threshold()
    x, y = torch.tensor([[0.125], [0.375], [0.625], [0.875]]), torch.zeros(4, dtype=torch.long)
    v = type("V", (), {"model": model})()
    point = cascade(v, x, y, [lower, lambda x, y: x - 0.5, lower])
    assert point.flatten().tolist() == [0.125, 0.125, 0.125, 0.875]
    assert asked == [[0.375, 0.625, 0.875], [0.875]]
