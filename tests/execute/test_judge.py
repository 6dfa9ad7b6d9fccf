"""Attacks under the guard: whatever an attack does, the model comes back as it was and the host says what counts."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustradar import Attack, Threat, Victim, fixed
from robustradar.errors import Failure
from robustradar.judge import Guarded

CULPRIT = "attack zoo/odd (zoo 1.0)"
NOT_FINITE = "perturb() returned NaN or infinity, expected finite inputs. Does it divide by a gradient of zero?"
BOX = (0.0, 1.0)
LINF = Threat(math.inf, 0.1, BOX)

Action = Callable[[Victim, Tensor, Tensor], Any]


@dataclass(frozen=True)
class Scripted(Attack):
    """Does what the test says."""

    action: Action = fixed()

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        return self.action(victim, x, y)  # type: ignore[no-any-return]


def guarded(action: Action, threat: Threat = LINF, kind: str = "max_loss", classes: int | None = 3, seed: int = 0) -> Guarded:
    return Guarded(Scripted(name="odd", action=action, kind=kind), CULPRIT, threat, classes, seed)  # type: ignore[arg-type]


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    network[1].eval()  # a frozen layer inside a network that trains
    return network


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(6, 4, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2])


def up(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    return (x + victim.eps).clamp(0, 1)


def down_the_loss(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    """A step that lowers the loss of most samples."""
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(victim.loss(victim.model(x), y).sum(), x)
    return (x - victim.eps * g.sign()).clamp(0, 1).detach()


def climb(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(victim.loss(victim.model(x), y).sum(), x)
    return (x + victim.eps * g.sign()).clamp(0, 1)  # requires grad, as some libraries return it


def judged(attack: Guarded, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Any:
    found = attack(model.eval(), *batch)
    attack.verify()
    return found


# What comes back


def test_an_attack_that_leaves_the_ball_fails_and_says_how_far(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(Failure) as failure:
        judged(guarded(lambda v, x, y: x + 2 * v.eps, Threat(math.inf, 0.1, None)), model, batch)
    assert str(failure.value) == f"{CULPRIT}: left the linf 0.1 ball: got ‖δ‖ = 2·ε, expected at most ε."
    assert failure.value.lasting


def test_even_before_it_is_verified_what_left_the_ball_is_brought_back(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    for p in (1.0, 1.5, 2.0, math.inf):
        attack = guarded(lambda v, x, y: x + 3, Threat(p, 0.1, None))
        assert torch.linalg.vector_norm(attack.perturb(model, x, y) - x, p, 1).amax() <= 0.1 * (1 + 1e-5)


def test_verify_forgets_what_it_has_judged(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    attack = guarded(lambda v, x, y: x + 2 * v.eps, Threat(math.inf, 0.1, None))
    with pytest.raises(Failure):
        judged(attack, model, batch)
    attack.verify()  # a fresh start, for a later pass


def test_rounding_is_forgiven_and_the_perturbation_then_is_inside(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    found = judged(guarded(lambda v, x, y: x + v.eps * (1 + 5e-4), Threat(math.inf, 0.1, None)), model, batch)
    assert (found.x - batch[0]).abs().amax() <= 0.1 * (1 + 1e-6)


def test_low_precision_is_verified_in_float32(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    """bfloat16 leaves the ball by percents (0.0332 for 0.0314): that is a breach."""
    threat = Threat(math.inf, 8 / 255, BOX)
    x = torch.linspace(0.1, 0.9, 8).reshape(2, 4)
    with pytest.raises(Failure, match=r"left the linf 8/255 ball: got ‖δ‖ = 1\.\d+·ε, expected at most ε\."):
        judged(guarded(lambda v, x, y: (x.bfloat16() + v.eps).to(torch.bfloat16), threat), model, (x, batch[1][:2]))


def test_a_float64_answer_comes_back_in_the_inputs_type(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    assert judged(guarded(lambda v, x, y: x.double() + 0.05, Threat(math.inf, 0.1, None)), model, batch).x.dtype == torch.float32


def test_what_leaves_the_box_is_brought_back_into_it(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    x = torch.tensor([[0.0, 1.0, 0.5, 0.95]])
    found = guarded(lambda v, x, y: x + v.eps, kind="first_success")(model.eval(), x, batch[1][:1])
    torch.testing.assert_close(found.x, torch.tensor([[0.1, 1.0, 0.6, 1.0]]))
    assert guarded(lambda v, x, y: x + v.eps).perturb(model, x, batch[1][:1]).amax() <= 1.0


@pytest.mark.parametrize("kind", ["max_loss", "first_success", "min_norm"])
def test_nan_is_a_failure_and_never_robustness(model: nn.Module, batch: tuple[Tensor, Tensor], kind: str) -> None:
    with pytest.raises(Failure) as failure:
        judged(guarded(lambda v, x, y: torch.full_like(x, math.nan), kind=kind), model, batch)
    assert str(failure.value) == f"{CULPRIT}: {NOT_FINITE}"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, math.inf])
def test_what_is_not_finite_stays_at_the_clean_input_and_is_told_once_for_all(
    model: nn.Module, batch: tuple[Tensor, Tensor], value: float, p: float
) -> None:
    """So that a loss which is not finite is the network's doing, in training as in measuring."""
    x, y = batch
    attack = guarded(lambda v, x, y: torch.where(y[:, None] == 1, value, x), Threat(p, 0.1, BOX))
    assert torch.equal(attack.perturb(model, x, y), x)
    with pytest.raises(Failure) as failure:
        attack.verify()
    assert str(failure.value) == f"{CULPRIT}: {NOT_FINITE}"
    attack.verify()
    found = attack(model.eval(), x, y)
    assert torch.equal(found.x, x)
    assert found.loss.isfinite().all()
    with pytest.raises(Failure) as failure:
        attack.verify()
    assert str(failure.value) == f"{CULPRIT}: {NOT_FINITE}"


def test_it_can_forget_what_it_saw(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    attack = guarded(lambda v, x, y: x + noise(v, x, y) * math.nan)
    before = attack.perturb(model, *batch), attack.chance()
    attack.forget()
    attack.verify()
    assert attack.chance() is None
    attack.perturb(model, *batch)
    assert torch.equal(attack.chance(), before[1])


def test_one_nan_in_many_batches_is_found(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    attack = guarded(lambda v, x, y: torch.where(y[:, None] == 1, math.nan, x))
    x, y = batch
    for part in range(3):
        attack(model.eval(), x[part : part + 1], y[part : part + 1])
    with pytest.raises(Failure, match=r"perturb\(\) returned NaN or infinity"):
        attack.verify()


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (lambda x: None, "NoneType"),
        (lambda x: x[:2], "[2, 4]"),
        (lambda x: x.T, "[4, 6]"),
        (lambda x: x.sum(), "[]"),
        (lambda x: (x, x), "tuple"),
        (lambda x: x.numpy(), "ndarray"),
    ],
)
def test_something_else_than_inputs_is_refused(
    model: nn.Module, batch: tuple[Tensor, Tensor], answer: Callable[[Tensor], Any], got: str
) -> None:
    for use in (lambda a: a(model.eval(), *batch), lambda a: a.perturb(model, *batch)):
        with pytest.raises(Failure) as failure:
            use(guarded(lambda v, x, y: answer(x)))
        assert str(failure.value) == f"{CULPRIT}: perturb() returned {got}, expected a tensor of shape [6, 4]."


# What it leaves behind


def test_changed_weights_are_a_failure(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    def vandal(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            next(victim.model.parameters()).add_(1)
        return x

    with pytest.raises(Failure) as failure:
        guarded(vandal).perturb(model, *batch)
    message = "changed the weights or buffers of the model that it was lent. A plugin must leave the model as it is."
    assert str(failure.value) == f"{CULPRIT}: {message}"


def test_changed_batch_statistics_are_a_failure(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    def trainer(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        victim.model.train()
        victim.model(x)
        return x

    with pytest.raises(Failure, match="changed the weights or buffers of the model"):
        guarded(trainer).perturb(model, *batch)


def untidy(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    """Leaves modes, flags, gradients and every global generator changed."""
    for module in victim.model.modules():
        module.training = True
    for parameter in victim.model.parameters():
        parameter.requires_grad_(True)
        parameter.grad = torch.ones_like(parameter)
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    return x


def untidy_and_broken(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    untidy(victim, x, y)
    raise ValueError("in the middle\nwith details")


@pytest.mark.parametrize("action", [untidy, untidy_and_broken])
def test_modes_flags_gradients_and_generators_come_back(model: nn.Module, batch: tuple[Tensor, Tensor], action: Action) -> None:
    frozen, kept = model[0].weight, model[3].bias  # type: ignore[index]
    frozen.requires_grad_(False)
    kept.grad = gradient = torch.full_like(kept, 2.0)
    modes = [module.training for module in model.modules()]
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    expected = (torch.rand(2).tolist(), np.random.rand(), random.random())
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)

    if action is untidy:
        guarded(action).perturb(model, *batch)
    else:
        with pytest.raises(Failure) as failure:
            guarded(action).perturb(model, *batch)
        assert str(failure.value) == f"{CULPRIT}: ValueError: in the middle"

    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True, True, True]
    assert kept.grad is gradient
    assert all(p.grad is None for p in model.parameters() if p is not kept)
    assert (torch.rand(2).tolist(), np.random.rand(), random.random()) == expected


def test_it_gets_a_model_in_evaluation_mode_that_needs_no_gradient(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    def look(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        assert not any(module.training for module in victim.model.modules())
        assert not any(p.requires_grad for p in victim.model.parameters())
        assert torch.is_grad_enabled()
        assert not x.requires_grad
        return x

    guarded(look).perturb(model.train(), *batch)


def test_it_has_gradients_even_where_its_caller_has_none(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    with torch.no_grad():
        found = judged(guarded(climb), model, batch)
        assert not torch.is_grad_enabled()
    assert found.loss.mean() > nn.functional.cross_entropy(model(batch[0]), batch[1])
    assert not found.x.requires_grad
    assert not guarded(climb).perturb(model, *batch).requires_grad


def test_running_out_of_memory_is_not_lasting(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    def hungry(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    with pytest.raises(Failure) as failure:
        guarded(hungry).perturb(model, *batch)
    assert str(failure.value) == f"{CULPRIT}: out of memory. Use a smaller batch, or a device with more memory."
    assert not failure.value.lasting


# What counts


def test_a_max_loss_attack_never_lowers_a_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    clean = nn.functional.cross_entropy(model.eval()(batch[0]), batch[1], reduction="none")
    found = judged(guarded(down_the_loss), model, batch)
    assert (found.loss >= clean).all()
    moved = (found.x != batch[0]).any(1)
    torch.testing.assert_close(found.loss[~moved], clean[~moved])
    torch.testing.assert_close(found.loss, nn.functional.cross_entropy(model(found.x), batch[1], reduction="none"))


def test_the_host_recomputes_losses_and_success(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    found = judged(guarded(up, kind="first_success"), model, batch)
    z = model(found.x)
    torch.testing.assert_close(found.loss, nn.functional.cross_entropy(z, batch[1], reduction="none"))
    right = (z.argmax(1) == batch[1]) & (model(batch[0]).argmax(1) == batch[1])
    assert found.correct.tolist() == right.tolist()


def test_a_sample_that_is_wrong_without_an_attack_stays_wrong(batch: tuple[Tensor, Tensor]) -> None:
    """An attack that mends an answer does not make it right: the clean input is in the ball."""
    model = nn.Linear(4, 3)
    with torch.no_grad():
        model.weight.zero_()
        model.weight[0, 0] = 1.0
        model.bias.copy_(torch.tensor([0.0, 0.55, -1.0]))
    x, y = torch.tensor([[0.5, 0.5, 0.5, 0.5]]), torch.tensor([0])
    assert model(x).argmax(1) == 1
    found = guarded(lambda v, x, y: x + v.eps, kind="first_success")(model, x, y)
    assert model(found.x).argmax(1) == 0
    assert found.correct.tolist() == [False]


def test_beyond_the_ball_a_min_norm_attack_has_not_broken_a_sample(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    far = (y == 0)[:, None]
    found = judged(guarded(lambda v, x, y: torch.where(far, x + 5, x - 0.05), Threat(math.inf, 0.1, None), "min_norm"), model, batch)
    assert torch.equal(found.x[y == 0], x[y == 0])
    torch.testing.assert_close(found.x[y != 0], x[y != 0] - 0.05)
    right = model(x).argmax(1) == y
    assert found.correct[y == 0].tolist() == right[y == 0].tolist()


@pytest.mark.parametrize("kind", ["max_loss", "first_success", "min_norm"])
def test_without_strength_nothing_moves_and_no_attack_is_called(model: nn.Module, batch: tuple[Tensor, Tensor], kind: str) -> None:
    def never(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        raise AssertionError("called")

    attack = guarded(never, LINF.at(0.0), kind)
    found = judged(attack, model, batch)
    assert torch.equal(found.x, batch[0])
    assert torch.equal(found.loss, nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none"))
    assert torch.equal(attack.perturb(model, *batch), batch[0])


def test_regression_has_squared_losses_and_no_right_answers() -> None:
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0]]))
    x, y = torch.zeros(1, 2), torch.zeros(1, 1)
    attack = guarded(lambda v, x, y: x + v.eps * torch.tensor([1.0, -1.0]), Threat(math.inf, 0.5, None), classes=None)
    found = judged(attack, model, (x, y))
    assert found.loss.item() == pytest.approx((3 * 0.5) ** 2)
    assert found.correct.tolist() == [False]


# Its own chance


def noise(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    return x + victim.eps * (2 * torch.rand(x.shape, generator=victim.generator) - 1)


def test_equal_seeds_repeat_and_other_seeds_do_not(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    free = Threat(math.inf, 0.1, None)
    first, again, other = (guarded(noise, free, seed=seed).perturb(model, *batch) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_reseeding_repeats_a_pass_and_going_on_does_not(model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    attack = guarded(noise, Threat(math.inf, 0.1, None))
    first, second = attack.perturb(model, *batch), attack.perturb(model, *batch)
    attack.reseed()
    assert torch.equal(attack.perturb(model, *batch), first)
    assert not torch.equal(first, second)
