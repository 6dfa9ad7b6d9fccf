"""Paths with a trained bend: in closed form for linear regression, bit for bit at their ends, and with BatchNorm against torch's own."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from robustradar_papers.residual import preact_resnet18
from robustradar_transition import path
from robustradar_transition.path import Corners, Curve, Plane, State, Surface, Training

CURVES: tuple[Curve, ...] = ("bezier", "chain")
# E[m], E[m²], E[m·s] = E[m·e] of the weights s, m, e of start, bend and end, for t uniform in [0, 1].
MOMENTS = {"bezier": (1 / 3, 2 / 15, 1 / 10), "chain": (1 / 2, 1 / 3, 1 / 12)}


def squared(z: Tensor, y: Tensor) -> Tensor:
    return (z[:, 0] - y).square()


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def regression(n: int = 64, d: int = 3) -> Surface:
    """Noisy targets of a linear map."""
    x = drawn(n, d)
    return Surface.of(nn.Linear(d, 1, bias=False).double(), squared, x, x @ drawn(d, seed=1) + drawn(n, seed=2), 0)


def point(*values: float) -> State:
    return {"weight": torch.tensor([values], dtype=torch.float64)}


A, B = point(3, -1, 0.5), point(-1, 2, 1)


def expected_loss(surface: Surface, corners: Corners, curve: Curve) -> float:
    """The mean over t, by Simpson's rule: exact for the Bézier curve's quartic but for 1e-7, exact for the chain's parabolas."""
    k = 100
    rule = torch.tensor([1.0, *[4.0, 2.0] * (k // 2 - 1), 4.0, 1.0], dtype=torch.float64) / (3 * k)
    found = path.profile(surface, corners, curve, k + 1, (surface.x, surface.y))
    return float(rule @ found.train.mean(1))


def best(surface: Surface, curve: Curve) -> State:
    """The bend of least expected loss: the root of its gradient, 2·E[m·(H·θ(t) − c)] with H = xᵀx/n and c = xᵀy/n."""
    first, second, mixed = MOMENTS[curve]
    theta = torch.linalg.lstsq(surface.x, surface.y[:, None]).solution.T
    return {"weight": (first * theta - mixed * (A["weight"] + B["weight"])) / second}


@pytest.mark.parametrize("curve", CURVES)
def test_the_closed_form_is_the_minimum_of_the_expected_loss(curve: Curve) -> None:
    surface = regression()
    bend = best(surface, curve)
    least = expected_loss(surface, Corners(A, bend, B), curve)
    slopes = []
    for i in range(3):
        step = torch.zeros(1, 3, dtype=torch.float64)
        step[0, i] = 1e-3
        up, down = (expected_loss(surface, Corners(A, {"weight": bend["weight"] + s * step}, B), curve) for s in (1, -1))
        assert min(up, down) > least
        slopes.append((up - down) / 2e-3)
    assert slopes == pytest.approx([0] * 3, abs=1e-6)


@pytest.mark.parametrize("curve", CURVES)
def test_training_finds_the_closed_form(curve: Curve) -> None:
    surface = regression(256)
    corners, losses = path.train(surface, A, B, Training(curve, epochs=120, lr=0.1, seed=0, batch=16))
    exact, midpoint = best(surface, curve), {"weight": (A["weight"] + B["weight"]) / 2}
    least = expected_loss(surface, Corners(A, exact, B), curve)
    gained = expected_loss(surface, Corners(A, midpoint, B), curve) - least
    assert expected_loss(surface, corners, curve) - least < 0.002 * gained, "what is missing is chance: of t, and of the batch"
    assert float((corners.bend["weight"] - exact["weight"]).norm() / (midpoint["weight"] - exact["weight"]).norm()) < 0.05
    assert len(losses) == 120
    assert sum(losses[-30:]) / 30 == pytest.approx(least, rel=0.05), "an epoch's loss is an estimate of the expected one"


@pytest.mark.parametrize("curve", ["line", *CURVES])
def test_the_weights_add_up_and_the_ends_are_the_networks_to_the_bit(curve: Curve) -> None:
    start, bend, end = ({"w": torch.tensor([s * 0.1, -0.0, s * 1e-40])} for s in (1, 2, 3))
    corners = Corners(start, bend, end)
    assert corners.at(path.weights(curve, 0.0)) is start
    assert corners.at(path.weights(curve, 1.0)) is end
    for t in torch.linspace(0, 1, 13).tolist():
        weights = path.weights(curve, t)
        assert sum(weights) == pytest.approx(1, abs=1e-12)
        assert min(weights) >= 0
    if curve == "chain":
        assert corners.at(path.weights(curve, 0.5)) is bend
    halfway = corners.at((0.5, 0.0, 0.5))["w"]
    torch.testing.assert_close(halfway, bend["w"])


def resnet(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return preact_resnet18((1, 8, 8), 3, 2).eval()


def images(n: int) -> tuple[Tensor, Tensor]:
    """Images of three brightnesses, sorted by class."""
    y = torch.arange(n) * 3 // n
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + y.view(-1, 1, 1, 1), y


def entropy(z: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(z, y, reduction="none")


@pytest.mark.parametrize("n", [60, 300])
def test_running_statistics_are_those_of_torch(n: int) -> None:
    with torch.random.fork_rng():
        models = resnet(0), resnet(1)
    x, y = images(n)
    surface = Surface.of(models[0], entropy, x, y, 0)
    for t in (0.0, 0.3, 1.0):
        corners = Corners(*(path.parameters(models[i]) for i in (0, 0, 1)))
        theta = corners.at(path.weights("line", t))
        twin = copy.deepcopy(models[1])
        for name, p in twin.named_parameters():
            p.data = theta[name].clone()
        for module in twin.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None  # torch's cumulative mean, for batches of one size
        with torch.no_grad():
            twin.train()
            for chosen in surface.order.split(n if n <= 256 else n // 2):
                twin(x[chosen])
            expected = entropy(twin.eval()(x), y)
        train, few = surface.losses(theta, (x, y), (x[:5], y[:5]))
        torch.testing.assert_close(train, expected.double(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(few, train[:5], rtol=1e-5, atol=1e-6)
        assert train.dtype == torch.float64


class Noisy(nn.Module):
    """BatchNorm, dropout, a frozen layer and a tied one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)
        self.frozen = nn.Parameter(torch.tensor(2.0), requires_grad=False)
        self.again = self.first

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.again(self.first(x)).relu())
        z: Tensor = self.last(nn.functional.dropout(h, 0.5, self.training))
        return z * self.frozen


@pytest.mark.parametrize("curve", CURVES)
def test_nothing_that_was_given_changes_and_training_repeats_to_the_bit(curve: Curve) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        models = Noisy().eval(), Noisy().eval()
    models[0].norm.running_mean.fill_(7)  # type: ignore[union-attr]
    states = [{name: v.clone() for name, v in m.state_dict().items()} for m in models]
    versions = [v._version for m in models for v in (*m.parameters(), *m.buffers())]
    x, y = torch.rand(50, 4, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 3
    chance = torch.get_rng_state()
    start, end = map(path.parameters, models)

    def trained(seed: int) -> tuple[Corners, list[float]]:
        return path.train(Surface.of(models[0], entropy, x, y, seed), start, end, Training(curve, 3, 0.1, seed, batch=7))

    (one, losses), (two, again), (other, _) = trained(0), trained(0), trained(1)
    assert losses == again
    assert all(torch.equal(p, two.bend[name]) for name, p in one.bend.items())
    assert not torch.equal(one.bend["last.weight"], other.bend["last.weight"])
    assert float(one.bend["frozen"]) == 2
    assert not any(p.requires_grad for p in one.bend.values())
    assert "again.weight" not in one.bend
    surface = Surface.of(models[0], entropy, x, y, 0)
    assert torch.equal(*(path.profile(surface, one, curve, 3, (x, y)).train for _ in range(2)))
    assert torch.equal(chance, torch.get_rng_state())
    assert not any(module.training for m in models for module in m.modules())
    assert versions == [v._version for m in models for v in (*m.parameters(), *m.buffers())]
    assert all(torch.equal(v, state[name]) for m, state in zip(models, states, strict=True) for name, v in m.state_dict().items())
    assert all(p.grad is None for m in models for p in m.parameters())


def test_the_rate_is_relative_to_the_parameters() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
    x, y = torch.rand(20, 4), torch.arange(20) % 3

    def step(scale: float) -> Tensor:
        start = {name: scale * p for name, p in path.parameters(model).items()}
        corners, _ = path.train(Surface.of(model, entropy, x, y, 0), start, start, Training("chain", 1, 0.01, 0, batch=20))
        moved: Tensor = (corners.bend["weight"] - start["weight"]).abs()
        return moved

    rms, share = float(path.parameters(model)["weight"].square().mean().sqrt()), Training("chain", 1, 0.01, 0).share(0.5)
    assert share == pytest.approx(0.5)
    torch.testing.assert_close(step(1), torch.full((3, 4), 0.01 * share * rms), rtol=1e-3, atol=0)
    torch.testing.assert_close(step(100), 100 * step(1), rtol=1e-2, atol=0)
    assert [Training("chain", 1, 1, 0).share(done) for done in (0.0, 0.05, 1.0)] == pytest.approx([0, 0.5, 0])


def test_a_plane_has_its_three_points_where_they_are() -> None:
    bend = point(2, 2, -3)
    corners = Corners(A, bend, B)
    plane = Plane.of(corners)
    assert plane is not None
    three = [plane.at(w) for w in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    for i, one in enumerate((A, bend, B)):
        for j, other in enumerate((A, bend, B)):
            assert math.dist(three[i], three[j]) == pytest.approx(float((one["weight"] - other["weight"]).norm()))
    assert three[0] == (0, 0)
    assert three[2][1] == 0
    for u, v in ((0.3, -2.0), (5.0, 1.5)):
        weights = plane.weights(u, v)
        assert sum(weights) == pytest.approx(1)
        assert plane.at(weights) == pytest.approx((u, v))
        distance = (corners.at(weights)["weight"] - A["weight"]).norm()
        assert float(distance) == pytest.approx(math.hypot(u, v)), "the basis is orthonormal"


def test_the_contour_is_the_loss_on_the_plane() -> None:
    surface, corners = regression(), Corners(A, point(2, 2, -3), B)
    plane = Plane.of(corners)
    assert plane is not None
    us, vs = plane.axes(5)
    assert us[0] < 0 < plane.length < us[-1]
    assert vs[0] < 0 < plane.height < vs[-1]
    across = (B["weight"] - A["weight"]) / plane.length
    up = (corners.bend["weight"] - A["weight"] - plane.along * across) / plane.height
    for v, row in zip(vs, path.contour(surface, corners, plane, 5), strict=True):
        expected = [float((surface.x @ (A["weight"] + u * across + v * up)[0] - surface.y).square().mean()) for u in us]
        assert row == pytest.approx(expected)


def test_a_bend_on_the_line_makes_no_plane() -> None:
    assert Plane.of(Corners(A, {"weight": (A["weight"] + B["weight"]) / 2}, B)) is None


def test_buffers_that_are_no_running_statistics_are_strangers() -> None:
    one, other = Noisy(), Noisy()
    other.norm.running_mean.fill_(3)  # type: ignore[union-attr]
    assert path.strangers(one, other) == []
    for model, value in ((one, 1.0), (other, 2.0)):
        model.register_buffer("scale", torch.tensor(value))
        model.register_buffer("shift", torch.tensor(0.0))
    assert path.strangers(one, other) == ["scale"]
