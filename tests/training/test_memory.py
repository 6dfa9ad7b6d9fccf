"""Where memory runs out, batches go through in halves and the fit ends where it would have ended."""

import pytest
import torch
from small_fits import ADVERSARIAL, CLEAN, STEADY, Fitting, images, largest_difference, mlp
from torch import Tensor, nn

from robustradar import Attack, Objective, Recipe, Victim
from robustradar.errors import OutOfMemory


class Narrow(nn.Sequential):
    """Runs out of memory where more than `room` samples need gradients of the weights."""

    room = 1000
    seen: list[int]

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and self.training:
            self.seen.append(len(x))
            if len(x) > self.room:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 1.00 GiB total capacity)")
        return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]


def narrow(room: int) -> nn.Module:
    network = Narrow(*mlp())
    network.room, network.seen = room, []
    return network


class Step(Attack):
    """One step, without chance."""

    def perturb(self, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(victim.loss(victim.model(x), y).sum(), x)
        return (x.detach() + victim.eps * g.sign()).clamp(0, 1)


@pytest.mark.parametrize("objective", [CLEAN, ADVERSARIAL, Objective(0.5), Objective(1.0, "mart", 2.0)], ids=str)
@pytest.mark.parametrize(("room", "micro"), [(15, 8), (7, 4), (1, 1)])
def test_the_batch_is_halved_until_it_fits_and_the_weights_are_the_same(objective: Objective, room: int, micro: int) -> None:
    step = Step(name="step")
    whole = Fitting(mlp, objective=objective, attack=step).train()
    halved = Fitting(lambda: narrow(room), objective=objective, attack=step).train()
    assert halved.record.flags == (f"micro-batch:{micro}",)
    assert largest_difference(halved.state, whole.state) < 2e-6
    for one, other in zip(halved.record.epochs, whole.record.epochs, strict=True):
        assert one["train_objective_loss"] == pytest.approx(other["train_objective_loss"], rel=1e-5)
        assert one["train_clean_accuracy"] == other["train_clean_accuracy"]


def test_it_stays_halved_and_fails_once_a_size() -> None:
    loop = Fitting(lambda: narrow(4)).loop()
    loop.epoch()
    loop.epoch()
    assert isinstance(loop.network, Narrow)
    # 40 samples in batches of 16, 16 and 8: the first fails at 16 and 8
    assert loop.network.seen == [16, 8, *[4] * 20]


def test_the_last_small_batch_is_halved_from_its_own_size() -> None:
    """40 samples in batches of 36 and 4; memory runs out at the end of the first epoch."""
    loop = Fitting(lambda: narrow(36), Recipe(**{**vars(STEADY), "batch": 36})).loop()
    loop.epoch()
    assert not loop.flags
    assert isinstance(loop.network, Narrow)
    loop.network.room = 3
    loop.epoch()
    assert loop.network.seen[2:4] == [36, 18]
    assert loop.flags == ("micro-batch:3",)


def test_memory_for_not_even_one_sample_is_a_failure_that_does_not_last() -> None:
    with pytest.raises(OutOfMemory) as failure:
        Fitting(lambda: narrow(0)).train()
    assert str(failure.value) == "test/net: out of memory. Use a smaller batch, or a device with more memory."
    assert not failure.value.lasting


def test_the_optimizers_own_memory_counts_too() -> None:
    loop = Fitting().loop()

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    loop.optimizer.register_step_pre_hook(full)
    with pytest.raises(OutOfMemory):
        loop.epoch()


def test_convex_fits_are_halved_too_and_start_the_pass_anew() -> None:
    class Small(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if torch.is_grad_enabled() and len(x) > 3:
                raise MemoryError
            return super().forward(x)

    recipe = Recipe(name="convex", optimizer="lbfgs", weight_decay=0.1, batch=16)

    def built(kind: type[nn.Linear]) -> nn.Module:
        return nn.Sequential(nn.Flatten(), kind(128, 3))

    halved, whole = (Fitting(lambda kind=kind: built(kind), recipe, data=images()).train() for kind in (Small, nn.Linear))  # type: ignore[misc]
    assert halved.record.flags == ("micro-batch:2",)
    assert largest_difference(halved.state, whole.state) < 1e-7
