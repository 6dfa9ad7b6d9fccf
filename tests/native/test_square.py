"""Square Attack: shapes and schedule by hand, black box, never stronger than what it may use."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robustradar import Victim
from robustradar.numerics.balls import norm
from robustradar_native.attack import PGD, Square
from robustradar_native.cascade import broken
from robustradar_native.square import bump, window

INF = math.inf
Make = Callable[..., Victim]
Digits = tuple[nn.Module, Tensor, Tensor]
Box = tuple[float, float] | None
THREATS = [(INF, 0.1), (2.0, 0.6)]


class Watched(nn.Module):
    """Counts queries a sample, and whether a graph was recorded."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.rows, self.grad = model, [], False

    def forward(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))
        self.grad |= torch.is_grad_enabled()
        return self.model(x)


def test_window_follows_the_schedule() -> None:
    sides = [window(query, 10_000, (32, 32), odd=False) for query in (0, 10, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)]
    assert sides == [round(math.sqrt(0.8 * 1024 / 2**k)) for k in (0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)]
    assert window(50, 1000, (32, 32), odd=False) == window(500, 10_000, (32, 32), odd=False)
    assert window(9999, 10_000, (8, 8), odd=False) == 1
    assert window(9999, 10_000, (8, 8), odd=True) == 3
    assert window(0, 10, (2, 2), odd=True) == 2


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (5, 5), (6, 6), (1, 1), (2, 2), (7, 7)])
def test_bumps_are_two_opposite_peaks_of_norm_one(rows: int, columns: int) -> None:
    shape = bump(rows, columns)
    assert shape.shape == (rows, columns)
    torch.testing.assert_close(shape.norm(), torch.tensor(1.0))
    if rows > 1:
        assert (shape[: rows // 2] > 0).all()
        assert (shape[rows // 2 :] < 0).all()


@pytest.mark.parametrize(("p", "eps"), THREATS)
@pytest.mark.parametrize("bounds", [(0.0, 1.0), None, (-0.3, 1.7)])
def test_finds_wrong_answers_inside_ball_and_box(victim: Make, digits: Digits, p: float, eps: float, bounds: Box) -> None:
    model, x, y = digits
    v = victim(model, p, eps, bounds)
    point = Square(queries=200).perturb(v, x, y)
    moved = (point != x).flatten(1).any(1)
    assert moved.any()
    assert (norm(point - x, p) <= eps * (1 + 1e-5) + 2e-6).all()
    assert broken(v, point[moved], y[moved]).all()
    if bounds:
        assert point.min() >= bounds[0]
        assert point.max() <= bounds[1]


@pytest.mark.parametrize(("p", "eps"), THREATS)
def test_black_box_breaks_no_more_than_white_box(victim: Make, digits: Digits, p: float, eps: float) -> None:
    model, x, y = digits
    v = victim(model, p, eps)
    black = broken(v, Square(queries=300).perturb(v, x, y), y).sum()
    white = broken(v, PGD(steps=50, restarts=2).perturb(v, x, y), y).sum()
    assert broken(v, x, y).sum() < black <= white


@pytest.mark.parametrize(("p", "eps"), THREATS)
def test_more_queries_break_more(victim: Make, digits: Digits, p: float, eps: float) -> None:
    model, x, y = digits
    v = victim(model, p, eps)
    few, many = (broken(v, Square(queries=n).perturb(v, x, y), y).sum() for n in (5, 300))
    assert few < many


def test_uses_forward_passes_alone_and_only_on_unbroken_samples(victim: Make, digits: Digits) -> None:
    model, x, y = digits
    watched = Watched(model)
    Square(queries=50).perturb(victim(watched, eps=0.15), x, y)
    assert not watched.grad
    assert len(watched.rows) <= 52
    assert watched.rows[1:] == sorted(watched.rows[1:], reverse=True)
    assert watched.rows[-1] < 64


def test_equal_seeds_give_equal_points_and_global_chance_is_left_alone(victim: Make, digits: Digits) -> None:
    model, x, y = digits
    before = torch.get_rng_state()
    for p, eps in THREATS:
        first, again = (Square(queries=20).perturb(victim(model, p, eps), x, y) for _ in range(2))
        assert torch.equal(first, again)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("p", "eps"), THREATS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 5), (3, 7, 4)])
def test_odd_shapes(victim: Make, p: float, eps: float, shape: tuple[int, ...]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 3))
    x, y = torch.rand(5, *shape), torch.tensor([0, 1, 2, 0, 1])
    assert Square(queries=12).perturb(victim(model, p, eps), x, y).shape == x.shape


class Tied(nn.Module):
    """The first output is always 0, the second one dead until the first pixel is above 1/2."""

    def forward(self, x: Tensor) -> Tensor:
        rise = (x[:, 0, 0, 0] - 0.5).relu()
        return torch.stack([0 * rise, rise], 1)


@pytest.mark.parametrize(("p", "eps"), [(INF, 0.3), (2.0, 1.2)])
def test_tied_outputs_are_right_where_the_first_one_is_and_go_on_being_attacked(victim: Make, p: float, eps: float) -> None:
    x, y = torch.full((6, 1, 4, 4), 0.4), torch.zeros(6, dtype=torch.int64)
    v = victim(Tied(), p, eps)
    assert not broken(v, x, y).any()
    assert broken(v, Square(queries=500).perturb(v, x, y), y).any()
    assert torch.equal(Square(queries=5).perturb(v, x, y + 1), x)  # wrong already


def test_a_tie_that_answers_rightly_breaks_nothing(victim: Make) -> None:
    """All outputs are the same for all inputs, so no point is better than the clean one."""
    flat = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    for parameter in flat.parameters():
        nn.init.zeros_(parameter)
    x = torch.rand(4, 1, 4, 4)
    assert torch.equal(Square(queries=5).perturb(victim(flat), x, torch.zeros(4, dtype=torch.int64)), x)
