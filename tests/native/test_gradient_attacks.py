"""FGSM, FGM, PGD and momentum PGD against exact worst cases of linear models, and on a small trained network."""

import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchattacks
from torch import Tensor, nn

from robustradar import Attack, Victim
from robustradar.numerics.balls import norm
from robustradar_native.attack import FGM, FGSM, NFGSM, PGD, Momentum, attacks
from robustradar_native.gradient import Climb, fgm, losses, pgd

INF = math.inf
Make = Callable[..., Victim]
Digits = tuple[nn.Module, Tensor, Tensor]
Box = tuple[float, float] | None
ORDERS = [1.0, 1.5, 2.0, 4.0, INF]
EPS = {1.0: 1.5, 1.5: 0.9, 2.0: 0.7, 4.0: 0.4, INF: 0.2}


def score(outputs: Tensor, y: Tensor) -> Tensor:
    """A loss that is the output itself."""
    return outputs[:, 0]


def linear(m: int = 20, seed: int = 1) -> nn.Linear:
    model = nn.Linear(m, 1, bias=False)
    model.weight.data = torch.randn(1, m, generator=torch.Generator().manual_seed(seed))
    return model


def inputs(n: int = 6, m: int = 20) -> Tensor:
    """Points in the unit box, some coordinates on its walls."""
    x = torch.rand(n, m, generator=torch.Generator().manual_seed(2))
    return torch.where(x < 0.2, 0.0, torch.where(x > 0.8, 1.0, x))


def largest_rise(theta: np.ndarray, x: np.ndarray, p: float, eps: float, bounds: Box) -> float:
    """max theta.d in ball and box: by Hoelder, greedily (p = 1), by clipping (p = inf) or by bisection on the multiplier."""
    b = np.abs(theta)
    room = np.full_like(b, np.inf) if bounds is None else np.where(theta > 0, bounds[1] - x, x - bounds[0])
    if p == INF:
        return float((b * np.minimum(eps, room)).sum())
    if p == 1:
        left, total = eps, 0.0
        for k in np.argsort(-b):
            spent = min(left, room[k])
            left, total = left - spent, total + b[k] * spent
        return float(total)
    low, high = 0.0, 1e9
    for _ in range(300):
        middle = (low + high) / 2
        fits = (np.minimum(room, middle * b ** (1 / (p - 1))) ** p).sum() <= eps**p
        low, high = (middle, high) if fits else (low, middle)
    return float((b * np.minimum(room, low * b ** (1 / (p - 1)))).sum())


def exact_rises(model: nn.Module, x: Tensor, p: float, eps: float, bounds: Box) -> Tensor:
    theta = model.weight[0].double().numpy()
    return torch.tensor([largest_rise(theta, row.double().numpy(), p, eps, bounds) for row in x])


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
@pytest.mark.parametrize("p", ORDERS)
def test_fgm_is_the_exact_worst_case_of_a_linear_model(victim: Make, p: float, bounds: Box) -> None:
    model, x, y = linear(), inputs(), torch.zeros(6)
    v = victim(model, p, EPS[p], bounds, loss=score)
    rise = losses(v, fgm(v, x, y), y) - losses(v, x, y)
    torch.testing.assert_close(rise, exact_rises(model, x, p, EPS[p], bounds), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
@pytest.mark.parametrize("p", ORDERS)
def test_pgd_reaches_the_exact_worst_case_of_a_linear_model(victim: Make, p: float, bounds: Box) -> None:
    model, x, y = linear(), inputs(), torch.zeros(6)
    v = victim(model, p, EPS[p], bounds, loss=score)
    steps = 100 if bounds and p in (1.5, 2.0, 4.0) else 40  # there the way along the ball's curved side takes long
    _, top = pgd(v, x, y, Climb(steps, 2.5 * EPS[p] / steps, random_start=False))
    ratio = (top - losses(v, x, y)) / exact_rises(model, x, p, EPS[p], bounds)
    assert ratio.min() >= 0.999
    assert ratio.max() <= 1.00002


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0)])
@pytest.mark.parametrize(("p", "share"), [(1.0, 0.95), (1.5, 0.9), (2.0, 0.95), (4.0, 0.97), (INF, 0.99999)])
def test_pgd_from_a_random_start_comes_near_it(victim: Make, p: float, share: float, bounds: Box) -> None:
    model, x, y = linear(), inputs(), torch.zeros(6)
    v = victim(model, p, EPS[p], bounds, loss=score)
    top = losses(v, PGD(steps=20).perturb(v, x, y), y)
    assert ((top - losses(v, x, y)) / exact_rises(model, x, p, EPS[p], bounds)).min() >= share


@pytest.mark.parametrize("bounds", [None, (0.0, 1.0), (-0.3, 1.7)])
@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("attack", [FGM(), PGD(), PGD(random_start=False), Momentum()])
def test_points_lie_in_ball_and_box(victim: Make, attack: Attack, p: float, bounds: Box) -> None:
    x = inputs()
    v = victim(nn.Linear(20, 4), p, EPS[p], bounds)
    point = attack.perturb(v, x, torch.tensor([0, 1, 2, 3, 0, 1]))
    assert (norm(point - x, p) <= EPS[p] * (1 + 1e-5) + 2e-6).all()
    if bounds:
        assert point.min() >= bounds[0]
        assert point.max() <= bounds[1]
    assert not point.requires_grad


@pytest.mark.parametrize("p", ORDERS)
def test_a_flat_loss_gives_finite_points(victim: Make, p: float) -> None:
    """Saturated networks have gradients that are exactly zero."""
    x = inputs()
    v = victim(nn.Linear(20, 1), p, EPS[p], loss=lambda outputs, y: (outputs[:, 0] * 0).relu())
    for attack in (FGM(), PGD(), Momentum()):
        assert torch.isfinite(attack.perturb(v, x, torch.zeros(6))).all()


def test_regression_with_several_targets(victim: Make) -> None:
    x, y = inputs(), torch.zeros(6, 3)
    v = victim(nn.Linear(20, 3), loss=lambda outputs, y: (outputs - y).square().sum(1))
    assert (losses(v, PGD().perturb(v, x, y), y) > losses(v, x, y)).all()


@pytest.mark.parametrize("attack", [PGD(), PGD(random_start=False), PGD(restarts=2), Momentum()])
@pytest.mark.parametrize(("p", "eps"), [(1.0, 2.0), (2.0, 0.5), (INF, 0.1)])
def test_loss_is_not_below_the_clean_one(victim: Make, digits: Digits, attack: Attack, p: float, eps: float) -> None:
    model, x, y = digits
    v = victim(model, p, eps)
    assert (losses(v, attack.perturb(v, x, y), y) >= losses(v, x, y)).all()


@pytest.mark.parametrize("p", [1.0, 2.0, INF])
def test_loss_grows_with_eps(victim: Make, digits: Digits, p: float) -> None:
    model, x, y = digits
    found = []
    for scale in (0.05, 0.1, 0.2, 0.4, 0.8):
        v = victim(model, p, scale * EPS[p])
        found.append(float(losses(v, PGD(steps=20).perturb(v, x, y), y).mean()))
    assert found == sorted(found)
    assert found[-1] > 2 * found[0]


def test_more_restarts_never_lose(victim: Make, digits: Digits) -> None:
    model, x, y = digits
    _, one = pgd(victim(model), x, y, Climb(5, 0.05, restarts=1))
    _, three = pgd(victim(model), x, y, Climb(5, 0.05, restarts=3))
    assert (three >= one).all()
    assert (three > one).any()


def test_the_loss_returned_is_that_of_the_point(victim: Make, digits: Digits) -> None:
    model, x, y = digits
    v = victim(model)
    best, top = pgd(v, x, y, Climb(5, 0.05))
    torch.testing.assert_close(losses(v, best, y), top)


def test_equal_seeds_give_equal_points_and_global_chance_is_left_alone(victim: Make, digits: Digits) -> None:
    model, x, y = digits
    before = torch.get_rng_state()
    first, again, other = (PGD(steps=3).perturb(victim(model, seed=seed), x, y) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("p", ORDERS)
def test_samples_do_not_depend_on_their_batch(victim: Make, digits: Digits, p: float) -> None:
    model, x, y = digits
    attack, v = PGD(steps=4, random_start=False), victim(model, p, 0.5 * EPS[p])
    whole = losses(v, attack.perturb(v, x[:8], y[:8]), y[:8])
    parts = torch.cat([losses(v, attack.perturb(v, x[i : i + 1], y[i : i + 1]), y[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(whole, parts, rtol=1e-3, atol=1e-5)


def test_inputs_are_left_as_they_are(victim: Make, digits: Digits) -> None:
    model, x, y = digits
    kept = x.clone()
    for attack in (FGSM(), FGM(), PGD(), PGD(random_start=False), Momentum()):
        attack.perturb(victim(model), x, y)
    assert torch.equal(x, kept)
    assert not x.requires_grad


def test_loss_is_not_below_torchattacks_from_the_same_start(victim: Make, digits: Digits) -> None:
    model, x, y = digits
    v = victim(model, eps=0.1)
    other = torchattacks.PGD(model, eps=0.1, alpha=0.025, steps=10, random_start=False)(x, y)
    own = PGD(steps=10, relative_step=0.25, random_start=False).perturb(v, x, y)
    assert (losses(v, own, y) >= losses(v, other, y) - 1e-5).all()


def test_fgsm_is_a_clipped_sign_step(victim: Make, digits: Digits) -> None:
    model, x, y = digits
    point = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(point), y), point)
    torch.testing.assert_close(FGSM().perturb(victim(model), x, y), (x + 0.1 * gradient.sign()).clamp(0, 1))


def test_n_fgsm_is_a_sign_step_from_noise_beyond_the_ball_that_keeps_to_its_reach_and_the_box(victim: Make, digits: Digits) -> None:
    model, x, y = digits
    attack = NFGSM()
    found = attack.perturb(victim(model), x, y)
    distance = (found - x).abs().flatten(1).amax(1)
    assert (distance > 0.1).all()
    assert distance.max() <= attack.reach * 0.1 + 1e-6
    assert ((found >= 0) & (found <= 1)).all()
    eta = (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1) * 0.2
    start = (x + eta).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(start), y), start)
    torch.testing.assert_close(found, (start.detach() + 0.1 * gradient.sign()).clamp(0, 1))


def test_the_last_point_is_that_of_the_plain_loop_at_one_pass_less(victim: Make, digits: Digits) -> None:
    model, x, y = digits
    passes = []
    handle = model.register_forward_hook(lambda *_: passes.append(1))
    found = PGD(steps=4, random_start=False, keep="last").perturb(victim(model), x, y)
    handle.remove()
    assert len(passes) == 4
    point = x
    for _ in range(4):
        point = point.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(model(point), y), point)
        point = (x + (point.detach() + 0.1 * 2.5 / 4 * gradient.sign() - x).clamp(-0.1, 0.1)).clamp(0, 1)
    torch.testing.assert_close(found, point)
    with pytest.raises(ValueError, match="keep=last has use for a single start; set restarts=1 or keep=best"):
        PGD(restarts=2, keep="last")


def test_momentum_follows_the_formula(victim: Make) -> None:
    """Two steps by hand: direction 1 = g / |g|_1, direction 2 = mu * direction 1 + g / |g|_1."""
    x, y = torch.full((1, 2), 0.5), torch.zeros(1)
    model = nn.Linear(2, 1, bias=False)
    model.weight.data = torch.tensor([[3.0, -4.0]])
    v = victim(model, 2.0, 0.2, None, loss=score)
    point = Momentum(steps=2, relative_step=0.25, random_start=False).perturb(v, x, y)
    torch.testing.assert_close(point, torch.tensor([[0.56, 0.42]]))


def test_declarations() -> None:
    facts = {a.name: (a.kind, a.norms, a.images, a.min_classes) for a in attacks()}
    both = (2.0, INF)
    assert facts == {
        "fgsm": ("max_loss", (INF,), False, 0),
        "fgm": ("max_loss", None, False, 0),
        "pgd": ("max_loss", None, False, 0),
        "n-fgsm": ("max_loss", (INF,), False, 0),
        "momentum": ("max_loss", both, False, 0),
        "apgd-ce": ("max_loss", both, False, 0),
        "apgd-dlr": ("first_success", both, False, 3),
        "apgd-t": ("first_success", both, False, 4),
        "square": ("first_success", both, True, 2),
        "linear-exact": ("max_loss", None, False, 0),
        "apgd-ce-t": ("first_success", both, False, 2),
        "autoattack": ("first_success", both, True, 2),
    }
    assert all(a.summary.endswith(".") or ":" in a.summary for a in attacks())


def test_declaring_does_not_import_torch() -> None:
    code = "import sys, robustradar_native.attack as a; a.attacks(); sys.exit('torch' in sys.modules or 'torchattacks' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
