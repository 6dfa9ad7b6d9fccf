"""Objectives against formulas written by hand in float64, their gradients too, and what TRADES' adversary looks for."""

import math
from collections.abc import Callable

import pytest
import torch
from small_fits import mlp, normed
from torch import Tensor, nn
from torch.nn import functional

from robustradar import Attack, Objective, Threat, Victim
from robustradar.judge import Guarded
from robustradar.training.objective import Passes, divergence, loss, passes
from robustradar_native.attack import FGSM, PGD

TRADES, MART = Objective(1.0, "trades", 6.0), Objective(1.0, "mart", 5.0)


def p(z: Tensor) -> Tensor:
    e = z.double().exp()
    return e / e.sum(1, keepdim=True)


def ce(z: Tensor, y: Tensor) -> Tensor:
    return torch.stack([-p(z)[i, k].log() for i, k in enumerate(y)])


def kl(z: Tensor, z_adv: Tensor) -> Tensor:
    a, b = p(z), p(z_adv)
    return (a * (a / b).log()).sum(1)


def bce(z: Tensor, y: Tensor) -> Tensor:
    q = p(z)
    order = q.detach()
    rivals = torch.stack([q[i, max((k for k in range(q.shape[1]) if k != y[i]), key=lambda k: float(order[i, k]))] for i in range(len(y))])
    return ce(z, y) - (1 - rivals).log()


def smoothed(z: Tensor, y: Tensor, s: float) -> Tensor:
    return (1 - s) * ce(z, y) - s * p(z).log().mean(1)


Formula = Callable[[Tensor, Tensor, Tensor], Tensor]
FORMULAS: dict[str, tuple[Objective, float, Formula]] = {
    "clean": (Objective(0.0), 0.0, lambda z, a, y: ce(z, y)),
    "adversarial": (Objective(1.0), 0.0, lambda z, a, y: ce(a, y)),
    "mixture": (Objective(0.3), 0.0, lambda z, a, y: 0.7 * ce(z, y) + 0.3 * ce(a, y)),
    "smoothed mixture": (Objective(0.3), 0.1, lambda z, a, y: 0.7 * smoothed(z, y, 0.1) + 0.3 * smoothed(a, y, 0.1)),
    "trades": (TRADES, 0.0, lambda z, a, y: ce(z, y) + 6 * kl(z, a)),
    "smoothed trades": (TRADES, 0.2, lambda z, a, y: smoothed(z, y, 0.2) + 6 * kl(z, a)),
    "mart": (MART, 0.0, lambda z, a, y: bce(a, y) + 5 * kl(z, a) * (1 - p(z).gather(1, y[:, None])[:, 0])),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("classes", [2, 5])
def test_losses_and_gradients_are_the_formulas(name: str, classes: int) -> None:
    objective, smoothing, formula = FORMULAS[name]
    generator = torch.Generator().manual_seed(classes)
    z, a = (3 * torch.randn(7, classes, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    y = torch.arange(7) % classes
    found = loss(objective, Passes(z, a), y, classes, smoothing)
    expected = formula(z, a, y)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    ours = torch.autograd.grad(found.sum(), (z, a), allow_unused=True)
    theirs = torch.autograd.grad(expected.sum(), (z, a), allow_unused=True)
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_mixture_of_squared_errors() -> None:
    z, a, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert loss(Objective(0.25), Passes(z, a), y, None).tolist() == [0.75 * (1 + 1) + 0.25 * (9 + 1)]


@pytest.mark.parametrize("objective", [TRADES, MART], ids=str)
def test_both_passes_are_needed(objective: Objective) -> None:
    with pytest.raises(TypeError, match=rf"^{objective} needs both passes$"):
        loss(objective, Passes(torch.zeros(1, 2), None), torch.tensor([0]), 2)


def test_mart_keeps_its_slope_where_a_rival_has_all_probability() -> None:
    """−log(1 − p) of a rival with p = 1 to rounding: about the gap of the logits, with slope 1."""
    z = torch.tensor([[0.0, 40.0, 0.0]], requires_grad=True)
    found = loss(Objective(1.0, "mart", 0.0), Passes(z, z), torch.tensor([0]), 3)
    torch.testing.assert_close(found.item(), 40 + 40 - math.log(2), rtol=1e-6, atol=0)
    (g,) = torch.autograd.grad(found.sum(), z)
    torch.testing.assert_close(g, torch.tensor([[-1.5, 2.0, -0.5]]))


def test_losses_of_bfloat16_outputs_are_float32() -> None:
    z, y = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).bfloat16(), torch.tensor([0, 1, 2, 0])
    for objective in (Objective(0.5), TRADES, MART):
        assert loss(objective, Passes(z, z), y, 3, 0.1).dtype == torch.float32
    assert loss(Objective(0.5), Passes(z, z), z.float(), None).dtype == torch.float32


def test_trades_adversary_finds_the_largest_divergence_in_the_ball() -> None:
    """A dense grid of the square is the oracle. Every start has a maximum where its answer gets surer, so several are needed."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3))
    network[2].weight.data.mul_(6)  # type: ignore[operator]
    x, y = torch.rand(20, 2), torch.arange(20) % 3
    side = torch.linspace(-0.3, 0.3, 61)
    grid = (x[:, None] + torch.cartesian_prod(side, side)).clamp(0, 1)
    with torch.no_grad():
        z = network(x)
        most = torch.stack([divergence(z[i : i + 1].expand(len(points), -1), network(points)).amax() for i, points in enumerate(grid)])
        attack = Guarded(PGD(name="pgd", steps=40, restarts=10), "attack", Threat(math.inf, 0.3, (0.0, 1.0)), 3, 0)
        found = passes(network, x, y, TRADES, attack)
        ordinary = network(attack.perturb(network, x, y))
    assert found.adversarial is not None
    ours = divergence(z, found.adversarial)
    assert (ours >= 0.98 * most).all()
    assert ours.mean() > 1.2 * divergence(z, ordinary).mean()  # what raises the loss is not what moves the answer


class Watch(Attack):
    """Says what it met."""

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        self.met.append((victim.model.training, victim.loss(victim.model(x), y).detach()))  # type: ignore[attr-defined]
        return x


def watching() -> tuple[Guarded, list[tuple[bool, Tensor]]]:
    attack, met = Watch(name="watch"), []  # type: ignore[var-annotated]
    object.__setattr__(attack, "met", met)
    return Guarded(attack, "attack", Threat(math.inf, 0.1, (0.0, 1.0)), 3, 0), met


@pytest.mark.parametrize("statistics", ["evaluation", "batch"])
def test_trades_reference_is_taken_in_the_mode_that_the_attack_meets(statistics: str) -> None:
    network = normed().train()
    network[1].eval()  # a frozen layer, which must stay frozen
    guarded, met = watching()
    guarded.batch_statistics = statistics == "batch"
    x, y = torch.rand(8, 2, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    passes(network, x, y, TRADES, guarded)
    ((training, at_clean),) = met
    assert not training
    torch.testing.assert_close(at_clean, torch.zeros(8), atol=1e-6, rtol=0)  # no dropout, the same statistics on both sides
    assert network.training
    assert not network[1].training


def test_clean_passes_are_not_made_where_they_do_not_count() -> None:
    network, x, y = mlp(), torch.rand(2, 2, 8, 8), torch.tensor([0, 1])
    guarded = Guarded(FGSM(name="fgsm"), "attack", Threat(math.inf, 0.1, (0.0, 1.0)), 3, 0)
    assert passes(network, x, y, Objective(1.0), guarded).clean is None
    assert passes(network, x, y, Objective(0.0), None).adversarial is None
    both = passes(network, x, y, Objective(0.5), guarded)
    assert both.clean is not None
    assert functional.cross_entropy(both.adversarial, y) > functional.cross_entropy(both.clean, y)  # type: ignore[arg-type]
